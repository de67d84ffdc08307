"""A surface of triangles that answers: how far is this point from you, and is it inside you?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bodydouble.core.errors import ShapeError

_PER_LEAF = 4
_FAR = 2.5
"""A part of the tree counts as far from a point this many of its radii away; winding numbers err by about 0.01 then."""


@dataclass(frozen=True, kw_only=True)
class TriangleTree:
    """Triangles in the order of a space-filling curve, four to a leaf, under a complete binary tree."""

    corners_m: np.ndarray
    """slots x 3 x 3, metres; slots beyond the last triangle repeat one of its corners, so they have no area."""
    face_of_slot: np.ndarray
    low_m: np.ndarray
    high_m: np.ndarray
    """nodes x 3: box of each node; node i has the children 2 i + 1 and 2 i + 2."""
    area_vector_m2: np.ndarray
    """nodes x 3: sum of area times normal."""
    centre_m: np.ndarray
    radius_m: np.ndarray
    """Area-weighted centre of each node, and the distance from there to its box's farthest corner."""


def triangle_tree(vertices_m: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]) -> TriangleTree:
    """Build a tree. Triangles without area are kept; they are nearest to something all the same.

    Args:
        vertices_m: Metres, any frame.
        faces: Counter-clockwise seen from outside.
    Raises:
        ShapeError: When there is no triangle, a vertex is not finite, or a face names a vertex that is not there.
    """
    _check(vertices_m, faces)
    corners = vertices_m.astype(np.float64)[faces]
    order = np.argsort(_curve_position(corners.mean(axis=1)), kind="stable")
    leaves = 1
    while leaves * _PER_LEAF < len(faces):
        leaves *= 2
    slots = leaves * _PER_LEAF
    face_of_slot = np.concatenate([order, np.full(slots - len(faces), order[-1])])
    corners = corners[face_of_slot]
    corners[len(faces) :] = corners[len(faces) - 1, :1]
    area = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(area, axis=1)
    rows = [_Row(corners, area, size * 1.0, corners.mean(axis=1) * size[:, None], _PER_LEAF)]
    while len(rows[-1].low) > 1:
        rows.append(rows[-1].parents())
    low, high, vector, weight, moment = (
        np.concatenate([getattr(row, name) for row in reversed(rows)])
        for name in ("low", "high", "vector", "weight", "moment")
    )
    middle = (low + high) / 2.0
    centre = np.where(weight[:, None] > 0.0, moment / np.maximum(weight, 1e-300)[:, None], middle)
    radius = np.linalg.norm(np.maximum(np.abs(low - centre), np.abs(high - centre)), axis=1)
    return TriangleTree(
        corners_m=corners,
        face_of_slot=face_of_slot,
        low_m=low,
        high_m=high,
        area_vector_m2=vector,
        centre_m=centre,
        radius_m=radius,
    )


def nearest_on_surface(
    tree: TriangleTree, points_m: Float[np.ndarray, "points 3"]
) -> tuple[Float[np.ndarray, " points"], Int[np.ndarray, " points"]]:
    """Exact distance of points to the surface, metres, and the face that is nearest."""
    from bodydouble.evaluate.triangle_kernels import nearest_kernel
    from bodydouble.render.threads import kernel_threads, run_kernel

    points = np.ascontiguousarray(points_m, dtype=np.float64)
    distance_2, slot = np.empty(len(points)), np.empty(len(points), dtype=np.int64)
    run_kernel(
        nearest_kernel,
        kernel_threads(),
        *(points, tree.corners_m, tree.low_m, tree.high_m, _PER_LEAF, distance_2, slot),
    )
    return np.sqrt(distance_2), tree.face_of_slot[slot]


def winding_numbers(tree: TriangleTree, points_m: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
    """How often the surface winds around each point: about 1 inside a closed surface, 0 outside.

    Well defined for surfaces with holes and for several that overlap: a point counts as inside above 0.5.
    """
    from bodydouble.evaluate.triangle_kernels import winding_kernel
    from bodydouble.render.threads import kernel_threads, run_kernel

    points = np.ascontiguousarray(points_m, dtype=np.float64)
    winding = np.empty(len(points))
    run_kernel(
        winding_kernel,
        kernel_threads(),
        *(points, tree.corners_m, tree.area_vector_m2, tree.centre_m, tree.radius_m, _PER_LEAF, _FAR, winding),
    )
    return winding


class _Row:
    """One row of the tree, from leaves upwards."""

    def __init__(self, corners: np.ndarray, area: np.ndarray, size: np.ndarray, moment: np.ndarray, per: int) -> None:
        points = corners.reshape(-1, per * 3, 3)
        self.low, self.high = points.min(axis=1), points.max(axis=1)
        self.vector = area.reshape(-1, per, 3).sum(axis=1)
        self.weight = size.reshape(-1, per).sum(axis=1)
        self.moment = moment.reshape(-1, per, 3).sum(axis=1)

    def parents(self) -> _Row:
        row = object.__new__(_Row)
        row.low = np.minimum(self.low[0::2], self.low[1::2])
        row.high = np.maximum(self.high[0::2], self.high[1::2])
        row.vector = self.vector[0::2] + self.vector[1::2]
        row.weight = self.weight[0::2] + self.weight[1::2]
        row.moment = self.moment[0::2] + self.moment[1::2]
        return row


def _curve_position(points: np.ndarray) -> np.ndarray:
    """Place on Morton's curve: the bits of the three coordinates, interleaved."""
    low, span = points.min(axis=0), np.ptp(points, axis=0).max()
    cells = ((points - low) / max(float(span), 1e-12) * 1023.0).astype(np.int64)
    position = np.zeros(len(points), dtype=np.int64)
    for bit in range(10):
        for axis in range(3):
            position |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return position


def _check(vertices_m: np.ndarray, faces: np.ndarray) -> None:
    if len(faces) == 0 or len(vertices_m) == 0:
        raise ShapeError(
            f"A surface needs triangles, got {len(vertices_m)} vertices and {len(faces)} faces; is the mesh empty?"
        )
    if not np.isfinite(vertices_m).all():
        raise ShapeError("A surface's vertices must be finite numbers; some are NaN or infinite. Check the mesh.")
    if int(faces.min()) < 0 or int(faces.max()) >= len(vertices_m):
        raise ShapeError(
            f"A surface's faces must name vertices 0 to {len(vertices_m) - 1}, got {int(faces.min())} to "
            f"{int(faces.max())}. Check the mesh."
        )
