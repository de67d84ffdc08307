"""The reference: image formation checked by hand, gradients by finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from scenes_render import FIELDS, leaves, random_splats, small_camera, weighted_sum

from bodydouble.core.cameras import video_camera
from bodydouble.core.geometry import quat_multiply_wxyz, rigid, rotvec_to_matrix, rotvec_to_quat_wxyz
from bodydouble.render.protocol import SplatCloud
from bodydouble.render.reference import ReferenceRasterizer, drawable, rasterize_reference
from bodydouble.render.sh import rgb_to_sh


def ball(depth_m: float = 2.0, sigma_m: float = 0.1, opacity: float = 0.8, rgb=(0.2, 0.5, 0.9)) -> SplatCloud:
    """One round splat straight ahead of `video_camera`."""
    return SplatCloud(
        means_world=torch.tensor([[0.0, 0.0, -depth_m]]),
        quats_wxyz=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales_m=torch.full((1, 3), sigma_m),
        opacities=torch.tensor([opacity]),
        sh=rgb_to_sh(torch.tensor([rgb])),
    ).to(dtype=torch.float64)


def test_one_ball_matches_the_formula() -> None:
    camera = video_camera(33, 33, 60.0)
    image = rasterize_reference(ball(), camera)
    variance = (60.0 * 0.1 / 2.0) ** 2 + 0.3
    x = torch.arange(33, dtype=torch.float64) + 0.5 - 16.5
    expected = 0.8 * torch.exp(-0.5 * (x[None] ** 2 + x[:, None] ** 2) / variance)
    expected = torch.where(expected >= 1 / 255, expected, torch.zeros(()).double())
    assert torch.allclose(image.alpha, expected, atol=1e-12)
    assert torch.allclose(image.depth, 2.0 * expected, atol=1e-12)
    assert torch.allclose(image.rgb, expected[..., None] * torch.tensor([0.2, 0.5, 0.9]).double(), atol=1e-7)


def test_nearer_splats_hide_farther_ones_whatever_their_order() -> None:
    camera = video_camera(9, 9, 9.0)
    near, far = ball(1.0, 0.3, 0.7, (1.0, 0.0, 0.0)), ball(3.0, 0.9, 0.6, (0.0, 1.0, 0.0))
    both = SplatCloud(**{name: torch.cat([getattr(far, name), getattr(near, name)]) for name in FIELDS})
    image = rasterize_reference(both, camera, torch.tensor([0.0, 0.0, 1.0]).double())
    middle = image.rgb[4, 4]
    assert torch.allclose(middle, torch.tensor([0.7, 0.3 * 0.6, 0.3 * 0.4]).double(), atol=1e-6)


def test_alpha_is_clipped_and_a_pixel_stops() -> None:
    camera = video_camera(5, 5, 5.0)
    layers = [ball(1.0 + 0.1 * k, 0.5, 1.0) for k in range(4)]
    splats = SplatCloud(**{name: torch.cat([getattr(layer, name) for layer in layers]) for name in FIELDS})
    # 0.01^2 = 1e-4 is not below 1e-4 in exact arithmetic; the third layer is what ends the pixel at the latest.
    stopped = rasterize_reference(splats, camera).alpha[2, 2]
    everything = rasterize_reference(splats, camera, stop_early=False).alpha[2, 2]
    assert everything == pytest.approx(1.0 - 0.01**4, abs=1e-12)
    assert stopped in (pytest.approx(1.0 - 0.01**2, abs=1e-9), pytest.approx(1.0 - 0.01**3, abs=1e-9))


def test_what_is_not_drawn() -> None:
    camera = video_camera(9, 9, 9.0)
    assert drawable(ball(0.051), camera).all() and not drawable(ball(0.049), camera).any()
    assert not drawable(ball(-1.0), camera).any()
    assert not drawable(ball(opacity=0.0039), camera).any()
    for name in FIELDS:
        broken = ball().replace(**{name: torch.full_like(getattr(ball(), name), math.nan)})
        assert not drawable(broken, camera).any()
        assert rasterize_reference(broken, camera).rgb.abs().max() == 0.0


def test_no_splats_leave_the_background() -> None:
    nothing = random_splats(0)
    image = rasterize_reference(nothing, small_camera(), torch.tensor([0.1, 0.2, 0.3]).double())
    assert torch.allclose(image.rgb, torch.tensor([0.1, 0.2, 0.3]).double().expand(37, 53, 3))
    assert image.alpha.abs().max() == 0.0


def test_pixels_are_chunked_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    splats, camera = random_splats(60), small_camera()
    whole = rasterize_reference(splats, camera)
    monkeypatch.setattr("bodydouble.render.reference._PAIRS_AT_ONCE", 1000)
    pieces = rasterize_reference(splats, camera)
    assert torch.allclose(whole.rgb, pieces.rgb, atol=1e-14)


@pytest.mark.parametrize("degree", [0, 3])
def test_gradients_by_finite_differences(degree: int) -> None:
    # Large, translucent splats: every pixel is well inside them, so no cut-off is crossed by the differences.
    splats = random_splats(3, seed=4, degree=degree, most_opaque=0.6)
    splats = leaves(splats.replace(scales_m=splats.scales_m * 0.1 + 0.6))
    camera = small_camera(6, 5, 4.0)
    inputs = tuple(getattr(splats, name) for name in FIELDS)

    def image(*tensors: torch.Tensor) -> torch.Tensor:
        cloud = SplatCloud(**dict(zip(FIELDS, tensors, strict=True)))
        return weighted_sum(rasterize_reference(cloud, camera, stop_early=False))

    assert torch.autograd.gradcheck(image, inputs, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_moving_scene_and_camera_together_changes_nothing() -> None:
    splats, camera = random_splats(80, degree=0), small_camera().to(dtype=torch.float64)
    rotvec, shift = torch.tensor([0.3, -0.8, 0.5]).double(), torch.tensor([0.4, 1.0, -2.0]).double()
    R = rotvec_to_matrix(rotvec)
    moved = splats.replace(
        means_world=splats.means_world @ R.T + shift,
        quats_wxyz=quat_multiply_wxyz(rotvec_to_quat_wxyz(rotvec).expand(80, 4), splats.quats_wxyz),
    )
    back = rigid(R.T, -R.T @ shift)
    image = ReferenceRasterizer()(moved, camera.replace(T_camera_world=camera.T_camera_world @ back))
    assert torch.allclose(image.rgb, rasterize_reference(splats, camera).rgb, atol=1e-9)
