"""Which run of frames is looked at: one continuous shot, not too long."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from bodydouble.capture.shots import THUMBNAIL_PX, find_cuts, longest_shot, signature
from bodydouble.capture.values import VideoInfo
from bodydouble.capture.video import read_thumbnails
from bodydouble.core.errors import ConfigError
from bodydouble.core.events import Event, Warned

_LOOK_AHEAD = 8
_LOW_RATE_HZ = 12.0
_FEW_FRAMES = 8
_SMALL_SIDE_PX = 240


@dataclass(frozen=True, kw_only=True)
class PerceiveConfig:
    """What of the video is looked at."""

    start_s: float | None = None
    """Begin, seconds from the first frame; None for the best choice."""
    end_s: float | None = None
    """End, seconds from the first frame; None for the best choice."""
    max_seconds: float = 30.0
    """Longer shots are cut to this."""
    max_frames: int = 900
    """And to this many frames."""


def choose_span(video: VideoInfo, config: PerceiveConfig, emit: Callable[[Event], None]) -> tuple[int, int]:
    """First and one-past-last source frame of the longest shot in the wanted part of the video.

    Raises:
        ConfigError: When the wanted part is empty.
    """
    first, stop = _wanted_part(video, config)
    # A cut is recognised by a few frames after it.
    thumbnails = itertools.islice(read_thumbnails(video.path, *THUMBNAIL_PX), stop + _LOOK_AHEAD)
    cuts = [c for c in find_cuts(signature(t) for t in thumbnails) if first < c < stop]
    if cuts:
        a, b = longest_shot([c - first for c in cuts], stop - first)
        times = ", ".join(f"{video.times_s[c]:.1f} s" for c in cuts[:5]) + (", ..." if len(cuts) > 5 else "")
        first, stop = first + a, first + b
        emit(
            Warned(
                code="shot_change",
                message=f"The picture is cut at {times}: only the longest shot, {_seconds(video, first, stop)}, is used.",
                advice="Choose another part with --start-s and --end-s.",
            )
        )
    end = first + 1
    while (
        end < stop
        and end - first < config.max_frames
        and video.times_s[end] - video.times_s[first] < config.max_seconds
    ):
        end += 1
    if end < stop:
        emit(
            Warned(
                code="span_trimmed",
                message=f"Only {_seconds(video, first, end)} of {_seconds(video, first, stop)} is used.",
                advice="Choose another part with --start-s and --end-s.",
            )
        )
    _warn_of_quality(video, end - first, emit)
    return first, end


def _wanted_part(video: VideoInfo, config: PerceiveConfig) -> tuple[int, int]:
    last_s = video.times_s[-1]
    start_s = 0.0 if config.start_s is None else config.start_s
    end_s = float("inf") if config.end_s is None else config.end_s
    if not (config.max_seconds > 0 and config.max_frames > 0):
        raise ConfigError(
            f"The longest span must be positive, got {config.max_seconds} s and {config.max_frames} frames."
        )
    if not start_s < end_s or start_s > last_s or end_s < 0:
        raise ConfigError(
            f"The wanted part, {start_s:g} s to {end_s:g} s, holds no frame: the video runs from 0 s to {last_s:.2f} s. "
            "Change --start-s and --end-s."
        )
    inside = [i for i, t in enumerate(video.times_s) if start_s - 1e-6 <= t < end_s]
    if not inside:
        raise ConfigError(f"No frame lies between {start_s:g} s and {end_s:g} s. Make the part longer with --end-s.")
    return inside[0], inside[-1] + 1


def _warn_of_quality(video: VideoInfo, num_frames: int, emit: Callable[[Event], None]) -> None:
    if video.damage:
        emit(
            Warned(
                code="damaged_video",
                message=f"The file is damaged: {video.damage}.",
                advice="Copy it again from the camera if you can.",
            )
        )
    if num_frames < _FEW_FRAMES:
        emit(
            Warned(
                code="few_frames",
                message=f"There {'is only 1 frame' if num_frames == 1 else f'are only {num_frames} frames'}: most of the body is seen from one side at best.",
                advice="Film 5 to 20 seconds while the person turns slowly.",
            )
        )
    elif video.fps_hz < _LOW_RATE_HZ:
        emit(
            Warned(
                code="low_frame_rate",
                message=f"The video has only {video.fps_hz:.1f} frames a second: fast motion may be lost between them.",
                advice="Film at 24 to 60 frames a second.",
            )
        )
    if min(video.width_px, video.height_px) < _SMALL_SIDE_PX:
        emit(
            Warned(
                code="small_video",
                message=f"The video is only {video.width_px}x{video.height_px} pixels: hands and face will be coarse.",
                advice="Use the original recording rather than a preview.",
            )
        )


def _seconds(video: VideoInfo, first: int, stop: int) -> str:
    return f"{video.times_s[first]:.1f} s to {video.times_s[stop - 1]:.1f} s"
