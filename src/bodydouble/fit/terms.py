"""What the fit asks for, as normal equations: landmarks in the image, limb directions, priors and joint limits.

Image residuals are measured in metres at the person's distance, so that near and far people, small and large videos
weigh alike. Robust losses (Geman-McClure) enter as weights of the current iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bodydouble.fit.controls import Controls
from bodydouble.fit.evidence import Evidence, Group, controls_above
from bodydouble.fit.kinematics import (
    Posed,
    Rest,
    node_screws,
    place_points,
    point_derivatives,
    pose_nodes,
    shape_derivatives,
)
from bodydouble.fit.landmarks import LandmarkModel
from bodydouble.fit.state import State
from bodydouble.fit.terms_kernels import add_points_and_segments
from bodydouble.render.threads import kernel_threads, run_kernel

_LIMIT_SIGMA = 0.08
_MIN_DEPTH_M = 0.2
_DIRECTION_ROBUST = 0.7
_LINE_ROBUST_M = 0.04


@dataclass(frozen=True)
class Weights:
    """How strongly each kind of evidence counts in one stage."""

    robust_m: float
    """Distance at which a landmark starts to count as an outlier."""
    direction_sigma: float
    """Spread of the seen limb directions (length of the difference of unit vectors)."""
    prior: float = 0.6


@dataclass(frozen=True)
class Shared:
    """Which unknowns all frames share in a stage: positions in the border, -1 where fixed."""

    shape: Int[np.ndarray, " free"]
    """Indices of the free shape values."""
    focal: bool
    offset_points: Int[np.ndarray, " moved"]
    """Landmarks whose offset is free."""

    @property
    def size(self) -> int:
        """Number of shared unknowns."""
        return len(self.shape) + int(self.focal) + 3 * len(self.offset_points)

    @property
    def offset_start(self) -> int:
        """Where the offsets begin."""
        return len(self.shape) + int(self.focal)


@dataclass
class Normal:
    """Normal equations being summed; gradients are negative (right-hand sides)."""

    blocks: Float[np.ndarray, "frames unknowns unknowns"]
    gradient: Float[np.ndarray, "frames unknowns"]
    border: Float[np.ndarray, "frames unknowns shared"]
    shared_block: Float[np.ndarray, "shared shared"]
    shared_gradient: Float[np.ndarray, " shared"]

    @staticmethod
    def zeros(frames: int, size: int, shared: int) -> Normal:
        """Nothing summed yet."""
        return Normal(
            np.zeros((frames, size, size)), np.zeros((frames, size)), np.zeros((frames, size, shared)),
            np.zeros((shared, shared)), np.zeros(shared),
        )  # fmt: skip


@dataclass(frozen=True)
class Lines:
    """Points of the body that the image wants on lines: only their distance across the line counts."""

    nodes: Int[np.ndarray, " points"]
    levers: Float[np.ndarray, "points 3"]
    """From the node's joint, in its rest frame, metres."""
    target_px: Float[np.ndarray, "frames points 2"]
    normal: Float[np.ndarray, "frames points 2"]
    """Unit vectors across the lines, in the image."""
    precision: Float[np.ndarray, "frames points"]
    """1 / sigma^2 per square metre at the person's distance; 0 where nothing is known."""


@dataclass(frozen=True)
class Balls:
    """Balls carried by nodes, and which pairs of them must stay apart."""

    nodes: Int[np.ndarray, " balls"]
    levers: Float[np.ndarray, "balls 3"]
    """From the node's joint, in its rest frame, metres."""
    radii_m: Float[np.ndarray, " balls"]
    pairs: Int[np.ndarray, "pairs 2"]

    def centres(self, posed: Posed) -> Float[np.ndarray, "frames balls 3"]:
        """Where the balls are, world, metres."""
        return posed.joints[:, self.nodes] + np.einsum("fpij,pj->fpi", posed.R[:, self.nodes], self.levers)

    def depths_m(self, centres: Float[np.ndarray, "frames balls 3"]) -> Float[np.ndarray, "frames pairs"]:
        """How far the two balls of each pair are in each other; negative where they are apart."""
        a, b = self.pairs.T
        return self.radii_m[a] + self.radii_m[b] - np.linalg.norm(centres[:, a] - centres[:, b], axis=-1)


@dataclass(frozen=True)
class Problem:
    """What stays the same during the fit."""

    controls: Controls
    landmarks: LandmarkModel
    evidence: Evidence
    lines: Lines | None = None
    balls: Balls | None = None

    def nodes_of(self, group: Group) -> Int[np.ndarray, " points"]:
        """The node that carries each point of a group."""
        return self.controls.node_of_bone[self.landmarks.bones[group.points]]


def pose_state(problem: Problem, state: State, rest: Rest) -> Posed:
    """Pose all nodes of all frames."""
    return pose_nodes(problem.controls, rest.joints, state.R_root, state.translation, state.theta)


