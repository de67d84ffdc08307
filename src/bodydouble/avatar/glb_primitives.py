"""Mesh and splats of an avatar as primitives of a glTF mesh. The layout is described in docs/avatar-format.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bodydouble.avatar.gltf_buffers import TARGET_INDICES, TARGET_VERTICES, BufferBuilder
from bodydouble.avatar.values import Mesh, Morph, Splats
from bodydouble.core.colors import srgb_to_linear
from bodydouble.core.geometry import quat_wxyz_to_xyzw
from bodydouble.core.normals import unit_normals_array
from bodydouble.render.sh import mean_rgb

FORMAT_VERSION = 1
SPLAT_EXTENSION = "KHR_gaussian_splatting"
SKIN_EXTENSION = "BODYDOUBLE_skinned_splats"


def _skin_attributes(buffer: BufferBuilder, joints: Tensor, weights: Tensor, bones: int) -> dict[str, int]:
    """JOINTS_0 and WEIGHTS_0: rows sum to 1 in float32, no joint twice, joint 0 where the weight is 0."""
    index = joints.detach().cpu().numpy().astype(np.int64)
    weight = weights.detach().cpu().numpy().astype(np.float64)
    for a in range(3):
        for b in range(a + 1, 4):
            same = (index[:, a] == index[:, b]) & (weight[:, b] > 0)
            weight[same, a] += weight[same, b]
            weight[same, b] = 0.0
    order = np.argsort(-weight, axis=1, kind="stable")
    index = np.take_along_axis(index, order, 1)
    weight = np.take_along_axis(weight, order, 1)
    sums = weight.sum(1, keepdims=True)
    # What is normalised already stays as it is, so that saving what was loaded gives the same file.
    weight = np.where(np.abs(sums - 1) > 1e-6, weight / sums, weight).astype(np.float32)
    weight[:, 0] = (1.0 - weight[:, 1:].sum(1, dtype=np.float64)).astype(np.float32)
    index[weight == 0] = 0
    joint_type = np.uint8 if bones <= 256 else np.uint16
    return {
        "JOINTS_0": buffer.add(index.astype(joint_type), target=TARGET_VERTICES),
        "WEIGHTS_0": buffer.add(weight, target=TARGET_VERTICES),
    }


def _morph_targets(buffer: BufferBuilder, morphs: Sequence[Morph], count: int) -> list[dict[str, int]]:
    parts = []
    for morph in morphs:
        indices = morph.indices.detach().cpu().numpy().astype(np.int64)
        unique, inverse = np.unique(indices, return_inverse=True)
        deltas = np.zeros((len(unique), 3), np.float64)
        np.add.at(deltas, inverse, morph.deltas_m.detach().cpu().numpy())
        deltas = deltas.astype(np.float32)
        used = deltas.any(1)
        if not used.any():
            # Some readers cannot take an accessor without any data: an empty action keeps one zero.
            unique, deltas, used = np.zeros(1, np.int64), np.zeros((1, 3), np.float32), np.ones(1, bool)
        parts.append((unique[used], deltas[used]))
    return [{"POSITION": accessor} for accessor in buffer.add_sparse(count, parts)]


def mesh_primitive(buffer: BufferBuilder, mesh: Mesh) -> dict[str, Any]:
    """The glTF primitive of a mesh, without material, its data in `buffer`: triangles, skin, and colours or none if textured."""
    positions = as_float32(mesh.vertices_rest_m)
    faces = mesh.faces.detach().cpu().numpy()
    index_type = np.uint16 if len(positions) <= 65535 else np.uint32
    attributes = {
        "POSITION": buffer.add(positions, target=TARGET_VERTICES, bounds=True),
        "NORMAL": buffer.add(_mesh_normals(mesh), target=TARGET_VERTICES),
    }
    if mesh.texture is None:  # readers multiply both
        colors = np.ones((len(positions), 4))
        colors[:, :3] = srgb_to_linear(mesh.colors.detach().cpu().numpy().astype(np.float64))
        stored = np.round(colors * 65535).astype(np.uint16)
        attributes["COLOR_0"] = buffer.add(stored, target=TARGET_VERTICES, normalized=True)
    attributes.update(_skin_attributes(buffer, mesh.joints, mesh.weights, int(mesh.joints.max()) + 1))
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": buffer.add(faces.reshape(-1).astype(index_type), target=TARGET_INDICES),
        "mode": 4,
    }
    if mesh.morphs:
        primitive["targets"] = _morph_targets(buffer, mesh.morphs, len(positions))
    return primitive


def _mesh_normals(mesh: Mesh) -> np.ndarray:
    """Normals of a mesh. Across the seams of a texture, vertices at the same place share theirs, or the seams would show."""
    positions, faces = as_float32(mesh.vertices_rest_m), mesh.faces.detach().cpu().numpy()
    if mesh.texture is None:
        return unit_normals_array(positions, faces)
    places, owner = np.unique(positions, axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    return unit_normals_array(places, owner[faces])[owner]


def splat_primitive(buffer: BufferBuilder, splats: Splats) -> dict[str, Any]:
    """The glTF primitive of splats, without material, its data in `buffer`: points that readers without splats can show."""

    def add(values: np.ndarray, **kwargs: bool) -> int:
        return buffer.add(values, target=TARGET_VERTICES, **kwargs)

    positions = as_float32(splats.means_rest_m)
    quats = splats.quats_wxyz.detach().double()
    length = quats.norm(dim=-1, keepdim=True)
    quats = quat_wxyz_to_xyzw(torch.where((length - 1).abs() > 1e-6, quats / length, quats))
    sh = as_float32(splats.sh)
    fallback = np.ones((len(positions), 4))
    fallback[:, :3] = srgb_to_linear(as_float32(mean_rgb(splats.sh)).clip(0.0, 1.0))
    fallback[:, 3] = as_float32(splats.opacities)
    attributes = {
        "POSITION": add(positions, bounds=True),
        "COLOR_0": add(np.round(fallback * 255).astype(np.uint8), normalized=True),
        f"{SPLAT_EXTENSION}:ROTATION": add(as_float32(quats)),
        f"{SPLAT_EXTENSION}:SCALE": add(as_float32(splats.scales_m)),
        f"{SPLAT_EXTENSION}:OPACITY": add(as_float32(splats.opacities)),
    }
    coefficient = 0
    for degree in range({1: 0, 4: 1, 9: 2, 16: 3}[sh.shape[1]] + 1):
        for n in range(2 * degree + 1):
            name = f"{SPLAT_EXTENSION}:SH_DEGREE_{degree}_COEF_{n}"
            attributes[name] = add(np.ascontiguousarray(sh[:, coefficient]))
            coefficient += 1
    attributes.update(_skin_attributes(buffer, splats.joints, splats.weights, int(splats.joints.max()) + 1))
    attributes["_SEEN"] = add(as_float32(splats.seen))
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "mode": 0,
        "extensions": {
            SPLAT_EXTENSION: {
                "kernel": "ellipse",
                "colorSpace": "srgb_rec709_display",
                "extensions": {
                    SKIN_EXTENSION: {
                        "version": FORMAT_VERSION,
                        "positionSkinning": "linear",
                        "rotationSkinning": "quaternion",
                        "seen": "_SEEN",
                    }
                },
            }
        },
    }
    if splats.morphs:
        primitive["targets"] = _morph_targets(buffer, splats.morphs, len(positions))
    return primitive


def as_float32(values: Tensor) -> np.ndarray:
    """As glTF stores numbers: off autograd and device."""
    return values.detach().cpu().numpy().astype(np.float32)
