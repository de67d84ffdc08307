"""Retargeting: a motion of any named skeleton onto an avatar's rig, upright, facing +Z at its start, feet on the floor."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.humanoid import path_between
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.performer import FINGERS, Performer, calibrate, read_performer, spine_chain
from bodydouble.avatar.values import Avatar, Rig
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import (
    matrix_to_quat_wxyz,
    matrix_to_rotvec,
    quat_wxyz_to_matrix,
    rotvec_to_matrix,
)
from bodydouble.core.skinning import bone_transforms


_FLESH_M = {
    "hips": 0.1,
    "head": 0.08,
    **{f"{side}{bone}": m for side in ("left", "right") for bone, m in (("LowerLeg", 0.05), ("LowerArm", 0.04), ("Hand", 0.03))},
}
"""How far below these joints a body lies on the floor; soles are measured instead."""


def retarget(
    source: SourceMotion,
    rig: Rig,
    *,
    fps_hz: float = 30.0,
    floor_rest_m: float | None = None,
    relaxed_rotvecs: Float[Tensor, "bones 3"] | None = None,
    up_axis: str = "auto",
) -> Motion:
    """Move a motion from its own skeleton to an avatar's rig.

    Bones are matched by name (`humanoid.guess_humanoid`) and turned by what the source's bones turn, differences of the
    rest poses taken into account (`performer.calibrate`). Bends of the spine and the neck are spread over all vertebrae
    of the rig, twists of forearms and upper arms along their length. The path is scaled by the length of the legs and
    turned to start at the origin facing +Z; the lowest sole is as high over the floor (y = 0) as in the source.

    Args:
        source: From `bvh.read_bvh`.
        rig: Of the avatar, with a humanoid map.
        fps_hz: Frame rate of the result.
        floor_rest_m: Height of the soles in the rest pose (`rest_floor`); estimated from the feet's joints if none.
        relaxed_rotvecs: Local rotations of bones that the source does not have, such as fingers; none is the rest pose.
        up_axis: `y`, `z` or `auto`.
    Raises:
        InputError: When the source's or the rig's bones are not those of a human.
    """
    bones = {human: rig.bone_names.index(name) for human, name in rig.humanoid.items()}
    needed = ("hips", "head", "leftUpperLeg", "leftLowerLeg", "leftFoot", "rightUpperLeg", "rightLowerLeg", "rightFoot")
    missing = [h for h in needed if h not in bones]
    if missing:
        raise InputError(f"The avatar's rig has no {', '.join(missing)} in its humanoid map, so no motion fits it.")
    performer = read_performer(source, up_axis)
    joints = rig.joints_rest_m.double()
    directions, hinges = _rest_anatomy(rig, bones, joints)
    C = calibrate(performer, directions, hinges)
    frames = len(performer.R_world_joint)
    R_heading = _start_heading(performer, C)
    wanted: dict[int, Tensor] = {}
    for human, joint in performer.humanoid.items():
        if human in bones and human not in ("spine", "chest", "upperChest", "neck"):
            wanted[bones[human]] = R_heading @ performer.R_world_joint[:, joint] @ C[human]
    _spread_spine(wanted, performer, C, R_heading, rig, bones)
    _move_toes_together(wanted, rig, bones)
    rotvecs = _local_rotations(wanted, rig, relaxed_rotvecs, frames)
    rotvecs = _spread_twists(rotvecs, rig, bones, directions)
    translation = _place_on_floor(performer, R_heading, rotvecs, rig, bones, floor_rest_m)
    motion = Motion(
        name=source.name,
        fps_hz=source.fps_hz,
        rotvecs=rotvecs.float(),
        translation_world_m=translation.float(),
        expression=torch.zeros(frames, len(ARKIT_ACTIONS)),
    )
    return motion.resampled(fps_hz)


def rest_floor(avatar: Avatar) -> float | None:
    """Height of the soles in the rest pose, metres: the lowest vertex of the mesh, none without a mesh."""
    return None if avatar.mesh is None else float(avatar.mesh.vertices_rest_m[:, 1].min())


def _rest_anatomy(rig: Rig, bones: dict[str, int], joints: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Directions of the rig's bones and axes of its knees and elbows in the rest pose, by VRM name."""
    directions: dict[str, Tensor] = {}

    def point(bone: str, targets: list[str]) -> None:
        found = [bones[t] for t in targets if t in bones]
        if bone in bones and found:
            line = joints[found].mean(0) - joints[bones[bone]]
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
            names = ("Metacarpal", "Proximal", "Distal") if finger == "Thumb" else ("Proximal", "Intermediate", "Distal")
            for name, following in zip(names, names[1:], strict=False):
                point(f"{side}{finger}{name}", [f"{side}{finger}{following}"])
        present = [bones[k] for k in knuckles if k in bones]
        if len(present) >= 2:
            directions[f"{side}across"] = torch.nn.functional.normalize(joints[present[-1]] - joints[present[0]], dim=0)
        # A knee bends about the axis to the left; an elbow brings the hand forward.
        hinges[f"{side}UpperLeg"] = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
        hinges[f"{side}UpperArm"] = torch.tensor([0.0, -sign, 0.0], dtype=torch.float64)
        arm, forearm = directions.get(f"{side}UpperArm"), directions.get(f"{side}LowerArm")
        if arm is not None and forearm is not None:
            bend = torch.linalg.cross(arm, forearm)
            forward = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
            hinges[f"{side}UpperArm"] = bend if float(bend.norm()) > 0.09 else torch.linalg.cross(arm, forward)
    return directions, hinges


