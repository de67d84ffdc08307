"""Names of the body: parts of the surface, the humanoid bone map, and hands at rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.humanoid import FINGERS, finger_segments

PART_NAMES: tuple[str, ...] = (
    "body", "head", "face", "left_hand", "right_hand", "left_foot", "right_foot", "eyes", "mouth",
)  # fmt: skip
"""`head` is scalp, ears and neck above the collar; `face` what facial actions move; `eyes` the eyeballs and their
sockets; `mouth` its cavity and the tongue. The last two lie inside the head and are hidden most of the time."""

_ANNY_BODY: dict[str, str] = {
    "hips": "root", "spine": "spine05", "chest": "spine03", "upperChest": "spine01", "neck": "neck01", "head": "head",
    "leftEye": "eye.L", "leftShoulder": "clavicle.L", "leftUpperArm": "upperarm01.L",
    "leftLowerArm": "lowerarm01.L", "leftHand": "wrist.L", "leftUpperLeg": "upperleg01.L",
    "leftLowerLeg": "lowerleg01.L", "leftFoot": "foot.L", "leftToes": "toe2-1.L",
}  # fmt: skip


def anny_humanoid() -> dict[str, str]:
    """VRM 1.0 humanoid bone name -> Anny bone name. Anny's rig has no jaw bone; a twist bone follows its limb."""
    left = dict(_ANNY_BODY)
    for number, finger in enumerate(FINGERS, start=1):
        for joint, segment in enumerate(finger_segments(finger), start=1):
            left[f"left{finger}{segment}"] = f"finger{number}-{joint}.L"
    right = {
        name.replace("left", "right", 1): bone[:-1] + "R" for name, bone in left.items() if name.startswith("left")
    }
    return {**left, **right}


_RELAXED_CURL_RAD: dict[str, tuple[float, float, float]] = {
    "Index": (0.20, 0.25, 0.14),
    "Middle": (0.26, 0.30, 0.17),
    "Ring": (0.30, 0.33, 0.18),
    "Little": (0.32, 0.32, 0.18),
    "Thumb": (0.04, 0.10, 0.18),
}
"""Flexion of an idle hand's joints beyond the rest pose, from the knuckle outwards: more towards the little finger."""


def finger_flexion_axes(
    bone_names: Sequence[str], humanoid: dict[str, str], joints_rest_m: Float[Tensor, "bones 3"]
) -> Float[Tensor, "bones 3"]:
    """Unit axis about which each finger bone bends towards the palm; zero for all other bones.

    A finger flexes about the axis across it, in the plane of the knuckles; the thumb about the axis across its own bent
    chain's plane and the palm.

    Args:
        bone_names: All bones, in the order of `joints_rest_m`.
        humanoid: VRM bone name -> bone name.
        joints_rest_m: Rest joints.
    """
    axes = torch.zeros_like(joints_rest_m)
    index = {vrm: list(bone_names).index(bone) for vrm, bone in humanoid.items()}
    for side in ("left", "right"):
        knuckles = [joints_rest_m[index[f"{side}{finger}Proximal"]] for finger in ("Index", "Little")]
        wrist = joints_rest_m[index[f"{side}Hand"]]
        across = _unit(knuckles[0] - knuckles[1])
        # Points out of the palm: the back of a left hand that reaches along +X with the thumb forward (+Z) is up.
        palm = _unit(torch.linalg.cross(across, (knuckles[0] + knuckles[1]) / 2 - wrist))
        palm = palm if side == "right" else -palm
        for finger in FINGERS:
            segments = finger_segments(finger)
            chain = [joints_rest_m[index[f"{side}{finger}{s}"]] for s in segments]
            for i, segment in enumerate(segments):
                along = chain[i + 1] - chain[i] if i + 1 < len(chain) else chain[i] - chain[i - 1]
                inwards = palm if finger != "Thumb" else _unit(palm - across)
                axes[index[f"{side}{finger}{segment}"]] = _unit(torch.linalg.cross(along, inwards))
    return axes


def relaxed_hands(
    bone_names: Sequence[str], humanoid: dict[str, str], joints_rest_m: Float[Tensor, "bones 3"]
) -> Float[Tensor, "bones 3"]:
    """Rotation vectors of the rest pose with naturally curled fingers, radians."""
    rotvecs = finger_flexion_axes(bone_names, humanoid, joints_rest_m)
    place = {bone: i for i, bone in enumerate(bone_names)}
    for side in ("left", "right"):
        for finger, angles in _RELAXED_CURL_RAD.items():
            segments = finger_segments(finger)
            for segment, angle in zip(segments, angles, strict=True):
                rotvecs[place[humanoid[f"{side}{finger}{segment}"]]] *= angle
    return rotvecs


def _unit(vector: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vector, dim=-1)
