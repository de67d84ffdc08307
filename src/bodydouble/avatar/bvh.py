"""Reading BVH, the text format of motion capture: a skeleton and its joint angles frame by frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.humanoid import guess_humanoid
from bodydouble.core.errors import InputError
from bodydouble.core.struct import TensorStruct, tensor_struct

MAX_FILE_BYTES = 256 << 20
MAX_JOINTS = 4096

_CHANNELS = {f"{axis}{kind}": (kind, i) for kind in ("position", "rotation") for i, axis in enumerate("xyz")}


@tensor_struct
class SourceMotion(TensorStruct):
    """A motion on somebody else's skeleton, in that skeleton's own units and axes."""

    name: str
    fps_hz: float
    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    """-1 for the root; parents come before children."""
    offsets: Float[Tensor, "joints 3"]
    """Position of each joint in its parent's frame; the root's is ignored."""
    tips: Float[Tensor, "joints 3"]
    """Where the bone of a joint without children ends (End Site), in the joint's own frame; 0 where unknown."""
    R_parent_joint: Float[Tensor, "frames joints 3 3"]
    """Local rotations; the identity is the skeleton's zero pose."""
    root_position: Float[Tensor, "frames 3"]
    expression: Float[Tensor, "frames actions"] | None = None
    """Strength of the 52 ARKit actions in [0, 1], where the file has them."""


@dataclass
class _Joint:
    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    tip: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: list[str] = field(default_factory=list)


class _Lines:
    """The lines of the file that hold something, with their numbers for error messages."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.number = 0
        self._lines: Iterator[tuple[int, str]] = iter(enumerate(text.splitlines(), start=1))

    def next(self, expected: str) -> list[str]:
        for number, line in self._lines:
            self.number = number
            words = line.split()
            if words:
                return words
        self.fail(f"the file ends where {expected} was expected; it may be truncated")

    def rest(self) -> Iterator[tuple[int, str]]:
        return self._lines

    def fail(self, what: str) -> NoReturn:
        raise InputError(f"{self.path}, line {self.number}: {what}.")

    def numbers(self, words: list[str], count: int, what: str) -> np.ndarray:
        try:
            values = np.array([float(w) for w in words])
        except ValueError:
            values = np.full(1, np.nan)
        if len(words) != count or not np.isfinite(values).all():
            self.fail(f"{what} needs {count} finite numbers, found {' '.join(words)[:60]!r}")
        return values


def read_bvh(path: Path) -> SourceMotion:
    """Read a BVH file.

    Joints may have any order of channels; positions of joints other than the root (or hips right below a root on the
    floor, which then take its place) are ignored, because a skeleton's bones keep their length.

    Args:
        path: A text file that starts with HIERARCHY.
    Returns:
        The motion in the file's own units and axes; `retarget` finds out about both.
    Raises:
        InputError: With the number of the line, when the file is missing, damaged or empty.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} has more than {MAX_FILE_BYTES} bytes; cut the motion into pieces.")
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; expected a motion (.bvh). Check the path.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Expected a motion (.bvh).") from error
    lines = _Lines(path, text)
    if not text.lstrip().upper().startswith("HIERARCHY"):
        raise InputError(f"{path} is not a BVH file: it does not start with HIERARCHY. Give a motion in BVH format.")
    joints = _read_hierarchy(lines)
    frames, frame_time = _read_motion_head(lines)
    values = _read_frames(lines, frames, sum(len(j.channels) for j in joints))
    rotations, root = _to_rotations(joints, values)
    joints, rotations, root = _without_reference(joints, rotations, root, values)
    return SourceMotion(
        name=path.stem,
        fps_hz=1.0 / frame_time,
        joint_names=tuple(j.name for j in joints),
        joint_parents=tuple(j.parent for j in joints),
        offsets=torch.from_numpy(np.stack([j.offset for j in joints])).float(),
        tips=torch.from_numpy(np.stack([j.tip for j in joints])).float(),
        R_parent_joint=torch.from_numpy(rotations).float(),
        root_position=torch.from_numpy(root).float(),
    )


def _read_hierarchy(lines: _Lines) -> list[_Joint]:
    lines.next("HIERARCHY")
    words = lines.next("ROOT")
    if words[0].upper() != "ROOT":
        lines.fail(f"ROOT was expected, found {words[0][:40]!r}")
    joints: list[_Joint] = []
    open_blocks: list[int | None] = []  # joint index, or None inside an End Site
    _open_joint(lines, joints, words, -1)
    open_blocks.append(0)
    while open_blocks:
        words = lines.next("'}'")
        key, current = words[0].upper(), open_blocks[-1]
        if key == "}":
            open_blocks.pop()
        elif key == "OFFSET":
            offset = lines.numbers(words[1:], 3, "OFFSET")
            if current is not None:
                joints[current].offset = offset
            else:
                joints[next(b for b in reversed(open_blocks) if b is not None)].tip = offset
        elif current is None:
            lines.fail(f"only OFFSET may stand in an End Site, found {words[0][:40]!r}")
        elif key == "CHANNELS":
            joints[current].channels = _read_channels(lines, words)
        elif key == "JOINT":
            _open_joint(lines, joints, words, current)
            open_blocks.append(len(joints) - 1)
        elif key == "END":
            _expect_brace(lines)
            open_blocks.append(None)
        else:
            lines.fail(f"OFFSET, CHANNELS, JOINT, End Site or '}}' was expected, found {words[0][:40]!r}")
    return joints


