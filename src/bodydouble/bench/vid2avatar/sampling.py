"""Where rays are sampled: VolSDF's Algorithm 1 for the person, the inverted sphere of NeRF++ for the background."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.bench.vid2avatar.nets import laplace_density

RADIUS = 3.0
"""Of the sphere that holds person and cameras."""
_EPS = 0.1
_FIRST, _MORE, _FINAL, _EXTRA = 128, 128, 64, 32
_ROUNDS, _BISECTIONS = 5, 10

Sdf = Callable[[Float[Tensor, "rays samples"]], Float[Tensor, "rays samples"]]


def sphere_exit(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], radius: float = RADIUS
) -> Float[Tensor, " rays"]:
    """Distance at which rays that begin inside a sphere about the origin leave it; directions have unit length."""
    along = (origins * directions).sum(-1)
    return -along + (along**2 - (origins**2).sum(-1) + radius**2).clamp_min(0.0).sqrt()


def inverse_sphere_points(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], inverse_radii: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays samples 4"]:
    """(unit direction of the point at radius 1 / d of the ray, d), directly: no angles, no cross products."""
    d = inverse_radii.clamp_min(1e-6)[..., None]
    along = (origins * directions).sum(-1)[:, None, None]
    squared = (origins**2).sum(-1)[:, None, None]
    # (o + t v) / r with r = 1 / d; everything in units of r, so nothing overflows far away.
    t = -along * d + ((along * d) ** 2 - squared * d**2 + 1.0).clamp_min(0.0).sqrt()
    return torch.cat([origins[:, None] * d + t * directions[:, None], inverse_radii[..., None]], dim=-1)


def error_bound(
    z: Float[Tensor, "rays samples"], sdf: Float[Tensor, "rays samples"], beta: Float[Tensor, "rays 1"]
) -> Float[Tensor, " rays"]:
    """Bound of the error of each ray's opacity when its integral is a sum over these samples (VolSDF, theorem 1).

    With the distance d* of each section from the surface, the density changes along it by at most
    exp(-d* / beta) / (2 beta^2) per unit of length.
    """
    step = z.diff(dim=1)
    a, b, c = step, sdf[:, :-1].abs(), sdf[:, 1:].abs()
    half = (a + b + c) / 2.0
    area = (half * (half - a) * (half - b) * (half - c)).clamp_min(0.0).sqrt()
    nearest = torch.where(b + c - a > 0.0, 2.0 * area / a.clamp_min(1e-12), torch.zeros_like(a))
    nearest = torch.where(a**2 + b**2 <= c**2, b, nearest)
    nearest = torch.where(a**2 + c**2 <= b**2, c, nearest)
    nearest = torch.where(sdf[:, :-1].sign() * sdf[:, 1:].sign() == 1.0, nearest, torch.zeros_like(nearest))
    sections = torch.exp(-nearest / beta) * step**2 / (4.0 * beta**2)
    summed = sections.cumsum(1)
    density = laplace_density(sdf[:, :-1], beta)
    before = torch.cat([torch.zeros_like(step[:, :1]), (density * step)[:, :-1].cumsum(1)], dim=1)
    # Large exponents are cut: a bound beyond a million only says "not yet".
    return ((torch.exp(summed.clamp_max(13.8)) - 1.0) * torch.exp(-before)).max(dim=1).values


def first_beta(z: Float[Tensor, "rays samples"]) -> Float[Tensor, "rays 1"]:
    """The scale at which the bound holds whatever the distances are (VolSDF, lemma 2)."""
    total = (z.diff(dim=1) ** 2).sum(1, keepdim=True)
    return (total / (4.0 * torch.log(torch.tensor(1.0 + _EPS)))).sqrt()


def section_weights(
    z: Float[Tensor, "rays samples"], sdf: Float[Tensor, "rays samples"], beta: Float[Tensor, "rays 1"] | Tensor
) -> tuple[Float[Tensor, "rays sections"], Float[Tensor, " rays"]]:
    """Weight of each sample but the last, and what is left behind them."""
    free = laplace_density(sdf[:, :-1], beta) * z.diff(dim=1)
    through = torch.exp(-torch.cat([torch.zeros_like(free[:, :1]), free.cumsum(1)], dim=1))
    return through[:, :-1] - through[:, 1:], through[:, -1]


def draw_sorted(
    z: Float[Tensor, "rays samples"], pdf: Float[Tensor, "rays sections"], u: Float[Tensor, "rays drawn"]
) -> Float[Tensor, "rays drawn"]:
    """Places at which the distribution function of a piecewise constant density takes the values u."""
    pdf = pdf / pdf.sum(1, keepdim=True)
    cdf = torch.cat([torch.zeros_like(pdf[:, :1]), pdf.cumsum(1)], dim=1)
    above = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, z.shape[1] - 1)
    low, high = cdf.gather(1, above - 1), cdf.gather(1, above)
    share = ((u - low) / (high - low).clamp_min(1e-9)).clamp(0.0, 1.0)
    start = z.gather(1, above - 1)
    return start + share * (z.gather(1, above) - start)


@torch.no_grad()
def error_bounded_samples(
    sdf: Sdf, far: Float[Tensor, " rays"], beta: float, rng: torch.Generator, *, first: int = _FIRST, more: int = _MORE
) -> Float[Tensor, "rays chosen"]:
    """Ordered samples of each ray from 0 to `far`, dense where the opacity changes: 64 drawn, both ends, 32 picks of all.

    Args:
        sdf: Signed distance at places along the rays.
        far: Where rays end.
        beta: Of the density now.
        rng: Of the random samples.
        first: Even samples to begin with.
        more: Samples added in each round until the bound holds for all rays.
    """
    rays = len(far)
    edges = torch.linspace(0.0, 1.0, first)[None] * far[:, None]
    jitter = torch.rand(rays, first - 2, generator=rng) - 0.5
    z = edges.clone()
    z[:, 1:-1] += jitter * (far / (first - 1))[:, None]
    distance = sdf(z)
    wanted = torch.full((rays, 1), beta)
    now = torch.maximum(first_beta(z), wanted)
    for _ in range(_ROUNDS):
        now = _least_beta(z, distance, wanted, now)
        if bool((now <= wanted).all()):
            break
        weights = _bound_density(z, distance, now)
        added = draw_sorted(z, weights + 1e-6, torch.linspace(0.0, 1.0, more).repeat(rays, 1))
        z, order = torch.cat([z, added], dim=1).sort(dim=1)
        distance = torch.cat([distance, sdf(added)], dim=1).gather(1, order)
    weights, _ = section_weights(z, distance, now)
    drawn = draw_sorted(z, weights + 1e-5, torch.rand(rays, _FINAL, generator=rng))
    picks = z[:, torch.randperm(z.shape[1], generator=rng)[:_EXTRA]]
    ends = torch.stack([torch.zeros_like(far), far], dim=1)
    return torch.cat([drawn, picks, ends], dim=1).sort(dim=1).values


def _least_beta(z: Tensor, sdf: Tensor, wanted: Tensor, now: Tensor) -> Tensor:
    """The least scale at which the bound holds, by bisection between the wanted one and the present one."""
    enough = error_bound(z, sdf, wanted)[:, None] <= _EPS
    low, high = wanted.clone(), now.clone()
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        holds = error_bound(z, sdf, middle)[:, None] <= _EPS
        high, low = torch.where(holds, middle, high), torch.where(holds, low, middle)
    return torch.where(enough, wanted, high)


def _bound_density(z: Tensor, sdf: Tensor, beta: Tensor) -> Tensor:
    """Where a ray's error arises: the pdf of the added samples."""
    weights, _ = section_weights(z, sdf, beta)
    step = z.diff(dim=1)
    nearest = torch.minimum(sdf[:, :-1].abs(), sdf[:, 1:].abs())
    sections = (torch.exp(-nearest / beta) * step**2 / (4.0 * beta**2)).clamp_max(1e6)
    through = 1.0 - (weights.cumsum(1) - weights)
    return (torch.exp(sections.cumsum(1).clamp_max(13.8)) - 1.0) * through


def background_samples(rays: int, rng: torch.Generator, count: int = 32) -> Float[Tensor, "rays samples"]:
    """Inverse radii from 1 / 3 down to 0, one in each of even strata."""
    places = (torch.arange(count) + torch.rand(rays, count, generator=rng)) / count
    return ((1.0 - places) / RADIUS).clamp(0.0, 1.0 / RADIUS)
