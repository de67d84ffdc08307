"""Linear blend skinning as a compiled kernel with its own backward pass: the fast twin of `core.skinning.skin_points`.

The torch version gathers a matrix per vertex and influence; for a whole video of a whole body that is gigabytes. This
one visits each vertex once and keeps nothing. This module compiles kernels: import it inside functions.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.jit import kernel


@kernel(fastmath={"contract"})
def _forward(points, R, t, joints, weights, out):
    frames, verts = out.shape[:2]
    influences = joints.shape[1]
    M = np.empty(12, R.dtype)
    for f in range(frames):
        g = f if points.shape[0] > 1 else 0
        for v in range(verts):
            M[:] = 0.0
            for k in range(influences):
                w = weights[v, k]
                if w == 0.0:
                    continue
                b = joints[v, k]
                for i in range(3):
                    for j in range(3):
                        M[3 * i + j] += w * R[f, b, i, j]
                    M[9 + i] += w * t[f, b, i]
            x, y, z = points[g, v, 0], points[g, v, 1], points[g, v, 2]
            for i in range(3):
                out[f, v, i] = M[3 * i] * x + M[3 * i + 1] * y + M[3 * i + 2] * z + M[9 + i]


@kernel(fastmath={"contract"})
def _backward(points, R, joints, weights, grad, g_points, g_R, g_t):
    frames, verts = grad.shape[:2]
    influences = joints.shape[1]
    for f in range(frames):
        g = f if points.shape[0] > 1 else 0
        for v in range(verts):
            gx, gy, gz = grad[f, v, 0], grad[f, v, 1], grad[f, v, 2]
            if gx == 0.0 and gy == 0.0 and gz == 0.0:
                continue
            x, y, z = points[g, v, 0], points[g, v, 1], points[g, v, 2]
            for k in range(influences):
                w = weights[v, k]
                if w == 0.0:
                    continue
                b = joints[v, k]
                wx, wy, wz = w * gx, w * gy, w * gz
                for j in range(3):
                    g_points[g, v, j] += R[f, b, 0, j] * wx + R[f, b, 1, j] * wy + R[f, b, 2, j] * wz
                g_R[f, b, 0, 0] += wx * x
                g_R[f, b, 0, 1] += wx * y
                g_R[f, b, 0, 2] += wx * z
                g_R[f, b, 1, 0] += wy * x
                g_R[f, b, 1, 1] += wy * y
                g_R[f, b, 1, 2] += wy * z
                g_R[f, b, 2, 0] += wz * x
                g_R[f, b, 2, 1] += wz * y
                g_R[f, b, 2, 2] += wz * z
                g_t[f, b, 0] += wx
                g_t[f, b, 1] += wy
                g_t[f, b, 2] += wz


class _SkinPoints(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, R, t, joints, weights):
        arrays = [np.ascontiguousarray(a.detach().numpy()) for a in (points, R, t, joints, weights)]
        out = np.empty((arrays[1].shape[0], arrays[0].shape[1], 3), arrays[0].dtype)
        _forward(*arrays, out)
        ctx.arrays = arrays
        return torch.from_numpy(out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        points, R, t, joints, weights = ctx.arrays
        g_points, g_R, g_t = np.zeros_like(points), np.zeros_like(R), np.zeros_like(t)
        _backward(points, R, joints, weights, np.ascontiguousarray(grad.numpy()), g_points, g_R, g_t)
        return torch.from_numpy(g_points), torch.from_numpy(g_R), torch.from_numpy(g_t), None, None


def fast_skin_points(
    points_rest: Float[Tensor, "shapes n 3"],
    R_world_rest: Float[Tensor, "frames bones 3 3"],
    t_world_rest: Float[Tensor, "frames bones 3"],
    joints: Int[Tensor, "n k"],
    weights: Float[Tensor, "n k"],
) -> Float[Tensor, "frames n 3"]:
    """`core.skinning.skin_points` on the CPU, for points of one shape or of one shape per frame.

    Args and returns as there; all floating tensors share one type. Differentiable once, in points and bones but not in
    the weights.
    """
    return _SkinPoints.apply(points_rest, R_world_rest, t_world_rest, joints, weights)
