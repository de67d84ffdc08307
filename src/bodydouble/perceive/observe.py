"""The perceive stage: a video in, Observations and masks out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bodydouble.capture.folder import Capture
from bodydouble.capture.values import Observations, VideoInfo
from bodydouble.core.errors import NoSubjectError
from bodydouble.core.events import Done, Event, Progress, Warned
from bodydouble.core.files import atomic_path
from bodydouble.perceive.estimate import estimate_run
from bodydouble.perceive.parts import LANDMARK_NAMES, RawLandmarks


@dataclass(frozen=True, kw_only=True)
class PerceiveConfig:
    """What to look at."""

    start_s: float | None = None
    """Begin of the span, seconds from the first frame; None for the best choice."""
    end_s: float | None = None
    max_seconds: float = 30.0
    """Longer spans are cut to this."""


def observe(video: VideoInfo, folder: Capture, config: PerceiveConfig, emit: Callable[[Event], None]) -> Observations:
    """Look at every frame of the chosen span; write masks, then observations, into the capture.

    Raises:
        NoSubjectError: When no usable person is in view.
    """
    began = time.perf_counter()
    indices = list(range(video.num_frames))
    with atomic_path(folder.masks_folder) as masks_folder:
        masks_folder.mkdir()
        raw = estimate_run(
            video, indices, masks_folder, lambda done: emit(Progress(stage="perceive", done=done, total=len(indices), unit="frames"))
        )
        if not bool(raw.present.any()):
            raise NoSubjectError(
                f"Nobody was found in {video.path}. One person should be in view, at least from the hips up; "
                "try a brighter clip or one where the person is larger."
            )
    observations = _to_observations(raw, video)
    folder.set_span(indices[0], indices[-1] + 1)
    folder.save_observations(observations)
    emit(Done(stage="perceive", seconds=time.perf_counter() - began))
    return observations


def _to_observations(raw: RawLandmarks, video: VideoInfo) -> Observations:
    return Observations(
        frame_indices=raw.frame_indices,
        times_s=torch.tensor([video.times_s[i] for i in raw.frame_indices.tolist()], dtype=torch.float32),
        width_px=video.width_px,
        height_px=video.height_px,
        landmark_names=LANDMARK_NAMES,
        xy_px=raw.xy_px,
        xyz_camera_m=raw.xyz_camera_m,
        confidence=raw.confidence,
        present=raw.present,
        box_px=raw.mask_box_px,
    )
