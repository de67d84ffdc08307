"""Pose-dependent correctives in a GLB file: the vendor extension `BODYDOUBLE_pose_correctives` (docs/avatar-format.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bodydouble.avatar.gltf_buffers import TARGET_VERTICES, BufferBuilder
from bodydouble.avatar.gltf_reader import GlbFile
from bodydouble.avatar.values import CorrectiveBasis, Correctives
from bodydouble.core.errors import ShapeError

CORRECTIVES_EXTENSION = "BODYDOUBLE_pose_correctives"
_VERSION = 1
_NODES, _WEIGHTS = "_CORRECTIVE_NODES", "_CORRECTIVE_WEIGHTS"
MAX_COEFFICIENTS = 64
MAX_NODES = 16384
MAX_OFFSET_M = 10.0
"""Offsets for a coefficient at the end of its range, and shades, are refused beyond this: nobody's clothes."""
_ANY_REACH = 1e5
"""Of a file that says nothing: the range of each coefficient bounds them alone."""
_VECTORS = ("feature_mean", "lowest", "highest", "spread")


def check_basis(basis: CorrectiveBasis, bones: int) -> None:
    """Refuse a basis that could not be written so that it reads back the same.

    Raises:
        ShapeError: Saying what was expected and found.
    """
    coeffs, nodes = basis.shades.shape
    features = 3 * (len(basis.turn_bones) + len(basis.up_bones))
    if not (1 <= coeffs <= MAX_COEFFICIENTS and 1 <= nodes <= MAX_NODES and features):
        raise ShapeError(
            f"save_avatar: correctives must have 1 to {MAX_COEFFICIENTS} coefficients, 1 to {MAX_NODES} nodes and some "
            f"features, got {coeffs}, {nodes} and {features}."
        )
    if basis.feature_map.shape != (coeffs, features):
        raise ShapeError(
            f"save_avatar: correctives.feature_map must be ({coeffs}, {features}), got {tuple(basis.feature_map.shape)}."
        )
    for name in ("turn_bones", "up_bones"):
        index = getattr(basis, name)
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < bones:
            raise ShapeError(f"save_avatar: correctives.{name} must name bones 0 to {bones - 1}.")
    for name in ("feature_map", "nodes_rest_m", "offsets_m", "shades", *_VECTORS):
        if not bool(getattr(basis, name).isfinite().all()):
            raise ShapeError(f"save_avatar: correctives.{name} holds values that are not finite.")
    if bool((basis.lowest > basis.highest).any()) or bool((basis.spread < 0).any()):
        raise ShapeError("save_avatar: correctives need lowest <= highest, and spread of 0 or more.")
    if not 0.0 <= float(basis.reach) < 1e6:
        raise ShapeError(f"save_avatar: correctives.reach must be a number of 0 or more, got {float(basis.reach):g}.")
    if _reach(basis) > MAX_OFFSET_M:
        raise ShapeError(f"save_avatar: correctives move or shade by {_reach(basis):.3g}; at most {MAX_OFFSET_M:g}.")


def _reach(basis: CorrectiveBasis) -> float:
    size = torch.maximum(basis.lowest.abs(), basis.highest.abs())
    patterns = torch.cat([basis.offsets_m, basis.shades[..., None]], dim=2)
    return float((size[:, None, None] * patterns.abs()).max())


def basis_extension(buffer: BufferBuilder, basis: CorrectiveBasis) -> dict[str, Any]:
    """The extension's object at the root of the document. Bones are numbers of joints of skin 0."""

    def add(values: Tensor) -> int:
        return buffer.add(values.detach().cpu().numpy().astype(np.float32).reshape(-1))

    def add_vectors(values: Tensor) -> int:
        return buffer.add(values.detach().cpu().numpy().astype(np.float32).reshape(-1, 3))

    return {
        "version": _VERSION,
        "skin": 0,
        "turnJoints": basis.turn_bones.tolist(),
        "upJoints": basis.up_bones.tolist(),
        "featureMap": add(basis.feature_map),
        "featureMean": add(basis.feature_mean),
        "lowest": add(basis.lowest),
        "highest": add(basis.highest),
        "spread": add(basis.spread),
        "reach": float(basis.reach),
        "nodes": add_vectors(basis.nodes_rest_m),
        "offsets": add_vectors(basis.offsets_m),
        "shades": add(basis.shades),
    }


def node_attributes(buffer: BufferBuilder, correctives: Correctives) -> dict[str, int]:
    """The attributes by which the elements of a primitive hang on the nodes."""
    nodes = correctives.nodes.detach().cpu().numpy().astype(np.uint16)
    weights = correctives.weights.detach().cpu().numpy().astype(np.float32)
    return {
        _NODES: buffer.add(nodes, target=TARGET_VERTICES),
        _WEIGHTS: buffer.add(weights, target=TARGET_VERTICES),
    }


