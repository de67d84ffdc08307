"""Joints of the SMPL family: names, tree and humanoid map. Plain facts of the models' documentation, no data of theirs."""

from __future__ import annotations

from bodydouble.body.humanoid import finger_segments

_BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
_BODY_PARENTS = (
    "", "pelvis", "pelvis", "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "spine3", "spine3", "neck", "left_collar", "right_collar", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow",
)  # fmt: skip
_FACE = ("jaw", "left_eye", "right_eye")
_FINGERS = tuple(
    f"{side}_{finger}{i}"
    for side in ("left", "right")
    for finger in ("index", "middle", "pinky", "ring", "thumb")
    for i in (1, 2, 3)
)
JOINT_NAMES: dict[str, tuple[str, ...]] = {
    "smpl": (*_BODY, "left_hand", "right_hand"),
    "smplh": (*_BODY, *_FINGERS),
    "smplx": (*_BODY, *_FACE, *_FINGERS),
}
"""Joint names of each model, parents first: 24, 52 and 55."""

_LIMBS = {
    "Shoulder": "collar", "UpperArm": "shoulder", "LowerArm": "elbow", "Hand": "wrist",
    "UpperLeg": "hip", "LowerLeg": "knee", "Foot": "ankle", "Toes": "foot",
}  # fmt: skip
_DIGITS = {"Index": "index", "Middle": "middle", "Little": "pinky", "Ring": "ring", "Thumb": "thumb"}


def joint_parents(names: tuple[str, ...]) -> tuple[int, ...]:
    """Parent of each joint, -1 for the pelvis."""
    parents = [-1 if parent == "" else names.index(parent) for parent in _BODY_PARENTS]
    for name in names[len(_BODY) :]:
        side, _, rest = name.partition("_")
        if name in _FACE:
            parents.append(names.index("head"))
        elif rest == "hand" or rest.endswith("1"):
            parents.append(names.index(f"{side}_wrist"))
        else:
            parents.append(names.index(f"{side}_{rest[:-1]}{int(rest[-1]) - 1}"))
    return tuple(parents)


def smpl_humanoid(names: tuple[str, ...]) -> dict[str, str]:
    """VRM 1.0 humanoid bone name -> joint name, of the bones that the model has."""
    found = {
        "hips": "pelvis", "spine": "spine1", "chest": "spine2", "upperChest": "spine3", "neck": "neck", "head": "head",
        "jaw": "jaw",
    }  # fmt: skip
    for side in ("left", "right"):
        found[f"{side}Eye"] = f"{side}_eye"
        found |= {f"{side}{ours}": f"{side}_{theirs}" for ours, theirs in _LIMBS.items()}
        for ours, theirs in _DIGITS.items():
            for i, segment in enumerate(finger_segments(ours), start=1):
                found[f"{side}{ours}{segment}"] = f"{side}_{theirs}{i}"
    return {ours: theirs for ours, theirs in found.items() if theirs in names}
