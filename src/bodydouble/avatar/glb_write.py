"""Writing an avatar as one GLB 2.0 file. The layout is described in docs/avatar-format.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bodydouble.avatar.glb_correctives import CORRECTIVES_EXTENSION, basis_extension, check_basis, node_attributes
from bodydouble.avatar.glb_texture import write_texture
from bodydouble.avatar.gltf_buffers import TARGET_INDICES, TARGET_VERTICES, BufferBuilder, pack_glb
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar, CorrectiveBasis, Mesh, Morph, Provenance, Rig, Splats
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import quat_wxyz_to_xyzw, rotvec_to_quat_wxyz
from bodydouble.core.normals import vertex_normals_array
from bodydouble.render.sh import mean_rgb

FORMAT_VERSION = 1
SPLAT_EXTENSION = "KHR_gaussian_splatting"
SKIN_EXTENSION = "BODYDOUBLE_skinned_splats"
UNLIT_EXTENSION = "KHR_materials_unlit"


def avatar_to_glb(avatar: Avatar, clips: Sequence[Motion] = ()) -> bytes:
    """The bytes of the .glb of an avatar.

    Args:
        avatar: With a mesh, splats, or both.
        clips: Motions on the avatar's rig, stored as glTF animations.
    Raises:
        ShapeError: When the parts of the avatar do not fit together or hold values no file may have.
    """
    return pack_glb(*avatar_document(avatar, clips))


def avatar_document(avatar: Avatar, clips: Sequence[Motion] = ()) -> tuple[dict[str, Any], bytes]:
    """The glTF object of an avatar and its binary buffer, to be packed by `gltf_buffers.pack_glb`.

    Args:
        avatar, clips: As for `avatar_to_glb`; nodes are the bones in the rig's order, then `body`, then `splats`.
    Raises:
        ShapeError: As `avatar_to_glb`.
    """
    check_avatar(avatar)
    buffer = BufferBuilder()
    rig = avatar.rig
    nodes = _bone_nodes(rig)
    root = rig.bone_parents.index(-1)
    bones = len(nodes)
    inverse_bind = np.tile(np.eye(4, dtype=np.float32), (bones, 1, 1))
    inverse_bind[:, :3, 3] = -_float(rig.joints_rest_m)
    # Column-major, as glTF stores matrices.
    bind_accessor = buffer.add(np.ascontiguousarray(inverse_bind.transpose(0, 2, 1)).reshape(bones, 16))
    meshes: list[dict[str, Any]] = []
    scenes: list[dict[str, Any]] = []
    morph_counts: list[tuple[int, tuple[Morph, ...]]] = []
    extensions = [UNLIT_EXTENSION]
    basis: CorrectiveBasis | None = None
    materials: list[dict[str, Any]] = []
    textures: dict[str, Any] = {}
    parts = [("body", avatar.mesh), ("splats", avatar.splats)]
    for name, part in parts:
        if part is None:
            continue
        primitive = _mesh_primitive(buffer, part) if isinstance(part, Mesh) else _splat_primitive(buffer, part)
        texture = part.texture if isinstance(part, Mesh) else None
        info = None if texture is None else write_texture(buffer, texture, textures, primitive["attributes"])
        material = _material(info)
        if material not in materials:
            materials.append(material)
        primitive["material"] = materials.index(material)
        if part.correctives is not None:
            primitive["attributes"].update(node_attributes(buffer, part.correctives))
            basis = part.correctives.basis
        entry: dict[str, Any] = {"name": name, "primitives": [primitive]}
        if part.morphs:
            entry["weights"] = [0.0] * len(part.morphs)
            entry["extras"] = {"targetNames": [m.name for m in part.morphs]}
        if isinstance(part, Splats):
            extensions += [SPLAT_EXTENSION, SKIN_EXTENSION]
        meshes.append(entry)
        nodes.append({"name": name, "mesh": len(meshes) - 1, "skin": 0})
        scenes.append({"name": "avatar" if name == "body" else "splats", "nodes": [root, len(nodes) - 1]})
        morph_counts.append((len(nodes) - 1, part.morphs))
    animations = [_animation(buffer, clip, rig, morph_counts) for clip in clips]
    document: dict[str, Any] = {
        "asset": _asset(avatar.provenance),
        "extensionsUsed": extensions,
        "extras": {"bodydouble": _rig_extras(rig)},
        "scene": 0,
        "scenes": scenes,
        "nodes": nodes,
        "meshes": meshes,
        "skins": [
            {"name": "rig", "skeleton": root, "inverseBindMatrices": bind_accessor, "joints": list(range(bones))}
        ],
        "materials": materials,
        **textures,
    }
    if animations:
        document["animations"] = animations
    if basis is not None:
        extensions.append(CORRECTIVES_EXTENSION)
        document["extensions"] = {CORRECTIVES_EXTENSION: basis_extension(buffer, basis)}
    document.update(accessors=buffer.accessors, bufferViews=buffer.views)
    binary = buffer.data()
    document["buffers"] = [{"byteLength": len(binary)}]
    return document, binary


def _asset(provenance: Provenance) -> dict[str, Any]:
    return {
        "version": "2.0",
        "generator": provenance.generator,
        "extras": {
            "bodydouble": {
                "source_sha256": provenance.source_sha256,
                "method": provenance.method,
                "body": provenance.body,
                "created": provenance.created,
                "extras": dict(provenance.extras),
            }
        },
    }


def _rig_extras(rig: Rig) -> dict[str, Any]:
    bones = {human: {"node": rig.bone_names.index(bone)} for human, bone in sorted(rig.humanoid.items())}
    return {"formatVersion": FORMAT_VERSION, "skin": 0, "humanoid": {"humanBones": bones}}


def check_avatar(avatar: Avatar) -> None:
    """Refuse an avatar that could not be written so that it reads back the same.

    Raises:
        ShapeError: Naming the part, what was expected and what was found.
    """
    rig = avatar.rig
    if len(set(rig.bone_names)) != len(rig.bone_names) or list(rig.bone_parents).count(-1) != 1:
        raise ShapeError("save_avatar: the rig must have distinct bone names and exactly one root (parent -1).")
    if any(p >= b for b, p in enumerate(rig.bone_parents)):
        raise ShapeError("save_avatar: the rig's bones must be ordered with parents before children.")
    missing = sorted(set(rig.humanoid.values()) - set(rig.bone_names))
    if missing:
        raise ShapeError(f"save_avatar: the humanoid map names bones the rig lacks: {', '.join(missing)}.")
    if avatar.mesh is None and avatar.splats is None:
        raise ShapeError("save_avatar: the avatar has neither a mesh nor splats; there is nothing to save.")
    _check_finite("rig.joints_rest_m", rig.joints_rest_m)
    for name, part in (("mesh", avatar.mesh), ("splats", avatar.splats)):
        if part is None:
            continue
        points = part.vertices_rest_m if isinstance(part, Mesh) else part.means_rest_m
        if not len(points):
            raise ShapeError(f"save_avatar: {name} is empty; use None for an avatar without it.")
        _check_range(f"{name}.joints", part.joints, 0, len(rig.bone_names) - 1)
        _check_range(f"{name}.weights", part.weights, 0.0, 1.0 + 1e-4)
        if (part.weights.sum(-1) - 1).abs().max() > 1e-3:
            raise ShapeError(f"save_avatar: each row of {name}.weights must sum to 1; normalise them first.")
        for morph in part.morphs:
            _check_range(f"{name}.morphs[{morph.name}].indices", morph.indices, 0, len(points) - 1)
            _check_finite(f"{name}.morphs[{morph.name}].deltas_m", morph.deltas_m)
        _check_finite(f"{name} positions", points)
        if part.correctives is not None:
            check_basis(part.correctives.basis, len(rig.bone_names))
            _check_range(
                f"{name}.correctives.nodes", part.correctives.nodes, 0, len(part.correctives.basis.nodes_rest_m) - 1
            )
            _check_range(f"{name}.correctives.weights", part.correctives.weights, 0.0, 1.0 + 1e-4)
    if avatar.mesh is not None:
        _check_range("mesh.faces", avatar.mesh.faces, 0, len(avatar.mesh.vertices_rest_m) - 1)
        _check_range("mesh.colors", avatar.mesh.colors, 0.0, 1.0)
        if avatar.mesh.texture is not None:
            _check_range("mesh.texture.uv", avatar.mesh.texture.uv, 0.0, 1.0)
            if len(avatar.mesh.texture.uv) != len(avatar.mesh.vertices_rest_m):
                raise ShapeError(
                    f"save_avatar: mesh.texture.uv has {len(avatar.mesh.texture.uv)} rows for "
                    f"{len(avatar.mesh.vertices_rest_m)} vertices; unwrap the mesh again."
                )
    if avatar.splats is not None:
        _check_range("splats.opacities", avatar.splats.opacities, 0.0, 1.0)
        _check_range("splats.seen", avatar.splats.seen, 0.0, 1.0)
        _check_range("splats.scales_m", avatar.splats.scales_m, 0.0, 1e3)
        _check_finite("splats.quats_wxyz", avatar.splats.quats_wxyz)
        _check_finite("splats.sh", avatar.splats.sh)
        if avatar.splats.quats_wxyz.norm(dim=-1).min() < 1e-6:
            raise ShapeError("save_avatar: splats.quats_wxyz holds a quaternion of length zero.")
        if avatar.splats.sh.shape[1] not in (1, 4, 9, 16):
            raise ShapeError(
                f"save_avatar: splats.sh must have 1, 4, 9 or 16 coefficients, got {avatar.splats.sh.shape[1]}."
            )


def _check_finite(name: str, values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise ShapeError(f"save_avatar: {name} holds values that are not finite.")


def _check_range(name: str, values: Tensor, low: float | int, high: float | int) -> None:
    if not values.numel():
        return
    found = float(values.min()), float(values.max())
    if not (low <= found[0] and found[1] <= high):
        raise ShapeError(f"save_avatar: {name} must lie in [{low}, {high}], found [{found[0]:.6g}, {found[1]:.6g}].")


def _float(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float32)


def _bone_nodes(rig: Rig) -> list[dict[str, Any]]:
    joints = rig.joints_rest_m.detach().cpu().numpy().astype(np.float64)
    nodes: list[dict[str, Any]] = []
    for bone, (name, parent) in enumerate(zip(rig.bone_names, rig.bone_parents, strict=True)):
        offset = joints[bone] - (joints[parent] if parent >= 0 else 0.0)
        nodes.append({"name": name, "translation": [float(np.float32(x)) for x in offset]})
        if parent >= 0:
            nodes[parent].setdefault("children", []).append(bone)
    return nodes


def _material(texture: dict[str, int] | None = None) -> dict[str, Any]:
    """Colours hold the light of the video already: unlit, and rough where a reader knows no unlit material."""
    shading: dict[str, Any] = {"baseColorFactor": [1.0, 1.0, 1.0, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0}
    if texture is not None:
        shading["baseColorTexture"] = texture
    return {
        "name": "baked" if texture is None else "textured",
        "pbrMetallicRoughness": shading,
        "doubleSided": True,
        "extensions": {UNLIT_EXTENSION: {}},
    }


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


def _mesh_primitive(buffer: BufferBuilder, mesh: Mesh) -> dict[str, Any]:
    positions = _float(mesh.vertices_rest_m)
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
    positions, faces = _float(mesh.vertices_rest_m), mesh.faces.detach().cpu().numpy()
    if mesh.texture is None:
        return unit_normals(positions, faces)
    places, owner = np.unique(positions, axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    return unit_normals(places, owner[faces])[owner]


def _splat_primitive(buffer: BufferBuilder, splats: Splats) -> dict[str, Any]:
    def add(values: np.ndarray, **kwargs: bool) -> int:
        return buffer.add(values, target=TARGET_VERTICES, **kwargs)

    positions = _float(splats.means_rest_m)
    quats = splats.quats_wxyz.detach().double()
    length = quats.norm(dim=-1, keepdim=True)
    quats = quat_wxyz_to_xyzw(torch.where((length - 1).abs() > 1e-6, quats / length, quats))
    sh = _float(splats.sh)
    fallback = np.ones((len(positions), 4))
    fallback[:, :3] = srgb_to_linear(_float(mean_rgb(splats.sh)).clip(0.0, 1.0))
    fallback[:, 3] = _float(splats.opacities)
    attributes = {
        "POSITION": add(positions, bounds=True),
        "COLOR_0": add(np.round(fallback * 255).astype(np.uint8), normalized=True),
        f"{SPLAT_EXTENSION}:ROTATION": add(_float(quats)),
        f"{SPLAT_EXTENSION}:SCALE": add(_float(splats.scales_m)),
        f"{SPLAT_EXTENSION}:OPACITY": add(_float(splats.opacities)),
    }
    coefficient = 0
    for degree in range({1: 0, 4: 1, 9: 2, 16: 3}[sh.shape[1]] + 1):
        for n in range(2 * degree + 1):
            name = f"{SPLAT_EXTENSION}:SH_DEGREE_{degree}_COEF_{n}"
            attributes[name] = add(np.ascontiguousarray(sh[:, coefficient]))
            coefficient += 1
    attributes.update(_skin_attributes(buffer, splats.joints, splats.weights, int(splats.joints.max()) + 1))
    attributes["_SEEN"] = add(_float(splats.seen))
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


def _animation(
    buffer: BufferBuilder, clip: Motion, rig: Rig, skinned: Sequence[tuple[int, tuple[Morph, ...]]]
) -> dict[str, Any]:
    if clip.rotvecs.shape[1] != len(rig.bone_names):
        raise ShapeError(
            f"save_avatar: clip {clip.name!r} has {clip.rotvecs.shape[1]} bones, the rig {len(rig.bone_names)}; "
            "retarget it to this avatar."
        )
    _check_finite(f"clip {clip.name!r}", clip.rotvecs)
    _check_finite(f"clip {clip.name!r}", clip.translation_world_m)
    times = (np.arange(clip.num_frames) / clip.fps_hz).astype(np.float32)
    times_accessor = buffer.add(times, bounds=True)
    first_accessor = -1
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def add(node: int, path: str, values: np.ndarray, *, constant: bool) -> None:
        nonlocal first_accessor
        if constant and first_accessor < 0:
            first_accessor = buffer.add(times[:1], bounds=True)
        source = first_accessor if constant else times_accessor
        output = buffer.add(values[:1] if constant else values)
        samplers.append({"input": source, "output": output, "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    quats = _float(quat_wxyz_to_xyzw(rotvec_to_quat_wxyz(clip.rotvecs.double())))
    for frame in range(1, len(quats)):
        # Linear interpolation must take the short way.
        flip = (quats[frame] * quats[frame - 1]).sum(-1) < 0
        quats[frame][flip] *= -1
    for bone in range(quats.shape[1]):
        add(bone, "rotation", quats[:, bone], constant=bool((quats[:, bone] == quats[0, bone]).all()))
    root = rig.bone_parents.index(-1)
    add(root, "translation", _float(clip.translation_world_m + rig.joints_rest_m[root]), constant=False)
    for node, morphs in skinned:
        if morphs and bool((clip.expression != 0).any()):
            columns = [ARKIT_ACTIONS.index(m.name) if m.name in ARKIT_ACTIONS else -1 for m in morphs]
            weights = _float(clip.expression)
            weights = np.stack([weights[:, c] if c >= 0 else np.zeros(len(weights), np.float32) for c in columns], 1)
            add(node, "weights", weights.reshape(-1), constant=False)
    return {"name": clip.name, "samplers": samplers, "channels": channels}


def unit_normals(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals [verts, 3] float32, weighted by area; +Y where a vertex has no face, as glTF wants unit length."""
    normals = vertex_normals_array(positions, faces)
    return np.where(np.linalg.norm(normals, axis=1, keepdims=True) > 0.5, normals, [0.0, 1.0, 0.0]).astype(np.float32)


def srgb_to_linear(values: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB values (IEC 61966-2-1)."""
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * np.maximum(values, 0.0031308) ** (1 / 2.4) - 0.055)
