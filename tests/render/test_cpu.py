"""The CPU rasteriser against the reference, and properties that every rasteriser has."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scenes_render import FIELDS, grad_of, gradients, leaves, random_splats, relative_error, small_camera, weighted_sum

from bodydouble.core.cameras import video_camera
from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import quat_multiply_wxyz, rigid, rotvec_to_matrix, rotvec_to_quat_wxyz
from bodydouble.render import cpu
from bodydouble.render.cpu import CpuRasterizer
from bodydouble.render.protocol import SplatCloud
from bodydouble.render.reference import rasterize_reference

pytestmark = pytest.mark.usefixtures("kernels")

# Both stop per pixel by the same rule, so opaque scenes are compared with early stopping on. Where float32 and float64
# fall on different sides of a cut-off (alpha of 1/255, transmittance of 1e-4) single pixels may differ by that much.
FORWARD = 1e-4
GRADIENT = 1e-3
BACKGROUND = torch.tensor([0.2, 0.5, 0.9])


def test_pixels_are_the_same_picture_in_another_order() -> None:
    splats = random_splats(50, seed=1, degree=0).to(dtype=torch.float32)
    image = CpuRasterizer()(splats, small_camera(20, 12), BACKGROUND)
    pixels = image.pixels()
    assert pixels.flags.c_contiguous and pixels.flags.writeable and not image.rgb.is_contiguous()
    np.testing.assert_array_equal(pixels, image.rgb.detach().numpy())
    pixels[:] = 0.0
    assert image.rgb.max() > 0.0, "the picture itself must stay"


def cut_off_pixels(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pixels that differ by no more than a splat that ends there can explain, 1/255 and a little."""
    difference = (a.double() - b.double()).abs()
    return (difference > FORWARD) & (difference < 1.05 / 255)


