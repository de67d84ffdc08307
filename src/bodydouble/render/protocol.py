"""What every splat rasteriser takes and gives."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.core.struct import TensorStruct, tensor_struct


@tensor_struct
class SplatCloud(TensorStruct):
    """Gaussians in the world, in natural ranges, ready to be rasterised."""

    means_world: Float[Tensor, "n 3"]
    """Centres, metres."""
    quats_wxyz: Float[Tensor, "n 4"]
    """Orientation, any non-zero length (normalised inside, with gradient)."""
    scales_m: Float[Tensor, "n 3"]
    """Standard deviations along the splat's own axes, metres, positive."""
    opacities: Float[Tensor, " n"]
    """Peak opacity in [0, 1]."""
    sh: Float[Tensor, "n coeffs 3"]
    """Spherical harmonics, (degree + 1)^2 coefficients, real basis of 3DGS: colour = max(0, 0.5 + sum c_k Y_k(direction))."""


@tensor_struct
class RenderedSplats(TensorStruct):
    """One image of a splat cloud."""

    rgb: Float[Tensor, "height width 3"]
    """Colour composited over the background, sRGB values."""
    alpha: Float[Tensor, "height width"]
    """Accumulated opacity."""
    depth: Float[Tensor, "height width"]
    """Sum of weight times camera depth, metres (not divided by alpha)."""


class Rasterizer(Protocol):
    """Differentiable rasterisation of a splat cloud.

    The image formation that all implementations share: the 2D covariance is the EWA projection plus 0.3 px^2 on the
    diagonal; a splat reaches as far as its alpha is at least 1/255 (no other cut-off); alpha is clipped to 0.99;
    splats with depth below 0.05 m are skipped; compositing is front to back by depth of the centre (ties by index); a
    pixel stops when its transmittance falls below 1e-4. Where an implementation stops per block, it says so.
    """

    def __call__(
        self, splats: SplatCloud, camera: Camera, background: Float[Tensor, "3"] | None = None
    ) -> RenderedSplats:
        """Rasterise; `background` defaults to black. Differentiable in every tensor of `splats`."""
        ...
