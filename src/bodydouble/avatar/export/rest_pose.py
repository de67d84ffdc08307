"""Giving an avatar another rest pose, such as the T-pose that VRM asks for."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.anatomy import (
    frame_of,
    humanoid_bones,
    local_rotations,
    rest_anatomy,
    shortest_turn,
    spread_twists,
)
from bodydouble.avatar.drive import rotate_sh
from bodydouble.avatar.values import Avatar, Morph, Rig
from bodydouble.body.protocol import Pose
from bodydouble.core.geometry import quat_multiply_wxyz, quat_wxyz_to_matrix
from bodydouble.core.skinning import bone_transforms, skin_points
from bodydouble.render.skin import skin_splats_reference


def t_pose(rig: Rig) -> Pose:
    """The pose in which legs hang straight down and arms and fingers point sideways, palms down.

    Args:
        rig: With a humanoid map; what it lacks (arms, fingers) stays as it rests.
    Returns:
        A pose (float32) without translation.
    Raises:
        InputError: When hips, head or a leg is not in the humanoid map.
    """
    bones = humanoid_bones(rig)
    directions, _ = rest_anatomy(bones, rig.joints_rest_m.double())
    wanted: dict[int, Tensor] = {}
    down = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        outwards = torch.tensor([sign, 0.0, 0.0], dtype=torch.float64)
        for bone, line in (("UpperLeg", down), ("LowerLeg", down), ("UpperArm", outwards), ("LowerArm", outwards)):
            if side + bone in bones and side + bone in directions:
                wanted[bones[side + bone]] = shortest_turn(directions[side + bone], line)[None]
        if f"{side}Foot" in bones:
            wanted[bones[f"{side}Foot"]] = torch.eye(3, dtype=torch.float64)[None]
        hand = f"{side}Hand"
        if hand in bones and hand in directions and f"{side}across" in directions:
            # From the index to the little finger a hand with its palm down points backwards.
            back = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
            own = frame_of(directions[hand], directions[f"{side}across"])
            wanted[bones[hand]] = (frame_of(outwards, back) @ own.T)[None]
    rotvecs = local_rotations(wanted, rig, torch.zeros(len(rig.bone_names), 3), 1)
    rotvecs = spread_twists(rotvecs, rig, bones, directions)
    return Pose(rotvecs=rotvecs[0].float(), translation_world_m=torch.zeros(3))


def with_rest_pose(avatar: Avatar, pose: Pose) -> Avatar:
    """The same avatar with another pose as its rest pose: afterwards the zero pose is that pose.

    Vertices, splats, joints and the offsets of morph targets are moved as skinning moves them. Where the weights of a
    point are spread over several bones, later poses may differ a little from those of the original avatar. Pose-dependent
    correctives are left out: they are functions of turns since the old rest pose.

    Args:
        avatar: With a mesh, splats, or both.
        pose: One pose (no batch axes) of its rig.
    """
    rig = avatar.rig
    joints = rig.joints_rest_m.double()
    R, t = bone_transforms(pose.rotvecs.double(), joints, pose.translation_world_m.double(), rig.bone_parents)
    mesh, splats = avatar.mesh, avatar.splats
    if mesh is not None:
        moved = skin_points(mesh.vertices_rest_m.double(), R, t, mesh.joints, mesh.weights.double())
        blended = (R[mesh.joints] * mesh.weights.double()[..., None, None]).sum(1)
        mesh = mesh.replace(vertices_rest_m=moved.float(), morphs=_turned(mesh.morphs, blended), correctives=None)
    if splats is not None:
        weights, joints_of = splats.weights.double(), splats.joints
        means, quats = skin_splats_reference(
            splats.means_rest_m.double(), splats.quats_wxyz.double(), R, t, joints_of, weights
        )
        undo = splats.quats_wxyz.double() * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)
        R_splat = quat_wxyz_to_matrix(quat_multiply_wxyz(quats, undo))
        sh = rotate_sh(splats.sh.double(), R_splat) if splats.sh.shape[1] > 1 else splats.sh
        blended = (R[joints_of] * weights[..., None, None]).sum(1)
        splats = splats.replace(
            means_rest_m=means.float(),
            quats_wxyz=quats.float(),
            sh=sh.float(),
            morphs=_turned(splats.morphs, blended),
            correctives=None,
        )
    placed = (R @ joints[:, :, None])[:, :, 0] + t
    rig = rig.replace(joints_rest_m=placed.float())
    return Avatar(rig=rig, mesh=mesh, splats=splats, provenance=avatar.provenance)


def lowest_point_m(avatar: Avatar) -> float:
    """Height of the lowest vertex (or splat) in the rest pose, metres."""
    points: Float[Tensor, "n 3"] | None = None
    if avatar.mesh is not None:
        points = avatar.mesh.vertices_rest_m
    elif avatar.splats is not None:
        points = avatar.splats.means_rest_m
    return 0.0 if points is None else float(points[:, 1].min())


def _turned(morphs: tuple[Morph, ...], blended: Float[Tensor, "n 3 3"]) -> tuple[Morph, ...]:
    def turn(indices: Int[Tensor, " m"], deltas: Float[Tensor, "m 3"]) -> Float[Tensor, "m 3"]:
        return (blended[indices] @ deltas.double()[:, :, None])[:, :, 0].float()

    return tuple(morph.replace(deltas_m=turn(morph.indices, morph.deltas_m)) for morph in morphs)
