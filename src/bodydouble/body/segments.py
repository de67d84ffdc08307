"""From one body's rest pose to another's, segment by segment: for every bone an affine map between the rest frames."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float

from bodydouble.body.humanoid import FINGERS, finger_segments
from bodydouble.body.protocol import BodyModel

_TRUNK = ("hips", "spine", "chest", "upperChest", "neck")


def segment_maps(source: BodyModel, target: BodyModel) -> Float[np.ndarray, "bones 3 4"]:
    """Maps p -> A p + b of points that ride on the source's bones, at rest, to where they are on the target at rest.

    Limbs are turned and stretched from joint to joint; the trunk is stretched, the head scaled; thickness stays. Bones
    that the target lacks go with the bone above them. Both in their default shapes.
    """
    sj, tj = _joints(source), _joints(target)
    A: dict[str, np.ndarray] = {}
    for bone in _TRUNK:
        A[bone] = _trunk(sj, tj)
    A["head"] = np.eye(3) * _head_scale(source, target, sj, tj)
    for side in ("left", "right"):
        for chain in (("Shoulder", "UpperArm", "LowerArm", "Hand"), ("UpperLeg", "LowerLeg", "Foot", "Toes")):
            R = np.eye(3)
            for bone, end in itertools.pairwise(chain):
                R, A[side + bone] = _turned(R, sj[side + end] - sj[side + bone], tj[side + end] - tj[side + bone])
            if chain[-1] == "Toes":
                A[f"{side}Toes"] = R
        _hand(A, side, sj, tj)
    bones = {source.bone_names.index(source.humanoid[name]): name for name in A if name in source.humanoid}
    maps, name_of = [], []
    for b, parent in enumerate(source.bone_parents):
        name = bones.get(b, name_of[parent] if parent >= 0 else "hips")
        name_of.append(name)
        start, end = _anchor(name, source, target, sj, tj)
        maps.append(np.concatenate([A[name], (end - A[name] @ start)[:, None]], 1))
    return np.stack(maps)


def _trunk(sj: dict, tj: dict) -> np.ndarray:
    """Stretched and sheared so that hip joints and shoulders come together: bodies place the joints between at will."""
    source, target = (_middle(j, "UpperArm") - _middle(j, "UpperLeg") for j in (sj, tj))
    out = np.eye(3)
    out[1:, 1] = [target[1] / source[1], (target[2] - source[2]) / source[1]]
    return out


def _middle(joints: dict, bone: str) -> np.ndarray:
    return (joints[f"left{bone}"] + joints[f"right{bone}"]) / 2


def _joints(body: BodyModel) -> dict[str, np.ndarray]:
    joints = body.with_shape(body.shape_default).joints_rest.detach().double().numpy()
    return {name: joints[body.bone_names.index(bone)] for name, bone in body.humanoid.items()}


def _turned(R: np.ndarray, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation carried on from the bone above, turned the shortest way onto the segment; and it with the stretch."""
    length = np.linalg.norm(source)
    along = source / length
    R = _swing(R @ along, target / np.linalg.norm(target)) @ R
    stretch = np.linalg.norm(target) / length
    return R, R @ (np.eye(3) + (stretch - 1.0) * np.outer(along, along))


def _swing(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The shortest rotation between unit vectors that are not opposite."""
    axis, cosine = np.cross(u, v), float(u @ v)
    x, y, z = axis
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + K + K @ K / max(1.0 + cosine, 1e-6)


def _hand(A: dict[str, np.ndarray], side: str, sj: dict, tj: dict) -> None:
    """The palm by its knuckles, each finger on from there; without fingers the hand goes on straight, palm down."""
    root, knuckles = f"{side}Hand", (f"{side}IndexProximal", f"{side}LittleProximal")
    first = _frame(*(sj[k] - sj[root] for k in knuckles))
    if all(k in tj for k in knuckles):
        second = _frame(*(tj[k] - tj[root] for k in knuckles))
        scale = np.mean([np.linalg.norm(tj[k] - tj[root]) / np.linalg.norm(sj[k] - sj[root]) for k in knuckles])
    else:
        along, forward, scale = tj[root] - tj[f"{side}LowerArm"], np.array([0.0, 0.0, 0.04]), 1.0
        along = 0.1 * along / np.linalg.norm(along)
        second = _frame(along + forward, along - forward)
    R = second @ first.T
    A[root] = scale * R
    for finger in FINGERS:
        bones, turn = [f"{side}{finger}{segment}" for segment in finger_segments(finger)], R
        if bones[0] not in tj:
            continue
        for bone, end in itertools.pairwise(bones):
            turn, A[bone] = _turned(turn, sj[end] - sj[bone], tj[end] - tj[bone])
        A[bones[2]] = turn * scale


def _frame(index: np.ndarray, little: np.ndarray) -> np.ndarray:
    """Columns: along the palm, across it, out of it."""
    along = index + little
    along = along / np.linalg.norm(along)
    across = index - little
    across = across - along * (across @ along)
    across = across / np.linalg.norm(across)
    return np.stack([along, across, np.cross(along, across)], 1)


def _crown(body: BodyModel) -> float:
    return float(body.with_shape(body.shape_default).vertices_rest[:, 1].max())


def _head_scale(source: BodyModel, target: BodyModel, sj: dict, tj: dict) -> float:
    """By the heights from eyes to crown, or without eyes from the head's joint."""
    below = "leftEye" if "leftEye" in sj and "leftEye" in tj else "head"
    return float(np.clip((_crown(target) - tj[below][1]) / (_crown(source) - sj[below][1]), 0.7, 1.4))


def _anchor(name: str, source: BodyModel, target: BodyModel, sj: dict, tj: dict) -> tuple[np.ndarray, np.ndarray]:
    """A point of the source and its place on the target that the map of this bone keeps together."""
    if name in _TRUNK:
        return _middle(sj, "UpperLeg"), _middle(tj, "UpperLeg")
    if name != "head":
        return sj[name], tj[name]
    if "leftEye" in sj and "leftEye" in tj:
        return (sj["leftEye"] + sj["rightEye"]) / 2, (tj["leftEye"] + tj["rightEye"]) / 2
    return _above_head(source, sj), _above_head(target, tj)


def _above_head(body: BodyModel, joints: dict) -> np.ndarray:
    """At the height of the crown, above the head's joint."""
    x, _, z = joints["head"]
    return np.array([x, _crown(body), z])
