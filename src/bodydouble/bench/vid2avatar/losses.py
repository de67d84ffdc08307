"""The objective: colour, eikonal, and the three self-supervised terms that take the place of masks."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_LAST_EPOCH = 200
_EPS = 1e-6
OFF_SURFACE_M = 0.05


def weights_at(epoch: float) -> tuple[float, float, float, float]:
    """Weights of eikonal, entropy, off-surface and in-surface term at an epoch."""
    e = min(epoch, float(_LAST_EPOCH))
    return 0.1, 5e-3, 3e-3 * (1.0 + e**2 / 40.0), 1e-2 * (1.0 - e / _LAST_EPOCH)


def color_loss(rgb: Float[Tensor, "rays 3"], target: Float[Tensor, "rays 3"]) -> Float[Tensor, ""]:
    """Mean absolute difference."""
    return (rgb - target).abs().mean()


def eikonal_loss(gradient: Float[Tensor, "points 3"]) -> Float[Tensor, ""]:
    """Mean squared deviation of the gradient's length from one."""
    return ((gradient.norm(dim=1) - 1.0) ** 2).mean()


def entropy_loss(opacity: Float[Tensor, " rays"]) -> Float[Tensor, ""]:
    """Twice the mean binary entropy: a ray is the person's or the background's."""
    a = opacity.clamp(_EPS, 1.0 - _EPS)
    return -2.0 * (a * a.log() + (1.0 - a) * (1.0 - a).log()).mean()


def sparse_loss(opacity: Float[Tensor, " rays"], off_surface: Bool[Tensor, " rays"]) -> Float[Tensor, ""]:
    """Mean opacity of rays that pass the known surface at a distance; 0 when there is none."""
    return (opacity * off_surface).sum() / off_surface.sum().clamp_min(1)


def inside_loss(opacity: Float[Tensor, " rays"], through: Bool[Tensor, " rays"]) -> Float[Tensor, ""]:
    """Mean transparency of rays through the known surface; 0 when there is none."""
    return ((1.0 - opacity) * through).sum() / through.sum().clamp_min(1)


def ray_classes(distance_m: Float[Tensor, "rays samples"]) -> tuple[Bool[Tensor, " rays"], Bool[Tensor, " rays"]]:
    """Which rays pass the known surface by more than 5 cm, and which enter it, by the distances of their samples."""
    least = distance_m.min(dim=1).values
    return least > OFF_SURFACE_M, least <= 0.0


def composite(
    weights: Float[Tensor, "rays samples"],
    colors: Float[Tensor, "rays samples 3"],
    left: Float[Tensor, " rays"],
    behind: Float[Tensor, "rays 3"],
) -> Float[Tensor, "rays 3"]:
    """The person over what is behind."""
    return (weights[..., None] * colors).sum(1) + left[:, None] * behind


def background_color(
    density: Float[Tensor, "rays samples"],
    colors: Float[Tensor, "rays samples 3"],
    inverse_radii: Float[Tensor, "rays samples"],
) -> Float[Tensor, "rays 3"]:
    """Composited from near to far, steps in inverse radius, the last without end."""
    step = -inverse_radii.diff(dim=1)
    step = torch.cat([step, torch.full_like(step[:, :1], 1e10)], dim=1)
    alpha = 1.0 - torch.exp(-density * step)
    through = torch.cat([torch.ones_like(alpha[:, :1]), (1.0 - alpha + 1e-10).cumprod(1)[:, :-1]], dim=1)
    return ((alpha * through)[..., None] * colors).sum(1)
