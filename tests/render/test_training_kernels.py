"""Fused loss, Adam and skinning against their torch twins."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes_render import grad_of, relative_error

from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.skinning import skin_points
from bodydouble.render.adam import AdamMoments, adam_step, zero_moments
from bodydouble.render.losses import photometric_loss, photometric_loss_reference, planar, ssim_map
from bodydouble.render.skin import skin_splats, skin_splats_reference

pytestmark = pytest.mark.usefixtures("kernels")


def images(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(height, width, 3, generator=rng), torch.rand(height, width, 3, generator=rng), torch.rand(
        height, width, generator=rng
    )  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 60), seed=st.integers(0, 99), weighted=st.booleans(),
       as_planes=st.booleans(), workers=st.integers(1, 3), squares=st.sampled_from([0.0, 3.0]))  # fmt: skip
def test_loss_and_gradient_equal_the_twin(
    height: int, width: int, seed: int, weighted: bool, as_planes: bool, workers: int, squares: float
) -> None:
    rendered, target, weights = images(height, width, seed)
    pixel_map = weights if weighted else None
    a = (planar(rendered) if as_planes else rendered).clone(memory_format=torch.preserve_format).requires_grad_()
    b = rendered.double().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bodydouble.render.losses.kernel_threads", lambda: workers)
        fused = photometric_loss(a, target, squared_weight=squares, pixel_map=pixel_map)
    (1.7 * fused.total).backward()
    twin = photometric_loss_reference(
        b, target.double(), squared_weight=squares, pixel_map=None if pixel_map is None else pixel_map.double()
    )
    (1.7 * twin.total).backward()
    for name in ("total", "l1", "squared", "ssim"):
        assert getattr(fused, name).item() == pytest.approx(getattr(twin, name).item(), abs=1e-6)
    assert relative_error(grad_of(a), grad_of(b)) < 1e-5


@settings(max_examples=30, deadline=None)
@given(top=st.integers(0, 39), left=st.integers(0, 59), rows=st.integers(0, 40), columns=st.integers(0, 60),
       weighted=st.booleans(), as_planes=st.booleans())  # fmt: skip
def test_where_images_are_alike_nothing_is_lost(
    top: int, left: int, rows: int, columns: int, weighted: bool, as_planes: bool
) -> None:
    target, other, weights = images(40, 60)
    target[::3] = torch.tensor([0.2, 0.9, 0.5])  # flat stripes, and stripes of noise
    rendered = target.clone()
    rendered[top : top + rows, left : left + columns] = other[top : top + rows, left : left + columns]
    pixel_map = weights if weighted else None
    a = (planar(rendered) if as_planes else rendered).clone(memory_format=torch.preserve_format).requires_grad_()
    b = rendered.double().requires_grad_()
    fused = photometric_loss(a, target, squared_weight=3.0, pixel_map=pixel_map)
    fused.total.backward()
    twin = photometric_loss_reference(
        b, target.double(), squared_weight=3.0, pixel_map=None if pixel_map is None else pixel_map.double()
    )
    twin.total.backward()
    for name in ("total", "l1", "squared", "ssim"):
        assert getattr(fused, name).item() == pytest.approx(getattr(twin, name).item(), abs=1e-6)
    torch.testing.assert_close(grad_of(a).double(), grad_of(b), atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("column", [3, 58])  # among whole vectors, and behind the last of them
def test_a_pixel_that_is_no_number_is_not_taken_for_alike(column: int) -> None:
    target, _, _ = images(40, 59)
    rendered = target.clone()
    rendered[20, column, 1] = torch.nan
    assert photometric_loss(planar(rendered), planar(target)).total.isnan()


@pytest.mark.parametrize("width", range(17, 33))
def test_a_row_of_any_width_leaves_the_next_one_alone(width: int) -> None:
    rendered, target, _ = images(12, width)
    a, b = rendered.clone().requires_grad_(), rendered.double().requires_grad_()
    photometric_loss(a, target).total.backward()
    photometric_loss_reference(b, target.double()).total.backward()
    assert relative_error(grad_of(a), grad_of(b)) < 2e-6


def test_loss_of_equal_images_is_zero_and_smooth_images_are_stable() -> None:
    flat = torch.full((40, 40, 3), 0.7).requires_grad_()
    loss = photometric_loss(flat, torch.full((40, 40, 3), 0.7))
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0.0, abs=1e-6) and loss.ssim.item() == pytest.approx(1.0, abs=1e-6)
    assert grad_of(flat).isfinite().all() and grad_of(flat).abs().max() < 1e-6


def test_weights_of_the_terms() -> None:
    rendered, target, _ = images(20, 30)
    loss = photometric_loss(rendered, target, l1_weight=2.0, ssim_weight=0.5, squared_weight=3.0)
    expected = 2.0 * float(loss.l1) + 3.0 * float(loss.squared) + 0.5 * (1 - float(loss.ssim))
    assert float(loss.total) == pytest.approx(expected, abs=1e-6)
    assert float(loss.squared) == pytest.approx(float(((rendered - target) ** 2).mean()), abs=1e-6)
    assert float(loss.l1) == pytest.approx(float((rendered - target).abs().mean()), abs=1e-6)


def test_ssim_of_the_twin_against_its_definition() -> None:
    # One pixel far from the edges, straight from Wang et al. 2004, eq. 13.
    a, b, _ = images(21, 21, 3)
    a, b = a.double(), b.double()
    x = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-(x[:, None] ** 2 + x[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    p, q = a[5:16, 5:16, 1], b[5:16, 5:16, 1]
    mp, mq = (window * p).sum(), (window * q).sum()
    vp, vq, c = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum(), (window * (p - mp) * (q - mq)).sum()
    expected = (2 * mp * mq + 1e-4) * (2 * c + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
    assert float(ssim_map(a, b)[10, 10, 1]) == pytest.approx(float(expected), abs=1e-12)


def test_loss_in_float64_uses_the_twin_and_passes_gradcheck() -> None:
    rendered, target, weights = (t.double() for t in images(6, 7))
    rendered.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda r: photometric_loss(r, target, squared_weight=2.0, pixel_map=weights).total, rendered
    )


def test_loss_without_simd_is_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered, target, _ = images(9, 12)
    fast = photometric_loss(rendered, target)
    monkeypatch.setattr("bodydouble.render.cpu.simd_works", lambda: False)
    assert photometric_loss(rendered, target).total.item() == pytest.approx(fast.total.item(), abs=1e-6)


def test_loss_of_different_sizes_is_explained(our_checks_alone: None) -> None:
    with pytest.raises(ShapeError, match=r"target must be \(4, 5, 3\) like the rendered image, got \(5, 4, 3\)"):
        photometric_loss(torch.zeros(4, 5, 3), torch.zeros(5, 4, 3))


@pytest.mark.parametrize("simd", [True, False])
@pytest.mark.parametrize("shape", [(7,), (50, 3), (40_000, 3)])
def test_adam_equals_torch(shape: tuple[int, ...], simd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodydouble.render.cpu.simd_works", lambda: simd)
    rng = torch.Generator().manual_seed(0)
    ours = torch.randn(*shape, generator=rng)
    theirs = ours.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.03, betas=(0.8, 0.95), eps=1e-6)
    moments = zero_moments(ours)
    for step in range(1, 30):
        gradient = torch.randn(*shape, generator=rng) * step
        theirs.grad = gradient.clone()
        optimiser.step()
        adam_step(ours, gradient, moments, step=step, lr=0.03, beta1=0.8, beta2=0.95, eps=1e-6)
    assert (ours - theirs).abs().max() < 1e-5


def test_adam_refuses_what_it_cannot_change(our_checks_alone: None) -> None:
    with pytest.raises(ShapeError, match=r"the first moment must be float32 \(3, 2\)"):
        adam_step(torch.zeros(3, 2), torch.zeros(3, 2), zero_moments(torch.zeros(4, 2)), step=1, lr=0.1)
    with pytest.raises(ShapeError, match="must be contiguous"):
        across = torch.zeros(2, 3).T
        adam_step(across, torch.zeros(3, 2), AdamMoments(first=across, second=across), step=1, lr=0.1)


def skinning_inputs(n: int, bones: int, seed: int, k: int = 4) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    weights = torch.rand(n, k, generator=rng, dtype=torch.float64) + 1e-3
    joints = torch.randint(0, bones, (n, k), generator=rng)
    R = rotvec_to_matrix(normal(bones, 3) * 1.5)
    return normal(n, 3), normal(n, 4), R, normal(bones, 3), joints, weights / weights.sum(1, keepdim=True)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 60), bones=st.integers(1, 12), seed=st.integers(0, 999), k=st.integers(1, 4))
def test_skinning_and_gradients_equal_the_twin(n: int, bones: int, seed: int, k: int) -> None:
    inputs = skinning_inputs(n, bones, seed, k)
    rng = torch.Generator().manual_seed(seed + 1)
    incoming = [torch.randn(n, width, generator=rng, dtype=torch.float64) for width in (3, 4)]
    results = []
    for skin, dtype in ((skin_splats, torch.float32), (skin_splats_reference, torch.float64)):
        leaf = [t.to(dtype).requires_grad_() if t.is_floating_point() else t for t in inputs]
        outputs = skin(*leaf)
        torch.autograd.backward(outputs, [g.to(dtype) for g in incoming])
        results.append([*outputs, *(t.grad for t in leaf if t.is_floating_point())])
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().max() < 2e-4 * (1.0 + b.abs().max())


def test_rigid_skinning_is_rigid() -> None:
    means, quats, R, t, joints, weights = (x.float() if x.is_floating_point() else x for x in skinning_inputs(30, 5, 0))
    joints = joints[:, :1].expand(-1, 4).contiguous()
    moved, turned = skin_splats(means, quats, R, t, joints, weights)
    assert torch.allclose(moved, skin_points(means, R, t, joints, weights), atol=1e-5)
    assert torch.allclose(turned.norm(dim=1), quats.norm(dim=1), atol=1e-5)


def test_threads_do_not_change_skinning_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [x.float() if x.is_floating_point() else x for x in skinning_inputs(500, 7, 1)]
    results = []
    for workers in (1, 2, 3):
        monkeypatch.setattr("bodydouble.render.skin.kernel_threads", lambda workers=workers: workers)
        leaf = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
        moved, turned = skin_splats(*leaf)
        (moved.sin().sum() + turned.cos().sum()).backward()
        results.append([grad_of(x) for x in leaf if x.is_floating_point()])
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_joints_of_another_rig_are_refused() -> None:
    means, quats, R, t, joints, weights = (x.float() if x.is_floating_point() else x for x in skinning_inputs(5, 3, 0))
    with pytest.raises(ShapeError, match=r"joints must be in 0..2 for 3 bones"):
        skin_splats(means, quats, R, t, joints + 3, weights)
