"""The published formulas of EVA's recipe, on numbers that can be checked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from test_density import make_state

from bodydouble.body.anny import load_anny
from bodydouble.reconstruct.splats.eva_config import EvaConfig, EvaDensity
from bodydouble.reconstruct.splats.eva_density import PARTS, eva_control, eva_parts, eva_thresholds
from bodydouble.reconstruct.splats.eva_nets import ConfidenceNet, Learner, PoseCorrection, SkinNet, encoded
from bodydouble.reconstruct.splats.eva_scene import template_of, vertex_splats
from bodydouble.reconstruct.splats.parts import GROUPS


def test_thresholds_are_those_of_the_paper() -> None:
    """e = 2e-4, 1e-4, 1.4e-4 and lambda = -9, -4.5, -6.3 for body, hands and face."""
    config, zero = EvaDensity(), torch.zeros(3)
    torch.testing.assert_close(eva_thresholds(zero, zero, config), torch.tensor([2e-4, 1e-4, 1.4e-4]))
    slope = (eva_thresholds(zero + 1e-5, zero, config) - eva_thresholds(zero, zero, config)) / 1e-5
    torch.testing.assert_close(slope, torch.tensor([-9.0, -4.5, -6.3]), rtol=1e-3, atol=0)


def _control(state, gradient, parts, history):
    return eva_control(
        state, gradient, parts, history, EvaDensity(), max_splats=100, step=500,
        generator=torch.Generator().manual_seed(0), distance_m=lambda means, of: torch.zeros(len(means)),
    )  # fmt: skip


def test_the_first_event_splits_everything_large_once_gradients_exceed_the_published_limit() -> None:
    """History 0 and the mean of all parts: the threshold is negative from 2.2e-5 on, as in the released program."""
    state = make_state(4).replace(log_scales=torch.full((4, 3), math.log(0.02)))
    parts = torch.tensor([0, 0, 1, 2])
    outcome = _control(state, torch.full((4,), 3e-5), parts, None)
    assert outcome.event.split == 4
    assert all(part.threshold < 0 for part in outcome.event.parts)
    assert len(outcome.state.means) == 8
    assert torch.equal(outcome.history, torch.full((3,), 3e-5))
    # The same gradients again are no rise: nothing is split any more.
    again = _control(outcome.state, torch.full((8,), 3e-5), outcome.parts, outcome.history)
    assert again.event.split == 0


def test_clones_count_with_gradient_zero_in_the_mean() -> None:
    state = make_state(2).replace(log_scales=torch.tensor([[-7.0] * 3, [-3.0] * 3]))
    gradient = torch.tensor([4e-4, 1e-4])
    outcome = _control(state, gradient, torch.tensor([0, 0]), torch.zeros(3))
    assert outcome.event.cloned == 1
    assert outcome.event.parts[0].gradient == pytest.approx(5e-4 / 3)


def test_what_is_far_from_its_part_or_transparent_goes() -> None:
    state = make_state(4)
    state = state.replace(logit_opacities=torch.tensor([-9.0, 1.0, 1.0, 1.0]), log_scales=torch.full((4, 3), -7.0))
    parts = torch.tensor([0, 0, 1, 2])
    outcome = eva_control(
        state, torch.zeros(4), parts, torch.zeros(3), EvaDensity(), max_splats=9, step=500,
        generator=torch.Generator(), distance_m=lambda means, of: torch.full((len(means),), 0.04),
    )  # fmt: skip
    assert outcome.state.faces.tolist() == [2, 3]  # 4 cm is far for the body, near for hand and head
    assert outcome.origin.tolist() == [2, 3]


def test_the_face_is_the_whole_head() -> None:
    of = eva_parts(torch.arange(len(GROUPS)))
    assert [PARTS[k] for k in of.tolist()] == ["body", "face", "face", "hands", "body"]


def test_a_ball_on_every_vertex() -> None:
    body = load_anny()
    vertices = body.with_shape(body.shape_default).vertices_rest.detach()
    template = template_of(body, vertices)
    state = vertex_splats(template, EvaConfig().opacity)
    assert len(state.means) == len(vertices)
    assert float(torch.sigmoid(state.logit_opacities).max()) == pytest.approx(0.004, rel=1e-3)
    corners = body.faces.long()[state.faces]
    of_body = torch.isin(torch.arange(len(vertices)), body.faces.long().flatten())
    on_face = (vertices[corners] * state.barycentric[..., None]).sum(1)
    torch.testing.assert_close(on_face[of_body], vertices[of_body])
    torch.testing.assert_close(state.weights.sum(1), torch.ones(len(vertices)))
    assert 0.001 < float(state.log_scales.exp().median()) < 0.03


def test_nets_have_the_published_sizes() -> None:
    assert encoded(torch.rand(2, 3)).shape == (2, 63)
    skin = SkinNet(55)
    assert [m.in_features for m in skin.modules() if isinstance(m, torch.nn.Linear)] == [63, 128, 128, 191, 128]
    assert skin(torch.rand(4, 3)).shape == (4, 55)
    assert sum(p.numel() for p in ConfidenceNet().parameters()) == 23


def test_confidence_of_the_paper_sinks_to_its_floor() -> None:
    """Without a logarithm the best weight is the least one: why the default recipe has a likelihood instead."""
    learner = Learner(ConfidenceNet, 0, "confidence")
    generator = torch.Generator().manual_seed(0)
    rgb, depth = torch.rand(16, 16, 3, generator=generator), torch.full((16, 16), 2.0)
    error = 0.2 * torch.rand(16, 16, generator=generator)
    first = float(learner.net(rgb, depth).detach().mean())
    for _ in range(400):
        (learner.net(rgb, depth) * error).mean().backward()
        learner.step(2e-2)
    assert first > 0.8
    assert float(learner.net(rgb, depth).detach().mean()) == pytest.approx(0.5, abs=0.03)


def test_pose_nets_begin_with_next_to_nothing_and_learn_only_their_bones() -> None:
    correction = PoseCorrection([[1, 2], [], [4]], seed=3)
    rotvecs = 0.5 * torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        start = correction(rotvecs)
    torch.testing.assert_close(start, rotvecs, atol=1e-3, rtol=0)
    for _ in range(3):
        (correction(rotvecs) ** 2).sum().backward()
        correction.step(1e-2, 0.05)
    with torch.no_grad():
        change = (correction(rotvecs) - start).abs().amax(1)
    assert float(change[[0, 3, 5]].max()) < 1e-6
    assert float(change[[1, 2]].min()) > 10 * float(change[4]) > 0.0


def test_the_same_seed_makes_the_same_nets_and_leaves_other_randomness_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    a, b = Learner(ConfidenceNet, 0, "x"), Learner(ConfidenceNet, 0, "x")
    assert torch.equal(a.adam.parameters, b.adam.parameters)
    assert torch.equal(torch.rand(1), expected)
