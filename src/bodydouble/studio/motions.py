"""What can be played: the motion of the video, the built-in ones, and files that are dropped in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from bodydouble.avatar.builtin import BUILTIN_MOTIONS
from bodydouble.avatar.clips.read import READABLE
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import ARKIT_ACTIONS, Pose
from bodydouble.core.errors import BodydoubleError, InputError

FROM_VIDEO = "as in the video"
REST = "rest pose"
READABLE_UPLOADS = (*READABLE, ".csv")
MAX_UPLOAD_MB = 64.0
MAX_FRAMES = 30 * 60 * 10
"""Ten minutes at thirty frames a second: 104 bones of that are a quarter of a gigabyte."""
_FPS_HZ = 30.0


class Repertoire:
    """Motions by name on one avatar's rig, made when they are first asked for."""

    def __init__(self, avatar: Avatar, from_video: Callable[[], Motion] | None = None) -> None:
        """
        Args:
            avatar: Whose rig is to move.
            from_video: Gives the motion that was fitted to the video, if there is one.
        """
        self._avatar = avatar
        self._makers: dict[str, Callable[[], Motion]] = {} if from_video is None else {FROM_VIDEO: from_video}
        self._made: dict[str, Motion] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What can be asked for: the video's motion, what was dropped in (latest first), built-in motions, the rest pose."""
        dropped = [name for name in reversed(self._made) if name not in (*self._makers, *BUILTIN_MOTIONS, REST)]
        return (*self._makers, *dropped, *BUILTIN_MOTIONS, REST)

    def fork(self) -> Repertoire:
        """A repertoire with the same motions, to which others can be added without the first one knowing."""
        other = Repertoire(self._avatar)
        other._makers, other._made = self._makers, dict(self._made)
        return other

    def motion(self, name: str) -> Motion:
        """A motion by name.

        Raises:
            InputError: When there is none of this name, or the rig is not that of a human.
        """
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def add_file(self, file_name: str, content: bytes) -> str:
        """Read a motion file that somebody dropped in, onto the avatar's rig.

        Args:
            file_name: Of the file; its ending tells its kind.
            content: All of it.
        Returns:
            The name under which it can be played.
        Raises:
            InputError: When it cannot be read; the message is for whoever dropped it.
        """
        from bodydouble.pipeline.motions import find_motion

        base = Path(file_name.replace("\\", "/")).name
        suffix = Path(base).suffix.lower()
        if suffix not in READABLE_UPLOADS:
            raise InputError(f"{base} is no motion that can be read; expected one of {', '.join(READABLE_UPLOADS)}.")
        if len(content) > MAX_UPLOAD_MB * 1e6:
            raise InputError(
                f"{base} has {len(content) / 1e6:.0f} MB; at most {MAX_UPLOAD_MB:.0f} MB are read. Cut the motion."
            )
        with tempfile.TemporaryDirectory(prefix="bodydouble-studio-") as folder:
            path = Path(folder) / f"motion{suffix}"
            path.write_bytes(content)
            try:
                motion = find_motion(str(path), self._avatar, _FPS_HZ)
            except BodydoubleError as error:
                raise InputError(str(error).replace(str(path), base)) from error
            except (MemoryError, RuntimeError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
                raise InputError(f"{base} cannot be read as a motion ({type(error).__name__}: {error}).") from error
        if not bool(torch.isfinite(motion.rotvecs).all() and torch.isfinite(motion.translation_world_m).all()):
            raise InputError(f"{base} holds numbers that are not finite; export it again.")
        if motion.num_frames > MAX_FRAMES:
            raise InputError(
                f"{base} lasts {motion.duration_s / 60:.0f} minutes; at most {MAX_FRAMES / _FPS_HZ / 60:.0f} are played. Cut it."
            )
        name = self._free_name(base)
        self._made[name] = motion.replace(name=Path(base).stem)
        return name

    def _free_name(self, base: str) -> str:
        name, count = base, 1
        while name in self.names:
            count += 1
            name = f"{base} ({count})"
        return name

    def _make(self, name: str) -> Motion:
        from bodydouble.pipeline.motions import find_motion

        if name in self._makers:
            return self._makers[name]()
        if name == REST:
            return rest_motion(self._avatar)
        if name in BUILTIN_MOTIONS:
            return find_motion(name, self._avatar, _FPS_HZ)
        raise InputError(f"There is no motion {name!r} here; known are {', '.join(self.names)}.")


def rest_motion(avatar: Avatar) -> Motion:
    """One frame of the rest pose, standing on the floor."""
    from bodydouble.avatar.retarget import rest_floor

    floor = rest_floor(avatar)
    low = float(avatar.rig.joints_rest_m[:, 1].min()) if floor is None else floor
    return Motion(
        name=REST,
        fps_hz=_FPS_HZ,
        rotvecs=torch.zeros(1, len(avatar.rig.bone_names), 3),
        translation_world_m=torch.tensor([[0.0, -low, 0.0]]),
        expression=torch.zeros(1, len(ARKIT_ACTIONS)),
    )


def frame_at(motion: Motion, time_s: float) -> int:
    """The frame that is shown at a time, seconds from the motion's beginning."""
    return min(max(int(time_s * motion.fps_hz + 1e-6), 0), motion.num_frames - 1)


def pose_at(motion: Motion, time_s: float) -> tuple[Pose, torch.Tensor]:
    """Pose and facial actions at a time."""
    frame = frame_at(motion, time_s)
    return motion.pose(frame), motion.expression[frame]
