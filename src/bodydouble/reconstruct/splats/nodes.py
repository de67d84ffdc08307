"""Nodes spread over a body's surface, and how points of the surface hang on them.

A smooth field on the surface is a value per node; a point blends its four nearest nodes by their distance along the
surface, so that the two thighs, or the two lips, stay strangers however near they are in the rest pose. (Embedded
deformation: Sumner, Schmid & Pauly, SIGGRAPH 2007, weights (1 - d / d_max)^2.)
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.struct import TensorStruct, tensor_struct

_NEAREST = 4


@tensor_struct
class SurfaceNodes(TensorStruct):
    """Control nodes on a body."""

    vertices: Int[Tensor, " nodes"]
    """Vertex each node lies on."""
    vertex_nodes: Int[Tensor, "verts 4"]
    vertex_weights: Float[Tensor, "verts 4"]
    edges: Int[Tensor, "edges 2"]
    """Neighbouring nodes, each pair once."""


def place_nodes(body: BodyModel, vertices_rest: Float[Tensor, "verts 3"], num_nodes: int) -> SurfaceNodes:
    """Spread nodes over the skin by farthest point sampling; none in mouth or eyes.

    Args:
        body: Whose surface.
        vertices_rest: Its vertices in the rest pose, metres.
        num_nodes: How many, at least 5.
    """
    from scipy.sparse.csgraph import dijkstra

    places = vertices_rest.double().numpy()
    names = body.part_names
    inner = [i for i, name in enumerate(names) if name in ("mouth", "eyes")]
    outside = np.flatnonzero(~np.isin(body.vertex_parts.numpy(), inner))
    chosen = _farthest_points(places, outside, num_nodes)
    graph = surface_graph(body.faces, vertices_rest)
    spacing = float(np.sqrt(4.0 / num_nodes))  # of a body of some two square metres, twice over
    distance = dijkstra(graph, directed=False, indices=chosen, limit=4.0 * spacing).T
    straight = np.linalg.norm(places[:, None] - places[chosen][None], axis=2)
    # What no path leads to (eyeballs, teeth) hangs on what is near in space, behind everything that is connected.
    distance = np.where(np.isfinite(distance), distance, 10.0 + straight)
    nodes, weights = _blend(distance)
    near = np.argsort(distance[chosen], axis=1, kind="stable")[:, 1:7]
    pairs = np.stack([np.repeat(np.arange(num_nodes), near.shape[1]), near.reshape(-1)], axis=1)
    edges = np.unique(np.sort(pairs, axis=1), axis=0)
    return SurfaceNodes(
        vertices=torch.from_numpy(chosen),
        vertex_nodes=torch.from_numpy(nodes),
        vertex_weights=torch.from_numpy(weights.astype(np.float32)),
        edges=torch.from_numpy(edges),
    )


def surface_graph(faces: Int[Tensor, "faces 3"], vertices_rest: Float[Tensor, "verts 3"]):
    """Edges of a mesh as a scipy CSR matrix of their lengths in metres."""
    from scipy.sparse import coo_matrix

    triangles, places = faces.long().numpy(), vertices_rest.double().numpy()
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    # A seam of coinciding vertices must not read as "no edge".
    length = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1).clip(1e-6)
    return coo_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(len(places), len(places))).tocsr()


def _farthest_points(places: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """Indices: each is the farthest of `among` from those before; the first is the highest point."""
    points = places[among]
    chosen = [int(points[:, 1].argmax())]
    nearest = np.linalg.norm(points - points[chosen[0]], axis=1)
    for _ in range(count - 1):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return among[np.array(chosen)]


def _blend(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest nodes of each row and their weights, which fade to 0 where the next node would come in."""
    nearest = np.argpartition(distance, _NEAREST, axis=1)[:, : _NEAREST + 1]
    order = np.argsort(np.take_along_axis(distance, nearest, 1), axis=1, kind="stable")
    nearest = np.take_along_axis(nearest, order, 1)
    near = np.take_along_axis(distance, nearest, 1)
    weight = (1.0 - near[:, :_NEAREST] / np.maximum(near[:, _NEAREST:], 1e-9)).clip(min=0.0) ** 2 + 1e-9
    return nearest[:, :_NEAREST], weight / weight.sum(1, keepdims=True)


def nodes_of_points(
    surface: SurfaceNodes, corners: Int[Tensor, "n 3"], barycentric: Float[Tensor, "n 3"]
) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """The four nodes that matter most to points on faces of the body, and their weights, which sum to 1.

    Args:
        corners: Vertex indices of the face each point lies on.
        barycentric: Its barycentric coordinates there.
    """
    nodes = surface.vertex_nodes[corners].flatten(1)
    weights = (surface.vertex_weights[corners] * barycentric[..., None]).flatten(1)
    # The same node may come from several corners: let its first mention have all of its weight.
    same = nodes[:, :, None] == nodes[:, None, :]
    first = same.float().argmax(2) == torch.arange(nodes.shape[1])
    summed = (same * weights[:, None, :]).sum(2) * first
    best, at = summed.topk(_NEAREST, dim=1)
    return nodes.gather(1, at), best / best.sum(1, keepdim=True)
