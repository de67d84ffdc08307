"""The video behind an avatar: its frames at screen size, and where camera and body were in each."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import Pose
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.errors import BodydoubleError

_LONGEST_SIDE_PX = 960
_MAX_FRAMES = 1200
"""Of longer tracks every second, third, ... frame is kept: 1200 JPEGs of 960 px take some 100 MB."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One frame of the video."""

    picture: UInt8[np.ndarray, "height width 3"]
    camera: Camera
    """Of the picture, at its size."""
    pose: Pose
    expression: torch.Tensor


class Footage:
    """Frames of a capture, decoded once in the background and kept small."""

    def __init__(self, capture: Capture, track: BodyTrack) -> None:
        """
        Args:
            capture: Whose video is shown.
            track: Camera and poses, as they are to be drawn over the frames.
        """
        self.track = track
        self._capture = capture
        scale = min(1.0, _LONGEST_SIDE_PX / max(track.width_px, track.height_px))
        self.size_px = (max(1, round(track.width_px * scale)), max(1, round(track.height_px * scale)))
        full = video_camera(track.width_px, track.height_px, track.focal_px)
        self.camera = full.cropped(0.0, 0.0, (float(track.width_px), float(track.height_px)), self.size_px)
        step = -(-len(track.frame_indices) // _MAX_FRAMES)
        self._rows = list(range(0, len(track.frame_indices), step))
        self._times = (track.times_s.double() - track.times_s.double()[0]).numpy()
        self._packed: dict[int, bytes] = {}
        self.problem = ""
        """Why frames are missing, in words; empty while none are."""
        self._stop = threading.Event()
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def duration_s(self) -> float:
        """Seconds from the first tracked frame to the last."""
        return float(self._times[-1])

    @property
    def ready(self) -> float:
        """Share of the frames that have been decoded."""
        return len(self._packed) / len(self._rows)

    def start(self) -> None:
        """Begin to decode, in a thread of its own."""
        self._thread = threading.Thread(target=self._decode, name="studio footage", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop decoding."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def wait(self, timeout_s: float) -> bool:
        """Wait until all frames are there (or cannot be had); for tools and tests."""
        return self._changed.wait(timeout_s)

    def shot(self, time_s: float) -> Shot | None:
        """The frame nearest to a time from the first tracked frame on; none until it is decoded."""
        row = self._rows[int(np.abs(self._times[self._rows] - time_s).argmin())]
        packed = self._packed.get(row)
        if packed is None:
            return None
        bgr = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR)
        track = self.track
        return Shot(
            picture=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
            camera=self.camera,
            pose=track.pose(row),
            expression=track.expression[row],
        )

    def _decode(self) -> None:
        try:
            row_of = {int(self.track.frame_indices[row]): row for row in self._rows}
            for frame in self._capture.frames(sorted(row_of), threads=1):
                if self._stop.is_set():
                    break
                small = cv2.resize(frame.rgb, self.size_px, interpolation=cv2.INTER_AREA)
                done, packed = cv2.imencode(
                    ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]
                )
                if done:
                    self._packed[row_of[frame.index]] = packed.tobytes()
        except BodydoubleError as error:
            self.problem = str(error)
        finally:
            self._changed.set()


def refined_track(folder: Path, capture: Capture) -> BodyTrack:
    """Poses of a run as training left them; frames it did not train on move with their neighbours."""
    from bodydouble.evaluate.heldout import refined_indices
    from bodydouble.evaluate.interpolate import interpolated_track
    from bodydouble.evaluate.picture_run import with_poses
    from bodydouble.pipeline.finish import trained_result

    start = capture.track()
    try:
        _, refined = trained_result(folder, capture)
    except BodydoubleError:
        return start
    train = refined_indices(capture, start, refined)
    others = [index for index in start.frame_indices.tolist() if index not in set(train)]
    return with_poses(interpolated_track(start, refined, train, others), refined, train)


def stage_motion(track: BodyTrack, avatar: Avatar) -> Motion:
    """What the person of a video does, set on the stage's floor, facing +Z at the start.

    Args:
        track: On the avatar's own rig.
        avatar: Whose rig is to move.
    """
    from bodydouble.avatar.clips.rigs import as_source
    from bodydouble.avatar.retarget import rest_floor, retarget
    from bodydouble.pipeline.track_motion import even_motion

    motion = even_motion(track, "video")
    source = as_source(motion, avatar.rig)
    return retarget(source, avatar.rig, fps_hz=motion.fps_hz, floor_rest_m=rest_floor(avatar))
