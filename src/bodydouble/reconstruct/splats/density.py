"""Density control: grow where the image pulls hardest, remove what is transparent, huge or astray.

Topology edits walk every field of the state and every optimiser moment alike, so a new per-splat field needs no edit here.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.core.events import Densified, PartDensity
from bodydouble.core.geometry import quat_wxyz_to_matrix
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.reconstruct.splats.config import DensityConfig, PartRule
from bodydouble.reconstruct.splats.parts import GROUPS
from bodydouble.reconstruct.splats.seed import SplatState

_SIGHTINGS = 4
"""Fewer sightings than these say nothing about what lies outside the mask."""
_SOLID = 0.1
"""More transparent splats are not grown."""
_SPLIT_SHRINK = 1.6
"""Each half of a split splat is smaller by this factor (Kerbl et al. 2023)."""
_CLONE_JITTER = 0.3
"""How far a clone lies beside its origin, in the splat's own standard deviations; halves lie a whole one away."""


@tensor_struct
class SplatEvidence(TensorStruct):
    """What the steps since the last event say about each splat."""

    gradient_sum: Float[Tensor, " n"]
    """Screen-space gradients, each the change of the loss for a shift by the image's width, summed."""
    sightings: Float[Tensor, " n"]
    """Steps in which there was any."""
    outside: Float[Tensor, " n"]
    """Those of them in which the centre lay outside the mask."""

    @property
    def gradient(self) -> Float[Tensor, " n"]:
        """Mean over the sightings."""
        return self.gradient_sum / self.sightings.clamp_min(1.0)


def no_evidence(n: int) -> SplatEvidence:
    """Of `n` splats, before the first step."""
    return SplatEvidence(gradient_sum=torch.zeros(n), sightings=torch.zeros(n), outside=torch.zeros(n))


@tensor_struct
class DensityHistory(TensorStruct):
    """What density control remembers from event to event."""

    gradient: Float[Tensor, " groups"]
    """Mean gradient of each group at the last event; NaN before the first."""


def no_history() -> DensityHistory:
    """Before the first event."""
    return DensityHistory(gradient=torch.full((len(GROUPS),), math.nan))


@tensor_struct
class DensityOutcome(TensorStruct):
    """What an event leaves."""

    state: SplatState
    origin: Int[Tensor, " m"]
    """For each splat the index of the one it continues, or -1 where it is new (its moments start at zero)."""
    history: DensityHistory
    event: Densified


def take(state: SplatState, index: Int[Tensor, " m"]) -> SplatState:
    """The splats at `index`, in that order."""
    return state.map(lambda field: field[index])


def concatenate(a: SplatState, b: SplatState) -> SplatState:
    """All splats of `a`, then all of `b`."""
    joined = {f.name: torch.cat([getattr(a, f.name), getattr(b, f.name)]) for f in dataclasses.fields(a)}
    return SplatState(**joined)


def group_rules(config: DensityConfig) -> tuple[PartRule, ...]:
    """The rules in the order of `GROUPS`."""
    rules = {"body": config.body, "head": config.head, "face": config.face, "hands": config.hands, "feet": config.feet}
    return tuple(rules[group] for group in GROUPS)


def group_thresholds(
    gradient: Float[Tensor, " groups"], history: DensityHistory, config: DensityConfig
) -> Float[Tensor, " groups"]:
    """Gradients from which each group's splats are added: threshold - lead * (gradient - gradient at the last event).

    That is EVA's rule with a rising gradient lowering the threshold. Where there is no history (first event, or a group
    that was not seen) the steady threshold is taken; all stay within `tau_range` of it, so that they are positive.

    Args:
        gradient: Mean of each group now; NaN where it was not seen.
        history: From the last event.
    """
    rules = group_rules(config)
    steady = torch.tensor([rule.threshold for rule in rules])
    lead = torch.tensor([rule.lead for rule in rules])
    rise = (gradient - history.gradient).nan_to_num(nan=0.0)
    low, high = config.tau_range
    return torch.minimum(torch.maximum(steady - lead * rise, low * steady), high * steady)


