"""Writing BVH: a motion on an avatar's rig, fingers included, in centimetres and degrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Rig
from bodydouble.core.files import write_text
from bodydouble.core.geometry import rotvec_to_matrix

_CM = 100.0
_TIP_CM = 2.0


def write_bvh(path: Path, motion: Motion, rig: Rig) -> None:
    """Write a motion for other programs.

    Bones that the rig's humanoid map knows get their humanoid names (`hips`, `leftUpperArm`, ...), others keep their own.
    Rotations are Z, X, Y in this order; facial actions have no place in a BVH.

    Args:
        path: The file; it appears only when it is whole.
        motion: On this rig.
        rig: Its rest pose is the file's zero pose.
    """
    human = {bone: name for name, bone in rig.humanoid.items()}
    names = [human.get(bone, bone).replace(" ", "_") for bone in rig.bone_names]
    joints_cm = _CM * rig.joints_rest_m.double().numpy()
    children: dict[int, list[int]] = {bone: [] for bone in range(-1, len(names))}
    for bone, parent in enumerate(rig.bone_parents):
        children[parent].append(bone)
    lines, order = ["HIERARCHY"], []

    def describe(bone: int, depth: int) -> None:
        """The bone's lines but its last brace."""
        order.append(bone)
        parent, pad = rig.bone_parents[bone], "  " * depth
        offset = joints_cm[bone] - (joints_cm[parent] if parent >= 0 else 0.0)
        channels = "3 Zrotation Xrotation Yrotation" if parent >= 0 else (
            "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
        )  # fmt: skip
        lines.append(f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {names[bone]}")
        lines.extend([f"{pad}{{", f"{pad}  OFFSET {_numbers(offset)}", f"{pad}  CHANNELS {channels}"])
        if not children[bone]:
            way = offset / max(float(np.linalg.norm(offset)), 1e-9) * _TIP_CM
            lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET {_numbers(way)}", f"{pad}  }}"])

    waiting: list[tuple[int, int]] = [(children[-1][0], 0)]  # bones and depths; -1 closes a bone
    while waiting:
        bone, depth = waiting.pop()
        if bone < 0:
            lines.append("  " * depth + "}")
            continue
        describe(bone, depth)
        waiting.append((-1, depth))
        waiting.extend((child, depth + 1) for child in reversed(children[bone]))
    angles = np.degrees(_zxy(rotvec_to_matrix(motion.rotvecs.double()).numpy()))
    root_cm = joints_cm[order[0]] + _CM * motion.translation_world_m.double().numpy()
    lines += ["MOTION", f"Frames: {motion.num_frames}", f"Frame Time: {1.0 / motion.fps_hz:.8f}"]
    for frame in range(motion.num_frames):
        lines.append(f"{_numbers(root_cm[frame])} {_numbers(angles[frame, order].ravel())}")
    write_text(path, "\n".join(lines) + "\n")


def _zxy(R: np.ndarray) -> np.ndarray:
    """Angles of R = Rz Rx Ry, radians."""
    x = np.arcsin(np.clip(R[..., 2, 1], -1.0, 1.0))
    z = np.arctan2(-R[..., 0, 1], R[..., 1, 1])
    y = np.arctan2(-R[..., 2, 0], R[..., 2, 2])
    return np.stack([z, x, y], axis=-1)


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{v:.6f}" for v in values)
