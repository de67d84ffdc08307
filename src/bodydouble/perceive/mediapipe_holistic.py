"""Landmarks and a mask of one person from MediaPipe's bundled models. The one file that knows MediaPipe.

The network's own landmark smoothing stays off: it lags behind the motion (by 8 px on average, 13 at the wrists, on
strided video) and hides that from every residual. World landmarks of MediaPipe already have camera axes: +X right,
+Y down, +Z away from the camera.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from bodydouble.core.errors import MissingDependencyError

BODY_NAMES: tuple[str, ...] = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer", "left_ear",
    "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel", "left_foot_index",
    "right_foot_index",
)  # fmt: skip
"""The 33 landmarks of BlazePose in its order; left and right are the subject's own."""
HAND_NAMES: tuple[str, ...] = (
    "wrist", "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip", "index_mcp", "index_pip", "index_dip", "index_tip",
    "middle_mcp", "middle_pip", "middle_dip", "middle_tip", "ring_mcp", "ring_pip", "ring_dip", "ring_tip", "pinky_mcp",
    "pinky_pip", "pinky_dip", "pinky_tip",
)  # fmt: skip
"""The 21 landmarks of a hand in MediaPipe's order."""
NUM_FACE = 478
"""Face mesh points with the irises."""
BODY_INDEX: dict[str, int] = {name: i for i, name in enumerate(BODY_NAMES)}
_G = TypeVar("_G", bound="_Graph")


@dataclass(frozen=True, kw_only=True)
class HolisticResult:
    """What the networks say about one frame; pixels of the image that was handed in."""

    body_xy_px: Float32[np.ndarray, "33 2"]
    body_xyz_camera_m: Float32[np.ndarray, "33 3"]
    """Relative to the mid hip."""
    body_visibility: Float32[np.ndarray, " 33"]
    left_hand_px: Float32[np.ndarray, "21 3"] | None
    """x, y and relative depth in pixels (smaller is nearer); the subject's own left hand."""
    right_hand_px: Float32[np.ndarray, "21 3"] | None
    face_px: Float32[np.ndarray, "478 3"] | None
    mask: Float32[np.ndarray, "height width"]
    """Raw probability of the subject."""


class _Graph:
    """Networks that are loaded, and let go at the end of a `with`."""

    _graph: Any

    def close(self) -> None:
        """Let the networks go."""
        self._graph.close()

    def __enter__(self: _G) -> _G:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HolisticEstimator(_Graph):
    """Follows one person through consecutive frames. Use as a context manager."""

    def __init__(self, *, tracking: bool = True) -> None:
        with _quiet():
            solutions = _solutions()
            self._graph = solutions.holistic.Holistic(
                static_image_mode=not tracking,
                model_complexity=1,
                smooth_landmarks=False,
                enable_segmentation=True,
                smooth_segmentation=False,
                refine_face_landmarks=True,
            )
            # The first call loads the models and talks about it.
            self._graph.process(np.zeros((64, 64, 3), np.uint8))

    def estimate(self, rgb: UInt8[np.ndarray, "height width 3"]) -> HolisticResult | None:
        """Landmarks of the person in a frame, or None when nobody is found."""
        height_px, width_px = rgb.shape[:2]
        found = self._graph.process(np.ascontiguousarray(rgb))
        if not found.pose_landmarks or not found.pose_world_landmarks:
            return None
        pixels = np.array([width_px, height_px, width_px], np.float32)
        body = _points(found.pose_landmarks) * pixels
        mask = found.segmentation_mask
        return HolisticResult(
            body_xy_px=body[:, :2].copy(),
            body_xyz_camera_m=_points(found.pose_world_landmarks),
            body_visibility=np.array([p.visibility for p in found.pose_landmarks.landmark], np.float32),
            left_hand_px=_points(found.left_hand_landmarks) * pixels if found.left_hand_landmarks else None,
            right_hand_px=_points(found.right_hand_landmarks) * pixels if found.right_hand_landmarks else None,
            face_px=_points(found.face_landmarks) * pixels if found.face_landmarks else None,
            mask=np.zeros((height_px, width_px), np.float32) if mask is None else np.asarray(mask, np.float32),
        )


class PersonFinder(_Graph):
    """Finds the most prominent person of a single image: landmarks only. Stateless."""

    def __init__(self) -> None:
        with _quiet():
            self._graph = _solutions().pose.Pose(static_image_mode=True, model_complexity=1, enable_segmentation=False)
            self._graph.process(np.zeros((64, 64, 3), np.uint8))

    def find(
        self, rgb: UInt8[np.ndarray, "height width 3"]
    ) -> tuple[Float32[np.ndarray, "33 2"], Float32[np.ndarray, " 33"]] | None:
        """Body landmarks in pixels and their visibility, or None when nobody is found."""
        found = self._graph.process(np.ascontiguousarray(rgb))
        if not found.pose_landmarks:
            return None
        points = _points(found.pose_landmarks)[:, :2] * np.array([rgb.shape[1], rgb.shape[0]], np.float32)
        return points, np.array([p.visibility for p in found.pose_landmarks.landmark], np.float32)


class FaceEstimator(_Graph):
    """Follows one face, with or without a body below it. Use as a context manager."""

    def __init__(self, *, tracking: bool = True) -> None:
        with _quiet():
            self._graph = _solutions().face_mesh.FaceMesh(
                static_image_mode=not tracking, max_num_faces=1, refine_landmarks=True
            )
            self._graph.process(np.zeros((64, 64, 3), np.uint8))

    def estimate(self, rgb: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "478 3"] | None:
        """x, y and relative depth of the face's points in pixels (smaller is nearer), or None without a face."""
        found = self._graph.process(np.ascontiguousarray(rgb))
        if not found.multi_face_landmarks:
            return None
        height_px, width_px = rgb.shape[:2]
        return _points(found.multi_face_landmarks[0]) * np.array([width_px, height_px, width_px], np.float32)


def _points(landmarks: Any) -> np.ndarray:
    return np.array([(p.x, p.y, p.z) for p in landmarks.landmark], np.float32)


def _solutions() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import mediapipe

        return mediapipe.solutions
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f"The landmark networks need mediapipe 0.10.21, which could not be used ({error}). "
            "Install it with `pip install mediapipe==0.10.21` (Python 3.10 to 3.12)."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the C++ side writes to stderr while graphs are built. Only for moments: it moves a file descriptor."""
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(sink)
        os.close(saved)
