"""Forward kinematics and linear blend skinning, in the one parametrisation that everything here shares.

A skeleton is a list of joints in the body's rest frame. Every bone's rest rotation is the identity: a pose rotates each
bone about its own joint, in axes parallel to the body's rest axes, relative to its parent:

    T_world_rest[b] = T_world_rest[parent(b)] . translate(joint_b) . exp(rotvec_b) . translate(-joint_b)

and the root is moved by `translation_world_m` on top. `T_world_rest[b]` maps points of the rest pose to the world.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.geometry import rotvec_to_matrix


def bone_transforms(
    rotvecs: Float[Tensor, "*batch bones 3"],
    joints_rest_m: Float[Tensor, "*#batch bones 3"],
    translation_world_m: Float[Tensor, "*batch 3"],
    parents: Sequence[int],
) -> tuple[Float[Tensor, "*batch bones 3 3"], Float[Tensor, "*batch bones 3"]]:
    """Rotation and translation of every bone since the rest pose.

    Args:
        rotvecs: Local rotations since the rest pose, radians, axes parallel to the rest frame.
        joints_rest_m: Joint positions in the body's rest frame.
        translation_world_m: Added to the root joint.
        parents: Parent index of each bone, -1 for the root; parents come before children.
    Returns:
        R_world_rest and t_world_rest with p_world = R p_rest + t. Differentiable in all tensors.
    """
    R_local = rotvec_to_matrix(rotvecs)
    joints = joints_rest_m.expand(rotvecs.shape)
    depth_of = [0] * len(parents)
    for b, p in enumerate(parents):
        depth_of[b] = 0 if p < 0 else depth_of[p] + 1
    levels = [[b for b in range(len(parents)) if depth_of[b] == d] for d in range(max(depth_of) + 1)]
    order = [b for level in levels for b in level]
    place_in_order = {b: i for i, b in enumerate(order)}

    R_done: list[Tensor] = []
    p_done: list[Tensor] = []  # joint positions in the world
    start_of_previous = 0
    for d, level in enumerate(levels):
        idx = torch.tensor(level, device=rotvecs.device)
        R_here = R_local.index_select(-3, idx)
        j_here = joints.index_select(-2, idx)
        if d == 0:
            R_done.append(R_here)
            p_done.append(j_here + translation_world_m[..., None, :])
            continue
        parent_bones = [parents[b] for b in level]
        slot = torch.tensor([place_in_order[p] - start_of_previous for p in parent_bones], device=rotvecs.device)
        R_parent = R_done[-1].index_select(-3, slot)
        p_parent = p_done[-1].index_select(-2, slot)
        j_parent = joints.index_select(-2, torch.tensor(parent_bones, device=rotvecs.device))
        start_of_previous += len(levels[d - 1])
        R_done.append((R_parent[..., :, :, None] * R_here[..., None, :, :]).sum(-2))
        p_done.append(p_parent + (R_parent * (j_here - j_parent)[..., None, :]).sum(-1))
    back = torch.tensor([place_in_order[b] for b in range(len(parents))], device=rotvecs.device)
    R_world = torch.cat(R_done, dim=-3).index_select(-3, back)
    p_world = torch.cat(p_done, dim=-2).index_select(-2, back)
    return R_world, p_world - (R_world * joints[..., None, :]).sum(-1)


def skin_points(
    points_rest: Float[Tensor, "*#batch n 3"],
    R_world_rest: Float[Tensor, "*batch bones 3 3"],
    t_world_rest: Float[Tensor, "*batch bones 3"],
    joints: Int[Tensor, "n k"],
    weights: Float[Tensor, "n k"],
) -> Float[Tensor, "*batch n 3"]:
    """Move rest-pose points to the world by linear blend skinning.

    Args:
        points_rest: Points in the body's rest frame, metres.
        R_world_rest, t_world_rest: From `bone_transforms`.
        joints: Bone index of each influence.
        weights: Non-negative, rows sum to 1.
    Returns:
        Points in the world, metres. Differentiable in all floating arguments.
    """
    n, k = joints.shape
    flat = joints.reshape(-1)
    batch = R_world_rest.shape[:-3]
    R = (R_world_rest.index_select(-3, flat).reshape(*batch, n, k, 3, 3) * weights[..., None, None]).sum(-3)
    t = (t_world_rest.index_select(-2, flat).reshape(*batch, n, k, 3) * weights[..., None]).sum(-2)
    return (R * points_rest[..., None, :]).sum(-1) + t
