"""Gauss-Newton over all frames at once: every iteration solves the whole sequence with everything it shares.

Because smoothness couples neighbouring frames only, the system is banded and costs about as much as it does frame by
frame; the result has no lag, bridges gaps, and does not depend on a learning rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from bodydouble.body.protocol import BodyModel
from bodydouble.body.smplx import BETA_SPAN
from bodydouble.fit.banded import Stencil, solve_bordered
from bodydouble.fit.contact import add_contacts
from bodydouble.fit.kinematics import Rest, exp_so3, log_so3
from bodydouble.fit.landmarks import rest_geometry
from bodydouble.fit.state import State
from bodydouble.fit.terms import (
    Normal,
    Problem,
    Shared,
    Weights,
    add_group,
    add_lines,
    add_priors,
    moved_rest,
    pose_state,
)

_MAX_TURN_RAD = 0.6
_MAX_MOVE_M = 0.6
_HEIGHT_SIGMA_M = 0.003
_SHARE = 0.1
"""Priors of shared unknowns count as one in ten frames would: a landmark's errors repeat from frame to frame."""

_SHAPE_SIGMA = {"gender": 0.15, "age": 0.02, "muscle": 0.10, "weight": 0.10, "height": 1.0, "proportions": 0.20}
_SHAPE_SIGMA |= {f"beta_{i}": 1.0 / BETA_SPAN for i in range(300)}  # a standard deviation of SMPL's components
"""Spread of the shape prior. Girth hardly shows in landmarks, so it stays near the mean until silhouettes speak."""
_OTHER_SHAPE_SIGMA = 0.2
_OFFSET_SIGMA_M = 0.012
_FOCAL_SIGMA = 0.15

_ROOT_AGILITY = 5.0
_PLACE_AGILITY = (1.5, 1.5, 0.75)
_SLOW = (2.0, 1.0)
"""Spread of the root's speed, rad/s and m/s: weak, it only stops what nobody sees from drifting."""


def shape_sigmas(body: BodyModel) -> Float[np.ndarray, " shape"]:
    """Spread of the prior of each of the body's shape values."""
    return np.array([_SHAPE_SIGMA.get(name, _OTHER_SHAPE_SIGMA) for name in body.shape_names])


@dataclass(frozen=True)
class Stage:
    """One stage of the fit, coarse to fine."""

    name: str
    groups: tuple[str, ...]
    parts: tuple[str, ...]
    iterations: int
    weights: Weights
    shape: bool = False
    offsets: bool = False
    focal: bool = False


@dataclass(frozen=True)
class Targets:
    """What the shared unknowns are pulled to."""

    height_m: float
    shape_mean: np.ndarray
    focal_px: float


def smoothness(problem: Problem, active: np.ndarray) -> Stencil:
    """Smoothness of root rotation, root translation and the active controls."""
    agility = np.concatenate([np.full(3, _ROOT_AGILITY), _PLACE_AGILITY, problem.controls.array("agility")[active]])
    speed = np.concatenate([np.full(3, _SLOW[0] ** -2), np.full(3, _SLOW[1] ** -2), np.zeros(len(active))])
    step = np.maximum(np.diff(problem.evidence.times_s), 1e-3)
    return Stencil(step, agility**-2.0, speed)


def gaps(state: State, active: np.ndarray) -> np.ndarray:
    """Differences between neighbouring frames of all unknowns; the root's rotation as a rotation vector."""
    turn = log_so3(state.R_root[1:] @ np.swapaxes(state.R_root[:-1], -1, -2))
    return np.concatenate([turn, np.diff(state.translation, axis=0), np.diff(state.theta[:, active], axis=0)], axis=1)


def run_stage(
    problem: Problem,
    body: BodyModel,
    state: State,
    stage: Stage,
    targets: Targets,
    on_iteration: Callable[[], None] | None = None,
) -> tuple[State, np.ndarray]:
    """Run a stage's iterations.

    Returns:
        The new state, and the precision matrix of the shared unknowns at the end (shape, focal, offsets).
    """
    active = problem.controls.indices(*stage.parts)
    shared = _shared(problem, body, stage)
    stencil = smoothness(problem, active)
    rest = rest_geometry(body, problem.landmarks, problem.controls, state.shape)
    precision = np.zeros((shared.size, shared.size))
    for iteration in range(stage.iterations):
        if stage.shape and iteration:
            rest = rest_geometry(body, problem.landmarks, problem.controls, state.shape)
        state, precision = _iterate(problem, body, state, rest, stage, targets, active, shared, stencil)
        if on_iteration is not None:
            on_iteration()
    return state, precision


