"""Normal equations of landmarks and directions, against derivatives taken by differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fit_truth import FOCAL_PX, SIZE_PX, Truth, observe, perform, stepped

from bodydouble.body.anny import AnnyBody
from bodydouble.core.seeds import numpy_rng
from bodydouble.fit.evidence import Group, gather
from bodydouble.fit.kinematics import Rest, place_points
from bodydouble.fit.landmarks import rest_geometry
from bodydouble.fit.state import State
from bodydouble.fit.terms import (
    Normal,
    Problem,
    Residuals,
    Shared,
    Weights,
    add_group,
    moved_rest,
    pose_state,
    project,
    residuals,
)

WEIGHTS = Weights(robust_m=0.1, direction_sigma=0.3)
STEP = 1e-5


@pytest.fixture(scope="module")
def truth(anny: AnnyBody) -> Truth:
    return perform(anny, frames=3, fps_hz=12.0, seed=2, turn_rad=0.4)


def _start(truth: Truth) -> tuple[Problem, State]:
    """Some way from the truth, some landmarks unseen."""
    rng = numpy_rng(0, "terms")
    evidence = gather(observe(truth), truth.landmarks, FOCAL_PX)
    groups = tuple(
        replace(g, precision=g.precision * (rng.uniform(size=g.precision.shape) < 0.8)) for g in evidence.groups
    )
    state = replace(
        truth.state,
        theta=truth.state.theta + 0.05 * rng.normal(size=truth.state.theta.shape),
        offsets=0.01 * rng.normal(size=truth.state.offsets.shape),
    )
    return Problem(truth.controls, truth.landmarks, replace(evidence, groups=groups)), state


def _predicted(problem: Problem, state: State, rest: Rest, group: Group, at: Residuals) -> np.ndarray:
    """Weighted predictions of a group, [frames, 2 points + 3 segments]; weights and scale are those of `at`."""
    world = place_points(pose_state(problem, state, rest), rest, problem.nodes_of(group), group.points)
    pixels, _ = project(world, state.focal_px, SIZE_PX)
    image = pixels * at.metres_per_px[:, None, None] * np.sqrt(at.image_weight)[..., None]
    ends = world[:, group.pairs[:, 1]] - world[:, group.pairs[:, 0]]
    ends = ends / np.linalg.norm(ends, axis=-1, keepdims=True) * np.sqrt(at.direction_weight)[..., None]
    frames = len(world)
    return np.concatenate([image.reshape(frames, -1), ends.reshape(frames, -1)], axis=1)


@pytest.mark.parametrize("name", ["body", "left_hand", "face"])
def test_the_frames_blocks_are_those_of_the_derivatives(truth: Truth, name: str):
    problem, state = _start(truth)
    group = next(g for g in problem.evidence.groups if g.name == name)
    rest = moved_rest(rest_geometry(truth.body, truth.landmarks, truth.controls, state.shape), state)
    posed = pose_state(problem, state, rest)
    active = problem.controls.indices("body", "hands")
    normal = Normal.zeros(len(state.theta), 6 + len(active), 0)
    nothing = Shared(np.zeros(0, np.int64), False, np.zeros(0, np.int64))
    add_group(normal, problem, state, posed, rest, group, WEIGHTS, active, nothing)

    at = residuals(problem, state, posed, rest, group, WEIGHTS)
    sides = [
        np.stack(
            [_predicted(problem, stepped(state, active, c, s), rest, group, at) for c in range(6 + len(active))], -1
        )
        for s in (STEP, -STEP)
    ]
    J = (sides[0] - sides[1]) / (2.0 * STEP)
    wanted = np.concatenate(
        [
            (at.image_m * np.sqrt(at.image_weight)[..., None]).reshape(len(J), -1),
            (at.direction * np.sqrt(at.direction_weight)[..., None]).reshape(len(J), -1),
        ],
        axis=1,
    )
    blocks = np.swapaxes(J, 1, 2) @ J
    assert blocks.max() > 0.0
    np.testing.assert_allclose(normal.blocks, blocks, atol=1e-6 * blocks.max())
    gradient = (wanted[:, None] @ J)[:, 0]
    np.testing.assert_allclose(normal.gradient, gradient, atol=1e-6 * np.abs(gradient).max())


def test_the_border_is_that_of_the_derivatives(truth: Truth):
    problem, state = _start(truth)
    group = next(g for g in problem.evidence.groups if g.name == "body")
    body = truth.body
    rest = moved_rest(rest_geometry(body, truth.landmarks, truth.controls, state.shape), state)
    posed = pose_state(problem, state, rest)
    active = problem.controls.indices("body")
    shared = Shared(np.zeros(0, np.int64), True, group.points[:4])
    normal = Normal.zeros(len(state.theta), 6 + len(active), shared.size)
    add_group(normal, problem, state, posed, rest, group, WEIGHTS, active, shared)

    at = residuals(problem, state, posed, rest, group, WEIGHTS)

    def by(make) -> np.ndarray:
        sides = []
        for step in (STEP, -STEP):
            changed, there = make(step)
            sides.append(_predicted(problem, changed, there, group, at))
        return (sides[0] - sides[1]) / (2.0 * STEP)

    def offset(k: int, step: float) -> tuple[State, Rest]:
        points = rest.points.copy()
        points[shared.offset_points[k // 3], k % 3] += step
        return state, replace(rest, points=points)

    count = 2 * len(group.points)  # directions have no part in what frames share
    shared_J = [by(lambda s: (replace(state, log_focal=state.log_focal + s), rest))]
    shared_J += [by(lambda s, k=k: offset(k, s)) for k in range(12)]
    S = np.stack(shared_J, -1)[:, :count]
    J = np.stack([by(lambda s, c=c: (stepped(state, active, c, s), rest)) for c in range(6 + len(active))], -1)
    border = np.swapaxes(J[:, :count], 1, 2) @ S
    np.testing.assert_allclose(normal.border, border, atol=1e-6 * np.abs(border).max())
    block = np.einsum("frs,frt->st", S, S)
    np.testing.assert_allclose(normal.shared_block, block, atol=1e-6 * block.max())
    wanted = (at.image_m * np.sqrt(at.image_weight)[..., None]).reshape(len(J), -1)
    slope = np.einsum("fr,frs->s", wanted, S)
    np.testing.assert_allclose(normal.shared_gradient, slope, atol=1e-6 * np.abs(slope).max())


def test_any_number_of_threads_sums_alike(truth: Truth):
    problem, state = _start(truth)
    group = next(g for g in problem.evidence.groups if g.name == "body")
    rest = moved_rest(rest_geometry(truth.body, truth.landmarks, truth.controls, state.shape), state)
    posed = pose_state(problem, state, rest)
    active = problem.controls.indices("body")
    shared = Shared(np.arange(3), True, group.points[:2])
    found, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        normal = Normal.zeros(len(state.theta), 6 + len(active), shared.size)
        add_group(normal, problem, state, posed, rest, group, WEIGHTS, active, shared)
        found.append(normal)
    torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0].blocks, found[1].blocks)
    np.testing.assert_array_equal(found[0].border, found[1].border)
