"""What is known about the cameras and the background of a moving camera's video, and frames found from known points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from bodydouble.fit.camera_tracks import BackgroundTracks

_RESECT_POINTS = 12
_RESECT_PX = 3.0


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What structure from motion found, in an arbitrary world of arbitrary unit."""

    T_camera_world: Float[ndarray, "frames 4 4"]
    found: Bool[ndarray, " frames"]
    focal_px: float
    points_world: Float[ndarray, "points 3"]
    point_ids: Int[ndarray, " points"]
    """Which tracks they are."""
    error_px: float
    """Median distance of sightings from where the cameras put their points."""


def resect_others(
    tracks: BackgroundTracks, T: ndarray, found: ndarray, point_ids: ndarray, points: ndarray, focal_px: float
) -> tuple[Float[ndarray, "frames 4 4"], Bool[ndarray, " frames"]]:
    """Cameras of the frames that have none yet, from the points they show.

    Args:
        tracks: Of the background.
        T: T_camera_world of the frames that are found.
        found: Which.
        point_ids: Tracks whose places are known.
        points: The places.
        focal_px: Focal length.
    """
    T, found = T.copy(), found.copy()
    known = np.full(tracks.num_points, -1)
    known[point_ids] = np.arange(len(point_ids))
    for row in np.unique(tracks.frame).tolist():
        if not found[row]:
            resected = _resected(tracks, row, known, points, focal_px, T[_nearest(found, row)])
            if resected is not None:
                T[row], found[row] = resected, True
    return T, found


def _nearest(found: ndarray, row: int) -> int:
    rows = np.flatnonzero(found)
    return int(rows[np.abs(rows - row).argmin()])


def _resected(
    tracks: BackgroundTracks, row: int, known: ndarray, points: ndarray, focal_px: float, start: ndarray
) -> ndarray | None:
    """The camera of a frame from points whose places are known, beginning at a neighbour's."""
    import cv2

    ids, xy = tracks.of_frame(row)
    has = known[ids] >= 0
    if has.sum() < _RESECT_POINTS:
        return None
    K = np.array([[focal_px, 0, tracks.width_px / 2], [0, focal_px, tracks.height_px / 2], [0, 0, 1.0]])
    world, seen = points[known[ids[has]]], xy[has]
    undistorted: Any = None
    rotvec, shift = cv2.Rodrigues(start[:3, :3])[0], start[:3, 3:].copy()
    inliers = np.ones(len(seen), bool)
    for _ in range(3):  # least squares on what agrees: tracks slip at occlusions
        rotvec, shift = cv2.solvePnPRefineLM(world[inliers], seen[inliers], K, undistorted, rotvec, shift)
        error = np.linalg.norm(cv2.projectPoints(world, rotvec, shift, K, undistorted)[0][:, 0] - seen, axis=1)
        inliers = error < max(_RESECT_PX, 2.5 * float(np.median(error)))
        if inliers.sum() < _RESECT_POINTS:
            return None
    if np.median(error) > _RESECT_PX:
        return None
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(rotvec)[0], shift[:, 0]
    return T


def median_error(
    tracks: BackgroundTracks, point_ids: ndarray, points: ndarray, focal_px: float, T: ndarray, found: ndarray
) -> float:
    """Median distance of sightings, pixels, from where the cameras put their points."""
    known = np.full(tracks.num_points, -1)
    known[point_ids] = np.arange(len(point_ids))
    at = known[tracks.point]
    used = (at >= 0) & found[tracks.frame]
    frame = tracks.frame[used]
    camera = (T[frame, :3, :3] @ points[at[used]][:, :, None])[:, :, 0] + T[frame, :3, 3]
    center = np.array([tracks.width_px / 2, tracks.height_px / 2])
    projected = camera[:, :2] / np.maximum(camera[:, 2:], 1e-9) * focal_px + center
    return float(np.median(np.linalg.norm(projected - tracks.xy_px[used], axis=1)))
