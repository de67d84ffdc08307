"""Putting an avatar into a pose with an expression: splats and mesh in the world, ready to be rendered."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.correctives import corrected_mesh, corrected_splats, correctives_of, pose_coefficients
from bodydouble.avatar.values import Avatar, Mesh, Morph, Splats
from bodydouble.body.protocol import ARKIT_ACTIONS, Pose
from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import quat_multiply_wxyz, quat_wxyz_to_matrix
from bodydouble.core.skinning import bone_transforms, skin_points
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.protocol import SplatCloud
from bodydouble.render.sh import sh_basis, sh_degree
from bodydouble.render.skin import skin_splats


@tensor_struct
class PosedAvatar(TensorStruct):
    """An avatar in the world at one moment; what the avatar lacks is none."""

    splats: SplatCloud | None
    vertices_world_m: Float[Tensor, "verts 3"] | None
    vertex_colors: Float[Tensor, "verts 3"] | None
    """Of the mesh, sRGB in [0, 1], as the pose shades them (`avatar.correctives`)."""
    joints_world_m: Float[Tensor, "bones 3"]


def pose_avatar(
    avatar: Avatar,
    pose: Pose,
    expression: Float[Tensor, " actions"] | None = None,
    *,
    coefficients: Float[Tensor, " coeffs"] | None = None,
    extra: Float[Tensor, " coeffs"] | None = None,
) -> PosedAvatar:
    """Put an avatar into a pose: correctives and morphs first, then skinning.

    Positions follow linear blend skinning (`core.skinning.skin_points`). A splat turns by the blend of its bones'
    rotations as unit quaternions, so that it keeps its size; view-dependent colour turns with it.

    Args:
        avatar: With a mesh, splats, or both.
        pose: One pose (no batch axes) of the avatar's rig.
        expression: Strength of the 52 ARKit actions in [0, 1], in the order of `ARKIT_ACTIONS`; none is neutral.
        coefficients: Of the avatar's correctives; by default what the pose asks for (`avatar.correctives`). Zeros leave
            them out. An avatar without correctives ignores them.
        extra: Added to these: what registration found in one frame (`fit.looks`).
    Returns:
        The posed parts in the world, metres. Differentiable in the pose and the avatar's tensors.
    Raises:
        ShapeError: When the pose is not of this rig, or the expression has not 52 values.
    """
    rig = avatar.rig
    if pose.rotvecs.shape != (len(rig.bone_names), 3):
        raise ShapeError(
            f"pose_avatar: the pose must have shape ({len(rig.bone_names)}, 3) for this rig, got "
            f"{tuple(pose.rotvecs.shape)}; retarget the motion to this avatar first."
        )
    if expression is not None and expression.shape != (len(ARKIT_ACTIONS),):
        raise ShapeError(
            f"pose_avatar: the expression must have {len(ARKIT_ACTIONS)} values, got {tuple(expression.shape)}; "
            "make it with avatar.expressions.expression_tensor."
        )
    R, t = bone_transforms(pose.rotvecs, rig.joints_rest_m, pose.translation_world_m, rig.bone_parents)
    mesh, splats_rest = avatar.mesh, avatar.splats
    correctives = correctives_of(avatar)
    if correctives is not None:
        if coefficients is None:
            coefficients = pose_coefficients(correctives.basis, R, rig.bone_parents)
        coefficients = coefficients if extra is None else coefficients + extra
        mesh = None if mesh is None else corrected_mesh(mesh, coefficients)
        splats_rest = None if splats_rest is None else corrected_splats(splats_rest, coefficients)
    vertices, colors = None, None
    if mesh is not None:
        colors = mesh.colors
        vertices_rest = apply_morphs(mesh.vertices_rest_m, mesh.morphs, expression)
        vertices = _skin_vertices(vertices_rest, R, t, mesh)
    splats = None if splats_rest is None else pose_splats(splats_rest, R, t, expression)
    joints = (R @ rig.joints_rest_m[:, :, None])[:, :, 0] + t
    return PosedAvatar(splats=splats, vertices_world_m=vertices, vertex_colors=colors, joints_world_m=joints)


def _skin_vertices(vertices_rest: Tensor, R: Tensor, t: Tensor, mesh: Mesh) -> Float[Tensor, "verts 3"]:
    """`skin_points`, by its compiled twin where that can do it."""
    if {x.dtype for x in (vertices_rest, R, t, mesh.weights)} != {torch.float32} or R.device.type != "cpu":
        return skin_points(vertices_rest, R, t, mesh.joints, mesh.weights)
    from bodydouble.body.skin import fast_skin_points

    return fast_skin_points(vertices_rest[None], R[None], t[None], mesh.joints, mesh.weights)[0]


def pose_splats(
    splats: Splats,
    R_world_rest: Float[Tensor, "bones 3 3"],
    t_world_rest: Float[Tensor, "bones 3"],
    expression: Float[Tensor, " actions"] | None = None,
) -> SplatCloud:
    """Skinned splats in the world, for bone transforms from `core.skinning.bone_transforms`."""
    means_rest = apply_morphs(splats.means_rest_m, splats.morphs, expression)
    means, quats = skin_splats(means_rest, splats.quats_wxyz, R_world_rest, t_world_rest, splats.joints, splats.weights)
    sh = splats.sh
    if sh.shape[1] > 1:
        undo = splats.quats_wxyz * torch.tensor([1.0, -1.0, -1.0, -1.0]).to(sh)
        sh = rotate_sh(sh, quat_wxyz_to_matrix(quat_multiply_wxyz(quats, undo)))
    return SplatCloud(means_world=means, quats_wxyz=quats, scales_m=splats.scales_m, opacities=splats.opacities, sh=sh)


def apply_morphs(
    points_rest: Float[Tensor, "n 3"], morphs: Sequence[Morph], expression: Float[Tensor, " actions"] | None
) -> Float[Tensor, "n 3"]:
    """Rest positions with the facial actions added that have any strength.

    Args:
        points_rest: Rest positions, metres.
        morphs: By ARKit name; other names are left alone.
        expression: Strengths in the order of `ARKIT_ACTIONS`, or none.
    """
    if expression is None:
        return points_rest
    for morph in morphs:
        if morph.name in ARKIT_ACTIONS and morph.indices.numel():
            strength = expression[ARKIT_ACTIONS.index(morph.name)]
            if float(strength.detach()) != 0.0 or strength.requires_grad:
                points_rest = points_rest.index_add(0, morph.indices, morph.deltas_m * strength)
    return points_rest


def rotate_sh(
    sh_rest: Float[Tensor, "n coeffs channels"], R_world_rest: Float[Tensor, "n 3 3"]
) -> Float[Tensor, "n coeffs channels"]:
    """Spherical harmonics that look in the world, after a turn by R, as the given ones looked in the rest frame.

    Each degree is a space of its own that rotations map to itself: the new coefficients are found from the values in as
    many directions as the degree has functions, by one small matrix for each degree.
    """
    degree = sh_degree(sh_rest.shape[1])
    parts = [sh_rest[:, :1]]
    for order in range(1, degree + 1):
        size, start = 2 * order + 1, order * order
        directions = _spread_directions(size).to(sh_rest)
        solve = torch.linalg.inv(sh_basis(directions, order)[:, start:].double()).to(sh_rest)
        # The value in a world direction d is the rest expansion's value in R^T d.
        directions_rest = torch.einsum("nji,kj->nki", R_world_rest, directions)
        values = sh_basis(directions_rest, order)[..., start:] @ sh_rest[:, start : start + size]
        parts.append(solve @ values)
    return torch.cat(parts, dim=1)


def _spread_directions(count: int) -> Float[Tensor, "count 3"]:
    """Directions in general position on the upper half sphere, so that no two are opposite (a sunflower's spiral)."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1.0 - k / (count + 0.35)
    radius = (1.0 - z * z).sqrt()
    angle = k * math.pi * (3.0 - math.sqrt(5.0))
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1)
