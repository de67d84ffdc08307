"""Structs of tensors and named random streams."""

import dataclasses

import pytest
import torch

from bodydouble.core.cameras import video_camera
from bodydouble.core.seeds import derived_seed, numpy_rng, torch_rng


def test_structs_are_frozen_and_keyword_only():
    camera = video_camera(4, 3, 2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        camera.width_px = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        type(camera)(4, 3)  # type: ignore[misc,call-arg]


def test_map_to_detach_and_replace():
    camera = video_camera(4, 3, torch.tensor(2.0, requires_grad=True))
    doubled = camera.map(lambda t: t * 2)
    assert doubled.width_px == 4
    torch.testing.assert_close(doubled.focal_px, torch.tensor([4.0, 4.0]))
    assert camera.focal_px.requires_grad
    assert not camera.detach().focal_px.requires_grad
    assert camera.to(dtype=torch.float64).T_camera_world.dtype == torch.float64
    assert camera.replace(width_px=9).width_px == 9
    assert camera.width_px == 4


def test_streams_repeat_and_differ_by_name():
    assert derived_seed(0, "a") == derived_seed(0, "a")
    assert len({derived_seed(s, n) for s in range(20) for n in ("a", "b", "c")}) == 60
    assert 0 <= derived_seed(123, "x") < 2**63
    assert numpy_rng(1, "x").random() == numpy_rng(1, "x").random()
    torch.testing.assert_close(torch.rand(3, generator=torch_rng(1, "x")), torch.rand(3, generator=torch_rng(1, "x")))
    assert not torch.equal(torch.rand(3, generator=torch_rng(1, "x")), torch.rand(3, generator=torch_rng(1, "y")))
