"""What part of a frame a figure is measured on, and how fast the person moves in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bodydouble.evaluate.protocol import HELDOUT_V1, HeldoutProtocol


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of whole pixels: columns x0 <= x < x1, rows y0 <= y < y1. May reach outside the image."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def rows_and_columns(self) -> tuple[slice, slice]:
        """Index of the box's pixels in an image that holds it; empty where the box is."""
        return slice(self.y0, max(self.y0, self.y1)), slice(self.x0, max(self.x0, self.x1))

    @property
    def is_empty(self) -> bool:
        return self.x1 <= self.x0 or self.y1 <= self.y0

    def clipped(self, width_px: int, height_px: int) -> Box:
        """The part inside an image of this size."""
        return Box(x0=max(self.x0, 0), y0=max(self.y0, 0), x1=min(self.x1, width_px), y1=min(self.y1, height_px))


def grown_box(x0: float, y0: float, x1: float, y1: float, growth: float) -> Box:
    """The smallest box of whole pixels that holds a rectangle made wider and higher by `growth` about its centre."""
    dx, dy = (x1 - x0) * growth / 2.0, (y1 - y0) * growth / 2.0
    # Rounding first: 5.000000000000001 must not cost a pixel.
    left, top, right, bottom = (round(v, 6) for v in (x0 - dx, y0 - dy, x1 + dx, y1 + dy))
    return Box(x0=math.floor(left), y0=math.floor(top), x1=math.ceil(right), y1=math.ceil(bottom))


def mask_box(mask: Float[np.ndarray, "height width"], protocol: HeldoutProtocol = HELDOUT_V1) -> Box | None:
    """The person's box of a soft mask in [0, 1], grown and clipped to the image; None where the mask is empty."""
    inside = mask > protocol.mask_threshold
    columns, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    if columns.size == 0:
        return None
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    box = grown_box(*(float(edge) for edge in edges), growth=protocol.box_growth)
    return box.clipped(mask.shape[1], mask.shape[0])


def box_in_crop(box: Box, *, x0_px: int, y0_px: int, side_px: int, crop_px: int) -> Box:
    """A box of the frame in the pixels of a square of it that was resampled, rounded to whole pixels and clipped."""
    scale = crop_px / side_px
    return Box(
        x0=round((box.x0 - x0_px) * scale),
        y0=round((box.y0 - y0_px) * scale),
        x1=round((box.x1 - x0_px) * scale),
        y1=round((box.y1 - y0_px) * scale),
    ).clipped(crop_px, crop_px)


def landmark_box(
    xy_px: Float[np.ndarray, "landmarks 2"],
    confidence: Float[np.ndarray, " landmarks"],
    protocol: HeldoutProtocol = HELDOUT_V1,
) -> Box | None:
    """The grown box around the sure ones of some landmarks; None when too few are sure."""
    sure = confidence >= protocol.landmark_confidence
    if int(sure.sum()) < protocol.min_landmarks:
        return None
    (x0, y0), (x1, y1) = xy_px[sure].min(axis=0), xy_px[sure].max(axis=0)
    return grown_box(float(x0), float(y0), float(x1), float(y1), protocol.landmark_box_growth)


def landmark_speeds(
    times_s: Float[np.ndarray, " frames"],
    xy_px: Float[np.ndarray, "frames landmarks 2"],
    confidence: Float[np.ndarray, "frames landmarks"],
    heights_px: Float[np.ndarray, " frames"],
    rows: Int[np.ndarray, " asked"],
    protocol: HeldoutProtocol = HELDOUT_V1,
) -> Float[np.ndarray, " asked"]:
    """How fast the person moves in some frames, in person heights a second.

    Args:
        times_s: Time of every observed frame, ascending.
        xy_px: Body landmarks (no fingers, no face mesh).
        confidence: In [0, 1]; landmarks surer than the protocol's threshold in both frames count.
        heights_px: Height of the person's box per frame, 0 where absent. Their median is the person height.
        rows: Which frames.
    Returns:
        Median over landmarks of the distance between the observations `speed_window_s` before and after the frame,
        per second; NaN where it cannot be known.
    """
    present = heights_px > 0
    height_px = float(np.median(heights_px[present])) if present.any() else float("nan")
    speeds = np.full(len(rows), np.nan, dtype=np.float64)
    for k, row in enumerate(rows):
        before = int(np.argmin(np.abs(times_s - (times_s[row] - protocol.speed_window_s))))
        after = int(np.argmin(np.abs(times_s - (times_s[row] + protocol.speed_window_s))))
        before, after = _at_least_neighbours(before, int(row), after, len(times_s))
        sure = np.minimum(confidence[before], confidence[after]) >= protocol.landmark_confidence
        seconds = float(times_s[after] - times_s[before])
        if seconds > 0.0 and sure.sum() >= protocol.min_landmarks and present[before] and present[after]:
            moved_px = np.linalg.norm(xy_px[after, sure] - xy_px[before, sure], axis=-1)
            speeds[k] = float(np.median(moved_px)) / seconds / height_px
    return speeds


def _at_least_neighbours(before: int, row: int, after: int, count: int) -> tuple[int, int]:
    return min(before, max(row - 1, 0)), max(after, min(row + 1, count - 1))