def _start_heading(performer: Performer, C: dict[str, Tensor]) -> Float[Tensor, "3 3"]:
    """The turn about +Y after which the hips of the first frame face +Z."""
    forward = (performer.R_world_joint[0, performer.humanoid["hips"]] @ C["hips"])[:, 2]
    if float(forward[[0, 2]].norm()) < 0.2:  # bowing or lying: the way the hips' top points
        forward = -(performer.R_world_joint[0, performer.humanoid["hips"]] @ C["hips"])[:, 1] * forward[1].sign()
    angle = -math.atan2(float(forward[0]), float(forward[2]))
    return rotvec_to_matrix(torch.tensor([0.0, angle, 0.0], dtype=torch.float64))


def _spread_spine(
    wanted: dict[int, Tensor],
    performer: Performer,
    C: dict[str, Tensor],
    R_heading: Tensor,
    rig: Rig,
    bones: dict[str, int],
) -> None:
    """Give each vertebra between hips and head its share, interpolated along the source's spine and neck."""
    source = [R_heading @ performer.R_world_joint[:, performer.humanoid["hips"]] @ C["hips"]]
    for joint in spine_chain(performer):
        source.append(R_heading @ performer.R_world_joint[:, joint] @ C[f"spine/{joint}"])
    neck = bones.get("neck", bones["head"])
    spine = path_between(bones["hips"], neck, rig.bone_parents)
    for place, bone in enumerate(spine, start=1):
        wanted[bone] = _between(source, place / len(spine))
    above = [source[-1]]
    for human in ("neck", "head"):
        if human in performer.humanoid:
            above.append(R_heading @ performer.R_world_joint[:, performer.humanoid[human]] @ C[human])
    line = [] if neck == bones["head"] else [neck, *path_between(neck, bones["head"], rig.bone_parents)]
    line.append(bones["head"])
    for place, bone in enumerate(line, start=1):
        wanted[bone] = _between(above, place / len(line))


def _between(rotations: list[Tensor], share: float) -> Float[Tensor, "frames 3 3"]:
    """The rotation at a share of the way along a chain of rotations."""
    place = share * (len(rotations) - 1)
    low = min(int(place + 1e-9), len(rotations) - 1)
    if low == len(rotations) - 1:
        return rotations[-1]
    a, b = matrix_to_quat_wxyz(rotations[low]), matrix_to_quat_wxyz(rotations[low + 1])
    b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
    return quat_wxyz_to_matrix(a + (b - a) * (place - low))


def _move_toes_together(wanted: dict[int, Tensor], rig: Rig, bones: dict[str, int]) -> None:
    """A foot with five toes has one of them in the humanoid map: the others follow it."""
    for side in ("left", "right"):
        toes = bones.get(f"{side}Toes")
        if toes in wanted:
            for bone, parent in enumerate(rig.bone_parents):
                if parent == rig.bone_parents[toes] and bone != toes:
                    wanted[bone] = wanted[toes]


def _local_rotations(wanted: dict[int, Tensor], rig: Rig, relaxed: Tensor | None, frames: int) -> Tensor:
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


def _spread_twists(rotvecs: Tensor, rig: Rig, bones: dict[str, int], directions: dict[str, Tensor]) -> Tensor:
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
                twist = _twist(R[:, bones[hand]], directions[forearm], share, first=True)
                R[:, bones[hand]] = twist.transpose(1, 2) @ R[:, bones[hand]]
                R[:, between[-1]] = R[:, between[-1]] @ twist
    return matrix_to_rotvec(R)


def _twist(R: Tensor, axis: Tensor, share: float, *, first: bool = False) -> Float[Tensor, "frames 3 3"]:
    """A share of the turn about an axis within local rotations R.

    With `first`, R = twist swing (the twist belongs to the bone above); else R = swing twist (to the bone itself). Both
    splits have the same angle.
    """
    quat = matrix_to_quat_wxyz(R)
    along = (quat[:, 1:] * axis).sum(-1)
    angle = 2.0 * torch.atan2(along, quat[:, 0])
    angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    # Next to half a turn the angle jumps from one side to the other; keep it from doing so within a motion.
    steps = torch.round((angle[1:] - angle[:-1]) / (2 * math.pi))
    angle[1:] -= 2 * math.pi * torch.cumsum(steps, 0)
    return rotvec_to_matrix(axis * (angle * share)[:, None])