@pytest.fixture(params=["simd", "plain"])
def hot(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both sets of kernels in turn."""
    if request.param == "plain":
        from bodydouble.render import cpu_plain

        monkeypatch.setattr(cpu, "hot_kernels", lambda: cpu_plain)
    else:
        assert cpu.hot_kernels().__name__.endswith("cpu_simd"), "the SIMD kernels do not compile on this machine"
    return request.param


@pytest.mark.parametrize("size", [(53, 37), (64, 64), (1, 1), (33, 3), (130, 70)])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_image_equals_the_reference(hot: str, size: tuple[int, int], degree: int) -> None:
    splats, camera = random_splats(300, seed=degree, degree=degree), small_camera(*size)
    found = CpuRasterizer()(splats.to(dtype=torch.float32), camera, BACKGROUND)
    expected = rasterize_reference(splats, camera, BACKGROUND)
    for name in ("rgb", "alpha", "depth"):
        a, b = getattr(found, name), getattr(expected, name)
        odd = cut_off_pixels(a, b)
        assert a.shape == b.shape and a.dtype == torch.float32
        assert odd.float().mean() < 1e-3
        assert (a - b)[~odd].abs().max() < FORWARD


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize("most_opaque", [0.3, 0.95])
def test_gradients_equal_the_reference(hot: str, degree: int, most_opaque: float) -> None:
    splats = random_splats(150, seed=7, degree=degree, most_opaque=most_opaque)
    camera = small_camera()
    found = gradients(CpuRasterizer(), splats, camera, torch.float32, BACKGROUND)
    expected = gradients(rasterize_reference, splats, camera, torch.float64, BACKGROUND.double())
    for name, a, b in zip(FIELDS, found, expected, strict=True):
        assert relative_error(a, b) < GRADIENT, name


def test_gradient_of_clipped_alpha_is_zero(hot: str) -> None:
    splats = random_splats(1).replace(
        means_world=torch.tensor([[0.0, 0.0, -1.0]]).double(), opacities=torch.ones(1).double(),
        scales_m=torch.full((1, 3), 5.0).double(),
    )  # fmt: skip
    found = gradients(CpuRasterizer(), splats, video_camera(8, 8, 8.0), torch.float32)
    assert found[3].abs().max() == 0.0 and found[0].isfinite().all()
    assert found[4].abs().max() > 0.0


def test_gradient_of_the_background(hot: str) -> None:
    splats, camera = random_splats(50), small_camera()
    a, b = BACKGROUND.clone().requires_grad_(), BACKGROUND.double().requires_grad_()
    weighted_sum(CpuRasterizer()(splats, camera, a)).backward()
    weighted_sum(rasterize_reference(splats, camera, b)).backward()
    assert relative_error(grad_of(a), grad_of(b)) < 1e-4


@pytest.mark.parametrize("part", ["rgb", "alpha", "depth"])
def test_loss_on_one_output_alone(hot: str, part: str) -> None:
    splats, camera = random_splats(60), small_camera()
    results = []
    for rasterizer, dtype in ((CpuRasterizer(), torch.float32), (rasterize_reference, torch.float64)):
        inputs = leaves(splats, dtype)
        (getattr(rasterizer(inputs, camera), part) ** 2).sum().backward()
        results.append(grad_of(inputs.means_world))
    assert relative_error(*results) < GRADIENT


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=60, n=3, width=1, height=33, size_m=1.0, focal=231.0)  # one row in the last row of blocks
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), width=st.integers(1, 70), height=st.integers(1, 70),
       size_m=st.floats(1e-4, 3.0), focal=st.floats(5.0, 400.0))  # fmt: skip
def test_any_scene_equals_the_reference(
    seed: int, n: int, width: int, height: int, size_m: float, focal: float
) -> None:
    splats, camera = random_splats(n, seed=seed, size_m=size_m, degree=1), small_camera(width, height, focal)
    splats = splats.to(dtype=torch.float32)
    found = CpuRasterizer()(splats, camera)
    expected = rasterize_reference(splats.to(dtype=torch.float64), camera)
    difference = (found.rgb - expected.rgb).abs()
    assert difference.max() < 2.0 / 255  # nothing missing, nothing invented
    assert (difference > FORWARD).float().mean() < 0.02


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000))
def test_order_of_the_splats_does_not_matter(seed: int) -> None:
    splats = random_splats(200, seed=seed).to(dtype=torch.float32)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(seed))
    a, b = (CpuRasterizer()(s, small_camera()) for s in (splats, splats.map(lambda t: t[order])))
    assert torch.equal(a.rgb, b.rgb) and torch.equal(a.depth, b.depth)


def test_moving_scene_and_camera_together_changes_nothing() -> None:
    splats, camera = random_splats(80), small_camera().to(dtype=torch.float64)
    rotvec, shift = torch.tensor([0.3, -0.8, 0.5]).double(), torch.tensor([0.4, 1.0, -2.0]).double()
    R = rotvec_to_matrix(rotvec)
    moved = splats.replace(
        means_world=splats.means_world @ R.T + shift,
        quats_wxyz=quat_multiply_wxyz(rotvec_to_quat_wxyz(rotvec).expand(80, 4), splats.quats_wxyz),
    )
    image = CpuRasterizer()(moved, camera.replace(T_camera_world=camera.T_camera_world @ rigid(R.T, -R.T @ shift)))
    still = CpuRasterizer()(splats, camera)
    odd = cut_off_pixels(image.rgb, still.rgb)
    assert odd.float().mean() < 2e-3 and (image.rgb - still.rgb)[~odd].abs().max() < FORWARD


def test_threads_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    splats, camera = random_splats(1500, size_m=0.05), small_camera(200, 150, 200.0)
    results = []
    for threads in (1, 2, 3, 2):
        monkeypatch.setattr(cpu, "kernel_threads", lambda threads=threads: threads)
        results.append(gradients(CpuRasterizer(), splats, camera, torch.float32))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_several_python_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "kernel_threads", lambda: 2)
    splats, camera = random_splats(1500, size_m=0.05).to(dtype=torch.float32), small_camera()
    expected = CpuRasterizer()(splats, camera).rgb
    images: list[torch.Tensor] = []
    workers = [
        threading.Thread(target=lambda: images.extend(CpuRasterizer()(splats, camera).rgb for _ in range(5)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(images) == 20 and all(torch.equal(expected, image) for image in images)


def test_backward_twice_through_a_kept_graph() -> None:
    inputs = leaves(random_splats(40), torch.float32)
    loss = weighted_sum(CpuRasterizer()(inputs, small_camera()))
    loss.backward(retain_graph=True)
    once = grad_of(inputs.means_world).clone()
    loss.backward()
    assert torch.allclose(grad_of(inputs.means_world), 2 * once)


def test_empty_scene_and_scene_behind_the_camera(hot: str) -> None:
    camera = small_camera()
    for splats in (random_splats(0), random_splats(20).map(lambda t: t)):
        if splats.means_world.shape[0]:
            splats = splats.replace(means_world=splats.means_world + torch.tensor([0.6, 0.8, 8.0]).double())
        inputs = leaves(splats, torch.float32)
        image = CpuRasterizer()(inputs, camera, BACKGROUND)
        assert torch.equal(image.rgb, BACKGROUND.expand(37, 53, 3)) and image.alpha.abs().max() == 0.0
        weighted_sum(image).backward()
        assert all(grad_of(getattr(inputs, name)).abs().sum() == 0.0 for name in FIELDS)


def test_huge_tiny_thin_and_near_splats(hot: str) -> None:
    splats = random_splats(40, seed=3, most_opaque=0.5)
    scales, means = splats.scales_m.clone(), splats.means_world.clone()
    scales[:4] = 50.0
    scales[4:8] = 1e-7
    scales[8:16] = torch.tensor([0.5, 0.001, 0.001]).double()
    camera = small_camera(97, 61, 90.0)
    eye = -camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3]
    means[16:20] = eye.double() + (means[16:20] - eye) * 0.04
    splats = splats.replace(scales_m=scales, means_world=means).to(dtype=torch.float32)
    found = CpuRasterizer()(splats, camera)
    expected = rasterize_reference(splats.to(dtype=torch.float64), camera)
    odd = cut_off_pixels(found.rgb, expected.rgb)
    assert found.rgb.isfinite().all() and odd.float().mean() < 0.01
    assert (found.rgb - expected.rgb)[~odd].abs().max() < 3e-4  # float32 centres of splats 0.1 m from the eye


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", FIELDS)
def test_a_splat_that_is_not_finite_spoils_nothing(hot: str, name: str, value: float) -> None:
    splats = random_splats(30, degree=1).to(dtype=torch.float32)
    broken = getattr(splats, name).clone()
    broken.view(30, -1)[4, -1] = value
    camera = small_camera()
    rest = splats.map(lambda t: torch.cat([t[:4], t[5:]]))
    inputs = leaves(splats.replace(**{name: broken}), torch.float32)
    image = CpuRasterizer()(inputs, camera)
    assert torch.equal(image.rgb, CpuRasterizer()(rest, camera).rgb)
    weighted_sum(image).backward()
    for field in FIELDS:
        gradient = grad_of(getattr(inputs, field))
        assert gradient.isfinite().all() and gradient[4].abs().max() == 0.0


def test_unnormalised_quaternions_are_normalised_inside() -> None:
    splats = random_splats(50).to(dtype=torch.float32)
    longer = splats.replace(quats_wxyz=splats.quats_wxyz * 3.0)
    a, b = (CpuRasterizer()(s, small_camera()).rgb for s in (splats, longer))
    assert (a - b).abs().max() < 1e-5


def test_ties_in_depth_go_by_index() -> None:
    one = random_splats(1, seed=2, most_opaque=0.9).to(dtype=torch.float32)
    red, blue = torch.tensor([[[1.0, -1.0, -1.0]]]), torch.tensor([[[-1.0, -1.0, 1.0]]])
    two = SplatCloud(**{name: torch.cat([getattr(one, name)] * 2) for name in FIELDS})
    first_red = CpuRasterizer()(two.replace(sh=torch.cat([red, blue])), small_camera()).rgb.sum((0, 1))
    first_blue = CpuRasterizer()(two.replace(sh=torch.cat([blue, red])), small_camera()).rgb.sum((0, 1))
    assert first_red[0] > first_blue[0] and first_blue[2] > first_red[2]


def test_changing_the_image_in_place_is_noticed() -> None:
    image = CpuRasterizer()(leaves(random_splats(5), torch.float32), small_camera())
    loss = image.rgb.sum()
    image.alpha.detach().add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_wrong_shapes_are_explained(our_checks_alone: None) -> None:
    splats = random_splats(5).to(dtype=torch.float32)
    with pytest.raises(ShapeError, match=r"scales_m must be \(5, 3\) like the 5 means, got \(4, 3\)"):
        CpuRasterizer()(splats.replace(scales_m=splats.scales_m[:4]), small_camera())
    with pytest.raises(ShapeError, match="must have 1, 4, 9 or 16 coefficients"):
        CpuRasterizer()(splats.replace(sh=torch.zeros(5, 5, 3)), small_camera())
