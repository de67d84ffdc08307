"""What a retargeted motion owes to contacts: planted feet stay where they are, hands meet what they met.

A rig of other proportions cannot keep angles and contacts at once. Angles come first (`retarget`); here feet and hands are
moved by the little that is missing, smoothly in time, by inverse kinematics of the limbs.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.avatar.anatomy import rest_anatomy
from bodydouble.avatar.limb_ik import joint_places, move_limb_end
from bodydouble.avatar.performer import Performer
from bodydouble.avatar.timing import smoothed
from bodydouble.avatar.values import Rig
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.core.struct import TensorStruct, tensor_struct

PLANTED_SPEED_M_S = 0.25
"""A foot that is slower than this, and low, stands."""
PLANTED_HEIGHT_M = 0.05
_SMOOTH_S = 0.08
"""Corrections bend on this scale of time between contacts."""
_FORGET_S = 1.5
"""How fast a correction fades where no contact asks for it."""
_TURN_FORGET_S = 0.5
"""The same for the turns of feet, which in the air should be the source's soon."""
_STAND = 300.0
"""Weight of standing still against a smooth correction."""
_FLOOR_M = 0.005
"""How exactly standing feet are on the floor, against a smooth correction."""
_LIFTED_M = 0.08
_FLAT_RAD = 0.5
"""A sole that rises more than this between heel and ball does not lie on the floor, whatever the source's joints do."""
_LEVEL_RAD = 0.02
"""How exactly standing soles are level, against a smooth correction."""
_NEAR_M, _FAR_M = 0.10, 0.30
"""Hands nearer than the first keep their whole distance to what they touch, beyond the second none of it."""


@tensor_struct
class Planted(TensorStruct):
    """Which feet of a source stand, by the parts that carry them; sides are left, right."""

    ball: Bool[Tensor, "frames sides"]
    heel: Bool[Tensor, "frames sides"]


@dataclasses.dataclass(frozen=True)
class Stance:
    """When a rig stands, and on what."""

    rig: Rig
    bones: dict[str, int]
    """Of the rig, by VRM name."""
    planted: Planted
    fps_hz: float
    soles: dict[str, tuple[Tensor, Tensor]]
    """For `left` and `right` the points of the rest pose under heel and ball that move with the foot."""

    def sole_places(
        self, R: Float[Tensor, "frames bones 3 3"], p: Float[Tensor, "frames bones 3"], side: str
    ) -> tuple[Float[Tensor, "frames 3"], Float[Tensor, "frames 3"]]:
        """Heel and ball in the world."""
        joints, foot = self.rig.joints_rest_m.to(p), self.bones[f"{side}Foot"]
        heel, ball = (p[:, foot] + R[:, foot] @ (point.to(p) - joints[foot]) for point in self.soles[side])
        return heel, ball


def planted_feet(performer: Performer, scale_m: float) -> Planted:
    """Find out when the feet of a source stand: near their own lowest height, and slow.

    Args:
        performer: The source, +Y up.
        scale_m: Metres of the avatar in one unit of the source.
    """
    p = performer.joints_world * scale_m
    frames = len(p)
    parts = []
    for name in ("Toes", "Foot"):
        sides = []
        for side in ("left", "right"):
            joint = performer.humanoid.get(side + name, performer.humanoid.get(f"{side}Foot"))
            if joint is None or frames < 3:
                sides.append(torch.zeros(frames, dtype=torch.bool))
                continue
            sides.append(_resting(p[:, joint], performer.fps_hz))
        parts.append(torch.stack(sides, 1))
    return Planted(ball=parts[0], heel=parts[1])


def _resting(places: Float[Tensor, "frames 3"], fps_hz: float) -> Bool[Tensor, " frames"]:
    """Frames in which a point is low and slow; moments shorter than 0.1 s are noise."""
    span = max(1, round(0.03 * fps_hz))
    index = torch.arange(len(places))
    after, before = (index + span).clamp(max=len(places) - 1), (index - span).clamp(min=0)
    speed = (places[after] - places[before]).norm(dim=-1) / ((after - before).clamp_min(1) / fps_hz)
    slow = speed < PLANTED_SPEED_M_S
    if not bool(slow.any()):
        return slow
    # The usual height of a slow foot is that of standing, wherever the rig puts its joints.
    usual = torch.quantile(places[slow, 1][:1_000_000], 0.3)
    return _without_moments(slow & ((places[:, 1] - usual).abs() < PLANTED_HEIGHT_M), max(2, round(0.1 * fps_hz)))


