"""Topology edits and thresholds of density control."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.reconstruct.splats.config import DensityConfig
from bodydouble.reconstruct.splats.density import (
    DensityHistory,
    DensityOutcome,
    SplatEvidence,
    concatenate,
    control_density,
    group_thresholds,
    no_evidence,
    no_history,
    take,
)
from bodydouble.reconstruct.splats.parts import GROUPS
from bodydouble.reconstruct.splats.seed import SplatState

HANDS, BODY = GROUPS.index("hands"), GROUPS.index("body")


def make_state(n: int, seed: int = 0) -> SplatState:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(n, 3, generator=generator)
    return SplatState(
        means=means,
        log_scales=torch.empty(n, 3).uniform_(-6.0, -4.0, generator=generator),
        quats=torch.randn(n, 4, generator=generator),
        logit_opacities=torch.empty(n).uniform_(0.0, 3.0, generator=generator),
        sh=torch.randn(n, 1, 3, generator=generator),
        sh_rest=torch.randn(n, 3, 3, generator=generator),
        skin_deltas=torch.randn(n, 4, generator=generator),
        anchors=means.clone(),
        faces=torch.arange(n),
        barycentric=torch.rand(n, 3, generator=generator),
        joints=torch.randint(0, 5, (n, 4), generator=generator),
        weights=torch.rand(n, 4, generator=generator),
    )


def _control(
    state: SplatState,
    gradient: torch.Tensor,
    max_splats: int = 10_000,
    *,
    groups: torch.Tensor | None = None,
    distance_m: torch.Tensor | None = None,
    outside: torch.Tensor | None = None,
    history: DensityHistory | None = None,
    **changes: Any,
) -> DensityOutcome:
    n = len(gradient)
    evidence = SplatEvidence(
        gradient_sum=8.0 * gradient,
        sightings=torch.full((n,), 8.0),
        outside=torch.zeros(n) if outside is None else outside,
    )
    return control_density(
        state,
        evidence,
        torch.zeros(n, dtype=torch.long) if groups is None else groups,
        torch.zeros(n) if distance_m is None else distance_m,
        no_history() if history is None else history,
        dataclasses.replace(DensityConfig(), **changes),
        max_splats=max_splats,
        step=7,
        generator=torch.Generator().manual_seed(0),
    )


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 80),
    seed=st.integers(0, 50),
    room=st.integers(0, 40),
    share=st.floats(0.0, 1.0),
    rule=st.sampled_from(["share", "context"]),
)
def test_every_field_moves_together(n: int, seed: int, room: int, share: float, rule: str) -> None:
    state = make_state(n, seed)
    generator = torch.Generator().manual_seed(seed)
    gradient = 1e-3 * torch.rand(n, generator=generator)
    groups = torch.randint(0, len(GROUPS), (n,), generator=generator)
    outcome = _control(state, gradient, n + room, groups=groups, grow_share=share, rule=rule)
    new, origin, event = outcome.state, outcome.origin, outcome.event
    assert event.total == len(new.means) == len(origin) <= n + room
    assert event.total == n - event.pruned + event.cloned + event.split
    assert event.cloned + event.split <= math.ceil(share * n)
    for what in ("cloned", "split", "pruned", "total"):
        assert sum(getattr(part, what) for part in event.parts) == getattr(event, what)
    kept = origin >= 0
    for field in dataclasses.fields(state):
        torch.testing.assert_close(getattr(new, field.name)[kept], getattr(state, field.name)[origin[kept]])
    # Children keep the face they were born on, and so their skinning.
    faces = new.faces[~kept]
    torch.testing.assert_close(new.weights[~kept], state.weights[faces])
    torch.testing.assert_close(new.skin_deltas[~kept], state.skin_deltas[faces])


def test_transparent_astray_and_huge_splats_go() -> None:
    state = make_state(9)
    opacities = state.logit_opacities.clone()
    opacities[0] = -9.0
    means = state.means.clone()
    means[1] += 1.0
    scales = state.log_scales.clone()
    scales[2] = 0.0
    distance = torch.zeros(9)
    distance[3] = DensityConfig().body.max_distance_m + 0.01
    distance[4] = distance[5] = DensityConfig().hands.max_distance_m + 0.01  # far for a hand, not for a coat
    groups = torch.zeros(9, dtype=torch.long)
    groups[4] = HANDS
    outside = torch.zeros(9)
    outside[6], outside[7] = 7.0, 6.0  # of 8 sightings
    state = state.replace(logit_opacities=opacities, means=means, log_scales=scales)
    outcome = _control(state, torch.zeros(9), groups=groups, distance_m=distance, outside=outside)
    assert outcome.event.pruned == 5 + 1
    assert sorted(outcome.state.faces.tolist()) == [5, 7, 8]


def test_a_few_sightings_outside_the_mask_prove_nothing() -> None:
    state = make_state(3)
    evidence = no_evidence(3).replace(sightings=torch.tensor([0.0, 3.0, 4.0]), outside=torch.tensor([0.0, 3.0, 4.0]))
    outcome = control_density(
        state, evidence, torch.zeros(3, dtype=torch.long), torch.zeros(3), no_history(), DensityConfig(),
        max_splats=9, step=1, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert outcome.state.faces.tolist() == [0, 1]


def test_large_splats_split_small_ones_are_cloned() -> None:
    state = make_state(4)
    scales = torch.full((4, 3), -7.0)
    scales[1] = -4.0
    state = state.replace(log_scales=scales)
    outcome = _control(state, torch.tensor([1.0, 1.0, 0.0, 0.0]), grow_share=0.5)
    new, event = outcome.state, outcome.event
    assert (event.cloned, event.split) == (1, 1)
    assert sorted(new.faces.tolist()) == [0, 0, 1, 1, 2, 3]
    assert float(new.log_scales[new.faces == 1].max()) < -4.0


@pytest.mark.parametrize("rule", ["share", "context"])
def test_no_gradient_no_growth(rule: str) -> None:
    event = _control(make_state(20), torch.zeros(20), grow_share=1.0, rule=rule).event
    assert (event.cloned, event.split, event.total) == (0, 0, 20)


def test_a_rising_gradient_lowers_the_threshold_and_a_falling_one_raises_it() -> None:
    config, then = DensityConfig(), torch.full((len(GROUPS),), 3e-4)
    history = DensityHistory(gradient=then)
    steady = torch.tensor([getattr(config, group).threshold for group in GROUPS])
    lead = torch.tensor([getattr(config, group).lead for group in GROUPS])
    torch.testing.assert_close(group_thresholds(then, history, config), steady)
    change = 1e-5
    torch.testing.assert_close(group_thresholds(then + change, history, config), steady - lead * change)
    torch.testing.assert_close(group_thresholds(then - change, history, config), steady + lead * change)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_thresholds_stay_positive_whatever_gradients_do(before: float, now: float) -> None:
    config = DensityConfig()
    tau = group_thresholds(
        torch.full((len(GROUPS),), now), DensityHistory(gradient=torch.full((len(GROUPS),), before)), config
    )
    for k, group in enumerate(GROUPS):
        steady = getattr(config, group).threshold
        assert config.tau_range[0] * steady * 0.999 <= float(tau[k]) <= config.tau_range[1] * steady * 1.001


def test_the_first_event_makes_the_history_and_takes_the_steady_thresholds() -> None:
    gradient = torch.tensor([1e-3, 3e-3, 0.0, 5e-4])
    groups = torch.tensor([BODY, BODY, BODY, HANDS])
    outcome = _control(make_state(4), gradient, groups=groups, rule="context", grow_share=1.0)
    by_name = {part.part: part for part in outcome.event.parts}
    assert by_name["body"].threshold == pytest.approx(DensityConfig().body.threshold)
    assert by_name["hands"].gradient == pytest.approx(5e-4)
    assert by_name["body"].gradient == pytest.approx(4e-3 / 3)
    assert math.isnan(by_name["feet"].gradient)
    assert float(outcome.history.gradient[HANDS]) == pytest.approx(5e-4)
    # A group that is not seen keeps its history.
    later = _control(make_state(1), torch.tensor([1e-3]), history=outcome.history)
    assert float(later.history.gradient[HANDS]) == pytest.approx(5e-4)


def test_hands_grow_from_gradients_at_which_the_body_does_not() -> None:
    config = DensityConfig()
    between = 0.5 * (config.hands.threshold + config.body.threshold)
    groups = torch.tensor([BODY, HANDS])
    outcome = _control(make_state(2), torch.full((2,), between), groups=groups, rule="context", grow_share=1.0)
    grown = {part.part: part.cloned + part.split for part in outcome.event.parts}
    assert grown["hands"] == 1
    assert grown["body"] == 0


def test_splats_never_seen_do_not_dilute_the_mean() -> None:
    state, n = make_state(3), 3
    evidence = no_evidence(n).replace(
        gradient_sum=torch.tensor([2e-3, 0.0, 0.0]), sightings=torch.tensor([2.0, 0.0, 0.0])
    )
    outcome = control_density(
        state, evidence, torch.zeros(n, dtype=torch.long), torch.zeros(n), no_history(), DensityConfig(),
        max_splats=9, step=1, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert outcome.event.parts[BODY].gradient == pytest.approx(1e-3)


def test_take_and_concatenate_are_inverse() -> None:
    state = make_state(9)
    joined = concatenate(take(state, torch.arange(4)), take(state, torch.arange(4, 9)))
    for field in dataclasses.fields(state):
        torch.testing.assert_close(getattr(joined, field.name), getattr(state, field.name))
