"""SMPL, SMPL-H and SMPL-X as a `BodyModel`, from the user's own model file. An implementation of ours.

The model's zero pose is the rest pose here (a T, +Y up, facing +Z), its rotation vectors are those of `Pose`, and its
pose correctives are added before skinning, so vertices are the model's own. Two things differ from its documentation:

- Shape values lie around 0.5 like those of every body here: a component of -5 to 5 standard deviations is 0 to 1.
- Facial actions are the 52 of ARKit, carried over from our own body's surface (`body.transfer`); a file's expression
  components come in by `SmplBody.shaped`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.anny_cache import restrict_faces
from bodydouble.body.height import PRIOR_HEIGHT_M, shape_of_height
from bodydouble.body.linear import LinearRig, LinearShapedBody
from bodydouble.body.parts import PART_NAMES, relaxed_hands
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.body.smplx_file import SmplFile, read_smpl_file
from bodydouble.body.smplx_names import JOINT_NAMES, joint_parents, smpl_humanoid
from bodydouble.body.transfer import Carried, carry_over
from bodydouble.body.unwrap import triangle_atlas
from bodydouble.core.errors import ShapeError
from bodydouble.core.struct import TensorStruct, tensor_struct

BETA_SPAN = 10.0
"""Standard deviations between the shape values 0 and 1."""
_ARM_DROP_RAD = 0.9
"""How far the arms of the T hang down in the prior of poses that nobody sees."""
_EXTREMES = 200


@tensor_struct
class SmplBody(TensorStruct):
    """A model of the SMPL family, or the part of it over some of its vertices. Implements `protocol.BodyModel`."""

    name: str
    """smpl, smplh or smplx."""
    file_sha256: str
    bone_names: tuple[str, ...]
    bone_parents: tuple[int, ...]
    humanoid: dict[str, str]
    shape_names: tuple[str, ...]
    shape_default: Float[Tensor, " shape"]
    action_names: tuple[str, ...]
    faces: Int[Tensor, "faces 3"]
    uv: Float[Tensor, "texcoords 2"]
    uv_faces: Int[Tensor, "faces 3"]
    skin_joints: Int[Tensor, "verts k"]
    skin_weights: Float[Tensor, "verts k"]
    part_names: tuple[str, ...]
    vertex_parts: Int[Tensor, " verts"]
    relaxed_rotvecs: Float[Tensor, "bones 3"]
    vertex_ids: Int[Tensor, " verts"]
    """Index of each vertex in the full body."""
    rig: LinearRig
    template_vertices_m: Float[Tensor, "verts 3"]
    shapes_vertices_m: Float[Tensor, "shape verts 3"]
    """By one standard deviation of each shape component."""
    expressions_vertices_m: Float[Tensor, "expressions verts 3"]
    template_joints_m: Float[Tensor, "bones 3"]
    shapes_joints_m: Float[Tensor, "shape bones 3"]
    expressions_joints_m: Float[Tensor, "expressions bones 3"]
    template_extremes_y_m: Float[Tensor, " extremes"]
    shapes_extremes_y_m: Float[Tensor, "shape extremes"]
    hand_means: Float[Tensor, "hands 45"] | None
    hand_components: Float[Tensor, "hands components 45"] | None
    carried: Carried | None
    """What the body has from our own; none for a bare one."""

    @property
    def action_deltas(self) -> Float[Tensor, "actions verts 3"]:
        """Rest-vertex offset of each action at 1, metres; the same for all shapes."""
        return self.rig.dense_actions()

    def betas(self, shape: Float[Tensor, "*batch shape"]) -> Float[Tensor, "*batch shape"]:
        """The model's own shape components, in standard deviations, of shape values."""
        return (shape - 0.5) * BETA_SPAN

    def with_shape(self, shape: Float[Tensor, "*batch shape"]) -> LinearShapedBody:
        """A body of this shape in the rest pose. Differentiable.

        Args:
            shape: Values of `shape_names`, in [0, 1]; not clamped.
        """
        if shape.shape[-1] != len(self.shape_names):
            raise ShapeError(
                f"with_shape: shape must have {len(self.shape_names)} values ({self.shape_names[0]}, ...) on its last "
                f"axis, got shape {tuple(shape.shape)}."
            )
        return self.shaped(self.betas(shape))

    def shaped(
        self, betas: Float[Tensor, "*batch given"], expression: Float[Tensor, "*batch components"] | None = None
    ) -> LinearShapedBody:
        """A body by the model's own numbers, in the rest pose. Differentiable.

        Args:
            betas: Leading shape components, standard deviations.
            expression: Leading expression components of the file, standard deviations; joints follow them a little.
        """
        for given, there, what in (
            (betas, self.shapes_vertices_m, "shape"),
            (expression, self.expressions_vertices_m, "expression"),
        ):
            if given is not None and given.shape[-1] > len(there):
                raise ShapeError(
                    f"shaped: {given.shape[-1]} {what} components were given, and {len(there)} are loaded. "
                    "Load more of the file, or give fewer."
                )
        count = betas.shape[-1]
        vertices = _blend(self.template_vertices_m, betas, self.shapes_vertices_m[:count])
        joints = _blend(self.template_joints_m, betas, self.shapes_joints_m[:count])
        if expression is not None:
            count = expression.shape[-1]
            vertices = _blend(vertices, expression, self.expressions_vertices_m[:count])
            joints = _blend(joints, expression, self.expressions_joints_m[:count])
        return LinearShapedBody(rig=self.rig, vertices_rest=vertices, joints_rest=joints)

    def height_m(self, shape: Float[Tensor, "*batch shape"]) -> Float[Tensor, "*batch"]:
        """Standing height in the rest pose, soles to crown, metres. Differentiable."""
        y = self.template_extremes_y_m + self.betas(shape) @ self.shapes_extremes_y_m
        return y.amax(-1) - y.amin(-1)

    def hand_rotvecs(
        self, side: str, coefficients: Float[Tensor, "*batch given"], *, flat: bool = False
    ) -> Float[Tensor, "*batch 15 3"]:
        """Rotation vectors of a hand's 15 joints, in the model's order, from principal components of the file.

        Args:
            side: left or right.
            coefficients: Of the leading components.
            flat: Whether zero is the flat hand of the rest pose; else it is the file's mean hand.
        """
        if self.hand_means is None or self.hand_components is None:
            raise ShapeError(f"hand_rotvecs: the file of {self.name} has no hand components; give full hand poses.")
        i = ("left", "right").index(side)
        pose = coefficients @ self.hand_components[i, : coefficients.shape[-1]]
        pose = pose if flat else pose + self.hand_means[i]
        return pose.reshape(*pose.shape[:-1], 15, 3)

    def restricted(self, vertex_ids: Int[Tensor, " kept"]) -> SmplBody:
        """The same body with some of its vertices only: shaping, expressing and posing then cost that much less.

        Args:
            vertex_ids: Vertices to keep, in the order they shall have, each once. Faces stay where all corners do.
        """
        rig = self.rig.restricted(vertex_ids)
        faces, kept_faces = restrict_faces(self.faces, vertex_ids, len(self.vertex_ids))
        return self.replace(
            faces=faces,
            uv_faces=self.uv_faces[kept_faces],
            skin_joints=rig.skin_joints,
            skin_weights=rig.skin_weights,
            vertex_parts=self.vertex_parts[vertex_ids],
            vertex_ids=self.vertex_ids[vertex_ids],
            template_vertices_m=self.template_vertices_m[vertex_ids],
            shapes_vertices_m=self.shapes_vertices_m[:, vertex_ids].contiguous(),
            expressions_vertices_m=self.expressions_vertices_m[:, vertex_ids].contiguous(),
            rig=rig,
        )


