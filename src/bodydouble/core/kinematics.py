"""Forward kinematics as a compiled kernel with its own backward pass: the fast twin of `core.skinning.bone_transforms`.

The torch version pays some hundred small operations a call; training and registration call this thousands of times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.jit import kernel


@kernel(cached=False)
def _exp(r, L):
    a2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
    if a2 < 1e-8:
        s = 1.0 - a2 / 6.0
        c = 0.5 - a2 / 24.0
    else:
        a = np.sqrt(a2)
        s = np.sin(a) / a
        c = (1.0 - np.cos(a)) / a2
    x, y, z = r[0], r[1], r[2]
    L[0, 0] = 1 - c * (y * y + z * z)
    L[0, 1] = c * x * y - s * z
    L[0, 2] = c * x * z + s * y
    L[1, 0] = c * x * y + s * z
    L[1, 1] = 1 - c * (x * x + z * z)
    L[1, 2] = c * y * z - s * x
    L[2, 0] = c * x * z - s * y
    L[2, 1] = c * y * z + s * x
    L[2, 2] = 1 - c * (x * x + y * y)


@kernel()
def _forward(rotvecs, joints, translation, parents, R, t):
    frames, bones = rotvecs.shape[:2]
    L = np.empty((3, 3), rotvecs.dtype)
    p = np.empty((bones, 3), rotvecs.dtype)
    for f in range(frames):
        for b in range(bones):
            _exp(rotvecs[f, b], L)
            q = parents[b]
            for i in range(3):
                if q < 0:
                    p[b, i] = joints[b, i] + translation[f, i]
                    for k in range(3):
                        R[f, b, i, k] = L[i, k]
                else:
                    p[b, i] = p[q, i]
                    for k in range(3):
                        p[b, i] += R[f, q, i, k] * (joints[b, k] - joints[q, k])
                        R[f, b, i, k] = R[f, q, i, 0] * L[0, k] + R[f, q, i, 1] * L[1, k] + R[f, q, i, 2] * L[2, k]
            for i in range(3):
                t[f, b, i] = p[b, i] - (
                    R[f, b, i, 0] * joints[b, 0] + R[f, b, i, 1] * joints[b, 1] + R[f, b, i, 2] * joints[b, 2]
                )


@kernel(cached=False)
def _rotvec_gradient(r, g_left, out):
    """Chain d(exp r) = [J_l dr]x exp r: the transposed left Jacobian of SO(3) applied to `g_left`."""
    a2 = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
    if a2 < 1e-8:
        b = 0.5 - a2 / 24.0
        c = 1.0 / 6.0 - a2 / 120.0
    else:
        a = np.sqrt(a2)
        b = (1.0 - np.cos(a)) / a2
        c = (a - np.sin(a)) / (a2 * a)
    # cross = r x g; J_l^T g = g - b (r x g) + c (r x (r x g))
    cx = r[1] * g_left[2] - r[2] * g_left[1]
    cy = r[2] * g_left[0] - r[0] * g_left[2]
    cz = r[0] * g_left[1] - r[1] * g_left[0]
    out[0] = g_left[0] - b * cx + c * (r[1] * cz - r[2] * cy)
    out[1] = g_left[1] - b * cy + c * (r[2] * cx - r[0] * cz)
    out[2] = g_left[2] - b * cz + c * (r[0] * cy - r[1] * cx)


@kernel()
def _backward(rotvecs, joints, parents, R, g_R, g_t, g_rotvecs, g_joints, g_translation):
    frames, bones = rotvecs.shape[:2]
    gR = np.empty((bones, 3, 3), rotvecs.dtype)
    gp = np.empty((bones, 3), rotvecs.dtype)
    L = np.empty((3, 3), rotvecs.dtype)
    M = np.empty((3, 3), rotvecs.dtype)
    left = np.empty(3, rotvecs.dtype)
    for f in range(frames):
        for b in range(bones):
            for i in range(3):
                gp[b, i] = g_t[f, b, i]
                for k in range(3):
                    gR[b, i, k] = g_R[f, b, i, k] - g_t[f, b, i] * joints[b, k]
                    g_joints[b, k] -= R[f, b, i, k] * g_t[f, b, i]
        for b in range(bones - 1, -1, -1):
            q = parents[b]
            # gR R^T is the gradient to a world-frame rotation of this bone; the parent's frame turns it local.
            for i in range(3):
                for k in range(3):
                    M[i, k] = gR[b, i, 0] * R[f, b, k, 0] + gR[b, i, 1] * R[f, b, k, 1] + gR[b, i, 2] * R[f, b, k, 2]
            w0, w1, w2 = M[2, 1] - M[1, 2], M[0, 2] - M[2, 0], M[1, 0] - M[0, 1]
            if q < 0:
                left[0], left[1], left[2] = w0, w1, w2
                for i in range(3):
                    g_translation[f, i] += gp[b, i]
                    g_joints[b, i] += gp[b, i]
            else:
                for i in range(3):
                    left[i] = R[f, q, 0, i] * w0 + R[f, q, 1, i] * w1 + R[f, q, 2, i] * w2
                _exp(rotvecs[f, b], L)
                for i in range(3):
                    gp[q, i] += gp[b, i]
                    for k in range(3):
                        gR[q, i, k] += (gR[b, i, 0] * L[k, 0] + gR[b, i, 1] * L[k, 1] + gR[b, i, 2] * L[k, 2]) + gp[
                            b, i
                        ] * (joints[b, k] - joints[q, k])
                        moved = R[f, q, i, k] * gp[b, i]
                        g_joints[b, k] += moved
                        g_joints[q, k] -= moved
            _rotvec_gradient(rotvecs[f, b], left, g_rotvecs[f, b])


class _BoneTransforms(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rotvecs, joints, translation, parents):
        r = np.ascontiguousarray(rotvecs.detach().numpy())
        j = np.ascontiguousarray(joints.detach().numpy())
        R = np.empty((*r.shape[:2], 3, 3), r.dtype)
        t = np.empty(r.shape, r.dtype)
        _forward(r, j, np.ascontiguousarray(translation.detach().numpy()), parents, R, t)
        ctx.arrays = (r, j, parents, R)
        return torch.from_numpy(R), torch.from_numpy(t)

    @staticmethod
    def backward(ctx, g_R, g_t):
        r, j, parents, R = ctx.arrays
        g_r, g_j = np.zeros_like(r), np.zeros_like(j)
        g_translation = np.zeros((r.shape[0], 3), r.dtype)
        _backward(
            r,
            j,
            parents,
            R,
            np.ascontiguousarray(g_R.numpy()),
            np.ascontiguousarray(g_t.numpy()),
            g_r,
            g_j,
            g_translation,
        )
        return torch.from_numpy(g_r), torch.from_numpy(g_j), torch.from_numpy(g_translation), None


def fast_bone_transforms(
    rotvecs: Float[Tensor, "frames bones 3"],
    joints_rest_m: Float[Tensor, "bones 3"],
    translation_world_m: Float[Tensor, "frames 3"],
    parents: Sequence[int] | np.ndarray,
) -> tuple[Float[Tensor, "frames bones 3 3"], Float[Tensor, "frames bones 3"]]:
    """`core.skinning.bone_transforms` for one shape and many frames, on the CPU, without torch's per-call cost.

    Args, returns and differentiability as there; all tensors share one floating dtype.
    """
    index = np.asarray(parents, dtype=np.int64)
    return _BoneTransforms.apply(rotvecs, joints_rest_m, translation_world_m, index)
