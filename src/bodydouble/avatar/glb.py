"""Saving and loading avatars: one .glb file for rig, mesh, splats and clips (docs/avatar-format.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodydouble.avatar.glb_correctives import read_basis, read_correctives
from bodydouble.avatar.glb_foreign import read_skinned_mesh, rest_rig
from bodydouble.avatar.glb_primitives import FORMAT_VERSION, SKIN_EXTENSION, SPLAT_EXTENSION
from bodydouble.avatar.glb_skin import read_morphs, read_skin_attributes
from bodydouble.avatar.glb_write import avatar_to_glb
from bodydouble.avatar.gltf_reader import GlbFile
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar, CorrectiveBasis, Correctives, Provenance, Splats
from bodydouble.core.files import write_bytes


def save_avatar(avatar: Avatar, path: Path, *, clips: Sequence[Motion] = ()) -> None:
    """Write an avatar as one .glb, whole or not at all.

    Args:
        avatar: With a mesh, splats, or both.
        path: The file; an existing one is replaced.
        clips: Motions on the avatar's rig, stored as animations that every glTF player can play.
    Raises:
        ShapeError: When the parts do not fit together.
        OutputError: When the file cannot be written.
    """
    write_bytes(Path(path), avatar_to_glb(avatar, clips))


def load_avatar(path: Path) -> Avatar:
    """Read an avatar from a .glb.

    A file of another program is taken as an avatar without splats if it holds a skinned mesh; its bones then get the
    pose of the file as rest pose, and its humanoid map comes from the file (VRM) or from the bones' names.

    Raises:
        InputError: When the file is missing, not a GLB, damaged, or holds nothing that can be posed.
    """
    file = GlbFile(Path(path))
    ours = file.optional(file.optional(file.root, "extras"), "bodydouble")
    if ours:
        version = ours.get("formatVersion")
        if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
            file.fail(
                f"its format version is {version!r:.40}, this program reads up to {FORMAT_VERSION}; update bodydouble"
            )
    found = _find_splats(file)
    mesh_rig, mesh = read_skinned_mesh(file)
    if mesh is None and found is None:
        file.fail(
            "it holds neither a skinned mesh nor skinned splats, so it cannot be posed; give an avatar that "
            "`bodydouble create` wrote, or a rigged .glb"
        )
    splats, rig = None, mesh_rig
    basis = _read_basis(file)
    if mesh is not None:
        mesh = mesh.replace(correctives=_mesh_correctives(file, len(mesh.vertices_rest_m), basis))
    if found is not None:
        primitive, skin, names = found
        splat_rig, bind, bone_of_joint = rest_rig(file, skin)
        if np.abs(bind - np.eye(4)).max() > 1e-3:
            file.fail("its bones were moved away from the rest pose of the splats; export it in its rest pose")
        if mesh is not None and mesh_rig is not None and mesh_rig.bone_names != splat_rig.bone_names:
            file.fail("its mesh and its splats have different skeletons; create it again")
        rig = splat_rig
        splats = _read_splats(file, primitive, names, bone_of_joint)
        attributes = file.child(primitive, "attributes", "the splats")
        count = len(splats.means_rest_m)
        splats = splats.replace(correctives=read_correctives(file, attributes, count, basis))
    assert rig is not None  # one of the two was found
    return Avatar(rig=rig, mesh=mesh, splats=splats, provenance=_read_provenance(file))


def _find_splats(file: GlbFile) -> tuple[dict[str, Any], int, object] | None:
    """The primitive with skinned splats, the index of its skin, and its mesh's extras."""
    meshes = file.objects("meshes")
    for node in file.objects("nodes"):
        if "mesh" not in node or "skin" not in node:
            continue
        mesh = meshes[file.index(node, "mesh", len(meshes), "a node")]
        for primitive in file.object_list(mesh, "primitives", "a mesh"):
            splat = file.extension(primitive, SPLAT_EXTENSION)
            if splat is None:
                continue
            skinned = file.extension(splat, SKIN_EXTENSION)
            if skinned is None:
                continue
            version = skinned.get("version")
            if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
                file.fail(f"its {SKIN_EXTENSION} has version {version!r:.40}; update bodydouble")
            if splat.get("kernel") != "ellipse" or splat.get("colorSpace") != "srgb_rec709_display":
                file.fail(
                    "its splats use a kernel or colour space that is not supported (ellipse, srgb_rec709_display)"
                )
            return primitive, file.index(node, "skin", len(file.objects("skins")), "a node"), mesh.get("extras")
    return None