def read_basis(file: GlbFile, bone_of_joint: np.ndarray) -> CorrectiveBasis | None:
    """The basis of a file, none where there is none.

    Args:
        file: An opened file.
        bone_of_joint: Bone of the rig for each joint of skin 0.
    Raises:
        InputError: When it is damaged, or too large for what it says it is.
    """
    about = file.extension(file.root, CORRECTIVES_EXTENSION)
    if about is None:
        return None
    if about.get("version") != _VERSION or about.get("skin") != 0:
        file.fail(f"its {CORRECTIVES_EXTENSION} has version {about.get('version')!r:.40}; update bodydouble")
    total = len(file.objects("accessors"))

    def read(name: str, width: int, count: int | None = None) -> np.ndarray:
        values = file.array(file.index(about, name, total, CORRECTIVES_EXTENSION), width=width, count=count)
        if values.dtype != np.float32:
            file.fail(f"{name!r} of {CORRECTIVES_EXTENSION} must be floats, found {values.dtype}")
        return values

    turns, ups = _bones(file, about, "turnJoints", bone_of_joint), _bones(file, about, "upJoints", bone_of_joint)
    features = 3 * (len(turns) + len(ups))
    lowest = read("lowest", 1)
    reach = float(file.numbers([about.get("reach", _ANY_REACH)], 1, f"'reach' of {CORRECTIVES_EXTENSION}")[0])
    if reach < 0.0:
        file.fail(f"'reach' of {CORRECTIVES_EXTENSION} must not be negative, found {reach:g}")
    nodes = read("nodes", 3)
    coeffs = len(lowest)
    if not (coeffs <= MAX_COEFFICIENTS and len(nodes) <= MAX_NODES and features):
        file.fail(
            f"its {CORRECTIVES_EXTENSION} must have at most {MAX_COEFFICIENTS} coefficients and {MAX_NODES} nodes, and "
            f"some features, found {coeffs}, {len(nodes)} and {features}"
        )

    def tensor(values: np.ndarray, *shape: int) -> Tensor:
        return torch.from_numpy(values.reshape(shape).copy())

    basis = CorrectiveBasis(
        turn_bones=torch.from_numpy(turns),
        up_bones=torch.from_numpy(ups),
        feature_map=tensor(read("featureMap", 1, coeffs * features), coeffs, features),
        feature_mean=tensor(read("featureMean", 1, features), features),
        lowest=tensor(lowest, coeffs),
        highest=tensor(read("highest", 1, coeffs), coeffs),
        spread=tensor(read("spread", 1, coeffs), coeffs),
        reach=torch.tensor(reach),
        nodes_rest_m=torch.from_numpy(nodes),
        offsets_m=tensor(read("offsets", 3, coeffs * len(nodes)), coeffs, len(nodes), 3),
        shades=tensor(read("shades", 1, coeffs * len(nodes)), coeffs, len(nodes)),
    )
    if bool((basis.lowest > basis.highest).any()) or bool((basis.spread < 0).any()):
        file.fail(f"its {CORRECTIVES_EXTENSION} needs lowest <= highest, and spread of 0 or more")
    if _reach(basis) > MAX_OFFSET_M:
        file.fail(f"its {CORRECTIVES_EXTENSION} moves or shades by {_reach(basis):.3g}; at most {MAX_OFFSET_M:g}")
    return basis


def _bones(file: GlbFile, about: dict[str, Any], key: str, bone_of_joint: np.ndarray) -> np.ndarray:
    joints = about.get(key)
    if not isinstance(joints, list) or len(joints) > len(bone_of_joint):
        file.fail(f"{key!r} of {CORRECTIVES_EXTENSION} must be an array of at most {len(bone_of_joint)} joints")
    where = f"a joint in {key!r} of {CORRECTIVES_EXTENSION}"
    checked = [file.number(joint, 0, len(bone_of_joint) - 1, where) for joint in joints]
    return bone_of_joint[np.array(checked, dtype=np.int64)]


def read_correctives(
    file: GlbFile, attributes: dict[str, Any], count: int, basis: CorrectiveBasis | None
) -> Correctives | None:
    """How a primitive of `count` elements hangs on the basis; none where either is missing.

    Raises:
        InputError: When a node does not exist, or weights are no weights.
    """
    if basis is None or (_NODES not in attributes and _WEIGHTS not in attributes):
        return None
    total = len(file.objects("accessors"))
    nodes = file.array(file.index(attributes, _NODES, total, "a corrected primitive"), width=4, count=count)
    weights = file.array(file.index(attributes, _WEIGHTS, total, "a corrected primitive"), width=4, count=count)
    if nodes.dtype.kind != "u" or int(nodes.max()) >= len(basis.nodes_rest_m):
        file.fail(f"{_NODES} refers to node {nodes.max()}, but there are {len(basis.nodes_rest_m)}")
    weights = weights.astype(np.float32)
    if (weights < 0).any() or (np.abs(weights.sum(1) - 1.0) > 1e-3).any():
        file.fail(f"each row of {_WEIGHTS} must be weights that sum to 1")
    return Correctives(basis=basis, nodes=torch.from_numpy(nodes.astype(np.int64)), weights=torch.from_numpy(weights))
