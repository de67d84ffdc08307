"""Looks at faces alone: close-ups that show no body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from bodydouble.capture.values import VideoInfo
from bodydouble.capture.video import read_frames
from bodydouble.core.events import Event, Progress
from bodydouble.perceive.mediapipe_holistic import NUM_FACE, FaceEstimator


@dataclass(frozen=True, kw_only=True)
class SeenFaces:
    """The face in each frame of a video."""

    points_px: Float[np.ndarray, "frames points 3"]
    """x, y and relative depth of the 478 points, pixels; 0 where there is no face."""
    present: Bool[np.ndarray, " frames"]
    times_s: Float[np.ndarray, " frames"]


def look_at_faces(video: VideoInfo, emit: Callable[[Event], None]) -> SeenFaces:
    """Follow the most prominent face through a video, in this process.

    Args:
        video: From `capture.video.probe`.
        emit: Told about progress.
    """
    count = video.num_frames
    points = np.zeros((count, NUM_FACE, 3))
    present = np.zeros(count, dtype=bool)
    with FaceEstimator() as estimator:
        for k, frame in enumerate(read_frames(video.path, range(count), video)):
            found = estimator.estimate(frame.rgb)
            if found is not None:
                points[k], present[k] = found, True
            emit(Progress(stage="perceive", done=k + 1, total=count, unit="frames"))
    return SeenFaces(points_px=points, present=present, times_s=np.array(video.times_s))
