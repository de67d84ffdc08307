"""The scene that the kernel figures are measured on: splats on a standing figure, made from capsules."""

from __future__ import annotations

import math

import torch

from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.render.protocol import SplatCloud

# Capsules of a figure 1.7 m tall with its arms held away: start, end, radius, metres.
_CAPSULES = (
    ((0.0, 1.52, 0.0), (0.0, 1.57, 0.02), 0.13),  # head
    ((0.0, 1.36, 0.0), (0.0, 1.46, 0.0), 0.06),  # neck
    ((0.0, 1.00, 0.0), (0.0, 1.26, 0.0), 0.22),  # trunk
    ((0.0, 0.88, 0.0), (0.0, 0.98, 0.0), 0.24),  # hips
    ((0.22, 1.36, 0.0), (0.46, 1.10, 0.05), 0.085),
    ((-0.22, 1.36, 0.0), (-0.46, 1.10, 0.05), 0.085),
    ((0.46, 1.10, 0.05), (0.60, 0.84, 0.15), 0.065),
    ((-0.46, 1.10, 0.05), (-0.60, 0.84, 0.15), 0.065),
    ((0.11, 0.84, 0.0), (0.15, 0.46, 0.02), 0.13),
    ((-0.11, 0.84, 0.0), (-0.15, 0.46, 0.02), 0.13),
    ((0.15, 0.46, 0.02), (0.17, 0.06, -0.02), 0.09),
    ((-0.15, 0.46, 0.02), (-0.17, 0.06, -0.02), 0.09),
)


def figure_splats(num_splats: int) -> SplatCloud:
    """Anisotropic splats of 5 to 15 mm on the surface of the figure, randomly turned, coloured and translucent."""
    rng = torch.Generator().manual_seed(0)
    start, end = (torch.tensor([c[k] for c in _CAPSULES]) for k in (0, 1))
    radius = torch.tensor([c[2] for c in _CAPSULES])
    area = 2 * math.pi * radius * ((end - start).norm(dim=1) + 2 * radius)
    which = torch.multinomial(area, num_splats, replacement=True, generator=rng)
    along = torch.rand(num_splats, 1, generator=rng)
    normal = torch.nn.functional.normalize(torch.randn(num_splats, 3, generator=rng), dim=1)
    means = start[which] + along * (end - start)[which] + radius[which, None] * normal
    torch.randn(num_splats, 1, 3, generator=rng)  # figures of earlier versions were taken with the draws that follow
    sh = 3.0 * (torch.rand(num_splats, 1, 3, generator=rng) - 0.5)
    return SplatCloud(
        means_world=means,
        quats_wxyz=torch.randn(num_splats, 4, generator=rng),
        scales_m=0.005 + 0.010 * torch.rand(num_splats, 3, generator=rng),
        opacities=0.3 + 0.65 * torch.rand(num_splats, generator=rng),
        sh=sh,
    )


def figure_camera(size_px: int) -> Camera:
    """A square image that the figure fills to 80 % of its height."""
    distance = 3.0
    return look_at_camera(
        torch.tensor([0.0, 0.85, distance]),
        torch.tensor([0.0, 0.85, 0.0]),
        width_px=size_px,
        height_px=size_px,
        focal_px=0.8 * size_px * (distance - 0.15) / 1.7,
    )


def rotated_bones(num_bones: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Small motions of bones: the figure stays where it is, near enough."""
    rng = torch.Generator().manual_seed(0)
    R = rotvec_to_matrix(0.02 * torch.randn(num_bones, 3, generator=rng))
    return R, 0.005 * torch.randn(num_bones, 3, generator=rng)
