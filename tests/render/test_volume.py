"""Inverse skinning and compositing: against closed forms, plain torch and finite differences."""

from __future__ import annotations

import math

import torch

from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.render.volume import (
    SkinNodes,
    blend_bones,
    composite,
    composite_reference,
    skin_canonical,
    tie_to_bones,
    tied_places,
    unskin,
)


def _bending(dtype: torch.dtype = torch.float64) -> tuple[SkinNodes, torch.Tensor]:
    """A bar along x whose two bones share the weights in the middle; the second is bent by half a radian."""
    shape = (12, 6, 6)
    index = torch.arange(shape[0] * shape[1] * shape[2], dtype=torch.int32).reshape(shape)
    share = ((torch.arange(shape[0]) - 3.0) / 5.0).clamp(0.0, 1.0)[:, None, None].expand(shape).reshape(-1)
    skin = SkinNodes(
        index=index,
        origin_m=torch.zeros(3),
        voxel_m=0.1,
        joints=torch.tensor([[0, 1]], dtype=torch.int32).expand(len(share), 2).contiguous(),
        weights=torch.stack([1.0 - share, share], dim=1),
    )
    bend = rotvec_to_matrix(torch.tensor([0.0, 0.2, 0.5], dtype=dtype))
    pivot = torch.tensor([0.55, 0.25, 0.25], dtype=dtype)
    first = torch.cat([torch.eye(3, dtype=dtype), torch.zeros(3, 1, dtype=dtype)], dim=1)
    second = torch.cat([bend, (pivot - bend @ pivot)[:, None]], dim=1)
    return skin, torch.stack([first.reshape(-1), second.reshape(-1)])


def _skinned(x: torch.Tensor, bones: torch.Tensor, skin: SkinNodes) -> torch.Tensor:
    """The map in plain torch: affine maps interpolated between nodes."""
    nodes = (skin.weights.to(bones)[:, :, None] * bones[skin.joints.long()]).sum(1)
    at = (x - skin.origin_m.to(x)) / skin.voxel_m
    low = at.detach().floor().long()
    share, total = at - low, torch.zeros(len(x), 12, dtype=x.dtype)
    for corner in range(8):
        step = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1])
        i, j, k = (low + step).unbind(1)
        total = total + torch.where(step.bool(), share, 1 - share).prod(1)[:, None] * nodes[skin.index[i, j, k].long()]
    m = total.reshape(-1, 3, 4)
    return (m[:, :, :3] * x[:, None]).sum(2) + m[:, :, 3]


def test_unskinning_returns_where_points_came_from_with_the_inverse_jacobian() -> None:
    skin, bones = _bending()
    x = torch.rand(200, 3, dtype=torch.float64) * torch.tensor([0.9, 0.3, 0.3]) + 0.1
    nodes = blend_bones(skin, bones)
    world, on = skin_canonical(x, skin, nodes)
    assert bool(on.all()) and torch.allclose(world, _skinned(x, bones, skin), atol=1e-12)
    back, inverse, found = unskin(world, x + 0.02, skin, nodes, tolerance_m=1e-9)
    assert bool(found.all()) and torch.allclose(back, x, atol=1e-8)
    jacobian = torch.autograd.functional.jacobian(lambda p: _skinned(p, bones, skin).sum(0), x)  # [3, n, 3]
    product = inverse @ jacobian.permute(1, 0, 2)
    assert torch.allclose(product, torch.eye(3, dtype=torch.float64).expand_as(product), atol=1e-6)


def test_places_off_the_lattice_are_not_found() -> None:
    skin, bones = _bending()
    _, _, found = unskin(
        torch.full((1, 3), 5.0, dtype=torch.float64), torch.full((1, 3), 0.3), skin, blend_bones(skin, bones)
    )
    assert not bool(found.any())


