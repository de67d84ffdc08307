"""Videos with transparency: VP9 in WebM, for web pages and for laying a double over something else."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from bodydouble.core.errors import InputError
from bodydouble.core.files import atomic_path

_CRF = 22
_OPTIONS = {
    "crf": str(_CRF), "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1",
    "auto-alt-ref": "0",  # libvpx cannot look ahead in videos with alpha
}  # fmt: skip


_BLEED_PX = 8
"""How far colours reach into what is transparent."""


class AlphaVideoWriter:
    """Writes VP9 with alpha (yuva420p, BT.709). The file appears only when everything was written.

    Odd sizes are padded by repeating the last column or row, since yuva420p needs even ones.

        with AlphaVideoWriter(path, fps_hz=30, width_px=640, height_px=480) as video:
            video.write(rgba)
    """

    def __init__(self, path: Path, fps_hz: float, width_px: int, height_px: int) -> None:
        """
        Args:
            path: Where to, a .webm.
            fps_hz: Frame rate.
            width_px, height_px: Size of the frames.
        """
        self.path = path
        self._fps = Fraction(fps_hz).limit_denominator(1001 * 60)
        self._size_px = (width_px, height_px)
        self._stack = contextlib.ExitStack()
        self._count = 0

    def __enter__(self) -> AlphaVideoWriter:
        import av

        partial = self._stack.enter_context(atomic_path(self.path))
        self._container = self._stack.enter_context(av.open(str(partial), "w", format="webm"))
        width_px, height_px = self._size_px
        stream = self._container.add_stream("libvpx-vp9", rate=self._fps, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width_px + width_px % 2, height_px + height_px % 2, "yuva420p"
        stream.codec_context.color_range = 1
        stream.codec_context.colorspace = 1
        stream.codec_context.color_primaries = 1
        stream.codec_context.color_trc = 1
        self._stream = stream
        return self

    def write(self, rgba: UInt8[np.ndarray, "height width 4"]) -> None:
        """Append one frame.

        Args:
            rgba: 8-bit sRGB and opacity; colours are not multiplied by it.
        Raises:
            InputError: When the frame's size is not the one the file was opened with.
        """
        import av
        from av.video.reformatter import ColorRange, Colorspace

        width_px, height_px = self._size_px
        if rgba.shape != (height_px, width_px, 4) or rgba.dtype != np.uint8:
            raise InputError(
                f"AlphaVideoWriter.write: expected uint8 of shape ({height_px}, {width_px}, 4), got {rgba.dtype} "
                f"{rgba.shape}; all frames of a video need one size."
            )
        if width_px % 2 or height_px % 2:
            rgba = np.pad(rgba, ((0, height_px % 2), (0, width_px % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(_bled(rgba), format="rgba").reformat(
            format="yuva420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts, picture.time_base = self._count, 1 / self._fps
        self._count += 1
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


def _bled(rgba: UInt8[np.ndarray, "height width 4"]) -> UInt8[np.ndarray, "height width 4"]:
    """Colours of transparent pixels taken from their surroundings, else the codec mixes black into soft edges."""
    import cv2

    alpha = rgba[..., 3:].astype(np.float32) / 255.0
    size = (2 * _BLEED_PX + 1, 2 * _BLEED_PX + 1)
    near = cv2.blur(alpha, size)[..., None]
    spread = cv2.blur(rgba[..., :3] * alpha, size) / np.maximum(near, 1e-3)
    bled = rgba.copy()
    bled[..., :3] = np.where(alpha > 0.1, rgba[..., :3], np.clip(spread + 0.5, 0.0, 255.0).astype(np.uint8))
    return bled
