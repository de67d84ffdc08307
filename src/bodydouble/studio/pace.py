"""How large the pictures of a moving scene may be on this machine, and how often they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

SIDES_PX = (256, 320, 384, 448, 512, 640, 768, 960, 1152)
"""Longer sides of pictures while something moves."""
STILL_SIDE_PX = 1600
"""Of the picture that follows when nothing moves any more."""
FPS_HZ = 30.0
"""Pictures of a moving scene are never made more often than this."""
_ENOUGH_HZ = 24.0
_LOW, _HIGH = 0.55, 1.0
"""A longer side is tried when pictures take less than this share of the time there is, a shorter one above the other."""
_MEMORY = 0.15


@dataclass
class Pace:
    """Follows the time that pictures take."""

    place: int = 4
    usual_s: float = 0.0
    """Smoothed seconds of one picture at the present size; 0 before the first."""

    @property
    def side_px(self) -> int:
        """Longer side of the next picture."""
        return SIDES_PX[self.place]

    def note(self, seconds: float, viewers: int = 1) -> None:
        """A picture has been made.

        Args:
            seconds: How long that took.
            viewers: For how many the same processor draws.
        """
        self.usual_s = seconds if self.usual_s == 0.0 else self.usual_s + _MEMORY * (seconds - self.usual_s)
        share = self.usual_s * viewers * _ENOUGH_HZ
        if share > _HIGH and self.place > 0:
            self._move(-1)
        elif share < _LOW and self.place < len(SIDES_PX) - 1 and share * self._growth() < 0.9 * _HIGH:
            self._move(1)

    def _growth(self) -> float:
        """Times as many pixels at the next size."""
        return (SIDES_PX[self.place + 1] / SIDES_PX[self.place]) ** 2

    def _move(self, step: int) -> None:
        before = SIDES_PX[self.place]
        self.place += step
        self.usual_s *= (SIDES_PX[self.place] / before) ** 2  # until it is measured


def picture_size(window_px: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """Size of a picture with the window's shape whose longer side is at most `longest_px`; even, at least 16."""
    width, height = (max(side, 1) for side in window_px)
    scale = min(1.0, longest_px / max(width, height))
    width, height = (max(16, 2 * math.ceil(side * scale / 2)) for side in (width, height))
    return width, height
