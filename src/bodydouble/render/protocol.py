"""What every splat rasteriser takes and gives."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.core.struct import TensorStruct, tensor_struct

COVARIANCE_BLUR_PX2 = 0.3
"""Added to the diagonal of the 2D covariance."""
MIN_ALPHA = 1.0 / 255.0
"""Where a splat's alpha falls below this, it ends."""
MAX_ALPHA = 0.99
MIN_TRANSMITTANCE = 1e-4
"""A pixel whose transmittance has fallen below this takes no more splats."""
NEAR_M = 0.05
"""Splats whose centre has less depth than this are skipped."""
FIELD_MARGIN = 0.15
"""Share of the image's size beyond its edges up to which the projection is linearised at the centre itself."""


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
    """Spherical harmonics, (degree + 1)^2 coefficients, real basis of 3DGS:
    colour = max(0, 0.5 + sum c_k Y_k(direction))."""


@tensor_struct
class RenderedSplats(TensorStruct):
    """One image of a splat cloud."""

    rgb: Float[Tensor, "height width 3"]
    """Colour composited over the background, sRGB values."""
    alpha: Float[Tensor, "height width"]
    """Accumulated opacity."""
    depth: Float[Tensor, "height width"]
    """Sum of weight times camera depth, metres (not divided by alpha)."""

    def pixels(self) -> np.ndarray:
        """`rgb` as float32 [height, width, 3], pixel by pixel in memory: rasterisers leave three planes, which array
        code takes for a picture slowly. Not differentiable."""
        import cv2

        return cv2.merge([*self.rgb.detach().cpu().permute(2, 0, 1).numpy()])


@runtime_checkable
class Rasterizer(Protocol):
    """Differentiable rasterisation of a splat cloud.

    The image formation that all implementations share: the 2D covariance is the EWA projection plus 0.3 px^2 on the
    diagonal (linearised at the centre, or at the nearest direction within the field of view plus `FIELD_MARGIN` of the
    image's size on each side); a splat reaches as far as its alpha is at least 1/255 (no other cut-off); alpha is
    clipped to 0.99, with no gradient where it clips; splats with depth below 0.05 m are skipped; compositing is front
    to back by depth of the centre (ties by index); a pixel takes no more splats once its transmittance has fallen
    below 1e-4 (the splat that took it there still counts). Where an implementation stops otherwise, it says so.
    A splat with a number that is not finite is not drawn and gets no gradient: it cannot spoil the rest.
    """

    def __call__(
        self, splats: SplatCloud, camera: Camera, background: Float[Tensor, " 3"] | None = None
    ) -> RenderedSplats:
        """Rasterise; `background` defaults to black. Differentiable in every tensor of `splats`."""
        ...
