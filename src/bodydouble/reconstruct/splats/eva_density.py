"""Density control as EVA published it, oddities included; `density` has the control that is used otherwise.

Only splitting adapts, by part: threshold = share * (2e-4 - 9 (g now - g at the last event)), which may become negative.
At the first event the history is 0 and g is taken over all parts. Cloning keeps a fixed threshold and comes first; its
children count with gradient 0 in the mean that splitting uses.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.core.events import Densified, PartDensity
from bodydouble.core.geometry import quat_wxyz_to_matrix
from bodydouble.reconstruct.splats.density import concatenate, take
from bodydouble.reconstruct.splats.eva_config import EvaDensity
from bodydouble.reconstruct.splats.parts import GROUPS
from bodydouble.reconstruct.splats.seed import SplatState

PARTS: tuple[str, ...] = ("body", "hands", "face")
"""The face is the whole head, as in FLAME."""
_PART_OF = {"hands": 1, "head": 2, "face": 2}


def eva_parts(groups: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Index into `PARTS` from index into `parts.GROUPS`."""
    return torch.tensor([_PART_OF.get(name, 0) for name in GROUPS])[groups]


class EvaOutcome(NamedTuple):
    """What an event leaves; `origin` as in `density.DensityOutcome`."""

    state: SplatState
    parts: Int[Tensor, " m"]
    origin: Int[Tensor, " m"]
    history: Float[Tensor, "3"]
    event: Densified


def eva_thresholds(gradient: Float[Tensor, "3"], history: Float[Tensor, "3"], config: EvaDensity) -> Float[Tensor, "3"]:
    """Gradient from which each part's large splats are split; not guarded."""
    shares = torch.tensor(config.shares)
    return shares * (config.threshold + config.lead * (gradient - history))


def eva_control(
    state: SplatState,
    gradient: Float[Tensor, " n"],
    parts: Int[Tensor, " n"],
    history: Float[Tensor, "3"] | None,
    config: EvaDensity,
    *,
    max_splats: int,
    step: int,
    generator: torch.Generator,
    distance_m,
) -> EvaOutcome:
    """One event: clone, split, prune.

    Args:
        state: The splats.
        gradient: Mean screen-space gradient of each since the last event, in normalised device coordinates.
        parts: Index into `PARTS` of each.
        history: Mean gradient of each part at the last event; None at the first.
        config: Published figures.
        max_splats: Growth stops here, largest gradients first.
        step: For the event.
        generator: Places the children of a split.
        distance_m: Function of rest positions and parts: distance to the part's own vertices, metres.
    """
    shares = torch.tensor(config.shares)
    largest = state.log_scales.exp().amax(1)
    clone = _urgent(
        (gradient >= config.threshold * shares[parts]) & (largest <= config.small_m), gradient, max_splats - len(parts)
    )
    # Children of a clone count with gradient 0 from here on.
    padded, padded_parts = torch.cat([gradient, torch.zeros(len(clone))]), torch.cat([parts, parts[clone]])
    if history is None:
        now, before = padded.mean().expand(3).clone(), torch.zeros(3)
    else:
        means = [padded[padded_parts == k] for k in range(3)]
        now, before = torch.stack([m.mean() if len(m) else torch.zeros(()) for m in means]), history
    tau = eva_thresholds(now, before, config)
    room = max_splats - len(parts) - len(clone)
    split = _urgent((gradient >= tau[parts]) & (largest > config.small_m), gradient, room)
    keep = torch.ones(len(parts), dtype=torch.bool)
    keep[split] = False
    kept = torch.nonzero(keep)[:, 0]
    grown = concatenate(concatenate(take(state, kept), take(state, clone)), _halves(state, split, generator))
    origin = torch.cat([kept, torch.full((len(clone) + 2 * len(split),), -1)])
    of = torch.cat([parts[kept], parts[clone], parts[split], parts[split]])
    limit = torch.tensor(config.max_distance_m)[of]
    stays = (torch.sigmoid(grown.logit_opacities) >= config.min_opacity) & (distance_m(grown.means, of) <= limit)
    rest = torch.nonzero(stays)[:, 0]
    told = tuple(
        PartDensity(
            part=name,
            gradient=float(now[k]),
            threshold=float(tau[k]),
            cloned=int((parts[clone] == k).sum()),
            split=int((parts[split] == k).sum()),
            pruned=int((of[~stays] == k).sum()),
            total=int((of[rest] == k).sum()),
        )
        for k, name in enumerate(PARTS)
    )
    event = Densified(
        step=step, cloned=len(clone), split=len(split), pruned=int((~stays).sum()), total=len(rest), parts=told
    )
    return EvaOutcome(take(grown, rest), of[rest], origin[rest], now, event)


def _urgent(wanted: Bool[Tensor, " n"], gradient: Float[Tensor, " n"], room: int) -> Int[Tensor, " m"]:
    found = torch.nonzero(wanted)[:, 0]
    if len(found) <= max(room, 0):
        return found
    return found[gradient[found].topk(max(room, 0)).indices].sort().values


def _halves(state: SplatState, split: Int[Tensor, " s"], generator: torch.Generator) -> SplatState:
    """Two children of each, drawn from their parent's Gaussian, 1.6 times smaller."""
    born = take(state, torch.cat([split, split]))
    jitter = torch.randn(len(born.means), 3, generator=generator) * born.log_scales.exp()
    offset = (quat_wxyz_to_matrix(born.quats) @ jitter[..., None])[..., 0]
    return born.replace(means=born.means + offset, log_scales=born.log_scales - math.log(1.6))
