"""The avatar value. All rest data share the body's rest frame (+Y up, facing +Z, metres) and the rig's joints."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bodydouble.core.struct import TensorStruct, tensor_struct


@tensor_struct
class Rig(TensorStruct):
    """A skeleton whose bones all have identity rest rotation (see `core.skinning`)."""

    bone_names: tuple[str, ...]
    bone_parents: tuple[int, ...]
    joints_rest_m: Float[Tensor, "bones 3"]
    humanoid: dict[str, str]
    """VRM 1.0 humanoid bone name -> bone name."""


@tensor_struct
class Morph(TensorStruct):
    """One facial action as sparse offsets of rest positions at full strength."""

    name: str
    indices: Int[Tensor, " m"]
    deltas_m: Float[Tensor, "m 3"]


@tensor_struct
class CorrectiveBasis(TensorStruct):
    """What clothes and skin do when the body moves, as a linear function of the pose (`avatar.correctives`).

    A pose gives features, features give coefficients, and each coefficient scales one pattern of offsets and shades on
    nodes spread over the body's surface.
    """

    turn_bones: Int[Tensor, " turns"]
    """Bones whose rotation against their parent is a feature: x, y, z of its unit quaternion with w >= 0."""
    up_bones: Int[Tensor, " ups"]
    """Bones in whose frame the world's up direction is a feature: its x, y, z, minus (0, 1, 0)."""
    feature_map: Float[Tensor, "coeffs features"]
    """Coefficients of centred features: those of all `turn_bones`, then those of all `up_bones`."""
    feature_mean: Float[Tensor, " features"]
    lowest: Float[Tensor, " coeffs"]
    """Range met in training; coefficients of any other pose are kept within."""
    highest: Float[Tensor, " coeffs"]
    reach: Float[Tensor, ""]
    """The coefficients of a pose together, as a vector, are no longer than this: each alone may be usual, and all at once
    what no training frame showed."""
    spread: Float[Tensor, " coeffs"]
    """Standard deviation, over the training frames, of what the pose does not explain of each coefficient."""
    nodes_rest_m: Float[Tensor, "nodes 3"]
    offsets_m: Float[Tensor, "coeffs nodes 3"]
    """Offset of the rest position for a coefficient of 1."""
    shades: Float[Tensor, "coeffs nodes"]
    """Relative change of the colour for a coefficient of 1."""


@tensor_struct
class Correctives(TensorStruct):
    """A basis, and how the elements of a part (splats or vertices) hang on its nodes."""

    basis: CorrectiveBasis
    nodes: Int[Tensor, "n 4"]
    weights: Float[Tensor, "n 4"]
    """Non-negative, rows sum to 1."""


@tensor_struct
class Texture(TensorStruct):
    """Colours laid over a mesh. Vertices on the seams between its charts are doubled, each with its own coordinates."""

    uv: Float[Tensor, "verts 2"]
    """glTF's: (0, 0) is the picture's top left corner, (1, 1) the bottom right one."""
    image: UInt8[Tensor, "height width 3"]
    """sRGB, 8 bits."""


@tensor_struct
class Mesh(TensorStruct):
    """A skinned mesh with colour per vertex, or with a texture."""

    vertices_rest_m: Float[Tensor, "verts 3"]
    faces: Int[Tensor, "faces 3"]
    colors: Float[Tensor, "verts 3"]
    """sRGB in [0, 1]. Of a textured mesh the texture's at the vertices, for readers without textures."""
    joints: Int[Tensor, "verts 4"]
    weights: Float[Tensor, "verts 4"]
    morphs: tuple[Morph, ...] = ()
    correctives: Correctives | None = None
    texture: Texture | None = None


@tensor_struct
class Splats(TensorStruct):
    """Skinned Gaussians in the rest pose, in natural ranges."""

    means_rest_m: Float[Tensor, "n 3"]
    quats_wxyz: Float[Tensor, "n 4"]
    scales_m: Float[Tensor, "n 3"]
    opacities: Float[Tensor, " n"]
    sh: Float[Tensor, "n coeffs 3"]
    """As in `render.protocol.SplatCloud`; evaluated in the rest frame for degrees above 0."""
    joints: Int[Tensor, "n 4"]
    weights: Float[Tensor, "n 4"]
    seen: Float[Tensor, " n"]
    """In [0, 1]: how much the video ever showed of the splat. 0 is invented."""
    morphs: tuple[Morph, ...] = ()
    correctives: Correctives | None = None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where an avatar comes from; written into the file's `asset.extras`."""

    generator: str
    source_sha256: str = ""
    method: str = ""
    body: str = ""
    created: str = ""
    extras: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Avatar:
    """Everything one file holds."""

    rig: Rig
    mesh: Mesh | None
    splats: Splats | None
    provenance: Provenance
