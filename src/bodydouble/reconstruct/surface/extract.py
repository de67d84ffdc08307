"""From a grid of signed distances to one closed mesh: zero set, without crumbs, with as many triangles as asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.errors import NoSubjectError, ShapeError
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.reconstruct.surface.sewing import piece_of


@tensor_struct
class ClosedMesh(TensorStruct):
    """A closed, two-manifold, outward-oriented triangle mesh, metres."""

    vertices_m: Float[Tensor, "verts 3"]
    faces: Int[Tensor, "faces 3"]


@dataclass(frozen=True, kw_only=True)
class MeshFacts:
    """What holds of a mesh as a surface."""

    closed: bool
    """Each edge has two triangles, which pass it in opposite directions."""
    manifold: bool
    """Closed, and the triangles around each vertex form one fan."""
    euler: int
    """Vertices - edges + faces: 2 for a sphere, less by 2 for each handle."""
    volume_m3: float
    """Enclosed volume, positive where the orientation is outwards."""
    pieces: int


def extract_mesh(
    sdf_m: Float[Tensor, "nx ny nz"],
    origin_m: Float[Tensor, " 3"],
    voxel_m: float,
    *,
    min_share: float = 0.01,
    faces: int | None = None,
) -> ClosedMesh:
    """The zero set of a signed distance grid.

    Vertices lie where the values, interpolated linearly along the grid's edges, vanish: they are off by a term of second
    order in the voxel size.

    Args:
        sdf_m: Values at the nodes, metres, negative inside. What crosses the grid's border is closed there.
        origin_m: Place of node (0, 0, 0).
        voxel_m: Distance of the nodes.
        min_share: Pieces with less of the largest piece's volume are dropped, and so are bubbles inside.
        faces: About how many triangles are wanted; none keeps all.
    Returns:
        The mesh in the frame of `origin_m`.
    Raises:
        ShapeError: When the grid has fewer than two nodes along an axis or values that are not finite.
        NoSubjectError: When nothing is inside.
    """
    from bodydouble.reconstruct.surface import extract_kernels as kernels

    if min(sdf_m.shape) < 2 or not bool(sdf_m.isfinite().all()):
        raise ShapeError(
            f"extract_mesh: sdf_m must be finite with at least 2 nodes along each axis, got {tuple(sdf_m.shape)} with "
            f"{int((~sdf_m.isfinite()).sum())} values that are not; train the field again."
        )
    values = np.pad(sdf_m.detach().cpu().numpy().astype(np.float32), 1, constant_values=np.float32(voxel_m))
    masks = np.zeros(values.shape, np.uint8)
    total = int(kernels.mark_edges(values, masks))
    if total == 0:
        raise NoSubjectError(
            "The field has no surface: no point of it is inside the person. The person may be hidden or too small; "
            "try another span of the video (--start-s, --end-s)."
        )
    first = np.zeros(values.shape, np.int32)
    points = np.zeros((total, 3))
    kernels.place_vertices(values, masks, first, points)
    none = np.zeros((0, 3), np.int32)
    count = int(kernels.fill_faces(values, masks, first, kernels.TETRAHEDRA, kernels.ORDERS, none))
    triangles = np.zeros((count, 3), np.int32)
    kernels.fill_faces(values, masks, first, kernels.TETRAHEDRA, kernels.ORDERS, triangles)
    points = (points - 1.0) * voxel_m + origin_m.double().numpy()
    points, triangles = _main_pieces(points, triangles.astype(np.int64), min_share)
    mesh = _as_mesh(points, triangles)
    return mesh if faces is None else decimated(mesh, faces)


def decimated(mesh: ClosedMesh, faces: int) -> ClosedMesh:
    """The mesh with about so many triangles, still closed and manifold (`decimate`)."""
    from bodydouble.reconstruct.surface.decimate import decimate

    return _as_mesh(*decimate(mesh.vertices_m.double().numpy(), mesh.faces.long().numpy(), faces))


def mesh_facts(mesh: ClosedMesh) -> MeshFacts:
    """Check a mesh as a surface, by counting."""
    faces = mesh.faces.long().numpy()
    points = mesh.vertices_m.double().numpy()
    count = len(points)
    start, end = faces[:, [0, 1, 2]].reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    there = np.sort(start * count + end)
    back = np.sort(end * count + start)
    closed = bool((start != end).all() and (np.diff(there) > 0).all() and np.array_equal(there, back))
    corners = points[faces]
    volume = float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6.0)
    used = len(np.unique(faces))
    pieces = len(np.unique(piece_of(torch.from_numpy(faces), count).numpy()[np.unique(faces)])) if len(faces) else 0
    return MeshFacts(
        closed=closed,
        manifold=closed and used == count and _one_fan_each(faces, count),
        euler=used - len(np.unique(np.minimum(start, end) * count + np.maximum(start, end))) + len(faces),
        volume_m3=volume,
        pieces=pieces,
    )


def _as_mesh(points: np.ndarray, triangles: np.ndarray) -> ClosedMesh:
    return ClosedMesh(
        vertices_m=torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32)),
        faces=torch.from_numpy(np.ascontiguousarray(triangles, dtype=np.int64)),
    )


def _one_fan_each(faces: np.ndarray, count: int) -> bool:
    """Whether, of a closed mesh, the triangles around each vertex hang together.

    Around vertex v, triangle (v, a, b) leads from a to b. The links of v form closed rings; there is one ring for each
    vertex if and only if the corners, joined by shared (v, edge), have as many groups as there are vertices.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    centre = np.concatenate([faces[:, c] for c in range(3)])
    nexts = np.concatenate([faces[:, (c + 1) % 3] for c in range(3)])
    previous = np.concatenate([faces[:, (c + 2) % 3] for c in range(3)])
    leaving = np.argsort(centre * count + nexts)
    arriving = np.argsort(centre * count + previous)
    n = len(centre)
    joined = coo_matrix((np.ones(n, np.int8), (leaving, arriving)), shape=(n, n))
    return int(connected_components(joined, directed=False, return_labels=False)) == len(np.unique(faces))


def _main_pieces(points: np.ndarray, faces: np.ndarray, min_share: float) -> tuple[np.ndarray, np.ndarray]:
    piece = piece_of(torch.from_numpy(faces), len(points)).numpy()[faces[:, 0]]
    corners = points[faces] - points.mean(0)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6.0
    volumes = np.bincount(piece, weights=volume)
    # A bubble inside is oriented inwards: its volume is negative.
    keep = volumes >= max(min_share * volumes.max(), 1e-12)
    return _referenced(points, faces[keep[piece]])


def _referenced(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    used, inverse = np.unique(faces, return_inverse=True)
    return points[used], inverse.reshape(-1, 3)
