"""Bodies whose rest state is a linear blend: rest vertices, forward kinematics, linear blend skinning.

The stages after the model itself, shared by all bodies of this kind. Each keeps the stage before it.
"""

from __future__ import annotations

import numpy as np  # torch.broadcast_shapes would import its compiler, half a second
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import Pose
from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms, skin_points
from bodydouble.core.struct import TensorStruct, tensor_struct


@tensor_struct
class LinearRig(TensorStruct):
    """What posing a body of any shape takes."""

    bone_parents: tuple[int, ...]
    skin_joints: Int[Tensor, "verts k"]
    skin_weights: Float[Tensor, "verts k"]
    action_vertices: Int[Tensor, " moved"]
    action_deltas_m: Float[Tensor, "actions moved 3"]
    correctives_m: Float[Tensor, "features verts 3"] | None = None
    """Offset of the rest vertices by each entry of the bones' local rotation matrices beyond the identity: row by row,
    in the order of the bones, the root's left out. Bodies without such correctives have none."""

    def dense_actions(self) -> Float[Tensor, "actions verts 3"]:
        """Offset of every vertex by each action at 1, metres."""
        dense = self.action_deltas_m.new_zeros(len(self.action_deltas_m), len(self.skin_joints), 3)
        dense[:, self.action_vertices] = self.action_deltas_m
        return dense

    def restricted(self, vertex_ids: Int[Tensor, " kept"]) -> LinearRig:
        """The rig of some of the vertices, in the order they shall have, each once.

        Raises:
            ShapeError: When there is no such vertex.
        """
        count = len(self.skin_joints)
        if len(vertex_ids) and not 0 <= int(vertex_ids.min()) <= int(vertex_ids.max()) < count:
            raise ShapeError(
                f"restricted: vertex_ids must lie in [0, {count}), got "
                f"[{int(vertex_ids.min())}, {int(vertex_ids.max())}]; they count this body's own vertices."
            )
        moved = torch.full((count,), -1)
        moved[self.action_vertices] = torch.arange(len(self.action_vertices))
        place = moved[vertex_ids]
        return self.replace(
            skin_joints=self.skin_joints[vertex_ids],
            skin_weights=self.skin_weights[vertex_ids],
            action_vertices=(place >= 0).nonzero()[:, 0],
            action_deltas_m=self.action_deltas_m[:, place[place >= 0]].contiguous(),
            correctives_m=None if self.correctives_m is None else self.correctives_m[:, vertex_ids].contiguous(),
        )


@tensor_struct
class LinearShapedBody(TensorStruct):
    """A body of fixed shape and expression in the rest pose. Implements `protocol.ShapedBody`."""

    rig: LinearRig
    vertices_rest: Float[Tensor, "*batch verts 3"]
    joints_rest: Float[Tensor, "*shapes bones 3"]
    """Fewer batch axes than the vertices where expressions differ and shapes do not."""

    def with_expression(self, expression: Float[Tensor, "*batch actions"]) -> LinearShapedBody:
        """Add facial actions: linear offsets of the rest vertices; joints stay. Batch axes broadcast. Differentiable.

        Args:
            expression: Strength of each action, 0 to 1.
        """
        deltas = self.rig.action_deltas_m
        if expression.shape[-1] != deltas.shape[0]:
            raise ShapeError(
                f"with_expression: expression must have {deltas.shape[0]} actions on its last axis, got shape "
                f"{tuple(expression.shape)}; its entries follow BodyModel.action_names."
            )
        offset = (expression @ deltas.flatten(1)).reshape(*expression.shape[:-1], -1, 3)
        batch = np.broadcast_shapes(expression.shape[:-1], self.vertices_rest.shape[:-2])
        vertices = self.vertices_rest.expand(*batch, *self.vertices_rest.shape[-2:])
        if deltas.shape[1]:
            vertices = vertices.index_add(-2, self.rig.action_vertices, offset.expand(*batch, *offset.shape[-2:]))
        return self.replace(vertices_rest=vertices)

    def with_offsets(self, offsets_rest_m: Float[Tensor, "*batch verts 3"]) -> LinearShapedBody:
        """Move the rest vertices; joints stay. Differentiable."""
        return self.replace(vertices_rest=self.vertices_rest + offsets_rest_m)

    def with_pose(self, pose: Pose) -> LinearPosedBody:
        """Put the body into poses. Batch axes of pose and shape broadcast. Differentiable."""
        bones = len(self.rig.bone_parents)
        if pose.rotvecs.shape[-2:] != (bones, 3):
            raise ShapeError(
                f"with_pose: rotvecs must be (..., bones={bones}, 3), got {tuple(pose.rotvecs.shape)}; "
                "the pose belongs to another body."
            )
        batch = np.broadcast_shapes(pose.rotvecs.shape[:-2], self.joints_rest.shape[:-2])
        rotvecs = pose.rotvecs.expand(*batch, bones, 3)
        translation = pose.translation_world_m.expand(*batch, 3)
        R, t = _kinematics(rotvecs, self.joints_rest, translation, self.rig.bone_parents)
        return LinearPosedBody(shaped=self, pose=pose, R_world_rest=R, t_world_rest=t)


