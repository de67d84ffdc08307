"""The loop over frames: networks, mask, single-frame confidences. Runs in the program itself or in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from bodydouble.capture.folder import write_mask
from bodydouble.capture.values import VideoInfo
from bodydouble.capture.video import read_frames
from bodydouble.perceive.confidence import face_confidence, hand_confidence, inside_image
from bodydouble.perceive.masks import mask_box_px, refine_mask, thin_parts
from bodydouble.perceive.mediapipe_holistic import HolisticEstimator, HolisticResult
from bodydouble.perceive.parts import BODY, FACE, LEFT_HAND, NUM_LANDMARKS, RIGHT_HAND, RawLandmarks
from bodydouble.perceive.subject import Gate, landmarks_box

_METRES_PER_PX = 1e-3
"""Hands and face have no known scale; this only brings their numbers near metres."""


def estimate_run(
    info: VideoInfo,
    indices: Sequence[int],
    masks_folder: Path,
    *,
    gate: Gate | None = None,
    on_frame: Callable[[int], None] = lambda _: None,
) -> RawLandmarks:
    """Estimate one contiguous run of frames and write its masks.

    Args:
        info: The video.
        indices: Ascending source frame numbers.
        masks_folder: Where the refined masks go.
        gate: Keeps the networks on one person where several are seen.
        on_frame: Told the number of frames done so far.
    """
    count = len(indices)
    xy = np.zeros((count, NUM_LANDMARKS, 2), np.float32)
    xyz = np.zeros((count, NUM_LANDMARKS, 3), np.float32)
    confidence = np.zeros((count, NUM_LANDMARKS), np.float32)
    present = np.zeros(count, bool)
    boxes = np.zeros((count, 4), np.float32)
    with HolisticEstimator() as estimator:
        for k, frame in enumerate(read_frames(info.path, indices, info, threads=1)):
            result = estimator.estimate(frame.rgb if gate is None else gate.cover(frame.rgb, frame.index))
            if result is not None and gate is not None:
                box = landmarks_box(result.body_xy_px, result.body_visibility)
                result = result if gate.accept(frame.index, box) else None
            if result is not None:
                present[k] = True
                _fill(result, xy[k], xyz[k], confidence[k])
                mask = refine_mask(frame.rgb, result.mask, thin_parts(result))
                write_mask(masks_folder, frame.index, mask)
                boxes[k] = mask_box_px(mask)
            on_frame(k + 1)
    return RawLandmarks(
        frame_indices=torch.tensor(list(indices), dtype=torch.int64),
        xy_px=torch.from_numpy(xy),
        xyz_camera_m=torch.from_numpy(xyz),
        confidence=torch.from_numpy(confidence),
        present=torch.from_numpy(present),
        mask_box_px=torch.from_numpy(boxes),
    )


def _fill(result: HolisticResult, xy: np.ndarray, xyz: np.ndarray, confidence: np.ndarray) -> None:
    """Write one frame's findings into its rows."""
    xy[BODY], xyz[BODY] = result.body_xy_px, result.body_xyz_camera_m
    confidence[BODY] = result.body_visibility * inside_image(result.body_xy_px, result.mask.shape)
    groups = (
        (LEFT_HAND, result.left_hand_px, hand_confidence(result.left_hand_px, result, "left")),
        (RIGHT_HAND, result.right_hand_px, hand_confidence(result.right_hand_px, result, "right")),
        (FACE, result.face_px, face_confidence(result)),
    )
    for rows, points, weight in groups:
        if points is None:
            continue
        origin = points[0] if rows is not FACE else points.mean(0)
        xy[rows], xyz[rows], confidence[rows] = points[:, :2], (points - origin) * _METRES_PER_PX, weight
    found = confidence > 1e-3
    xy[~found], xyz[~found], confidence[~found] = 0.0, 0.0, 0.0
