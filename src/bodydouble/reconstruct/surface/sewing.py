"""Borders of triangle meshes, and the strip of triangles between two of them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

_ROUNDS = 8
"""Taking away what touches only at a corner may bare new such corners; that often and no more."""


def piece_of(faces: Int[Tensor, "faces 3"], num_vertices: int) -> Int[Tensor, " verts"]:
    """Number of the connected piece that each vertex belongs to."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]]]).numpy()
    shape = (num_vertices, num_vertices)
    joined = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=shape)
    return torch.from_numpy(connected_components(joined, directed=False)[1]).long()


def ring(faces: Int[Tensor, "faces 3"]) -> list[int] | None:
    """The only border of some faces, in their own direction; none if there are several or none, or if it touches itself."""
    following = _border(faces)
    if not following or any(len(after) > 1 for after in following.values()):
        return None
    found = [next(iter(following))]
    while following[found[-1]][0] != found[0]:
        found.append(following[found[-1]][0])
    return found if len(found) == len(following) else None


def disc(faces: Int[Tensor, "faces 3"], chosen: Bool[Tensor, " faces"], *, grow: bool) -> Bool[Tensor, " faces"] | None:
    """The largest connected piece of the chosen faces, without holes and with one border that nowhere touches itself.

    Args:
        faces: Of a whole mesh.
        chosen: Some of them.
        grow: Whether faces at a corner where the border touches itself are taken in; else they are left out.
    Returns:
        The faces of the disc; none where there is none.
    """
    count = int(faces.max()) + 1
    piece = piece_of(faces, count)[faces[:, 0]]
    for _ in range(_ROUNDS):
        if not bool(chosen.any()):
            return None
        chosen = _largest(faces, chosen, count)
        whole = piece == piece[chosen][:1]
        chosen = whole & ~_largest(faces, whole & ~chosen, count)  # islands within are taken in
        touching = [vertex for vertex, after in _border(faces[chosen]).items() if len(after) > 1]
        if not touching:
            return chosen if ring(faces[chosen]) is not None else None
        there = torch.isin(faces, torch.tensor(touching)).any(1)
        chosen = chosen | there if grow else chosen & ~there
    return None


def strip(outer: list[int], inner: list[int], around_rad: np.ndarray) -> Int[Tensor, "faces 3"]:
    """Triangles between two rings that run the same way, the inner one being a border of what stays inside.

    Args:
        outer: Ring of the faces that were cut out.
        inner: Ring of the faces that are laid in.
        around_rad: How far around the middle each vertex is, radians.
    """
    if np.unwrap(np.append(around_rad[inner], around_rad[inner[0]]))[-1] < around_rad[inner[0]]:
        around_rad = -around_rad  # they run the other way
    b, at_b = _unrolled(inner, around_rad)
    nearest = int(np.argmin(np.abs(np.angle(np.exp(1j * (around_rad[outer] - at_b[0]))))))
    a, at_a = _unrolled(outer[nearest:] + outer[:nearest], around_rad)
    at_a = at_a + 2.0 * np.pi * np.round((at_b[0] - at_a[0]) / (2.0 * np.pi))
    triangles, i, j = [], 0, 0
    while i + 1 < len(a) or j + 1 < len(b):
        if j + 1 == len(b) or (i + 1 < len(a) and at_a[i] + at_a[i + 1] <= at_b[j] + at_b[j + 1]):
            triangles.append((a[i], a[i + 1], b[j]))
            i += 1
        else:
            triangles.append((b[j + 1], b[j], a[i]))
            j += 1
    return torch.tensor(triangles)


def _unrolled(vertices: list[int], around_rad: np.ndarray) -> tuple[list[int], np.ndarray]:
    """A ring from its first vertex back to it, and how far around each is, never less than the one before."""
    closed = [*vertices, vertices[0]]
    return closed, np.maximum.accumulate(np.unwrap(around_rad[closed]))


def _border(faces: Tensor) -> dict[int, list[int]]:
    """Along the border of some faces: the next vertices of each vertex, in the faces' direction."""
    start, end = faces[:, [0, 1, 2]].reshape(-1).tolist(), faces[:, [1, 2, 0]].reshape(-1).tolist()
    there = set(zip(start, end, strict=True))
    following: dict[int, list[int]] = {}
    for a, b in zip(start, end, strict=True):
        if (b, a) not in there:
            following.setdefault(a, []).append(b)
    return following


def _largest(faces: Tensor, chosen: Tensor, count: int) -> Tensor:
    index = torch.nonzero(chosen)[:, 0]
    if not len(index):
        return chosen  # the complement of a whole closed piece
    piece = piece_of(faces[index], count)[faces[index, 0]]
    return torch.zeros_like(chosen).index_fill_(0, index[piece == piece.mode().values], True)
