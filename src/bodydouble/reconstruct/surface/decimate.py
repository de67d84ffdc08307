"""Fewer triangles, the same surface: quadric edge collapses (Garland and Heckbert 1997) that keep a mesh closed.

Common simplifiers allow collapses that pinch the surface; a watertight body then leaks. Here each collapse fulfils the link
condition (Dey, Edelsbrunner, Guha and Nekhayev, "Topology preserving edge contraction", 1999), so number of pieces, handles and
the closed manifold stay as they are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from bodydouble.core.errors import ConfigError

_SHARE = 0.35
"""Cheapest share of the edges that a pass looks at."""
_MAX_PASSES = 200


def decimate(
    points: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"], wanted: int
) -> tuple[Float[np.ndarray, "fewerverts 3"], Int[np.ndarray, "fewerfaces 3"]]:
    """A closed mesh with about `wanted` triangles, or more where no collapse is allowed any more.

    Args:
        points, faces: Closed and manifold; every vertex is used.
        wanted: Number of triangles.
    Raises:
        ConfigError: When fewer than 100 triangles are wanted.
    """
    from bodydouble.reconstruct.surface import decimate_kernels as kernels

    if wanted < 100:
        raise ConfigError(f"decimate: wanted is {wanted}; expected at least 100 triangles.")
    points, faces = points.astype(np.float64, copy=True), faces.astype(np.int64, copy=True)
    quadrics = np.zeros((len(points), 10))
    centre = points.mean(0)
    points -= centre
    kernels.face_quadrics(points, faces, quadrics)
    for _ in range(_MAX_PASSES):
        over = (len(faces) - wanted) // 2
        if over <= 0:
            break
        count = len(points)
        starts, faces_of = _faces_of_vertices(faces, count)
        one_way = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        edges = np.ascontiguousarray(one_way[one_way[:, 0] < one_way[:, 1]])
        places, costs = np.zeros((len(edges), 3)), np.zeros(len(edges))
        kernels.edge_costs(points, quadrics, edges, places, costs)
        looked_at = max(1000, int(_SHARE * len(edges)))
        order = _cheapest(costs, looked_at)
        target, locked = np.arange(count), np.zeros(count, bool)
        stamp = np.full(count, -1, np.int64)
        done = kernels.collapse_pass(
            points, faces, starts, faces_of, quadrics, edges, places, order, over, target, locked, stamp
        )  # fmt: skip
        if done == 0:
            break
        faces = target[faces]
        faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
        kept = np.flatnonzero(target == np.arange(count))
        number = np.zeros(count, np.int64)
        number[kept] = np.arange(len(kept))
        points, quadrics, faces = points[kept], quadrics[kept], np.ascontiguousarray(number[faces])
    return points + centre, faces


def _cheapest(costs: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` lowest costs, ascending; equal ones by place."""
    if count >= len(costs):
        return np.argsort(costs, kind="stable")
    few = np.flatnonzero(costs <= np.partition(costs, count - 1)[count - 1])
    return few[np.argsort(costs[few], kind="stable")][:count]


def _faces_of_vertices(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `faces` that each vertex has: those of v are faces_of[starts[v] : starts[v + 1]]."""
    from scipy.sparse import csr_array

    # Turning a table of faces into one of vertices is a counting sort.
    shape, corners = (len(faces), count), faces.reshape(-1)
    table = csr_array((np.ones(len(corners), np.int8), corners, np.arange(0, len(corners) + 1, 3)), shape=shape).tocsc()
    return table.indptr.astype(np.int64), table.indices.astype(np.int64)
