"""What is needed of a rig's anatomy to pose it from world rotations: directions, hinges, relaxed hands, twists."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.humanoid import path_between
from bodydouble.avatar.values import Rig
from bodydouble.body.humanoid import FINGERS, finger_segments
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import (
    matrix_to_quat_wxyz,
    matrix_to_rotvec,
    quat_wxyz_to_matrix,
    rotvec_to_matrix,
)

FINGER_BONES: dict[str, tuple[str, str, str]] = {finger: finger_segments(finger) for finger in FINGERS}
"""Segments of each finger from the palm outward, as VRM names them."""

_CURL_RAD = {"Index": 0.14, "Middle": 0.18, "Ring": 0.21, "Little": 0.23}


def humanoid_bones(rig: Rig) -> dict[str, int]:
    """Bone index by VRM name.

    Raises:
        InputError: When hips, head or a leg is not in the humanoid map.
    """
    bones = {human: rig.bone_names.index(name) for human, name in rig.humanoid.items()}
    needed = ("hips", "head", "leftUpperLeg", "leftLowerLeg", "leftFoot", "rightUpperLeg", "rightLowerLeg", "rightFoot")
    missing = [h for h in needed if h not in bones]
    if missing:
        raise InputError(f"The avatar's rig has no {', '.join(missing)} in its humanoid map, so no motion fits it.")
    return bones


def rest_anatomy(
    bones: dict[str, int], joints_rest_m: Float[Tensor, "bones 3"]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Unit directions of a rig's bones, and axes of its knees and elbows, in the rest pose, by VRM name.

    Args:
        bones: The rig's bones by VRM name (`humanoid_bones`).
        joints_rest_m: Its joints, float64.
    """
    directions: dict[str, Tensor] = {}

    def point(bone: str, targets: list[str]) -> None:
        found = [bones[t] for t in targets if t in bones]
        if bone in bones and found:
            line = joints_rest_m[found].mean(0) - joints_rest_m[bones[bone]]
            if float(line.norm()) > 1e-6:
                directions[bone] = torch.nn.functional.normalize(line, dim=0)

    hinges: dict[str, Tensor] = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for upper, lower, end in (("UpperLeg", "LowerLeg", "Foot"), ("UpperArm", "LowerArm", "Hand")):
            point(side + upper, [side + lower])
            point(side + lower, [side + end])
        point(f"{side}Foot", [f"{side}Toes"])
        knuckles = [f"{side}{finger}Proximal" for finger in FINGERS[1:]]
        point(f"{side}Hand", knuckles)
        for finger in FINGERS:
            for name, following in itertools.pairwise(FINGER_BONES[finger]):
                point(f"{side}{finger}{name}", [f"{side}{finger}{following}"])
        present = [bones[k] for k in knuckles if k in bones]
        if len(present) >= 2:
            directions[f"{side}across"] = torch.nn.functional.normalize(
                joints_rest_m[present[-1]] - joints_rest_m[present[0]], dim=0
            )
        # A knee bends about the axis to the left; an elbow brings the hand forward.
        hinges[f"{side}UpperLeg"] = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
        hinges[f"{side}UpperArm"] = torch.tensor([0.0, -sign, 0.0], dtype=torch.float64)
        arm, forearm = directions.get(f"{side}UpperArm"), directions.get(f"{side}LowerArm")
        if arm is not None and forearm is not None:
            bend = torch.linalg.cross(arm, forearm)
            forward = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
            hinges[f"{side}UpperArm"] = bend if float(bend.norm()) > 0.09 else torch.linalg.cross(arm, forward)
    return directions, hinges


def relaxed_hands(rig: Rig) -> Float[Tensor, "bones 3"]:
    """Local rotations of the rest pose with fingers curled a little, as hands that do nothing have them."""
    bones = humanoid_bones(rig)
    joints = rig.joints_rest_m.double()
    directions, _ = rest_anatomy(bones, joints)
    rotvecs = torch.zeros(len(rig.bone_names), 3, dtype=torch.float64)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        if f"{side}Hand" not in directions or f"{side}across" not in directions:
            continue
        palm = sign * torch.linalg.cross(directions[f"{side}across"], directions[f"{side}Hand"])
        for finger, curl in _CURL_RAD.items():
            axis = None
            for segment in FINGER_BONES[finger]:
                bone = f"{side}{finger}{segment}"
                if bone in directions:
                    axis = torch.nn.functional.normalize(torch.linalg.cross(directions[bone], palm), dim=0)
                if bone in bones and axis is not None:
                    rotvecs[bones[bone]] = axis * curl
    return rotvecs.float()


