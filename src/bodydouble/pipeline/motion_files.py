"""Motions from files and from finished runs, to files of other formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.clips.read import read_motion
from bodydouble.avatar.clips.rigs import as_source
from bodydouble.avatar.clips.write import WRITABLE, write_motion
from bodydouble.avatar.glb import load_avatar
from bodydouble.avatar.retarget import rest_floor, retarget
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.pipeline.layout import avatar_file, capture_folder


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written."""

    frames: int
    fps_hz: float
    joints: int
    """Of the source."""


def load_motion(path: Path, clip: str = "") -> SourceMotion:
    """A motion from a file, or the one that was fitted to the video of a run.

    Args:
        path: A motion file (`clips.read`), or a folder of `create` or `capture`.
        clip: Which animation of a .glb.
    Raises:
        InputError: When it is neither.
        ConfigError: When a clip is named and the path is no .glb.
    """
    if clip and path.suffix.lower() not in (".glb", ".vrm"):
        raise ConfigError(f"--clip names an animation of a .glb; {path} has one motion only. Leave it out.")
    if not path.is_dir():
        return read_motion(path, clip=clip)
    from bodydouble.capture.folder import Capture
    from bodydouble.pipeline.bodies import load_body
    from bodydouble.pipeline.track_motion import motion_of_track

    capture = Capture.open(capture_folder(path))
    if not capture.has_track():
        raise InputError(f"{path} holds a capture to which no body was fitted yet; run `bodydouble create` first.")
    track = capture.track()
    motion, rig = motion_of_track(track, load_body(track.body), path.resolve().name)
    # In a fit the camera is the origin: the retargeting to the same rig sets the person on a floor, facing +Z.
    return as_source(retarget(as_source(motion, rig), rig, fps_hz=motion.fps_hz), rig)


def convert_motion(
    source_path: Path, out: Path, *, avatar: Path | None = None, fps_hz: float | None = None, clip: str = ""
) -> Converted:
    """Write a motion in another format.

    Args:
        source_path: As for `load_motion`.
        out: .bvh, .glb, .npz (SMPL-X), or .csv (facial actions, as Live Link Face records them).
        avatar: Retarget to the rig of this avatar; else the motion keeps its own skeleton (an .npz has SMPL-X's).
        fps_hz: Frame rate of the result; the source's if none.
        clip: Which animation of a .glb.
    Raises:
        ConfigError: For choices that do not go together.
        InputError: When the source cannot be read.
    """
    suffix = out.suffix.lower()
    if suffix not in (*WRITABLE, ".csv"):
        raise ConfigError(f"{out.name} must end in one of {', '.join((*WRITABLE, '.csv'))}; rename it.")
    if fps_hz is not None and not 1.0 <= fps_hz <= 1000.0:
        raise ConfigError(f"--fps is {fps_hz:g}; expected 1 to 1000 frames a second.")
    source = load_motion(source_path, clip)
    if fps_hz is not None:
        source = _at_rate(source, fps_hz)
    if suffix == ".csv":
        _write_face(source, out)
    else:
        rig, floor = None, None
        if avatar is not None:
            if suffix == ".npz":
                raise ConfigError("An .npz is always written on SMPL-X's skeleton; leave --avatar out.")
            loaded = load_avatar(avatar_file(avatar))
            rig, floor = loaded.rig, rest_floor(loaded)
        write_motion(out, source, target=rig, floor_rest_m=floor)
    frames = len(source.R_parent_joint)
    return Converted(frames=frames, fps_hz=source.fps_hz, joints=len(source.joint_names))


def _at_rate(source: SourceMotion, fps_hz: float) -> SourceMotion:
    """The source at another frame rate, joint by joint along short arcs."""
    from bodydouble.avatar.motion import Motion
    from bodydouble.body.protocol import ARKIT_ACTIONS
    from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix

    frames = len(source.R_parent_joint)
    expression = torch.zeros(frames, len(ARKIT_ACTIONS)) if source.expression is None else source.expression
    motion = Motion(
        name=source.name,
        fps_hz=source.fps_hz,
        rotvecs=matrix_to_rotvec(source.R_parent_joint.double()).float(),
        translation_world_m=source.root_position,
        expression=expression,
    ).resampled(float(fps_hz))
    return source.replace(
        fps_hz=motion.fps_hz,
        R_parent_joint=rotvec_to_matrix(motion.rotvecs),
        root_position=motion.translation_world_m,
        expression=None if source.expression is None else motion.expression,
    )


def _write_face(source: SourceMotion, out: Path) -> None:
    from bodydouble.avatar.arkit_csv import write_arkit_csv
    from bodydouble.avatar.face_motion import FaceMotion

    if source.expression is None:
        raise InputError(
            f"The motion {source.name!r} moves no face, so there is nothing for a .csv; write .bvh or .glb."
        )
    frames = len(source.expression)
    still = torch.zeros(frames, 3)
    face = FaceMotion(
        name=source.name,
        fps_hz=source.fps_hz,
        expression=source.expression,
        head_rad=still,
        eyes_rad=torch.zeros(frames, 2, 3),
    )
    write_arkit_csv(out, face)
