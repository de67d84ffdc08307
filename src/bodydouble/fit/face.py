"""Facial actions from face landmarks, with the head's pose known.

What is compared are distances between two points of the face (lids, lips, corners, brows), so that small errors of the
head's pose cancel. Faces differ: the video's median of each distance is taken for this person's neutral face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from bodydouble.body.protocol import BodyModel
from bodydouble.fit.kinematics import place_points
from bodydouble.fit.landmarks import LandmarkModel, rest_geometry
from bodydouble.fit.state import State
from bodydouble.fit.terms import Problem, pose_state, project

PAIRS = (
    ("159", "145"), ("158", "153"), ("160", "144"), ("386", "374"), ("385", "380"), ("387", "373"),
    ("13", "14"), ("0", "17"), ("61", "291"), ("78", "308"), ("61", "1"), ("291", "1"), ("152", "1"), ("199", "1"),
    ("105", "33"), ("66", "133"), ("107", "133"), ("70", "33"), ("334", "263"), ("296", "362"), ("336", "362"),
    ("300", "263"),
)  # fmt: skip
"""Points whose mutual position tells actions: lids, lips, mouth and chin to nose, brows to eye corners."""
ACTIONS = (
    "eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "mouthSmileLeft", "mouthSmileRight", "mouthPucker", "mouthFrownLeft",
    "mouthFrownRight", "browInnerUp", "browDownLeft", "browDownRight", "browOuterUpLeft", "browOuterUpRight",
)  # fmt: skip
_SIGMA_M = 0.0012
_SIGMA_PX = 1.0
_ACTION_SIGMA = 0.5
_MIN_CONFIDENCE = 0.35
_SWEEPS = 60
_SMOOTH_S = 0.06


@dataclass(frozen=True)
class _Features:
    """Observed distances beyond the neutral face and what each action adds to them, in metres at the face."""

    value: Float[np.ndarray, "frames pairs 2"]
    slope: Float[np.ndarray, "frames pairs 2 actions"]
    weight: Float[np.ndarray, "frames pairs"]


def fit_expression(problem: Problem, body: BodyModel, state: State) -> Float[np.ndarray, "frames actions"]:
    """Values of the body's facial actions in every frame, in [0, 1]; 0 where no face is seen.

    Args:
        problem: With a face group; without one the face stays neutral.
        body: Whose actions are fitted, those of `ACTIONS` that it has.
        state: Solved poses.
    """
    out = np.zeros((len(state.theta), len(body.action_names)))
    group = next((g for g in problem.evidence.groups if g.name == "face"), None)
    names = [a for a in ACTIONS if a in body.action_names]
    if group is None or not names:
        return out
    columns = [body.action_names.index(a) for a in names]
    features = _features(problem, body, state, columns)
    if features is None:
        return out
    values = _bounded_least_squares(features)
    values = _smoothed(values, problem.evidence.times_s, features.weight.max(1) > 0)
    out[:, columns] = values
    return out


def _features(problem: Problem, body: BodyModel, state: State, columns: list[int]) -> _Features | None:
    group = problem.evidence.group("face")
    short = {problem.landmarks.names[p].split("/")[1]: i for i, p in enumerate(group.points)}
    pairs = np.array([(short[a], short[b]) for a, b in PAIRS if a in short and b in short])
    if not len(pairs):
        return None
    rest = rest_geometry(body, problem.landmarks, problem.controls, state.shape)
    posed = pose_state(problem, state, rest)
    nodes = problem.nodes_of(group)
    world = place_points(posed, rest, nodes, group.points)
    pixels, depth = project(world, state.focal_px, problem.evidence.size_px)
    scale = (depth.mean(1) / state.focal_px)[:, None, None]
    seen = (group.xy_px[:, pairs[:, 0]] - group.xy_px[:, pairs[:, 1]]) * scale
    told = (pixels[:, pairs[:, 0]] - pixels[:, pairs[:, 1]]) * scale
    R_head = posed.R[:, nodes[0]]
    deltas = action_deltas(body, problem.landmarks, columns)[:, group.points]
    moved = deltas[:, pairs[:, 0]] - deltas[:, pairs[:, 1]]
    slope = np.einsum("fij,apj->fpia", R_head[:, :2], moved) * np.array([1.0, -1.0])[:, None]
    confidence = np.minimum(group.confidence[:, pairs[:, 0]], group.confidence[:, pairs[:, 1]])
    weight = confidence**2 * (confidence > _MIN_CONFIDENCE) * problem.evidence.present[:, None]
    sigma_sq = _SIGMA_M**2 + (_SIGMA_PX * scale[:, :, 0]) ** 2
    value = seen - told
    value = value - _neutral(value, R_head, weight)
    return _Features(value, slope, weight / sigma_sq)


def _neutral(value: np.ndarray, R_head: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """This person's own distances: one vector per pair in the head's frame (its own x and y), as seen in each frame."""
    across = R_head[:, :2, :2] * np.array([1.0, -1.0])[:, None]
    out = np.zeros_like(value)
    for p in range(value.shape[1]):
        good = weight[:, p] > 0
        if not good.any():
            continue
        in_head = np.linalg.lstsq(across[good].reshape(-1, 2), value[good, p].reshape(-1), rcond=None)[0]
        for _ in range(3):  # towards the median: frames far from the present value count less
            rest = value[good, p] - across[good] @ in_head
            w = 1.0 / np.maximum(np.linalg.norm(rest, axis=1), 5e-4)
            A = np.einsum("f,fij,fik->jk", w, across[good], across[good]) + 1e-9 * np.eye(2)
            in_head = np.linalg.solve(A, np.einsum("f,fij,fi->j", w, across[good], value[good, p]))
        out[:, p] = across @ in_head
    return out


def action_deltas(
    body: BodyModel, landmarks: LandmarkModel, columns: list[int]
) -> Float[np.ndarray, "actions points 3"]:
    """Motion of each landmark at rest by each action at 1, metres."""
    with torch.no_grad():
        deltas = body.action_deltas[columns][:, torch.as_tensor(landmarks.vertex_ids)].double().numpy()
    return landmarks.vertex_weights @ deltas


def _bounded_least_squares(features: _Features) -> np.ndarray:
    """Ridge regression in [0, 1] for all frames at once, by coordinate descent."""
    rows = features.slope * np.sqrt(features.weight)[:, :, None, None]
    values = features.value * np.sqrt(features.weight)[:, :, None]
    count = rows.shape[-1]
    H = np.einsum("fpia,fpib->fab", rows, rows) + np.eye(count) / _ACTION_SIGMA**2
    g = np.einsum("fpia,fpi->fa", rows, values)
    out = np.zeros_like(g)
    for _ in range(_SWEEPS):
        for k in range(count):
            rest = g[:, k] - (H[:, k] * out).sum(1) + H[:, k, k] * out[:, k]
            out[:, k] = np.clip(rest / H[:, k, k], 0.0, 1.0)
    return out


def _smoothed(values: np.ndarray, times_s: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Gaussian mean over `_SMOOTH_S` of time; without a seen face the face relaxes to neutral."""
    out = np.zeros_like(values)
    for f, t in enumerate(times_s):
        first, stop = np.searchsorted(times_s, [t - 4 * _SMOOTH_S, t + 4 * _SMOOTH_S + 1e-9])
        near = slice(first, stop)
        w = np.exp(-0.5 * ((times_s[near] - t) / _SMOOTH_S) ** 2)
        out[f] = (w * seen[near]) @ values[near] / w.sum()
    return out
