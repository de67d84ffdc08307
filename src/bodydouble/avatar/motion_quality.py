"""How well a motion sits on a rig: sliding feet, the floor, joints bent past what people can, jitter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.avatar.anatomy import humanoid_bones, rest_anatomy
from bodydouble.avatar.limb_ik import joint_places
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.retarget import sole_points
from bodydouble.avatar.values import Rig

_LIMBS = tuple(
    side + bone for side in ("left", "right") for bone in ("LowerLeg", "Foot", "LowerArm", "Hand")
)  # fmt: skip
_HYPER_RAD, _FOLDED_RAD = 0.17, 2.79
"""Knees and elbows bend from 10 degrees the wrong way to 160 degrees."""


@dataclass(frozen=True, kw_only=True)
class MotionQuality:
    """Figures of a motion on a rig; the floor is y = 0."""

    slide_cm_s: float
    """Mean horizontal speed of the sole's points while they stand."""
    slide_worst_cm: float
    """The farthest that a point wanders during one contact."""
    contact_share: float
    """Share of frames in which a foot stands."""
    penetration_mean_cm: float
    """Depth of the lowest sole below the floor, averaged over all frames."""
    penetration_max_cm: float
    hover_cm: float
    """Mean height of the sole's points over the floor while they stand."""
    limits_share: float
    """Share of (frame, knee or elbow) that bends the wrong way by more than 10 degrees or beyond 160."""
    jitter_m_s3: float
    """Median magnitude of the third derivative of the joints' positions."""
    peak_m_s2: float
    """Greatest acceleration of knees, feet, elbows and hands: a limb that snaps to its other side shows here."""


def motion_quality(
    motion: Motion, rig: Rig, stands: Bool[Tensor, "frames parts sides"], *, floor_rest_m: float | None = None
) -> MotionQuality:
    """Measure a motion.

    Args:
        motion: On the rig.
        rig: With a humanoid map.
        stands: When heel and ball of the left and the right foot stand, judged on the source.
        floor_rest_m: Height of the soles in the rest pose; estimated from the feet's joints if none.
    """
    bones = humanoid_bones(rig)
    rotvecs, translation = motion.rotvecs.double(), motion.translation_world_m.double()
    R, p = joint_places(rotvecs, translation, rig)
    joints = rig.joints_rest_m.double()
    tracks = []
    for points in sole_points(rig, bones, floor_rest_m).items():
        foot = bones[f"{points[0]}Foot"]
        tracks.append(torch.stack([p[:, foot] + R[:, foot] @ (point - joints[foot]) for point in points[1]], 1))
    soles = torch.stack(tracks, 2)  # frames, heel and ball, sides
    steps = (soles[1:] - soles[:-1])[..., [0, 2]].norm(dim=-1)
    both = stands[1:] & stands[:-1]
    lowest = soles[..., 1].reshape(len(soles), -1).amin(1)
    depth = (-lowest).clamp_min(0.0)
    standing = soles[..., 1][stands]
    return MotionQuality(
        slide_cm_s=float(steps[both].mean() * motion.fps_hz * 100) if bool(both.any()) else 0.0,
        slide_worst_cm=100 * _worst_wander(soles, stands),
        contact_share=float(stands.any(1).any(1).double().mean()),
        penetration_mean_cm=float(depth.mean()) * 100,
        penetration_max_cm=float(depth.max()) * 100,
        hover_cm=float(standing.clamp_min(0.0).mean()) * 100 if len(standing) else 0.0,
        limits_share=_past_limits(R, p, rig, bones),
        jitter_m_s3=jitter(p, motion.fps_hz),
        peak_m_s2=_peak(p[:, [bones[name] for name in _LIMBS if name in bones]], motion.fps_hz),
    )


def jitter(places: Float[Tensor, "frames joints 3"], fps_hz: float) -> float:
    """Median magnitude of the third derivative of positions, in their unit per cubic second; 0 for under four frames."""
    if len(places) < 4:
        return 0.0
    third = (places[3:] - 3 * places[2:-1] + 3 * places[1:-2] - places[:-3]) * fps_hz**3
    return float(third.norm(dim=-1).mean(1).median())


def _peak(places: Float[Tensor, "frames joints 3"], fps_hz: float) -> float:
    """The greatest acceleration; 0 for under three frames."""
    if len(places) < 3 or not places.shape[1]:
        return 0.0
    return float(((places[2:] - 2 * places[1:-1] + places[:-2]) * fps_hz**2).norm(dim=-1).max())


def _worst_wander(soles: Float[Tensor, "frames parts sides 3"], stands: Bool[Tensor, "frames parts sides"]) -> float:
    """The greatest horizontal distance from where a contact began, over all contacts."""
    worst = 0.0
    for part in range(stands.shape[1]):
        for side in range(stands.shape[2]):
            begin = -1
            for frame, on in enumerate(stands[:, part, side].tolist()):
                begin = (begin if begin >= 0 else frame) if on else -1
                if on:
                    away = soles[frame, part, side, [0, 2]] - soles[begin, part, side, [0, 2]]
                    worst = max(worst, float(away.norm()))
    return worst


def _past_limits(R: Tensor, p: Tensor, rig: Rig, bones: dict[str, int]) -> float:
    _, hinges = rest_anatomy(bones, rig.joints_rest_m.double())
    outside, total = 0, 0
    for side in ("left", "right"):
        for upper, lower, end in (("UpperLeg", "LowerLeg", "Foot"), ("UpperArm", "LowerArm", "Hand")):
            names = [side + upper, side + lower, side + end]
            if any(n not in bones for n in names):
                continue
            a, b, c = (p[:, bones[n]] for n in names)
            axis = R[:, bones[names[0]]] @ torch.nn.functional.normalize(hinges[names[0]], dim=0)
            first, second = torch.nn.functional.normalize(b - a, dim=-1), torch.nn.functional.normalize(c - b, dim=-1)
            sine = (torch.linalg.cross(first, second) * axis).sum(-1)
            angle = torch.atan2(sine, (first * second).sum(-1))
            outside += int(((angle < -_HYPER_RAD) & (angle > -_FOLDED_RAD / 2) | (angle > _FOLDED_RAD)).sum())
            total += len(p)
    return outside / max(total, 1)