def _shared(problem: Problem, body: BodyModel, stage: Stage) -> Shared:
    points = problem.evidence.group("body").points if stage.offsets else np.zeros(0, dtype=np.int64)
    shape = np.arange(len(body.shape_names)) if stage.shape else np.zeros(0, dtype=np.int64)
    return Shared(shape, stage.focal, points)


def _iterate(
    problem: Problem,
    body: BodyModel,
    state: State,
    rest: Rest,
    stage: Stage,
    targets: Targets,
    active: np.ndarray,
    shared: Shared,
    stencil: Stencil,
) -> tuple[State, np.ndarray]:
    frames = len(state.theta)
    normal = Normal.zeros(frames, 6 + len(active), shared.size)
    moved = moved_rest(rest, state)
    posed = pose_state(problem, state, moved)
    for name in stage.groups:
        group = next((g for g in problem.evidence.groups if g.name == name), None)
        if group is not None:
            add_group(normal, problem, state, posed, moved, group, stage.weights, active, shared)
    add_lines(normal, problem, state, posed, active)
    if problem.balls is not None:
        add_contacts(normal, problem, problem.balls, posed, active)
    add_priors(normal, problem, state, stage.weights, active)
    _add_shared_priors(normal, problem, body, state, shared, targets)
    diagonal = np.arange(6 + len(active))
    normal.blocks[:, diagonal, diagonal] += 1e-6 + 1e-4 * normal.blocks[:, diagonal, diagonal]
    if frames > 1:
        normal.gradient -= stencil.gradient(gaps(state, active))
    step, shared_step, precision = solve_bordered(
        normal.blocks, normal.gradient, stencil, normal.border, normal.shared_block, normal.shared_gradient
    )
    return _moved(state, step, shared_step, active, shared), precision


def _add_shared_priors(
    normal: Normal, problem: Problem, body: BodyModel, state: State, shared: Shared, targets: Targets
) -> None:
    strength = _SHARE * max(1.0, float(problem.evidence.frame_weight.sum()))
    if len(shared.shape):
        sigma = shape_sigmas(body)[shared.shape]
        index = np.arange(len(shared.shape))
        normal.shared_block[index, index] += strength / sigma**2
        normal.shared_gradient[index] += strength / sigma**2 * (targets.shape_mean - state.shape)[shared.shape]
        height, slope = _height(body, state.shape)
        slope = slope[shared.shape]
        stiff = strength / _HEIGHT_SIGMA_M**2
        normal.shared_block[np.ix_(index, index)] += stiff * np.outer(slope, slope)
        normal.shared_gradient[index] += stiff * slope * (targets.height_m - height)
    if shared.focal:
        k = len(shared.shape)
        normal.shared_block[k, k] += strength / _FOCAL_SIGMA**2
        normal.shared_gradient[k] += strength / _FOCAL_SIGMA**2 * (np.log(targets.focal_px) - state.log_focal)
    if len(shared.offset_points):
        index = np.arange(shared.offset_start, shared.size)
        normal.shared_block[index, index] += strength / _OFFSET_SIGMA_M**2
        offsets = state.offsets[shared.offset_points].reshape(-1)
        normal.shared_gradient[index] -= strength / _OFFSET_SIGMA_M**2 * offsets


def _height(body: BodyModel, shape: np.ndarray) -> tuple[float, np.ndarray]:
    """Standing height of a shape and its derivatives, metres."""
    values = torch.as_tensor(shape, dtype=body.shape_default.dtype).requires_grad_(True)
    height = body.height_m(values)
    (slope,) = torch.autograd.grad(height, values)
    return float(height.detach()), slope.double().numpy()


def _moved(state: State, step: np.ndarray, shared_step: np.ndarray, active: np.ndarray, shared: Shared) -> State:
    turn = _limited(step[:, :3], _MAX_TURN_RAD)
    move = _limited(step[:, 3:6], _MAX_MOVE_M)
    theta = state.theta.copy()
    theta[:, active] += np.clip(step[:, 6:], -_MAX_TURN_RAD, _MAX_TURN_RAD)
    shape, offsets, log_focal = state.shape.copy(), state.offsets.copy(), state.log_focal
    count = len(shared.shape)
    if count:
        shape[shared.shape] = np.clip(shape[shared.shape] + np.clip(shared_step[:count], -0.2, 0.2), 0.0, 1.0)
    if shared.focal:
        log_focal += float(np.clip(shared_step[count], -0.1, 0.1))
    if len(shared.offset_points):
        offsets[shared.offset_points] += shared_step[shared.offset_start :].reshape(-1, 3)
    return replace(
        state,
        R_root=exp_so3(turn) @ state.R_root,
        translation=state.translation + move,
        theta=theta,
        shape=shape,
        offsets=offsets,
        log_focal=log_focal,
    )


def _limited(vectors: np.ndarray, longest: float) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors * np.minimum(1.0, longest / np.maximum(length, 1e-12))
