"""What a video file says about itself, made usable: how its frames lie, when they are shown, through which lens."""

from __future__ import annotations

import contextlib
import itertools
import statistics
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """How stored frames become upright ones: first stretched to square pixels, then turned."""

    scaled_width_px: int
    scaled_height_px: int
    matrix: tuple[int, int, int, int]
    """(a, b, c, d) of the display matrix as signs: x' = a x + c y, y' = b x + d y."""

    @property
    def turned(self) -> bool:
        return self.matrix[0] == 0

    @property
    def upright_size_px(self) -> tuple[int, int]:
        width_px, height_px = self.scaled_width_px, self.scaled_height_px
        return (height_px, width_px) if self.turned else (width_px, height_px)

    @property
    def rotation_deg(self) -> int:
        """Clockwise turn that was applied."""
        return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[self.matrix[:2]]

    def upright(self, image: np.ndarray) -> np.ndarray:
        """A stored (and scaled) image as it should be seen."""
        a, b, c, d = self.matrix
        if self.turned:
            image = image.swapaxes(0, 1)
            flip_x, flip_y = c < 0, b < 0
        else:
            flip_x, flip_y = a < 0, d < 0
        if flip_y:
            image = image[::-1]
        if flip_x:
            image = image[:, ::-1]
        return np.ascontiguousarray(image)


def clean_times(times: list[float | None], nominal_hz: float) -> tuple[float, ...]:
    """Times from the first frame; where they are missing or do not ascend, an even rate takes their place."""
    known = [t for t in times if t is not None]
    if len(known) == len(times) and all(b > a for a, b in itertools.pairwise(known)):
        return tuple(t - known[0] for t in known)
    rate_hz = nominal_hz if nominal_hz > 0 else 30.0
    return tuple(i / rate_hz for i in range(len(times)))


def median_rate(times_s: tuple[float, ...], nominal_hz: float) -> float:
    """The median rate, or the mean where both agree: containers that round times to milliseconds spoil the median."""
    steps = [b - a for a, b in itertools.pairwise(times_s)]
    if not steps:
        return nominal_hz
    median, mean = statistics.median(steps), (times_s[-1] - times_s[0]) / len(steps)
    return 1.0 / (mean if abs(mean - median) < 0.03 * median else median)


def damage_text(num_errors: int, announced: int, decoded: int) -> str:
    """What is wrong with a file, in words; empty for a sound one."""
    if num_errors:
        return f"{num_errors} damaged parts were skipped; {decoded} frames could be decoded"
    if announced > decoded and announced - decoded > max(2, announced // 50):
        return f"the file announces {announced} frames but only {decoded} could be decoded"
    return ""


def focal_from_metadata(metadata: dict[str, str], long_side_px: int) -> float | None:
    """Focal length in pixels from a 35 mm equivalent, whose frame is 36 mm wide (phones: good to some 10 %)."""
    for key, value in metadata.items():
        name = key.lower().replace("_", "").replace(" ", "")
        if "35mm" not in name or "focal" not in name:
            continue
        number = value.strip().lower().removesuffix("mm").strip()
        with contextlib.suppress(ValueError, ZeroDivisionError):
            focal_mm = float(Fraction(number))
            if 4.0 <= focal_mm <= 1200.0:
                return focal_mm / 36.0 * long_side_px
    return None
