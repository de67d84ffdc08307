"""Retargeting: a motion of any named skeleton onto an avatar's rig, upright, facing +Z at its start, feet on the floor."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.anatomy import (
    humanoid_bones,
    local_rotations,
    move_toes_together,
    relaxed_hands,
    rest_anatomy,
    rotation_between,
    shortest_turn,
    spread_twists,
)
from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.contacts import Stance, meet_hands, plant_feet, planted_feet
from bodydouble.avatar.humanoid import path_between
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.performer import Performer, calibrate, read_performer, spine_chain
from bodydouble.avatar.timing import smoothed
from bodydouble.avatar.values import Avatar, Rig
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms

_FLESH_M = {
    "hips": 0.1,
    "head": 0.08,
    **{
        f"{side}{bone}": m
        for side in ("left", "right")
        for bone, m in (("LowerLeg", 0.05), ("LowerArm", 0.04), ("Hand", 0.03))
    },
}
"""How far below these joints a body lies on the floor; soles are measured instead."""
_JUMP_S, _HOVER_M = 0.5, 0.03
"""Half the longest time in the air, and how far above its floor a capture must stay to be brought down."""


def retarget(
    source: SourceMotion,
    rig: Rig,
    *,
    fps_hz: float = 30.0,
    floor_rest_m: float | None = None,
    relaxed_rotvecs: Float[Tensor, "bones 3"] | None = None,
    up_axis: str = "auto",
    contacts: bool = True,
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
        relaxed_rotvecs: Local rotations of bones that the source does not have, such as fingers; none curls the fingers a little.
        up_axis: `y`, `z` or `auto`.
        contacts: Whether standing feet are held in place and hands brought to what they touch (`contacts`), at the cost
            of some degrees in legs and arms.
    Raises:
        InputError: When the source's or the rig's bones are not those of a human.
    """
    bones = humanoid_bones(rig)
    performer = read_performer(source, up_axis)
    joints = rig.joints_rest_m.double()
    C = calibrate(performer, *rest_anatomy(bones, joints))
    frames = len(performer.R_world_joint)
    R_heading = _start_heading(performer, C)
    rotvecs = _posed_like(performer, C, R_heading, rig, bones, relaxed_rotvecs)
    translation = _place_on_floor(performer, R_heading, rotvecs, rig, bones, floor_rest_m)
    if contacts:
        scale_m = leg_length(joints[None], bones) / max(leg_length(performer.joints_world, performer.humanoid), 1e-9)
        soles = sole_points(rig, bones, floor_rest_m)
        planted = planted_feet(performer, scale_m)
        rotvecs, translation = plant_feet(rotvecs, translation, Stance(rig, bones, planted, source.fps_hz, soles))
        rotvecs = meet_hands(rotvecs, translation, rig, bones, performer, R_heading, scale_m)
    motion = Motion(
        name=source.name,
        fps_hz=source.fps_hz,
        rotvecs=rotvecs.float(),
        translation_world_m=translation.float(),
        expression=torch.zeros(frames, len(ARKIT_ACTIONS)) if source.expression is None else source.expression,
    )
    return motion.resampled(fps_hz)


def retarget_in_place(
    source: SourceMotion, rig: Rig, *, relaxed_rotvecs: Float[Tensor, "bones 3"] | None = None
) -> tuple[Float[Tensor, "frames bones 3"], Float[Tensor, "frames joints 3"]]:
    """Pose a rig as a source is posed, in the source's own world: nothing is turned, scaled or set on a floor.

    Args:
        source: Its zero pose stands upright along +Y; its world may lie anyhow.
        rig: With a humanoid map.
        relaxed_rotvecs: As in `retarget`.
    Returns:
        Local rotations of the rig (float64), and the world positions of the source's joints, by which to place it.
    Raises:
        InputError: When the source's or the rig's bones are not those of a human.
    """
    bones = humanoid_bones(rig)
    performer = read_performer(source, "y")
    C = calibrate(performer, *rest_anatomy(bones, rig.joints_rest_m.double()))
    R_heading = torch.eye(3, dtype=torch.float64)
    return _posed_like(performer, C, R_heading, rig, bones, relaxed_rotvecs), performer.joints_world


