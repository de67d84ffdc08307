"""Cameras of a video whose camera turns and moves little, such as one in a hand: bundle adjustment about one viewpoint.

Ordinary structure from motion needs views of a point that lie degrees apart; a hand gives a fraction of that, but in
many frames. So all cameras begin in one place, as turns alone, and every point as a direction with the same inverse
distance (Yu and Gallup, "3D Reconstruction from Accidental Motion", CVPR 2014). A point with direction d and inverse
distance rho is seen by a camera (R, t) along R d + rho t, which stays well behaved for points at any distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from bodydouble.fit.camera_structure import Structure, median_error, resect_others
from bodydouble.fit.camera_tracks import BackgroundTracks

_MOST_FRAMES = 40
_LEAST_POINTS = 20
_MOST_POINTS = 1200
_ROBUST_PX = 1.0
"""Residuals beyond this count less (Cauchy)."""
_RHO_START, _RHO_LEAST, _RHO_MOST = 0.25, 2.5e-3, 4.0
"""Inverse distances, about a median of the first: the unit is arbitrary."""
_TURN_ROUNDS, _ROUNDS = 6, 40


@dataclass(frozen=True)
class _State:
    R: Float[ndarray, "frames 3 3"]
    t: Float[ndarray, "frames 3"]
    d: Float[ndarray, "points 3"]
    rho: Float[ndarray, " points"]
    focal_px: float


@dataclass(frozen=True)
class _Sightings:
    frame: Int[ndarray, " n"]
    point: Int[ndarray, " n"]
    xy: Float[ndarray, "n 2"]
    """Pixels from the principal point."""


def small_motion(tracks: BackgroundTracks, focal_px: float, *, refine_focal: bool) -> Structure | None:
    """Cameras of all frames and points of the background.

    Args:
        tracks: Of the background.
        focal_px: To begin with; the principal point is the middle of the picture.
        refine_focal: Whether the focal length follows the tracks.
    Returns:
        None when the frames do not hang together, or turn by more than a view.
    """
    chosen = _chosen(tracks)
    if len(chosen) < 3:
        return None
    start = _turns(tracks, chosen, focal_px)
    picked = _picked(tracks, chosen)
    if start is None or len(picked) < _LEAST_POINTS:
        return None
    seen = _sightings(tracks, chosen, picked)
    state = _begun(seen, start, len(picked), _RHO_START, focal_px)
    state = _adjusted(state, seen, _TURN_ROUNDS, moves=False, zooms=False)
    state = _adjusted(state, seen, _ROUNDS, moves=True, zooms=refine_focal)
    focal_px = state.focal_px
    T = np.tile(np.eye(4), (tracks.num_frames, 1, 1))
    T[chosen, :3, :3], T[chosen, :3, 3] = state.R, state.t
    found = np.zeros(tracks.num_frames, bool)
    found[chosen] = True
    points = state.d / np.maximum(state.rho, _RHO_LEAST)[:, None]
    T, found = resect_others(tracks, T, found, picked, points, focal_px)
    return Structure(
        T_camera_world=T,
        found=found,
        focal_px=focal_px,
        points_world=points,
        point_ids=picked,
        error_px=median_error(tracks, picked, points, focal_px, T, found),
    )


def turning_only(tracks: BackgroundTracks, focal_px: float) -> Structure | None:
    """Cameras that only turn, about one centre, and no points.

    Returns:
        None when the frames do not hang together.
    """
    rows = np.unique(tracks.frame)
    start = _turns(tracks, rows, focal_px)
    picked = _picked(tracks, rows)
    if start is None or len(picked) < _LEAST_POINTS:
        return None
    seen = _sightings(tracks, rows, picked)
    state = _begun(seen, start, len(picked), _RHO_LEAST, focal_px)
    state = _adjusted(state, seen, _TURN_ROUNDS, moves=False, zooms=False)
    T = np.tile(np.eye(4), (tracks.num_frames, 1, 1))
    T[rows, :3, :3] = state.R
    found = np.zeros(tracks.num_frames, bool)
    found[rows] = True
    return Structure(
        T_camera_world=T,
        found=found,
        focal_px=focal_px,
        points_world=np.zeros((0, 3)),
        point_ids=np.zeros(0, np.int64),
        error_px=median_error(tracks, picked, state.d, focal_px, T, found),
    )


def widest_turn(tracks: BackgroundTracks, focal_px: float) -> float:
    """Greatest angle between any frame and the first, radians; infinite where frames do not hang together.

    What shifts because the camera moves is taken for a turn as well, so an orbit shows as one.
    """
    start = _turns(tracks, _chosen(tracks), focal_px)
    if start is None:
        return float("inf")
    return float(np.arccos(np.clip((np.trace(start, axis1=1, axis2=2) - 1.0) / 2.0, -1.0, 1.0)).max(initial=0.0))


def _chosen(tracks: BackgroundTracks) -> Int[ndarray, " rows"]:
    rows = np.unique(tracks.frame)
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_FRAMES)).round().astype(int))]


def _rays(xy: ndarray, tracks: BackgroundTracks, focal_px: float) -> Float[ndarray, "n 3"]:
    center = np.array([tracks.width_px / 2, tracks.height_px / 2])
    rays = np.concatenate([(xy - center) / focal_px, np.ones((len(xy), 1))], axis=1)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _turns(tracks: BackgroundTracks, rows: ndarray, focal_px: float) -> Float[ndarray, "rows 3 3"] | None:
    """Turn of each frame since the first, each from the earliest frame that shares enough points with it."""
    R = np.tile(np.eye(3), (len(rows), 1, 1))
    for k in range(1, len(rows)):
        for j in range(k):
            _, xy_a, xy_b = tracks.shared(int(rows[j]), int(rows[k]))
            if len(xy_a) >= _LEAST_POINTS:
                a, b = _rays(xy_a, tracks, focal_px), _rays(xy_b, tracks, focal_px)
                R[k] = _turn_between(a, b) @ R[j]
                break
        else:
            return None
    return R


def _turn_between(a: Float[ndarray, "n 3"], b: Float[ndarray, "n 3"]) -> Float[ndarray, "3 3"]:
    """The rotation that takes most of the rays a to b: weighted orthogonal Procrustes, outliers losing their weight."""
    weights = np.ones(len(a))
    R = np.eye(3)
    for _ in range(8):
        U, _, Vt = np.linalg.svd((b * weights[:, None]).T @ a)
        R = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
        off = np.linalg.norm(b - a @ R.T, axis=1)
        weights = 1.0 / (1.0 + (off / max(1.5 * float(np.median(off)), 1e-7)) ** 2)
    return R


def _picked(tracks: BackgroundTracks, rows: ndarray) -> Int[ndarray, " picked"]:
    """Points that are seen in three or more of the rows; the longest-lived where there are too many."""
    counts = np.bincount(tracks.point[np.isin(tracks.frame, rows)], minlength=tracks.num_points)
    order = np.argsort(-counts, kind="stable")[:_MOST_POINTS]
    return np.sort(order[counts[order] >= 3])


def _sightings(tracks: BackgroundTracks, rows: ndarray, picked: ndarray) -> _Sightings:
    place, slot = np.full(tracks.num_points, -1), np.full(tracks.num_frames, -1)
    place[picked], slot[rows] = np.arange(len(picked)), np.arange(len(rows))
    used = (place[tracks.point] >= 0) & (slot[tracks.frame] >= 0)
    center = np.array([tracks.width_px / 2, tracks.height_px / 2])
    return _Sightings(slot[tracks.frame[used]], place[tracks.point[used]], tracks.xy_px[used] - center)


def _begun(seen: _Sightings, R: ndarray, count: int, rho: float, focal_px: float) -> _State:
    """All cameras in one place, and the mean direction of each point, turned back into the first frame."""
    rays = np.concatenate([seen.xy / focal_px, np.ones((len(seen.xy), 1))], axis=1)
    turned = np.einsum("nji,nj->ni", R[seen.frame], rays / np.linalg.norm(rays, axis=1, keepdims=True))
    sums = np.stack([np.bincount(seen.point, turned[:, k], count) for k in range(3)], axis=1)
    d = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return _State(R, np.zeros((len(R), 3)), d, np.full(count, rho), focal_px)


def _residual(state: _State, seen: _Sightings) -> tuple[ndarray, ndarray, Bool[ndarray, " n"]]:
    """Seen minus expected pixels, points in the camera (up to their distance), and which are before it."""
    y = np.einsum("nij,nj->ni", state.R[seen.frame], state.d[seen.point])
    y += state.rho[seen.point, None] * state.t[seen.frame]
    ahead = y[:, 2] > 1e-3
    z = np.where(ahead, y[:, 2], 1.0)
    return seen.xy - state.focal_px * y[:, :2] / z[:, None], y, ahead


def _cost(residual: ndarray, ahead: ndarray) -> float:
    squared = (residual**2).sum(1) / _ROBUST_PX**2
    return float(np.where(ahead, np.log1p(squared), 50.0).sum())


def _adjusted(state: _State, seen: _Sightings, rounds: int, *, moves: bool, zooms: bool) -> _State:
    """Levenberg-Marquardt on cameras and points, the points eliminated (Schur complement)."""
    damping = 1e-3
    residual, y, ahead = _residual(state, seen)
    cost = _cost(residual, ahead)
    for _ in range(rounds):
        step = _step(state, seen, residual, y, ahead, damping, moves, zooms)
        trial = _moved(state, *step)
        trial_residual, trial_y, trial_ahead = _residual(trial, seen)
        trial_cost = _cost(trial_residual, trial_ahead)
        if trial_cost < cost:
            gain = (cost - trial_cost) / cost
            state, residual, y, ahead, cost = trial, trial_residual, trial_y, trial_ahead, trial_cost
            damping = max(damping / 5.0, 1e-7)
            if gain < 1e-5:
                break
        else:
            damping *= 8.0
            if damping > 1e4:
                break
    return state


def _step(
    state: _State,
    seen: _Sightings,
    residual: ndarray,
    y: ndarray,
    ahead: ndarray,
    damping: float,
    moves: bool,
    zooms: bool,
) -> tuple[ndarray, ndarray]:
    """Steps of what is shared (turn and shift of each camera, then the focal length) and of the points (along two tangents,
    inverse distance)."""
    from scipy.sparse import csr_matrix, hstack

    frames, points, n = len(state.R), len(state.rho), len(seen.frame)
    z = np.where(ahead, y[:, 2], 1.0)
    weight = np.where(ahead, 1.0 / (1.0 + (residual**2).sum(1) / _ROBUST_PX**2), 0.0)
    root = np.sqrt(weight)[:, None, None]
    P = np.zeros((n, 2, 3))
    P[:, 0, 0] = P[:, 1, 1] = state.focal_px / z
    P[:, :, 2] = -state.focal_px * y[:, :2] / z[:, None] ** 2
    P *= root
    rho, t = state.rho[seen.point], state.t[seen.frame]
    J_camera = np.concatenate([-P @ _skew(y - rho[:, None] * t), P * rho[:, None, None] * float(moves)], axis=2)
    J_camera[seen.frame == 0] = 0.0  # the first camera is the world
    along = P @ state.R[seen.frame] @ _tangents(state.d)[seen.point]
    J_point = np.concatenate([along, (P @ t[:, :, None]) * float(moves)], axis=2)
    J_focal = root[:, 0] * y[:, :2] / z[:, None] * float(zooms)
    r = (residual * root[:, 0]).reshape(-1)

    C = hstack([_blocks(J_camera, seen.frame, frames), csr_matrix(J_focal.reshape(-1, 1))]).tocsr()
    Q = _blocks(J_point, seen.point, points)
    V = np.zeros((points, 3, 3))
    np.add.at(V, seen.point, np.einsum("nki,nkj->nij", J_point, J_point))
    V[:, np.arange(3), np.arange(3)] *= 1.0 + damping
    V += np.eye(3) * 1e-6
    V[:, 2, 2] += 1.0  # a point that hardly anything is known about keeps its distance
    each = 3 * np.arange(points)[:, None] + np.arange(3)
    where = (np.repeat(each.reshape(-1), 3), np.repeat(each, 3, axis=0).reshape(-1))
    Vi = csr_matrix((np.linalg.inv(V).reshape(-1), where), shape=(3 * points, 3 * points))
    U = (C.T @ C).toarray()
    U[np.diag_indices_from(U)] = U.diagonal() * (1.0 + damping) + 1e-6
    W = C.T @ Q
    WV = W @ Vi
    g_shared, g_point = C.T @ r, Q.T @ r
    shared = np.linalg.solve(U - (WV @ W.T).toarray(), g_shared - WV @ g_point)
    point = Vi @ (g_point - W.T @ shared)
    return shared, point.reshape(points, 3)


def _blocks(J: Float[ndarray, "n 2 k"], column: Int[ndarray, " n"], columns: int):
    """Two rows for each sighting, its block in the columns of its camera or point; a sparse matrix."""
    from scipy.sparse import csr_matrix

    n, _, k = J.shape
    at = np.repeat(k * column[:, None] + np.arange(k), 2, axis=0).reshape(-1)
    return csr_matrix((J.reshape(-1), (np.repeat(np.arange(2 * n), k), at)), shape=(2 * n, k * columns))


def _moved(state: _State, shared: ndarray, point: ndarray) -> _State:
    """A state after a step, its unit such that the median inverse distance stays what it was at the start."""
    from scipy.spatial.transform import Rotation

    camera = shared[:-1].reshape(-1, 6)
    d = state.d + np.einsum("nij,nj->ni", _tangents(state.d), point[:, :2])
    rho = np.clip(state.rho + point[:, 2], _RHO_LEAST, _RHO_MOST)
    unit = float(np.median(rho)) / float(np.median(state.rho))
    return _State(
        R=Rotation.from_rotvec(camera[:, :3]).as_matrix() @ state.R,
        t=(state.t + camera[:, 3:]) * unit,
        d=d / np.linalg.norm(d, axis=1, keepdims=True),
        rho=rho / unit,
        focal_px=float(np.clip(state.focal_px + shared[-1], 0.5 * state.focal_px, 2.0 * state.focal_px)),
    )


def _skew(v: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3 3"]:
    S = np.zeros((len(v), 3, 3))
    S[:, 0, 1], S[:, 0, 2], S[:, 1, 2] = -v[:, 2], v[:, 1], -v[:, 0]
    return S - S.transpose(0, 2, 1)


def _tangents(d: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3 2"]:
    """Two unit vectors at right angles to each direction."""
    other = np.where(np.abs(d[:, :1]) < 0.6, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    a = np.cross(d, other)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    return np.stack([a, np.cross(d, a)], axis=2)
