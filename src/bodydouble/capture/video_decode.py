"""Opening videos and decoding their frames: what PyAV reads (`video_write` writes)."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from bodydouble.capture.video_facts import Geometry
from bodydouble.core.errors import InputError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_OPEN_OPTIONS = {"protocol_whitelist": "file"}
"""A playlist handed in as a video must not make us reach out to the network."""
_TEXT_DEMUXERS = {"tty"}
"""FFmpeg would render a .txt file as ANSI art."""
_MAX_DECODE_ERRORS_IN_A_ROW = 200
_HDR_TRANSFERS = {16, 18}
"""AVCOL_TRC_SMPTE2084 (PQ) and AVCOL_TRC_ARIB_STD_B67 (HLG, what phones write)."""
_BT2020_PRIMARIES = 9
_IDENTITY_MATRIX = (1, 0, 0, 1)


def checked_file(path: Path | str) -> Path:
    """The path of a file that is there, can be read and is not empty.

    Raises:
        InputError: Saying which of these it is not.
    """
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
def opened(path: Path, threads: int = 0) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a checked file and choose its video stream.

    Args:
        path: From `checked_file`.
        threads: Decoder threads; 0 leaves the choice to FFmpeg.
    Raises:
        InputError: When FFmpeg cannot open it, or finds no moving pictures in it.
    """
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
class ErrorCount:
    """What was lost while decoding."""

    packets: int = 0


def decoded(container: InputContainer, stream: VideoStream, errors: ErrorCount) -> Iterator[VideoFrame]:
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


def decode_roughly(stream: VideoStream) -> None:
    """Leave out the smoothing of block edges: a third of the decoding time, which neither times nor thumbnails need."""
    with contextlib.suppress(AttributeError, ValueError):
        stream.codec_context.options = {"skip_loop_filter": "all"}


def time_of(frame: VideoFrame) -> float | None:
    """Presentation time in seconds, from whatever the container calls 0; None if the frame has none."""
    return None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)


def geometry_of(frame: VideoFrame, stream: VideoStream) -> Geometry:
    """How the frame is brought upright and to square pixels. Shapes of pixels beyond 1 : 8 are taken for damage."""
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


_kept = threading.local()


def _reformatter(hdr: bool) -> Any:
    """One converter per thread and kind, since FFmpeg takes seconds to build its table for HDR."""
    from av.video.reformatter import VideoReformatter

    name = "hdr" if hdr else "sdr"
    if not hasattr(_kept, name):
        setattr(_kept, name, VideoReformatter())
    return getattr(_kept, name)


def shrunk(frame: VideoFrame, width_px: int, height_px: int) -> UInt8[np.ndarray, "height_px width_px 3"]:
    """The frame at another size by area averages, as 8-bit RGB, neither turned upright nor brought to one colour space."""
    from av.video.reformatter import Interpolation

    return frame.reformat(width_px, height_px, "rgb24", interpolation=Interpolation.AREA, threads=1).to_ndarray()


def to_rgb(frame: VideoFrame, geometry: Geometry) -> UInt8[np.ndarray, "height width 3"]:
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
