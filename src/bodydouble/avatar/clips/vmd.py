"""Motions of MikuMikuDance (.vmd): keys for Japanese bone names, without a skeleton, legs by inverse kinematics.

A .vmd moves whatever model it is loaded on. Here that is a stick figure of the usual proportions: 1 unit is 8 cm, arms
hang at 37 degrees. Left-handed coordinates (the model looks along -Z) become right-handed by turning Z around. Keys are
joined by short arcs; the editor's curves between them are not followed.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.limb_ik import joint_places, move_limb_end
from bodydouble.avatar.values import Rig
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import matrix_to_rotvec, quat_wxyz_to_matrix, rotvec_to_matrix

MAX_FILE_BYTES = 256 << 20
MAX_FRAMES = 100_000
FPS_HZ = 30.0
_ARM = (0.8, -0.6)

# English name: parent, the file's names, place in units (left side; the right is its mirror image).
_MIDDLE: dict[str, tuple[str, tuple[str, ...], tuple[float, float, float]]] = {
    "root": ("", ("全ての親", "センター", "グルーブ"), (0.0, 8.0, 0.0)),
    "hips": ("root", ("下半身", "腰"), (0.0, 12.0, 0.0)),
    "spine": ("root", ("上半身",), (0.0, 12.4, 0.0)),
    "spine2": ("spine", ("上半身2", "上半身２"), (0.0, 14.0, 0.1)),
    "neck": ("spine2", ("首",), (0.0, 17.0, 0.1)),
    "head": ("neck", ("頭",), (0.0, 17.9, 0.0)),
}
_SIDED: dict[str, tuple[str, tuple[str, ...], tuple[float, float, float]]] = {
    "Shoulder": ("spine2", ("肩",), (0.3, 16.6, 0.1)),
    "Arm": ("Shoulder", ("腕", "腕捩"), (1.3, 16.3, 0.1)),
    "ForeArm": ("Arm", ("ひじ", "手捩"), (1.3 + 3.0 * _ARM[0], 16.3 + 3.0 * _ARM[1], 0.1)),
    "Hand": ("ForeArm", ("手首",), (1.3 + 5.6 * _ARM[0], 16.3 + 5.6 * _ARM[1], 0.1)),
    "UpLeg": ("hips", ("足", "足D"), (0.95, 11.2, 0.0)),
    "Leg": ("UpLeg", ("ひざ", "ひざD"), (0.95, 6.2, -0.2)),
    "Foot": ("Leg", ("足首", "足首D"), (0.95, 1.2, 0.25)),
    "ToeBase": ("Foot", ("つま先",), (0.95, 0.2, -1.3)),
}
_FINGERS = {
    "Thumb": ("親指", (0, 1, 2)),
    "Index": ("人指", (1, 2, 3)),
    "Middle": ("中指", (1, 2, 3)),
    "Ring": ("薬指", (1, 2, 3)),
    "Pinky": ("小指", (1, 2, 3)),
}
_FULL_WIDTH_0 = 0xFF10
"""Fingers are numbered in digits as wide as kanji."""
_SPREAD = {"Thumb": (0.35, -0.5), "Index": (0.9, -0.35), "Middle": (0.95, -0.1), "Ring": (0.9, 0.15), "Pinky": (0.82, 0.38)}  # fmt: skip
_FACE: dict[str, dict[str, float]] = {
    "まばたき": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "ウィンク": {"eyeBlinkLeft": 1.0},
    "ウィンク右": {"eyeBlinkRight": 1.0},
    "あ": {"jawOpen": 0.6},
    "い": {"mouthStretchLeft": 0.5, "mouthStretchRight": 0.5, "jawOpen": 0.1},
    "う": {"mouthPucker": 0.6, "jawOpen": 0.1},
    "え": {"mouthStretchLeft": 0.3, "mouthStretchRight": 0.3, "jawOpen": 0.3},
    "お": {"mouthFunnel": 0.6, "jawOpen": 0.3},
    "にこり": {"mouthSmileLeft": 0.4, "mouthSmileRight": 0.4, "browInnerUp": 0.2},
    "にやり": {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7},
    "笑い": {"eyeBlinkLeft": 0.9, "eyeBlinkRight": 0.9, "mouthSmileLeft": 0.5, "mouthSmileRight": 0.5},
    "怒り": {"browDownLeft": 0.9, "browDownRight": 0.9},
    "困る": {"browInnerUp": 0.8},
    "びっくり": {"eyeWideLeft": 0.8, "eyeWideRight": 0.8},
    "上": {"browOuterUpLeft": 0.7, "browOuterUpRight": 0.7},
    "下": {"browDownLeft": 0.5, "browDownRight": 0.5},
}


def read_vmd(path: Path) -> SourceMotion:
    """Read a motion of MikuMikuDance.

    Args:
        path: The .vmd; may be damaged or hostile.
    Returns:
        The motion at 30 frames per second on a stick figure, lengths in MMD's units.
    Raises:
        InputError: When it is missing, damaged, or moves no bone of a body (a camera's motion).
    """
    path = Path(path)
    bones, faces = _read_keys(path)
    names, parents, places, sources = _figure()
    known = {jp for group in sources for jp in group}
    if not known & set(bones):
        raise InputError(f"{path} moves no bone of a body; is it the motion of a camera? Give the motion of a model.")
    last = max(int(keys[-1][0]) for keys in (*bones.values(), *faces.values()) if len(keys))
    if last >= MAX_FRAMES:
        raise InputError(f"{path} has {last + 1} frames; at most {MAX_FRAMES} can be read. Cut the motion.")
    frames = np.arange(last + 1)
    R_local = np.tile(np.eye(3), (len(frames), len(names), 1, 1))
    root = np.tile(places[0], (len(frames), 1))
    for joint, group in enumerate(sources):
        for jp in group:
            if jp in bones:
                shift, R = _sampled(bones[jp], frames)
                if joint == 0:
                    root = root + shift
                R_local[:, joint] = R_local[:, joint] @ R
    rotvecs = matrix_to_rotvec(torch.from_numpy(R_local))
    rig = Rig(bone_names=names, bone_parents=parents, joints_rest_m=torch.from_numpy(places).float(), humanoid={})
    rotvecs = _legs_by_goal(rotvecs, torch.from_numpy(root - places[0]), rig, bones, frames)
    offsets = np.stack([p - places[q] if q >= 0 else p * 0 for p, q in zip(places, parents, strict=True)])
    return SourceMotion(
        name=path.stem,
        fps_hz=FPS_HZ,
        joint_names=names,
        joint_parents=parents,
        offsets=torch.from_numpy(offsets).float(),
        tips=torch.zeros(len(names), 3),
        R_parent_joint=rotvec_to_matrix(rotvecs).float(),
        root_position=torch.from_numpy(root).float(),
        expression=_expression(faces, frames),
    )


def _figure() -> tuple[tuple[str, ...], tuple[int, ...], np.ndarray, list[tuple[str, ...]]]:
    """Names, parents, places (right-handed, facing +Z) and the file's names of each joint."""
    names, parents, places, sources = [], [], [], []

    def add(name: str, parent: str, jp: tuple[str, ...], place: tuple[float, float, float]) -> None:
        parents.append(names.index(parent) if parent else -1)
        names.append(name)
        sources.append(jp)
        places.append((place[0], place[1], -place[2]))

    for name, (parent, jp, place) in _MIDDLE.items():
        add(name, parent, jp, place)
    for side, kanji, sign in (("Left", "左", 1.0), ("Right", "右", -1.0)):
        for name, (parent, jp, (x, y, z)) in _SIDED.items():
            above = parent if parent in _MIDDLE else side + parent
            add(side + name, above, tuple(kanji + n for n in jp), (sign * x, y, z))
        x, y, z = _SIDED["Hand"][2]
        for finger, (jp, digits) in _FINGERS.items():
            along, across = _SPREAD[finger]
            for k, digit in enumerate(digits):
                far = along + 0.32 * k
                place = (sign * (x + far * _ARM[0]), y + far * _ARM[1], z + across)
                above = f"{side}Hand" if k == 0 else f"{side}Hand{finger}{k}"
                add(f"{side}Hand{finger}{k + 1}", above, (f"{kanji}{jp}{chr(_FULL_WIDTH_0 + digit)}",), place)
    return tuple(names), tuple(parents), np.array(places), sources


def _read_keys(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Keys by name: bones [keys, frame x y z qx qy qz qw], faces [keys, frame strength], right-handed, by frame."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} has more than {MAX_FILE_BYTES} bytes; cut the motion into pieces.")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a motion (.vmd). Check the path.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Expected a motion (.vmd).") from error
    if not data.startswith(b"Vocaloid Motion Data"):
        raise InputError(f"{path} is not a VMD file: it does not start with 'Vocaloid Motion Data'.")
    place = 30 + (20 if data.startswith(b"Vocaloid Motion Data 0002") else 10)
    bone = np.dtype([("name", "S15"), ("frame", "<u4"), ("values", "<f4", (7,)), ("curve", "V64")])
    face = np.dtype([("name", "S15"), ("frame", "<u4"), ("values", "<f4", (1,))])
    bones, place = _table(path, data, place, bone, "bones")
    bones = {name: keys * np.array([1, 1, 1, -1, -1, -1, 1, 1]) for name, keys in bones.items()}
    faces = _table(path, data, place, face, "faces")[0] if place + 4 <= len(data) else {}
    return bones, faces


def _table(path: Path, data: bytes, place: int, kind: np.dtype, what: str) -> tuple[dict[str, np.ndarray], int]:
    if place + 4 > len(data):
        raise InputError(f"{path} is truncated before its table of {what}. Copy it again.")
    (count,) = struct.unpack_from("<I", data, place)
    if place + 4 + count * kind.itemsize > len(data):
        raise InputError(
            f"{path} is truncated: {count} keys of {what} were announced, the file ends before. Copy it again."
        )
    rows = np.frombuffer(data, kind, count, place + 4)
    values = np.concatenate([rows["frame"][:, None].astype(np.float64), rows["values"].astype(np.float64)], 1)
    if not np.isfinite(values).all() or (len(values) and np.abs(values[:, 1:]).max() > 1e6):
        raise InputError(f"{path} holds numbers that are not finite or beyond all bounds. The file may be damaged.")
    found: dict[str, np.ndarray] = {}
    for raw in np.unique(rows["name"]):
        name = bytes(raw).split(b"\0")[0].decode("shift_jis", errors="replace")
        keys = values[rows["name"] == raw]
        keys = np.concatenate([found[name], keys]) if name in found else keys
        keys = keys[np.argsort(keys[:, 0], kind="stable")]
        found[name] = keys[np.append(np.diff(keys[:, 0]) > 0, True)]  # of two keys in one frame the later holds
    return found, place + 4 + count * kind.itemsize


def _between(keys: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The keys before and after each frame, and the share of the way."""
    low = np.clip(np.searchsorted(keys[:, 0], frames, side="right") - 1, 0, len(keys) - 1)
    high = np.minimum(low + 1, len(keys) - 1)
    gap = np.maximum(keys[high, 0] - keys[low, 0], 1.0)
    return keys[low, 1:], keys[high, 1:], np.clip((frames - keys[low, 0]) / gap, 0.0, 1.0)[:, None]


def _sampled(keys: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b, share = _between(keys, frames)
    qa, qb = a[:, 3:], b[:, 3:]
    qb = np.where((qa * qb).sum(1, keepdims=True) < 0, -qb, qb)
    quats = qa * (1 - share) + qb * share
    quats[np.linalg.norm(quats, axis=1) < 1e-6] = (0.0, 0.0, 0.0, 1.0)
    R = quat_wxyz_to_matrix(torch.from_numpy(quats[:, [3, 0, 1, 2]])).numpy()
    return a[:, :3] * (1 - share) + b[:, :3] * share, R


def _legs_by_goal(
    rotvecs: torch.Tensor, shift: torch.Tensor, rig: Rig, bones: dict[str, np.ndarray], frames: np.ndarray
) -> torch.Tensor:
    """Legs bent so that ankles are where the goals of the inverse kinematics want them, and feet turned as the goals."""
    everything = _sampled(bones["全ての親"], frames)[0] if "全ての親" in bones else np.zeros((len(frames), 3))
    for side, kanji in (("Left", "左"), ("Right", "右")):
        keys = bones.get(f"{kanji}足ＩＫ", bones.get(f"{kanji}足IK"))
        if keys is None or (len(keys) == 1 and not keys[0, 1:4].any() and f"{kanji}足" in bones):
            continue
        limb = tuple(rig.bone_names.index(side + n) for n in ("UpLeg", "Leg", "Foot"))
        moved, turned = _sampled(keys, frames)
        ankle = rig.joints_rest_m[limb[2]].double() + torch.from_numpy(moved + everything)
        R, places = joint_places(rotvecs, shift, rig)
        local = rotvec_to_matrix(rotvecs)
        local[:, limb[2]] = R[:, limb[1]].transpose(1, 2) @ torch.from_numpy(turned)
        rotvecs = rotvecs.clone()
        rotvecs[:, limb[2]] = matrix_to_rotvec(local[:, limb[2]])
        hinge = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
        rotvecs = move_limb_end(rotvecs, shift, rig, (limb[0], limb[1], limb[2]), ankle - places[:, limb[2]], hinge)
    return rotvecs


def _expression(faces: dict[str, np.ndarray], frames: np.ndarray) -> torch.Tensor | None:
    used = {name: keys for name, keys in faces.items() if name in _FACE}
    if not used:
        return None
    out = np.zeros((len(frames), len(ARKIT_ACTIONS)))
    for name, keys in used.items():
        a, b, share = _between(keys, frames)
        strength = np.clip(a[:, 0] * (1 - share[:, 0]) + b[:, 0] * share[:, 0], 0.0, 1.0)
        for action, weight in _FACE[name].items():
            out[:, ARKIT_ACTIONS.index(action)] += weight * strength
    return torch.from_numpy(np.clip(out, 0.0, 1.0)).float()
