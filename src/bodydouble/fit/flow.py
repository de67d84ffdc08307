"""Where surface points of a rendered avatar are seen in the frame: dense optical flow, checked in both directions."""

from __future__ import annotations

import numpy as np

_MAX_LOOP_ERROR_PX = 1.5


def _gray(rgb: np.ndarray) -> np.ndarray:
    """uint8 luminance (Rec. 601), with the contrast that flow needs."""
    return np.clip(rgb @ np.array([0.299, 0.587, 0.114], np.float32) * 255.0 + 0.5, 0, 255).astype(np.uint8)


class FlowMatcher:
    """Dense inverse search flow (Kroeger et al., ECCV 2016) between a render and a frame of one size."""

    def __init__(self) -> None:
        import cv2

        self._cv2 = cv2
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._flow.setUseSpatialPropagation(True)

    def match(self, render: np.ndarray, frame: np.ndarray, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow points of the render into the frame.

        Args:
            render, frame: H x W x 3 float32 in [0, 1], both over the same plain background.
            points_px: n x 2 positions in the render.
        Returns:
            Targets in the frame (n x 2 pixels) and weights (n): 1 for a closed loop render -> frame -> render, falling
            to 0 for one open by 1.5 px or more, times the local contrast.
        """
        cv2 = self._cv2
        a, b = _gray(render), _gray(frame)
        forward = self._flow.calc(a, b, None)
        backward = self._flow.calc(b, a, None)
        # Pixel centres are at +0.5 here, at integers in OpenCV's sampling.
        at = (points_px - 0.5).astype(np.float32)
        step = cv2.remap(forward, at[:, 0], at[:, 1], cv2.INTER_LINEAR).reshape(-1, 2)
        landed = at + step
        back = cv2.remap(backward, landed[:, 0], landed[:, 1], cv2.INTER_LINEAR).reshape(-1, 2)
        loop_error = np.linalg.norm(step + back, axis=1)
        weights = np.clip(1.0 - loop_error / _MAX_LOOP_ERROR_PX, 0.0, 1.0)
        contrast = cv2.GaussianBlur(
            cv2.Sobel(b, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(b, cv2.CV_32F, 0, 1) ** 2, (0, 0), 3.0
        )
        local = cv2.remap(contrast, landed[:, 0], landed[:, 1], cv2.INTER_LINEAR).reshape(-1)
        weights *= 0.1 + 0.9 * local / (local + 100.0)
        height, width = a.shape
        inside = (landed[:, 0] >= 0) & (landed[:, 1] >= 0) & (landed[:, 0] <= width - 1) & (landed[:, 1] <= height - 1)
        return (landed + 0.5).astype(np.float32), (weights * inside).astype(np.float32)
