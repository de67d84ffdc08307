"""Protocols that score pictures, whoever made them: every switch that can move a figure, as a value and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bodydouble.core.errors import ConfigError
from bodydouble.evaluate.lpips import Network
from bodydouble.evaluate.protocol import HeldoutProtocol
from bodydouble.evaluate.psnr import ChannelMean
from bodydouble.evaluate.splits import Split
from bodydouble.evaluate.ssim import SsimVariant

PoseSource = Literal["fit", "outlined", "interpolated", "registered"]
"""Of an avatar in test frames; see `POSE_SENTENCES`."""

POSE_SENTENCES: dict[PoseSource, str] = {
    "fit": "from the fit alone: what the estimators saw in the test frame (landmarks, outline), not its colours",
    "outlined": (
        "from landmarks and outline alone: the fit's pose, then the outline of the finished avatar laid on the test frame's "
        "mask; its colours are not used"
    ),
    "interpolated": "the fit's pose plus the photometric correction of the training frames before and after it",
    "registered": (
        "the interpolated pose, facial actions and the coefficients of the avatar's pose-dependent correctives aligned to "
        "the test frame's own picture with the avatar frozen; compare only with figures that fit test poses too"
    ),
}


CROP_REGIONS = ("box", "crop", "hands", "face", "feet")
"""Measured on the resampled square around the person."""
METRICS: tuple[str, ...] = (
    *(f"{metric}_{region}" for metric in ("psnr", "ssim", "lpips") for region in ("full", *CROP_REGIONS)),
    *(f"flip_{region}" for region in CROP_REGIONS),
    *("ms_ssim_crop", "mask_iou", "mask_precision", "mask_recall", "mask_f1", "boundary_f", "flicker_box"),
)
"""Every figure that a protocol may ask for. PSNR in dB; flicker in sRGB units; the others without unit."""
LOWER_IS_BETTER = ("lpips", "flip", "flicker")


@dataclass(frozen=True, kw_only=True)
class PictureRule:
    """What is laid beside what."""

    background: tuple[float, float, float]
    """sRGB behind the person, in the truth and behind the prediction."""
    truth_mask: Literal["soft", "binary", "any"]
    """The truth is frame x mask: as it is, cut at the mask threshold, or wherever the mask is not zero."""
    prediction_mask: Literal["none", "truth"]
    """Whether the prediction is cut by the mask of the truth too."""
    prediction_box: bool
    """Whether the prediction outside the person's box is replaced by the background."""
    scale: float
    """Pictures are compared at this share of the video's size (1 or less)."""
    resample: Literal["area", "bilinear"]
    """How they are brought there."""
    eight_bit: bool
    """Whether both are rounded to 8 bits before they are compared."""


@dataclass(frozen=True, kw_only=True)
class LpipsRule:
    """Which LPIPS, and how it is fed."""

    network: Network
    expects_signed: bool
    """True: images in [0, 1] are mapped to [-1, 1] as the network wants; False: handed in as they are."""
    factor: float
    """Published figures are this many times the distance."""


@dataclass(frozen=True, kw_only=True)
class DetailRule:
    """Figures that only our own protocol has."""

    foot_growth: float
    """A foot's box: the square around ankle, heel and toe, its side the longer side of their box, grown by this."""
    boundary_tolerance_heights: float
    """Outlines count as the same within this share of the height of the mask's box."""
    flip_pixels_per_degree: float


