"""Model files of the SMPL family, as their owners distribute them to registered users: .npz, or the original .pkl.

Nothing in a file is run: a pickle may build arrays and nothing else (`core.pickles`). Shapes are checked before an array
of a .npz is read. Layout: SMPL (doi 10.1145/2816795.2818013), SMPL-H (doi 10.1145/3130800.3130883), SMPL-X
(arXiv:1904.05866).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from bodydouble.body.smplx_names import JOINT_NAMES, joint_parents
from bodydouble.core.arrays import Npz
from bodydouble.core.errors import InputError
from bodydouble.core.files import file_sha256
from bodydouble.core.pickles import read_pickle

MAX_FILE_BYTES = 1 << 30
_MAX_VERTS = 40_000
_SHAPES = 300
"""Shape components that come before the expression's in a SMPL-X file of 400; a short file has 10 of each."""
_SHORT = 10
_KIND_OF_JOINTS = {len(names): kind for kind, names in JOINT_NAMES.items()}
_EXPECTED = (
    "v_template (n, 3), shapedirs (n, 3, components), posedirs (n, 3, 9 (joints - 1)), J_regressor (joints, n), "
    "weights (n, joints), kintree_table (2, joints) and f (faces, 3), with 24 joints (SMPL), 52 (SMPL-H) or 55 (SMPL-X)"
)


@dataclass(frozen=True, kw_only=True)
class SmplFile:
    """What a model file says; metres, the model's own rest frame (+Y up, facing +Z, left on +X)."""

    kind: str
    """smpl, smplh or smplx."""
    sha256: str
    template_m: Float[np.ndarray, "verts 3"]
    shapes_m: Float[np.ndarray, "verts 3 shapes"]
    """Offsets of one standard deviation of each shape component."""
    expressions_m: Float[np.ndarray, "verts 3 expressions"]
    correctives_m: Float[np.ndarray, "verts 3 features"]
    """Offsets by each entry of the joints' rotation matrices (row by row, the root's left out) beyond the identity."""
    joint_regressor: Float[np.ndarray, "joints verts"]
    weights: Float[np.ndarray, "verts joints"]
    faces: Int[np.ndarray, "faces 3"]
    uv: Float[np.ndarray, "texcoords 2"] | None
    """v up, as in .obj files."""
    uv_faces: Int[np.ndarray, "faces 3"] | None
    hand_means: Float[np.ndarray, "hands 45"] | None
    """Left and right: rotation vectors of a hand at ease, radians."""
    hand_components: Float[np.ndarray, "hands components 45"] | None
    landmark_faces: Int[np.ndarray, " landmarks"] | None
    """Of the 51 inner landmarks of the iBUG face scheme, where the file has them."""
    landmark_barycentric: Float[np.ndarray, "landmarks 3"] | None


def read_smpl_file(path: Path, *, num_shapes: int = 10, num_expressions: int = 10) -> SmplFile:
    """Read a model file.

    Args:
        path: A .npz, or the original .pkl.
        num_shapes: Leading shape components to keep; fewer if the file has fewer.
        num_expressions: The same for expression components (SMPL-X alone has them).
    Raises:
        InputError: When the file is missing, damaged, of another layout, or holds anything but numbers.
    """
    source = _Source(path)
    template = source.array("v_template", (None, 3))
    verts = len(template)
    if not 100 <= verts <= _MAX_VERTS:
        raise source.wrong(f"v_template has {verts} vertices")
    joints = source.shape("weights", (verts, None))[1]
    if joints not in _KIND_OF_JOINTS:
        raise source.wrong(f"weights are for {joints} joints")
    kind = _KIND_OF_JOINTS[joints]
    weights = source.array("weights", (verts, joints))
    if weights.min() < -1e-6 or np.abs(weights.sum(1) - 1.0).max() > 1e-2:
        raise source.wrong("weights do not sum to 1 for every vertex")
    _check_tree(source, kind)
    shapes, expressions = _directions(source, kind, verts, num_shapes, num_expressions)
    return SmplFile(
        kind=kind,
        sha256=file_sha256(path),
        template_m=template,
        shapes_m=shapes,
        expressions_m=expressions,
        correctives_m=source.array("posedirs", (verts, 3, 9 * (joints - 1)), np.float32),
        joint_regressor=source.array("J_regressor", (joints, verts)),
        weights=weights.clip(0.0),
        faces=source.indices("f", (None, 3), verts),
        **_texture(source),
        **_hands(source, kind),
        **_landmarks(source),
    )


