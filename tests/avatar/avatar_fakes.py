"""A small person made by rule: a humanoid rig in an A-pose, a mesh of boxes around its bones, splats, and BVH text."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bodydouble.avatar.values import Avatar, Mesh, Morph, Provenance, Rig, Splats
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.geometry import rotvec_to_matrix

_MIDDLE = {
    "hips": ("", (0.0, 0.95, 0.0)),
    "spine": ("hips", (0.0, 1.05, -0.01)),
    "chest": ("spine", (0.0, 1.18, -0.02)),
    "upperChest": ("chest", (0.0, 1.30, -0.02)),
    "neck": ("upperChest", (0.0, 1.45, -0.02)),
    "head": ("neck", (0.0, 1.54, 0.0)),
}
_LEFT = {
    "Shoulder": ("upperChest", (0.03, 1.40, -0.01)),
    "UpperArm": ("Shoulder", (0.17, 1.40, -0.02)),
    "LowerArm": ("UpperArm", (0.36, 1.22, -0.03)),
    "Hand": ("LowerArm", (0.53, 1.05, 0.01)),
    "IndexProximal": ("Hand", (0.59, 0.99, 0.05)),
    "IndexIntermediate": ("IndexProximal", (0.615, 0.96, 0.055)),
    "IndexDistal": ("IndexIntermediate", (0.63, 0.94, 0.055)),
    "LittleProximal": ("Hand", (0.58, 0.98, -0.02)),
    "LittleIntermediate": ("LittleProximal", (0.60, 0.955, -0.022)),
    "LittleDistal": ("LittleIntermediate", (0.61, 0.94, -0.024)),
    "UpperLeg": ("hips", (0.10, 0.90, 0.0)),
    "LowerLeg": ("UpperLeg", (0.11, 0.49, 0.01)),
    "Foot": ("LowerLeg", (0.12, 0.09, -0.03)),
    "Toes": ("Foot", (0.125, 0.03, 0.10)),
}


def humanoid_rig() -> Rig:
    """34 bones named as VRM names them; the left is +X, the soles are at y = 0."""
    bones: dict[str, tuple[str, tuple[float, float, float]]] = dict(_MIDDLE)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for name, (parent, (x, y, z)) in _LEFT.items():
            above = parent if parent in _MIDDLE else side + parent
            bones[side + name] = (above, (sign * x, y, z))
    names = tuple(bones)
    return Rig(
        bone_names=names,
        bone_parents=tuple(names.index(parent) if parent else -1 for parent, _ in bones.values()),
        joints_rest_m=torch.tensor([place for _, place in bones.values()]),
        humanoid={name: name for name in names},
    )


def make_avatar(*, coeffs: int = 1, splats_per_bone: int = 6, seed: int = 0) -> Avatar:
    """A person of boxes with splats on them; colours, weights and morphs are random but repeatable."""
    rig = humanoid_rig()
    rng = torch.Generator().manual_seed(seed)
    bones = len(rig.bone_names)
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    box = torch.tensor(
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
         [1, 5, 7], [1, 7, 3]]
    )  # fmt: skip
    vertices = (rig.joints_rest_m[:, None] + corners * 0.04).reshape(-1, 3)
    faces = (box + 8 * torch.arange(bones)[:, None, None]).reshape(-1, 3)
    n = bones * splats_per_bone
    bone_of_splat = torch.arange(bones).repeat_interleave(splats_per_bone)
    means = rig.joints_rest_m[bone_of_splat] + 0.05 * torch.randn(n, 3, generator=rng)
    joints, weights = _skin(torch.arange(bones).repeat_interleave(8), bones, rng)
    splat_joints, splat_weights = _skin(bone_of_splat, bones, rng)
    return Avatar(
        rig=rig,
        mesh=Mesh(
            vertices_rest_m=vertices,
            faces=faces,
            colors=torch.rand(len(vertices), 3, generator=rng),
            joints=joints,
            weights=weights,
            morphs=_morphs(len(vertices), rng),
        ),
        splats=Splats(
            means_rest_m=means,
            quats_wxyz=torch.nn.functional.normalize(torch.randn(n, 4, generator=rng), dim=-1),
            scales_m=0.005 + 0.02 * torch.rand(n, 3, generator=rng),
            opacities=torch.rand(n, generator=rng),
            sh=0.5 * torch.randn(n, coeffs, 3, generator=rng),
            joints=splat_joints,
            weights=splat_weights,
            seen=torch.rand(n, generator=rng),
            morphs=_morphs(n, rng),
        ),
        provenance=Provenance(
            generator="bodydouble tests",
            source_sha256="ab" * 32,
            method="splats",
            body="boxes",
            created="2024-01-01",
            extras={"consent": "given"},
        ),
    )


def _skin(own: Tensor, bones: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The own bone and three others, all different."""
    offsets = torch.stack([torch.randperm(bones - 1, generator=rng)[:3] + 1 for _ in own])
    joints = torch.cat([own[:, None], (own[:, None] + offsets) % bones], 1)
    weights = torch.rand(len(own), 4, generator=rng) * torch.tensor([1.0, 0.3, 0.2, 0.1])
    weights[:, 0] += 1.0
    weights[::3, 2:] = 0.0
    return joints, weights / weights.sum(1, keepdim=True)


