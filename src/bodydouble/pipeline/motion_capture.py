"""Motion from a second video: the face alone, or body, hands and face."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bodydouble.avatar.face_motion import FaceMotion, turn_angles
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.capture.values import Observations, VideoInfo
from bodydouble.core.errors import ConfigError, NoSubjectError
from bodydouble.core.events import Warned
from bodydouble.fit.face import FaceTrack, track_face, track_points
from bodydouble.pipeline.stages import Emit

FORMATS = (".csv", ".bvh", ".npz")
_EYE_RAD = (0.45, 0.35)
"""How far an eye is turned, across and up or down, when its action has its full strength."""
_FEW = 0.3
"""Faces are looked for on bodies when close-ups show them in fewer of the frames."""
_SEEN_MIRROR = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
"""From camera axes to those of a face that looks into the camera, and back."""


@dataclass(frozen=True, kw_only=True)
class CapturedMotion:
    """What was written."""

    frames: int
    fps_hz: float
    face_seen: float
    """Share of the frames in which the face was seen."""
    with_body: bool


def capture_motion(video: Path, out: Path, emit: Emit, *, avatar: Path | None = None) -> CapturedMotion:
    """Read the motion of the person in a video and write it as a file.

    Args:
        video: Of the face for a .csv; of the person, at least from the hips up, for a .bvh or an .npz.
        out: `.csv` (face, as the Live Link Face app records it), `.bvh` (body with fingers) or `.npz` (SMPL-X).
        emit: Told about progress.
        avatar: A double of the same person in the same clothes, to be laid on every frame: the motion is then that
            in which this double looks like the video, and on its rig. Not for a face alone.
    Raises:
        ConfigError: For another kind of file, or an avatar that does not fit.
        NoSubjectError: When nobody is seen.
    """
    if out.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{out.name} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; name the motion so with -o."
        )
    if avatar is not None and out.suffix.lower() == ".csv":
        raise ConfigError(
            f"{out.name} holds a face alone, and --avatar aligns bodies; leave it out, or write .bvh or .npz."
        )
    from bodydouble.capture.video import probe

    info = probe(video)
    if out.suffix.lower() == ".csv":
        return _face_to_csv(info, out, emit)
    return _body_to_file(info, out, avatar, emit)


def face_motion(track: FaceTrack, times_s: np.ndarray, name: str) -> FaceMotion:
    """A tracked face as a clip at an even frame rate.

    Args:
        track: One row for each time.
        times_s: Ascending.
        name: Of the clip.
    """
    expression = torch.from_numpy(track.actions)
    R = torch.from_numpy(track.R_camera_face)
    head = turn_angles(_SEEN_MIRROR @ R @ _SEEN_MIRROR) * torch.from_numpy(track.sight > 0)[:, None]

    def strength(action: str) -> torch.Tensor:
        return expression[:, ARKIT_ACTIONS.index(action)]

    eyes = torch.zeros(len(expression), 2, 3, dtype=torch.float64)
    for eye, side in enumerate(("Left", "Right")):
        outwards = strength(f"eyeLookOut{side}") - strength(f"eyeLookIn{side}")
        eyes[:, eye, 0] = _EYE_RAD[0] * outwards * (1.0 if side == "Left" else -1.0)
        eyes[:, eye, 1] = _EYE_RAD[1] * (strength(f"eyeLookDown{side}") - strength(f"eyeLookUp{side}"))
    steps = np.diff(times_s)
    fps_hz = float(1.0 / np.median(steps)) if len(steps) else 30.0
    even = np.arange(round((times_s[-1] - times_s[0]) * fps_hz) + 1) / fps_hz + times_s[0]

    def evenly(values: torch.Tensor) -> torch.Tensor:
        flat = values.reshape(len(values), -1).numpy()
        columns = [np.interp(even, times_s, flat[:, k]) for k in range(flat.shape[1])]
        return torch.from_numpy(np.stack(columns, 1)).float().reshape(len(even), *values.shape[1:])

    return FaceMotion(
        name=name, fps_hz=fps_hz, expression=evenly(expression), head_rad=evenly(head), eyes_rad=evenly(eyes)
    )


def _face_to_csv(info: VideoInfo, out: Path, emit: Emit) -> CapturedMotion:
    from bodydouble.avatar.arkit_csv import write_arkit_csv
    from bodydouble.perceive.faces import look_at_faces

    seen = look_at_faces(info, emit)
    track = track_points(seen.points_px, seen.present.astype(float), seen.times_s, (info.width_px, info.height_px))
    times_s = seen.times_s
    if (track.sight > 0).mean() < _FEW:  # a small face: find the person first
        observations = _observed(info, emit)
        if observations is not None:
            wider = track_face(observations)
            if (wider.sight > 0).sum() > (track.sight > 0).sum():
                track, times_s = wider, observations.times_s.double().numpy()
    share = float((track.sight > 0).mean())
    if share == 0.0:
        raise NoSubjectError(
            f"{Path(info.path).name} shows no face that could be followed. Film the face from the front, larger and in "
            "more light."
        )
    if share < 0.8:
        emit(
            Warned(
                code="face_unseen",
                message=f"The face was seen in {share:.0%} of the frames; it is neutral in the others.",
                advice="Film the face from the front, large and in good light.",
            )
        )
    motion = face_motion(track, times_s, out.stem)
    write_arkit_csv(out, motion)
    return CapturedMotion(frames=motion.num_frames, fps_hz=motion.fps_hz, face_seen=share, with_body=False)


def _body_to_file(info: VideoInfo, out: Path, avatar: Path | None, emit: Emit) -> CapturedMotion:
    from bodydouble.avatar.bvh_write import write_bvh
    from bodydouble.avatar.clips.rigs import as_source
    from bodydouble.avatar.clips.write import write_smplx
    from bodydouble.capture.folder import Capture
    from bodydouble.fit.face import track_face
    from bodydouble.fit.level import find_level
    from bodydouble.fit.track import FitConfig, fit_track
    from bodydouble.perceive.observe import PerceiveConfig, observe
    from bodydouble.pipeline.bodies import load_body
    from bodydouble.pipeline.motion_align import aligned_track, load_double
    from bodydouble.pipeline.track_motion import motion_of_track, motion_on_rig

    body = load_body("anny", emit)
    double = None if avatar is None else load_double(avatar, body)
    with tempfile.TemporaryDirectory(prefix="bodydouble-") as folder:
        capture = Capture.create(Path(folder) / "capture", info)
        observations = observe(info, capture, PerceiveConfig(), emit)
        track = fit_track(capture, body, FitConfig(silhouettes=False), emit)
        face_seen = float((track_face(observations).sight > 0).mean())
        if double is None:
            motion, rig = motion_of_track(track, body, out.stem)
        else:
            rig = double.rig
            aligned = aligned_track(double, capture, track, body, emit)
            motion = motion_on_rig(aligned, rig, find_level(track, body), out.stem)
    if out.suffix.lower() == ".bvh":
        write_bvh(out, motion, rig)
    else:
        write_smplx(out, as_source(motion, rig))
    return CapturedMotion(frames=motion.num_frames, fps_hz=motion.fps_hz, face_seen=face_seen, with_body=True)


def _observed(info: VideoInfo, emit: Emit) -> Observations | None:
    from bodydouble.capture.folder import Capture
    from bodydouble.perceive.observe import PerceiveConfig, observe

    with tempfile.TemporaryDirectory(prefix="bodydouble-") as folder:
        try:
            return observe(info, Capture.create(Path(folder) / "capture", info), PerceiveConfig(), emit)
        except NoSubjectError:
            return None
