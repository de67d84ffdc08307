"""Volume rendering of a skinned signed distance field: inverse skinning and compositing, differentiable."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.threads import kernel_threads, run_kernel


@tensor_struct
class SkinNodes(TensorStruct):
    """The lattice that carries skinning weights, without the nodes that are too far away to matter."""

    index: Int[Tensor, "x y z"]
    """Row of each lattice point, int32; -1 where there is none."""
    origin_m: Float[Tensor, "3"]
    voxel_m: float
    joints: Int[Tensor, "nodes k"]
    weights: Float[Tensor, "nodes k"]


def blend_bones(skin: SkinNodes, bones: Float[Tensor, "bones 12"]) -> Float[Tensor, "nodes 16"]:
    """The affine map of every node: the bones' maps (3 x 4, row by row), blended; padded to 16. Not differentiable."""
    from bodydouble.render import volume_kernels as kernels

    maps = bones.detach().numpy()
    nodes = np.empty((len(skin.joints), kernels.NODE), maps.dtype)
    weights = skin.weights.numpy().astype(maps.dtype, copy=False)
    run_kernel(kernels.blend_nodes, kernel_threads(), skin.joints.numpy(), weights, maps, nodes)
    return torch.from_numpy(nodes)


def unskin(
    points_world: Float[Tensor, "n 3"],
    guesses_canonical: Float[Tensor, "n 3"],
    skin: SkinNodes,
    nodes: Float[Tensor, "nodes 16"],
    *,
    rounds: int = 12,
    tolerance_m: float = 1e-4,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3 3"], Bool[Tensor, " n"]]:
    """Where world points come from in canonical space, by Newton's method.

    Args:
        points_world: Metres.
        guesses_canonical: Where to start.
        skin, nodes: The lattice and its maps, of `blend_bones`.
        rounds: Newton steps at most.
        tolerance_m: How near to the point the last but one iterate must have come.
    Returns:
        Canonical places; the inverse Jacobian d canonical / d world there; where that worked.
    """
    from bodydouble.render import volume_kernels as kernels

    maps = nodes.numpy()
    points, start = (
        np.ascontiguousarray(p.detach().numpy().astype(maps.dtype)) for p in (points_world, guesses_canonical)
    )
    out, inv = np.empty_like(points), np.zeros((len(points), 9), maps.dtype)
    found = np.zeros(len(points), np.bool_)
    number = maps.dtype.type
    run_kernel(
        kernels.unskin_points, kernel_threads(), points, start, skin.index.numpy(),
        skin.origin_m.numpy().astype(maps.dtype), number(1.0 / skin.voxel_m), maps, rounds, number(tolerance_m),
        out, inv, found,
    )  # fmt: skip
    return torch.from_numpy(out), torch.from_numpy(inv).reshape(-1, 3, 3), torch.from_numpy(found)


def skin_canonical(
    points_canonical: Float[Tensor, "n 3"], skin: SkinNodes, nodes: Float[Tensor, "nodes 16"]
) -> tuple[Float[Tensor, "n 3"], Bool[Tensor, " n"]]:
    """Where canonical points lie in the world, and whether they are on the lattice. Not differentiable."""
    from bodydouble.render import volume_kernels as kernels

    maps = nodes.numpy()
    points = np.ascontiguousarray(points_canonical.detach().numpy().astype(maps.dtype))
    out, found = np.zeros_like(points), np.zeros(len(points), np.bool_)
    run_kernel(
        kernels.skin_nodes_points, kernel_threads(), points, skin.index.numpy(),
        skin.origin_m.numpy().astype(maps.dtype), maps.dtype.type(1.0 / skin.voxel_m), maps, out, found,
    )  # fmt: skip
    return torch.from_numpy(out), torch.from_numpy(found)


def tie_to_bones(
    x_canonical: Float[Tensor, "n 3"],
    inverse_jacobian: Float[Tensor, "n 9"],
    points_world: Float[Tensor, "n 3"],
    bones: Float[Tensor, "bones 12"],
    skin: SkinNodes,
) -> Float[Tensor, "n 3"]:
    """The same canonical places, now differentiable in the world points and in the bones' maps.

    Args:
        x_canonical: Solutions of A(x) x = point, all of whose eight lattice neighbours have rows.
        inverse_jacobian: d canonical / d world there, row by row.
        points_world: The points.
        bones: The maps from canonical space to the world.
        skin: The lattice.
    """
    return _Tied.apply(x_canonical, inverse_jacobian, points_world, bones, skin)


def tied_places(
    x_canonical: Float[Tensor, "n 3"],
    skin: SkinNodes,
    nodes: Float[Tensor, "nodes 16"],
    bones: Float[Tensor, "bones 12"],
) -> tuple[Float[Tensor, "kept 3"], Bool[Tensor, " n"]]:
    """Canonical places of points that stay where they are in the world, differentiable in the bones' maps.

    Args:
        x_canonical: Metres.
        skin, nodes: The lattice and its maps, of `blend_bones`.
        bones: The maps from canonical space to the world.
    Returns:
        Those of the places at which the map can be undone, and which they are.
    """
    world, there = skin_canonical(x_canonical, skin, nodes)
    _, inverse, found = unskin(world, x_canonical, skin, nodes, rounds=1, tolerance_m=1e-3)
    found = found & there
    tied = tie_to_bones(x_canonical[found], inverse[found].reshape(-1, 9), world[found], bones, skin)
    return tied, found


class _Tied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, inverse_jacobian, points_world, bones, skin):
        ctx.kept = (x.detach().numpy(), inverse_jacobian.detach().numpy(), skin, tuple(bones.shape))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g_x):
        from bodydouble.render import volume_kernels as kernels

        x, inv, skin, shape = ctx.kept
        workers = kernel_threads() if len(x) > 2048 else 1
        count = len(skin.joints)
        g_nodes = np.zeros((workers, count, kernels.NODE), x.dtype)
        flags, lists = np.zeros((workers, count), np.uint8), np.empty((workers, count), np.int64)
        counts, g_world = np.zeros(workers, np.int64), np.empty_like(x)
        run_kernel(
            kernels.unskin_backward, workers, x, inv.reshape(-1, 9), np.ascontiguousarray(g_x.numpy()),
            skin.index.numpy(), skin.origin_m.numpy().astype(x.dtype), x.dtype.type(1.0 / skin.voxel_m),
            g_nodes, flags, lists, counts, g_world,
        )  # fmt: skip
        g_bones = np.zeros(shape, x.dtype)
        weights = skin.weights.numpy().astype(x.dtype, copy=False)
        for w in range(workers):
            kernels.gather_bones(lists[w, : counts[w]], skin.joints.numpy(), weights, g_nodes[w], g_bones)
        return None, None, torch.from_numpy(g_world), torch.from_numpy(g_bones), None


