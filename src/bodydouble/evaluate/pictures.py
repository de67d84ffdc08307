"""A few held-out frames as pictures: the best, the median, the worst, and others spread over the video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.evaluate.results import FrameScore, HeldoutExample

PICTURE_PX = 400
JPEG_QUALITY = 85
_MORE_EXAMPLES = 3
"""Beside the best, the median and the worst frame."""
_FULL_SCALE = 0.5
"""Mean absolute difference of the three channels that is drawn at the top of the colour scale."""
_HEAT = np.array(
    [
        [0, 0, 4],
        [40, 11, 84],
        [101, 21, 110],
        [159, 42, 99],
        [212, 72, 66],
        [245, 125, 21],
        [250, 193, 39],
        [252, 255, 164],
    ],
    dtype=np.float32,
)
"""Dark to bright, also in grey."""
_HEAT_256 = (
    np.stack(
        [np.interp(np.linspace(0.0, len(_HEAT) - 1, 256), np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)],
        axis=-1,
    )
    .round()
    .astype(np.uint8)
)


@dataclass(frozen=True, kw_only=True)
class _Shelved:
    score: FrameScore
    jpegs: dict[str, bytes]


class ExampleShelf:
    """Keeps every scored frame as small JPEGs until it is known which are worth showing."""

    def __init__(self) -> None:
        self._shelved: list[_Shelved] = []

    def offer(
        self,
        score: FrameScore,
        *,
        frame: UInt8[np.ndarray, "crop crop 3"],
        truth: Float[np.ndarray, "crop crop 3"],
        fit: Float[np.ndarray, "crop crop 3"],
        registered: Float[np.ndarray, "crop crop 3"],
    ) -> None:
        """Hand in one frame: as filmed, as truth on black, and the two renders (sRGB in [0, 1])."""
        jpegs = {
            "frame": encode_jpeg(frame, PICTURE_PX),
            "fit": encode_jpeg(to_uint8(fit), PICTURE_PX),
            "registered": encode_jpeg(to_uint8(registered), PICTURE_PX),
            "difference": encode_jpeg(difference_heat(registered, truth), PICTURE_PX),
        }
        self._shelved.append(_Shelved(score=score, jpegs=jpegs))

    def chosen(self) -> tuple[HeldoutExample, ...]:
        """Best, median and worst by `psnr_box_registered` (`psnr_box` without it), then frames spread in time."""
        if not self._shelved:
            return ()
        ranked = sorted(self._shelved, key=lambda s: _rank_db(s.score), reverse=True)
        picked: dict[int, tuple[str, _Shelved]] = {}
        for label, item in (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])):
            picked.setdefault(item.score.frame_index, (label, item))
        rest = [s for s in self._shelved if s.score.frame_index not in picked]
        more = min(_MORE_EXAMPLES, len(rest))
        for k in range(more):
            item = rest[(2 * k + 1) * len(rest) // (2 * more)]
            picked[item.score.frame_index] = ("", item)
        return tuple(
            HeldoutExample(
                frame_index=item.score.frame_index,
                time_s=item.score.time_s,
                label=label,
                frame_jpeg=item.jpegs["frame"],
                fit_jpeg=item.jpegs["fit"],
                registered_jpeg=item.jpegs["registered"],
                difference_jpeg=item.jpegs["difference"],
            )
            for label, item in picked.values()
        )


def difference_heat(
    image: Float[np.ndarray, "height width 3"], truth: Float[np.ndarray, "height width 3"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Mean absolute difference of the channels as heat: black is equal, pale yellow is 0.5 (of 1) or more."""
    level = np.abs(image - truth) @ np.full(3, 255.0 / (3.0 * _FULL_SCALE), dtype=np.float32)
    return _HEAT_256[np.minimum(level, 255.0).astype(np.uint8)]


def to_uint8(image: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """sRGB in [0, 1] to 8 bits, rounded and clipped."""
    return (np.clip(image, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def encode_jpeg(image: UInt8[np.ndarray, "height width 3"], longest_px: int) -> bytes:
    """A JPEG whose longer side is at most `longest_px`."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, longest_px / max(height, width))
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "8-bit RGB can be packed as JPEG"
    return data.tobytes()


def _rank_db(score: FrameScore) -> float:
    registered = score.figures.psnr_box_registered
    return score.figures.psnr_box if np.isnan(registered) else registered