def _morphs(count: int, rng: torch.Generator) -> tuple[Morph, ...]:
    """All 52 actions; the last moves nothing."""
    made = []
    for action in ARKIT_ACTIONS:
        size = 0 if action == ARKIT_ACTIONS[-1] else 5
        indices = torch.randperm(count, generator=rng)[:size]
        made.append(Morph(name=action, indices=indices, deltas_m=0.01 * torch.randn(size, 3, generator=rng)))
    return tuple(made)


def bvh_text(rig: Rig, rotvecs: Tensor, root_world_m: Tensor, *, fps_hz: float = 30.0, unit: float = 100.0) -> str:
    """A BVH file of a motion on a rig, in its own rest pose as zero pose, lengths in `1 / unit` metres."""
    joints = rig.joints_rest_m.double() * unit
    lines = ["HIERARCHY"]
    children: dict[int, list[int]] = {}
    for bone, parent in enumerate(rig.bone_parents):
        children.setdefault(parent, []).append(bone)
    order: list[int] = []

    def write(bone: int, depth: int) -> None:
        order.append(bone)
        pad, parent = "  " * depth, rig.bone_parents[bone]
        offset = joints[bone] - (joints[parent] if parent >= 0 else joints[bone])
        lines.append(f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {rig.bone_names[bone]}")
        lines.append(f"{pad}{{")
        lines.append(f"{pad}  OFFSET {offset[0]:.8f} {offset[1]:.8f} {offset[2]:.8f}")
        position = "6 Xposition Yposition Zposition" if parent < 0 else "3"
        lines.append(f"{pad}  CHANNELS {position} Zrotation Xrotation Yrotation")
        for child in children.get(bone, []):
            write(child, depth + 1)
        if bone not in children:
            lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 1 0", f"{pad}  }}"])
        lines.append(f"{pad}}}")

    write(rig.bone_parents.index(-1), 0)
    lines += ["MOTION", f"Frames: {len(rotvecs)}", f"Frame Time: {1.0 / fps_hz:.8f}"]
    R = rotvec_to_matrix(rotvecs.double())
    for frame in range(len(rotvecs)):
        row = (root_world_m[frame].double() * unit).tolist()
        for bone in order:
            row.extend(_zxy_degrees(R[frame, bone].numpy()))
        lines.append(" ".join(f"{v:.8f}" for v in row))
    return "\n".join(lines) + "\n"


def _zxy_degrees(R: np.ndarray) -> tuple[float, float, float]:
    """Angles with R = Rz Rx Ry."""
    x = math.asin(max(-1.0, min(1.0, R[2, 1])))
    z = math.atan2(-R[0, 1], R[1, 1])
    y = math.atan2(-R[2, 0], R[2, 2])
    return math.degrees(z), math.degrees(x), math.degrees(y)
