"""Skinning of splats: positions by linear blending, orientations by blending the bones' unit quaternions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import matrix_to_quat_wxyz, quat_multiply_wxyz
from bodydouble.core.skinning import skin_points
from bodydouble.render.threads import kernel_threads, run_kernel

_CHUNKS = 16
"""Splats are summed over bones in this many pieces, whatever the number of threads, so results do not depend on it."""


def skin_splats(
    means_rest: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    R_world_rest: Float[Tensor, "bones 3 3"],
    t_world_rest: Float[Tensor, "bones 3"],
    joints: Int[Tensor, "n k"],
    weights: Float[Tensor, "n k"],
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"]]:
    """Move splats from the rest pose to the world.

    Args:
        means_rest: Centres in the body's rest frame, metres.
        quats_wxyz: Orientations in the rest frame, any non-zero length, which is kept.
        R_world_rest, t_world_rest: Motion of each bone since the rest pose (`core.skinning.bone_transforms`).
        joints: Bone of each influence.
        weights: Non-negative, rows sum to 1.
    Returns:
        means_world and quats_world_wxyz: the normalised weighted sum of the bones' quaternions, each with the sign that
        is nearer to that of the greatest weight, times the splat's own. Differentiable in all floating arguments.
    Raises:
        ShapeError: When a joint is not among the bones.
    """
    tensors = (means_rest, quats_wxyz, R_world_rest, t_world_rest, weights)
    if any(t.dtype != torch.float32 or t.device.type != "cpu" for t in tensors):
        return skin_splats_reference(means_rest, quats_wxyz, R_world_rest, t_world_rest, joints, weights)
    bones = R_world_rest.shape[0]
    if joints.numel() and not 0 <= int(joints.min()) <= int(joints.max()) < bones:
        raise ShapeError(
            f"skin_splats: joints must be in 0..{bones - 1} for {bones} bones, found {int(joints.min())}.."
            f"{int(joints.max())}; use the joints that belong to this rig."
        )
    return _Skin.apply(*(t.contiguous() for t in tensors), joints.detach().to(torch.int32).contiguous())


def skin_splats_reference(
    means_rest: Float[Tensor, "n 3"],
    quats_wxyz: Float[Tensor, "n 4"],
    R_world_rest: Float[Tensor, "bones 3 3"],
    t_world_rest: Float[Tensor, "bones 3"],
    joints: Int[Tensor, "n k"],
    weights: Float[Tensor, "n k"],
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"]]:
    """`skin_splats` in plain torch: any floating type and device, with autograd."""
    index = joints.long()
    means = skin_points(means_rest, R_world_rest, t_world_rest, index, weights)
    bone_quats = matrix_to_quat_wxyz(R_world_rest)[index]
    leading = bone_quats.gather(1, weights.argmax(1)[:, None, None].expand(-1, 1, 4))
    signs = torch.where((bone_quats * leading).sum(-1) < 0, -1.0, 1.0).to(weights)
    blend = torch.nn.functional.normalize((bone_quats * (weights * signs)[..., None]).sum(1), dim=-1)
    return means, quat_multiply_wxyz(blend, quats_wxyz)


class _Skin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means, quats, R, t, weights, joints):
        from bodydouble.render import skin_kernels as kernels

        arrays = [x.detach().numpy() for x in (means, quats, R, t, weights, joints)]
        bone_quats = np.empty((R.shape[0], 4), dtype=np.float32)
        kernels.bone_quaternions(arrays[2], bone_quats)
        out_means, out_quats = np.empty_like(arrays[0]), np.empty_like(arrays[1])
        run_kernel(kernels.skin, kernel_threads(), *arrays, bone_quats, out_means, out_quats)
        ctx.save_for_backward(means, quats, R, t, weights, joints)
        ctx.bone_quats = bone_quats
        return torch.from_numpy(out_means), torch.from_numpy(out_quats)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *args: Tensor):
        from bodydouble.render import skin_kernels as kernels

        arrays = [x.detach().numpy() for x in ctx.saved_tensors]
        bones = arrays[2].shape[0]
        incoming = [g.contiguous().numpy() for g in args]
        g_means, g_quats, g_weights = (np.empty_like(arrays[k]) for k in (0, 1, 4))
        sums = np.zeros((_CHUNKS, bones, 16))
        run_kernel(
            kernels.skin_backward,
            kernel_threads(),
            *arrays,
            ctx.bone_quats,
            *incoming,
            g_means,
            g_quats,
            g_weights,
            sums,
        )
        g_R, g_t = np.empty_like(arrays[2]), np.empty_like(arrays[3])
        kernels.bones_backward(arrays[2], ctx.bone_quats, sums.sum(0), g_R, g_t)
        g_means, g_quats, g_weights, g_R, g_t = (torch.from_numpy(g) for g in (g_means, g_quats, g_weights, g_R, g_t))
        return g_means, g_quats, g_R, g_t, g_weights, None
