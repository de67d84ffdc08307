"""Facts and frames of video files.

Frames come out upright (rotation and mirror tags applied), with square pixels, as 8-bit sRGB, one at a time: memory does
not grow with the length of the video. Frame numbers and times are those of the frames that can really be decoded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bodydouble.capture.values import VideoInfo
from bodydouble.capture.video_decode import (
    ErrorCount,
    checked_file,
    decode_roughly,
    decoded,
    geometry_of,
    opened,
    shrunk,
    time_of,
    to_rgb,
)
from bodydouble.capture.video_facts import Geometry, clean_times, damage_text, focal_from_metadata, median_rate
from bodydouble.core.errors import InputError
from bodydouble.core.files import file_sha256

_SEEK_MIN_FRAMES = 90
"""Decoding fewer frames than this in vain is cheaper and safer than seeking."""
_SEEK_MARGIN_S = 1.0
"""Frames right after a seek may be missing (open groups of pictures), so land earlier than needed."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One upright frame of a video."""

    index: int
    """Number of the frame in the source video, from 0."""
    time_s: float
    """Presentation time since the first frame."""
    rgb: UInt8[np.ndarray, "height width 3"]


def probe(path: Path | str, *, with_sha256: bool = True) -> VideoInfo:
    """Facts of a video, found by decoding it once (without building pictures).

    Args:
        path: A file in any container and codec FFmpeg reads.
        with_sha256: Also hash the file.
    Raises:
        InputError: When there is no such file or no decodable video in it.
    """
    path = checked_file(path)
    with opened(path) as (container, stream):
        if container.format.name == "image2" or container.format.name.endswith("_pipe"):
            raise InputError(
                f"{path} is a single picture, not a video. Film the person for 5 to 20 seconds while they turn slowly."
            )
        decode_roughly(stream)
        codec = stream.codec_context.name
        geometry: Geometry | None = None
        times: list[float | None] = []
        errors = ErrorCount()
        for frame in decoded(container, stream, errors):
            if geometry is None:
                geometry = geometry_of(frame, stream)
            times.append(time_of(frame))
        if geometry is None:
            raise InputError(
                f"{path} has a video stream ({codec}) but no frame of it can be decoded; the file is truncated or damaged. "
                "Copy it again from the camera, or convert it with another program first."
            )
        nominal = float(stream.average_rate or stream.guessed_rate or 30)
        announced = int(stream.frames or 0)
        metadata = {**dict(stream.metadata), **dict(container.metadata)}
    times_s = clean_times(times, nominal)
    width_px, height_px = geometry.upright_size_px
    return VideoInfo(
        path=str(path.resolve()),
        width_px=width_px,
        height_px=height_px,
        num_frames=len(times_s),
        fps_hz=median_rate(times_s, nominal),
        times_s=times_s,
        rotation_deg=geometry.rotation_deg,
        codec=codec,
        focal_px=focal_from_metadata(metadata, max(width_px, height_px)),
        sha256=file_sha256(path) if with_sha256 else "",
        damage=damage_text(errors.packets, announced, len(times_s)),
    )


def read_frames(
    path: Path | str, indices: Sequence[int] | None = None, info: VideoInfo | None = None, *, threads: int = 0
) -> Generator[Frame, None, None]:
    """Decode frames in ascending order, one at a time.

    Args:
        path: The video.
        indices: Ascending source frame numbers; None for all.
        info: Facts from `probe`; allows to seek to a late first frame.
        threads: Decoder threads; 0 leaves the choice to FFmpeg.
    Raises:
        InputError: When the file cannot be decoded, or a wanted frame is not there.
    """
    path = checked_file(path)
    wanted = None if indices is None else [int(i) for i in indices]
    if wanted is not None:
        if not wanted:
            return
        if any(b <= a for a, b in itertools.pairwise(wanted)) or wanted[0] < 0:
            raise InputError(f"Frame numbers must ascend from 0, got {wanted[:5]}...; sort them and remove doubles.")
        if info is not None and wanted[-1] >= info.num_frames:
            raise InputError(f"{path} has {info.num_frames} frames; frame {wanted[-1]} does not exist.")
        if info is not None and wanted[0] >= _SEEK_MIN_FRAMES:
            done = 0
            for frame in _read_after_seek(path, wanted, info, threads):
                done += 1
                yield frame
            if done == len(wanted):
                return
            wanted = wanted[done:]
    yield from _read_from_start(path, wanted, info, threads)


def read_thumbnails(
    path: Path | str, width_px: int, height_px: int
) -> Iterator[UInt8[np.ndarray, "height_px width_px 3"]]:
    """All frames, shrunk to one small size while their colours are converted (not turned upright): quick to compare.

    Raises:
        InputError: When the file cannot be decoded.
    """
    with opened(checked_file(path)) as (container, stream):
        decode_roughly(stream)
        for frame in decoded(container, stream, ErrorCount()):
            yield shrunk(frame, width_px, height_px)


def _read_from_start(
    path: Path, wanted: list[int] | None, info: VideoInfo | None, threads: int
) -> Generator[Frame, None, None]:
    queue = None if wanted is None else iter(wanted)
    target = None if queue is None else next(queue)
    first_time: float | None = None
    with opened(path, threads) as (container, stream):
        geometry: Geometry | None = None
        index = -1
        for index, frame in enumerate(decoded(container, stream, ErrorCount())):
            geometry = geometry or geometry_of(frame, stream)
            time = time_of(frame)
            first_time = time if index == 0 else first_time
            if target is not None and index != target:
                continue
            if info is not None and index < info.num_frames:
                time_s = info.times_s[index]
            else:
                time_s = time - first_time if time is not None and first_time is not None else index / 30.0
            yield Frame(index=index, time_s=time_s, rgb=to_rgb(frame, geometry))
            if queue is not None:
                target = next(queue, None)
                if target is None:
                    return
    if target is not None:
        raise InputError(
            f"{path}: frame {target} is wanted, but only {index + 1} frames can be decoded. Has the file changed?"
        )


def _read_after_seek(path: Path, wanted: list[int], info: VideoInfo, threads: int) -> Generator[Frame, None, None]:
    """Frames found by their time after a seek; stops early, without error, where the times do not match."""
    with opened(path, threads) as (container, stream):
        first = next(iter(decoded(container, stream, ErrorCount())), None)
        start = None if first is None else time_of(first)
        if first is None or start is None or stream.time_base is None:
            return
        geometry = geometry_of(first, stream)
        target_s = max(0.0, info.times_s[wanted[0]] - _SEEK_MARGIN_S) + start
        try:
            container.seek(math.floor(target_s / stream.time_base), stream=stream, backward=True)
        except OSError:
            return
        tolerance_s = 0.25 / max(info.fps_hz, 1e-3)
        times = np.asarray(info.times_s)
        queue = iter(wanted)
        target = next(queue)
        for frame in decoded(container, stream, ErrorCount()):
            time = time_of(frame)
            if time is None:
                return
            index = int(np.abs(times - (time - start)).argmin())
            if abs(times[index] - (time - start)) > tolerance_s or index > target:
                return
            if index < target:
                continue
            yield Frame(index=index, time_s=info.times_s[index], rgb=to_rgb(frame, geometry))
            following = next(queue, None)
            if following is None:
                return
            target = following
