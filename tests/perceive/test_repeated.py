"""The colour that repeats itself: the kernel against plain numpy, and what it must find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.perceive.repeated import LEAST, believed_around, repeated_color

SHARE, STABLE = 0.35, 0.6


def plainly(colors: np.ndarray, usable: np.ndarray, far: np.ndarray, tolerance: float) -> tuple[np.ndarray, float]:
    """One pixel, as the docstring says it."""
    chosen = far if far.sum() >= LEAST else usable
    values = colors[chosen]
    if len(values) < 2:
        return np.zeros(3), 0.0
    light = values.mean(1)
    ordered = np.sort(light)
    window = max(2, int(np.ceil(SHARE * len(light))))
    widths = ordered[window - 1 :] - ordered[: len(ordered) - window + 1]
    start = int(np.argmin(widths))
    middle = 0.5 * (ordered[start] + ordered[start + window - 1])
    near = np.abs(light - middle) <= 0.5 * widths[start] + 0.25 * tolerance
    mean = values[near].mean(0)
    support = (np.abs(values - mean).max(1) < tolerance).mean()
    enough = min(1.0, len(light) / LEAST)
    if support >= STABLE:
        return mean, enough
    return mean, 0.5 * enough * float(np.clip((support - 0.5 * STABLE) / (0.5 * STABLE), 0.0, 1.0))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(2, 24), share=st.floats(0.1, 1.0))
def test_kernel_does_what_plain_numpy_does(seed: int, frames: int, share: float):
    rng = np.random.default_rng(seed)
    colors = (0.4 + 0.1 * rng.random((frames, 3, 4, 3))).astype(np.float32)
    colors[rng.random((frames, 3, 4)) < 0.3] += 0.3
    usable = rng.random((frames, 3, 4)) < share
    far = usable & (rng.random(usable.shape) < 0.5)
    rgb, sure = repeated_color(colors, usable, far, 0.05)
    for y in range(3):
        for x in range(4):
            expected, how_sure = plainly(colors[:, y, x].astype(np.float64), usable[:, y, x], far[:, y, x], 0.05)
            np.testing.assert_allclose(rgb[y, x], expected, atol=2e-6)
            assert sure[y, x] == pytest.approx(how_sure, abs=1e-6)


def test_somebody_who_stands_there_in_most_frames_is_not_the_scene():
    colors = np.full((20, 1, 1, 3), 0.2, np.float32)
    colors[8:] = 0.7  # somebody came
    usable = np.ones((20, 1, 1), bool)
    usable[10:] = False  # and is known to be there, but for two frames
    rgb, sure = repeated_color(colors, usable, np.zeros_like(usable), 0.04)
    np.testing.assert_allclose(rgb[0, 0], 0.2, atol=1e-6)
    assert sure[0, 0] == 1.0


def test_what_is_known_alone_is_believed_less():
    seen = np.zeros((60, 60), np.float32)
    seen[:, :30] = 1.0
    seen[30, 50] = 1.0
    believed = believed_around(seen)
    assert believed[30, 10] == 1.0
    assert believed[30, 50] == 0.5
