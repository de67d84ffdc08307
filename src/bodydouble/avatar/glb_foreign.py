"""Skeleton and skinned mesh of any GLB file, in this program's parametrisation (no bone has a rest rotation)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.glb_skin import read_morphs, read_skin_attributes
from bodydouble.avatar.glb_texture import read_texture, within_picture
from bodydouble.avatar.gltf_reader import MAX_NODES, GlbFile
from bodydouble.avatar.humanoid import guess_humanoid
from bodydouble.avatar.values import Mesh, Morph, Rig, Texture
from bodydouble.core.colors import linear_to_srgb, srgb_to_linear
from bodydouble.core.geometry import quat_wxyz_to_matrix, quat_xyzw_to_wxyz
from bodydouble.render.texture import sample_texture


def rest_rig(file: GlbFile, skin_index: int) -> tuple[Rig, np.ndarray, np.ndarray]:
    """The skeleton of a skin in the pose of the file, and how that pose differs from the bind pose.

    Args:
        file: An opened file.
        skin_index: Which skin.
    Returns:
        The rig with parents before children; for each bone the matrix [bones, 4, 4] that takes points of the bind
        pose to the rest pose, the identity where the file rests in its bind pose; and the bone [joints] that each
        joint of the skin has become.
    """
    skins = file.objects("skins")
    skin = skins[file.number(skin_index, 0, len(skins) - 1, "a skin's index")]
    nodes = file.objects("nodes")
    joints = skin.get("joints")
    if not isinstance(joints, list) or not 1 <= len(joints) <= 65535:
        file.fail(f"skin {skin_index} must have a list of joints")
    joint_nodes = [file.number(j, 0, len(nodes) - 1, f"a joint of skin {skin_index}") for j in joints]
    if len(set(joint_nodes)) != len(joint_nodes):
        file.fail(f"skin {skin_index} lists a joint twice")
    parent_of = node_parents(file, nodes)
    T_world_node = global_transforms(file, nodes, parent_of)
    joint_of_node = {node: joint for joint, node in enumerate(joint_nodes)}
    joint_parents = []
    for node in joint_nodes:
        above = parent_of[node]
        while above >= 0 and above not in joint_of_node:
            above = parent_of[above]
        joint_parents.append(joint_of_node[above] if above >= 0 else -1)
    order = _parents_first(joint_parents)
    bone_of_joint = np.argsort(order)
    parents = [int(bone_of_joint[joint_parents[j]]) if joint_parents[j] >= 0 else -1 for j in order]
    bones = len(joint_nodes)
    inverse_bind = np.tile(np.eye(4), (bones, 1, 1))
    if "inverseBindMatrices" in skin:
        accessor = file.index(skin, "inverseBindMatrices", len(file.objects("accessors")), f"skin {skin_index}")
        stored = file.array(accessor, width=16, count=bones).astype(np.float64)
        inverse_bind = stored.reshape(bones, 4, 4).transpose(0, 2, 1)[order]
    joint_nodes = [joint_nodes[j] for j in order]
    T_world_joint = T_world_node[joint_nodes]
    bind = T_world_joint @ inverse_bind
    exact = np.abs(bind - np.eye(4)).max() < 1e-4 and np.abs(inverse_bind[:, :3, :3] - np.eye(3)).max() == 0
    # Node translations are differences of joints and carry rounding; our own bind matrices hold the joints exactly.
    positions = -inverse_bind[:, :3, 3] if exact else T_world_joint[:, :3, 3]
    if np.abs(positions).max() > 1e6 or np.abs(bind).max() > 1e9:
        file.fail("its bones are further than 1000 km from the origin; it is damaged or in a strange unit")
    names = _unique_names([nodes[node].get("name") for node in joint_nodes])
    rig = Rig(
        bone_names=names,
        bone_parents=tuple(parents),
        joints_rest_m=torch.from_numpy(positions.astype(np.float32)),
        humanoid=_read_humanoid(file, joint_nodes, names, parents),
    )
    return rig, np.eye(4)[None].repeat(bones, 0) if exact else bind, bone_of_joint


def read_skinned_mesh(file: GlbFile) -> tuple[Rig | None, Mesh | None]:
    """All triangle primitives on the first skin as one mesh in the file's rest pose; none where there are none."""
    meshes = file.objects("meshes")
    chosen: int | None = None
    rig: Rig | None = None
    bind, bone_of_joint = np.zeros((0, 4, 4)), np.zeros(0, np.int64)
    pieces: list[Mesh] = []
    for node in file.objects("nodes"):
        if "mesh" not in node or "skin" not in node:
            continue
        skin = file.index(node, "skin", len(file.objects("skins")), "a node")
        mesh = meshes[file.index(node, "mesh", len(meshes), "a node")]
        if len(pieces) >= 1024:
            file.fail("it has more than 1024 skinned meshes; join them first")
        for primitive in file.object_list(mesh, "primitives", "a mesh"):
            attributes = primitive.get("attributes")
            usable = isinstance(attributes, dict) and "JOINTS_0" in attributes and "POSITION" in attributes
            if primitive.get("mode", 4) != 4 or not usable:
                continue
            if chosen is None:
                chosen = skin
                rig, bind, bone_of_joint = rest_rig(file, skin)
            if skin == chosen and rig is not None:
                pieces.append(_read_primitive(file, primitive, mesh.get("extras"), bind, bone_of_joint))
    return rig, _joined(pieces) if pieces else None