def moved_rest(rest: Rest, state: State) -> Rest:
    """The rest geometry with this video's own landmark offsets."""
    return Rest(rest.joints, rest.points + state.offsets, rest.joints_by_shape, rest.points_by_shape)


def project(
    points_world: Float[np.ndarray, "frames points 3"], focal_px: float, size_px: tuple[int, int]
) -> tuple[Float[np.ndarray, "frames points 2"], Float[np.ndarray, "frames points"]]:
    """Pixels and depths of world points in the video's own camera."""
    depth = np.maximum(-points_world[..., 2], _MIN_DEPTH_M)
    x = focal_px * points_world[..., 0] / depth + 0.5 * size_px[0]
    y = -focal_px * points_world[..., 1] / depth + 0.5 * size_px[1]
    return np.stack([x, y], -1), depth


@dataclass(frozen=True)
class Residuals:
    """One group's residuals at a state, with their present weights."""

    world: Float[np.ndarray, "frames points 3"]
    depth: Float[np.ndarray, "frames points"]
    image_m: Float[np.ndarray, "frames points 2"]
    """Seen minus predicted, metres at the person's distance."""
    image_weight: Float[np.ndarray, "frames points"]
    metres_per_px: Float[np.ndarray, " frames"]
    direction: Float[np.ndarray, "frames segments 3"]
    direction_weight: Float[np.ndarray, "frames segments"]
    cost: float


def residuals(problem: Problem, state: State, posed: Posed, rest: Rest, group: Group, weights: Weights) -> Residuals:
    """Residuals and robust weights of a group; `rest` already carries the video's own offsets."""
    evidence = problem.evidence
    world = place_points(posed, rest, problem.nodes_of(group), group.points)
    pixels, depth = project(world, state.focal_px, evidence.size_px)
    scale = np.maximum(-posed.joints[:, 0, 2], _MIN_DEPTH_M) / state.focal_px
    image = (group.xy_px - pixels) * scale[:, None, None]
    base = group.precision * evidence.frame_weight[:, None]
    rho_sq, error_sq = weights.robust_m**2, (image**2).sum(-1)
    image_weight = base * (rho_sq / (rho_sq + error_sq)) ** 2
    cost = 0.5 * float((base * rho_sq * error_sq / (rho_sq + error_sq)).sum())

    ends = world[:, group.pairs[:, 1]] - world[:, group.pairs[:, 0]]
    ends = ends / np.maximum(np.linalg.norm(ends, axis=-1, keepdims=True), 1e-9)
    direction = group.directions_world - ends
    strength = group.direction_weight * evidence.frame_weight[:, None] / weights.direction_sigma**2
    # Many segments of a hand err together, as its points do.
    strength = strength * min(1.0, 8.0 / max(len(group.pairs), 1))
    rho_sq, error_sq = _DIRECTION_ROBUST**2, (direction**2).sum(-1)
    cost += 0.5 * float((strength * rho_sq * error_sq / (rho_sq + error_sq)).sum())
    direction_weight = strength * (rho_sq / (rho_sq + error_sq)) ** 2
    return Residuals(world, depth, image, image_weight, scale, direction, direction_weight, cost)


def add_group(
    normal: Normal,
    problem: Problem,
    state: State,
    posed: Posed,
    rest: Rest,
    group: Group,
    weights: Weights,
    active: Int[np.ndarray, " active"],
    shared: Shared,
) -> None:
    """Add a group's landmark and direction terms."""
    res = residuals(problem, state, posed, rest, group, weights)
    nodes = problem.nodes_of(group)
    unique, slots = np.unique(nodes, return_inverse=True)
    dofs = controls_above(problem.controls, unique, active)
    columns = np.concatenate([np.arange(6), 6 + np.searchsorted(active, dofs)])
    screws = node_screws(problem.controls, posed, unique, dofs)
    shared_rows = _shared_rows(problem, state, posed, rest, group, res, shared)
    run_kernel(
        add_points_and_segments, kernel_threads(), screws.turn, screws.moment, slots, res.world, res.depth,
        state.focal_px, res.metres_per_px, res.image_m, res.image_weight, group.pairs, res.direction,
        res.direction_weight, columns, shared_rows, normal.blocks, normal.gradient, normal.border,
    )  # fmt: skip
    if shared.size:
        values = (res.image_m * np.sqrt(res.image_weight)[..., None]).reshape(-1)
        flat = shared_rows.reshape(-1, shared.size)
        normal.shared_block += flat.T @ flat
        normal.shared_gradient += flat.T @ values


