"""The objective: what explains the pixels, which rays are the person's, and what a distance field looks like."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.core.seeds import torch_rng
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.reconstruct.surface.config import SurfaceConfig
from bodydouble.render.grid import GridOptimizer, sample_grid

_POINTS = 3000
_SPREAD_M = 0.03
_WIDTH_M = 0.01
"""So that the pull on a ray that misses by far does not depend on the logistic's scale."""
_TRUSTED = 10.0
"""How much more a trusted mask counts than a soft one."""


@tensor_struct
class RayClasses(TensorStruct):
    """Which rays surely miss, and which surely meet, the surface as it was known at the last refresh."""

    off: Bool[Tensor, " rays"]
    inside: Bool[Tensor, " rays"]

    @classmethod
    def of(cls, least_m: Float[Tensor, " rays"], off_surface_m: float) -> RayClasses:
        """From the least distance to the surface along each ray."""
        return cls(off=least_m > off_surface_m, inside=least_m <= 0.0)


def binary_entropy(p: Float[Tensor, " n"], eps: float = 1e-4) -> Float[Tensor, " n"]:
    """Entropy of a coin, nats; finite slopes at 0 and 1."""
    q = p.clamp(eps, 1.0 - eps)
    return -(q * q.log() + (1.0 - q) * (1.0 - q).log())


def mean_of(values: Float[Tensor, " n"], chosen: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Sum over the chosen by the number of all: 0, not NaN, when none is."""
    return (values * chosen).sum() / max(1, len(values))


def ray_terms(
    rgb: Float[Tensor, "rays 3"],
    alpha: Float[Tensor, " rays"],
    target: Float[Tensor, "rays 3"],
    classes: RayClasses,
    mask: Float[Tensor, " rays"] | None,
    progress: float,
    config: SurfaceConfig,
) -> dict[str, Float[Tensor, ""]]:
    """Weighted terms over rays.

    Args:
        rgb: Person over world.
        alpha: Opacity of the person.
        target: The frame.
        classes: Of the rays.
        mask: Evidence from elsewhere, if it is used.
        progress: In [0, 1].
        config: Weights.
    """
    w = config.loss
    terms = {
        "rgb": (rgb - target).abs().mean(),
        "entropy": w.entropy * binary_entropy(alpha).mean(),
        "sparse": w.sparse * (0.02 + progress * progress) * mean_of(alpha, classes.off),
        "inside": w.inside * (1.0 - progress) * mean_of(1.0 - alpha, classes.inside),
    }
    if mask is not None and config.masks != "none":
        p = alpha.clamp(1e-3, 1.0 - 1e-3)
        entropy = -(mask * p.log() + (1.0 - mask) * (1.0 - p).log()).mean()
        terms["mask"] = w.mask * (_TRUSTED if config.masks == "trust" else 1.0) * entropy
    return terms


def silhouette_term(
    least_m: Float[Tensor, " n"],
    person: Float[Tensor, " n"],
    confidence: Float[Tensor, " n"],
    width_m: float,
    rays: int,
) -> Float[Tensor, ""]:
    """Cross entropy of "the ray meets the person" by the least distance along it; reaches rays that miss by far.

    After the mask loss of Yariv et al. 2020 (equation 7).

    Args:
        least_m: Signed distance at each ray's nearest place.
        person, confidence: What is known about the ray.
        width_m: Scale of the logistic.
        rays: By how many the sum is divided.
    """
    terms = torch.nn.functional.binary_cross_entropy_with_logits(-least_m / width_m, person, reduction="none")
    return (terms * confidence).sum() * (width_m / _WIDTH_M) / rays


def field_terms(
    values: Float[Tensor, "x y z channels"],
    lattice: tuple[Float[Tensor, "3"], float],
    surface_points: Float[Tensor, "n 3"],
    gradient: Float[Tensor, "n 3"],
    optimizer: GridOptimizer,
    config: SurfaceConfig,
    step: int,
) -> dict[str, Float[Tensor, ""]]:
    """Weighted terms over the field: gradients of length one, and alike a voxel apart.

    Args:
        values, lattice: The field's samples, their origin and spacing.
        surface_points: Canonical places of this step's samples.
        gradient: Of the signed distance there.
        optimizer: Of the values.
        config: Weights.
        step: For the random numbers.
    """
    if len(surface_points) == 0:
        return {}
    rng = torch_rng(config.seed, f"points {step}")
    pick = torch.randint(0, len(surface_points), (_POINTS,), generator=rng)
    a = surface_points[pick] + _SPREAD_M * torch.rand(_POINTS, 1, generator=rng) * torch.randn(
        _POINTS, 3, generator=rng
    )
    b = a + lattice[1] * torch.randn(_POINTS, 3, generator=rng)
    _, slopes = sample_grid(values, *lattice, torch.cat([a, b]), optimizer)
    unit = torch.cat([gradient, slopes])
    lengths = (unit * unit).sum(1).clamp_min(1e-12).sqrt()
    apart = (slopes[:_POINTS] - slopes[_POINTS:]).square().sum(1)
    return {
        "eikonal": config.loss.eikonal * (lengths - 1.0).square().mean(),
        "smooth": config.loss.smooth * apart.mean(),
    }