def _read_primitive(
    file: GlbFile, primitive: dict[str, Any], extras: object, bind: np.ndarray, bone_of_joint: np.ndarray
) -> Mesh:
    attributes = file.child(primitive, "attributes", "a primitive")
    total = len(file.objects("accessors"))
    positions = file.array(file.index(attributes, "POSITION", total, "a mesh"), width=3).astype(np.float32)
    count = len(positions)
    if "indices" in primitive:
        stored = file.array(file.index(primitive, "indices", total, "a mesh"), width=1)[:, 0]
        if stored.dtype.kind != "u":
            file.fail("a mesh has indices that are not whole numbers")
        indices = stored.astype(np.int64)
    else:
        indices = np.arange(count)
    if len(indices) % 3 or (len(indices) and int(indices.max()) >= count):
        file.fail(f"a mesh has {len(indices)} indices up to {indices.max()} for {count} vertices")
    joints, weights = read_skin_attributes(file, attributes, count, bone_of_joint)
    morphs = read_morphs(file, primitive, extras, count)
    if np.abs(bind - np.eye(4)).max() > 1e-4:
        blended = (bind[joints.numpy()] * weights.numpy()[..., None, None]).sum(1)
        positions = (np.einsum("nij,nj->ni", blended[:, :3, :3], positions) + blended[:, :3, 3]).astype(np.float32)
        morphs = tuple(_rotated(morph, blended) for morph in morphs)
    colors, texture = _read_colors(file, primitive, attributes, count)
    return Mesh(
        vertices_rest_m=torch.from_numpy(positions),
        faces=torch.from_numpy(indices.reshape(-1, 3)),
        colors=colors,
        texture=texture,
        joints=joints,
        weights=weights,
        morphs=morphs,
    )


def _rotated(morph: Morph, blended: np.ndarray) -> Morph:
    deltas = np.einsum("nij,nj->ni", blended[morph.indices.numpy(), :3, :3], morph.deltas_m.numpy())
    return morph.replace(deltas_m=torch.from_numpy(deltas.astype(np.float32)))


def _read_colors(
    file: GlbFile, primitive: dict[str, Any], attributes: dict[str, Any], count: int
) -> tuple[Float[Tensor, "verts 3"], Texture | None]:
    """Colour of each vertex, sRGB: COLOR_0 times the material's base colour, or what a texture shows there; and the texture,
    if its coordinates stay within the picture and nothing else colours the mesh."""
    texture, factor = read_texture(file, primitive, attributes, count)
    linear = np.ones((count, 3))
    if "COLOR_0" in attributes:
        index = file.index(attributes, "COLOR_0", len(file.objects("accessors")), "a mesh")
        width = file.accessor_info(index)[3]
        linear = file.array(index, width=4 if width == 4 else 3, count=count)[:, :3].astype(np.float64)
    plain = texture is not None and bool((linear == 1.0).all() and (factor == 1.0).all())
    if texture is not None:
        shown = sample_texture(texture.image, texture.uv if within_picture(texture) else texture.uv % 1.0)
        if plain and within_picture(texture):
            return shown, texture.replace(uv=texture.uv.clamp(0.0, 1.0))
        linear = linear * srgb_to_linear(shown.double().numpy())
    colors = linear_to_srgb(np.clip(linear * factor, 0.0, 1.0)).astype(np.float32)
    return torch.from_numpy(colors), None


def _joined(pieces: Sequence[Mesh]) -> Mesh:
    """One mesh of several; morphs of the same name act together."""
    if len(pieces) == 1:
        return pieces[0]
    starts = np.cumsum([0] + [len(p.vertices_rest_m) for p in pieces])
    morphs: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for start, piece in zip(starts, pieces, strict=False):
        for morph in piece.morphs:
            morphs.setdefault(morph.name, []).append((morph.indices + int(start), morph.deltas_m))
    return Mesh(
        vertices_rest_m=torch.cat([p.vertices_rest_m for p in pieces]),
        faces=torch.cat([p.faces + int(start) for start, p in zip(starts, pieces, strict=False)]),
        colors=torch.cat([p.colors for p in pieces]),
        joints=torch.cat([p.joints for p in pieces]),
        weights=torch.cat([p.weights for p in pieces]),
        morphs=tuple(
            Morph(name=name, indices=torch.cat([i for i, _ in parts]), deltas_m=torch.cat([d for _, d in parts]))
            for name, parts in morphs.items()
        ),
    )


