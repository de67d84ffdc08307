"""Which bone of a foreign skeleton is which bone of a human, told from the bones' names and their order.

The names on the left are VRM 1.0's humanoid bones. Known families: Mixamo, CMU, MakeHuman (both of its rigs), SMPL,
Unreal, Blender's Rigify and VRM itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bodydouble.body.humanoid import finger_segments

_SINGLE: dict[str, tuple[str, ...]] = {
    "hips": ("hips", "pelvis", "hip", "root"),
    "neck": ("neck", "neck01", "neck1"),
    "head": ("head",),
}
_SIDED: dict[str, tuple[str, ...]] = {
    "Shoulder": ("clavicle", "collar", "collarbone", "shoulder"),
    "UpperArm": ("upperarm", "upperarm01", "uparm", "arm", "shldr", "shoulder"),
    "LowerArm": ("forearm", "lowerarm", "lowerarm01", "loarm", "elbow"),
    "Hand": ("hand", "wrist"),
    "UpperLeg": ("upleg", "upperleg", "upperleg01", "thigh", "hip"),
    "LowerLeg": ("lowerleg", "lowerleg01", "loleg", "shin", "calf", "knee", "leg"),
    "Foot": ("ankle", "foot"),
    "Toes": ("toebase", "toes", "toe", "ball", "toe21", "foot"),
}
"""Names in order of preference; a name already taken by the bone above in this table is passed over."""

_PREFIXES = re.compile(r"^(mixamorig\d*|bip\d*|def|org|char\d*|rig|armature|skeleton)[:_.\- ]+", re.IGNORECASE)
_FINGERS = {
    "thumb": "Thumb",
    "index": "Index",
    "middle": "Middle",
    "ring": "Ring",
    "pinky": "Little",
    "little": "Little",
}
_FINGER_NUMBERS = {"1": "Thumb", "2": "Index", "3": "Middle", "4": "Ring", "5": "Little"}


def guess_humanoid(names: Sequence[str], parents: Sequence[int]) -> dict[str, str]:
    """Map VRM 1.0 humanoid bone names to bones of a skeleton.

    Args:
        names: Bone names of any usual rig.
        parents: Parent index of each bone, -1 for roots; parents come before children.
    Returns:
        Only bones that were recognised, by VRM name. May be empty.
    """
    sides, bases = zip(*[_side_and_base(n) for n in names], strict=True) if names else ((), ())
    depth = _depths(parents)
    order = sorted(range(len(names)), key=lambda b: depth[b])
    found: dict[str, int] = {}
    for human, wanted in _SINGLE.items():
        bone = _pick(order, bases, sides, "", wanted, set(found.values()))
        if bone is not None:
            found[human] = bone
    for side in ("left", "right"):
        taken: set[int] = set()
        for part, wanted in _SIDED.items():
            bone = _pick(order, bases, sides, side, wanted, taken)
            if bone is not None:
                found[side + part] = bone
                taken.add(bone)
        _settle_shoulder(found, side)
        found.update(_find_fingers(bases, sides, side))
    _find_spine(found, parents)
    return {human: names[bone] for human, bone in found.items()}


def path_between(ancestor: int, bone: int, parents: Sequence[int]) -> list[int]:
    """Bones strictly between an ancestor and a bone below it, from top to bottom; empty when unrelated."""
    path = []
    above = parents[bone]
    while above >= 0 and above != ancestor:
        path.append(above)
        above = parents[above]
    return path[::-1] if above == ancestor else []


def common_ancestor(bones: Sequence[int], parents: Sequence[int]) -> int:
    """The deepest bone above (or equal to) all of these; -1 when there is none."""

    def line(bone: int) -> list[int]:
        chain = [bone]
        while parents[chain[-1]] >= 0:
            chain.append(parents[chain[-1]])
        return chain

    shared = [line(b) for b in bones]
    return next((b for b in shared[0] if all(b in chain for chain in shared[1:])), -1)


def _side_and_base(name: str) -> tuple[str, str]:
    """Side (`left`, `right` or empty) and the rest of a bone's name in small letters without punctuation."""
    text = _PREFIXES.sub("", name.split(":")[-1].strip())
    if text.startswith("__"):
        return "", ""  # MakeHuman's helper bones
    side = ""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", re.sub(r"[^A-Za-z0-9]+", " ", text))
    words = re.sub(r"^([LR])([A-Z][a-z])", r"\1 \2", words)
    kept = []
    for word in words.split():
        low = word.lower()
        matched = re.fullmatch(r"(left|right)(.*)", low) or re.fullmatch(r"(.*?)(left|right)", low)
        if not side and low in ("l", "r"):
            side = "left" if low == "l" else "right"
        elif not side and matched:
            side = "left" if "left" in matched.groups() else "right"
            kept.append(next(g for g in matched.groups() if g not in ("left", "right")))
        else:
            kept.append(low)
    return side, "".join(kept)


