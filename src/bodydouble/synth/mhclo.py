"""Reads MakeHuman's fitting files (`.mhclo` and the OBJ mesh they belong to) and fits the garment onto a body.

Each vertex of a garment is tied to one or three vertices of the base mesh: a weighted sum of their positions plus an
offset, which is scaled along each axis by the ratio of a distance on the shaped body to the one at the design's.
Format: "Proxy files" in MakeHuman's documentation of its file formats. Lengths in the file are decimetres.
Files come from anywhere, so sizes, numbers and paths are checked before anything is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from bodydouble.core.errors import InputError

_UNITS_PER_METRE = 10.0
_MOST_BYTES = 32_000_000
_MOST_VERTICES = 200_000
_FARTHEST_OFFSET = 50.0
_BASE_NAMES = ("hm08", "mh_hm08")
_AXES = ("x_scale", "y_scale", "z_scale")


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """A garment as its files describe it."""

    name: str
    tags: tuple[str, ...]
    anchors: Int[ndarray, "n 3"]
    """Vertices of the base mesh that carry each vertex."""
    weights: Float[ndarray, "n 3"]
    offsets: Float[ndarray, "n 3"]
    """In the file's units."""
    scale_pairs: Int[ndarray, "3 2"]
    """For x, y and z: the two vertices of the base mesh whose distance along the axis scales the offsets."""
    scale_lengths: Float[ndarray, " 3"]
    """That distance at the design's body, in the file's units."""
    hidden: Bool[ndarray, " base"]
    """Vertices of the base mesh that the garment hides."""
    layer: int
    """The file's z_depth: larger is worn over smaller."""
    faces: Int[ndarray, "f 3"]
    uv: Float[ndarray, "n 2"]
    """Texture coordinates, one of each vertex's; 0 where the mesh has none."""

    def points(self, base_m: Float[ndarray, "base 3"]) -> Float[ndarray, "n 3"]:
        """The garment on a body, metres.

        Args:
            base_m: The base mesh of the body's shape at rest.
        """
        ends = base_m[self.scale_pairs] * _UNITS_PER_METRE
        axis = np.arange(3)
        scale = np.abs(ends[axis, 0, axis] - ends[axis, 1, axis]) / self.scale_lengths
        return (self.weights[..., None] * base_m[self.anchors]).sum(1) + self.offsets * scale / _UNITS_PER_METRE

    def skin_weights(self, base_weights: Float[ndarray, "base bones"]) -> Float[ndarray, "n bones"]:
        """Skinning weights mixed as the positions are; parts outside an anchor's triangle never weigh negatively."""
        mix = np.maximum(self.weights, 0.0)
        mixed = (mix[..., None] * base_weights[self.anchors]).sum(1)
        return mixed / mixed.sum(1, keepdims=True)


def read_mhclo(path: Path, num_base_vertices: int) -> Fitting:
    """Read a fitting file and the mesh it names.

    Args:
        path: The `.mhclo` file; its mesh must lie in the same folder or below.
        num_base_vertices: Of the base mesh it must refer to.
    Raises:
        InputError: When a file is missing, too large, damaged, for another base mesh, or points outside its folder.
    """
    sections = _sections(path, _lines(path))
    header = sections.settings
    base = header.get("basemesh", ["hm08"])[0]
    if base not in _BASE_NAMES:
        raise InputError(
            f"{path} fits the base mesh {base!r}; expected hm08. It is for another kind of body: remove it."
        )
    anchors, weights, offsets = _ties(path, sections.verts, num_base_vertices)
    faces, uv = _read_mesh(_beside(path, header.get("obj_file", [""])[0]), len(anchors))
    scales = [_scale(path, header, name, num_base_vertices) for name in _AXES]
    return Fitting(
        name=" ".join(header.get("name", [path.stem])),
        tags=tuple(sections.tags),
        anchors=anchors,
        weights=weights,
        offsets=offsets,
        scale_pairs=np.array([[a, b] for a, b, _ in scales]),
        scale_lengths=np.array([length for *_, length in scales]),
        hidden=_hidden(path, sections.delete_verts, num_base_vertices),
        layer=_integer(path, header.get("z_depth", ["50"])[0], "z_depth"),
        faces=faces,
        uv=uv,
    )