def add_lines(normal: Normal, problem: Problem, state: State, posed: Posed, active: Int[np.ndarray, " active"]) -> None:
    """Add the pull of points onto their lines."""
    lines = problem.lines
    if lines is None:
        return
    world = posed.joints[:, lines.nodes] + np.einsum("fpij,pj->fpi", posed.R[:, lines.nodes], lines.levers)
    pixels, depth = project(world, state.focal_px, problem.evidence.size_px)
    metres_per_px = np.maximum(-posed.joints[:, 0, 2], _MIN_DEPTH_M) / state.focal_px
    across = (lines.normal * (lines.target_px - pixels)).sum(-1) * metres_per_px[:, None]
    rho_sq = _LINE_ROBUST_M**2
    weight = lines.precision * problem.evidence.frame_weight[:, None] * (rho_sq / (rho_sq + across**2)) ** 2
    unique, slots = np.unique(lines.nodes, return_inverse=True)
    dofs = controls_above(problem.controls, unique, active)
    columns = np.concatenate([np.arange(6), 6 + np.searchsorted(active, dofs)])
    J_world = point_derivatives(node_screws(problem.controls, posed, unique, dofs), slots, world)
    J_image = _image_rows(J_world, world, depth, metres_per_px, state.focal_px)
    root = np.sqrt(weight)
    rows = (lines.normal[..., None] * J_image).sum(2) * root[..., None]
    normal.blocks[:, columns[:, None], columns] += np.swapaxes(rows, 1, 2) @ rows
    normal.gradient[:, columns] += ((across * root)[:, None] @ rows)[:, 0]


def _image_rows(
    J_world: np.ndarray, world: np.ndarray, depth: np.ndarray, metres_per_px: np.ndarray, focal_px: float
) -> np.ndarray:
    """Derivatives of the image residuals' prediction, metres: [frames, points, 2, unknowns]."""
    gain = (focal_px * metres_per_px[:, None] / depth)[..., None]
    x, y = (world[..., i, None] / depth[..., None] for i in range(2))
    u = gain * (J_world[:, :, 0] + x * J_world[:, :, 2])
    v = -gain * (J_world[:, :, 1] + y * J_world[:, :, 2])
    return np.stack([u, v], 2)


def _shared_rows(
    problem: Problem, state: State, posed: Posed, rest: Rest, group: Group, res: Residuals, shared: Shared
) -> np.ndarray:
    """Weighted derivatives of a group's image residuals by shape, focal length and landmark offsets.

    Returns:
        [frames, 2 points, shared].
    """
    frames, points = res.image_weight.shape
    if not shared.size:
        return np.zeros((frames, 2 * points, 0))
    nodes = problem.nodes_of(group)
    extra = np.zeros((frames, points, 2, shared.size))
    count = len(shared.shape)
    if count:
        J_shape = shape_derivatives(problem.controls, posed, rest, nodes, group.points)[..., shared.shape]
        extra[..., :count] = _image_rows(J_shape, res.world, res.depth, res.metres_per_px, state.focal_px)
    if shared.focal:
        seen = res.world[..., :2] * np.array([1.0, -1.0]) / res.depth[..., None]
        extra[..., count] = seen * (state.focal_px * res.metres_per_px)[:, None, None]
    moved = {int(p): i for i, p in enumerate(shared.offset_points)}
    J_offset = _image_rows(posed.R[:, nodes], res.world, res.depth, res.metres_per_px, state.focal_px)
    for i, point in enumerate(group.points):
        if int(point) in moved:
            start = shared.offset_start + 3 * moved[int(point)]
            extra[:, i, :, start : start + 3] = J_offset[:, i]
    return (extra * np.sqrt(res.image_weight)[..., None, None]).reshape(frames, 2 * points, shared.size)


def add_priors(
    normal: Normal, problem: Problem, state: State, weights: Weights, active: Int[np.ndarray, " active"]
) -> None:
    """Pull the controls to their means and keep them inside their limits, per time like the evidence.

    Frames without the subject are pulled too: that is what unseen time relaxes to.
    """
    precision, value = _prior_terms(problem, state, weights, active)
    index = 6 + np.arange(len(active))
    normal.blocks[:, index, index] += precision
    normal.gradient[:, index] += value


def _prior_terms(problem: Problem, state: State, weights: Weights, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c = problem.controls
    theta = state.theta[:, active]
    span = frame_spans(problem)[:, None]
    pull = span * weights.prior / c.array("sigma")[active] ** 2
    value = pull * (c.array("mean")[active] - theta)
    beyond = np.clip(theta, c.array("lower")[active], c.array("upper")[active]) - theta
    limit = span * (beyond != 0) / _LIMIT_SIGMA**2
    return pull + limit, value + limit * beyond


def frame_spans(problem: Problem) -> Float[np.ndarray, " frames"]:
    """Time that each frame stands for, also where the subject is absent."""
    from bodydouble.fit.evidence import frame_weights

    return frame_weights(problem.evidence.times_s, np.ones(len(problem.evidence.times_s), dtype=bool))
