"""A motion for an avatar, by name or from a file."""

from __future__ import annotations

from pathlib import Path

from bodydouble.avatar.arkit_csv import read_arkit_csv
from bodydouble.avatar.builtin import BUILTIN_MOTIONS, builtin_motion
from bodydouble.avatar.clips.read import READABLE, read_motion
from bodydouble.avatar.face_motion import with_face
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.retarget import rest_floor, retarget
from bodydouble.avatar.values import Avatar
from bodydouble.core.errors import InputError


def find_motion(wanted: str, avatar: Avatar, fps_hz: float) -> Motion:
    """The motion that `wanted` names, on the avatar's rig.

    Args:
        wanted: One of `BUILTIN_MOTIONS`, or the path of a motion file (`clips.read.READABLE`) or of a face's .csv.
        avatar: Whose rig is to move.
        fps_hz: Frame rate of the result.
    Raises:
        InputError: When it is neither.
    """
    if wanted in BUILTIN_MOTIONS:
        return builtin_motion(wanted, avatar.rig, fps_hz=fps_hz, floor_rest_m=rest_floor(avatar))
    path = Path(wanted)
    if path.suffix.lower() == ".csv":  # a face alone: the body stands
        standing = builtin_motion("idle", avatar.rig, fps_hz=fps_hz, floor_rest_m=rest_floor(avatar))
        return with_face(standing, read_arkit_csv(path), avatar.rig, turn_head=True)
    known = ", ".join(BUILTIN_MOTIONS)
    if path.suffix.lower() in READABLE:
        return retarget(read_motion(path), avatar.rig, fps_hz=fps_hz, floor_rest_m=rest_floor(avatar))
    if path.exists():
        raise InputError(
            f"{path} is no motion that can be read; expected a .bvh file (or {', '.join(READABLE[1:])}), a face's .csv, or one "
            f"of: {known}."
        )
    raise InputError(f"There is no motion {wanted!r}: it is neither a file nor one of: {known}.")
