"""Writing videos: H.264 in MP4 by PyAV."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from bodydouble.core.errors import InputError
from bodydouble.core.files import atomic_path


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
