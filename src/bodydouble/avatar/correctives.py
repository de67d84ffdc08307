"""Pose-dependent correctives: clothes that shift and skin that shades, as a small linear basis over the pose.

A pose gives features (turns of the main bones, and which way is up for the limbs), an affine map gives coefficients,
clamped to what training met, and each coefficient scales one smooth pattern of offsets and shades. Nothing here needs a
network. The same coefficients serve splats and mesh.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from bodydouble.avatar.values import Avatar, CorrectiveBasis, Correctives, Mesh, Rig, Splats
from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import matrix_to_quat_wxyz
from bodydouble.render.sh import C0

MAX_SHADE = 0.7
"""A colour changes by this share at most."""

_TURNS = (
    "spine", "chest", "upperChest", "neck", "head",
    "leftShoulder", "leftUpperArm", "leftLowerArm", "leftUpperLeg", "leftLowerLeg",
    "rightShoulder", "rightUpperArm", "rightLowerArm", "rightUpperLeg", "rightLowerLeg",
)  # fmt: skip
_UPS = (
    "hips", "chest", "leftUpperArm", "leftLowerArm", "leftUpperLeg", "rightUpperArm", "rightLowerArm", "rightUpperLeg",
)  # fmt: skip


def feature_bones(rig: Rig) -> tuple[Int[Tensor, " turns"], Int[Tensor, " ups"]]:
    """The bones that make the features of a rig: see `CorrectiveBasis.turn_bones` and `up_bones`."""

    def found(humans: Sequence[str]) -> Int[Tensor, " bones"]:
        names = [rig.humanoid[human] for human in humans if human in rig.humanoid]
        return torch.tensor([rig.bone_names.index(name) for name in names], dtype=torch.long)

    return found(_TURNS), found(_UPS)


def pose_features(
    R_world_rest: Float[Tensor, "*batch bones 3 3"],
    bone_parents: Sequence[int],
    turn_bones: Int[Tensor, " turns"],
    up_bones: Int[Tensor, " ups"],
) -> Float[Tensor, "*batch features"]:
    """What the correctives see of a pose.

    Args:
        R_world_rest: Rotation of each bone since the rest pose (`core.skinning.bone_transforms`).
        bone_parents: Of the rig.
        turn_bones, up_bones: As in `CorrectiveBasis`; a root among `turn_bones` turns against the world.
    Returns:
        For each turn bone x, y, z of its local unit quaternion with w >= 0; for each up bone the world's up direction in
        its frame, minus (0, 1, 0). No features differ from zero in the rest pose. Differentiable but where w = 0.
    """
    parents = torch.as_tensor(bone_parents)[turn_bones]
    R_world_bone = R_world_rest[..., turn_bones, :, :]
    R_world_parent = R_world_rest[..., parents.clamp_min(0), :, :]
    R_world_parent = torch.where((parents < 0)[:, None, None], torch.eye(3).to(R_world_rest), R_world_parent)
    quats = matrix_to_quat_wxyz(R_world_parent.transpose(-1, -2) @ R_world_bone)
    turns = quats[..., 1:]  # w >= 0 already
    # The world's +Y in the frame of a bone is the second row of its rotation.
    ups = R_world_rest[..., up_bones, 1, :] - torch.tensor([0.0, 1.0, 0.0]).to(R_world_rest)
    return torch.cat([turns.flatten(-2), ups.flatten(-2)], dim=-1)


def pose_coefficients(
    basis: CorrectiveBasis, R_world_rest: Float[Tensor, "*batch bones 3 3"], bone_parents: Sequence[int]
) -> Float[Tensor, "*batch coeffs"]:
    """The coefficients that a pose asks for, kept within the range met in training. Arguments as in `pose_features`."""
    features = pose_features(R_world_rest, bone_parents, basis.turn_bones, basis.up_bones)
    coefficients = (features - basis.feature_mean) @ basis.feature_map.transpose(0, 1)
    within = torch.minimum(torch.maximum(coefficients, basis.lowest), basis.highest)
    return within * (basis.reach / within.norm(dim=-1, keepdim=True).clamp_min(1e-9)).clamp(max=1.0)


def corrections(
    correctives: Correctives, coefficients: Float[Tensor, " coeffs"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Offset of the rest position, metres, and relative change of the colour of each element.

    Args:
        correctives: Of splats or of a mesh.
        coefficients: From `pose_coefficients`, perhaps with something of one's own added. Differentiable in them.
    Raises:
        ShapeError: When there are more or fewer coefficients than the basis has.
    """
    basis = correctives.basis
    if coefficients.shape != (len(basis.offsets_m),):
        raise ShapeError(
            f"corrections: this avatar has {len(basis.offsets_m)} coefficients, got {tuple(coefficients.shape)}; "
            "take them from pose_coefficients."
        )
    patterns = torch.cat([basis.offsets_m, basis.shades[..., None]], dim=2)
    on_nodes = torch.einsum("k,knc->nc", coefficients, patterns)
    blended = embedding_bag(correctives.nodes, on_nodes, per_sample_weights=correctives.weights, mode="sum")
    return blended[:, :3], blended[:, 3].clamp(-MAX_SHADE, MAX_SHADE)


def corrected_splats(splats: Splats, coefficients: Float[Tensor, " coeffs"]) -> Splats:
    """Splats with their correctives applied to rest positions and colours; they stay in the rest pose.

    Args:
        splats: Those without correctives are returned as they are.
        coefficients: As many as the basis has patterns. Differentiable in them.
    """
    if splats.correctives is None:
        return splats
    offset, shade = corrections(splats.correctives, coefficients)
    return splats.replace(means_rest_m=splats.means_rest_m + offset, sh=brightened(splats.sh, 1.0 + shade[:, None]))


def corrected_mesh(mesh: Mesh, coefficients: Float[Tensor, " coeffs"]) -> Mesh:
    """`corrected_splats` for a mesh."""
    if mesh.correctives is None:
        return mesh
    offset, shade = corrections(mesh.correctives, coefficients)
    colors = (mesh.colors * (1.0 + shade[:, None])).clamp(0.0, 1.0)
    return mesh.replace(vertices_rest_m=mesh.vertices_rest_m + offset, colors=colors)


def correctives_of(avatar: Avatar) -> Correctives | None:
    """Those of its splats, else of its mesh; both hang on one basis."""
    parts = (avatar.splats, avatar.mesh)
    return next((part.correctives for part in parts if part is not None and part.correctives is not None), None)


def brightened(sh: Float[Tensor, "n coeffs 3"], gain: Float[Tensor, "n channels"]) -> Float[Tensor, "n coeffs 3"]:
    """Harmonics whose colours, 0.5 + sum c_k Y_k, are `gain` times as bright: the constant carries the half, too.

    Args:
        sh: Harmonics of each splat.
        gain: For each splat one factor, or one for each colour channel.
    """
    scaled = sh * gain[:, None]
    return torch.cat([scaled[:, :1] + 0.5 / C0 * (gain[:, None] - 1.0), scaled[:, 1:]], dim=1)