def rest_floor(avatar: Avatar) -> float | None:
    """Height of the soles in the rest pose, metres: the lowest vertex of the mesh, none without a mesh."""
    return None if avatar.mesh is None else float(avatar.mesh.vertices_rest_m[:, 1].min())


def _start_heading(performer: Performer, C: dict[str, Tensor]) -> Float[Tensor, "3 3"]:
    """The turn about +Y after which the hips of the first frame face +Z."""
    forward = (performer.R_world_joint[0, performer.humanoid["hips"]] @ C["hips"])[:, 2]
    if float(forward[[0, 2]].norm()) < 0.2:  # bowing or lying: the way the hips' top points
        forward = -(performer.R_world_joint[0, performer.humanoid["hips"]] @ C["hips"])[:, 1] * forward[1].sign()
    angle = -math.atan2(float(forward[0]), float(forward[2]))
    return rotvec_to_matrix(torch.tensor([0.0, angle, 0.0], dtype=torch.float64))


def _posed_like(
    performer: Performer,
    C: dict[str, Tensor],
    R_heading: Tensor,
    rig: Rig,
    bones: dict[str, int],
    relaxed_rotvecs: Tensor | None,
) -> Float[Tensor, "frames bones 3"]:
    """Local rotations of a rig whose bones turn as the performer's do, after `R_heading`."""
    directions, _ = rest_anatomy(bones, rig.joints_rest_m.double())
    wanted: dict[int, Tensor] = {}
    for human, joint in performer.humanoid.items():
        if human in bones and human not in ("spine", "chest", "upperChest", "neck"):
            wanted[bones[human]] = R_heading @ performer.R_world_joint[:, joint] @ C[human]
    _point_limbs(wanted, performer, R_heading, bones, directions)
    _spread_spine(wanted, performer, C, R_heading, rig, bones)
    move_toes_together(wanted, rig, bones)
    relaxed = relaxed_hands(rig) if relaxed_rotvecs is None else relaxed_rotvecs
    rotvecs = local_rotations(wanted, rig, relaxed, len(performer.R_world_joint))
    return spread_twists(rotvecs, rig, bones, directions)


def _point_limbs(
    wanted: dict[int, Tensor],
    performer: Performer,
    R_heading: Tensor,
    bones: dict[str, int],
    directions: dict[str, Tensor],
) -> None:
    """Turn limbs the last bit into the source's direction, which its joints in between may have bent."""
    for side in ("left", "right"):
        for name, end in (
            ("UpperArm", "LowerArm"),
            ("LowerArm", "Hand"),
            ("UpperLeg", "LowerLeg"),
            ("LowerLeg", "Foot"),
        ):
            bone, following = side + name, side + end
            joints = performer.humanoid
            if bone not in joints or following not in joints or bones.get(bone) not in wanted or bone not in directions:
                continue
            line = performer.joints_world[:, joints[following]] - performer.joints_world[:, joints[bone]]
            line = torch.nn.functional.normalize(line @ R_heading.T, dim=-1)
            R = wanted[bones[bone]]
            wanted[bones[bone]] = shortest_turn(R @ directions[bone], line) @ R


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
        wanted[bone] = rotation_between(source, place / len(spine))
    above = [source[-1]]
    for human in ("neck", "head"):
        if human in performer.humanoid:
            above.append(R_heading @ performer.R_world_joint[:, performer.humanoid[human]] @ C[human])
    line = [] if neck == bones["head"] else [neck, *path_between(neck, bones["head"], rig.bone_parents)]
    line.append(bones["head"])
    for place, bone in enumerate(line, start=1):
        wanted[bone] = rotation_between(above, place / len(line))