def _open_joint(lines: _Lines, joints: list[_Joint], words: list[str], parent: int) -> None:
    if len(words) < 2:
        lines.fail(f"{words[0]} needs a name")
    if len(joints) >= MAX_JOINTS:
        lines.fail(f"more than {MAX_JOINTS} joints; this is no skeleton of a person")
    name = " ".join(words[1:])
    if name.endswith("{"):
        joints.append(_Joint(name.rstrip("{").strip() or f"joint_{len(joints)}", parent))
        return
    joints.append(_Joint(name, parent))
    _expect_brace(lines)


def _expect_brace(lines: _Lines) -> None:
    words = lines.next("'{'")
    if words != ["{"]:
        lines.fail(f"'{{' was expected, found {' '.join(words)[:40]!r}")


def _read_channels(lines: _Lines, words: list[str]) -> list[str]:
    names = [w.lower() for w in words[2:]]
    if len(words) < 2 or not words[1].isdigit() or int(words[1]) != len(names) or len(set(names)) != len(names):
        lines.fail(f"CHANNELS needs a count and as many different names, found {' '.join(words[1:])[:80]!r}")
    unknown = [w for w in names if w not in _CHANNELS]
    if unknown:
        lines.fail(f"unknown channel {unknown[0][:40]!r}; known are Xposition ... Zrotation")
    return names


def _read_motion_head(lines: _Lines) -> tuple[int, float]:
    words = lines.next("MOTION")
    if words[0].upper() != "MOTION":
        lines.fail(f"MOTION was expected, found {words[0][:40]!r}")
    line = " ".join(lines.next("'Frames: N'"))
    found = re.fullmatch(r"frames\s*:\s*(\d{1,9})", line, re.IGNORECASE)
    if not found or int(found[1]) < 1:
        lines.fail(f"'Frames: N' with at least one frame was expected, found {line[:60]!r}")
    frames = int(found[1])
    line = " ".join(lines.next("'Frame Time: S'"))
    found = re.fullmatch(r"frame time\s*:\s*(\S+)", line, re.IGNORECASE)
    try:
        frame_time = float(found[1]) if found else 0.0
    except ValueError:
        frame_time = 0.0
    if not 1e-5 <= frame_time <= 60.0:
        lines.fail(f"'Frame Time: S' with seconds between 0.00001 and 60 was expected, found {line[:60]!r}")
    return frames, frame_time


def _read_frames(lines: _Lines, frames: int, channels: int) -> np.ndarray:
    """Channel values [frames, channels]. Rows are counted as they come: nothing is allocated on the header's word."""
    if channels == 0:
        lines.fail("the skeleton has no channels, so there is no motion")
    rows: list[np.ndarray] = []
    for number, line in lines.rest():
        words = line.split()
        if not words:
            continue
        lines.number = number
        if len(rows) == frames:
            lines.fail(f"more than the {frames} frames that were announced")
        try:
            row = np.array(words, dtype=np.float64)
        except ValueError:
            row = np.full(1, np.nan)
        if len(words) != channels or not np.isfinite(row).all():
            lines.fail(f"a frame needs {channels} finite numbers, found {len(words)} words: {' '.join(words)[:60]!r}")
        rows.append(row)
    if len(rows) != frames:
        lines.fail(f"{frames} frames were announced, {len(rows)} are there; the file may be truncated")
    return np.stack(rows)


def _to_rotations(joints: list[_Joint], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations [frames, joints, 3, 3] and the root's position [frames, 3]."""
    frames = len(values)
    rotations = np.tile(np.eye(3), (frames, len(joints), 1, 1))
    root = np.tile(joints[0].offset, (frames, 1))
    column = 0
    for index, joint in enumerate(joints):
        for channel in joint.channels:
            kind, axis = _CHANNELS[channel]
            if kind == "rotation":
                # Channels apply in the order they are written: R = R_first R_second R_third.
                rotations[:, index] = rotations[:, index] @ _axis_rotations(axis, np.radians(values[:, column]))
            elif index == 0:
                root[:, axis] = values[:, column]
            column += 1
    return rotations, root


def _without_reference(
    joints: list[_Joint], rotations: np.ndarray, root: np.ndarray, values: np.ndarray
) -> tuple[list[_Joint], np.ndarray, np.ndarray]:
    """Some programs put a joint on the floor above the hips and move the hips below it: there the hips become the root."""
    if [j.parent for j in joints].count(0) != 1 or sum(c.endswith("position") for c in joints[1].channels) != 3:
        return joints, rotations, root
    names = [j.name for j in joints]
    if guess_humanoid(names, [j.parent for j in joints]).get("hips") != names[1]:
        return joints, rotations, root
    place = np.zeros((len(values), 3))
    for column, channel in enumerate(joints[1].channels, start=len(joints[0].channels)):
        kind, axis = _CHANNELS[channel]
        if kind == "position":
            place[:, axis] = values[:, column]
    root = root + (rotations[:, 0] @ place[:, :, None])[:, :, 0]
    rotations = np.concatenate([(rotations[:, 0] @ rotations[:, 1])[:, None], rotations[:, 2:]], axis=1)
    kept = [replace(j, parent=j.parent - 1) for j in joints[1:]]
    return kept, rotations, root


def _axis_rotations(axis: int, angles: np.ndarray) -> np.ndarray:
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out = np.zeros((len(angles), 3, 3))
    out[:, axis, axis] = 1.0
    out[:, a, a] = out[:, b, b] = np.cos(angles)
    out[:, b, a] = np.sin(angles)
    out[:, a, b] = -np.sin(angles)
    return out
