"""Video files in and out. The one file that knows PyAV.

Frames come out upright (rotation and mirror tags applied), with square pixels, as 8-bit sRGB, one at a time: memory does
not grow with the length of the video. Frame numbers and times are those of the frames that can really be decoded.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from bodydouble.capture.values import VideoInfo
from bodydouble.capture.video_facts import Geometry, clean_times, damage_text, focal_from_metadata, median_rate
from bodydouble.core.errors import InputError
from bodydouble.core.files import atomic_path, file_sha256

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_OPEN_OPTIONS = {"protocol_whitelist": "file"}
"""A playlist handed in as a video must not make us reach out to the network."""
_TEXT_DEMUXERS = {"tty"}
"""FFmpeg would render a .txt file as ANSI art."""
_SEEK_MIN_FRAMES = 90
"""Decoding fewer frames than this in vain is cheaper and safer than seeking."""
_SEEK_MARGIN_S = 1.0
"""Frames right after a seek may be missing (open groups of pictures), so land earlier than needed."""
_MAX_DECODE_ERRORS_IN_A_ROW = 200
_HDR_TRANSFERS = {16, 18}
"""AVCOL_TRC_SMPTE2084 (PQ) and AVCOL_TRC_ARIB_STD_B67 (HLG, what phones write)."""
_BT2020_PRIMARIES = 9
_IDENTITY_MATRIX = (1, 0, 0, 1)


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
    path = _checked_file(path)
    with _opened(path) as (container, stream):
        if container.format.name == "image2" or container.format.name.endswith("_pipe"):
            raise InputError(
                f"{path} is a single picture, not a video. Film the person for 5 to 20 seconds while they turn slowly."
            )
        # Times and sizes do not need finished pictures: these two steps are a third of the decoding time.
        with contextlib.suppress(AttributeError, ValueError):
            stream.codec_context.options = {"skip_loop_filter": "all"}
        codec = stream.codec_context.name
        geometry: Geometry | None = None
        times: list[float | None] = []
        errors = _ErrorCount()
        for frame in _decoded(container, stream, errors):
            if geometry is None:
                geometry = _geometry_of(frame, stream)
            times.append(_time_of(frame))
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
) -> Iterator[Frame]:
    """Decode frames in ascending order, one at a time.

    Args:
        path: The video.
        indices: Ascending source frame numbers; None for all.
        info: Facts from `probe`; allows to seek to a late first frame.
        threads: Decoder threads; 0 leaves the choice to FFmpeg.
    Raises:
        InputError: When the file cannot be decoded, or a wanted frame is not there.
    """
    path = _checked_file(path)
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
    from av.video.reformatter import Interpolation

    with _opened(_checked_file(path)) as (container, stream):
        with contextlib.suppress(AttributeError, ValueError):
            stream.codec_context.options = {"skip_loop_filter": "all"}
        for frame in _decoded(container, stream, _ErrorCount()):
            yield frame.reformat(width_px, height_px, "rgb24", interpolation=Interpolation.AREA, threads=1).to_ndarray()


def _read_from_start(path: Path, wanted: list[int] | None, info: VideoInfo | None, threads: int) -> Iterator[Frame]:
    queue = None if wanted is None else iter(wanted)
    target = None if queue is None else next(queue)
    first_time: float | None = None
    with _opened(path, threads) as (container, stream):
        geometry: Geometry | None = None
        index = -1
        for index, frame in enumerate(_decoded(container, stream, _ErrorCount())):
            geometry = geometry or _geometry_of(frame, stream)
            time = _time_of(frame)
            first_time = time if index == 0 else first_time
            if target is not None and index != target:
                continue
            if info is not None and index < info.num_frames:
                time_s = info.times_s[index]
            else:
                time_s = time - first_time if time is not None and first_time is not None else index / 30.0
            yield Frame(index=index, time_s=time_s, rgb=_to_rgb(frame, geometry))
            if queue is not None:
                target = next(queue, None)
                if target is None:
                    return
    if target is not None:
        raise InputError(
            f"{path}: frame {target} is wanted, but only {index + 1} frames can be decoded. Has the file changed?"
        )


def _read_after_seek(path: Path, wanted: list[int], info: VideoInfo, threads: int) -> Iterator[Frame]:
    """Frames found by their time after a seek; stops early, without error, where the times do not match."""
    with _opened(path, threads) as (container, stream):
        first = next(iter(_decoded(container, stream, _ErrorCount())), None)
        start = None if first is None else _time_of(first)
        if first is None or start is None or stream.time_base is None:
            return
        geometry = _geometry_of(first, stream)
        target_s = max(0.0, info.times_s[wanted[0]] - _SEEK_MARGIN_S) + start
        try:
            container.seek(math.floor(target_s / stream.time_base), stream=stream, backward=True)
        except OSError:
            return
        tolerance_s = 0.25 / max(info.fps_hz, 1e-3)
        times = np.asarray(info.times_s)
        queue = iter(wanted)
        target = next(queue)
        for frame in _decoded(container, stream, _ErrorCount()):
            time = _time_of(frame)
            if time is None:
                return
            index = int(np.abs(times - (time - start)).argmin())
            if abs(times[index] - (time - start)) > tolerance_s or index > target:
                return
            if index < target:
                continue
            yield Frame(index=index, time_s=info.times_s[index], rgb=_to_rgb(frame, geometry))
            following = next(queue, None)
            if following is None:
                return
            target = following


class VideoWriter:
    """Writes H.264 (yuv420p, BT.709; RGB without loss on request). The file appears only when everything was written.

    Odd sizes are padded by repeating the last column or row, since yuv420p needs even ones.

        with VideoWriter(path, fps_hz=30, width_px=640, height_px=480) as video:
            video.write(rgb)
    """

    def __init__(
        self,
        path: Path | str,
        fps_hz: float | int,
        width_px: int,
        height_px: int,
        crf: int = 18,
        *,
        bitrate_bps: int | None = None,
        lossless: bool = False,
    ) -> None:
        """
        Args:
            path: Where to.
            fps_hz: Frame rate.
            width_px, height_px: Size of the frames.
            crf: Constant quality of x264; lower is better.
            bitrate_bps: Mean bit rate instead of constant quality.
            lossless: RGB without loss, of any size; `crf` and `bitrate_bps` have no meaning then.
        """
        self.path = Path(path)
        self._bitrate_bps = bitrate_bps
        self._fps = Fraction(fps_hz).limit_denominator(1001 * 60)
        self._size_px = (width_px, height_px)
        self._crf = crf
        self._lossless = lossless
        self._stack = contextlib.ExitStack()
        self._count = 0

    def __enter__(self) -> VideoWriter:
        import av

        partial = self._stack.enter_context(atomic_path(self.path))
        self._container = self._stack.enter_context(
            av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"})
        )
        width_px, height_px = self._size_px
        if self._lossless:
            stream = self._container.add_stream("libx264rgb", rate=self._fps, options={"qp": "0", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = *self._size_px, "rgb24"
            self._stream = stream
            return self
        quality = {"crf": str(self._crf)} if self._bitrate_bps is None else {"b": str(self._bitrate_bps)}
        stream = self._container.add_stream("libx264", rate=self._fps, options={**quality, "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width_px + width_px % 2, height_px + height_px % 2, "yuv420p"
        stream.codec_context.color_range = 1
        stream.codec_context.colorspace = 1
        stream.codec_context.color_primaries = 1
        stream.codec_context.color_trc = 1
        self._stream = stream
        return self

    def write(self, rgb: UInt8[np.ndarray, "height width 3"], number: int | None = None) -> None:
        """Append one frame.

        Args:
            rgb: 8-bit sRGB.
            number: When it is shown, in frames from the first; by default right after the one before.
        Raises:
            InputError: When the frame's size is not the one the file was opened with, or numbers do not ascend.
        """
        import av
        from av.video.reformatter import ColorRange, Colorspace

        width_px, height_px = self._size_px
        if rgb.shape != (height_px, width_px, 3) or rgb.dtype != np.uint8:
            raise InputError(
                f"VideoWriter.write: expected uint8 of shape ({height_px}, {width_px}, 3), got {rgb.dtype} {rgb.shape}; "
                "all frames of a video need one size."
            )
        if number is not None and number < self._count:
            raise InputError(
                f"VideoWriter.write: frame {number} comes after frame {self._count - 1}; numbers must ascend."
            )
        if not self._lossless and (width_px % 2 or height_px % 2):
            rgb = np.pad(rgb, ((0, height_px % 2), (0, width_px % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        if not self._lossless:
            picture = picture.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )
        picture.pts = self._count if number is None else number
        picture.time_base = 1 / self._fps
        self._count = picture.pts + 1
        for packet in self._stream.encode(picture):
            self._container.mux(packet)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
        except BaseException as flush_error:
            if not self._stack.__exit__(type(flush_error), flush_error, flush_error.__traceback__):
                raise
        else:
            self._stack.__exit__(kind, error, trace)


# --- opening and decoding ------------------------------------------------------------------------------------------


def _checked_file(path: Path | str) -> Path:
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a video file. Check the name and the folder.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected one video file. Name a file inside it.")
    try:
        with path.open("rb") as handle:
            head = handle.read(1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    if not head:
        raise InputError(f"{path} is empty (0 bytes); expected a video. Copy it again from the camera.")
    return path


@contextlib.contextmanager
def _opened(path: Path, threads: int = 0) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a checked file and choose its video stream."""
    import av

    try:
        container = av.open(str(path), options=_OPEN_OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(_cannot_open_text(path, error)) from error
    with container:
        if container.format.name in _TEXT_DEMUXERS:
            raise InputError(f"{path} is a text file, not a video. Name a video file such as clip.mp4.")
        streams = [s for s in container.streams.video if not _is_cover_art(s)]
        if not streams:
            kinds = sorted({s.type for s in container.streams}) or ["nothing"]
            raise InputError(
                f"{path} has no video stream (found: {', '.join(kinds)}). Name a file with moving pictures."
            )
        best = container.streams.best("video")
        stream: Any = best if best in streams else streams[0]
        if stream.codec_context is None:
            raise InputError(
                f"{path}: its video codec is unknown to FFmpeg. Convert it to H.264 with another program first."
            )
        stream.thread_type = "AUTO"
        if threads:
            stream.codec_context.thread_count = threads
        yield container, stream


def _is_cover_art(stream: VideoStream) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _cannot_open_text(path: Path, error: Exception) -> str:
    with path.open("rb") as handle:
        head = handle.read(4096)
    if head[4:8] == b"ftyp":
        return (
            f"{path} begins like an MP4 file but its index (the moov box) is missing: the recording or the copy was cut short. "
            "Copy it again from the camera, or repair it with a tool for broken MP4 files."
        )
    if not head.translate(None, bytes(range(32, 127)) + b"\n\r\t\f"):
        return f"{path} is a text file, not a video. Name a video file such as clip.mp4."
    reason = str(error).split(":")[0].replace("[Errno 1094995529] ", "")
    return f"{path} cannot be read as a video ({reason}). Expected a file that FFmpeg plays, such as .mp4, .mov, .mkv or .webm."


@dataclass
class _ErrorCount:
    packets: int = 0


def _decoded(container: InputContainer, stream: VideoStream, errors: _ErrorCount) -> Iterator[VideoFrame]:
    """All frames that decode without being marked corrupt, in order of presentation. Never raises FFmpeg's errors."""
    import av

    failures_in_a_row = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError):
            errors.packets += 1
            failures_in_a_row += 1
            if failures_in_a_row > _MAX_DECODE_ERRORS_IN_A_ROW:
                return
            continue
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError):
            errors.packets += 1
            continue
        for frame in frames:
            failures_in_a_row = 0
            if frame.is_corrupt:
                errors.packets += 1
                continue
            yield frame


