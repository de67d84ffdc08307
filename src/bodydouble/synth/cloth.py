"""Loose cloth that swings: a damped spring for every vertex, driven by where skinning would put it.

The deviation e of a vertex from its skinned place x obeys e'' = -w^2 e - 2 z w e' - x'': a pendulum hung from the body,
soft at the hem (low w) and tied at the waist. Between frames x moves evenly, so e has a closed form and x'' is a kick at
each frame (half the kicks' spacing in time is the only error: second order in the frame time, whatever the frame rate).
What follows - lengths of threads, pushing out of the body - changes the shape of each frame but never the springs'
state: nothing can build up, and any frame rate is stable.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from bodydouble.synth.surface import Smoother, smoothstep

_DAMPING = 0.22
"""Share of critical damping."""
_SLOWEST_HZ, _FASTEST_HZ = 1.35, 7.0
_MOST_SWING = 0.30
"""How far a vertex swings at most, as a share of its distance below the waist."""
_STRETCH = (0.94, 1.03)
"""Shortest and longest that a thread along the fall may become."""
_ROUNDS = 4
_SPREAD = 1.3
"""Smoothed pushes are this much stronger, since smoothing lowers their peaks."""


def natural_frequencies_hz(below_waist_m: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """How fast each vertex swings: as a pendulum of its distance below the waist, stiffened near it."""
    return np.clip(0.9 / np.sqrt(np.maximum(below_waist_m, 1e-6)), _SLOWEST_HZ, _FASTEST_HZ)


def swing(
    targets: Float[ndarray, "frames n 3"], frequencies_hz: Float[ndarray, " n"], fps_hz: float
) -> Float[ndarray, "frames n 3"]:
    """Deviation of every vertex from its target in every frame; none in the first.

    Args:
        targets: Where skinning puts the vertices in the world, metres.
        frequencies_hz: Of the free swing without damping.
    """
    w = 2 * np.pi * frequencies_hz[:, None]
    decay, damped = _DAMPING * w, w * np.sqrt(1 - _DAMPING**2)
    dt = 1.0 / fps_hz
    fade, cosine, sine = np.exp(-decay * dt), np.cos(damped * dt), np.sin(damped * dt)
    out = np.zeros_like(targets)
    e, v = np.zeros(targets.shape[1:]), np.zeros(targets.shape[1:])
    before = (targets[1] - targets[0]) / dt if len(targets) > 1 else e  # it starts moving with the body
    for frame in range(len(targets) - 1):
        velocity = (targets[frame + 1] - targets[frame]) / dt
        v = v - (velocity - before)
        before = velocity
        # e(t) = exp(-decay t) (e cos + (v + decay e) / damped sin), and its derivative.
        slope = (v + decay * e) / damped
        e, v = (
            fade * (e * cosine + slope * sine),
            fade * (v * cosine - (decay * slope + damped * e) * sine),
        )
        out[frame + 1] = e
    return out


class Drape:
    """Shapes a swinging panel in each frame: threads keep their length, cloth stays out of the body.

    Args:
        rest: The panel in the rest pose: rows downwards from the waist, metres.
        pinned_rows: Rows that do not leave their target.
        closed: Whether the last column meets the first.
        clearance_m: Distance that is kept from the colliding vertices.
    """

    def __init__(
        self, rest: Float[ndarray, "rows columns 3"], *, pinned_rows: int, closed: bool, clearance_m: float
    ) -> None:
        rows, columns = rest.shape[:2]
        self._shape, self._pinned, self._clearance_m = (rows, columns), pinned_rows, clearance_m
        self._threads_m = np.linalg.norm(np.diff(rest, axis=0), axis=-1)
        below = rest[..., 1].max() - rest[..., 1]
        self._most_swing_m = _MOST_SWING * np.maximum(below.reshape(-1) - below[pinned_rows - 1].mean(), 0.0)
        self._free = (np.arange(rows) >= pinned_rows).repeat(columns)[:, None]
        # How much a push may move a vertex: nothing at the waist, all a little below.
        self._give = smoothstep(pinned_rows - 1.0, pinned_rows + 2.0, np.arange(rows, dtype=float)).repeat(columns)
        self._smoother = Smoother(grid_faces(rows, columns, closed=closed), rows * columns)

    def __call__(
        self,
        target: Float[ndarray, "n 3"],
        deviation: Float[ndarray, "n 3"],
        collider: Float[ndarray, "m 3"],
        collider_normals: Float[ndarray, "m 3"],
    ) -> Float[ndarray, "n 3"]:
        """The panel in one frame, metres.

        Args:
            target: Skinned places.
            deviation: From `swing`.
            collider, collider_normals: Vertices of the body and their outward unit normals.
        """
        from scipy.spatial import cKDTree

        size = np.linalg.norm(deviation, axis=1)
        most = np.maximum(self._most_swing_m, 1e-9)
        points = target + deviation * (np.tanh(size / most) * most / np.maximum(size, 1e-9))[:, None] * self._free
        tree = cKDTree(collider)
        for round_number in range(_ROUNDS):
            points = self._keep_lengths(points)
            push = self._push(points, tree, collider, collider_normals)
            if round_number < _ROUNDS - 1:  # spread pushes, so that folds stay smooth; the last one is exact
                push = _SPREAD * self._smoother(push, 6)
            points = points + push
        return points

    def _push(self, points: ndarray, tree, collider: ndarray, normals: ndarray) -> ndarray:
        _, nearest = tree.query(points, k=3)
        away = points[:, None] - collider[nearest]
        depth = (away * normals[nearest]).sum(-1)
        distance = np.linalg.norm(away, axis=-1)
        # The three nearest vertices weigh by nearness, so that the push does not jump from one to the next.
        weight = 1.0 / (distance + 1e-4) ** 2
        weight /= weight.sum(1, keepdims=True)
        normal = (weight[..., None] * normals[nearest]).sum(1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        missing = np.maximum(self._clearance_m - (weight * depth).sum(1), 0.0)
        return normal * (missing * self._give)[:, None]

    def _keep_lengths(self, points: ndarray) -> ndarray:
        """Every thread from the waist down gets its length back, in the direction it hangs."""
        grid = points.reshape(*self._shape, 3).copy()
        for row in range(self._pinned, self._shape[0]):
            thread = grid[row] - grid[row - 1]
            length = np.maximum(np.linalg.norm(thread, axis=-1), 1e-9)
            low, high = _STRETCH[0] * self._threads_m[row - 1], _STRETCH[1] * self._threads_m[row - 1]
            grid[row] = grid[row - 1] + thread * (np.clip(length, low, high) / length)[:, None]
        return grid.reshape(-1, 3)


def grid_faces(rows: int, columns: int, *, closed: bool) -> Int[ndarray, "f 3"]:
    """Triangles of a panel whose rows go down and whose columns go to the wearer's left seen from inside."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    following = (j + 1) % columns
    a, b = (i * columns + j).ravel(), (i * columns + following).ravel()
    c, d = ((i + 1) * columns + following).ravel(), ((i + 1) * columns + j).ravel()
    return np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)])