def local_rotations(wanted: dict[int, Tensor], rig: Rig, relaxed: Tensor | None, frames: int) -> Tensor:
    """Local rotation vectors [frames, bones, 3]; bones without a wish follow their parent, relaxed."""
    count = len(rig.bone_names)
    rest = torch.zeros(count, 3, dtype=torch.float64) if relaxed is None else relaxed.double()
    R_rest = rotvec_to_matrix(rest)
    R_world: list[Tensor] = []
    rotvecs = []
    identity = torch.eye(3, dtype=torch.float64).expand(frames, 3, 3)
    for bone, parent in enumerate(rig.bone_parents):
        above = R_world[parent] if parent >= 0 else identity
        R_world.append(wanted[bone] if bone in wanted else above @ R_rest[bone])
        rotvecs.append(matrix_to_rotvec(above.transpose(1, 2) @ R_world[-1]))
    return torch.stack(rotvecs, 1)


def spread_twists(rotvecs: Tensor, rig: Rig, bones: dict[str, int], directions: dict[str, Tensor]) -> Tensor:
    """Share the twist of upper arms, thighs and wrists with the bones in between, so that no joint is wrung."""
    R = rotvec_to_matrix(rotvecs)
    for side in ("left", "right"):
        for upper, lower in (("UpperArm", "LowerArm"), ("UpperLeg", "LowerLeg")):
            names = side + upper, side + lower
            if all(n in bones for n in names) and names[0] in directions:
                between = path_between(bones[names[0]], bones[names[1]], rig.bone_parents)
                if between:
                    twist = _twist(R[:, bones[names[0]]], directions[names[0]], len(between) / (len(between) + 1))
                    R[:, bones[names[0]]] = R[:, bones[names[0]]] @ twist.transpose(1, 2)
                    R[:, between[0]] = twist @ R[:, between[0]]
        forearm, hand = f"{side}LowerArm", f"{side}Hand"
        if forearm in bones and hand in bones and forearm in directions:
            between = path_between(bones[forearm], bones[hand], rig.bone_parents)
            if between:
                share = len(between) / (len(between) + 1)
                twist = _twist(R[:, bones[hand]], directions[forearm], share)
                R[:, bones[hand]] = twist.transpose(1, 2) @ R[:, bones[hand]]
                R[:, between[-1]] = R[:, between[-1]] @ twist
    return matrix_to_rotvec(R)


def _twist(R: Tensor, axis: Tensor, share: float) -> Float[Tensor, "frames 3 3"]:
    """A share of the turn about an axis within local rotations R: of the twist in R = swing twist, which has the same angle
    as that in R = twist swing.
    """
    quat = matrix_to_quat_wxyz(R)
    along = (quat[:, 1:] * axis).sum(-1)
    angle = 2.0 * torch.atan2(along, quat[:, 0])
    angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    # Next to half a turn the angle jumps from one side to the other; keep it from doing so within a motion.
    steps = torch.round((angle[1:] - angle[:-1]) / (2 * math.pi))
    angle[1:] -= 2 * math.pi * torch.cumsum(steps, 0)
    return rotvec_to_matrix(axis * (angle * share)[:, None])


def rotation_between(rotations: list[Tensor], share: float) -> Float[Tensor, "frames 3 3"]:
    """The rotation at a share of the way along a chain of rotations."""
    place = share * (len(rotations) - 1)
    low = min(int(place + 1e-9), len(rotations) - 1)
    if low == len(rotations) - 1:
        return rotations[-1]
    a, b = matrix_to_quat_wxyz(rotations[low]), matrix_to_quat_wxyz(rotations[low + 1])
    b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
    return quat_wxyz_to_matrix(a + (b - a) * (place - low))


def move_toes_together(wanted: dict[int, Tensor], rig: Rig, bones: dict[str, int]) -> None:
    """A foot with five toes has one of them in the humanoid map: the others follow it."""
    for side in ("left", "right"):
        toes = bones.get(f"{side}Toes")
        if toes in wanted:
            for bone, parent in enumerate(rig.bone_parents):
                if parent == rig.bone_parents[toes] and bone != toes:
                    wanted[bone] = wanted[toes]


def shortest_turn(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The smallest rotation that takes unit vectors a to b; for opposite ones, half a turn about some normal."""
    v = torch.linalg.cross(a, b)
    cosine = (a * b).sum(-1)
    zero = torch.zeros_like(cosine)
    x, y, z = v.unbind(-1)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape[:-1], 3, 3)
    eye = torch.eye(3, dtype=a.dtype)
    R = eye + K + K @ K / (1.0 + cosine).clamp_min(1e-9)[..., None, None]
    helper = torch.nn.functional.one_hot(a.abs().argmin(-1), 3).to(a)
    normal = torch.nn.functional.normalize(torch.linalg.cross(a, helper), dim=-1)
    half_turn = 2 * normal[..., :, None] * normal[..., None, :] - eye
    return torch.where((cosine < -1 + 1e-7)[..., None, None], half_turn, R)


def frame_of(direction: Float[Tensor, "*batch 3"], side: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Right-handed orthonormal columns: the direction, the side made normal to it, and their cross product."""
    first = torch.nn.functional.normalize(direction, dim=-1)
    second = torch.nn.functional.normalize(side - (side * first).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)