def node_parents(file: GlbFile, nodes: list[dict[str, Any]]) -> list[int]:
    """Parent of each node, -1 for roots; refuses cycles and nodes with two parents."""
    if len(nodes) > MAX_NODES:
        file.fail(f"it has {len(nodes)} nodes; at most {MAX_NODES} are expected")
    parents = [-1] * len(nodes)
    for index, node in enumerate(nodes):
        children = node.get("children", [])
        if not isinstance(children, list):
            file.fail(f"'children' of node {index} must be an array")
        for child in children:
            child = file.number(child, 0, len(nodes) - 1, f"a child of node {index}")
            if parents[child] >= 0 or child == index:
                file.fail(f"node {child} has two parents")
            parents[child] = index
    return parents


def global_transforms(file: GlbFile, nodes: list[dict[str, Any]], parents: list[int]) -> np.ndarray:
    """T_world_node [nodes, 4, 4] of the file's rest pose."""
    order = [i for i, p in enumerate(parents) if p < 0]
    children: dict[int, list[int]] = {}
    for index, parent in enumerate(parents):
        children.setdefault(parent, []).append(index)
    for index in order:
        order.extend(children.get(index, []))
    if len(order) != len(nodes):
        file.fail("its nodes form a ring instead of a tree")
    transforms = np.tile(np.eye(4), (len(nodes), 1, 1))
    for index in order:
        local = local_transform(file, nodes[index], index)
        parent = parents[index]
        transforms[index] = transforms[parent] @ local if parent >= 0 else local
        if not np.abs(transforms[index]).max() < 1e12:
            file.fail(f"node {index} is scaled or moved beyond all bounds")
    return transforms


def local_transform(file: GlbFile, node: dict[str, Any], index: int) -> np.ndarray:
    """A node's 4x4 transform to its parent, however the file spells it."""
    if "matrix" in node:
        return file.numbers(node["matrix"], 16, f"the matrix of node {index}").reshape(4, 4).T
    local = np.eye(4)
    if "rotation" in node:
        quat_xyzw = file.numbers(node["rotation"], 4, f"the rotation of node {index}")
        if not 0.5 < np.linalg.norm(quat_xyzw) < 2.0:
            file.fail(f"the rotation of node {index} is not a unit quaternion")
        local[:3, :3] = quat_wxyz_to_matrix(quat_xyzw_to_wxyz(torch.from_numpy(quat_xyzw))).numpy()
    if "scale" in node:
        local[:3, :3] *= file.numbers(node["scale"], 3, f"the scale of node {index}")
    if "translation" in node:
        local[:3, 3] = file.numbers(node["translation"], 3, f"the translation of node {index}")
    return local


def _parents_first(parents: Sequence[int]) -> np.ndarray:
    """An order of the joints in which parents come before children, the given one where it does already."""
    if all(p < j for j, p in enumerate(parents)):
        return np.arange(len(parents))
    children: dict[int, list[int]] = {}
    for joint, parent in enumerate(parents):
        children.setdefault(parent, []).append(joint)
    order = list(children.get(-1, []))
    for joint in order:
        order.extend(children.get(joint, []))
    return np.array(order)


def _unique_names(found: Sequence[object]) -> tuple[str, ...]:
    names: list[str] = []
    used: set[str] = set()
    for bone, name in enumerate(found):
        base = name if isinstance(name, str) and name else f"bone_{bone}"
        unique = base if base not in used else f"{base}#{bone}"
        used.add(unique)
        names.append(unique)
    return tuple(names)


def _read_humanoid(file: GlbFile, joint_nodes: list[int], names: tuple[str, ...], parents: list[int]) -> dict[str, str]:
    """VRM bone name -> bone name: from this program's extras, from a VRM 1.0 file, else guessed from the names."""
    ours = file.optional(file.optional(file.optional(file.root, "extras"), "bodydouble"), "humanoid")
    vrm = file.optional(file.extension(file.root, "VRMC_vrm") or {}, "humanoid")
    listed = file.optional(ours, "humanBones") or file.optional(vrm, "humanBones")
    bone_of_node = {node: bone for bone, node in enumerate(joint_nodes)}
    found = {}
    for human, entry in listed.items():
        node = entry.get("node") if isinstance(entry, dict) else None
        if isinstance(node, int) and node in bone_of_node:
            found[human] = names[bone_of_node[node]]
    return found or guess_humanoid(names, parents)
