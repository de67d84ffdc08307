"""The shape space of Anny: phenotypes in [0, 1] become blend weights, products of piecewise linear interpolation.

Each phenotype has levels (such as minmuscle, averagemuscle, maxmuscle) at fixed anchors. A blend shape belongs to one
level of each of several phenotypes, and its weight is the product of those levels' interpolation weights
(arXiv:2511.03589, section 3). Beyond the anchors the last segment continues, so that gradients never vanish.
"""

from __future__ import annotations

import itertools
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

PHENOTYPES: tuple[str, ...] = ("gender", "age", "muscle", "weight", "height", "proportions")
"""What shape values mean, in order. gender: 0 male, 1 female; age: 1/3 child, 2/3 young adult, 1 old."""

LEVELS: dict[str, tuple[str, ...]] = {
    "gender": ("male", "female"),
    "age": ("baby", "child", "young", "old"),
    "muscle": ("minmuscle", "averagemuscle", "maxmuscle"),
    "weight": ("minweight", "averageweight", "maxweight"),
    "height": ("minheight", "maxheight"),
    "proportions": ("idealproportions", "uncommonproportions"),
}
"""Levels of each phenotype, at equal distances from 0 to 1."""

RACES: tuple[str, ...] = ("african", "asian", "caucasian")
"""Averaged: the shape space does not expose them."""

BLOCKS: dict[str, tuple[str, ...]] = {
    "universal": ("gender", "age", "muscle", "weight"),
    "race": ("gender", "age"),
    "height": ("gender", "age", "muscle", "weight", "height"),
    "proportions": ("gender", "age", "muscle", "weight", "proportions"),
}
"""Which phenotypes each family of blend shapes depends on."""


@cache
def block_rows() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every blend shape as its family and one level of each phenotype of that family."""
    rows = []
    for block, phenotypes in BLOCKS.items():
        for levels in itertools.product(*(LEVELS[p] for p in phenotypes)):
            if block == "proportions" and "baby" in levels:
                continue  # a baby has no shapes of this family
            rows.append((block, levels))
    return tuple(rows)


@cache
def _row_factors() -> Tensor:
    """Index into the concatenated level weights (plus a last constant 1) of each row's factors: (rows, phenotypes)."""
    start, place = 0, {}
    for phenotype in PHENOTYPES:
        for level in LEVELS[phenotype]:
            place[level] = start
            start += 1
    return torch.tensor(
        [
            [next((place[level] for level in levels if level in LEVELS[p]), start) for p in PHENOTYPES]
            for _, levels in block_rows()
        ]
    )


def level_weights(value: Float[Tensor, "*batch"], num_levels: int) -> Float[Tensor, "*batch levels"]:
    """Interpolation weights of levels at 0, ..., 1; they sum to 1 and continue linearly outside. Differentiable."""
    position = value * (num_levels - 1)
    segment = (torch.ceil(position.detach()) - 1).clamp(0, num_levels - 2)
    fraction = (position - segment)[..., None]
    segment = segment.long()[..., None]
    index = torch.arange(num_levels, device=value.device)
    return torch.where(index == segment, 1.0 - fraction, torch.where(index == segment + 1, fraction, 0.0 * fraction))


def blend_weights(shape: Float[Tensor, "*batch shape"]) -> Float[Tensor, "*batch rows"]:
    """Weight of each blend shape of `block_rows()`. Differentiable."""
    groups = [level_weights(shape[..., i], len(LEVELS[p])) for i, p in enumerate(PHENOTYPES)]
    groups.append(torch.ones_like(shape[..., :1]))
    levels = torch.cat(groups, dim=-1)
    factors = _row_factors().to(shape.device)
    product = levels[..., factors[:, 0]]
    for i in range(1, factors.shape[1]):
        product = product * levels[..., factors[:, i]]
    return product


def corner_shapes() -> Float[Tensor, "corners shape"]:
    """Every combination of the phenotypes' levels: all bodies are affine combinations of these."""
    axes = [torch.linspace(0.0, 1.0, len(LEVELS[p]), dtype=torch.float64).tolist() for p in PHENOTYPES]
    return torch.tensor(list(itertools.product(*axes)), dtype=torch.float64)