def _read_basis(file: GlbFile) -> CorrectiveBasis | None:
    """The correctives' basis, unless somebody moved the bones since: their rest positions would not fit any more."""
    if not file.objects("skins"):
        return None
    _, bind, bone_of_joint = rest_rig(file, 0)
    return read_basis(file, bone_of_joint) if np.abs(bind - np.eye(4)).max() < 1e-3 else None


def _mesh_correctives(file: GlbFile, count: int, basis: CorrectiveBasis | None) -> Correctives | None:
    """Those of the mesh, where it is one primitive as this program writes it."""
    for mesh in file.objects("meshes"):
        for primitive in file.object_list(mesh, "primitives", "a mesh"):
            attributes = file.optional(primitive, "attributes")
            if primitive.get("mode", 4) != 4 or "POSITION" not in attributes:
                continue
            accessor = file.index(attributes, "POSITION", len(file.objects("accessors")), "a mesh")
            if file.accessor_info(accessor)[1] == count:
                return read_correctives(file, attributes, count, basis)
    return None


def _read_splats(file: GlbFile, primitive: dict[str, Any], extras: object, bone_of_joint: np.ndarray) -> Splats:
    attributes = file.child(primitive, "attributes", "the splats")

    def read(name: str, width: int, count: int | None = None) -> np.ndarray:
        index = file.index(attributes, name, len(file.objects("accessors")), "the splats")
        return file.array(index, width=width, count=count)

    means = read("POSITION", 3)
    n = len(means)
    quats = read(f"{SPLAT_EXTENSION}:ROTATION", 4, n).astype(np.float32)
    scales = read(f"{SPLAT_EXTENSION}:SCALE", 3, n).astype(np.float32)
    opacities = read(f"{SPLAT_EXTENSION}:OPACITY", 1, n)[:, 0].astype(np.float32)
    if (np.linalg.norm(quats, axis=1) < 1e-6).any() or (scales < 0).any():
        file.fail("its splats have a rotation of length zero or a negative scale; create it again")
    if (opacities < 0).any() or (opacities > 1).any():
        file.fail("its splats have opacities outside [0, 1]; create it again")
    sh = []
    for degree in range(4):
        names = [f"{SPLAT_EXTENSION}:SH_DEGREE_{degree}_COEF_{c}" for c in range(2 * degree + 1)]
        if degree > 0 and not any(name in attributes for name in names):
            break
        sh += [read(name, 3, n).astype(np.float32) for name in names]
    seen = read("_SEEN", 1, n)[:, 0].astype(np.float32)
    joints, weights = read_skin_attributes(file, attributes, n, bone_of_joint)
    return Splats(
        means_rest_m=torch.from_numpy(means.astype(np.float32)),
        quats_wxyz=torch.from_numpy(np.ascontiguousarray(quats[:, [3, 0, 1, 2]])),
        scales_m=torch.from_numpy(scales),
        opacities=torch.from_numpy(opacities),
        sh=torch.from_numpy(np.stack(sh, 1)),
        joints=joints,
        weights=weights,
        seen=torch.from_numpy(np.clip(seen, 0.0, 1.0)),
        morphs=read_morphs(file, primitive, extras, n),
    )


def _read_provenance(file: GlbFile) -> Provenance:
    asset = file.child(file.root, "asset", "the file")
    ours = file.optional(file.optional(asset, "extras"), "bodydouble")

    def text(source: dict[str, Any], key: str) -> str:
        value = source.get(key, "")
        return value if isinstance(value, str) else ""

    extras = {k: v for k, v in file.optional(ours, "extras").items() if isinstance(v, str)}
    return Provenance(
        generator=text(asset, "generator"),
        source_sha256=text(ours, "source_sha256"),
        method=text(ours, "method"),
        body=text(ours, "body"),
        created=text(ours, "created"),
        extras=extras,
    )
