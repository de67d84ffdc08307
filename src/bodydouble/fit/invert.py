"""From a posed mesh or its joints back to a body: shape, poses and places that put marks of the body onto given points.

Every frame has its own pose, all share the shape. Damped Gauss-Newton with exact derivatives over the angles of
`fit.controls`, so that the result is a pose which the fit can go on from; joint limits and a weak prior decide what the
points leave open, such as the twist of a limb of which only joints are known. A robust loss that narrows lets a start far
away be found and points without counterpart be left aside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from bodydouble.body.protocol import BodyModel
from bodydouble.core.errors import InputError
from bodydouble.fit.controls import Controls, build_controls
from bodydouble.fit.kinematics import Rest, exp_so3, log_so3, pose_nodes, unwrap_rotvecs
from bodydouble.fit.landmarks import rest_geometry
from bodydouble.fit.marks import Carried, Marks
from bodydouble.fit.solve import shape_sigmas

_ROBUST_M = (0.8, 0.4, 0.2, 0.1, 0.05)
"""Scale of the robust loss in the course of the iterations; the last one stays."""
_POINT_SIGMA_M = 0.004
_LIMIT_SIGMA_RAD = 0.08
_MAX_TURN_RAD = 0.7
_CHUNK = 16
_POOR_M = 0.05
"""A frame that ends farther off is tried again from a neighbour's pose."""


@dataclass(frozen=True, kw_only=True)
class InvertConfig:
    """How points are turned into poses."""

    iterations: int = 18
    prior: float = 0.02
    """Weight of the pull to the relaxed pose, as a share of the prior of `fit.controls`."""
    shape: bool = True
    """Whether the shape is found as well."""
    retries: int = 2
    """How often frames that went wrong start again from their neighbours."""
    robust_m: tuple[float, ...] = _ROBUST_M


@dataclass(frozen=True)
class Inverted:
    """A body in the poses of given points. World of the points: any, as long as it is one of metres."""

    shape: Float[np.ndarray, " shape"]
    rotvecs: Float[np.ndarray, "frames bones 3"]
    translation_m: Float[np.ndarray, "frames 3"]
    error_m: Float[np.ndarray, " frames"]
    """Root mean square distance of the points that have weight."""


@dataclass(frozen=True)
class _Pose:
    R_root: np.ndarray
    translation: np.ndarray
    theta: np.ndarray
    shape: np.ndarray


@dataclass(frozen=True)
class _Task:
    body: BodyModel
    controls: Controls
    carried: Carried
    targets: np.ndarray
    weights: np.ndarray
    config: InvertConfig
    shape_mean: np.ndarray


def invert_points(
    body: BodyModel,
    marks: Marks,
    targets_m: Float[np.ndarray, "frames points 3"],
    weights: Float[np.ndarray, "frames points"] | None = None,
    *,
    shape: Float[np.ndarray, " shape"] | None = None,
    config: InvertConfig | None = None,
) -> Inverted:
    """Shape, poses and places that put marks onto points.

    Args:
        body: The body.
        marks: Of the body (`marks.landmark_marks`, `marks.surface_marks`).
        targets_m: Where they shall be; where the weight is 0 the values do not matter.
        weights: How much each point counts, 0 to 1; all 1 by default.
        shape: To start from, and to keep if `config.shape` is False; by default the body's.
        config: How.
    Raises:
        InputError: When no frame has points enough.
    """
    config = config or InvertConfig()
    weights = np.ones(targets_m.shape[:2]) if weights is None else weights
    targets = np.where(weights[..., None] > 0, targets_m, 0.0)
    if not len(targets) or not ((weights > 0).sum(1) >= 4).any():
        raise InputError("There is no frame with at least four points to find a body from.")
    controls = build_controls(body)
    mean = body.shape_default.double().numpy() if shape is None else np.asarray(shape, dtype=np.float64)
    task = _Task(body, controls, Carried.of(marks, controls), targets, weights, config, mean)
    rest = rest_geometry(body, marks.model, controls, mean)
    pose = _started(task, rest, marks)
    pose, rest, error = _solved(task, marks, pose, rest, config.iterations)
    for _ in range(config.retries):
        poor = (error > max(_POOR_M, 3.0 * float(np.median(error)))) & ((weights > 0).sum(1) >= 4)
        if not poor.any() or poor.all():
            break
        pose, rest, error = _again(task, marks, pose, rest, error, poor)
    rotvecs = np.zeros((len(targets), len(body.bone_names), 3))
    rotvecs[:, controls.node_bones] = np.einsum("nik,fk->fni", controls.axes, pose.theta)
    rotvecs[:, controls.node_bones[0]] = unwrap_rotvecs(log_so3(pose.R_root))
    return Inverted(pose.shape, rotvecs, pose.translation, error)


