"""What the surface method works on and leaves behind.

Canonical space: the body's rest frame (metres, +Y up, facing +Z, left hand on +X) with the fitted shape in a fixed pose
whose arms are stretched out obliquely and whose legs are apart (`field.canonical_pose`), so that no two limbs touch and
each place belongs to one limb. A point goes between it and the rest pose by the bones' transforms `R_canonical_rest`,
`t_canonical_rest`, blended with the skinning weights of `SkinVolume`, which are a function of the canonical place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.capture.values import BodyTrack
from bodydouble.core.struct import TensorStruct, tensor_struct


@tensor_struct
class Grid(TensorStruct):
    """Samples on a regular lattice in canonical space, interpolated trilinearly between them."""

    origin_canonical_m: Float[Tensor, "3"]
    """Place of the sample [0, 0, 0]; sample [i, j, k] lies at origin + voxel_m * (i, j, k)."""
    voxel_m: float
    values: Float[Tensor, "x y z channels"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of samples along each axis."""
        x, y, z = self.values.shape[:3]
        return x, y, z


@tensor_struct
class SkinVolume(TensorStruct):
    """Skinning weights as a function of the canonical place: sparse at each lattice point, trilinear between them."""

    origin_canonical_m: Float[Tensor, "3"]
    voxel_m: float
    joints: Int[Tensor, "x y z k"]
    """Bones of each lattice point."""
    weights: Float[Tensor, "x y z k"]
    """Non-negative, sum 1; all 0 where a lattice point lies too far from the body to be of use."""


@tensor_struct
class Decoder(TensorStruct):
    """Colour from features, deformed normal and pose: sigmoid(f[:3] + A2 relu(A1 [f[3:], n] + P pose + b1) + b2)."""

    hidden_weight: Float[Tensor, "hidden inputs"]
    pose_weight: Float[Tensor, "hidden pose"]
    """Of the local rotation vectors of `pose_bones`, flattened, radians."""
    hidden_bias: Float[Tensor, " hidden"]
    out_weight: Float[Tensor, "3 hidden"]
    out_bias: Float[Tensor, "3"]


@tensor_struct
class SurfaceField(TensorStruct):
    """A clothed person as a field over canonical space."""

    body: str
    """Name of the body model whose skeleton moves it."""
    shape: Float[Tensor, " shape"]
    """Of the body at which canonical space was made."""
    canonical_rotvecs: Float[Tensor, "bones 3"]
    """Pose of canonical space since the rest pose."""
    R_canonical_rest: Float[Tensor, "bones 3 3"]
    t_canonical_rest: Float[Tensor, "bones 3"]
    sdf: Grid
    """One channel: signed distance to the clothed surface, metres, negative inside."""
    features: Grid
    """On the lattice of `sdf`; the first three channels are the logits of the base colour."""
    decoder: Decoder
    pose_bones: Int[Tensor, " posed"]
    """Bones whose rotations the decoder sees."""
    beta_m: Float[Tensor, ""]
    """Scale of the Laplace density: sigma(s) = 1 / beta * (s > 0 ? exp(-s / beta) / 2 : 1 - exp(s / beta) / 2)."""
    skin: SkinVolume
    limb_radius_m: Float[Tensor, "x y z"]
    """On the lattice of `sdf`: of the limb around (`lattice.limb_radius`), by which the density is sunk."""
    seen: Float[Tensor, "x y z"]
    """How much light of the video each sample of the lattice has explained, summed ray weights; 0 was never seen."""


@runtime_checkable
class World(Protocol):
    """Everything that is not the person. Colours are sRGB values; pixels are positions in the full video frame."""

    def colors_at(self, frame_index: int, pixels_px: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
        """What a frame would show at these positions if the person were away, exposure of that frame included."""
        ...

    def seen(self, frame_index: int, pixels_px: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        """In [0, 1], how sure that is: 0 where no frame ever showed the world there."""
        ...

    def learn(
        self, frame_index: int, pixels_px: Float[Tensor, "n 2"], gradient: Float[Tensor, "n 3"], rate: float
    ) -> None:
        """One step of its own optimiser along the gradient of a loss to `colors_at` at these pixels.

        Args:
            frame_index: Source frame.
            pixels_px: As handed to `colors_at`.
            gradient: Of the loss to each returned colour.
            rate: Step size in units of colour.
        """
        ...


@tensor_struct
class SurfaceImage(TensorStruct):
    """What a camera sees of a person."""

    rgb: Float[Tensor, "height width 3"]
    """Premultiplied with alpha: black where nobody is."""
    alpha: Float[Tensor, "height width"]
    normals_world: Float[Tensor, "height width 3"]
    """Unit normals of the surface, 0 where alpha is below one half."""
    depth_m: Float[Tensor, "height width"]
    """Along the camera's +Z; infinite where alpha is below one half."""


@dataclass(frozen=True, kw_only=True)
class SurfaceLog:
    """How the training went: one entry for each of `steps`."""

    steps: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    terms: tuple[dict[str, float], ...] = ()
    """Mean of each term of the objective since the entry before."""
    voxels_m: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SurfaceResult:
    """What training ends in. Per-frame masks and pictures come from `render.render_frame`."""

    field: SurfaceField
    world: World
    track: BodyTrack
    """The capture's track with poses, translations and focal length as training left them."""
    frame_indices: np.ndarray
    """Source indices of the frames that were trained on."""
    log: SurfaceLog