def composite(
    sdf_m: Float[Tensor, " samples"],
    rgb: Float[Tensor, "samples 3"],
    starts: Int[Tensor, " rays_and_end"],
    step_m: float,
    beta_m: Float[Tensor, ""],
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, " rays"], Float[Tensor, " samples"]]:
    """Colour (premultiplied), opacity, and the weight of each sample, along rays through a Laplace density.

    Args:
        sdf_m: Signed distance at each sample, front to back, ray by ray.
        rgb: Colour at each sample.
        starts: First sample of each ray, and the number of all samples.
        step_m: Length that each sample stands for.
        beta_m: Scale of the density.
    Returns:
        Differentiable in distances, colours and beta; the weights are not.
    """
    if sdf_m.device.type != "cpu":
        return composite_reference(sdf_m, rgb, starts, step_m, beta_m)
    return _Composite.apply(sdf_m, rgb, starts, step_m, beta_m)


def composite_reference(
    sdf_m: Float[Tensor, " samples"],
    rgb: Float[Tensor, "samples 3"],
    starts: Int[Tensor, " rays_and_end"],
    step_m: float,
    beta_m: Float[Tensor, ""],
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, " rays"], Float[Tensor, " samples"]]:
    """`composite` in plain torch, on any device and in any floating type."""
    half = 0.5 * torch.exp(-sdf_m.abs() / beta_m)
    tau = torch.where(sdf_m > 0, half, 1.0 - half) / beta_m * step_m
    counts = starts.diff().long()
    ray = torch.repeat_interleave(torch.arange(len(counts), device=sdf_m.device), counts)
    before = tau.cumsum(0) - tau
    first = torch.cat([before, before.new_zeros(1)])[starts[:-1].long()]
    light = torch.exp(-(before - first[ray]))
    weights = light * -torch.expm1(-tau)
    color = torch.zeros(len(counts), 3, dtype=rgb.dtype, device=rgb.device).index_add(0, ray, weights[:, None] * rgb)
    alpha = torch.zeros(len(counts), dtype=rgb.dtype, device=rgb.device).index_add(0, ray, weights)
    return color, alpha, weights.detach()


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sdf, rgb, starts, step_m, beta):
        from bodydouble.render import composite_kernels as kernels

        s, c = (np.ascontiguousarray(v.detach().numpy()) for v in (sdf, rgb))
        first, rays = starts.numpy().astype(np.int64), len(starts) - 1
        out, alpha, weights = np.empty((rays, 3), s.dtype), np.empty(rays, s.dtype), np.empty(len(s), s.dtype)
        scalars = (float(step_m), float(beta))
        run_kernel(kernels.composite_forward, kernel_threads(), first, s, c, *scalars, out, alpha, weights)
        ctx.kept = (first, s, c, scalars, weights)
        marked = torch.from_numpy(weights)
        ctx.mark_non_differentiable(marked)
        return torch.from_numpy(out), torch.from_numpy(alpha), marked

    @staticmethod
    def backward(ctx: Any, g_rgb, g_alpha, _):
        from bodydouble.render import composite_kernels as kernels

        first, s, c, scalars, weights = ctx.kept
        g_sdf, g_c, workers = np.empty_like(s), np.empty_like(c), kernel_threads()
        g_beta = np.zeros(workers)
        incoming = (np.ascontiguousarray(g.numpy()) for g in (g_rgb, g_alpha))
        run_kernel(kernels.composite_backward, workers, first, s, c, *scalars, weights, *incoming, g_sdf, g_c, g_beta)
        beta = torch.tensor(g_beta.sum(), dtype=g_alpha.dtype)
        return torch.from_numpy(g_sdf), torch.from_numpy(g_c), None, None, beta
