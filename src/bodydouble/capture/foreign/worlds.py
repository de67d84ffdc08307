"""From the source's cameras to ours: an upright world in metres, and what a projection matrix is made of."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from bodydouble.capture.foreign.values import ForeignCameras
from bodydouble.core.errors import InputError

OPENCV_PIXELS = 0.5
"""Add to principal points of sources that put the centre of the first pixel at (0, 0), as OpenCV does."""


def make_cameras(
    K: Float[ndarray, "frames 3 3"],
    T_camera_source: Float[ndarray, "frames 4 4"],
    *,
    pixel_offset: float,
    size_px: tuple[int, int],
    distortion: Float[ndarray, " 5"] | None = None,
    up_source: tuple[float, float, float] | None = None,
    metres_per_unit: float = 1.0,
    shared_world: bool = True,
    where: str,
) -> ForeignCameras:
    """Cameras in our terms.

    In a shared world the first camera is at the origin, the level part of its view along -Z, +Y up: after `up_source`
    where the source's up is known, else after the mean of the cameras' own. Otherwise each frame's world is that of its
    camera, as in a fit: at the origin, looking along -Z.

    Args:
        K: Intrinsic matrices.
        T_camera_source: Source's world to camera (OpenCV axes), in the source's unit.
        pixel_offset: Added to principal points, to bring them to our pixel centres.
        size_px: Width and height of the images.
        distortion: Of OpenCV, one for all frames.
        up_source: Direction in the source's world.
        metres_per_unit: Of the source's unit.
        shared_world: Whether the source has one world for all frames.
        where: For messages.
    Raises:
        InputError: When a matrix is no rotation, or the camera is one of another image size.
    """
    K = np.array(K, dtype=np.float64)
    check_rigid(T_camera_source, where)
    check_intrinsics(K, size_px, where)
    frames = len(K)
    scale = np.diag([metres_per_unit] * 3 + [1.0])
    T_camera_metric = scale @ T_camera_source @ np.linalg.inv(scale)
    if shared_world:
        T_world_metric = np.broadcast_to(_level_world(T_camera_metric, up_source), (frames, 4, 4))
    else:
        T_world_metric = np.diag([1.0, -1.0, -1.0, 1.0]) @ T_camera_metric
    T_camera_world = T_camera_metric @ np.linalg.inv(T_world_metric)
    return ForeignCameras(
        focal_px=torch.from_numpy(np.stack([K[:, 0, 0], K[:, 1, 1]], 1)),
        center_px=torch.from_numpy(K[:, :2, 2] + pixel_offset),
        distortion=torch.from_numpy(np.tile(np.zeros(5) if distortion is None else distortion, (frames, 1))),
        T_camera_world=torch.from_numpy(T_camera_world),
        T_world_source=torch.from_numpy(T_world_metric @ scale),
        shared_world=shared_world,
    )


def check_rigid(T: Float[ndarray, "frames 4 4"], where: str) -> None:
    """Refuse what is no rigid transform.

    Raises:
        InputError: Naming the first such frame, and what was found.
    """
    R = T[:, :3, :3]
    off = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    worst = int(off.argmax())
    if off[worst] > 1e-2:
        raise InputError(
            f"{where}: the camera matrix of frame {worst} is no rotation (R R^T differs from the identity by "
            f"{off[worst]:.2g}). It may be scaled, or hold another matrix than world to camera."
        )
    if (np.linalg.det(R) < 0).any():
        raise InputError(f"{where}: a camera matrix mirrors the world (determinant -1); an axis has the wrong sign.")
    if np.abs(T[:, 3] - [0.0, 0.0, 0.0, 1.0]).max() > 1e-4:
        raise InputError(
            f"{where}: the last row of a camera matrix is {T[0, 3].tolist()}, expected 0 0 0 1. Is the matrix transposed?"
        )


def check_intrinsics(K: Float[ndarray, "frames 3 3"], size_px: tuple[int, int], where: str) -> None:
    """Refuse intrinsics that cannot belong to images of this size.

    Raises:
        InputError: When they are no intrinsic matrix, or the principal point is far from the middle.
    """
    width, height = size_px
    below = np.abs(K[:, [1, 2, 2], [0, 0, 1]]).max(initial=0.0)
    if below > 1e-6 or np.abs(K[:, 2, 2] - 1).max() > 1e-6 or K[:, [0, 1], [0, 1]].min() <= 0:
        raise InputError(
            f"{where}: {K[0].round(3).tolist()} is no intrinsic matrix (fx 0 cx / 0 fy cy / 0 0 1). Is it transposed?"
        )
    if np.abs(K[:, 0, 1]).max() > 0.01 * K[:, 0, 0].min():
        raise InputError(f"{where}: the pixels are skewed ({K[0, 0, 1]:.3g}); such cameras are not supported.")
    share = K[:, :2, 2] / [width, height]
    if share.min() < 0.2 or share.max() > 0.8:
        cx, cy = K[int(np.abs(share - 0.5).max(1).argmax()), :2, 2]
        raise InputError(
            f"{where}: the principal point ({cx:.0f}, {cy:.0f}) is far from the middle of the {width}x{height} images: the "
            f"camera belongs to images of about {2 * cx:.0f}x{2 * cy:.0f}. Get the images in that size, or scale the camera."
        )


def split_projection(P: Float[ndarray, "3 4"], where: str) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "4 4"]]:
    """Intrinsics and world-to-camera of a projection matrix K [R | t] of any scale.

    Raises:
        InputError: When the matrix is singular.
    """
    from scipy.linalg import rq

    if not abs(np.linalg.det(P[:, :3])) > 1e-12:
        raise InputError(f"{where}: a projection matrix is singular. Is it K [R | t], 3 x 4 or 4 x 4?")
    K, R = rq(P[:, :3])
    signs = np.diag(np.where(np.diag(K) < 0, -1.0, 1.0))
    K, R = K @ signs, signs @ R
    sign = np.sign(np.linalg.det(R))  # a projection has none
    R = sign * R
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = np.linalg.solve(K, sign * P[:, 3])
    return K / K[2, 2], T


def rigid_rows(values: Float[ndarray, "frames rows 4"]) -> Float[ndarray, "frames 4 4"]:
    """3 x 4 or 4 x 4 matrices as 4 x 4."""
    T = np.tile(np.eye(4), (len(values), 1, 1))
    T[:, : values.shape[1]] = values
    return T


def _level_world(T_camera_source: Float[ndarray, "frames 4 4"], up: tuple[float, float, float] | None) -> ndarray:
    """T_world_source: the first camera at the origin, up along +Y, its level view along -Z."""
    R = T_camera_source[:, :3, :3]
    if up is None:
        mean = -R[:, 1].mean(0)
        y = -R[0, 1] if np.linalg.norm(mean) < 0.3 else mean / np.linalg.norm(mean)
    else:
        y = np.asarray(up) / np.linalg.norm(up)
    forward = R[0, 2] - (R[0, 2] @ y) * y
    if np.linalg.norm(forward) < 0.1:  # looks straight up or down: the image's upper edge points forward
        forward = -R[0, 1] + (R[0, 1] @ y) * y
    z = -forward / np.linalg.norm(forward)
    T = np.eye(4)
    T[:3, :3] = np.stack([np.cross(y, z), y, z])
    center = -R[0].T @ T_camera_source[0, :3, 3]
    T[:3, 3] = -T[:3, :3] @ center
    return T
