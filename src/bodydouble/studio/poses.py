"""Pose controls by name: turns of the person's joints, in degrees, on top of whatever motion plays.

A control turns one or several bones of the humanoid map about an axis of the rest frame (+Y up, +Z forward, +X the
person's left). Sides are mirrored, so that the same number means the same on both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.anatomy import FINGER_BONES, humanoid_bones, rest_anatomy
from bodydouble.avatar.values import Rig
from bodydouble.body.humanoid import FINGERS
from bodydouble.core.errors import ConfigError
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix

Axis = Literal["x", "y", "z", "bone", "hinge", "curl"]
_UNIT = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class PoseControl:
    """One slider."""

    name: str
    group: str
    label: str
    low_deg: float
    high_deg: float
    turns: tuple[tuple[str, float], ...]
    """VRM bone -> its share of the angle; a negative share turns the other way."""
    axis: Axis
    """Of the rest frame; along the bone; a knee's or elbow's own hinge; or that of a finger which closes the hand."""


def _control(
    group: str, label: str, low: float, high: float, axis: Axis, turns: Mapping[str, float], side: str = ""
) -> PoseControl:
    name = "_".join((*([side] if side else []), *label.replace(",", "").split()))
    return PoseControl(
        name=name, group=group, label=label, low_deg=low, high_deg=high, turns=tuple(turns.items()), axis=axis
    )


def _arm(side: str) -> list[PoseControl]:
    group, sign = f"{side.capitalize()} arm", 1.0 if side == "left" else -1.0
    return [
        _control(group, "shrug", -15.0, 35.0, "z", {f"{side}Shoulder": sign}, side),
        _control(group, "arm up", -90.0, 150.0, "z", {f"{side}UpperArm": sign}, side),
        _control(group, "arm forward", -60.0, 120.0, "y", {f"{side}UpperArm": -sign}, side),
        _control(group, "arm twist", -80.0, 80.0, "bone", {f"{side}UpperArm": 1.0}, side),
        _control(group, "elbow", -20.0, 140.0, "hinge", {f"{side}LowerArm": 1.0}, side),
        _control(group, "forearm twist", -90.0, 90.0, "bone", {f"{side}LowerArm": 0.6, f"{side}Hand": 0.4}, side),
        _control(group, "wrist", -70.0, 70.0, "curl", {f"{side}Hand": 1.0}, side),
    ]


def _hand(side: str) -> list[PoseControl]:
    controls = []
    for finger in FINGERS:
        shares = (0.3, 0.7, 1.0) if finger == "Thumb" else (1.0, 1.1, 0.8)
        bones = {f"{side}{finger}{s}": share for s, share in zip(FINGER_BONES[finger], shares, strict=True)}
        label = f"{finger.lower()} finger" if finger not in ("Thumb",) else "thumb"
        controls.append(_control(f"{side.capitalize()} hand", label, -15.0, 85.0, "curl", bones, side))
    return controls


def _leg(side: str) -> list[PoseControl]:
    group, sign = f"{side.capitalize()} leg", 1.0 if side == "left" else -1.0
    return [
        _control(group, "leg forward", -40.0, 110.0, "x", {f"{side}UpperLeg": -1.0}, side),
        _control(group, "leg out", -25.0, 70.0, "z", {f"{side}UpperLeg": sign}, side),
        _control(group, "leg twist", -40.0, 40.0, "y", {f"{side}UpperLeg": sign}, side),
        _control(group, "knee", -5.0, 140.0, "x", {f"{side}LowerLeg": 1.0}, side),
        _control(group, "toes up", -40.0, 30.0, "x", {f"{side}Foot": -1.0}, side),
    ]


_SPINE = {"spine": 0.4, "chest": 0.35, "upperChest": 0.25}
_NECK = {"neck": 0.4, "head": 0.6}

POSE_CONTROLS: tuple[PoseControl, ...] = (
    _control("Head", "turn head", -75.0, 75.0, "y", _NECK),
    _control("Head", "nod", -45.0, 50.0, "x", _NECK),
    _control("Head", "tilt head", -40.0, 40.0, "z", _NECK),
    _control("Torso", "bend", -25.0, 75.0, "x", _SPINE),
    _control("Torso", "lean", -35.0, 35.0, "z", _SPINE),
    _control("Torso", "twist", -50.0, 50.0, "y", _SPINE),
    *(control for side in ("left", "right") for part in (_arm, _hand, _leg) for control in part(side)),
)
"""All controls; `turn head` and `twist` go to the person's own left, `lean` and `tilt head` to the own right."""
CONTROLS_BY_NAME: dict[str, PoseControl] = {control.name: control for control in POSE_CONTROLS}


