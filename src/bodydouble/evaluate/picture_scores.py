"""The figures of one picture beside its frame, as a picture protocol wants them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.capture.crops import crop_square, cut_square
from bodydouble.evaluate.flicker import flicker
from bodydouble.evaluate.flip import flip_map
from bodydouble.evaluate.lpips import Lpips
from bodydouble.evaluate.masks import boundary_f, mask_agreement
from bodydouble.evaluate.picture_protocol import CROP_REGIONS, PictureProtocol, PictureRule
from bodydouble.evaluate.psnr import psnr_db
from bodydouble.evaluate.regions import Box, box_in_crop, mask_box
from bodydouble.evaluate.ssim import ms_ssim, ssim, ssim_map


@dataclass(frozen=True, kw_only=True)
class FilmedFrame:
    """A frame of the video with its mask, at the video's size."""

    index: int
    rgb: UInt8[np.ndarray, "height width 3"]
    mask: UInt8[np.ndarray, "height width"]


@dataclass(frozen=True, kw_only=True)
class LandmarkBoxes:
    """Parts that the estimators saw, in pixels of the frame; empty where they did not."""

    hands: tuple[Box, ...] = ()
    face: tuple[Box, ...] = ()
    feet: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A prediction and its frame; `before` are the ones of the frame before, if they are known."""

    frame: FilmedFrame
    rgba: UInt8[np.ndarray, "height width 4"]
    """Straight alpha."""
    parts: LandmarkBoxes
    before: tuple[FilmedFrame, UInt8[np.ndarray, "height width 4"]] | None = None


def score_pair(pair: Pair, protocol: PictureProtocol, lpips: Lpips | None) -> tuple[float, ...]:
    """The figures of `protocol.metrics`, in that order; NaN for those that this frame or this machine has not.

    Args:
        pair: Of one size; the mask must not be empty.
        lpips: The protocol's network, if its weights are here.
    """
    image, truth = predicted_picture(pair.rgba, pair.frame, protocol), truth_picture(pair.frame, protocol)
    found = _full_figures(image, truth, protocol, lpips)
    if any(name.split("_")[-1] in CROP_REGIONS for name in protocol.metrics):
        found |= _crop_figures(image, truth, pair, protocol, lpips)
    if protocol.has("mask") or protocol.has("boundary"):
        found |= _mask_figures(pair, protocol)
    if protocol.has("flicker"):
        found["flicker_box"] = _flicker(image, truth, pair, protocol)
    return tuple(float(found.get(name, float("nan"))) for name in protocol.metrics)


def truth_picture(frame: FilmedFrame, protocol: PictureProtocol) -> Float[np.ndarray, "rows columns 3"]:
    """The truth as the protocol compares it: sRGB in [0, 1], at the protocol's scale."""
    rule = protocol.picture
    rgb = _resampled(frame.rgb.astype(np.float32) / np.float32(255.0), rule)
    return _finished(_over(rgb, _truth_mask(frame, protocol), rule), rule)


def predicted_picture(
    rgba: UInt8[np.ndarray, "height width 4"], frame: FilmedFrame, protocol: PictureProtocol
) -> Float[np.ndarray, "rows columns 3"]:
    """The prediction as the protocol compares it with a frame: sRGB in [0, 1], at the protocol's scale."""
    rule = protocol.picture
    values = rgba.astype(np.float32) / np.float32(255.0)
    picture = _over(values[..., :3], values[..., 3], rule)
    if rule.prediction_box:
        inside = np.zeros(frame.mask.shape, dtype=np.float32)
        inside[_person_box(frame, protocol).rows_and_columns] = 1.0
        picture = _over(picture, inside, rule)
    picture = _resampled(picture, rule)
    if rule.prediction_mask == "truth":
        picture = _over(picture, _truth_mask(frame, protocol), rule)
    return _finished(picture, rule)


def _full_figures(
    image: np.ndarray, truth: np.ndarray, protocol: PictureProtocol, lpips: Lpips | None
) -> dict[str, float]:
    wanted = {name for name in protocol.metrics if name.endswith("_full")}
    found = {}
    if "psnr_full" in wanted:
        found["psnr_full"] = psnr_db(image, truth, channels=protocol.psnr)
    if "ssim_full" in wanted:
        found["ssim_full"] = ssim(image, truth, variant=protocol.ssim)
    if "lpips_full" in wanted and lpips is not None:
        found["lpips_full"] = _lpips(image, truth, protocol, lpips)
    return found


