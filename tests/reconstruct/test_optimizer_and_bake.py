"""Moments follow the splats; poses count their own visits; what nobody saw borrows its colour."""

from __future__ import annotations

import torch
from test_density import make_state

from bodydouble.reconstruct.splats.bake import sparse_morphs, spread_colors
from bodydouble.reconstruct.splats.config import Rates
from bodydouble.reconstruct.splats.optimizer import PoseAdam, SplatAdam
from bodydouble.reconstruct.splats.seed import LEARNT


def _gradients(state) -> dict[str, torch.Tensor]:
    return {name: torch.ones_like(getattr(state, name)) for name in LEARNT}


def test_first_step_moves_by_the_rate() -> None:
    state = make_state(5)
    before = state.means.clone()
    SplatAdam(state).step(state, _gradients(state), Rates(means_m=1e-3), decay=0.5)
    torch.testing.assert_close(state.means, before - 0.5e-3)


def test_moments_follow_density_control() -> None:
    state = make_state(4)
    adam = SplatAdam(state)
    adam.step(state, _gradients(state), Rates(), decay=1.0)
    adam.follow(torch.tensor([3, 1, -1]))
    for name in LEARNT:
        first = adam.moments[name].first
        assert len(first) == 3
        if name == "skin_deltas":  # not learnt by default
            continue
        assert float(first[:2].abs().min()) > 0.0
        assert float(first[2].abs().max()) == 0.0


def test_adam_goes_on_from_what_it_kept() -> None:
    state, again = make_state(4), make_state(4)
    adam, other = SplatAdam(state), SplatAdam(again)
    for _ in range(2):
        adam.step(state, _gradients(state), Rates(), decay=1.0)
    other.restore({name: value.clone() for name, value in adam.tensors().items()})
    again = state.map(torch.clone)
    for a, s in ((adam, state), (other, again)):
        a.step(s, {name: 2.0 * g for name, g in _gradients(s).items()}, Rates(), decay=1.0)
    for name in LEARNT:
        torch.testing.assert_close(getattr(state, name), getattr(again, name))


def test_a_rate_of_zero_leaves_its_field_alone() -> None:
    state = make_state(3)
    before = state.skin_deltas.clone()
    SplatAdam(state).step(state, _gradients(state), Rates(skin_deltas=0.0), decay=1.0)
    assert torch.equal(state.skin_deltas, before)


def test_a_pose_row_moves_alone_and_counts_its_own_visits() -> None:
    values = torch.zeros(3, 2, 3)
    adam = PoseAdam(values)
    for _ in range(4):
        adam.step(values, 1, torch.ones(2, 3), 0.01)
    assert adam.visits.tolist() == [0, 4, 0]
    torch.testing.assert_close(values[1], torch.full((2, 3), -0.04), rtol=1e-4, atol=1e-6)
    assert float(values[0].abs().max()) == float(values[2].abs().max()) == 0.0
    adam.reset()
    assert adam.visits.tolist() == [0, 0, 0]


def test_unseen_splats_borrow_from_their_neighbours() -> None:
    places = torch.tensor([[0.0, 0, 0], [0.01, 0, 0], [1.0, 0, 0], [1.01, 0, 0]])
    colors = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0, 0, 1.0], [0.5, 0.5, 0.5]])
    spread = spread_colors(colors, torch.tensor([1.0, 0.0, 1.0, 0.0]), places)
    torch.testing.assert_close(spread[[0, 2]], colors[[0, 2]])
    assert float(spread[1, 0]) > 0.95 and float(spread[3, 2]) > 0.95


def test_without_any_trusted_color_nothing_changes() -> None:
    colors = torch.rand(3, 3)
    assert torch.equal(spread_colors(colors, torch.zeros(3), torch.rand(3, 3)), colors)


def test_morphs_keep_what_moves() -> None:
    deltas = torch.zeros(2, 5, 3)
    deltas[1, 3] = torch.tensor([0.0, 0.004, 0.0])
    deltas[1, 4] = 1e-6
    still, moving = sparse_morphs(("jawOpen", "mouthPucker"), deltas)
    assert still.indices.numel() == 0
    assert moving.indices.tolist() == [3]
    torch.testing.assert_close(moving.deltas_m, deltas[1, 3:4])