def test_gradients_of_unskinning_follow_the_implicit_function_theorem() -> None:
    skin, bones = _bending()
    x = torch.rand(12, 3, dtype=torch.float64) * torch.tensor([0.9, 0.3, 0.3]) + 0.1
    world = _skinned(x, bones, skin)
    weight = torch.randn(12, 3, dtype=torch.float64)

    def solve(points: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return unskin(points, x, skin, blend_bones(skin, maps), tolerance_m=1e-10)[0]

    _, inverse, _ = unskin(world, x, skin, blend_bones(skin, bones), tolerance_m=1e-10)
    points, maps = world.clone().requires_grad_(), bones.clone().requires_grad_()
    tied = tie_to_bones(x, inverse.reshape(-1, 9), points, maps, skin)
    g_points, g_maps = torch.autograd.grad((tied * weight).sum(), [points, maps])
    eps = 1e-6
    for target, gradient, which in ((world, g_points, 0), (bones, g_maps, 1)):
        for flat in range(0, target.numel(), 5):
            step = torch.zeros(target.numel(), dtype=torch.float64)
            step[flat] = eps
            ends = []
            for sign in (1, -1):
                moved = [world, bones]
                moved[which] = target + sign * step.reshape(target.shape)
                ends.append((solve(*moved) * weight).sum())
            assert math.isclose(
                float(ends[0] - ends[1]) / (2 * eps), float(gradient.reshape(-1)[flat]), rel_tol=1e-4, abs_tol=1e-6
            )


def test_places_are_tied_to_the_bones_that_carry_them() -> None:
    skin, bones = _bending()
    x = torch.rand(9, 3, dtype=torch.float64) * torch.tensor([0.9, 0.3, 0.3]) + 0.1
    x[4] = 5.0  # off the lattice
    maps = bones.clone().requires_grad_()
    tied, found = tied_places(x, skin, blend_bones(skin, bones), maps)
    assert found.tolist() == [k != 4 for k in range(9)]
    torch.testing.assert_close(tied.detach(), x[found])
    (gradient,) = torch.autograd.grad(tied[:, 1].sum(), maps)
    shift = torch.zeros(2, 3, 4, dtype=torch.float64)
    shift[:, 1, 3] = 1e-6  # everything moves along y, so what is at a fixed place came from further down
    world = _skinned(x[found], bones, skin)
    back = unskin(world, x[found], skin, blend_bones(skin, bones + shift.reshape(2, 12)), tolerance_m=1e-10)[0]
    expected = float((back - x[found])[:, 1].sum()) / 1e-6
    assert math.isclose(float((gradient.reshape(2, 3, 4)[:, 1, 3]).sum()), expected, rel_tol=1e-4)


def _samples(dtype: torch.dtype = torch.float64):
    rng = torch.Generator().manual_seed(1)
    counts = torch.tensor([4, 0, 7, 1])
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    sdf = (0.03 * torch.randn(12, generator=rng, dtype=dtype)).requires_grad_()
    rgb = torch.rand(12, 3, generator=rng, dtype=dtype).requires_grad_()
    return starts, sdf, rgb, torch.tensor(0.02, dtype=dtype, requires_grad=True)


def test_compositing_agrees_with_plain_torch_and_finite_differences() -> None:
    starts, sdf, rgb, beta = _samples()
    weights = [torch.randn(4, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)]
    found = []
    for fn in (composite, composite_reference):
        out = fn(sdf, rgb, starts, 0.01, beta)
        found.append([*out, *torch.autograd.grad(list(out[:2]), [sdf, rgb, beta], weights)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-10)
    assert float(found[0][1][1]) == 0.0  # a ray without samples sees the world

    def both(s, c, b):
        return torch.cat([t.reshape(-1) for t in composite(s, c, starts, 0.01, b)[:2]])

    assert torch.autograd.gradcheck(both, (sdf, rgb, beta), eps=1e-7, atol=1e-5)


def test_the_opacity_of_a_wall_is_the_integral_of_the_density() -> None:
    """Through a plane the optical depth from s = a to s = -a is a / beta: half of each density pair adds up to one."""
    beta, a, n = 0.01, 0.05, 4000
    s = torch.linspace(a, -a, n, dtype=torch.float64)
    step = 2 * a / n
    _, alpha, weights = composite(
        s, torch.ones(n, 3, dtype=torch.float64), torch.tensor([0, n]), step, torch.tensor(beta, dtype=torch.float64)
    )
    assert math.isclose(float(alpha), 1.0 - math.exp(-a / beta), rel_tol=1e-3)
    assert math.isclose(float(weights.sum()), float(alpha), rel_tol=1e-9)