def _blend(template: Tensor, coefficients: Tensor, basis: Tensor) -> Tensor:
    offset = coefficients @ basis.flatten(1)
    return template + offset.reshape(*offset.shape[:-1], *basis.shape[1:])


def load_smplx(path: Path, *, num_shapes: int = 10, num_expressions: int = 10) -> SmplBody:
    """A body of the SMPL family from the user's own model file, on the CPU in float32. Loaded once per process and file.

    Args:
        path: The .npz or .pkl of SMPL, SMPL-H or SMPL-X.
        num_shapes, num_expressions: Leading components to keep.
    Raises:
        InputError: When the file is missing, damaged, of another layout, or holds anything but numbers.
    """
    path = path.expanduser()
    stamp = path.stat().st_mtime_ns if path.is_file() else 0
    return _load(path, stamp, num_shapes, num_expressions)


@lru_cache(maxsize=2)
def _load(path: Path, _stamp: int, num_shapes: int, num_expressions: int) -> SmplBody:
    """`_stamp` tells a file from the one that lay there before."""
    file = read_smpl_file(path, num_shapes=num_shapes, num_expressions=num_expressions)
    body = bare_body(file)
    key = f"{file.sha256[:20]}-{num_shapes}"
    return with_carried(body, carry_over(body, key=key, landmarks=face_landmarks(file, body)))