def _place_on_floor(
    performer: Performer, R_heading: Tensor, rotvecs: Tensor, rig: Rig, bones: dict[str, int], floor: float | None
) -> Float[Tensor, "frames 3"]:
    """Translation of the root: the source's path, scaled, with the lowest part as high as the source's."""
    joints = rig.joints_rest_m.double()
    p = performer.joints_world @ R_heading.T
    human = performer.humanoid
    scale = _leg_length(joints[None], bones) / max(_leg_length(p, human), 1e-9)
    R, t = bone_transforms(rotvecs, joints, torch.zeros(len(rotvecs), 3, dtype=torch.float64), rig.bone_parents)
    hips_joint, hips_bone = human["hips"], bones["hips"]
    path = (p[:, hips_joint] - p[0, hips_joint]) * scale
    hips_world = (R[:, hips_bone] @ joints[hips_bone]) + t[:, hips_bone]
    translation = path - (hips_world - hips_world[0]) - hips_world[0] * torch.tensor([1.0, 0.0, 1.0])
    heights = [
        (R[:, bone] @ point)[:, 1] + t[:, bone, 1] + translation[:, 1] - flesh
        for bone, point, flesh in _contact_points(joints, bones, rig, floor)
    ]
    lift = _lowest_point(p, human, scale) - torch.stack(heights).amin(0)
    translation[:, 1] += _smoothed(lift, 0.04 * performer.fps_hz)
    return translation


def _leg_length(positions: Tensor, bones: dict[str, int]) -> float:
    """Mean length of thigh and shank over both legs and all frames."""
    total = 0.0
    for side in ("left", "right"):
        chain = [bones[k] for k in (f"{side}UpperLeg", f"{side}LowerLeg", f"{side}Foot") if k in bones]
        for a, b in zip(chain, chain[1:], strict=False):
            total += float((positions[:, b] - positions[:, a]).norm(dim=-1).mean()) / 2
    return total


def _lowest_point(p: Tensor, human: dict[str, int], scale: float) -> Float[Tensor, " frames"]:
    """Height of the lowest part of the source's body over its floor, metres of the avatar.

    Ankles and toes have their own distance from the floor, the height at which they are when they are lowest; other
    joints are on the floor when it is as near as `_FLESH_M` says.
    """
    heights = []
    floor = torch.tensor(0.0, dtype=torch.float64)
    for name in ("Foot", "Toes"):
        pair = [p[:, human[side + name], 1] * scale for side in ("left", "right") if side + name in human]
        if pair:
            both = torch.stack(pair)
            resting = torch.quantile(both.reshape(-1)[:1_000_000], 0.02)
            heights.append(both - resting)
            floor = resting - (0.08 if name == "Foot" else 0.02)
    for bone, flesh in _FLESH_M.items():
        if bone in human:
            heights.append((p[:, human[bone], 1] * scale - flesh - floor)[None])
    lowest = torch.cat(heights).amin(0)
    return (lowest - torch.quantile(lowest[:1_000_000], 0.02)).clamp_min(0.0)


def _contact_points(
    joints: Tensor, bones: dict[str, int], rig: Rig, floor: float | None
) -> list[tuple[int, Tensor, float]]:
    """What may touch the floor: the bone, a point of the rest pose that moves with it, and how far the skin is below.

    Under each foot these are two points of the sole, at the heel and at the ball.
    """
    feet = [bones[f"{side}Foot"] for side in ("left", "right")]
    below = [[b for b, parent in enumerate(rig.bone_parents) if parent == foot] for foot in feet]
    lowest = min(float(joints[b, 1]) for foot, toes in zip(feet, below, strict=True) for b in (foot, *toes))
    height = floor if floor is not None else lowest - 0.02
    points = [(bones[bone], joints[bones[bone]], flesh) for bone, flesh in _FLESH_M.items() if bone in bones]
    for foot, toes in zip(feet, below, strict=True):
        soles = [joints[foot].clone()] + ([joints[toes].mean(0)] if toes else [])
        for sole in soles:
            sole[1] = height
            points.append((foot, sole, 0.0))
    return points


def _smoothed(values: Tensor, sigma_frames: float) -> Float[Tensor, " frames"]:
    """A Gaussian mean over time, the ends repeated."""
    reach = min(int(math.ceil(3 * sigma_frames)), len(values) - 1)
    if reach < 1:
        return values
    offsets = torch.arange(-reach, reach + 1, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma_frames) ** 2)
    padded = torch.cat([values[:1].expand(reach), values, values[-1:].expand(reach)])
    return torch.nn.functional.conv1d(padded[None, None], (kernel / kernel.sum())[None, None])[0, 0]
