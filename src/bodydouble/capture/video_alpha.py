"""Videos with transparency: VP9 in WebM, for web pages and for laying a double over something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bodydouble.capture.video_write import Encoding, FrameWriter

_ENCODING = Encoding(
    container="webm",
    codec="libvpx-vp9",
    codec_options={
        "crf": "22", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1",
        "auto-alt-ref": "0",  # libvpx cannot look ahead in videos with alpha
    },
    pixels="rgba",
    coded="yuva420p",
)  # fmt: skip
_BLEED_PX = 8
"""How far colours reach into what is transparent."""


class AlphaVideoWriter(FrameWriter):
    """Writes VP9 with alpha (yuva420p, BT.709).

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
        super().__init__(path, fps_hz, width_px, height_px, _ENCODING)

    def write(self, rgba: UInt8[np.ndarray, "height width 4"]) -> None:
        """Append one frame.

        Args:
            rgba: 8-bit sRGB and opacity; colours are not multiplied by it.
        Raises:
            InputError: When the frame's size is not the one the file was opened with.
        """
        self._append(_bled(rgba))


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
