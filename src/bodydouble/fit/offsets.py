"""Landmark offsets from a better track, and what they are good for: poses of frames that the better track left out.

A landmark network errs in much the same way from frame to frame: by a constant in each bone's frame, and beyond that by
something that changes slowly with the pose. Where some frames' poses are known better (registered to an avatar), the
first can be calibrated and the second can be read off the neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.core.errors import ShapeError
from bodydouble.core.events import Event, Progress
from bodydouble.fit.controls import build_controls
from bodydouble.fit.evidence import Evidence, Group, gather
from bodydouble.fit.kinematics import Rest, place_points
from bodydouble.fit.landmarks import build_landmarks, rest_geometry
from bodydouble.fit.solve import Anchor, Stage, Targets, run_stage
from bodydouble.fit.state import State, between, state_of_track, track_rotvecs
from bodydouble.fit.terms import Problem, Weights, moved_rest, pose_state, project

_ROBUST_M = 0.05
_PRIOR_SIGMA_M = 0.03
_PRIOR_FRAMES = 2.0
_REFIT = Stage(
    "between", ("body", "left_hand", "right_hand", "face"), ("body", "left_hand", "right_hand"), 3,
    Weights(robust_m=0.05, direction_sigma=0.5),
)  # fmt: skip


def _problem(body: BodyModel, observations: Observations, track: BodyTrack) -> tuple[Problem, State, Rest]:
    if len(track.rotvecs) != len(observations.present):
        raise ShapeError(
            f"The track has {len(track.rotvecs)} frames and the observations {len(observations.present)}: they must "
            "belong to the same run of frames."
        )
    controls, landmarks = build_controls(body), build_landmarks(body)
    problem = Problem(controls, landmarks, gather(observations, landmarks, float(track.focal_px)))
    state = state_of_track(track, controls, landmarks)
    return problem, state, rest_geometry(body, landmarks, controls, state.shape)


def calibrate_offsets(
    track: BodyTrack, observations: Observations, body: BodyModel, frames: Sequence[int] | None = None
) -> Float[Tensor, "landmarks 3"]:
    """Offset of every fitted landmark that best explains the observations at the poses of a track.

    Args:
        track: Poses that are better than what the landmarks gave, on the run of the observations.
        observations: The landmarks.
        body: The body of the track.
        frames: Positions in the track whose poses to trust; all by default.
    Returns:
        Metres in each landmark's bone's rest frame, for `fit.track.fit_observations(offsets_m=...)`.
    """
    problem, state, rest = _problem(body, observations, track)
    chosen = np.zeros(len(state.theta))
    chosen[np.arange(len(chosen)) if frames is None else np.asarray(frames, dtype=np.int64)] = 1.0
    posed = pose_state(problem, state, rest)
    offsets = np.zeros_like(problem.landmarks.offsets)
    for group in problem.evidence.groups:
        nodes = problem.nodes_of(group)
        R = posed.R[:, nodes]
        start = place_points(posed, rest, nodes, group.points)
        base = group.precision * (problem.evidence.frame_weight * chosen)[:, None]
        offset = np.zeros((len(group.points), 3))
        for robust_m in np.geomspace(4.0 * _ROBUST_M, _ROBUST_M, 6):
            offset += _offset_step(problem, state, group, R, start, base, offset, robust_m)
        offsets[group.points] = offset
    return torch.as_tensor(offsets, dtype=torch.float32)


def _offset_step(
    problem: Problem,
    state: State,
    group: Group,
    R: np.ndarray,
    start: np.ndarray,
    base: np.ndarray,
    offset: np.ndarray,
    robust_m: float,
) -> np.ndarray:
    world = start + np.einsum("fpij,pj->fpi", R, offset)
    pixels, depth = project(world, state.focal_px, problem.evidence.size_px)
    residual = (group.xy_px - pixels) * (depth / state.focal_px)[..., None]
    ratio = world[..., :2, None] / depth[..., None, None]
    J = (R[:, :, :2] + ratio * R[:, :, 2:]) * np.array([1.0, -1.0])[:, None]
    weight = base * (robust_m**2 / (robust_m**2 + (residual**2).sum(-1))) ** 2
    # The pull to zero counts as a few frames would; a landmark never seen keeps no offset.
    prior = _PRIOR_FRAMES * weight.max(0) * (0.01 / _PRIOR_SIGMA_M) ** 2 + 1e-9
    A = np.einsum("fp,fpki,fpkj->pij", weight, J, J) + prior[:, None, None] * np.eye(3)
    b = np.einsum("fp,fpki,fpk->pi", weight, J, residual) - prior[:, None] * offset
    return np.linalg.solve(A, b[..., None])[..., 0]


def refit_between(
    track: BodyTrack,
    trusted: Bool[Tensor, " frames"],
    observations: Observations,
    body: BodyModel,
    emit: Callable[[Event], None] = lambda event: None,
) -> BodyTrack:
    """Better poses for the frames that a refinement left out, from its neighbours and the landmarks alone.

    Trusted frames keep their poses and hold the others by smoothness. What the landmarks of an untrusted frame say is
    corrected by what they said wrongly in the trusted frames around it, so that only the change between them counts.

    Args:
        track: Trusted frames with refined poses, the others with any pose.
        trusted: Which frames those are.
        observations: The landmarks of the same run.
        body: The body of the track.
        emit: Receives progress.
    Returns:
        The track with new poses where not trusted; everything else is kept.
    """
    known = trusted.numpy().astype(bool)
    if known.all() or not known.any():
        return track
    problem, state, rest = _problem(body, observations, track)
    times = problem.evidence.times_s
    state = _filled(state, times, known)
    evidence = _corrected(problem, state, rest, known)
    problem = replace(problem, evidence=evidence)
    total = _REFIT.iterations
    done = iter(range(1, total + 1))
    solved, _ = run_stage(
        problem, body, state, _REFIT, Targets(0.0, state.shape, state.focal_px),
        lambda: emit(Progress(stage="refit", done=next(done), total=total, unit="iterations")),
        Anchor(state, known),
    )  # fmt: skip
    # What no control can say (twists and small bones of the refined track) is taken from the neighbours in time.
    original = track.rotvecs.double().numpy()
    beyond = original - track_rotvecs(
        state_of_track(track, problem.controls, problem.landmarks), problem.controls, body
    )
    beyond[:, problem.controls.node_bones[0]] = 0.0
    beyond = _interpolated(beyond.reshape(len(beyond), -1), times, known).reshape(original.shape)
    rotvecs = track_rotvecs(solved, problem.controls, body) + beyond
    rotvecs[known] = original[known]
    translation = np.where(known[:, None], track.translation_world_m.double().numpy(), solved.translation)
    return track.replace(
        rotvecs=torch.as_tensor(rotvecs, dtype=track.rotvecs.dtype),
        translation_world_m=torch.as_tensor(translation, dtype=track.translation_world_m.dtype),
    )


def _interpolated(values: np.ndarray, times: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Known rows kept, the others linear in time between them."""
    return np.stack([np.interp(times, times[known], values[known, i]) for i in range(values.shape[1])], axis=1)