def control_density(
    state: SplatState,
    evidence: SplatEvidence,
    groups: Int[Tensor, " n"],
    distance_m: Float[Tensor, " n"],
    history: DensityHistory,
    config: DensityConfig,
    *,
    max_splats: int,
    step: int,
    generator: torch.Generator,
) -> DensityOutcome:
    """One event: prune, then clone small and split large splats among those with the largest gradient.

    Args:
        state: The splats as they are.
        evidence: Of each splat since the last event. Splats born at that event count from their birth.
        groups: Index into `parts.GROUPS` of each.
        distance_m: To the surface of its own group.
        history: From the last event.
        max_splats: Growth stops here.
        step: For the event.
        generator: Places the children of a split.
    """
    gradient = evidence.gradient
    mean = _group_means(gradient, evidence.sightings > 0, groups)
    tau = group_thresholds(mean, history, config)
    keep = _kept(state, evidence, groups, distance_m, config)
    grow = _to_grow(state, gradient, keep, tau[groups], config, max_splats)
    largest = state.log_scales.exp().amax(1)
    split = grow[largest[grow] > config.split_scale_m]
    clone = grow[largest[grow] <= config.split_scale_m]
    pruned = torch.nonzero(~keep)[:, 0]
    keep[split] = False
    kept = torch.nonzero(keep)[:, 0]
    born = _children(state, clone, split, generator)
    origin = torch.cat([kept, torch.full((len(born.means),), -1)])
    shown = tau if config.rule == "context" else torch.full_like(tau, math.nan)
    total = torch.cat([groups[kept], groups[clone], groups[split], groups[split]])
    parts = tuple(
        PartDensity(
            part=name,
            gradient=float(mean[k]),
            threshold=float(shown[k]),
            cloned=int((groups[clone] == k).sum()),
            split=int((groups[split] == k).sum()),
            pruned=int((groups[pruned] == k).sum()),
            total=int((total == k).sum()),
        )
        for k, name in enumerate(GROUPS)
    )
    event = Densified(
        step=step, cloned=len(clone), split=len(split), pruned=len(pruned), total=len(origin), parts=parts
    )
    remembered = torch.where(mean.isnan(), history.gradient, mean)
    return DensityOutcome(
        state=concatenate(take(state, kept), born),
        origin=origin,
        history=DensityHistory(gradient=remembered),
        event=event,
    )


def _group_means(
    gradient: Float[Tensor, " n"], seen: Bool[Tensor, " n"], groups: Int[Tensor, " n"]
) -> Float[Tensor, " groups"]:
    means = []
    for k in range(len(GROUPS)):
        chosen = gradient[seen & (groups == k)]
        means.append(chosen.mean() if len(chosen) else torch.tensor(math.nan))
    return torch.stack(means)


def _kept(
    state: SplatState,
    evidence: SplatEvidence,
    groups: Int[Tensor, " n"],
    distance_m: Float[Tensor, " n"],
    config: DensityConfig,
) -> Bool[Tensor, " n"]:
    """Neither transparent, nor huge, nor far from where it was born or from its own part, nor outside the masks."""
    limit = torch.tensor([rule.max_distance_m for rule in group_rules(config)])
    astray = evidence.outside > config.max_outside * evidence.sightings
    keep = torch.sigmoid(state.logit_opacities) >= config.min_opacity
    keep &= (state.means - state.anchors).norm(dim=1) <= config.max_drift_m
    keep &= distance_m <= limit[groups]
    keep &= state.log_scales.exp().amax(1) <= 2.0 * config.max_scale_m
    return keep & ~(astray & (evidence.sightings >= _SIGHTINGS))


def _to_grow(
    state: SplatState,
    gradient: Float[Tensor, " n"],
    keep: Bool[Tensor, " n"],
    tau: Float[Tensor, " n"],
    config: DensityConfig,
    max_splats: int,
) -> Int[Tensor, " m"]:
    """Indices, ascending, of the splats to add to: the most urgent of those allowed, as many as there is room for."""
    room = max(0, max_splats - int(keep.sum()))
    wanted = min(room, math.ceil(config.grow_share * len(gradient)))
    if wanted == 0:
        return torch.zeros(0, dtype=torch.long)
    urgency = gradient if config.rule == "share" else gradient / tau
    allowed = keep & (torch.sigmoid(state.logit_opacities) > _SOLID)
    allowed &= (gradient > 0) if config.rule == "share" else (gradient >= tau)
    urgency = torch.where(allowed, urgency, torch.full_like(urgency, -1.0))
    best = torch.topk(urgency, min(wanted, len(urgency))).indices
    return best[allowed[best]].sort().values


def _children(
    state: SplatState, clone: Int[Tensor, " c"], split: Int[Tensor, " s"], generator: torch.Generator
) -> SplatState:
    """One more of each in `clone`, two smaller ones of each in `split`."""
    children = torch.cat([clone, split, split])
    born = take(state, children)
    shrink = torch.zeros(len(children))
    shrink[len(clone) :] = math.log(_SPLIT_SHRINK)
    jitter = torch.randn(len(children), 3, generator=generator) * born.log_scales.exp()
    jitter[: len(clone)] *= _CLONE_JITTER
    offset = (quat_wxyz_to_matrix(born.quats) @ jitter[..., None])[..., 0]
    return born.replace(means=born.means + offset, log_scales=born.log_scales - shrink[:, None])
