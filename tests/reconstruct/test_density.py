"""Topology edits of density control."""

from __future__ import annotations

import dataclasses

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.reconstruct.splats.config import DensityConfig
from bodydouble.reconstruct.splats.density import concatenate, control_density, take
from bodydouble.reconstruct.splats.seed import SplatState


def make_state(n: int, seed: int = 0) -> SplatState:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(n, 3, generator=generator)
    return SplatState(
        means=means,
        log_scales=torch.empty(n, 3).uniform_(-6.0, -4.0, generator=generator),
        quats=torch.randn(n, 4, generator=generator),
        logit_opacities=torch.empty(n).uniform_(0.0, 3.0, generator=generator),
        sh=torch.randn(n, 1, 3, generator=generator),
        anchors=means.clone(),
        faces=torch.arange(n),
        barycentric=torch.rand(n, 3, generator=generator),
        joints=torch.randint(0, 5, (n, 4), generator=generator),
        weights=torch.rand(n, 4, generator=generator),
    )


def _control(state: SplatState, gradient: torch.Tensor, max_splats: int = 10_000, **changes: float):
    config = dataclasses.replace(DensityConfig(), **changes)
    return control_density(state, gradient, config, max_splats, 7, torch.Generator().manual_seed(0))


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 80), seed=st.integers(0, 50), room=st.integers(0, 40), share=st.floats(0.0, 1.0))
def test_every_field_moves_together(n: int, seed: int, room: int, share: float) -> None:
    state = make_state(n, seed)
    gradient = torch.rand(n, generator=torch.Generator().manual_seed(seed))
    new, origin, event = _control(state, gradient, n + room, grow_share=share)
    assert event.total == len(new.means) == len(origin) <= n + room
    assert event.total == n - event.pruned + event.cloned + event.split
    kept = origin >= 0
    for field in dataclasses.fields(state):
        torch.testing.assert_close(getattr(new, field.name)[kept], getattr(state, field.name)[origin[kept]])
    # Children keep the face they were born on, and so their skinning.
    faces = new.faces[~kept]
    torch.testing.assert_close(new.weights[~kept], state.weights[faces])


def test_transparent_astray_and_huge_splats_go() -> None:
    state = make_state(6)
    opacities = state.logit_opacities.clone()
    opacities[0] = -9.0
    means = state.means.clone()
    means[1] += 1.0
    scales = state.log_scales.clone()
    scales[2] = 0.0
    state = state.replace(logit_opacities=opacities, means=means, log_scales=scales)
    new, _, event = _control(state, torch.zeros(6))
    assert event.pruned == 3
    assert sorted(new.faces.tolist()) == [3, 4, 5]


def test_large_splats_split_small_ones_are_cloned() -> None:
    state = make_state(4)
    scales = torch.full((4, 3), -7.0)
    scales[1] = -4.0
    state = state.replace(log_scales=scales)
    new, _, event = _control(state, torch.tensor([1.0, 1.0, 0.0, 0.0]), grow_share=0.5)
    assert (event.cloned, event.split) == (1, 1)
    assert sorted(new.faces.tolist()) == [0, 0, 1, 1, 2, 3]
    assert float(new.log_scales[new.faces == 1].max()) < -4.0


def test_no_gradient_no_growth() -> None:
    _, _, event = _control(make_state(20), torch.zeros(20), grow_share=1.0)
    assert (event.cloned, event.split, event.total) == (0, 0, 20)


def test_take_and_concatenate_are_inverse() -> None:
    state = make_state(9)
    joined = concatenate(take(state, torch.arange(4)), take(state, torch.arange(4, 9)))
    for field in dataclasses.fields(state):
        torch.testing.assert_close(getattr(joined, field.name), getattr(state, field.name))