def _place_on_floor(
    performer: Performer, R_heading: Tensor, rotvecs: Tensor, rig: Rig, bones: dict[str, int], floor: float | None
) -> Float[Tensor, "frames 3"]:
    """Translation of the root: the source's path, scaled, with the lowest part as high as the source's."""
    joints = rig.joints_rest_m.double()
    p = performer.joints_world @ R_heading.T
    human = performer.humanoid
    scale = leg_length(joints[None], bones) / max(leg_length(p, human), 1e-9)
    R, t = bone_transforms(rotvecs, joints, torch.zeros(len(rotvecs), 3, dtype=torch.float64), rig.bone_parents)
    hips_joint, hips_bone = human["hips"], bones["hips"]
    path = (p[:, hips_joint] - p[0, hips_joint]) * scale
    hips_world = (R[:, hips_bone] @ joints[hips_bone]) + t[:, hips_bone]
    translation = path - (hips_world - hips_world[0]) - hips_world[0] * torch.tensor([1.0, 0.0, 1.0])
    heights = [
        (R[:, bone] @ point)[:, 1] + t[:, bone, 1] + translation[:, 1] - flesh
        for bone, point, flesh in _contact_points(joints, bones, rig, floor)
    ]
    lift = _landed(_lowest_point(p, human, scale), performer.fps_hz) - torch.stack(heights).amin(0)
    translation[:, 1] += smoothed(lift, 0.04 * performer.fps_hz)
    return translation


def leg_length(positions: Tensor, bones: dict[str, int]) -> float:
    """Mean length of thigh and shank over both legs and all frames."""
    total = 0.0
    for side in ("left", "right"):
        chain = [bones[k] for k in (f"{side}UpperLeg", f"{side}LowerLeg", f"{side}Foot") if k in bones]
        for a, b in itertools.pairwise(chain):
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


def _landed(lowest: Float[Tensor, " frames"], fps_hz: float) -> Float[Tensor, " frames"]:
    """Heights over the floor of a capture that hovers, brought down to it; others are left alone.

    Nobody stays in the air for longer than a jump takes: what is lowest within `_JUMP_S` on either side is a landing. If
    most landings are well above the floor, which then only a few frames have touched (often a pose before the start), the
    capture has lost its floor, and where it lands is the floor.
    """
    reach = round(_JUMP_S * fps_hz)
    if len(lowest) < 2 * reach:
        return lowest
    padded = torch.nn.functional.pad(-lowest[None, None], (reach, reach), mode="replicate")
    landings = -torch.nn.functional.max_pool1d(padded, 2 * reach + 1, stride=1)[0, 0]
    floor = torch.quantile(landings[:1_000_000], 0.5)
    return lowest if float(floor) < _HOVER_M else (lowest - floor).clamp_min(0.0)


def _contact_points(
    joints: Tensor, bones: dict[str, int], rig: Rig, floor: float | None
) -> list[tuple[int, Tensor, float]]:
    """What may touch the floor: the bone, a point of the rest pose that moves with it, and how far the skin is below.

    Under each foot these are two points of the sole, at the heel and at the ball.
    """
    points = [(bones[bone], joints[bones[bone]], flesh) for bone, flesh in _FLESH_M.items() if bone in bones]
    for side, pair in sole_points(rig, bones, floor).items():
        points += [(bones[f"{side}Foot"], sole, 0.0) for sole in pair]
    return points


def sole_points(
    rig: Rig, bones: dict[str, int], floor_rest_m: float | None
) -> dict[str, tuple[Float[Tensor, "3"], Float[Tensor, "3"]]]:
    """For `left` and `right` the points of the sole under the heel and the ball, in the rest pose (float64).

    Args:
        rig, bones: A rig and its bones by VRM name.
        floor_rest_m: Height of the soles; estimated from the feet's joints if none.
    """
    joints = rig.joints_rest_m.double()
    feet = {side: bones[f"{side}Foot"] for side in ("left", "right")}
    below = {side: [b for b, parent in enumerate(rig.bone_parents) if parent == foot] for side, foot in feet.items()}
    lowest = min(float(joints[b, 1]) for side, foot in feet.items() for b in (foot, *below[side]))
    height = floor_rest_m if floor_rest_m is not None else lowest - 0.02
    points = {}
    for side, foot in feet.items():
        heel = joints[foot].clone()
        ball = joints[below[side]].mean(0) if below[side] else heel.clone()
        heel[1] = ball[1] = height
        points[side] = (heel, ball)
    return points