def bare_body(file: SmplFile) -> SmplBody:
    """The body of a file, without what is carried over from our own body: no parts, no facial actions."""
    names = JOINT_NAMES[file.kind]
    verts, count = len(file.template_m), file.shapes_m.shape[-1]
    skin_joints, skin_weights = _sparse_weights(file.weights)
    uv, uv_faces = _texture(file)
    rig = LinearRig(
        bone_parents=joint_parents(names),
        skin_joints=skin_joints,
        skin_weights=skin_weights,
        action_vertices=torch.zeros(0, dtype=torch.long),
        action_deltas_m=torch.zeros(len(ARKIT_ACTIONS), 0, 3),
        correctives_m=torch.from_numpy(np.moveaxis(file.correctives_m, -1, 0).astype(np.float32)),
    )
    by_height = np.argsort(file.template_m[:, 1])
    extremes = np.concatenate([by_height[:_EXTREMES], by_height[-_EXTREMES:]])
    body = SmplBody(
        name=file.kind,
        file_sha256=file.sha256,
        bone_names=names,
        bone_parents=rig.bone_parents,
        humanoid=smpl_humanoid(names),
        shape_names=tuple(f"beta_{i}" for i in range(count)),
        shape_default=torch.full((count,), 0.5),
        action_names=ARKIT_ACTIONS,
        faces=torch.from_numpy(file.faces),
        uv=uv,
        uv_faces=uv_faces,
        skin_joints=skin_joints,
        skin_weights=skin_weights,
        part_names=PART_NAMES,
        vertex_parts=torch.zeros(verts, dtype=torch.long),
        relaxed_rotvecs=torch.zeros(len(names), 3),
        vertex_ids=torch.arange(verts),
        rig=rig,
        template_vertices_m=_float(file.template_m),
        shapes_vertices_m=_float(np.moveaxis(file.shapes_m, -1, 0)),
        expressions_vertices_m=_float(np.moveaxis(file.expressions_m, -1, 0)),
        template_joints_m=_float(file.joint_regressor @ file.template_m),
        shapes_joints_m=_float(np.einsum("jv,vis->sji", file.joint_regressor, file.shapes_m)),
        expressions_joints_m=_float(np.einsum("jv,vis->sji", file.joint_regressor, file.expressions_m)),
        template_extremes_y_m=_float(file.template_m[extremes, 1]),
        shapes_extremes_y_m=_float(file.shapes_m[extremes, 1].T),
        hand_means=None if file.hand_means is None else _float(file.hand_means),
        hand_components=None if file.hand_components is None else _float(file.hand_components),
        carried=None,
    )
    body = body.replace(shape_default=shape_of_height(body, PRIOR_HEIGHT_M))
    return body.replace(relaxed_rotvecs=_relaxed(body))


def with_carried(body: SmplBody, carried: Carried) -> SmplBody:
    """The body with parts and facial actions carried over from our own."""
    rig = body.rig.replace(action_vertices=carried.action_vertices, action_deltas_m=carried.action_deltas_m)
    return body.replace(rig=rig, vertex_parts=carried.vertex_parts, carried=carried)


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _sparse_weights(weights: np.ndarray) -> tuple[Tensor, Tensor]:
    """Joints and weights of each vertex, largest first, as many as the vertex with most has."""
    most = max(1, int((weights > 0).sum(1).max()))
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :most]
    found = np.take_along_axis(weights, joints, 1)
    return torch.from_numpy(np.where(found > 0, joints, 0)), _float(found)


def _texture(file: SmplFile) -> tuple[Tensor, Tensor]:
    if file.uv is None or file.uv_faces is None:
        uv, uv_faces = triangle_atlas(len(file.faces))
        return torch.from_numpy(uv), torch.from_numpy(uv_faces)
    return _float(file.uv * [1.0, -1.0] + [0.0, 1.0]), torch.from_numpy(file.uv_faces)


def face_landmarks(file: SmplFile, body: SmplBody) -> Float[Tensor, "landmarks 3"] | None:
    """The file's own 51 face landmarks on the default shape's rest surface, metres; none where the file has none."""
    if file.landmark_faces is None or file.landmark_barycentric is None:
        return None
    corners = body.with_shape(body.shape_default).vertices_rest[body.faces[torch.from_numpy(file.landmark_faces)]]
    return (corners * _float(file.landmark_barycentric)[..., None]).sum(1)


def _relaxed(body: SmplBody) -> Tensor:
    """Arms that hang, and hands at ease: the file's own mean hand, or our own curl where it has fingers but no mean."""
    rotvecs = torch.zeros_like(body.relaxed_rotvecs)
    if body.hand_means is not None:
        first = body.bone_names.index("left_index1")
        rotvecs[first : first + 30] = body.hand_means.reshape(30, 3)
    elif "left_index1" in body.bone_names:
        joints = body.with_shape(body.shape_default).joints_rest
        rotvecs = relaxed_hands(body.bone_names, body.humanoid, joints)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        rotvecs[body.bone_names.index(f"{side}_shoulder"), 2] = sign * _ARM_DROP_RAD
    return rotvecs
