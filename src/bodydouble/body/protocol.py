"""The staged body model: model -> shaped -> posed -> vertices. Each stage is an immutable value that keeps its parent.

Frames: the body's rest frame is right-handed, metres, +Y up, the body facing +Z, its left hand on +X. Poses follow
`core.skinning`: one rotation vector per bone about its own joint, in axes parallel to the rest frame.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.struct import TensorStruct, tensor_struct

ARKIT_ACTIONS: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft",
    "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The 52 facial actions of ARKit, in alphabetical order; values in [0, 1]."""


@tensor_struct
class Pose(TensorStruct):
    """A pose of any body with the same bones."""

    rotvecs: Float[Tensor, "*batch bones 3"]
    """Local rotation of each bone since the rest pose, radians."""
    translation_world_m: Float[Tensor, "*batch 3"]
    """Added to the root joint's rest position."""


@runtime_checkable
class PosedBody(Protocol):
    """A body in a pose."""

    @property
    def R_world_rest(self) -> Float[Tensor, "*batch bones 3 3"]: ...
    @property
    def t_world_rest(self) -> Float[Tensor, "*batch bones 3"]: ...
    @property
    def joints_world(self) -> Float[Tensor, "*batch bones 3"]: ...
    def vertices(self) -> Float[Tensor, "*batch verts 3"]:
        """Skinned vertices in the world, metres. Differentiable."""
        ...


@runtime_checkable
class ShapedBody(Protocol):
    """A body with its shape and expression fixed, in the rest pose."""

    @property
    def vertices_rest(self) -> Float[Tensor, "*batch verts 3"]: ...
    @property
    def joints_rest(self) -> Float[Tensor, "*batch bones 3"]: ...
    def with_expression(self, expression: Float[Tensor, "*batch actions"]) -> "ShapedBody":
        """Add facial actions (linear offsets of the rest vertices; joints stay)."""
        ...

    def with_offsets(self, offsets_rest_m: Float[Tensor, "*batch verts 3"]) -> "ShapedBody":
        """Move the rest vertices; joints stay."""
        ...

    def with_pose(self, pose: Pose) -> PosedBody: ...


@runtime_checkable
class BodyModel(Protocol):
    """What the rest of the program knows about a body."""

    @property
    def name(self) -> str: ...
    @property
    def bone_names(self) -> tuple[str, ...]: ...
    @property
    def bone_parents(self) -> tuple[int, ...]:
        """-1 for the root; parents come before children."""
        ...

    @property
    def humanoid(self) -> dict[str, str]:
        """VRM 1.0 humanoid bone name -> this body's bone name (hips, spine, chest, upperChest, neck, head, ...)."""
        ...

    @property
    def shape_names(self) -> tuple[str, ...]: ...
    @property
    def shape_default(self) -> Float[Tensor, " shape"]:
        """The prior's mean: an adult of 1.70 m."""
        ...

    @property
    def action_names(self) -> tuple[str, ...]:
        """Facial actions: `ARKIT_ACTIONS`, for every body. One whose data lack them has them carried over (`body.transfer`)."""
        ...

    @property
    def action_deltas(self) -> Float[Tensor, "actions verts 3"]:
        """Rest-vertex offset of each action at 1, metres, for the default shape."""
        ...

    @property
    def faces(self) -> Int[Tensor, "faces 3"]: ...
    @property
    def uv(self) -> Float[Tensor, "texcoords 2"]:
        """Texture coordinates, glTF's convention (v down)."""
        ...

    @property
    def uv_faces(self) -> Int[Tensor, "faces 3"]: ...
    @property
    def skin_joints(self) -> Int[Tensor, "verts k"]: ...
    @property
    def skin_weights(self) -> Float[Tensor, "verts k"]: ...
    @property
    def part_names(self) -> tuple[str, ...]: ...
    @property
    def vertex_parts(self) -> Int[Tensor, " verts"]:
        """Index into `part_names` of each vertex: body, head, face, left_hand, right_hand, left_foot, right_foot, eyes,
        mouth."""
        ...

    @property
    def relaxed_rotvecs(self) -> Float[Tensor, "bones 3"]:
        """Rest pose with relaxed fingers and hanging arms: the prior for what nobody sees."""
        ...

    def with_shape(self, shape: Float[Tensor, "*batch shape"]) -> ShapedBody:
        """A body of this shape (values in [0, 1], not clamped) in the rest pose."""
        ...

    def height_m(self, shape: Float[Tensor, "*batch shape"]) -> Float[Tensor, "*batch"]:
        """Standing height in the rest pose, metres. Differentiable."""
        ...