def _lines(path: Path) -> list[list[str]]:
    """Words of each line, comments left empty so that numbers of lines stay true."""
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise InputError(
                f"{path} has {size / 1e6:.0f} MB; fitting files and their meshes have at most "
                f"{_MOST_BYTES / 1e6:.0f} MB. It is not one: remove it."
            )
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). Is the wardrobe complete?") from error
    return [[] if line.lstrip().startswith("#") else line.split() for line in text.splitlines()]


@dataclass(frozen=True, kw_only=True)
class _Sections:
    """The file's lines by what they are about, with their numbers from 1."""

    settings: dict[str, list[str]]
    tags: list[str]
    verts: list[tuple[int, list[str]]]
    delete_verts: list[tuple[int, list[str]]]


def _sections(path: Path, lines: list[list[str]]) -> _Sections:
    """Sort the lines. Settings may stand anywhere, even between the title `verts` and its list."""
    found = _Sections(settings={}, tags=[], verts=[], delete_verts=[])
    lists: dict[str, list[tuple[int, list[str]]]] = {
        "verts": found.verts,
        "delete_verts": found.delete_verts,
        "weights": [],
    }
    current: list[tuple[int, list[str]]] | None = None
    titled = False
    for number, words in enumerate(lines, start=1):
        if not words:
            continue
        if words[0] in lists:
            current, titled = lists[words[0]], titled or words[0] == "verts"
            if words[0] == "delete_verts" and len(words) > 1:
                found.delete_verts.append((number, words[1:]))
        elif words[0] == "tag":
            found.tags.append(" ".join(words[1:]).lower())
        elif words[0].lstrip("+-").isdigit() and current is not None:
            current.append((number, words))
        elif words[0] != "-":
            found.settings[words[0]] = words[1:] or [""]
    if not titled:
        raise InputError(
            f"{path} has no line `verts`, after which its vertices are tied to the body. It is no fitting file or "
            "damaged."
        )
    return found


