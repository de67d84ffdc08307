"""Shot changes: where one continuous recording ends and another begins. Streaming; needs a few small frames at a time.

A cut is declared where the picture differs from the one before far more than its neighbourhood does, in colour
statistics and in layout, and where the new picture stays: a flash or a dropped frame returns to what it was.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

THUMBNAIL_PX = (64, 48)
"""Width and height at which frames are compared."""
_BINS = 16
_LOOK_AHEAD = 4
"""Frames after a suspected cut that must still differ from the frame before it."""
_LOOK_BACK = 4
"""Frames before it that it must differ from: what comes after a flash looks like what was before."""
_WINDOW = 12
_MIN_HISTOGRAM = 0.22
_MIN_LAYOUT = 0.10
_RATIO = 3.0
_MIN_SHOT_FRAMES = 3


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What of a frame is remembered for comparing it."""

    histogram: Float32[np.ndarray, " bins"]
    """Joint chroma and brightness histograms, each summing to 1."""
    layout: Float32[np.ndarray, "rows columns 3"]
    """The frame at thumbnail size in [0, 1], its mean brightness removed."""


def signature(rgb: UInt8[np.ndarray, "height width 3"]) -> Signature:
    """Summarise one frame."""
    import cv2

    step = max(1, min(rgb.shape[0] // (2 * THUMBNAIL_PX[1]), rgb.shape[1] // (2 * THUMBNAIL_PX[0])))
    small = (
        cv2.resize(np.ascontiguousarray(rgb[::step, ::step]), THUMBNAIL_PX, interpolation=cv2.INTER_AREA).astype(
            np.float32
        )
        / 255.0
    )
    total = small.sum(-1) + 1e-3
    red, green = small[..., 0] / total, small[..., 1] / total
    chroma, _, _ = np.histogram2d(red.ravel(), green.ravel(), bins=_BINS, range=((0, 0.8), (0, 0.8)))
    light, _ = np.histogram(total.ravel() / 3.0, bins=_BINS, range=(0, 1))
    histogram = np.concatenate([chroma.ravel() / chroma.sum(), light / max(light.sum(), 1)]).astype(np.float32)
    return Signature(histogram=histogram, layout=small - small.mean())


def difference(a: Signature, b: Signature) -> tuple[float, float]:
    """How much two frames differ in colour statistics (0 to 1) and in layout (mean absolute difference)."""
    return 0.25 * float(np.abs(a.histogram - b.histogram).sum()), float(np.abs(a.layout - b.layout).mean())


def _differs(step: tuple[float, float]) -> bool:
    return (step[0] > _MIN_HISTOGRAM and step[1] > _MIN_LAYOUT) or (
        step[1] > 2.2 * _MIN_LAYOUT and step[0] > 0.4 * _MIN_HISTOGRAM
    )


def find_cuts(signatures: Iterable[Signature]) -> list[int]:
    """Positions (counted in what was handed in) of the first frame of every shot but the first."""
    cuts: list[int] = []
    usual_steps: deque[float] = deque(maxlen=_WINDOW)  # layout steps within this shot
    before: deque[Signature] = deque(maxlen=_LOOK_BACK)  # the last frames of this shot
    for position, (current, ahead) in enumerate(_with_look_ahead(signatures)):
        if before:
            step = difference(before[-1], current)
            usual = float(np.median(usual_steps)) if usual_steps else 0.0
            is_cut = (
                _differs(step)
                and step[1] > _RATIO * usual
                and position - (cuts[-1] if cuts else 0) >= _MIN_SHOT_FRAMES
                and all(_differs(difference(before[-1], later)) for later in ahead)
                and all(_differs(difference(earlier, current)) for earlier in before)
            )
            if is_cut:
                cuts.append(position)
                usual_steps.clear()
                before.clear()
            else:
                usual_steps.append(step[1])
        before.append(current)
    return cuts


def _with_look_ahead(signatures: Iterable[Signature]) -> Iterator[tuple[Signature, tuple[Signature, ...]]]:
    """Each signature with the few that follow it."""
    waiting: deque[Signature] = deque()
    for new in signatures:
        waiting.append(new)
        if len(waiting) > _LOOK_AHEAD:
            yield waiting.popleft(), tuple(waiting)
    while waiting:
        yield waiting.popleft(), tuple(waiting)


def longest_shot(cuts: list[int], num_frames: int) -> tuple[int, int]:
    """First and one-past-last frame of the longest shot; the earlier of equals."""
    edges = [0, *cuts, num_frames]
    shots = list(itertools.pairwise(edges))
    return max(shots, key=lambda shot: (shot[1] - shot[0], -shot[0]))
