"""Silhouettes: from the network's soft mask to one that follows the picture's edges.

The network answers on a grid of some 3 pixels. Along its outline we ask again, pixel by pixel: is this colour more like
the person just inside, or like the background just outside? Both are local Gaussians (mean and covariance of the colours
in a window), and their log-likelihood ratio is added to the network's own log-odds, so that it decides where colours
tell nothing. On rendered people with known outlines this takes a quarter off the network's error
(mean absolute error .052 to .039 of the area; a bolder weighting reaches .032 but flickers on real clips).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from bodydouble.perceive.confidence import body_scale_px, hand_confidence
from bodydouble.perceive.mediapipe_holistic import BODY_INDEX, HolisticResult

_SMALL_HEIGHT = 110
"""Colour statistics vary slowly: they are taken on the person shrunk to about this height."""
_WINDOW = 0.03
"""Half the window's side, in parts of the person's size."""
_FAR_FACTOR, _FAR_SHARE = 4, 0.002
"""A window so many times larger counts this much beside the near one."""
_BAND = 0.008
"""Half the width of the band that is asked again, in parts of the person's size."""
_INSIDE, _OUTSIDE = 0.8, 0.2
"""Network values from which a pixel counts as person, or as background, in the statistics."""
_COLOR_VARIANCE = 4e-4
"""Added to variances (colours in [0, 1]): noise and compression."""
_MAX_LOG_RATIO = 1.0
_PRIOR_WEIGHT, _PRIOR_OFFSET = 1.0, 0.1
"""The network's outline lies a little too far out. Its soft edge is kept: on real clips a bolder correction (weight 1.3,
offset 0.3, ratio 3) jumped between frames wherever colours agree, and cost the avatar 0.4 dB on held-out frames."""
_SEED_LOG_ODDS = 1.0
"""Prior along fingers and feet, which the network tends to lose; colour may still refuse it (`_MAX_LOG_RATIO`)."""
_MARGIN = 0.06
COLOR_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
_FINGERS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20))

Polyline = tuple[Float32[np.ndarray, "points 2"], float]
"""Points in pixels and the radius around them."""


def refine_mask(
    rgb: UInt8[np.ndarray, "height width 3"],
    mask: Float32[np.ndarray, "height width"],
    seeds: tuple[Polyline, ...] = (),
) -> UInt8[np.ndarray, "height width"]:
    """A soft 8-bit mask of the subject that follows the edges of the picture.

    Args:
        rgb: The frame.
        mask: The network's probability.
        seeds: Thin parts that are likely to be the person: fingers, feet.
    """
    import cv2

    refined = np.zeros(mask.shape, np.uint8)
    x, y, w, h = cv2.boundingRect((mask > 0.1).view(np.uint8))
    if w == 0:
        return refined
    size_px = max(w, h)
    for points, radius_px in seeds:
        x, y, w, h = _joined((x, y, w, h), points, radius_px)
    pad = int(_MARGIN * size_px) + 2
    rows = slice(max(0, y - pad), min(mask.shape[0], y + h + pad))
    columns = slice(max(0, x - pad), min(mask.shape[1], x + w + pad))
    shift = np.array([columns.start, rows.start], np.float32)
    local = tuple((points - shift, radius_px) for points, radius_px in seeds)
    alpha = _refine_crop(rgb[rows, columns], np.ascontiguousarray(mask[rows, columns]), size_px, local)
    refined[rows, columns] = _largest_parts(alpha, size_px)
    return refined


def thin_parts(result: HolisticResult) -> tuple[Polyline, ...]:
    """Fingers and feet as polylines, where their landmarks can be trusted."""
    scale_px = body_scale_px(result.body_xy_px, result.body_xyz_camera_m)
    parts: list[Polyline] = []
    for side, hand_px in (("left", result.left_hand_px), ("right", result.right_hand_px)):
        if hand_px is not None and hand_confidence(hand_px, result, side) > 0.5:
            points = hand_px[:, :2]
            length_px = float(np.linalg.norm(points[9] - points[0])) + float(np.linalg.norm(points[12] - points[9]))
            parts += [(points[list(finger)], max(1.0, 0.035 * length_px)) for finger in _FINGERS]
        foot = [BODY_INDEX[f"{side}_{name}"] for name in ("ankle", "heel", "foot_index")]
        if result.body_visibility[foot].min() > 0.7:
            parts.append((result.body_xy_px[foot], max(1.0, 0.02 * scale_px)))
    return tuple(parts)


