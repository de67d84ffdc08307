"""Density control: grow where the image pulls hardest, remove what is transparent, huge or astray.

Topology edits walk every field of the state and every optimiser moment alike, so a new per-splat field needs no edit here.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.events import Densified
from bodydouble.core.geometry import quat_wxyz_to_matrix
from bodydouble.reconstruct.splats.config import DensityConfig
from bodydouble.reconstruct.splats.seed import SplatState


def take(state: SplatState, index: Int[Tensor, " m"]) -> SplatState:
    """The splats at `index`, in that order."""
    return state.map(lambda field: field[index])


def concatenate(a: SplatState, b: SplatState) -> SplatState:
    """All splats of `a`, then all of `b`."""
    joined = {f.name: torch.cat([getattr(a, f.name), getattr(b, f.name)]) for f in dataclasses.fields(a)}
    return SplatState(**joined)


def control_density(
    state: SplatState,
    gradient_px: Float[Tensor, " n"],
    config: DensityConfig,
    max_splats: int,
    step: int,
    generator: torch.Generator,
) -> tuple[SplatState, Int[Tensor, " m"], Densified]:
    """One event: prune, then clone small and split large splats among those with the largest gradient.

    Args:
        state: The splats as they are.
        gradient_px: Mean screen-space gradient of each splat since the last event.
        max_splats: Growth stops here.
        step: For the event.
        generator: Places the children of a split.
    Returns:
        The new state; for each new splat the index of the old one it continues, or -1 where it is new (its moments
        start at zero); and what happened.
    """
    opacity = torch.sigmoid(state.logit_opacities)
    largest = state.log_scales.exp().amax(1)
    keep = opacity >= config.min_opacity
    keep &= (state.means - state.anchors).norm(dim=1) <= config.max_drift_m
    keep &= largest <= 2.0 * config.max_scale_m
    room = max(0, max_splats - int(keep.sum()))
    wanted = min(room, math.ceil(config.grow_share * len(opacity)))
    score = torch.where(keep & (opacity > 0.1), gradient_px, torch.zeros_like(gradient_px))
    grow = torch.topk(score, wanted).indices if wanted else torch.zeros(0, dtype=torch.long)
    grow = grow[score[grow] > 0].sort().values
    split = grow[largest[grow] > config.split_scale_m]
    clone = grow[largest[grow] <= config.split_scale_m]

    keep[split] = False
    kept = torch.nonzero(keep)[:, 0]
    children = torch.cat([clone, split, split])
    born = take(state, children)
    shrink = torch.zeros(len(children))
    shrink[len(clone) :] = math.log(1.6)
    jitter = torch.randn(len(children), 3, generator=generator) * born.log_scales.exp()
    jitter[: len(clone)] *= 0.3
    offset = (quat_wxyz_to_matrix(born.quats) @ jitter[..., None])[..., 0]
    born = born.replace(means=born.means + offset, log_scales=born.log_scales - shrink[:, None])
    origin = torch.cat([kept, torch.full((len(children),), -1)])
    pruned = len(opacity) - int(keep.sum()) - len(split)
    event = Densified(step=step, cloned=len(clone), split=len(split), pruned=pruned, total=len(origin))
    return concatenate(take(state, kept), born), origin, event