def _filled(state: State, times: np.ndarray, known: np.ndarray) -> State:
    part = replace(state, R_root=state.R_root[known], translation=state.translation[known], theta=state.theta[known])
    filled = between(part, times[known], times)
    R_root = np.where(known[:, None, None], state.R_root, filled.R_root)
    return replace(filled, R_root=R_root)


def _corrected(problem: Problem, state: State, rest: Rest, known: np.ndarray) -> Evidence:
    """Landmarks of untrusted frames, less the error that the same landmarks have in the trusted frames around."""
    posed = pose_state(problem, state, moved_rest(rest, state))
    groups = []
    for group in problem.evidence.groups:
        world = place_points(posed, moved_rest(rest, state), problem.nodes_of(group), group.points)
        pixels, _ = project(world, state.focal_px, problem.evidence.size_px)
        error = group.xy_px - pixels
        xy, precision = group.xy_px.copy(), group.precision.copy()
        for p in range(len(group.points)):
            good = known & (group.precision[:, p] > 0)
            free = ~known & (group.precision[:, p] > 0)
            if not good.any():
                precision[free, p] = 0.0
                continue
            bias = _interpolated(error[:, p], problem.evidence.times_s, good)
            xy[free, p] -= bias[free]
        ends = world[:, group.pairs[:, 1]] - world[:, group.pairs[:, 0]]
        ends /= np.maximum(np.linalg.norm(ends, axis=-1, keepdims=True), 1e-9)
        groups.append(
            replace(group, xy_px=xy, precision=precision, directions_world=_turned(group, ends, problem, known))
        )
    return replace(problem.evidence, groups=tuple(groups))


def _turned(group: Group, ends: np.ndarray, problem: Problem, known: np.ndarray) -> np.ndarray:
    """Directions of untrusted frames, less their error in the trusted frames around."""
    out = group.directions_world.copy()
    error = out - ends
    for s in range(out.shape[1]):
        good, free = known & (group.direction_weight[:, s] > 0), ~known & (group.direction_weight[:, s] > 0)
        if good.any():
            out[free, s] -= _interpolated(error[:, s], problem.evidence.times_s, good)[free]
    return out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9)
