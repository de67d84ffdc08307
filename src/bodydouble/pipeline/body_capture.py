"""The motion of a whole person in a second video, as a motion file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Rig
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack, VideoInfo
from bodydouble.core.events import Event

Emit = Callable[[Event], None]


def body_to_file(info: VideoInfo, out: Path, emit: Emit):
    """Perceive and fit a video, write the fitted motion.

    Args:
        info: Of the video.
        out: A .bvh or an .npz.
        emit: Told about progress.
    """
    from bodydouble.avatar.bvh_write import write_bvh
    from bodydouble.avatar.clips.rigs import as_source
    from bodydouble.avatar.clips.write import write_smplx
    from bodydouble.capture.folder import Capture
    from bodydouble.fit.face import track_face
    from bodydouble.fit.track import FitConfig, fit_track
    from bodydouble.perceive.observe import PerceiveConfig, observe
    from bodydouble.pipeline.create import load_body
    from bodydouble.pipeline.motion_capture import CapturedMotion

    body = load_body("anny", emit)
    with tempfile.TemporaryDirectory(prefix="bodydouble-") as folder:
        capture = Capture.create(Path(folder) / "capture", info)
        observations = observe(info, capture, PerceiveConfig(), emit)
        track = fit_track(capture, body, FitConfig(silhouettes=False), emit)
        face_seen = float((track_face(observations).sight > 0).mean())
    motion, rig = motion_of_track(track, body, out.stem)
    if out.suffix.lower() == ".bvh":
        write_bvh(out, motion, rig)
    else:
        write_smplx(out, as_source(motion, rig))
    return CapturedMotion(frames=motion.num_frames, fps_hz=motion.fps_hz, face_seen=face_seen, with_body=True)


def motion_of_track(track: BodyTrack, body: BodyModel, name: str) -> tuple[Motion, Rig]:
    """A fitted track as a clip at an even frame rate, on the fitted body's rig, upright however the camera was held."""
    from bodydouble.fit.level import find_level, leveled

    track = leveled(track, body, find_level(track, body))
    shaped = body.with_shape(track.shape)
    rig = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=shaped.joints_rest.detach(),
        humanoid=dict(body.humanoid),
    )
    return even_motion(track, name), rig


def even_motion(track: BodyTrack, name: str) -> Motion:
    """A fitted track at an even frame rate: where it lacks frames, those nearest in time are repeated."""
    times = track.times_s.double()
    steps = torch.diff(times)
    # Some containers round frame times to milliseconds: the whole length tells the rate better than one step.
    fps_hz = float((steps / steps.median()).round().sum() / steps.sum()) if len(steps) else 30.0
    count = round(float(times[-1] - times[0]) * fps_hz) + 1
    even = times[0] + torch.arange(count, dtype=torch.float64) / fps_hz
    rows = (even[:, None] - times[None]).abs().argmin(1)
    return Motion(
        name=name,
        fps_hz=fps_hz,
        rotvecs=track.rotvecs[rows],
        translation_world_m=track.translation_world_m[rows],
        expression=track.expression[rows],
    )