def _solved(task: _Task, marks: Marks, pose: _Pose, rest: Rest, iterations: int) -> tuple[_Pose, Rest, np.ndarray]:
    scales = task.config.robust_m
    for i in range(iterations):
        robust = scales[min(i * len(scales) // max(iterations - 4, 1), len(scales) - 1)]
        free = task.config.shape and i >= min(4, iterations // 2)
        pose = _step(task, pose, rest, robust, free)
        if free:
            rest = rest_geometry(task.body, marks.model, task.controls, pose.shape)
    return pose, rest, _errors(task, pose, rest)


def _step(task: _Task, pose: _Pose, rest: Rest, robust_m: float, free_shape: bool) -> _Pose:
    """One damped step of all frames; the shape, if free, by the Schur complement over them."""
    controls, size = task.controls, 6 + len(task.controls.dofs)
    dofs, shapes = np.arange(len(controls.dofs)), len(pose.shape)
    steps, back = np.zeros((len(pose.theta), size)), np.zeros((len(pose.theta), size, shapes))
    S, s = np.zeros((shapes, shapes)), np.zeros(shapes)
    for first in range(0, len(pose.theta), _CHUNK):
        part = slice(first, first + _CHUNK)
        posed = pose_nodes(controls, rest.joints, pose.R_root[part], pose.translation[part], pose.theta[part])
        alone, world = task.carried.place(posed, rest)
        residual = task.targets[part] - world
        square = (residual**2).sum(-1)
        weight = task.weights[part] * (robust_m**2 / (robust_m**2 + square)) ** 2 / _POINT_SIGMA_M**2
        root = np.sqrt(weight / np.maximum(task.weights[part].sum(1, keepdims=True) / 100.0, 1.0))[..., None]
        J = task.carried.derivatives(controls, posed, alone, dofs) * root[..., None]
        rows, values = J.reshape(len(J), -1, size), (residual * root).reshape(len(J), -1)
        H, g = np.swapaxes(rows, 1, 2) @ rows, (values[:, None] @ rows)[:, 0]
        _add_priors(H, g, pose.theta[part], controls, task.config.prior)
        diagonal = np.arange(size)
        H[:, diagonal, diagonal] += 1e-4 * H[:, diagonal, diagonal] + 1e-6
        if free_shape:
            moved = task.carried.shape_derivatives(controls, posed, rest)
            extra = (moved * root[..., None]).reshape(len(J), -1, shapes)
            B = np.swapaxes(rows, 1, 2) @ extra
            solved = np.linalg.solve(H, np.concatenate([g[..., None], B], axis=2))
            steps[part], back[part] = solved[..., 0], solved[..., 1:]
            S += np.einsum("fpi,fpj->ij", extra, extra) - np.einsum("fui,fuj->ij", B, back[part])
            s += np.einsum("fpi,fp->i", extra, values) - np.einsum("fui,fu->i", B, steps[part])
        else:
            steps[part] = np.linalg.solve(H, g[..., None])[..., 0]
    shape = pose.shape
    if free_shape:
        sigma = shape_sigmas(task.body)
        pull = 1.0 / sigma**2
        moved = np.linalg.solve(S + np.diag(pull), s + pull * (task.shape_mean - shape))
        moved = np.clip(shape + np.clip(moved, -0.2, 0.2), 0.0, 1.0) - shape
        shape, steps = shape + moved, steps - back @ moved
    turn = _limited(steps[:, :3])
    theta = pose.theta + np.clip(steps[:, 6:], -_MAX_TURN_RAD, _MAX_TURN_RAD)
    return _Pose(exp_so3(turn) @ pose.R_root, pose.translation + steps[:, 3:6], theta, shape)


def _add_priors(H: np.ndarray, g: np.ndarray, theta: np.ndarray, controls: Controls, weight: float) -> None:
    index = 6 + np.arange(theta.shape[1])
    pull = weight / controls.array("sigma") ** 2
    beyond = np.clip(theta, controls.array("lower"), controls.array("upper")) - theta
    limit = (beyond != 0) / _LIMIT_SIGMA_RAD**2
    H[:, index, index] += pull + limit
    g[:, index] += pull * (controls.array("mean") - theta) + limit * beyond


def _errors(task: _Task, pose: _Pose, rest: Rest) -> np.ndarray:
    posed = pose_nodes(task.controls, rest.joints, pose.R_root, pose.translation, pose.theta)
    square = ((task.targets - task.carried.place(posed, rest)[1]) ** 2).sum(-1)
    return np.sqrt((square * task.weights).sum(1) / np.maximum(task.weights.sum(1), 1e-9))


def _again(
    task: _Task, marks: Marks, pose: _Pose, rest: Rest, error: np.ndarray, poor: np.ndarray
) -> tuple[_Pose, Rest, np.ndarray]:
    """Poor frames once more, from the angles of the nearest good frame; kept where that is better."""
    good = np.flatnonzero(~poor)
    rows = np.flatnonzero(poor)
    near = good[np.abs(rows[:, None] - good).argmin(1)]
    fixed = replace(task.config, shape=False)
    part = replace(task, targets=task.targets[rows], weights=task.weights[rows], config=fixed)
    begun = _started(part, rest, marks, pose.theta[near])
    found, _, better = _solved(part, marks, replace(begun, shape=pose.shape), rest, task.config.iterations)
    take = better < error[rows]
    R, t, theta, left = pose.R_root.copy(), pose.translation.copy(), pose.theta.copy(), error.copy()
    R[rows[take]], t[rows[take]], theta[rows[take]] = found.R_root[take], found.translation[take], found.theta[take]
    left[rows[take]] = better[take]
    return _Pose(R, t, theta, pose.shape), rest, left


def _started(task: _Task, rest: Rest, marks: Marks, theta: np.ndarray | None = None) -> _Pose:
    """Root by Kabsch over the trunk's marks in the relaxed pose, or over all where the trunk has too few."""
    frames = len(task.targets)
    theta = np.tile(task.controls.array("mean"), (frames, 1)) if theta is None else theta
    posed = pose_nodes(task.controls, rest.joints, np.tile(np.eye(3), (frames, 1, 1)), np.zeros((frames, 3)), theta)
    _, own = task.carried.place(posed, rest)
    trunk = _trunk_share(task, marks)
    weight = task.weights * trunk
    few = (weight > 0).sum(1) < 4
    weight[few] = task.weights[few]
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-9)
    a, b = ((weight[..., None] * x).sum(1) for x in (own, task.targets))
    K = np.einsum("fp,fpi,fpj->fij", weight, task.targets - b[:, None], own - a[:, None])
    U, _, Vt = np.linalg.svd(K)
    U[:, :, 2] *= np.linalg.det(U @ Vt)[:, None]
    R = U @ Vt
    # The root turns about its own joint.
    joint = rest.joints[0]
    translation = b - np.einsum("fij,fj->fi", R, a - joint) - joint
    return _Pose(R, translation, theta, task.shape_mean.copy())


def _trunk_share(task: _Task, marks: Marks) -> np.ndarray:
    """1 for marks that the spine, the hips or the collar bones carry, else 0."""
    names = ("body/left_shoulder", "body/right_shoulder", "body/left_hip", "body/right_hip")
    if set(names) <= set(marks.model.names):
        return np.array([float(name in names) for name in marks.model.names])
    trunk = {task.controls.node_bones[0]}
    for dof in task.controls.dofs:
        if dof.name.startswith(("spine", "left_clavicle", "right_clavicle")):
            trunk.update(dof.bones)
    node = task.controls.node_of_bone[marks.bones[:, 0]]
    return np.isin(task.controls.node_bones[node], sorted(trunk)).astype(np.float64)


def _limited(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors * np.minimum(1.0, _MAX_TURN_RAD / np.maximum(length, 1e-12))
