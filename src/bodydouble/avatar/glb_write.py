"""Writing an avatar as one GLB 2.0 file. The layout is described in docs/avatar-format.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bodydouble.avatar.glb_check import check_avatar, check_finite
from bodydouble.avatar.glb_correctives import CORRECTIVES_EXTENSION, basis_extension, node_attributes
from bodydouble.avatar.glb_primitives import (
    FORMAT_VERSION,
    SKIN_EXTENSION,
    SPLAT_EXTENSION,
    as_float32,
    mesh_primitive,
    splat_primitive,
)
from bodydouble.avatar.glb_texture import write_texture
from bodydouble.avatar.gltf_buffers import BufferBuilder, pack_glb
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar, Mesh, Morph, Provenance, Rig, Splats
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import quat_wxyz_to_xyzw, rotvec_to_quat_wxyz

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
    document: dict[str, Any] = {
        "asset": _asset(avatar.provenance),
        "extensionsUsed": [UNLIT_EXTENSION],
        "extras": {"bodydouble": _rig_extras(rig)},
        "scene": 0,
        "scenes": [],
        "nodes": _bone_nodes(rig),
        "meshes": [],
        "skins": [_skin(buffer, rig)],
        "materials": [],
    }
    parts = [(name, part) for name, part in (("body", avatar.mesh), ("splats", avatar.splats)) if part is not None]
    morphed = [(_add_part(document, buffer, name, part), part.morphs) for name, part in parts]
    if clips:
        document["animations"] = [_animation(buffer, clip, rig, morphed) for clip in clips]
    bases = [part.correctives.basis for _, part in parts if part.correctives is not None]
    if bases:  # mesh and splats share one
        document["extensionsUsed"].append(CORRECTIVES_EXTENSION)
        document["extensions"] = {CORRECTIVES_EXTENSION: basis_extension(buffer, bases[-1])}
    document.update(accessors=buffer.accessors, bufferViews=buffer.views)
    binary = buffer.data()
    document["buffers"] = [{"byteLength": len(binary)}]
    return document, binary


def _skin(buffer: BufferBuilder, rig: Rig) -> dict[str, Any]:
    bones = len(rig.bone_names)
    inverse_bind = np.tile(np.eye(4, dtype=np.float32), (bones, 1, 1))
    inverse_bind[:, :3, 3] = -as_float32(rig.joints_rest_m)
    # Column-major, as glTF stores matrices.
    stored = buffer.add(np.ascontiguousarray(inverse_bind.transpose(0, 2, 1)).reshape(bones, 16))
    root = rig.bone_parents.index(-1)
    return {"name": "rig", "skeleton": root, "inverseBindMatrices": stored, "joints": list(range(bones))}


def _add_part(document: dict[str, Any], buffer: BufferBuilder, name: str, part: Mesh | Splats) -> int:
    """Add mesh or splats with their material, and a scene that shows them alone; returns the index of their node."""
    if isinstance(part, Mesh):
        primitive = mesh_primitive(buffer, part)
        texture = part.texture
        info = None if texture is None else write_texture(buffer, texture, document, primitive["attributes"])
    else:
        primitive, info = splat_primitive(buffer, part), None
        document["extensionsUsed"] += [SPLAT_EXTENSION, SKIN_EXTENSION]
    materials, material = document["materials"], _material(info)
    if material not in materials:
        materials.append(material)
    primitive["material"] = materials.index(material)
    if part.correctives is not None:
        primitive["attributes"].update(node_attributes(buffer, part.correctives))
    mesh: dict[str, Any] = {"name": name, "primitives": [primitive]}
    if part.morphs:
        mesh["weights"] = [0.0] * len(part.morphs)
        mesh["extras"] = {"targetNames": [morph.name for morph in part.morphs]}
    document["meshes"].append(mesh)
    document["nodes"].append({"name": name, "mesh": len(document["meshes"]) - 1, "skin": 0})
    node, root = len(document["nodes"]) - 1, document["skins"][0]["skeleton"]
    document["scenes"].append({"name": "avatar" if name == "body" else "splats", "nodes": [root, node]})
    return node


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


def _animation(
    buffer: BufferBuilder, clip: Motion, rig: Rig, skinned: Sequence[tuple[int, tuple[Morph, ...]]]
) -> dict[str, Any]:
    if clip.rotvecs.shape[1] != len(rig.bone_names):
        raise ShapeError(
            f"save_avatar: clip {clip.name!r} has {clip.rotvecs.shape[1]} bones, the rig {len(rig.bone_names)}; "
            "retarget it to this avatar."
        )
    check_finite(f"clip {clip.name!r}", clip.rotvecs)
    check_finite(f"clip {clip.name!r}", clip.translation_world_m)
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

    quats = as_float32(quat_wxyz_to_xyzw(rotvec_to_quat_wxyz(clip.rotvecs.double())))
    for frame in range(1, len(quats)):
        # Linear interpolation must take the short way.
        flip = (quats[frame] * quats[frame - 1]).sum(-1) < 0
        quats[frame][flip] *= -1
    for bone in range(quats.shape[1]):
        add(bone, "rotation", quats[:, bone], constant=bool((quats[:, bone] == quats[0, bone]).all()))
    root = rig.bone_parents.index(-1)
    add(root, "translation", as_float32(clip.translation_world_m + rig.joints_rest_m[root]), constant=False)
    for node, morphs in skinned:
        if morphs and bool((clip.expression != 0).any()):
            columns = [ARKIT_ACTIONS.index(m.name) if m.name in ARKIT_ACTIONS else -1 for m in morphs]
            weights = as_float32(clip.expression)
            weights = np.stack([weights[:, c] if c >= 0 else np.zeros(len(weights), np.float32) for c in columns], 1)
            add(node, "weights", weights.reshape(-1), constant=False)
    return {"name": clip.name, "samplers": samplers, "channels": channels}