@dataclass(frozen=True, kw_only=True)
class PictureProtocol:
    """How pictures of a person are compared with the frames of the video."""

    name: str
    source: str
    """Who defines it, and where."""
    split: Split
    poses: tuple[PoseSource, ...]
    """Poses of our own avatars in test frames; the first is the protocol's own choice."""
    base: HeldoutProtocol
    """Boxes, crops, landmarks, and how still frames are told from moving ones."""
    picture: PictureRule
    metrics: tuple[str, ...]
    """Names `metric_region`; see `METRICS`."""
    psnr: ChannelMean
    ssim: SsimVariant
    lpips: LpipsRule
    detail: DetailRule
    notes: tuple[str, ...]
    """Where this differs from the source, and what the source leaves open."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown:
            raise ConfigError(
                f"Protocol {self.name}: there is no figure {unknown[0]!r}; choose from {', '.join(METRICS)}."
            )
        if self.picture.scale != 1.0 and any(name.split("_")[-1] in CROP_REGIONS for name in self.metrics):
            raise ConfigError(
                f"Protocol {self.name}: figures of regions need scale 1, got {self.picture.scale:g}; ask for _full figures."
            )
        if self.ssim.border == "inside" and any(f"ssim_{r}" in self.metrics for r in CROP_REGIONS):
            raise ConfigError(
                f"Protocol {self.name}: SSIM of regions needs a map as large as the picture; change border."
            )

    def has(self, metric: str) -> bool:
        """Whether any figure of this kind (psnr, flip, flicker, ...) is wanted."""
        return any(name.split("_")[0] == metric for name in self.metrics)

    def describe(self) -> tuple[str, ...]:
        """The protocol in sentences, to be printed wherever its figures are."""
        sentences = [
            f"Protocol {self.name}, after {self.source}",
            f"Its test frames: {self.split.describe()}.",
            "Poses of our own avatars: " + "; ".join(f"{p}: {POSE_SENTENCES[p]}" for p in self.poses) + ".",
            _picture_sentence(self.picture, self.base),
            *_metric_sentences(self),
            *self.notes,
        ]
        return tuple(sentences)


def _picture_sentence(rule: PictureRule, base: HeldoutProtocol) -> str:
    masks = {
        "soft": "the soft mask",
        "binary": f"the mask cut at {base.mask_threshold:g}",
        "any": "the mask wherever it is not zero",
    }
    color = ", ".join(f"{c:g}" for c in rule.background)
    parts = [
        f"Truth is the frame times {masks[rule.truth_mask]} over the colour ({color}).",
        f"The prediction is laid over the same colour by its own alpha, {_prediction_words(rule, base)}.",
        f"Both are sRGB in [0, 1], {'rounded to 8 bits' if rule.eight_bit else 'not rounded (the prediction was, as PNG)'},",
    ]
    if rule.scale == 1.0:
        parts.append(f"at the video's own size (scale {rule.scale:g}; {rule.resample} if it were smaller).")
    else:
        parts.append(f"at {rule.scale:g} of the video's size ({rule.resample}).")
    return " ".join(parts)


def _prediction_words(rule: PictureRule, base: HeldoutProtocol) -> str:
    cut = {"none": "and never cut by the mask of the truth", "truth": "and then cut by the mask of the truth too"}
    words = cut[rule.prediction_mask]
    if rule.prediction_box:
        words += f"; outside the mask's box, {base.box_growth:.0%} wider and higher, it is replaced by that colour"
    return words


def _metric_sentences(protocol: PictureProtocol) -> list[str]:
    base, detail, lpips = protocol.base, protocol.detail, protocol.lpips
    pooled = (
        "one mean squared error over the three channels" if protocol.psnr == "pooled" else "mean of the channels' PSNRs"
    )
    sentences = [
        f"Figures: {', '.join(protocol.metrics)}; each the mean over frames of the frame's own figure.",
        f"PSNR: peak 1, {pooled}. SSIM: {protocol.ssim.describe()}.",
        (
            f"LPIPS: {lpips.network}, input {'mapped to [-1, 1]' if lpips.expects_signed else 'left in [0, 1]'}, times "
            f"{lpips.factor:g}; only where its weights are on the machine, else absent."
        ),
        (
            f"A person's box is the box of the mask (> {base.mask_threshold:g}), {base.box_growth:.0%} wider and higher. A frame "
            f"is still when its median body landmark moves less than {base.still_speed_heights_per_s:g} person heights a second "
            f"(from {base.speed_window_s:g} s before to {base.speed_window_s:g} s after), else moving."
        ),
    ]
    if any(name.endswith(("_box", "_crop", "_hands", "_face", "_feet")) for name in protocol.metrics):
        sentences += [
            (
                f"_box, _hands, _face and _feet are measured on the square around the person's box, cut from both pictures, padded "
                f"with the background and resampled alike to {base.crop_px} x {base.crop_px} px (by area when shrunk, bicubic when "
                "enlarged); _crop is all of that square; _full the whole picture."
            ),
            (
                f"Hands and face: boxes around the estimator's landmarks of confidence >= {base.landmark_confidence:g} (at least "
                f"{base.min_landmarks} of them), {base.landmark_box_growth:.0%} wider and higher. A foot: ankle, heel and toe all "
                f"that sure, the square around them, {detail.foot_growth:.0%} wider and higher. Frames without them are left out."
            ),
        ]
    if protocol.has("flip") or protocol.has("ms"):
        sentences.append(
            f"FLIP: the LDR version, at {detail.flip_pixels_per_degree:g} pixels per degree of the resampled square, mean over "
            "the region. MS-SSIM: five scales, 2003 weights, whole windows of 11 px only."
        )
    if protocol.has("mask") or protocol.has("boundary"):
        sentences.append(
            f"Masks: alpha > {base.mask_threshold:g} against mask > {base.mask_threshold:g} over the whole picture. "
            f"boundary_f: outlines within {detail.boundary_tolerance_heights:.1%} of the height of the mask's box (at least "
            "1 px) count as the same."
        )
    if protocol.has("flicker"):
        sentences.append(
            "flicker_box: mean over the person's box, at the video's size, of |(P_t - P_t-1) - (T_t - T_t-1)| for the test "
            "frame t and the frame before it (a training frame, in the pose that training left)."
        )
    return sentences
