"""Named, frozen evaluation protocols: everything that can move a held-out figure, as numbers and as text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HeldoutProtocol:
    """How an avatar is scored on frames of its own video that never shaped it photometrically."""

    name: str
    every: int
    """Frames whose index in the source video leaves `remainder` when divided by `every` are held out."""
    remainder: int
    box_growth: float
    """The person's box is the box of the mask, made wider and higher by this fraction about its centre."""
    crop_px: int
    """Side of the square person crop that `*_box` figures are measured on."""
    mask_threshold: float
    """A pixel belongs to the person where the mask (and to the avatar where its alpha) exceeds this."""
    landmark_confidence: float
    """Hand and face boxes are spanned by landmarks at least this sure ..."""
    min_landmarks: int
    """... of which there must be this many, else the frame has no such figure."""
    landmark_box_growth: float
    """Hand and face boxes are made wider and higher by this fraction."""
    still_speed_heights_per_s: float
    """Frames whose median body landmark moves slower than this are still."""
    speed_window_s: float
    """Speed is measured between observations this far before and after the frame."""

    def holds_out(self, frame_index: int) -> bool:
        """Whether a frame, by its index in the source video, must not be used photometrically."""
        return frame_index % self.every == self.remainder

    def describe(self) -> tuple[str, ...]:
        """The protocol in sentences, to be printed wherever its figures are."""
        edge = f"{self.mask_threshold:g}"
        growth = f"{self.box_growth:.0%} wider and higher about its centre"
        size = f"{self.crop_px} x {self.crop_px} px"
        return tuple(" ".join(sentences) for sentences in (
            (f"Protocol {self.name}. Every {_ordinal(self.every)} source frame (index % {self.every} ==",
             f"{self.remainder}) is held out: its pixels never shape the avatar.",),
            ("psnr_box: the pose comes from the fit alone (what the estimators saw there, not its colours).",),
            ("psnr_box_outlined: from landmarks and outline alone. The fit's pose, then the outline of the finished avatar",
             "is laid on the frame's mask, wrists, fingers and head staying where the fit has them; its colours are not",
             "used. A double that is a mesh alone has no such figure.",),
            ("psnr_box_interpolated: to the fit's pose is added the photometric correction of the training frames before and",
             "after it, interpolated in time; the frame's own pixels are not used.",),
            ("psnr_box_registered: the interpolated pose is then registered to the frame itself with the avatar frozen:",
             "bones, facial actions, and the coefficients of the avatar's own pose-dependent correctives are fitted to it.",
             "Compare it only with figures that fit test poses too.",),
            ("Colours are the avatar's own: a frame's exposure is never fitted, not even where training learnt that the",
             "camera's exposure drifts.",),
            ("Truth is frame x soft mask on black. The prediction is rendered on black and never masked by the truth.",
             "Both are sRGB in [0, 1]; the peak is 1.",),
            (f"Box figures: the box of the mask (> {edge}), {growth}, clipped to the frame. The square around it, padded",
             f"with black, is resampled to {size} (by area when shrunk, bicubic when enlarged) and the avatar is rendered",
             "at that size; only pixels of the box count. psnr_box_native is the same box at the video's own size.",),
            ("psnr_full is taken over the whole frame at its own size; ssim_box over the box (Gaussian window 11 px, sigma",
             "1.5 px, population covariances, K1 0.01, K2 0.03, mean of the three channels); mask_iou compares",
             f"alpha > {edge} with mask > {edge} over the whole frame.",),
            ("psnr_hands and psnr_face: boxes around the estimator's hand and face landmarks of confidence >=",
             f"{self.landmark_confidence:g} (at least {self.min_landmarks} of them), {self.landmark_box_growth:.0%} wider",
             "and higher, on the same crop; frames without them are left out, and the number of frames is given.",),
            ("Every figure is the mean over frames of the frame's own figure. A frame is still when its median body",
             f"landmark moves less than {self.still_speed_heights_per_s:g} person heights a second (measured from",
             f"{self.speed_window_s:g} s before to {self.speed_window_s:g} s after), else moving.",),
        ))  # fmt: skip


HELDOUT_V1 = HeldoutProtocol(
    name="heldout-v1",
    every=8,
    remainder=7,
    box_growth=0.10,
    crop_px=512,
    mask_threshold=0.5,
    landmark_confidence=0.5,
    min_landmarks=6,
    landmark_box_growth=0.20,
    still_speed_heights_per_s=0.10,
    speed_window_s=0.10,
)


def _ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"