def mask_box_px(mask: UInt8[np.ndarray, "height width"]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 around what is more subject than not; zeros for an empty mask."""
    import cv2

    x, y, w, h = cv2.boundingRect((mask >= 128).view(np.uint8))
    return (float(x), float(y), float(x + w), float(y + h)) if w else (0.0, 0.0, 0.0, 0.0)


def _joined(box: tuple[int, int, int, int], points: np.ndarray, radius_px: float) -> tuple[int, int, int, int]:
    low, high = points.min(0) - radius_px, points.max(0) + radius_px
    x0, y0 = min(box[0], int(low[0])), min(box[1], int(low[1]))
    x1, y1 = max(box[0] + box[2], int(high[0]) + 1), max(box[1] + box[3], int(high[1]) + 1)
    return x0, y0, x1 - x0, y1 - y0


def _refine_crop(rgb: np.ndarray, mask: np.ndarray, size_px: int, seeds: tuple[Polyline, ...]) -> np.ndarray:
    """Posterior in [0, 1] on a crop around the person."""
    import cv2

    seeded = _drawn(seeds, mask.shape)
    radius = max(1, round(_BAND * size_px))
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * radius + 1, 2 * radius + 1))
    inside = ((mask > 0.5) | (seeded > 0)).view(np.uint8)
    asked = (cv2.dilate(inside, kernel) != cv2.erode((mask > 0.5).view(np.uint8), kernel)) | (
        (mask > 0.05) & (mask < 0.95)
    )
    flat = np.flatnonzero(asked)
    if flat.size == 0:
        return mask
    shrink = max(1, round(size_px / _SMALL_HEIGHT))
    quadratic, usable = _log_ratio_field(rgb, mask, shrink, size_px)
    ys, xs = flat // mask.shape[1], flat % mask.shape[1]
    cell = np.minimum(ys // shrink, usable.shape[0] - 1) * usable.shape[1] + np.minimum(
        xs // shrink, usable.shape[1] - 1
    )
    c = np.ascontiguousarray(quadratic.reshape(-1, 10)[cell].T)
    r, g, b = np.ascontiguousarray(rgb.reshape(-1, 3)[flat].T).astype(np.float32) / 255.0
    ratio = (
        r * (c[0] * r + c[1] * g + c[2] * b + c[6]) + g * (c[3] * g + c[4] * b + c[7]) + b * (c[5] * b + c[8]) + c[9]
    )
    ratio = np.clip(ratio, -_MAX_LOG_RATIO, _MAX_LOG_RATIO) * usable.reshape(-1)[cell]
    evidence = np.zeros(mask.shape, np.float32)
    evidence.reshape(-1)[flat] = ratio
    evidence = cv2.GaussianBlur(evidence, (7, 7), 1.5).reshape(-1)[flat]
    probability = np.clip(mask.reshape(-1)[flat], 0.01, 0.99)
    prior = np.log(probability / (1.0 - probability))
    prior = np.where(seeded.reshape(-1)[flat] > 0, np.maximum(prior, _SEED_LOG_ODDS), prior)
    alpha = mask.copy()
    odds = _PRIOR_WEIGHT * prior + evidence - _PRIOR_OFFSET
    alpha.reshape(-1)[flat] = 1.0 / (1.0 + np.exp(-odds))
    return alpha


def _drawn(seeds: tuple[Polyline, ...], shape: tuple[int, ...]) -> np.ndarray:
    import cv2

    canvas = np.zeros(shape, np.uint8)
    for points, radius_px in seeds:
        line = np.round(points * 8).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], False, (255,), max(1, round(2 * radius_px)), cv2.LINE_8, 3)
    return canvas


def _log_ratio_field(rgb: np.ndarray, mask: np.ndarray, shrink: int, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratio person : background as a quadratic in colour for each cell of a coarse grid.

    Returns:
        Ten coefficients per cell (rr, rg, rb, gg, gb, bb, r, g, b, 1) and whether both sides are near enough to tell.
    """
    import cv2

    height, width = max(1, mask.shape[0] // shrink), max(1, mask.shape[1] // shrink)
    window = max(1, round(_WINDOW * size_px / shrink))
    # Cells past the last whole one would shift the grid: leave them out, the border cells stand for them.
    covered = rgb[: height * shrink, : width * shrink], mask[: height * shrink, : width * shrink]
    color = cv2.resize(covered[0], (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    share = cv2.resize(covered[1], (width, height), interpolation=cv2.INTER_AREA)
    moments = np.concatenate([color, np.stack([color[..., i] * color[..., j] for i, j in COLOR_PAIRS], -1)], -1)
    fields, usable = [], np.ones((height, width), np.float32)
    for weight in ((share > _INSIDE).astype(np.float32), (share < _OUTSIDE).astype(np.float32)):
        # Where nothing of one side is near, its colours further away have to do.
        both = np.concatenate([moments * weight[..., None], weight[..., None]], -1)
        sums = cv2.blur(both, (2 * window + 1,) * 2) + _FAR_SHARE * cv2.blur(both, (2 * _FAR_FACTOR * window + 1,) * 2)
        fields.append(log_gaussian(sums[..., :9] / np.maximum(sums[..., 9:], 1e-6)))
        usable *= sums[..., 9] > 1e-5
    return fields[0] - fields[1], usable


def log_gaussian(moments: np.ndarray) -> np.ndarray:
    """Coefficients of the log-density of colours in a Gaussian, but for a constant, from its first and second moments.

    Args:
        moments: [..., 9]: means of the channels and of the products `COLOR_PAIRS`.
    Returns:
        [..., 10]: rr, rg, rb, gg, gb, bb, r, g, b, 1.
    """
    mean = [moments[..., i] for i in range(3)]
    cov = [moments[..., 3 + k] - mean[i] * mean[j] for k, (i, j) in enumerate(COLOR_PAIRS)]
    a, b, c, d, e, f = (
        cov[0] + _COLOR_VARIANCE,
        cov[1],
        cov[2],
        cov[3] + _COLOR_VARIANCE,
        cov[4],
        cov[5] + _COLOR_VARIANCE,
    )
    minors = [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    det = np.maximum(a * minors[0] + b * minors[1] + c * minors[2], 0.5 * _COLOR_VARIANCE**3)
    p = [m / det for m in minors]
    linear = [
        p[0] * mean[0] + p[1] * mean[1] + p[2] * mean[2],
        p[1] * mean[0] + p[3] * mean[1] + p[4] * mean[2],
        p[2] * mean[0] + p[4] * mean[1] + p[5] * mean[2],
    ]
    constant = -0.5 * np.log(det) - 0.5 * (linear[0] * mean[0] + linear[1] * mean[1] + linear[2] * mean[2])
    return np.stack([-0.5 * p[0], -p[1], -p[2], -0.5 * p[3], -p[4], -0.5 * p[5], *linear, constant], -1)


def _largest_parts(alpha: np.ndarray, size_px: int) -> np.ndarray:
    """8-bit mask without islands: what is far from the large connected parts goes."""
    import cv2

    mask = cv2.convertScaleAbs(alpha, alpha=255.0)
    height, width = mask.shape
    shrink = max(1, round(size_px / _SMALL_HEIGHT))
    small = cv2.resize(mask, (-(-width // shrink), -(-height // shrink)), interpolation=cv2.INTER_AREA)
    found: Any = cv2.connectedComponentsWithStats((small >= 64).view(np.uint8), connectivity=8)
    count, labels, stats = found[:3]
    if count <= 1:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.concatenate([np.zeros(1, np.uint8), (areas >= max(0.01 * areas.max(), 2.0)).astype(np.uint8)])
    if not kept.any():
        return mask
    near = cv2.dilate(kept[labels], np.ones((5, 5), np.uint8))
    return mask * cv2.resize(near, (width, height), interpolation=cv2.INTER_NEAREST)