def _time_of(frame: VideoFrame) -> float | None:
    return None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)


def _geometry_of(frame: VideoFrame, stream: VideoStream) -> Geometry:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if aspect <= 0 or not Fraction(1, 8) < aspect < 8:
        aspect = Fraction(1)
    width_px, height_px = frame.width, frame.height
    if aspect > 1:
        width_px = round(width_px * aspect)
    elif aspect < 1:
        height_px = round(height_px / aspect)
    return Geometry(width_px, height_px, _display_matrix(frame))


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The frame's turn and mirror as signs; odd angles are taken to the nearest right one."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return _IDENTITY_MATRIX
    a, b, _, c, d = struct.unpack("5i", bytes(matrix)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1)
    return (0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0)


# --- colour --------------------------------------------------------------------------------------------------------


_kept = threading.local()


def _reformatter(hdr: bool) -> Any:
    """One converter per thread and kind, since FFmpeg takes seconds to build its table for HDR."""
    from av.video.reformatter import VideoReformatter

    name = "hdr" if hdr else "sdr"
    if not hasattr(_kept, name):
        setattr(_kept, name, VideoReformatter())
    return getattr(_kept, name)


def _to_rgb(frame: VideoFrame, geometry: Geometry) -> np.ndarray:
    """Upright 8-bit sRGB. Transparent pixels are laid over black."""
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

    has_alpha = any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8"
    # FFmpeg takes untagged video for BT.601; players take it for BT.709 from HD sizes on, and so do we.
    is_rgb = frame.format.is_rgb or frame.format.name == "pal8"
    colorspace = frame.colorspace
    if not is_rgb and int(colorspace) in (2, 3):
        colorspace = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
    options: dict[str, Any] = {}
    if int(frame.color_trc) in _HDR_TRANSFERS or int(frame.color_primaries) == _BT2020_PRIMARIES:
        options = {"dst_color_trc": ColorTrc.IEC61966_2_1, "dst_color_primaries": ColorPrimaries.BT709}
    picture = _reformatter(bool(options)).reformat(
        frame,
        width=geometry.scaled_width_px,
        height=geometry.scaled_height_px,
        format="rgba" if has_alpha else "rgb24",
        src_colorspace=None if is_rgb else colorspace,
        dst_color_range=ColorRange.JPEG,
        threads=1,
        **options,
    )
    image = picture.to_ndarray()
    if has_alpha:
        alpha = image[..., 3:].astype(np.uint16)
        image = ((image[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return geometry.upright(image)


def codec_support() -> dict[str, bool]:
    """Which of the usual codecs the FFmpeg inside PyAV can read, and whether it can write H.264."""
    import av

    def has(name: str, mode: str) -> bool:
        try:
            av.codec.Codec(name, mode)
        except (av.error.FFmpegError, ValueError):
            return False
        return True

    readers = {"H.264": "h264", "HEVC": "hevc", "VP9": "vp9", "AV1": "libdav1d", "ProRes": "prores", "MPEG-4": "mpeg4"}
    support = {label: has(name, "r") for label, name in readers.items()}
    support["H.264 writing"] = has("libx264", "w")
    return support
