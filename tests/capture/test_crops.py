"""Squares around the person: what lies beyond the image is known to be unknown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.capture.crops import PersonCrop, beyond_image, half_size
from bodydouble.core.cameras import video_camera
from bodydouble.reconstruct.splats.frames import Target
from bodydouble.render.protocol import RenderedSplats


@given(
    x0=st.integers(-40, 70), y0=st.integers(-40, 50), side=st.integers(16, 90), size=st.sampled_from([16, 32, 48, 64])
)
def test_pixels_beyond_the_image_are_marked(x0: int, y0: int, side: int, size: int) -> None:
    width, height = 80, 60
    beyond = beyond_image(width, height, (x0, y0, side), size)
    left, right = (np.arange(size)) * side / size + x0, (np.arange(size) + 1) * side / size + x0
    top, bottom = (np.arange(size)) * side / size + y0, (np.arange(size) + 1) * side / size + y0
    wholly_out = ((right <= 0) | (left >= width))[None] | ((bottom <= 0) | (top >= height))[:, None]
    partly_out = ((left < 0) | (right > width))[None] | ((top < 0) | (bottom > height))[:, None]
    if beyond is None:
        assert not partly_out.any()
        return
    assert partly_out.any()
    assert beyond[wholly_out].all()
    reach = 3.0 * max(1.0, side / size)  # of cubic resampling
    deep = ((left > reach) & (right < width - reach))[None] & ((top > reach) & (bottom < height - reach))[:, None]
    assert not beyond[deep].any()


def crop(beyond: np.ndarray | None, size: int = 8) -> PersonCrop:
    return PersonCrop(
        frame_index=0, rgb=np.zeros((size, size, 3), np.uint8), mask=np.zeros((size, size), np.uint8),
        camera=video_camera(size, size, 20.0), x0_px=0, y0_px=0, side_px=size, beyond=beyond,
    )  # fmt: skip


def test_half_a_crop_knows_the_same() -> None:
    assert half_size(crop(None)).beyond is None
    beyond = np.zeros((8, 8), bool)
    beyond[5:] = True
    half = half_size(crop(beyond)).beyond
    assert half is not None and half.dtype == bool
    assert half[2:].all() and not half[:2].any()  # the third row mixes both


def test_a_render_agrees_beyond_the_image() -> None:
    render, target = np.ones((8, 8, 3), np.float32), np.zeros((8, 8, 3), np.float32)
    np.testing.assert_array_equal(crop(None).agreeing_beyond(render, target), render)
    beyond = np.zeros((8, 8), bool)
    beyond[6:, 2:] = True
    assert ((1.0 - crop(beyond).agreeing_beyond(render, target)) == beyond[..., None]).all()


@pytest.mark.parametrize("known", [True, False])
def test_training_demands_nothing_beyond_the_image(known: bool) -> None:
    beyond = torch.zeros(6, 6, dtype=torch.bool)
    beyond[4:] = True
    target = Target(torch.zeros(6, 6, 3), torch.zeros(6, 6), video_camera(6, 6, 20.0), beyond=beyond if known else None)
    rgb, alpha = torch.ones(6, 6, 3, requires_grad=True), torch.ones(6, 6, requires_grad=True)
    asked = target.agreeing_beyond(RenderedSplats(rgb=rgb, alpha=alpha, depth=torch.ones(6, 6)))
    ((rgb - asked.rgb).square().sum() + (alpha - asked.mask).square().sum()).backward()
    assert rgb.grad is not None and alpha.grad is not None
    expected = (~beyond if known else torch.ones_like(beyond)).float()
    assert torch.equal((alpha.grad != 0).float(), expected) and torch.equal((rgb.grad[..., 0] != 0).float(), expected)
