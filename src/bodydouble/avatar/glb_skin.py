"""What meshes and splats share in a GLB file: skin attributes and morph targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bodydouble.avatar.gltf_reader import GlbFile
from bodydouble.avatar.values import Morph

MAX_MORPHS = 1024


def read_skin_attributes(
    file: GlbFile, attributes: dict[str, Any], count: int, bone_of_joint: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Joints [count, 4] and weights [count, 4] of a skinned primitive; rows sum to 1.

    Args:
        file: An opened file.
        attributes: Of the primitive.
        count: Number of elements.
        bone_of_joint: Bone of the rig for each joint of the skin.
    Raises:
        InputError: When they are missing, out of range, or all zero for an element.
    """
    total = len(file.objects("accessors"))
    joints = file.array(file.index(attributes, "JOINTS_0", total, "a skinned primitive"), width=4, count=count)
    weights = file.array(file.index(attributes, "WEIGHTS_0", total, "a skinned primitive"), width=4, count=count)
    if joints.dtype.kind != "u" or int(joints.max()) >= len(bone_of_joint):
        file.fail(f"a skinned primitive refers to joint {joints.max()}, but the skeleton has {len(bone_of_joint)}")
    weights = weights.astype(np.float32)
    sums = weights.sum(1, keepdims=True)
    if (weights < 0).any() or (sums < 1e-3).any():
        file.fail("a skinned primitive has negative weights or elements without any weight")
    # What is normalised already stays bit for bit.
    weights = np.where(np.abs(sums - 1) > 1e-5, weights / sums, weights)
    return torch.from_numpy(bone_of_joint[joints]), torch.from_numpy(weights)


def read_morphs(file: GlbFile, primitive: dict[str, Any], extras: object, count: int) -> tuple[Morph, ...]:
    """Morph targets of a primitive with the names in the mesh's `extras.targetNames`."""
    targets = file.object_list(primitive, "targets", "a primitive")
    if len(targets) > MAX_MORPHS:
        file.fail(f"it has {len(targets)} morph targets; at most {MAX_MORPHS} are expected")
    names = extras.get("targetNames") if isinstance(extras, dict) else None
    if not isinstance(names, list) or len(names) != len(targets) or not all(isinstance(n, str) for n in names):
        names = [f"target_{i}" for i in range(len(targets))]
    morphs = []
    for name, target in zip(names, targets, strict=True):
        if "POSITION" not in target:
            continue
        index = file.index(target, "POSITION", len(file.objects("accessors")), "a morph target")
        indices, deltas = file.sparse(index, count=count)
        morphs.append(Morph(name=name, indices=torch.from_numpy(indices), deltas_m=torch.from_numpy(deltas)))
    return tuple(morphs)
