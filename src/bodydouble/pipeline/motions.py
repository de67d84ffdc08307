"""A motion for an avatar, by name or from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bodydouble.avatar.arkit_csv import read_arkit_csv
from bodydouble.avatar.builtin import BUILTIN_MOTIONS, builtin_motion
from bodydouble.avatar.clips.read import READABLE, read_motion
from bodydouble.avatar.face_motion import with_face
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.retarget import rest_floor, retarget
from bodydouble.avatar.values import Avatar
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.core.events import Event, Progress
from bodydouble.pipeline.layout import CAPTURE

PAGE_SECONDS = 60.0
"""A page holds this much of each motion."""


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


def page_motions(
    wanted: Sequence[str], avatar: Avatar, run: Path, fps_hz: float, emit: Callable[[Event], None] = lambda event: None
) -> tuple[Motion, ...]:
    """The motions of a page: the run's own first, then the wanted ones, or all built-in ones where none is named.

    Args:
        wanted: As for `find_motion`.
        avatar: Whose rig is to move.
        run: Folder of the avatar; if it holds a fitted capture, the person's own motion is taken from it.
        fps_hz: Frame rate of the results.
        emit: Told after each motion.
    Returns:
        Each cut to `PAGE_SECONDS`.
    Raises:
        InputError: When a wanted motion cannot be found.
    """
    if not 1.0 <= fps_hz <= 240.0:
        raise ConfigError(f"--fps is {fps_hz:g}; expected 1 to 240 frames a second.")
    human = "hips" in avatar.rig.humanoid  # built-in motions are for humans
    names = tuple(wanted) or (tuple(BUILTIN_MOTIONS) if human else ())
    most = round(PAGE_SECONDS * fps_hz)
    motions: list[Motion] = []
    for done, name in enumerate((None, *names)):
        emit(Progress(stage="retarget", done=done, total=len(names) + 1, unit="motions"))
        motion = own_motion(avatar, run, fps_hz) if name is None else find_motion(name, avatar, fps_hz)
        motions += [] if motion is None else [_first_frames(motion, most)]
    emit(Progress(stage="retarget", done=len(names) + 1, total=len(names) + 1, unit="motions"))
    return tuple(motions)


def own_motion(avatar: Avatar, run: Path, fps_hz: float) -> Motion | None:
    """The motion fitted to the video of a run, standing on the floor and facing +Z; none where there is no such run."""
    from bodydouble.capture.folder import Capture
    from bodydouble.pipeline.motion_files import load_motion

    if not (run / CAPTURE).is_dir() or not Capture.open(run / CAPTURE).has_track():
        return None
    motion = retarget(load_motion(run), avatar.rig, fps_hz=fps_hz, floor_rest_m=rest_floor(avatar))
    return motion.replace(name="as filmed")


def _first_frames(motion: Motion, count: int) -> Motion:
    return motion.replace(
        rotvecs=motion.rotvecs[:count],
        translation_world_m=motion.translation_world_m[:count],
        expression=motion.expression[:count],
    )
