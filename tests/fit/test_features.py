"""A filmed face's own features: found from its points, taken on smoothly, and left alone where nothing was seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fit_truth import FOCAL_PX, SIZE_PX, Truth, observe, perform
from hypothesis import given, settings
from hypothesis import strategies as st
from tracks import made_up_track

from bodydouble.body.anny import AnnyBody
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.fit.features import feature_offsets, load_point_offsets, rest_body, rest_person, spread


@pytest.fixture(scope="module")
def truth(anny: AnnyBody) -> Truth:
    return perform(anny, frames=40, turn_rad=0.5)


def _track(truth: Truth) -> BodyTrack:
    frames = len(truth.times_s)
    return made_up_track(
        torch.from_numpy(truth.rotvecs).float(),
        torch.from_numpy(truth.state.translation).float(),
        torch.from_numpy(truth.state.shape).float(),
        frame_indices=torch.arange(frames) + 3,  # as `observe` numbers them
        times_s=torch.from_numpy(truth.times_s).float(),
        focal_px=torch.tensor(FOCAL_PX),
        width_px=SIZE_PX[0],
        height_px=SIZE_PX[1],
    )


def _seen(truth: Truth, move: np.ndarray | None = None) -> tuple[Observations, np.ndarray]:
    """Observations of a face whose points lie beside the body's by `move`, and those points at rest."""
    landmarks, table = truth.landmarks, load_point_offsets()
    own = rest_body(truth.body, torch.from_numpy(truth.state.shape).float()).vertices_rest.double().numpy()
    places = landmarks.vertex_weights @ own[landmarks.vertex_ids]
    height = float(truth.body.height_m(torch.from_numpy(truth.state.shape).float()))
    offsets = height * np.array([table.get(name, (0.0, 0.0, 0.0)) for name in landmarks.names])
    known = np.array([name in table for name in landmarks.names])
    if move is not None:
        offsets[known] += move
    return observe(truth, offsets_m=offsets), places[known]


def test_the_bodys_own_face_stays(anny: AnnyBody, truth: Truth) -> None:
    seen, _ = _seen(truth)
    track = _track(truth)
    own, found = rest_body(anny, track.shape), rest_person(anny, track, seen, torch.arange(40))
    assert (found.vertices_rest - own.vertices_rest).norm(dim=1).max() < 3e-4
    assert torch.allclose(found.joints_rest, own.joints_rest, atol=3e-4)


def test_a_mouth_that_lies_higher_is_found_and_taken_on(anny: AnnyBody, truth: Truth) -> None:
    _, places = _seen(truth)
    own = rest_body(anny, torch.from_numpy(truth.state.shape).float())
    eyes = own.joints_rest[[anny.bone_names.index(anny.humanoid[e]) for e in ("leftEye", "rightEye")]].numpy()
    mouth = eyes.mean(0) + np.array([0.0, -0.065, 0.03])
    bump = np.exp(-0.5 * ((places - mouth) ** 2).sum(1) / 0.025**2)[:, None] * [[0.002, 0.008, 0.0]]
    seen, _ = _seen(truth, bump)
    track = _track(truth)
    _, offsets = feature_offsets(anny, own, track, seen, torch.arange(40))
    assert np.abs(offsets - bump).max() < 0.0016  # drawn to none by a tenth
    found = rest_person(anny, track, seen, torch.arange(40))
    moved = (found.vertices_rest - own.vertices_rest).double().numpy()
    lips = np.linalg.norm(own.vertices_rest.numpy() - mouth, axis=1) < 0.02
    assert moved[lips, 1].mean() == pytest.approx(0.007, abs=0.002)
    parts = [anny.part_names[i] for i in anny.vertex_parts]
    elsewhere = np.array([p in ("body", "left_hand", "right_foot") for p in parts])
    assert np.abs(moved[elsewhere]).max() == 0.0


def test_eyeballs_move_as_a_whole_and_their_joints_with_them(anny: AnnyBody, truth: Truth) -> None:
    _, places = _seen(truth)
    own = rest_body(anny, torch.from_numpy(truth.state.shape).float())
    bone = anny.bone_names.index(anny.humanoid["leftEye"])
    centre = own.joints_rest[bone].double().numpy()
    bump = np.exp(-0.5 * ((places - centre) ** 2).sum(1) / 0.03**2)[:, None] * [[0.0, 0.005, 0.0]]
    found = rest_person(anny, _track(truth), _seen(truth, bump)[0], torch.arange(40))
    ball = (anny.vertex_parts == anny.part_names.index("eyes")) & (
        (own.vertices_rest - own.joints_rest[bone]).norm(dim=1) < 0.02
    )
    moved = (found.vertices_rest - own.vertices_rest)[ball]
    assert (moved - moved.mean(0)).abs().max() < 1e-6
    assert torch.allclose(found.joints_rest[bone] - own.joints_rest[bone], moved.mean(0), atol=1e-5)
    assert 0.002 < float(moved[0, 1]) < 0.006


def test_outlying_frames_hardly_count(anny: AnnyBody, truth: Truth) -> None:
    seen, _ = _seen(truth)
    xy = seen.xy_px.clone()
    xy[::8, [i for i, n in enumerate(seen.landmark_names) if n.startswith("face/")]] += 15.0
    own = rest_body(anny, torch.from_numpy(truth.state.shape).float())
    _, offsets = feature_offsets(anny, own, _track(truth), seen.replace(xy_px=xy), torch.arange(40))
    assert np.abs(offsets).max() < 0.001


def test_without_face_points_the_body_keeps_its_face(anny: AnnyBody, truth: Truth) -> None:
    seen, _ = _seen(truth)
    columns = [i for i, n in enumerate(seen.landmark_names) if not n.startswith("face/")]
    bare = seen.replace(
        landmark_names=tuple(seen.landmark_names[i] for i in columns), xy_px=seen.xy_px[:, columns],
        xyz_camera_m=seen.xyz_camera_m[:, columns], confidence=seen.confidence[:, columns],
    )  # fmt: skip
    track = _track(truth)
    own, found = rest_body(anny, track.shape), rest_person(anny, track, bare, torch.arange(40))
    assert torch.equal(own.vertices_rest, found.vertices_rest)


@settings(deadline=None, max_examples=20)
@given(x=st.floats(-0.01, 0.01), y=st.floats(-0.01, 0.01), far=st.floats(0.11, 0.19))
def test_a_displacement_fades_away(x: float, y: float, far: float) -> None:
    grid = np.stack(np.meshgrid(np.linspace(-0.04, 0.04, 6), np.linspace(-0.05, 0.05, 6), [0.0]), -1).reshape(-1, 3)
    move = np.array([x, y, 0.0])
    out = spread(grid, np.tile(move, (len(grid), 1)), np.array([[0.0, 0.0, 0.0], [far + 0.04, 0.0, 0.0]]))
    assert np.allclose(out[0], move, atol=0.15 * np.abs(move).max() + 1e-9)
    assert np.abs(out[1]).max() < 1e-3
