"""Frames as an ideal camera would have taken them: no distortion, square pixels, principal point in the middle.

That is the camera of a `BodyTrack`. Pictures that are so already are left alone, to the bit.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from bodydouble.capture.foreign.values import ForeignCapture
from bodydouble.core.errors import InputError

_AS_GOOD_AS_PX = 0.75
"""Half a pixel is what sources differ by in where they put a pixel's centre."""
_MAX_GROWTH = 1.5


class Rectifier:
    """Resamples a capture's pictures to one ideal camera.

    Attributes:
        width_px, height_px: Of the result; wide enough that nothing is cut off when the middle moves.
        focal_px: One for all frames: the median of the source's.
        resamples: Whether anything is done at all.

    Raises:
        InputError: When the source's cameras are not told, or their middle is far off.
    """

    def __init__(self, capture: ForeignCapture) -> None:
        if capture.cameras is None:
            raise InputError(f"{capture.folder} ({capture.layout}) tells no cameras; there is nothing to rectify by.")
        focal = capture.cameras.focal_px.numpy()
        center = capture.cameras.center_px.numpy()
        self._distortion = capture.cameras.distortion.numpy()
        self.focal_px = float(np.median(focal.mean(1)))
        size = np.array([capture.width_px, capture.height_px])
        offset = np.abs(center - size / 2).max(0)
        uneven = np.abs(focal / self.focal_px - 1).max() * size.max() / 2
        self.resamples = bool(
            offset.max() > _AS_GOOD_AS_PX or uneven > _AS_GOOD_AS_PX or np.abs(self._distortion).max() > 1e-6
        )
        grown = size.copy()
        if self.resamples:
            shown = 2 * np.maximum(center, size - center).max(0) * (self.focal_px / focal.min(0))
            grown = np.where(offset > _AS_GOOD_AS_PX, 2 * np.ceil(shown / 2), size).astype(int)
        if (grown > _MAX_GROWTH * size).any():
            raise InputError(
                f"{capture.folder}: the principal point is so far from the middle that pictures would grow from "
                f"{size[0]}x{size[1]} to {grown[0]}x{grown[1]}. Is it the camera of a crop?"
            )
        self.width_px, self.height_px = int(grown[0]), int(grown[1])
        self._focal, self._center = focal, center
        self._maps: tuple[tuple[float, ...], np.ndarray, np.ndarray] | None = None

    def __call__(self, picture: UInt8[np.ndarray, "height width ..."], index: int) -> UInt8[np.ndarray, "..."]:
        """One frame's picture or mask, resampled; black where the source saw nothing."""
        import cv2

        if not self.resamples:
            return picture
        x, y = self._map_of(index)
        return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    def _map_of(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        import cv2

        key = (*self._focal[index], *self._center[index], *self._distortion[index])
        if self._maps is None or self._maps[0] != key:
            # OpenCV puts the centre of the first pixel at (0, 0).
            (fx, fy), (cx, cy) = self._focal[index], self._center[index] - 0.5
            K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
            f, mx, my = self.focal_px, self.width_px / 2 - 0.5, self.height_px / 2 - 0.5
            K_ideal = np.array([[f, 0, mx], [0, f, my], [0, 0, 1.0]])
            size = (self.width_px, self.height_px)
            x, y = cv2.initUndistortRectifyMap(K, self._distortion[index], np.eye(3), K_ideal, size, cv2.CV_32FC1)
            self._maps = (key, x, y)
        return self._maps[1], self._maps[2]