def _without_moments(flags: Bool[Tensor, " frames"], shortest: int) -> Bool[Tensor, " frames"]:
    """Runs of true frames that are shorter than this, taken out."""
    values = np.concatenate([[0], flags.numpy().astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(values))
    out = np.zeros(len(flags), bool)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin >= shortest:
            out[begin:end] = True
    return torch.from_numpy(out)


def plant_feet(
    rotvecs: Float[Tensor, "frames bones 3"],
    translation_world_m: Float[Tensor, "frames 3"],
    stance: Stance,
) -> tuple[Float[Tensor, "frames bones 3"], Float[Tensor, "frames 3"]]:
    """Hold planted feet in place and on the floor (y = 0).

    Args:
        rotvecs, translation_world_m: The retargeted motion, float64.
        stance: Of the source's feet, for the rig that moves.
    Returns:
        The motion with feet turned and legs (and, where a leg is too short, hips) moved by the least that does it.
    """
    if len(rotvecs) < 3:
        return rotvecs, translation_world_m
    rotvecs = _settled_feet(rotvecs, translation_world_m, stance)
    rig, bones, planted, fps_hz = stance.rig, stance.bones, stance.planted, stance.fps_hz
    R, p = joint_places(rotvecs, translation_world_m, rig)
    joints = rig.joints_rest_m.to(rotvecs)
    shifts: dict[str, Tensor] = {}
    for place, side in enumerate(("left", "right")):
        heel, ball = stance.sole_places(R, p, side)
        # A foot that is slow high above the floor (a kick held, a hovering capture) does not stand on it.
        near = torch.minimum(heel[:, 1], ball[:, 1]) < _LIFTED_M
        on_ball, on_heel = planted.ball[:, place] & near, planted.heel[:, place] & near
        shifts[side] = _least_shift(heel, ball, on_heel & ~on_ball, on_ball, fps_hz)
    translation = translation_world_m + _lowered_hips(p, bones, shifts, fps_hz)
    moved = translation - translation_world_m
    _, hinges = rest_anatomy(bones, joints)
    for side, shift in shifts.items():
        limb = (bones[f"{side}UpperLeg"], bones[f"{side}LowerLeg"], bones[f"{side}Foot"])
        rotvecs = move_limb_end(rotvecs, translation, rig, limb, shift - moved, hinges[f"{side}UpperLeg"])
    return rotvecs, translation


def _settled_feet(
    rotvecs: Float[Tensor, "frames bones 3"],
    translation_world_m: Float[Tensor, "frames 3"],
    stance: Stance,
) -> Float[Tensor, "frames bones 3"]:
    """Feet that stand on heel and ball at once, turned so that the sole is level and keeps its direction.

    Heel and ball of the source never rest at quite the same moments and heights; a foot held by one of them would turn
    about it. What it turns too much is undone as smoothly as `_least_shift` undoes what it slides. Arguments as `plant_feet`.
    """
    rig, planted, fps_hz = stance.rig, stance.planted, stance.fps_hz
    R, p = joint_places(rotvecs, translation_world_m, rig)
    out = rotvecs.clone()
    for place, side in enumerate(("left", "right")):
        foot = stance.bones[f"{side}Foot"]
        heel, ball = stance.sole_places(R, p, side)
        line = ball - heel
        level = line[:, [0, 2]].norm(dim=-1)
        rise = torch.atan2(line[:, 1], level)
        near = torch.minimum(heel[:, 1], ball[:, 1]) < _LIFTED_M
        flat = planted.ball[:, place] & planted.heel[:, place] & near & (rise.abs() < _FLAT_RAD)
        if not bool(flat.any()):
            continue
        heading = np.unwrap(np.arctan2(line[:, 0].numpy(), line[:, 2].numpy()))
        both = (flat[1:] & flat[:-1]).numpy().astype(float)
        frames, none = len(p), np.zeros(len(p) - 1)
        turn = _solve(-np.diff(heading) * fps_hz * both, _STAND * both, None, None, frames, fps_hz, _TURN_FORGET_S)
        tilt = _solve(none, none, -rise.numpy(), flat.double().numpy() / _LEVEL_RAD**2, frames, fps_hz, _TURN_FORGET_S)
        # Up by `tilt` about the axis across the foot, then about the vertical by `turn`.
        across = torch.stack([-line[:, 2], torch.zeros_like(level), line[:, 0]], 1) / level.clamp_min(1e-6)[:, None]
        up = torch.tensor([0.0, 1.0, 0.0], dtype=rotvecs.dtype).expand_as(across)
        turned = (
            rotvec_to_matrix(up * torch.from_numpy(turn)[:, None])
            @ rotvec_to_matrix(across * torch.from_numpy(tilt)[:, None])
            @ R[:, foot]
        )
        out[:, foot] = matrix_to_rotvec(R[:, rig.bone_parents[foot]].transpose(1, 2) @ turned)
    return out


def _least_shift(
    heel: Float[Tensor, "frames 3"],
    ball: Float[Tensor, "frames 3"],
    on_heel: Bool[Tensor, " frames"],
    on_ball: Bool[Tensor, " frames"],
    fps_hz: float,
) -> Float[Tensor, "frames 3"]:
    """The smoothest shift after which a standing point has no speed and the height of the floor.

    It minimises, with d the shift and v the velocity of the standing point: |v + d'|^2 over standing frames, plus
    |_SMOOTH_S d''|^2 and |d / _FORGET_S|^2 over all; heights ask for their place instead of their speed. Linear in d,
    so one banded solve for each axis.
    """
    frames = len(heel)
    both = (on_ball[1:] & on_ball[:-1]) | (on_heel[1:] & on_heel[:-1])
    ball_step = (on_ball[1:] & on_ball[:-1])[:, None]
    velocity = torch.where(ball_step, ball[1:] - ball[:-1], heel[1:] - heel[:-1]) * fps_hz
    shift = torch.zeros(frames, 3, dtype=heel.dtype)
    for axis in (0, 2):
        wanted = -velocity[:, axis].numpy() * both.numpy()
        shift[:, axis] = torch.from_numpy(
            _solve(wanted, _STAND * both.numpy().astype(float), None, None, frames, fps_hz)
        )
    # Whatever is below the floor has to come up, standing or not; what stands has to come down as well.
    low = torch.minimum(ball[:, 1], heel[:, 1])
    asked = (on_ball | on_heel | (low < 0.0)).double().numpy() / _FLOOR_M**2
    none = np.zeros(frames - 1)
    shift[:, 1] = torch.from_numpy(_solve(none, none, -low.numpy(), asked, frames, fps_hz))
    return shift


def _solve(
    speed: np.ndarray,
    speed_weight: np.ndarray,
    place: np.ndarray | None,
    place_weight: np.ndarray | None,
    frames: int,
    fps_hz: float,
    forget_s: float = _FORGET_S,
) -> np.ndarray:
    """The d that minimises sum w (d' - speed)^2 + sum (_SMOOTH_S d'')^2 + sum (d / forget_s)^2 + sum w (d - place)^2."""
    from scipy.linalg import solveh_banded

    band = np.zeros((3, frames))  # upper form: row 2 is the diagonal
    right = np.zeros(frames)
    band[2] += 1.0 / forget_s**2
    w = speed_weight * fps_hz**2
    band[2, :-1] += w
    band[2, 1:] += w
    band[1, 1:] -= w
    pull = speed_weight * speed * fps_hz
    right[:-1] -= pull
    right[1:] += pull
    bend = (_SMOOTH_S * fps_hz**2) ** 2 * 1e-1
    for offset, share in ((0, 1.0), (1, 4.0), (2, 1.0)):
        band[2, offset : frames - 2 + offset] += bend * share
    band[1, 1:-1] -= 2 * bend
    band[1, 2:] -= 2 * bend
    band[0, 2:] += bend
    if place is not None and place_weight is not None:
        band[2] += place_weight
        right += place_weight * place
    return solveh_banded(band, right)


def _lowered_hips(
    p: Tensor, bones: dict[str, int], shifts: dict[str, Tensor], fps_hz: float
) -> Float[Tensor, "frames 3"]:
    """How far the hips have to come down so that both feet are within reach."""
    need = torch.zeros(len(p), dtype=p.dtype)
    for side, shift in shifts.items():
        hip, knee, foot = (p[:, bones[f"{side}{b}"]] for b in ("UpperLeg", "LowerLeg", "Foot"))
        length = 0.999 * ((knee - hip).norm(dim=-1) + (foot - knee).norm(dim=-1))
        line = foot + shift - hip
        level = line[:, [0, 2]].norm(dim=-1)
        allowed = (length**2 - level**2).clamp_min(0.0).sqrt()
        need = torch.maximum(need, (-line[:, 1] - allowed).clamp(0.0, 0.2))
    span = max(1, round(0.1 * fps_hz))
    widest = torch.nn.functional.max_pool1d(need[None, None], 2 * span + 1, 1, span)[0, 0]
    down = torch.zeros(len(p), 3, dtype=p.dtype)
    down[:, 1] = -smoothed(widest, 0.05 * fps_hz)
    return down


def meet_hands(
    rotvecs: Float[Tensor, "frames bones 3"],
    translation_world_m: Float[Tensor, "frames 3"],
    rig: Rig,
    bones: dict[str, int],
    performer: Performer,
    R_heading: Float[Tensor, "3 3"],
    scale_m: float,
) -> Float[Tensor, "frames bones 3"]:
    """Bring hands to what they touch in the source: each other, the head, the hips, the knees.

    A hand near a partner gets the source's offset from it (scaled), the more so the nearer it is.

    Args:
        rotvecs, translation_world_m: The retargeted motion, float64.
        rig, bones: The rig and its bones by VRM name.
        performer: The source.
        R_heading: Turn from the source's world to the avatar's.
        scale_m: Metres of the avatar in one unit of the source.
    """
    human = performer.humanoid
    hands = [f"{side}Hand" for side in ("left", "right")]
    needed = [f"{side}{b}" for side in ("left", "right") for b in ("UpperArm", "LowerArm", "Hand")]
    if any(n not in human or n not in bones for n in needed):
        return rotvecs
    source = performer.joints_world @ R_heading.T * scale_m
    _, p = joint_places(rotvecs, translation_world_m, rig)
    partners = [b for b in ("head", "hips", "leftLowerLeg", "rightLowerLeg") if b in human and b in bones]
    _, hinges = rest_anatomy(bones, rig.joints_rest_m.to(rotvecs))
    shifts = []
    for own, other in (hands, hands[::-1]):
        total = torch.zeros(len(p), 3, dtype=p.dtype)
        weights = torch.zeros(len(p), 1, dtype=p.dtype)
        for partner in [other, *partners]:
            offset = source[:, human[own]] - source[:, human[partner]]
            missing = offset - (p[:, bones[own]] - p[:, bones[partner]])
            # Two hands meet half way.
            share = 0.5 if partner == other else 1.0
            reach = _FAR_M if partner == other else 0.8 * _FAR_M
            weight = _nearness(offset.norm(dim=-1, keepdim=True), reach)
            total += weight * share * missing
            weights += weight
        shifts.append(total / weights.clamp_min(1.0))
    for side, shift in zip(("left", "right"), shifts, strict=True):
        if float(shift.abs().max()) < 1e-4:
            continue
        calm = torch.stack([smoothed(shift[:, axis].contiguous(), 0.04 * performer.fps_hz) for axis in range(3)], 1)
        limb = (bones[f"{side}UpperArm"], bones[f"{side}LowerArm"], bones[f"{side}Hand"])
        rotvecs = move_limb_end(rotvecs, translation_world_m, rig, limb, calm, hinges[f"{side}UpperArm"])
    return rotvecs


def _nearness(distance: Float[Tensor, "frames 1"], far: float) -> Float[Tensor, "frames 1"]:
    share = ((far - distance) / (far - _NEAR_M)).clamp(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