def _pick(
    order: Sequence[int], bases: Sequence[str], sides: Sequence[str], side: str, wanted: Sequence[str], taken: set[int]
) -> int | None:
    for base in wanted:
        for bone in order:
            if bases[bone] == base and sides[bone] == side and bone not in taken:
                return bone
    return None


def _settle_shoulder(found: dict[str, int], side: str) -> None:
    """A rig with a shoulder and nothing above the elbow calls its upper arm a shoulder."""
    if f"{side}Shoulder" in found and f"{side}UpperArm" not in found and f"{side}LowerArm" in found:
        found[f"{side}UpperArm"] = found.pop(f"{side}Shoulder")


def _find_fingers(bases: Sequence[str], sides: Sequence[str], side: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for bone, (base, own_side) in enumerate(zip(bases, sides, strict=True)):
        if own_side != side or "metacarpal" in base.replace("thumbmetacarpal", "") or "inhand" in base:
            continue
        numbered = re.fullmatch(r"(?:hand|finger|f)?(thumb|index|middle|ring|pinky|little)(?:finger)?0?([1-3])", base)
        makehuman = re.fullmatch(r"finger([1-5])([1-3])", base)
        worded = re.fullmatch(r"(thumb|index|middle|ring|little)(metacarpal|proximal|intermediate|distal)", base)
        if numbered:
            finger, place = _FINGERS[numbered[1]], int(numbered[2]) - 1
            segment = finger_segments(finger)[place]
        elif makehuman:
            finger, place = _FINGER_NUMBERS[makehuman[1]], int(makehuman[2]) - 1
            segment = finger_segments(finger)[place]
        elif worded:
            finger, segment = _FINGERS[worded[1]], worded[2].capitalize()
        else:
            continue
        found.setdefault(f"{side}{finger}{segment}", bone)
    return found


def _find_spine(found: dict[str, int], parents: Sequence[int]) -> None:
    """Spine, chest and upper chest by their place between the hips and the neck or the arms."""
    if "hips" not in found:
        legs = [found[k] for k in ("leftUpperLeg", "rightUpperLeg") if k in found]
        root = common_ancestor(legs, parents) if len(legs) == 2 else -1
        if root < 0:
            return
        found["hips"] = root
    below = found.get("neck", found.get("head"))
    arms = [found[k] for k in ("leftUpperArm", "rightUpperArm") if k in found]
    if below is None and len(arms) == 2:
        below = common_ancestor(arms, parents)
    if below is None or below < 0:
        return
    start = common_ancestor([found["hips"], below], parents)
    path = path_between(start, below, parents) if start >= 0 else []
    if not path:
        return
    found["spine"] = path[0]
    if len(path) == 2:
        found["chest"] = path[1]
    elif len(path) > 2:
        found["chest"] = path[len(path) // 2]
        found["upperChest"] = path[-1]


def _depths(parents: Sequence[int]) -> list[int]:
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return depth
