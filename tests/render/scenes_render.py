"""Small scenes that the tests of this room share."""

from __future__ import annotations

import torch

from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.render.protocol import RenderedSplats, SplatCloud

FIELDS = ("means_world", "quats_wxyz", "scales_m", "opacities", "sh")


def random_splats(
    n: int, *, seed: int = 0, degree: int = 0, most_opaque: float = 0.95, size_m: float = 0.12
) -> SplatCloud:
    """Splats in a cube around the origin, in float64."""
    rng = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    return SplatCloud(
        means_world=1.2 * uniform(n, 3) - 0.6,
        quats_wxyz=2.0 * uniform(n, 4) - 1.0,
        scales_m=0.01 + size_m * uniform(n, 3),
        opacities=0.05 + (most_opaque - 0.05) * uniform(n),
        sh=uniform(n, (degree + 1) ** 2, 3) - 0.3,
    )


def small_camera(width_px: int = 53, height_px: int = 37, focal_px: float = 55.0) -> Camera:
    """A camera that sees the cube of `random_splats`; odd sizes by default."""
    eye, target = torch.tensor([0.3, 0.4, 2.2]), torch.tensor([0.05, 0.0, 0.0])
    return look_at_camera(eye, target, width_px=width_px, height_px=height_px, focal_px=focal_px)


def leaves(splats: SplatCloud, dtype: torch.dtype = torch.float64) -> SplatCloud:
    """A copy whose tensors collect gradients."""
    return splats.map(lambda t: t.detach().to(dtype).clone().requires_grad_())


def weighted_sum(image: RenderedSplats, seed: int = 0) -> torch.Tensor:
    """A number that depends on every value of an image, each in its own way."""
    rng = torch.Generator().manual_seed(seed)
    total = image.rgb.new_zeros(())
    for values in (image.rgb, image.alpha, image.depth):
        total = total + (values * torch.randn(values.shape, generator=rng, dtype=torch.float64).to(values)).sum()
    return total


def grad_of(tensor: torch.Tensor) -> torch.Tensor:
    """The gradient that a leaf has collected."""
    assert tensor.grad is not None
    return tensor.grad


def gradients(
    rasterizer, splats: SplatCloud, camera: Camera, dtype: torch.dtype, background=None
) -> list[torch.Tensor]:
    """Gradients of `weighted_sum` at every tensor of the splats, in the order of FIELDS."""
    inputs = leaves(splats, dtype)
    weighted_sum(rasterizer(inputs, camera, background)).backward()
    return [grad_of(getattr(inputs, name)) for name in FIELDS]


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-12))
