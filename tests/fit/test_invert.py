"""From meshes and joints back to bodies: what made them is found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fit_truth import Truth, perform

from bodydouble.body.anny import AnnyBody
from bodydouble.body.protocol import Pose
from bodydouble.core.errors import InputError
from bodydouble.fit.controls import build_controls
from bodydouble.fit.invert import InvertConfig, Inverted, invert_points
from bodydouble.fit.landmarks import rest_geometry
from bodydouble.fit.marks import Carried, Marks, landmark_marks, surface_marks
from bodydouble.fit.state import track_rotvecs
from bodydouble.fit.terms import pose_nodes

FRAMES = 4


@pytest.fixture(scope="module")
def truth(anny: AnnyBody) -> Truth:
    return perform(anny, frames=FRAMES)


def vertices_of(anny: AnnyBody, shape: np.ndarray, rotvecs: np.ndarray, translation: np.ndarray) -> np.ndarray:
    pose = Pose(rotvecs=torch.as_tensor(rotvecs).float(), translation_world_m=torch.as_tensor(translation).float())
    return anny.with_shape(torch.as_tensor(shape).float()).with_pose(pose).vertices().double().numpy()


def error_mm(anny: AnnyBody, truth: Truth, found: Inverted) -> np.ndarray:
    """Mean distance of all vertices, frame by frame."""
    ours = vertices_of(anny, found.shape, found.rotvecs, found.translation_m)
    return 1000 * np.linalg.norm(ours - true_vertices(anny, truth), axis=-1).mean(1)


def true_vertices(anny: AnnyBody, truth: Truth) -> np.ndarray:
    state = truth.state
    return vertices_of(anny, state.shape, track_rotvecs(state, truth.controls, anny), state.translation)


def places(anny: AnnyBody, truth: Truth, marks: Marks) -> np.ndarray:
    state = truth.state
    rest = rest_geometry(anny, marks.model, truth.controls, state.shape)
    posed = pose_nodes(truth.controls, rest.joints, state.R_root, state.translation, state.theta)
    return Carried.of(marks, truth.controls).place(posed, rest)[1]


def spread_vertices(body: AnnyBody, count: int) -> np.ndarray:
    """Vertices far from one another on the visible surface (farthest point sampling in the rest pose)."""
    hidden = torch.tensor([body.part_names.index(name) for name in ("eyes", "mouth")])
    usable = np.flatnonzero(~torch.isin(body.vertex_parts, hidden).numpy())
    points = body.with_shape(body.shape_default).vertices_rest.double().numpy()[usable]
    chosen = np.zeros(count, dtype=np.int64)
    distance = np.full(len(points), np.inf)
    for i in range(1, count):
        distance = np.minimum(distance, ((points - points[chosen[i - 1]]) ** 2).sum(1))
        chosen[i] = int(distance.argmax())
    return np.sort(usable[chosen])


def test_a_mesh_gives_back_the_parameters_that_made_it(anny: AnnyBody, truth: Truth) -> None:
    ids = spread_vertices(anny, 160)
    marks = surface_marks(anny, ids[:, None])
    found = invert_points(anny, marks, true_vertices(anny, truth)[:, ids])
    assert error_mm(anny, truth, found).max() < 2.0
    assert np.abs(found.shape - truth.state.shape).max() < 0.03
    assert found.error_m.max() < 0.002


def test_joints_alone_give_the_pose(anny: AnnyBody, truth: Truth) -> None:
    """Twists and girth do not show in joints; everything else does."""
    names = tuple(n for n in truth.landmarks.names if not n.startswith("face/"))
    marks, known = landmark_marks(anny, names)
    assert len(known) == len(names)
    found = invert_points(anny, marks, places(anny, truth, marks))
    assert error_mm(anny, truth, found).mean() < 12.0
    assert found.error_m.max() < 0.004


def test_a_known_shape_is_kept_and_missing_points_do_not_matter(anny: AnnyBody, truth: Truth) -> None:
    marks, _ = landmark_marks(anny, truth.landmarks.names)
    targets = places(anny, truth, marks)
    weights = np.ones(targets.shape[:2])
    weights[:, ::7] = 0.0
    targets[:, ::7] = 50.0
    config = InvertConfig(shape=False, iterations=14)
    found = invert_points(anny, marks, targets, weights, shape=truth.state.shape, config=config)
    assert np.array_equal(found.shape, truth.state.shape)
    assert found.error_m.max() < 0.004


def test_points_within_triangles_are_carried_as_their_corners(anny: AnnyBody, truth: Truth) -> None:
    rng = np.random.default_rng(0)
    corners = anny.faces.numpy()[rng.integers(len(anny.faces), size=40)]
    shares = rng.dirichlet(np.ones(3), size=40)
    expected = (true_vertices(anny, truth)[:, corners] * shares[:, :, None]).sum(2)
    found = places(anny, truth, surface_marks(anny, corners, shares))
    assert np.linalg.norm(found - expected, axis=-1).mean() < 5e-4


def test_derivatives_are_those_of_the_marks(anny: AnnyBody, truth: Truth) -> None:
    controls, state = build_controls(anny), truth.state
    marks = surface_marks(anny, spread_vertices(anny, 30)[:, None])
    carried = Carried.of(marks, controls)
    rest = rest_geometry(anny, marks.model, controls, state.shape)

    def place(theta: np.ndarray) -> np.ndarray:
        posed = pose_nodes(controls, rest.joints, state.R_root, state.translation, theta)
        return carried.place(posed, rest)[1]

    posed = pose_nodes(controls, rest.joints, state.R_root, state.translation, state.theta)
    exact = carried.derivatives(controls, posed, carried.place(posed, rest)[0], np.arange(len(controls.dofs)))
    for k in (0, 5, 14, 40, 70):
        step = np.zeros(len(controls.dofs))
        step[k] = 1e-5
        numeric = (place(state.theta + step) - place(state.theta - step)) / 2e-5
        assert np.abs(exact[..., 6 + k] - numeric).max() < 1e-6


def test_too_few_points_are_refused(anny: AnnyBody, truth: Truth) -> None:
    with pytest.raises(InputError, match="fewer than four are landmarks"):
        landmark_marks(anny, ("body/nose", "mhr/neck"))
    marks, _ = landmark_marks(anny, truth.landmarks.names)
    with pytest.raises(InputError, match="no frame with at least four points"):
        invert_points(anny, marks, np.zeros((2, len(marks.bones), 3)), np.zeros((2, len(marks.bones))))
