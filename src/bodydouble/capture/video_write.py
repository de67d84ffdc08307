"""Writing videos by PyAV: what all writers share, and H.264 in MP4."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import UInt8

from bodydouble.core.errors import InputError
from bodydouble.core.files import atomic_path

_Writer = TypeVar("_Writer", bound="FrameWriter")


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How pictures become a file."""

    container: str
    codec: str
    codec_options: Mapping[str, str]
    pixels: Literal["rgb24", "rgba"]
    """As they are given."""
    coded: Literal["rgb24", "yuv420p", "yuva420p"]
    """As they are in the file: sRGB as it is, or BT.709 of limited range with half the chroma."""
    container_options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def channels(self) -> int:
        """3, or 4 with opacity."""
        return len(self.pixels.removesuffix("24"))

    @property
    def is_subsampled(self) -> bool:
        """Whether colours are at half the size, so that sizes must be even."""
        return self.coded != "rgb24"


class FrameWriter:
    """Writes a video frame by frame. The file appears only when everything was written.

    Odd sizes are padded by repeating the last column or row where the encoding needs even ones.
    """

    def __init__(
        self, path: Path | str, fps_hz: float | int, width_px: int, height_px: int, encoding: Encoding
    ) -> None:
        """
        Args:
            path: Where to.
            fps_hz: Frame rate.
            width_px, height_px: Size of the frames.
            encoding: How they are written.
        """
        self.path = Path(path)
        self._fps = Fraction(fps_hz).limit_denominator(1001 * 60)
        self._size_px = (width_px, height_px)
        self._encoding = encoding
        self._stack = contextlib.ExitStack()
        self._count = 0

    def __enter__(self: _Writer) -> _Writer:
        import av

        how = self._encoding
        partial = self._stack.enter_context(atomic_path(self.path))
        self._container = self._stack.enter_context(
            av.open(str(partial), "w", format=how.container, options=dict(how.container_options))
        )
        stream = self._container.add_stream(how.codec, rate=self._fps, options=dict(how.codec_options))
        right, below = self._padding_px
        stream.width, stream.height, stream.pix_fmt = self._size_px[0] + right, self._size_px[1] + below, how.coded
        if how.is_subsampled:
            stream.codec_context.color_range = 1
            stream.codec_context.colorspace = 1
            stream.codec_context.color_primaries = 1
            stream.codec_context.color_trc = 1
        self._stream = stream
        return self

    @property
    def _padding_px(self) -> tuple[int, int]:
        width_px, height_px = self._size_px
        return (width_px % 2, height_px % 2) if self._encoding.is_subsampled else (0, 0)

    def _append(self, pixels: UInt8[np.ndarray, "height width channels"], number: int | None = None) -> None:
        """Encode one frame; `number` says when it is shown, in frames from the first."""
        import av
        from av.video.reformatter import ColorRange, Colorspace

        how, (width_px, height_px) = self._encoding, self._size_px
        if pixels.shape != (height_px, width_px, how.channels) or pixels.dtype != np.uint8:
            raise InputError(
                f"{type(self).__name__}.write: expected uint8 of shape ({height_px}, {width_px}, {how.channels}), got "
                f"{pixels.dtype} {pixels.shape}; all frames of a video need one size."
            )
        if number is not None and number < self._count:
            raise InputError(
                f"{type(self).__name__}.write: frame {number} comes after frame {self._count - 1}; numbers must ascend."
            )
        right, below = self._padding_px
        if right or below:
            pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=how.pixels)
        if how.is_subsampled:
            picture = picture.reformat(
                format=how.coded,
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


class VideoWriter(FrameWriter):
    """Writes H.264 in MP4 (yuv420p, BT.709; RGB without loss on request).

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
        quality = {"qp": "0"} if lossless else {"crf": str(crf)} if bitrate_bps is None else {"b": str(bitrate_bps)}
        encoding = Encoding(
            container="mp4",
            container_options={"movflags": "+faststart"},
            codec="libx264rgb" if lossless else "libx264",
            codec_options={**quality, "preset": "veryfast"},
            pixels="rgb24",
            coded="rgb24" if lossless else "yuv420p",
        )
        super().__init__(path, fps_hz, width_px, height_px, encoding)

    def write(self, rgb: UInt8[np.ndarray, "height width 3"], number: int | None = None) -> None:
        """Append one frame.

        Args:
            rgb: 8-bit sRGB.
            number: When it is shown, in frames from the first; by default right after the one before.
        Raises:
            InputError: When the frame's size is not the one the file was opened with, or numbers do not ascend.
        """
        self._append(rgb, number)
