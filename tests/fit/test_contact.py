"""Hands are kept out of each other and out of the body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fit_truth import FOCAL_PX, Truth, observe, perform

from bodydouble.body.anny import AnnyBody
from bodydouble.fit.contact import add_contacts, body_balls, with_balls
from bodydouble.fit.evidence import gather
from bodydouble.fit.kinematics import exp_so3
from bodydouble.fit.landmarks import rest_geometry
from bodydouble.fit.solve import Stage, Targets, run_stage
from bodydouble.fit.state import State
from bodydouble.fit.terms import Normal, Problem, Weights, frame_spans, pose_state


def _folded(body: AnnyBody) -> Truth:
    """Somebody whose left hand is inside the trunk in the later frames."""
    truth = perform(body, frames=12, amplitude=0.1, turn_rad=0.1)
    theta = truth.state.theta.copy()
    inwards = np.clip(np.linspace(-0.4, 2.0, 12), 0.0, 1.0)
    values = {"bend": 1.22, "raise": -0.92, "twist": 1.22}
    wanted = {f"left_shoulder_{name}": value for name, value in values.items()} | {"left_elbow_bend": 0.63}
    for name, value in wanted.items():
        control = truth.controls.index(name)
        theta[:, control] = (1 - inwards) * theta[:, control] + inwards * value
    return replace(truth, state=replace(truth.state, theta=theta))


@pytest.fixture(scope="module")
def folded(anny: AnnyBody) -> Truth:
    return _folded(anny)


@pytest.fixture(scope="module")
def problem(anny: AnnyBody, folded: Truth) -> Problem:
    evidence = gather(observe(folded), folded.landmarks, FOCAL_PX)
    return with_balls(Problem(folded.controls, folded.landmarks, evidence), anny, folded.state.shape)


def _depths(anny: AnnyBody, problem: Problem, state: State) -> np.ndarray:
    assert problem.balls is not None
    posed = pose_state(problem, state, rest_geometry(anny, problem.landmarks, problem.controls, state.shape))
    return np.clip(problem.balls.depths_m(problem.balls.centres(posed)), 0.0, None)


def test_balls_lie_inside_the_resting_body_and_apart(anny: AnnyBody, folded: Truth) -> None:
    balls = body_balls(anny, folded.controls, folded.state.shape)
    assert 60 < len(balls.nodes) < 120 and balls.radii_m.max() < 0.15
    rest_joints = anny.with_shape(anny.shape_default).joints_rest.double().numpy()[folded.controls.node_bones]
    centres = (rest_joints[balls.nodes] + balls.levers)[None]
    assert balls.depths_m(centres).max() < 0.0
    hands = {frozenset(pair) for pair in balls.pairs.tolist()}
    assert len(hands) == len(balls.pairs)  # no pair counts twice


def test_the_push_is_the_gradient_of_the_squared_depth(anny: AnnyBody, folded: Truth, problem: Problem) -> None:
    active = problem.controls.indices("body", "left_hand", "right_hand")
    state = folded.state
    depths = _depths(anny, problem, state)
    assert depths.max() > 0.02, "the test needs somebody who is inside himself"
    normal = Normal.zeros(len(state.theta), 6 + len(active), 0)
    posed = pose_state(problem, state, rest_geometry(anny, problem.landmarks, problem.controls, state.shape))
    assert problem.balls is not None
    add_contacts(normal, problem, problem.balls, posed, active)

    def cost(theta: np.ndarray) -> np.ndarray:
        inside = _depths(anny, problem, replace(state, theta=theta))
        return 0.5 * frame_spans(problem) * (inside**2).sum(1) / 0.005**2

    for name in ("left_elbow_bend", "left_shoulder_twist", "spine_upper_bend"):
        control = problem.controls.index(name)
        step = np.zeros_like(state.theta)
        step[:, control] = 1e-5
        slope = (cost(state.theta + step) - cost(state.theta - step)) / 2e-5
        found = normal.gradient[:, 6 + int(np.flatnonzero(active == control)[0])]
        np.testing.assert_allclose(found, -slope, rtol=1e-3, atol=1e-6 * np.abs(normal.gradient).max())
    # Moving or turning the whole person changes no contact.
    assert np.abs(normal.gradient[:, :6]).max() < 1e-6 * np.abs(normal.gradient).max()
    symmetric = np.swapaxes(normal.blocks, 1, 2)
    np.testing.assert_allclose(normal.blocks, symmetric, atol=1e-6 * np.abs(normal.blocks).max())


def test_a_hand_in_the_trunk_comes_out_and_the_rest_stays(anny: AnnyBody, folded: Truth, problem: Problem) -> None:
    stage = Stage(
        "final",
        ("body", "left_hand", "right_hand"),
        ("body", "left_hand", "right_hand"),
        6,
        Weights(robust_m=0.12, direction_sigma=0.40),
    )
    targets = Targets(1.7, folded.state.shape, FOCAL_PX)
    bare, _ = run_stage(replace(problem, balls=None), anny, folded.state, stage, targets)
    apart, _ = run_stage(problem, anny, folded.state, stage, targets)
    before, after = _depths(anny, problem, bare).max(1), _depths(anny, problem, apart).max(1)
    assert before.max() > 0.015
    assert after.max() < 0.2 * before.max()
    clean = before == 0.0
    assert clean.any()
    legs = [i for i, dof in enumerate(problem.controls.dofs) if "knee" in dof.name or "ankle" in dof.name]
    assert np.abs(apart.theta[:, legs] - bare.theta[:, legs]).max() < 0.02


def test_a_person_turned_around_touches_as_before(anny: AnnyBody, folded: Truth, problem: Problem) -> None:
    turned = replace(folded.state, R_root=exp_so3(np.array([0.0, 2.0, 0.0])) @ folded.state.R_root)
    np.testing.assert_allclose(_depths(anny, problem, turned), _depths(anny, problem, folded.state), atol=1e-9)
