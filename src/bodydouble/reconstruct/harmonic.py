"""Fields on a mesh that keep to data where there are any and are harmonic in between; what one side lacks, the other lends."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_DATA = 20.0
"""Weight of a vertex full of data against its edges in the Laplacian."""
_MIRROR = 0.15
"""Weight of the other side's data against a vertex's own."""
_THROUGH = 0.3
"""The same for the data of the body's other face, front or back."""
_THROUGH_REACH_M = 0.03


def mirror_vertices(vertices_rest: Float[Tensor, "verts 3"]) -> Int[Tensor, " verts"]:
    """For each vertex the one nearest to its mirror image at the body's middle plane, x = 0."""
    from scipy.spatial import cKDTree

    places = vertices_rest.double().numpy()
    _, index = cKDTree(places).query(places * np.array([-1.0, 1.0, 1.0]))
    return torch.from_numpy(index)


def through_vertices(
    vertices_rest: Float[Tensor, "verts 3"], normals: Float[Tensor, "verts 3"]
) -> tuple[Int[Tensor, " verts"], Float[Tensor, " verts"]]:
    """For each vertex of a body with its arms held off it the one straight through it, from front to back or back to
    front, and in [0, 1] how squarely both face that way: where a shirt has a stripe in front it has one behind."""
    from scipy.spatial import cKDTree

    places, facing = vertices_rest[:, :2].double().numpy(), normals[:, 2].double().numpy()
    other = np.arange(len(places))
    for own, far in ((facing > 0.0, facing < 0.0), (facing < 0.0, facing > 0.0)):
        if own.any() and far.any():
            _, index = cKDTree(places[far]).query(places[own])
            other[own] = np.nonzero(far)[0][index]
    near = np.linalg.norm(places[other] - places, axis=1) < _THROUGH_REACH_M
    squarely = np.minimum(np.abs(facing), np.abs(facing[other])) * near
    return torch.from_numpy(other), torch.from_numpy(squarely).to(vertices_rest.dtype)


def fill_fields(
    data: Float[Tensor, "verts channels"],
    weight: Float[Tensor, " verts"],
    vertices_rest: Float[Tensor, "verts 3"],
    faces: Int[Tensor, "faces 3"],
    *,
    through: tuple[Int[Tensor, " verts"], Float[Tensor, " verts"]] | None = None,
) -> Float[Tensor, "verts channels"]:
    """Fields over the whole surface that keep to the data and are as smooth as can be elsewhere.

    Args:
        data: Value at each vertex; anything where the weight is 0.
        weight: In [0, 1], how far to believe it.
        vertices_rest: Of a closed mesh whose left and right are mirror images, metres.
        faces: Its triangles.
        through: For each vertex another one whose data are lent to it, and in [0, 1] how gladly (`through_vertices`).
    Returns:
        The fields. A piece of the mesh without any data gets the mean of all data.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    data, weight, kept = data.double(), weight.double(), data.dtype
    mirror = mirror_vertices(vertices_rest)
    lenders = [(mirror, _DATA * _MIRROR * weight[mirror])]
    if through is not None:
        lenders.append((through[0], _DATA * _THROUGH * weight[through[0]] * through[1].double()))
    mean = (data * weight[:, None]).sum(0) / weight.sum().clamp_min(1e-9)
    hold = 1e-6  # decides only where nothing else does
    right, pull = _DATA * weight[:, None] * data + hold * mean, _DATA * weight + hold
    for lender, strength in lenders:
        strength = strength * (1.0 - weight)
        right, pull = right + strength[:, None] * data[lender], pull + strength
    system = cotangent_laplacian(vertices_rest, faces) + diags(pull.numpy())
    return torch.from_numpy(splu(system.tocsc()).solve(right.numpy())).to(kept)


def vertex_areas(vertices_rest: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"]) -> Float[Tensor, " verts"]:
    """A third of the area of the faces around each vertex: its mass beside the Laplacian, square metres."""
    a, b, c = vertices_rest[faces.long()].unbind(1)
    third = torch.linalg.cross(b - a, c - a).norm(dim=1) / 6.0
    return vertices_rest.new_zeros(len(vertices_rest)).index_add_(
        0, faces.long().reshape(-1), third.repeat_interleave(3)
    )


def cotangent_laplacian(vertices_rest: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"]):
    """The cotangent Laplacian (Pinkall & Polthier, 1993) as a scipy CSR matrix: symmetric, rows sum to 0, no edge weight
    is negative (obtuse corners would make maxima where there are no data)."""
    from scipy.sparse import coo_matrix, diags

    places, triangles = vertices_rest.double().numpy(), faces.long().numpy()
    rows, columns, values = [], [], []
    for corner in range(3):
        a, b, c = (triangles[:, (corner + k) % 3] for k in range(3))
        u, v = places[b] - places[a], places[c] - places[a]
        area = np.linalg.norm(np.cross(u, v), axis=1)
        cotangent = 0.5 * (u * v).sum(1) / np.maximum(area, 1e-12)
        rows += [b, c]
        columns += [c, b]
        values += [cotangent, cotangent]
    count = len(places)
    index = (np.concatenate(rows), np.concatenate(columns))
    edges = coo_matrix((np.concatenate(values), index), shape=(count, count)).tocsr()
    edges.data = edges.data.clip(1e-3, 20.0)
    edges = (edges + edges.T) * 0.5
    return diags(np.asarray(edges.sum(1)).reshape(-1)) - edges
