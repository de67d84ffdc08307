"""Limbs between their two edges in the mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fit_truth import FOCAL_PX, SIZE_PX, Truth, observe, perform, stepped, track_joints

from bodydouble.body.anny import AnnyBody
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import video_camera
from bodydouble.core.seeds import numpy_rng
from bodydouble.fit.evidence import gather
from bodydouble.fit.landmarks import rest_geometry
from bodydouble.fit.limb_axes import _between_edges, limb_lines, limb_points
from bodydouble.fit.state import State
from bodydouble.fit.terms import Lines, Normal, Problem, add_lines, pose_state, project
from bodydouble.fit.track import FitConfig, fit_observations
from bodydouble.render.mesh import rasterize_mesh

LIMBS = ("LowerArm", "Hand", "LowerLeg", "Foot")


@pytest.fixture(scope="module")
def truth(anny: AnnyBody) -> Truth:
    return perform(anny, frames=16, fps_hz=12.0, seed=5, turn_rad=0.4)


def masks_of(truth: Truth, *, grown_px: int = 0) -> dict[int, np.ndarray]:
    import cv2

    pose = Pose(
        rotvecs=torch.as_tensor(truth.rotvecs, dtype=torch.float32),
        translation_world_m=torch.as_tensor(truth.state.translation, dtype=torch.float32),
    )
    shape = torch.as_tensor(truth.state.shape, dtype=torch.float32)
    vertices = truth.body.with_shape(shape).with_pose(pose).vertices()
    camera = video_camera(*SIZE_PX, torch.tensor(FOCAL_PX))
    found = {}
    for f, number in enumerate(observe(truth).frame_indices.tolist()):
        mask = rasterize_mesh(vertices[f], truth.body.faces, camera).mask.numpy().astype(np.uint8) * 255
        found[number] = cv2.dilate(mask, np.ones((2 * grown_px + 1,) * 2, np.uint8)) if grown_px else mask
    return found


def limb_error_mm(truth: Truth, track) -> float:
    """Mean distance across the line of sight of elbows, wrists, knees and ankles."""
    bones = [truth.body.bone_names.index(truth.body.humanoid[s + n]) for s in ("left", "right") for n in LIMBS]
    away = (track_joints(truth.body, track) - truth.joints_world())[:, bones, :2]
    return 1000.0 * float(np.linalg.norm(away, axis=-1).mean())


@pytest.mark.parametrize("grown_px", [0, 5])
def test_masks_steady_what_landmarks_let_wander(anny: AnnyBody, truth: Truth, grown_px: int):
    seen = observe(truth)
    # Each landmark errs by some pixels, anew in every frame: what a network does on single pictures.
    wander = 7.0 * numpy_rng(1, "wander").normal(size=seen.xy_px.shape)
    seen = seen.replace(xy_px=seen.xy_px + torch.as_tensor(wander, dtype=torch.float32))
    config = FitConfig(focal_px=FOCAL_PX, expressions=False, self_calibrate=False)
    masks = masks_of(truth, grown_px=grown_px)
    without = fit_observations(seen, anny, config, lambda e: None)
    with_masks = fit_observations(seen, anny, config, lambda e: None, mask=masks.get)
    assert limb_error_mm(truth, with_masks) < 0.9 * limb_error_mm(truth, without)


def test_exact_landmarks_are_left_alone(anny: AnnyBody, truth: Truth):
    config = FitConfig(focal_px=FOCAL_PX, expressions=False, self_calibrate=False)
    track = fit_observations(observe(truth), anny, config, lambda e: None, mask=masks_of(truth, grown_px=4).get)
    assert limb_error_mm(truth, track) < 12.0


def test_the_middle_of_a_bar():
    image = np.zeros((60, 80), np.uint8)
    image[:, 30:50] = 255
    pixels = np.array([[36.0, 30.0], [44.0, 30.0], [10.0, 30.0]])
    normal = np.tile([[1.0, 0.0]], (3, 1))
    middle, width = _between_edges(image, pixels, normal, np.full(3, 0.01), np.full(3, 0.3))
    np.testing.assert_allclose(middle[:2], [0.04, -0.04], atol=0.003)
    np.testing.assert_allclose(width[:2], [0.20, 0.20], atol=0.005)
    assert np.isnan(width[2])  # not inside


@pytest.mark.parametrize("reach_m", [0.05, 0.12])
def test_no_edge_within_reach_or_in_the_picture_is_no_middle(reach_m: float):
    image = np.full((60, 80), 255, np.uint8)
    image[:, :20] = 0
    at, normal = np.array([[26.0, 30.0]]), np.array([[1.0, 0.0]])
    _, width = _between_edges(image, at, normal, np.full(1, 0.01), np.full(1, reach_m))
    assert np.isnan(width).all()


def test_lines_pull_as_their_derivatives_say(anny: AnnyBody, truth: Truth):
    """The gradient of the normal equations is the slope of the cost, for a turn and a shift of the root and a knee."""
    problem, state, rest = _problem(truth)
    points = limb_points(problem, anny, rest)
    posed = pose_state(problem, state, rest)
    pixels, _ = project(points.world(posed), state.focal_px, SIZE_PX)
    rng = numpy_rng(0, "lines")
    angle = rng.uniform(0, 2 * np.pi, pixels.shape[:2])
    lines = Lines(
        points.nodes, points.levers, pixels + rng.normal(size=pixels.shape),
        np.stack([np.cos(angle), np.sin(angle)], -1), rng.uniform(0, 1, pixels.shape[:2]),
    )  # fmt: skip
    problem = replace(problem, lines=lines)
    active = problem.controls.indices("body")
    normal = Normal.zeros(len(state.theta), 6 + len(active), 0)
    add_lines(normal, problem, state, posed, active)
    knee = int(np.flatnonzero(active == problem.controls.index("left_knee_bend"))[0])
    step, depth = 1e-5, -posed.joints[:, 0, 2]
    for column in (1, 3, 6 + knee):
        cost = [_cost(problem, stepped(state, active, column, s * step), rest, depth) for s in (1, -1)]
        slope = -(cost[0] - cost[1]) / (2 * step)
        np.testing.assert_allclose(normal.gradient[:, column], slope, rtol=2e-2, atol=1e-3 * np.abs(slope).max())


def test_nobody_in_the_masks_says_nothing(anny: AnnyBody, truth: Truth):
    problem, state, rest = _problem(truth)
    posed = pose_state(problem, state, rest)
    for mask in (lambda i: None, lambda i: np.zeros(SIZE_PX[::-1], np.uint8)):
        lines = limb_lines(problem, anny, state, posed, rest, mask, np.arange(len(state.theta)))
        assert lines.precision.max() == 0.0
        assert np.isfinite(lines.target_px).all()


def _problem(truth: Truth) -> tuple[Problem, State, object]:
    problem = Problem(truth.controls, truth.landmarks, gather(observe(truth), truth.landmarks, FOCAL_PX))
    rest = rest_geometry(truth.body, truth.landmarks, truth.controls, truth.state.shape)
    return problem, truth.state, rest


def _cost(problem: Problem, state: State, rest, hips_depth_m: np.ndarray) -> np.ndarray:
    """Robust cost of each frame (Geman-McClure); the scale of pixels is that of the hips where the equations were made."""
    lines = problem.lines
    assert lines is not None
    posed = pose_state(problem, state, rest)
    world = posed.joints[:, lines.nodes] + np.einsum("fpij,pj->fpi", posed.R[:, lines.nodes], lines.levers)
    pixels, _ = project(world, state.focal_px, SIZE_PX)
    metres_per_px = hips_depth_m / state.focal_px
    across = (lines.normal * (lines.target_px - pixels)).sum(-1) * metres_per_px[:, None]
    rho_sq = 0.04**2
    cost = 0.5 * lines.precision * rho_sq * across**2 / (rho_sq + across**2)
    return (cost * problem.evidence.frame_weight[:, None]).sum(1)
