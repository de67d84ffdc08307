"""Small geometry for making clothes from a body's surface: cutting, refining, smoothing, closing hems.

Everything here is NumPy on rest-pose data. New vertices remember what they were mixed from, so that any attribute of
the surface (skinning weights, coordinates for textures) follows by `mix`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A triangle mesh whose vertices carry attributes."""

    points: Float[ndarray, "n 3"]
    faces: Int[ndarray, "f 3"]
    attributes: Float[ndarray, "n c"]
    """Whatever must follow the vertices; mixed linearly."""


def cut(surface: Surface, field: Float[ndarray, " n"]) -> Surface:
    """The part where `field` is positive, its edge exactly where the field is 0."""
    points, faces, attributes = surface.points, surface.faces, surface.attributes
    inside = field > 0
    count = inside[faces].sum(1)
    kept = faces[count == 3]
    crossing: dict[tuple[int, int], int] = {}
    mixes: list[tuple[int, int, float]] = []

    def cross(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in crossing:
            crossing[key] = len(points) + len(mixes)
            mixes.append((*key, float(field[key[0]] / (field[key[0]] - field[key[1]]))))
        return crossing[key]

    extra = []
    for face, number in zip(faces.tolist(), count.tolist(), strict=True):
        if number == 1:
            i = next(k for k in range(3) if inside[face[k]])
            a, b, c = face[i], face[(i + 1) % 3], face[(i + 2) % 3]
            extra.append((a, cross(a, b), cross(a, c)))
        elif number == 2:
            i = next(k for k in range(3) if not inside[face[k]])
            a, b, c = face[i], face[(i + 1) % 3], face[(i + 2) % 3]
            ab, ac = cross(a, b), cross(a, c)
            extra.extend([(ab, b, c), (ab, c, ac)])
    if mixes:
        first, second = np.array([m[0] for m in mixes]), np.array([m[1] for m in mixes])
        t = np.array([m[2] for m in mixes])[:, None]
        points = np.concatenate([points, points[first] * (1 - t) + points[second] * t])
        attributes = np.concatenate([attributes, attributes[first] * (1 - t) + attributes[second] * t])
        kept = np.concatenate([kept, np.array(extra)])
    return compact(Surface(points=points, faces=kept, attributes=attributes))


def compact(surface: Surface) -> Surface:
    """Without vertices that no face uses."""
    used, faces = np.unique(surface.faces, return_inverse=True)
    return Surface(points=surface.points[used], faces=faces.reshape(-1, 3), attributes=surface.attributes[used])


def refine(surface: Surface) -> Surface:
    """Each triangle into four, at the middles of its edges."""
    faces = surface.faces
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, which = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (which.reshape(3, -1) + len(surface.points)).astype(faces.dtype)
    a, b, c = faces.T
    split = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])

    def middle(values: ndarray) -> ndarray:
        return np.concatenate([values, values[unique].mean(1)])

    return Surface(points=middle(surface.points), faces=split, attributes=middle(surface.attributes))


def boundary_edges(faces: Int[ndarray, "f 3"]) -> Int[ndarray, "e 2"]:
    """Edges with one face only, directed as in that face."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, first, count = np.unique(np.sort(directed, axis=1), axis=0, return_index=True, return_counts=True)
    return directed[first[count == 1]]


class Smoother:
    """Averages values over neighbours on one mesh. Vertices on an edge average along it, so that hems stay put."""

    def __init__(self, faces: Int[ndarray, "f 3"], num_points: int) -> None:
        from scipy.sparse import coo_array, diags_array

        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        edges = np.concatenate([edges, edges[:, ::-1]])
        hem = boundary_edges(faces)
        on_hem = np.zeros(num_points, bool)
        on_hem[hem.ravel()] = True
        edges = np.concatenate([edges[~on_hem[edges[:, 0]]], hem, hem[:, ::-1]])
        shape = (num_points, num_points)
        adjacency = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape).tocsr()
        adjacency.data[:] = 1.0
        degree = np.maximum(np.asarray(adjacency.sum(1)), 1.0)
        self._average = diags_array(1.0 / degree) @ adjacency

    def __call__(self, values: Float[ndarray, "n c"], rounds: int, strength: float = 0.5) -> Float[ndarray, "n c"]:
        """Move each value towards its neighbours' mean, `rounds` times."""
        for _ in range(rounds):
            values = values + strength * (self._average @ values - values)
        return values


def with_hems(surface: Surface, normals: Float[ndarray, "n 3"], thickness_m: float) -> Surface:
    """Fold the edges inwards, so that cloth looks as thick as it is."""
    hem = boundary_edges(surface.faces)
    ring, local = np.unique(hem, return_inverse=True)
    local = local.reshape(-1, 2)
    outer, inner = len(surface.points), len(surface.points) + len(ring)
    a, b = local.T
    # Vertices of the fold are their own, so that shading breaks at the edge.
    fold = np.concatenate(
        [
            np.stack([outer + b, outer + a, inner + a], 1),
            np.stack([outer + b, inner + a, inner + b], 1),
        ]
    )
    return Surface(
        points=np.concatenate(
            [surface.points, surface.points[ring], surface.points[ring] - thickness_m * normals[ring]]
        ),
        faces=np.concatenate([surface.faces, fold]),
        attributes=np.concatenate([surface.attributes, surface.attributes[ring], surface.attributes[ring]]),
    )


def reach_around(outline: Float[ndarray, "n 2"], angles: Float[ndarray, " a"]) -> Float[ndarray, " a"]:
    """Distance from the origin to the convex hull of some points in a plane, in each direction.

    Args:
        outline: Points around the origin.
        angles: Measured from the second axis towards the first, radians.
    """
    from scipy.spatial import ConvexHull

    hull = outline[ConvexHull(outline).vertices]
    following = np.roll(hull, -1, axis=0)
    dense = np.concatenate([hull + (following - hull) * t for t in np.linspace(0, 1, 16, endpoint=False)])
    angle, reach = np.arctan2(dense[:, 0], dense[:, 1]), np.linalg.norm(dense, axis=1)
    order = np.argsort(angle)
    return np.interp(angles, angle[order], reach[order], period=2 * np.pi)


def smoothstep(low: float, high: float, x: ndarray) -> ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)