class _Source:
    """The arrays of a file by name, each checked when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: Npz | None = None
        self._values: dict[str, Any] = {}
        if not path.is_file():
            raise InputError(
                f"{path} does not exist; expected the model file of SMPL or SMPL-X that you were given on registering "
                "with its owners (.npz or .pkl). Check the path."
            )
        if path.suffix not in (".npz", ".pkl"):
            raise self.wrong(f"its name ends in {path.suffix or 'nothing'}, expected .npz or .pkl")
        if path.suffix == ".npz":
            self._archive = Npz(path)
            return
        found = read_pickle(path, max_bytes=MAX_FILE_BYTES)
        if not isinstance(found, dict):
            raise self.wrong(f"the pickle holds a {type(found).__name__}")
        self._values = {key.decode("latin1") if isinstance(key, bytes) else key: v for key, v in found.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return self._archive.names if self._archive is not None else tuple(map(str, self._values))

    def wrong(self, found: str) -> InputError:
        """The error of a file with another layout."""
        return InputError(
            f"{self.path} is not a model file of the SMPL family: {found}. Expected {_EXPECTED}. "
            "Name the file as it was downloaded, not a converted one."
        )

    def shape(self, name: str, expected: tuple[int | None, ...]) -> tuple[int, ...]:
        """The shape of an array, which must agree with `expected` (None: any length)."""
        if name not in self.names:
            raise self.wrong(f"there is no {name} (there are {', '.join(sorted(self.names)[:12]) or 'no arrays'})")
        found = self._archive.shape(name) if self._archive is not None else np.shape(self._values[name])
        if len(found) != len(expected) or any(n not in (None, m) for n, m in zip(expected, found, strict=True)):
            wanted = ", ".join("any" if n is None else str(n) for n in expected)
            raise self.wrong(f"{name} has the shape {found}, expected ({wanted})")
        return tuple(found)

    def array(
        self, name: str, expected: tuple[int | None, ...], dtype: type = np.float64, part: Callable | None = None
    ) -> np.ndarray:
        """Finite numbers of a shape; `part` cuts out what is wanted before a copy is made."""
        self.shape(name, expected)
        found = np.asarray(self._archive[name] if self._archive is not None else self._values[name])
        if found.dtype.kind not in "fiu":
            raise self.wrong(f"{name} holds {found.dtype} and not numbers")
        found = np.ascontiguousarray(found if part is None else part(found), dtype)
        if not np.isfinite(found).all():
            raise self.wrong(f"{name} holds values that are not finite")
        return found

    def indices(self, name: str, expected: tuple[int | None, ...], count: int) -> np.ndarray:
        """Whole numbers in [0, count)."""
        found = self.array(name, expected)
        whole = found.astype(np.int64)
        if (whole != found).any() or (whole.size and not 0 <= whole.min() <= whole.max() < count):
            raise self.wrong(f"{name} has entries that are not whole numbers from 0 to {count - 1}")
        return whole


def _check_tree(source: _Source, kind: str) -> None:
    expected = joint_parents(JOINT_NAMES[kind])
    found = source.array("kintree_table", (2, len(expected)))[0]
    if found[1:].astype(np.int64).tolist() != list(expected[1:]):
        raise source.wrong(f"kintree_table is not the tree of {kind}")


def _directions(
    source: _Source, kind: str, verts: int, num_shapes: int, num_expressions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shape and expression components; a SMPL-X file has the latter behind the former."""
    total = source.shape("shapedirs", (verts, 3, None))[2]
    if total < 1:
        raise source.wrong("shapedirs has no components")
    first, shapes = total, total
    if kind == "smplx":
        first = _SHAPES if total > _SHAPES else min(_SHORT, total)
        shapes = first
    shapes = min(num_shapes, shapes)
    stop = min(first + num_expressions, total)
    both = source.array(
        "shapedirs",
        (verts, 3, total),
        part=lambda a: np.concatenate([a[..., :shapes], a[..., first:stop]], -1),
    )
    return both[..., :shapes], both[..., shapes:]


def _texture(source: _Source) -> dict[str, np.ndarray | None]:
    if "vt" not in source.names or "ft" not in source.names:
        return {"uv": None, "uv_faces": None}
    faces = source.shape("f", (None, 3))[0]
    uv = source.array("vt", (None, 2))
    return {"uv": uv, "uv_faces": source.indices("ft", (faces, 3), len(uv))}


def _hands(source: _Source, kind: str) -> dict[str, np.ndarray | None]:
    names = ("hands_meanl", "hands_meanr", "hands_componentsl", "hands_componentsr")
    if kind == "smpl" or not all(name in source.names for name in names):
        return {"hand_means": None, "hand_components": None}
    means = [source.array(name, (45,)) for name in names[:2]]
    components = [source.array(name, (None, 45)) for name in names[2:]]
    if components[0].shape != components[1].shape:
        raise source.wrong("the components of the hands differ in number")
    return {"hand_means": np.stack(means), "hand_components": np.stack(components)}


def _landmarks(source: _Source) -> dict[str, np.ndarray | None]:
    if "lmk_faces_idx" not in source.names or "lmk_bary_coords" not in source.names:
        return {"landmark_faces": None, "landmark_barycentric": None}
    count = source.shape("lmk_faces_idx", (None,))[0]
    faces = source.indices("lmk_faces_idx", (count,), source.shape("f", (None, 3))[0])
    return {"landmark_faces": faces, "landmark_barycentric": source.array("lmk_bary_coords", (count, 3))}
