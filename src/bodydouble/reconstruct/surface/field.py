"""Canonical space: its pose, its lattice, and the person's field in the beginning, the bare body."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel, Pose, ShapedBody
from bodydouble.reconstruct.surface.values import SkinVolume

_ARM_BELOW_LEVEL_RAD, _LEG_FROM_PLUMB_RAD = math.radians(30.0), math.radians(22.0)
"""How far stretched arms hang below the horizon, and legs are spread from the vertical."""


def canonical_pose(body: BodyModel, shaped: ShapedBody) -> Float[Tensor, "bones 3"]:
    """The pose of canonical space: arms and legs straight and away from everything else, the rest as at rest.

    Args:
        body: Names the bones.
        shaped: Its joints tell how limbs lie at rest.
    """
    joints = shaped.joints_rest.detach().double().numpy()
    rotvecs = torch.zeros(len(body.bone_names), 3)
    for side, x in (("left", 1.0), ("right", -1.0)):
        arm = np.array([x * math.cos(_ARM_BELOW_LEVEL_RAD), -math.sin(_ARM_BELOW_LEVEL_RAD), 0.0])
        leg = np.array([x * math.sin(_LEG_FROM_PLUMB_RAD), -math.cos(_LEG_FROM_PLUMB_RAD), 0.0])
        for names, target in ((("UpperArm", "LowerArm", "Hand"), arm), (("UpperLeg", "LowerLeg", "Foot"), leg)):
            bones = [body.bone_names.index(body.humanoid[side + name]) for name in names]
            upper = _turn(joints[bones[1]] - joints[bones[0]], target)
            lower = _turn(upper @ (joints[bones[2]] - joints[bones[1]]), target)
            rotvecs[bones[0]] = torch.from_numpy(_rotvec(upper)).float()
            if names[0] == "UpperArm":  # knees are nearly straight at rest; bending them would only tilt the feet
                rotvecs[bones[1]] = torch.from_numpy(_rotvec(upper.T @ lower @ upper)).float()
    return rotvecs


def canonical_bones(
    body: BodyModel, shaped: ShapedBody
) -> tuple[Float[Tensor, "bones 3"], Float[Tensor, "bones 3 3"], Float[Tensor, "bones 3"]]:
    """The canonical pose, and rotation and translation of each bone from the rest pose to it."""
    rotvecs = canonical_pose(body, shaped)
    posed = shaped.with_pose(Pose(rotvecs=rotvecs, translation_world_m=torch.zeros(3)))
    return rotvecs, posed.R_world_rest.detach(), posed.t_world_rest.detach()


def canonical_vertices(body: BodyModel, shaped: ShapedBody) -> Float[Tensor, "verts 3"]:
    """The body's vertices in canonical space, metres."""
    pose = Pose(rotvecs=canonical_pose(body, shaped), translation_world_m=torch.zeros(3))
    return shaped.with_pose(pose).vertices().detach()


def skin_at(volume: SkinVolume, points_canonical: Float[Tensor, "n 3"], bones: int) -> Float[Tensor, "n bones"]:
    """Dense skinning weights at places of canonical space, interpolated trilinearly; rows sum to 1.

    Places outside the lattice take what is nearest on its border; where no lattice point around has weights, all are 0.
    """
    shape = torch.tensor(volume.weights.shape[:3])
    at = (points_canonical - volume.origin_canonical_m) / volume.voxel_m
    at = at.clamp(min=0.0).minimum((shape - 1).to(at) - 1e-4)
    low = at.floor().long()
    share = at - low
    dense = torch.zeros(len(at), bones, dtype=at.dtype)
    for corner in range(8):
        step = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1])
        i, j, k = (low + step).unbind(1)
        weight = torch.where(step.bool(), share, 1.0 - share).prod(1)
        dense.scatter_add_(1, volume.joints[i, j, k].long(), volume.weights[i, j, k].to(at) * weight[:, None])
    return dense / dense.sum(1, keepdim=True).clamp_min(1e-9)


def _turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes direction a to direction b."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    sine, cosine = float(np.linalg.norm(axis)), float(a @ b)
    if sine < 1e-9:
        return np.eye(3)
    x, y, z = axis / sine
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + sine * K + (1.0 - cosine) * K @ K


def _rotvec(R: np.ndarray) -> np.ndarray:
    angle = math.acos(min(1.0, max(-1.0, 0.5 * (float(np.trace(R)) - 1.0))))
    if angle < 1e-9:
        return np.zeros(3)
    axis = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    return axis / np.linalg.norm(axis) * angle