def _ties(path: Path, lines: list[tuple[int, list[str]]], num_base: int) -> tuple[ndarray, ndarray, ndarray]:
    """Anchors, weights and offsets of the vertices."""
    if len(lines) > _MOST_VERTICES:
        raise InputError(f"{path} has more than {_MOST_VERTICES} vertices; that is no garment. Remove it.")
    rows: list[tuple[list[int], list[float]]] = []
    for number, words in lines:
        try:
            if len(words) == 1:
                rows.append(([int(words[0])] * 3, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
            elif len(words) == 9:
                rows.append(([int(w) for w in words[:3]], [float(w) for w in words[3:]]))
            else:
                raise ValueError
        except ValueError:
            raise InputError(
                f"{path}, line {number}: expected one vertex number, or three with three weights and three "
                f"offsets, found {' '.join(words)[:60]!r}. The file is damaged."
            ) from None
    if not rows:
        raise InputError(f"{path} ties no vertices to the body: the list after `verts` is empty. The file is damaged.")
    anchors, values = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if anchors.min() < 0 or anchors.max() >= num_base:
        raise InputError(
            f"{path}: vertices of the base mesh are 0 to {num_base - 1}, found {anchors.min()} to {anchors.max()}. "
            "It is for another base mesh, or damaged."
        )
    sums = values[:, :3].sum(1)
    if not np.isfinite(values).all() or np.abs(values[:, 3:]).max() > _FARTHEST_OFFSET or np.abs(sums - 1).max() > 0.05:
        raise InputError(
            f"{path}: weights of a vertex must sum to 1 and offsets stay below {_FARTHEST_OFFSET:.0f} decimetres. "
            "The file is damaged."
        )
    return anchors, values[:, :3] / sums[:, None], values[:, 3:]


def _scale(path: Path, header: dict[str, list[str]], name: str, num_base: int) -> tuple[int, int, float]:
    """Two vertices and their distance at the design's body; without such a line offsets keep their size."""
    if name not in header:
        raise InputError(
            f"{path} has no line {name}, which says how offsets grow with the body. Fitting files without it are not "
            "supported: save it again with MakeHuman's tools."
        )
    words = header[name]
    try:
        a, b, length = int(words[0]), int(words[1]), float(words[2])
    except (ValueError, IndexError):
        raise InputError(
            f"{path}: {name} needs two vertex numbers and a length, found {' '.join(words)[:60]!r}. The file is damaged."
        ) from None
    if not (0 <= a < num_base and 0 <= b < num_base and np.isfinite(length) and length > 1e-6):
        raise InputError(
            f"{path}: {name} needs vertices from 0 to {num_base - 1} and a positive length, found {a}, {b} and "
            f"{length}. The file is damaged."
        )
    return a, b, length


def _hidden(path: Path, lines: list[tuple[int, list[str]]], num_base: int) -> Bool[ndarray, " base"]:
    """Numbers and ranges `a - b` of `delete_verts`."""
    hidden = np.zeros(num_base, bool)
    for number, words in lines:
        numbers = [word if word == "-" else _integer(path, word, "delete_verts") for word in words]
        place = 0
        while place < len(numbers):
            first = last = numbers[place]
            if place + 2 < len(numbers) and numbers[place + 1] == "-":
                last, place = numbers[place + 2], place + 2
            if first == "-" or last == "-" or not 0 <= int(first) <= int(last) < num_base:
                raise InputError(
                    f"{path}, line {number}: delete_verts must list vertices from 0 to {num_base - 1} and rising "
                    f"ranges `a - b`, found {' '.join(words)[:60]!r}. The file is damaged."
                )
            hidden[int(first) : int(last) + 1] = True
            place += 1
    return hidden


def _integer(path: Path, word: str, what: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise InputError(f"{path}: {what} needs whole numbers, found {word[:40]!r}. The file is damaged.") from None


def _beside(path: Path, name: str) -> Path:
    """The named file, if it lies in the fitting file's folder or below."""
    if not name:
        raise InputError(f"{path} names no mesh (a line `obj_file NAME`). The file is damaged.")
    folder = path.parent.resolve()
    mesh = (folder / name).resolve()
    if not mesh.is_relative_to(folder):
        raise InputError(
            f"{path} names the mesh {name!r}, which lies outside its folder. Put the mesh beside the file."
        )
    return mesh


def _read_mesh(path: Path, expected: int) -> tuple[Int[ndarray, "f 3"], Float[ndarray, "n 2"]]:
    """Triangles and texture coordinates of an OBJ mesh; where its vertices are does not matter."""
    count, texcoords, corners = 0, [], []
    for number, words in enumerate(_lines(path)):
        try:
            if not words:
                continue
            if words[0] == "v":
                count += 1
            elif words[0] == "vt":
                texcoords.append((float(words[1]), float(words[2])))
            elif words[0] == "f":
                ring = [_corner(word) for word in words[1:]]
                if len(ring) < 3:
                    raise ValueError
                # A polygon as a fan of triangles.
                corners.extend((ring[0], ring[k], ring[k + 1]) for k in range(1, len(ring) - 1))
        except (ValueError, IndexError):
            raise InputError(
                f"{path}, line {number + 1}: {' '.join(words)[:60]!r} is no line of an OBJ mesh. The file is damaged."
            ) from None
    if count != expected:
        raise InputError(
            f"{path} has {count} vertices; its fitting file ties {expected}. They do not belong together: get both anew."
        )
    table = np.array(corners, np.int64).reshape(-1, 3, 2)
    if (
        not len(table)
        or table[..., 0].min() < 0
        or table[..., 0].max() >= count
        or table[..., 1].max() >= len(texcoords)
    ):
        raise InputError(f"{path} has no faces, or faces with vertices it lacks ({count} are there). It is damaged.")
    uv = np.zeros((count, 2))
    has = table[..., 1] >= 0
    uv[table[..., 0][has]] = np.array(texcoords).reshape(-1, 2)[table[..., 1][has]]
    return table[..., 0], uv


def _corner(word: str) -> tuple[int, int]:
    """Vertex and texture coordinate, from 0; -1 where there is no texture coordinate."""
    parts = word.split("/")
    vertex = int(parts[0]) - 1
    texcoord = int(parts[1]) - 1 if len(parts) > 1 and parts[1] else -1
    if max(vertex, texcoord) > _MOST_BYTES:
        raise ValueError
    return vertex, texcoord