@tensor_struct
class LinearPosedBody(TensorStruct):
    """A body in poses. Implements `protocol.PosedBody`."""

    shaped: LinearShapedBody
    pose: Pose
    R_world_rest: Float[Tensor, "*batch bones 3 3"]
    t_world_rest: Float[Tensor, "*batch bones 3"]

    @property
    def joints_world(self) -> Float[Tensor, "*batch bones 3"]:
        """Joint positions in the world, metres. Differentiable."""
        return (self.R_world_rest * self.shaped.joints_rest[..., None, :]).sum(-1) + self.t_world_rest

    def vertices(self) -> Float[Tensor, "*batch verts 3"]:
        """Skinned vertices in the world, pose correctives added before, metres. Differentiable."""
        rig, rest = self.shaped.rig, self.shaped.vertices_rest
        if rig.correctives_m is not None:
            rest = rest + pose_offsets(self.pose.rotvecs, rig.correctives_m)
        return _skin(rest, self.R_world_rest, self.t_world_rest, rig.skin_joints, rig.skin_weights)


def pose_offsets(
    rotvecs: Float[Tensor, "*batch bones 3"], correctives_m: Float[Tensor, "features verts 3"]
) -> Float[Tensor, "*batch verts 3"]:
    """Offsets of rest vertices that a pose brings with it, metres: linear in the rotation matrices of all bones but the
    root (SMPL, doi 10.1145/2816795.2818013, section 3.2). Differentiable.
    """
    beyond = rotvec_to_matrix(rotvecs[..., 1:, :]) - torch.eye(3, dtype=rotvecs.dtype, device=rotvecs.device)
    offset = beyond.flatten(-3) @ correctives_m.flatten(1)
    return offset.reshape(*offset.shape[:-1], *correctives_m.shape[1:])


def _skin(points: Tensor, R: Tensor, t: Tensor, joints: Tensor, weights: Tensor) -> Tensor:
    """`core.skinning.skin_points`, by its compiled twin where that applies: one floating type, on the CPU."""
    same_type = points.dtype == R.dtype == t.dtype == weights.dtype
    if points.device.type != "cpu" or not same_type:
        return skin_points(points, R, t, joints, weights)
    from bodydouble.body.skin import fast_skin_points

    batch = R.shape[:-3]
    points = points if points.dim() == 2 else points.expand(*batch, *points.shape[-2:])
    skinned = fast_skin_points(
        points.reshape(-1, *points.shape[-2:]),
        R.reshape(-1, *R.shape[-3:]),
        t.reshape(-1, *t.shape[-2:]),
        joints,
        weights,
    )
    return skinned.reshape(*batch, *skinned.shape[1:])


def _kinematics(
    rotvecs: Tensor, joints: Tensor, translation: Tensor, parents: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """`core.skinning.bone_transforms`, by its compiled twin where that applies: one shape, on the CPU."""
    same_type = rotvecs.dtype == joints.dtype == translation.dtype
    if joints.dim() != 2 or rotvecs.device.type != "cpu" or not same_type:
        return bone_transforms(rotvecs, joints, translation, parents)
    from bodydouble.core.kinematics import fast_bone_transforms

    batch = rotvecs.shape[:-2]
    R, t = fast_bone_transforms(rotvecs.reshape(-1, *rotvecs.shape[-2:]), joints, translation.reshape(-1, 3), parents)
    return R.reshape(*batch, *R.shape[1:]), t.reshape(*batch, *t.shape[1:])
