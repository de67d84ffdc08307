"""The trilinear grid: against plain torch, closed forms and finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.errors import ShapeError
from bodydouble.render.grid import GridOptimizer, sample_grid, sample_grid_reference


def _case(seed: int, channels: int, dtype: torch.dtype, points: int = 60, shape: tuple[int, int, int] = (5, 4, 6)):
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, channels, generator=rng, dtype=dtype)
    extent = 0.1 * (torch.tensor(shape, dtype=dtype) - 1)
    at = torch.rand(points, 3, generator=rng, dtype=dtype) * (extent + 0.2) - 0.1  # some beyond the border
    return values, torch.zeros(3, dtype=dtype), at + 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), channels=st.sampled_from([1, 3, 13, 16]))
def test_the_kernels_agree_with_plain_torch_forward_and_backward(seed: int, channels: int) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 3e-5)):
        values, origin, points = _case(seed, channels, dtype)
        found = []
        rng = torch.Generator().manual_seed(seed)
        incoming = [
            torch.randn(len(points), channels, generator=rng, dtype=dtype),
            0.1 * torch.randn(len(points), 3, generator=rng, dtype=dtype),
        ]
        for sample in (sample_grid, sample_grid_reference):
            v, p = values.clone().requires_grad_(), points.clone().requires_grad_()
            out = sample(v, origin, 0.1, p)
            found.append([*out, *torch.autograd.grad(list(out), [v, p], incoming)])
        for ours, theirs in zip(*found, strict=True):
            assert torch.allclose(ours, theirs, atol=tolerance * float(theirs.detach().abs().max()) + tolerance, rtol=0)


def test_gradcheck_including_the_second_order_through_the_gradient() -> None:
    values, origin, _ = _case(3, 2, torch.float64, shape=(3, 3, 3))
    cells = torch.tensor([[0.3, 1.4, 0.6], [1.7, 0.2, 1.1], [0.5, 0.5, 1.9]], dtype=torch.float64)
    points = (0.1 * cells).requires_grad_()

    def both(v, p):
        return torch.cat([t.reshape(-1) for t in sample_grid(v, origin, 0.1, p)])

    assert torch.autograd.gradcheck(both, (values.requires_grad_(), points), eps=1e-7, atol=1e-5)


def test_a_linear_field_is_exact_and_its_gradient_constant() -> None:
    slope = torch.tensor([2.0, -1.0, 0.5])
    axes = [0.25 * torch.arange(n) for n in (6, 5, 4)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) + torch.tensor([1.0, 2.0, 3.0])
    values = (places @ slope)[..., None].contiguous()
    inside = torch.rand(50, 3) * 0.25 * torch.tensor([5.0, 4.0, 3.0]) + torch.tensor([1.0, 2.0, 3.0])
    out, gradient = sample_grid(values, torch.tensor([1.0, 2.0, 3.0]), 0.25, inside)
    assert torch.allclose(out[:, 0], inside @ slope, atol=1e-5)
    assert torch.allclose(gradient, slope.expand(50, 3), atol=1e-4)


def test_many_points_on_two_threads_give_the_gradient_of_one() -> None:
    values, origin, points = _case(5, 16, torch.float32, points=9000, shape=(24, 8, 8))
    incoming = [torch.randn(9000, 16), torch.randn(9000, 3)]
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            v = values.clone().requires_grad_()
            found.append(torch.autograd.grad(list(sample_grid(v, origin, 0.1, points)), v, incoming)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(found[0], found[1], atol=1e-4 * float(found[0].abs().max()))


def test_the_optimiser_moves_touched_rows_only_and_downhill() -> None:
    values = torch.zeros(6, 6, 6, 16)
    optimizer = GridOptimizer(values)
    points = torch.tensor([[0.15, 0.25, 0.35]])
    target = torch.linspace(-1, 1, 16)
    first = None
    for _ in range(200):
        out, _ = sample_grid(values, torch.zeros(3), 0.1, points, optimizer)
        loss = (out - target).square().sum()
        first = float(loss) if first is None else first
        loss.backward()
        assert optimizer.step(torch.full((16,), 0.02)) == 8
    assert float((sample_grid(values, torch.zeros(3), 0.1, points)[0] - target).square().sum()) < 1e-2 * first
    assert int((values != 0).any(-1).sum()) == 8


def test_the_optimiser_collects_from_several_samples() -> None:
    values = torch.randn(4, 4, 4, 16)
    optimizer, points = GridOptimizer(values), 0.3 * torch.rand(40, 3)
    for part in (points[:20], points[20:]):
        sample_grid(values, torch.zeros(3), 0.1, part, optimizer)[0].sum().backward()
    whole = values.clone().requires_grad_()
    sample_grid(whole, torch.zeros(3), 0.1, points)[0].sum().backward()
    assert torch.allclose(torch.from_numpy(optimizer.gradient).reshape(values.shape), whole.grad, atol=1e-5)
    rows = optimizer.touched()
    before = values.clone()
    assert len(set(rows.tolist())) == len(rows) == int((whole.grad != 0).any(-1).sum())
    optimizer.forget()
    assert not optimizer.gradient.any() and not optimizer.flags.any()
    assert optimizer.step(torch.ones(16)) == 0 and torch.equal(values, before)


def test_errors_say_what_to_do() -> None:
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ShapeError, match="two samples along each axis"):
            sample_grid(torch.zeros(1, 4, 4, 2), torch.zeros(3), 0.1, torch.zeros(1, 3))
        with pytest.raises(ShapeError, match="contiguous float32 on the CPU"):
            GridOptimizer(torch.zeros(2, 2, 2, 2, dtype=torch.float64))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
