"""Errors of joints and of body vertices against truth. Arguments are metres; results are in the unit of the name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from bodydouble.core.errors import ConfigError
from bodydouble.evaluate.alignment import fitted_transform
from bodydouble.evaluate.psnr import check_same_shape


def mpjpe_m(joints: Float[np.ndarray, "*batch joints 3"], truth: Float[np.ndarray, "*batch joints 3"]) -> float:
    """Mean per-joint position error, metres, without any alignment. Of vertices it is the per-vertex error (PVE)."""
    check_same_shape("mpjpe_m", joints, truth)
    return float(np.linalg.norm(joints - truth, axis=-1).mean())


def root_relative_m(
    joints: Float[np.ndarray, "*batch joints 3"],
    truth: Float[np.ndarray, "*batch joints 3"],
    root: Float[np.ndarray, "*batch 3"],
    true_root: Float[np.ndarray, "*batch 3"],
) -> float:
    """Mean position error, metres, after moving both so that their roots (usually the hips) coincide."""
    check_same_shape("root_relative_m", joints, truth)
    return mpjpe_m(joints - root[..., None, :], truth - true_root[..., None, :])


def pa_mpjpe_m(joints: Float[np.ndarray, "*batch joints 3"], truth: Float[np.ndarray, "*batch joints 3"]) -> float:
    """Mean per-joint position error, metres, after the best similarity transform of each set of joints.

    Rotation, uniform scale and translation minimise the squared error per batch element (Umeyama, 1991); mirrored
    solutions are excluded.
    """
    check_same_shape("pa_mpjpe_m", joints, truth)
    source = joints.reshape(-1, *joints.shape[-2:]).astype(np.float64)
    target = truth.reshape(source.shape).astype(np.float64)
    aligned = np.stack([fitted_transform(s, t, scaled=True).apply(s) for s, t in zip(source, target, strict=True)])
    return float(np.linalg.norm(aligned - target, axis=-1).mean())


def limb_errors_m(
    joints: Float[np.ndarray, "*batch joints 3"],
    truth: Float[np.ndarray, "*batch joints 3"],
    limbs: Mapping[str, Sequence[int]],
) -> dict[str, float]:
    """Mean position error, metres, of the joints of each limb, without alignment; NaN for a limb without joints."""
    check_same_shape("limb_errors_m", joints, truth)
    distance = np.linalg.norm(joints - truth, axis=-1)
    return {
        limb: float(distance[..., list(columns)].mean()) if len(columns) else float("nan")
        for limb, columns in limbs.items()
    }


def acceleration_error_m_s2(
    joints: Float[np.ndarray, "frames joints 3"], truth: Float[np.ndarray, "frames joints 3"], fps_hz: float
) -> float:
    """Mean size of the difference of accelerations, m/s^2: how much shakier (or lazier) a motion is than the truth.

    Accelerations are second differences of successive frames times the squared frame rate (Kanazawa et al.,
    "Learning 3D human dynamics from video", 2019, there without the frame rate).

    Args:
        joints, truth: Of successive frames, evenly spaced in time.
        fps_hz: Frames per second.
    Returns:
        NaN for fewer than three frames.
    Raises:
        ConfigError: When the frame rate is not positive.
    """
    check_same_shape("acceleration_error_m_s2", joints, truth)
    if not fps_hz > 0.0:
        raise ConfigError(f"acceleration_error_m_s2: fps_hz must be positive, got {fps_hz}; give the video's rate.")
    if len(joints) < 3:
        return float("nan")
    difference = (joints - truth).astype(np.float64)
    second = difference[2:] - 2.0 * difference[1:-1] + difference[:-2]
    return float(np.linalg.norm(second, axis=-1).mean() * fps_hz**2)
