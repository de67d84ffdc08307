"""Points are followed from a render into a frame that shows the same thing a little elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from bodydouble.fit.flow import FlowMatcher


def _texture(seed: int = 0) -> np.ndarray:
    import cv2

    noise = np.random.default_rng(seed).random((192, 192, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3.0)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


@pytest.mark.parametrize("shift_px", [(4, 0), (0, -6), (3, 5)])
def test_follows_a_shift(shift_px: tuple[int, int]) -> None:
    render = _texture()
    frame = np.roll(render, (shift_px[1], shift_px[0]), axis=(0, 1))
    grid = np.stack(np.meshgrid(np.arange(40, 150, 10) + 0.5, np.arange(40, 150, 10) + 0.5), -1).reshape(-1, 2)
    targets, weights = FlowMatcher().match(render, frame, grid)
    error = np.linalg.norm(targets - grid - np.array(shift_px), axis=1)
    assert np.median(error) < 0.3
    assert np.median(weights) > 0.5


def test_unrelated_pictures_are_not_trusted() -> None:
    grid = np.stack(np.meshgrid(np.arange(40, 150, 10) + 0.5, np.arange(40, 150, 10) + 0.5), -1).reshape(-1, 2)
    _, same = FlowMatcher().match(_texture(0), _texture(0), grid)
    _, other = FlowMatcher().match(_texture(0), _texture(7), grid)
    assert other.mean() < 0.4 * same.mean()


def test_plain_areas_count_little() -> None:
    plain = np.full((192, 192, 3), 0.5, np.float32)
    _, weights = FlowMatcher().match(plain, plain, np.array([[90.5, 90.5]]))
    assert float(weights[0]) <= 0.15
