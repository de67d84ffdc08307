"""The trilinear grid: values and the gradient of the first channel at points, differentiable in grid and points.

Fast kernels on the CPU, plain torch elsewhere, the same answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.errors import ShapeError
from bodydouble.render.threads import kernel_threads, run_kernel

_ALONE_BELOW = 2048
"""So few points are not worth a second thread."""
_BETA1 = 0.9
_BETA2 = 1.0 - (1.0 - _BETA1) ** 2
"""Of Adam, tied so that rows which are seldom touched need no correction (`grid_kernels.adam_rows`)."""
_EPS = 1e-10
"""Added to the root of the second moment."""


class GridOptimizer:
    """Adam on those rows of a grid that the last backward passes touched; everything else costs nothing.

    The grid's gradient lives here, in place: pass the optimiser to `sample_grid` and call `step` after `backward`.
    """

    def __init__(self, values: Float[Tensor, "x y z channels"]) -> None:
        if values.dtype != torch.float32 or not values.is_contiguous() or values.device.type != "cpu":
            raise ShapeError(
                f"GridOptimizer: the grid must be contiguous float32 on the CPU, got {values.dtype} on {values.device}; "
                "elsewhere use torch's optimisers with sample_grid's dense gradient."
            )
        self.values = values.detach()
        rows, channels = values[..., 0].numel(), values.shape[3]
        # Not zeros_like, which writes to all of it: most rows of a lattice are never touched.
        self.gradient, self.first, self.second = (np.zeros((rows, channels), np.float32) for _ in range(3))
        self.flags = np.zeros(rows, np.uint8)
        self._touched: list[np.ndarray] = []

    def note(self, lists: np.ndarray, counts: np.ndarray) -> None:
        """Remember rows that a backward pass has touched for the first time since the last step."""
        self._touched += [lists[w, : counts[w]].copy() for w in range(len(counts)) if counts[w]]

    def touched(self) -> np.ndarray:
        """Rows that have a gradient, each once."""
        return np.concatenate(self._touched) if self._touched else np.zeros(0, np.int64)

    def forget(self) -> None:
        """Drop the gradients collected since the last step."""
        rows = self.touched()
        self.gradient[rows] = 0.0
        self.flags[rows] = 0
        self._touched = []

    def step(self, rates: Float[Tensor, " channels"]) -> int:
        """One step along the gradients collected since the last; returns how many rows moved.

        Args:
            rates: Step size of each channel.
        """
        from bodydouble.render.grid_kernels import adam_rows

        rows = self.touched()
        flat = self.values.view(-1, self.values.shape[3]).numpy()
        run_kernel(
            adam_rows,
            kernel_threads(),
            *(rows, flat, self.gradient, self.first, self.second),
            rates.detach().float().numpy(),
            *(np.float32(_BETA1), np.float32(_BETA2), np.float32(_EPS), self.flags),
        )
        self._touched = []
        return len(rows)


def sample_grid(
    values: Float[Tensor, "x y z channels"],
    origin_m: Float[Tensor, "3"],
    voxel_m: float,
    points_m: Float[Tensor, "n 3"],
    optimizer: GridOptimizer | None = None,
) -> tuple[Float[Tensor, "n channels"], Float[Tensor, "n 3"]]:
    """Trilinear values at points, and the spatial gradient of the first channel.

    Args:
        values: Samples; [i, j, k] lies at origin + voxel * (i, j, k). At least two along each axis.
        origin_m, voxel_m: Of the lattice, metres.
        points_m: Any frame that the lattice lives in. Beyond the lattice the nearest place on its border counts.
        optimizer: Of these values; it then receives their gradient, and autograd none.
    Returns:
        Values, and the gradient per metre. Both are differentiable in the values and, to second order of the field (as
        eikonal and normal terms need), in the points.
    Raises:
        ShapeError: When the grid has fewer than two samples along an axis.
    """
    if min(values.shape[:3]) < 2:
        raise ShapeError(
            f"sample_grid: the grid needs two samples along each axis, got {tuple(values.shape)}; make it larger."
        )
    if values.device.type != "cpu":
        return sample_grid_reference(values, origin_m, voxel_m, points_m)
    tied = values.requires_grad or points_m.requires_grad or optimizer is not None
    hook = torch.zeros((), requires_grad=tied)  # so that a grid with an optimiser is reached by `backward`
    return _SampleGrid.apply(values, origin_m, voxel_m, points_m, optimizer, hook)


def sample_grid_reference(
    values: Float[Tensor, "x y z channels"],
    origin_m: Float[Tensor, "3"],
    voxel_m: float,
    points_m: Float[Tensor, "n 3"],
) -> tuple[Float[Tensor, "n channels"], Float[Tensor, "n 3"]]:
    """`sample_grid` in plain torch, on any device and in any floating type."""
    shape = torch.tensor(values.shape[:3], device=values.device)
    at = (points_m - origin_m) / voxel_m
    limit = (shape - 1).to(at)
    slope = ((at >= 0) & (at <= limit)).to(at) / voxel_m
    at = torch.minimum(at.clamp_min(0.0), limit)
    low = torch.minimum(at.detach().floor().long(), shape - 2)
    share = at - low
    out = values.new_zeros(len(at), values.shape[3])
    gradient = [values.new_zeros(len(at)) for _ in range(3)]
    for corner in range(8):
        step = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1], device=values.device)
        i, j, k = (low + step).unbind(1)
        row = values[i, j, k]
        wx, wy, wz = torch.where(step.bool(), share, 1.0 - share).unbind(1)
        dx, dy, dz = (slope * torch.where(step.bool(), 1.0, -1.0)).unbind(1)
        out = out + (wx * wy * wz)[:, None] * row
        for axis, weight in enumerate((dx * wy * wz, dy * wx * wz, dz * wx * wy)):
            gradient[axis] = gradient[axis] + weight * row[:, 0]
    return out, torch.stack(gradient, dim=1)


class _SampleGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values, origin_m, voxel_m, points_m, optimizer, hook):
        from bodydouble.render import grid_kernels

        grid = np.ascontiguousarray(values.detach().numpy())
        points = np.ascontiguousarray(points_m.detach().to(values.dtype).numpy())
        origin, inverse = origin_m.detach().to(values.dtype).numpy(), grid.dtype.type(1.0 / voxel_m)
        out = np.empty((len(points), grid.shape[3]), grid.dtype)
        gradient = np.empty((len(points), 3), grid.dtype)
        workers = kernel_threads() if len(points) >= _ALONE_BELOW else 1
        simd = _vectors(grid)
        if simd:
            args = (grid.reshape(-1), grid.shape, origin, inverse, points, out.reshape(-1), gradient)
            run_kernel(grid_kernels.forward_simd, workers, *args)
        else:
            run_kernel(grid_kernels.forward_plain, workers, grid, origin, inverse, points, out, gradient)
        ctx.kept = (grid, origin, inverse, points, optimizer, simd)
        return torch.from_numpy(out), torch.from_numpy(gradient)

    @staticmethod
    def backward(ctx: Any, g_out, g_gradient):
        grid, origin, inverse, points, optimizer, simd = ctx.kept
        rows = int(np.prod(grid.shape[:3]))
        if optimizer is None:
            flags, g_values = np.zeros(rows, np.uint8), np.zeros((rows, grid.shape[3]), grid.dtype)
        else:
            flags, g_values = optimizer.flags, optimizer.gradient
        g_points = np.empty_like(points)
        lists, counts = _spread(grid, origin, inverse, points, (g_out, g_gradient), g_values, g_points, flags, simd)
        if optimizer is not None:
            optimizer.note(lists, counts)
        g_grid = torch.from_numpy(g_values.reshape(grid.shape)) if optimizer is None else None
        return g_grid, None, None, torch.from_numpy(g_points), None, None


def _spread(
    grid: np.ndarray,
    origin: np.ndarray,
    inverse: np.floating,
    points: np.ndarray,
    incoming: tuple[Tensor, Tensor],
    g_values: np.ndarray,
    g_points: np.ndarray,
    flags: np.ndarray,
    simd: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Run the backward kernel; which rows each worker touched first, and how many.

    Points are sorted into slabs along x. A worker owns a run of slabs; a slab's points touch the layers at both of its
    sides, so every worker leaves its last slab for a second round, and no two ever write to one layer.
    """
    from bodydouble.render import grid_kernels

    count = grid.shape[0]
    starts, order = np.empty(count, np.int64), np.empty(len(points), np.int64)
    grid_kernels.sort_by_slab(points, origin, inverse, count, starts, order)
    workers = kernel_threads() if len(points) >= _ALONE_BELOW else 1
    bounds = np.searchsorted(starts, np.arange(workers + 1) * len(points) / workers).astype(np.int64)
    bounds[0], bounds[-1] = 0, count - 1
    if workers > 1 and np.diff(bounds).min() < 2:
        workers, bounds = 1, np.array([0, count - 1], np.int64)
    g_out, g_gradient = (np.ascontiguousarray(g.numpy()) for g in incoming)
    lists, counts = np.empty((workers, 8 * len(points)), np.int64), np.zeros(workers, np.int64)
    for phase in (0, 1):
        common = (phase, bounds, starts, order)
        rest = (flags, lists, counts)
        if simd:
            flat = (grid.reshape(-1), grid.shape, origin, inverse, points, g_out.reshape(-1), g_gradient)
            args = (*common, *flat, g_values.reshape(-1), g_points, *rest)
            run_kernel(grid_kernels.backward_simd, workers, *args)
        else:
            args = (*common, grid, origin, inverse, points, g_out, g_gradient, g_values, g_points, *rest)
            run_kernel(grid_kernels.backward_plain, workers, *args)
    return lists, counts


def _vectors(grid: np.ndarray) -> bool:
    """Whether the rows of a grid are whole SIMD vectors, and those work here."""
    from bodydouble.render.cpu import simd_works
    from bodydouble.render.simd import LANES

    return grid.dtype == np.float32 and grid.shape[3] % LANES == 0 and simd_works()