def _crop_figures(
    image: np.ndarray, truth: np.ndarray, pair: Pair, protocol: PictureProtocol, lpips: Lpips | None
) -> dict[str, float]:
    """All figures of regions, from the two pictures cut and resampled alike."""
    square = crop_square(pair.frame.mask, protocol.base.box_growth)
    assert square is not None, "score_run leaves frames with empty masks out"
    image, truth = _cut(image, square, protocol), _cut(truth, square, protocol)
    regions = _regions(pair, square, protocol)
    wanted = set(protocol.metrics)
    maps = {}
    if any(f"ssim_{r}" in wanted for r in CROP_REGIONS):
        maps["ssim"] = ssim_map(image, truth, protocol.ssim)
    if protocol.has("flip"):
        maps["flip"] = flip_map(image, truth, protocol.detail.flip_pixels_per_degree)
    found = {}
    if "ms_ssim_crop" in wanted:
        found["ms_ssim_crop"] = ms_ssim(image, truth)
    for name, boxes in regions.items():
        region = np.zeros(truth.shape[:2], dtype=bool)
        for box in boxes:
            region[box.rows_and_columns] = True
        if not region.any():
            continue
        if f"psnr_{name}" in wanted:
            found[f"psnr_{name}"] = psnr_db(image, truth, region, channels=protocol.psnr)
        for metric, values in maps.items():
            found[f"{metric}_{name}"] = float(values[region].mean(dtype=np.float64))
        if f"lpips_{name}" in wanted and lpips is not None:
            # Networks see rectangles: several boxes (two hands) are scored apart and averaged.
            parts = [(image[b.rows_and_columns], truth[b.rows_and_columns]) for b in boxes]
            found[f"lpips_{name}"] = float(np.mean([_lpips(a, b, protocol, lpips) for a, b in parts]))
    return found


def _regions(pair: Pair, square: tuple[int, int, int], protocol: PictureProtocol) -> dict[str, tuple[Box, ...]]:
    x0, y0, side = square
    crop_px = protocol.base.crop_px

    def in_crop(boxes: tuple[Box, ...]) -> tuple[Box, ...]:
        moved = (box_in_crop(b, x0_px=x0, y0_px=y0, side_px=side, crop_px=crop_px) for b in boxes)
        return tuple(b for b in moved if not b.is_empty)

    return {
        "box": in_crop((_person_box(pair.frame, protocol),)),
        "crop": (Box(x0=0, y0=0, x1=crop_px, y1=crop_px),),
        "hands": in_crop(pair.parts.hands),
        "face": in_crop(pair.parts.face),
        "feet": in_crop(pair.parts.feet),
    }


def _mask_figures(pair: Pair, protocol: PictureProtocol) -> dict[str, float]:
    threshold = 255.0 * protocol.base.mask_threshold
    predicted, true = pair.rgba[..., 3] > threshold, pair.frame.mask > threshold
    agreement = mask_agreement(predicted, true)
    rows = np.flatnonzero(true.any(axis=1))
    height_px = float(rows[-1] + 1 - rows[0])
    tolerance_px = max(1.0, protocol.detail.boundary_tolerance_heights * height_px)
    return {
        "mask_iou": agreement.iou,
        "mask_precision": agreement.precision,
        "mask_recall": agreement.recall,
        "mask_f1": agreement.f1,
        "boundary_f": boundary_f(predicted, true, tolerance_px),
    }


def _flicker(image: np.ndarray, truth: np.ndarray, pair: Pair, protocol: PictureProtocol) -> float:
    if pair.before is None:
        return float("nan")
    earlier, earlier_rgba = pair.before
    at = _person_box(pair.frame, protocol).rows_and_columns
    before, truth_before = predicted_picture(earlier_rgba, earlier, protocol), truth_picture(earlier, protocol)
    return flicker(before[at], image[at], truth_before[at], truth[at])


def _person_box(frame: FilmedFrame, protocol: PictureProtocol) -> Box:
    box = mask_box(frame.mask.astype(np.float32) / 255.0, protocol.base)
    assert box is not None, "score_run leaves frames with empty masks out"
    return box


def _truth_mask(frame: FilmedFrame, protocol: PictureProtocol) -> np.ndarray:
    mask = frame.mask.astype(np.float32) / 255.0
    if protocol.picture.truth_mask == "binary":
        mask = (mask > protocol.base.mask_threshold).astype(np.float32)
    elif protocol.picture.truth_mask == "any":
        mask = (mask > 0.0).astype(np.float32)
    return _resampled(mask, protocol.picture)


def _over(rgb: np.ndarray, alpha: np.ndarray, rule: PictureRule) -> np.ndarray:
    a = alpha[..., None]
    if rule.background == (0.0, 0.0, 0.0):
        return rgb * a
    background = np.asarray(rule.background, dtype=np.float32)
    return (rgb - background) * a + background


def _resampled(image: np.ndarray, rule: PictureRule) -> np.ndarray:
    if rule.scale == 1.0:
        return image
    import cv2

    size = (max(1, int(image.shape[1] * rule.scale)), max(1, int(image.shape[0] * rule.scale)))
    way = cv2.INTER_AREA if rule.resample == "area" else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=way)


def _finished(image: np.ndarray, rule: PictureRule) -> np.ndarray:
    image = np.clip(image, 0.0, 1.0, out=image)
    return np.round(image * np.float32(255.0)) / np.float32(255.0) if rule.eight_bit else image


def _cut(picture: np.ndarray, square: tuple[int, int, int], protocol: PictureProtocol) -> np.ndarray:
    """The square, padded with the background where it leaves the picture."""
    background = np.asarray(protocol.picture.background, dtype=np.float32)
    shifted = picture - background if background.any() else picture
    return np.clip(cut_square(shifted, *square, protocol.base.crop_px) + background, 0.0, 1.0)


def _lpips(image: np.ndarray, truth: np.ndarray, protocol: PictureProtocol, lpips: Lpips) -> float:
    return protocol.lpips.factor * lpips.distance(image, truth, expects_signed=protocol.lpips.expects_signed)
