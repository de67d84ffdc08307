"""Square crops around the person: what training, registration and evaluation look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bodydouble.core.cameras import Camera, video_camera

if TYPE_CHECKING:
    from bodydouble.capture.folder import Capture

_MARGIN = 0.1
"""How much the mask's box is grown, as a share of its size: hair and hems reach beyond a mask."""


@dataclass(frozen=True, kw_only=True)
class PersonCrop:
    """One frame's square around the person, resampled to a fixed size. Beyond the image it is black and unmasked."""

    frame_index: int
    rgb: np.ndarray
    """size x size x 3, uint8, sRGB."""
    mask: np.ndarray
    """size x size, uint8, soft."""
    camera: Camera
    """The video's camera, cropped and resampled alike."""
    x0_px: int
    y0_px: int
    side_px: int
    """The square in the source frame."""
    beyond: np.ndarray | None = None
    """size x size, bool: pixels of which some lies beyond the image, where nothing is known; None where there are none."""

    def agreeing_beyond(self, render: np.ndarray, target: np.ndarray) -> np.ndarray:
        """A render of this crop, changed in place to have the target's pixels beyond the image: they ask for nothing.

        Args:
            render, target: size x size x channels, of one type, pixel by pixel in memory.
        """
        import cv2

        if self.beyond is not None:
            cv2.copyTo(target, self.beyond.view(np.uint8), render)
        return render


def crop_square(mask: np.ndarray, margin: float) -> tuple[int, int, int] | None:
    """Square (x0, y0, side) around a soft mask's box, the box grown by `margin` of its size; None if the mask is empty."""
    rows, columns = np.flatnonzero((mask > 127).any(1)), np.flatnonzero((mask > 127).any(0))
    if rows.size == 0:
        return None
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = max(16, int(np.ceil(max(y1 - y0, x1 - x0) * (1.0 + margin))))
    return round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2), side


def cut_square(image: np.ndarray, x0_px: int, y0_px: int, side_px: int, size_px: int) -> np.ndarray:
    """Cut a square (zeros outside the image) and resample it: area averages when shrinking, bicubic when growing."""
    import cv2

    height, width = image.shape[:2]
    square = np.zeros((side_px, side_px, *image.shape[2:]), image.dtype)
    left, top, right, bottom = max(x0_px, 0), max(y0_px, 0), min(x0_px + side_px, width), min(y0_px + side_px, height)
    if right > left and bottom > top:
        square[top - y0_px : bottom - y0_px, left - x0_px : right - x0_px] = image[top:bottom, left:right]
    shrink = size_px < side_px
    return cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)


def beyond_image(width_px: int, height_px: int, square: tuple[int, int, int], size_px: int) -> np.ndarray | None:
    """Which pixels of a resampled square lie beyond the image, the resampling's reach included; None where none does."""
    x0, y0, side = square
    if x0 >= 0 and y0 >= 0 and x0 + side <= width_px and y0 + side <= height_px:
        return None
    return cut_square(np.full((height_px, width_px), 255, np.uint8), x0, y0, side, size_px) < 255


def person_crops(
    capture: Capture, frame_indices: Sequence[int], *, size_px: int, focal_px: float
) -> Iterator[PersonCrop]:
    """Crops of the given source frames, in ascending order; frames with an empty mask are left out.

    Args:
        capture: Gives frames and masks.
        frame_indices: Source frame indices.
        size_px: Side of the resampled square.
        focal_px: Focal length of the fitted camera.
    """
    for frame in capture.frames(sorted(frame_indices)):
        mask = capture.mask(frame.index)
        square = None if mask is None else crop_square(mask, _MARGIN)
        if mask is None or square is None:
            continue
        height, width = mask.shape
        x0, y0, side = square
        yield PersonCrop(
            frame_index=frame.index,
            rgb=cut_square(frame.rgb, x0, y0, side, size_px),
            mask=cut_square(mask, x0, y0, side, size_px),
            camera=video_camera(width, height, focal_px).cropped(
                float(x0), float(y0), (float(side), float(side)), (size_px, size_px)
            ),
            x0_px=x0,
            y0_px=y0,
            side_px=side,
            beyond=beyond_image(width, height, square, size_px),
        )


def half_size(crop: PersonCrop) -> PersonCrop:
    """The same crop at half the size (each pixel the mean of four)."""
    import cv2

    size = crop.rgb.shape[0] // 2
    beyond = None if crop.beyond is None else crop.beyond.astype(np.uint8) * 255
    return replace(
        crop,
        rgb=cv2.resize(crop.rgb, (size, size), interpolation=cv2.INTER_AREA),
        mask=cv2.resize(crop.mask, (size, size), interpolation=cv2.INTER_AREA),
        camera=crop.camera.cropped(0, 0, (crop.camera.width_px, crop.camera.height_px), (size, size)),
        beyond=None if beyond is None else cv2.resize(beyond, (size, size), interpolation=cv2.INTER_AREA) > 0,
    )