def _both(**degrees: float) -> dict[str, float]:
    return {f"{side}_{name}": value for name, value in degrees.items() for side in ("left", "right")}


def _fist(side: str, **open_deg: float) -> dict[str, float]:
    closed = {"thumb": 45.0, **{f"{finger}_finger": 80.0 for finger in ("index", "middle", "ring", "little")}}
    return {f"{side}_{finger}": open_deg.get(finger, value) for finger, value in closed.items()}


POSES: dict[str, dict[str, float]] = {
    "as the motion": {},
    "look around": {"turn_head": 45.0, "twist": 20.0},
    "bow": {"bend": 45.0, "nod": 20.0},
    "shrug": {**_both(shrug=28.0, elbow=70.0), "tilt_head": 10.0},
    "arms wide": _both(arm_up=55.0),
    "cheer": _both(arm_up=118.0, elbow=25.0),
    "march": {"left_leg_forward": 70.0, "left_knee": 80.0, "right_arm_forward": 35.0, "right_elbow": 60.0},
    "fists": {**_fist("left"), **_fist("right")},
    "point": {"right_arm_forward": 85.0, "right_arm_up": 25.0, **_fist("right", index_finger=0.0)},
    "victory": {
        "right_arm_up": 75.0,
        "right_elbow": 75.0,
        **_fist("right", index_finger=0.0, middle_finger=0.0),
    },
}
"""Preset -> controls in degrees."""


class Poser:
    """Adds pose controls to poses of one rig."""

    def __init__(self, rig: Rig) -> None:
        """
        Args:
            rig: With a humanoid map.
        Raises:
            InputError: When it is not that of a human.
        """
        bones = humanoid_bones(rig)
        joints = rig.joints_rest_m.double()
        directions, hinges = rest_anatomy(bones, joints)
        self._parts: dict[str, list[tuple[int, Tensor, bool]]] = {}
        for control in POSE_CONTROLS:
            parts = []
            for bone, share in control.turns:
                axis = _axis(control.axis, bone, directions, hinges)
                if bone in bones and axis is not None:
                    parts.append((bones[bone], axis * share, control.axis == "bone"))
            if parts:
                self._parts[control.name] = parts

    @property
    def controls(self) -> tuple[PoseControl, ...]:
        """Those that this rig has bones for."""
        return tuple(control for control in POSE_CONTROLS if control.name in self._parts)

    def apply(
        self, rotvecs: Float[Tensor, "*frames bones 3"], controls: Mapping[str, float]
    ) -> Float[Tensor, "*frames bones 3"]:
        """Poses with the controls added.

        A control acts after the pose, in the axes of the bone's parent; only turns along a bone act before it.

        Args:
            rotvecs: Local rotations of the rig, radians.
            controls: Degrees by name; controls without bones in this rig do nothing.
        Raises:
            ConfigError: For a name that is no control.
        """
        unknown = [name for name in controls if name not in CONTROLS_BY_NAME]
        if unknown:
            raise ConfigError(f"There is no pose control {unknown[0]!r}; known are {', '.join(CONTROLS_BY_NAME)}.")
        result = rotvecs.clone()
        for name, degrees in controls.items():
            for bone, axis, before in self._parts.get(name, []):
                turn = rotvec_to_matrix((axis * math.radians(degrees)).to(rotvecs))
                R = rotvec_to_matrix(result[..., bone, :])
                result[..., bone, :] = matrix_to_rotvec(R @ turn if before else turn @ R)
        return result


def _axis(kind: Axis, bone: str, directions: Mapping[str, Tensor], hinges: Mapping[str, Tensor]) -> Tensor | None:
    """Unit axis of a turn in the rest frame, float64; none where the rig does not tell it."""
    if kind == "bone":
        return directions.get(bone)
    side = "left" if bone.startswith("left") else "right"
    if kind == "hinge":
        hinge = hinges.get(bone.replace("Lower", "Upper"))
        return None if hinge is None else torch.nn.functional.normalize(hinge, dim=0)
    if kind == "curl":
        across, hand = directions.get(f"{side}across"), directions.get(f"{side}Hand")
        if across is None or hand is None:
            return None
        palm = (1.0 if side == "left" else -1.0) * torch.linalg.cross(across, hand)
        along = directions.get(bone, _before(bone, directions))
        return None if along is None else torch.nn.functional.normalize(torch.linalg.cross(along, palm), dim=0)
    return torch.tensor(_UNIT[kind], dtype=torch.float64)


def _before(bone: str, directions: Mapping[str, Tensor]) -> Tensor | None:
    """The tip of a finger has no direction of its own: that of the segment before."""
    before = bone.replace("Distal", "Proximal" if "Thumb" in bone else "Intermediate")
    return directions.get(before)
