"""Facial actions from face points: invariance, the person's neutral face, what small or hidden faces do, and real faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.capture.values import Observations
from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.fit.face import track_face, track_points
from bodydouble.fit.face_model import load_face_model, read_faces

GOLDEN = Path(__file__).with_name("golden_faces.npz")
"""What the landmark network sees of two rendered heads that nothing was learnt from; ten acts, three views each."""
SIZE = (4000, 4000)


@pytest.fixture(scope="module")
def golden() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = np.load(GOLDEN)
    return data["points"].astype(float), data["actions"].astype(float), data["heads"]


def _column(name: str) -> int:
    return ARKIT_ACTIONS.index(name)


def test_actions_of_rendered_faces_are_found(golden: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    points, truth, heads = golden
    found = np.zeros_like(truth)
    for head in np.unique(heads):
        mine = heads == head
        found[mine] = read_faces(points[mine], np.ones(mine.sum())).actions
    for name, least in (
        ("jawOpen", 0.9), ("mouthSmileLeft", 0.9), ("mouthPucker", 0.7), ("eyeBlinkLeft", 0.8), ("eyeBlinkRight", 0.75),
        ("eyeLookOutLeft", 0.75), ("eyeLookInRight", 0.75),
    ):  # fmt: skip
        k = _column(name)
        assert np.corrcoef(found[:, k], truth[:, k])[0, 1] > least, name
    calm = truth.sum(1) == 0
    assert found[calm].mean() < 0.06
    wink = (truth[:, _column("eyeBlinkLeft")] == 1) & (truth[:, _column("eyeBlinkRight")] == 0)
    assert (found[wink, _column("eyeBlinkLeft")] > found[wink, _column("eyeBlinkRight")]).mean() > 0.6


@settings(deadline=None, max_examples=15)
@given(
    turn=st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    scale=st.floats(0.3, 6.0),
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
)
def test_place_size_and_turn_are_taken_off(turn: tuple[float, float, float], scale: float, x: float, y: float) -> None:
    points = np.load(GOLDEN)["points"][:2].astype(float)
    R = rotvec_to_matrix(torch.tensor(turn, dtype=torch.float64)).numpy()
    model = load_face_model()
    before, after = model.align(points), model.align(scale * points @ R.T + [x, y, 7.0])
    assert np.allclose(before.points, after.points, atol=1e-9)
    assert np.allclose(after.size_px, scale * before.size_px)
    assert np.allclose(after.R_camera_face, R @ before.R_camera_face, atol=1e-9)
    assert np.allclose(np.linalg.det(after.R_camera_face), 1.0)


def test_the_template_is_symmetric_and_its_corners_are_one_apart() -> None:
    template = load_face_model().template
    assert np.linalg.norm(template[33] - template[263]) == pytest.approx(1.0, abs=1e-3)
    middle = 0.5 * (template[33, 0] + template[263, 0])
    assert template[1, 0] == pytest.approx(middle, abs=5e-3)


def test_an_odd_face_is_no_expression(golden: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """A feature that never changes (here a mouth further down) belongs to the person, not to an expression."""
    points, _truth, heads = golden
    mine = heads == heads[0]
    shifted = points.copy()
    mouth = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
    shifted[:, mouth, 1] += 2.5
    one, other = (read_faces(p[mine], np.ones(mine.sum())) for p in (points, shifted))
    key = [_column(n) for n in ("jawOpen", "mouthSmileLeft", "eyeBlinkLeft")]
    assert np.abs(one.actions[:, key] - other.actions[:, key]).mean() < 0.08


def test_without_a_face_nothing_is_said() -> None:
    reading = read_faces(np.zeros((5, 478, 3)), np.zeros(5))
    assert (reading.actions == 0).all()
    assert (reading.sigma == 1).all()
    assert (reading.size_px == 0).all()
    assert np.array_equal(reading.R_camera_face, np.tile(np.eye(3), (5, 1, 1)))


def test_small_faces_fade_out(golden: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    points, _truth, heads = golden
    mine = np.nonzero(heads == heads[0])[0]
    times = np.arange(len(mine)) * 0.5
    large = track_points(points[mine] + 50.0, np.ones(len(mine)), times, SIZE)
    size = load_face_model().align(points[mine]).size_px.mean()
    tiny = track_points(points[mine] * 5.0 / size + 50.0, np.ones(len(mine)), times, SIZE)
    middling = track_points(points[mine] * 12.0 / size + 50.0, np.ones(len(mine)), times, SIZE)
    assert (tiny.actions == 0).all()
    assert 0.3 < middling.sight.mean() < 0.8
    assert large.sight.min() == 1.0
    assert large.actions.max() > 0.7


def test_a_face_that_turns_away_relaxes_within_half_a_second(golden) -> None:
    points, truth, heads = golden
    smile = np.nonzero((heads == heads[0]) & (truth[:, _column("mouthSmileLeft")] > 0.5))[0][1]
    calm = np.nonzero((heads == heads[0]) & (truth.sum(1) == 0))[0]
    frames = np.concatenate(
        [points[np.resize(calm, 30)], np.repeat(points[smile][None], 30, 0), np.zeros((30, 478, 3))]
    )
    track = track_points(frames + 10.0, np.repeat([1.0, 1.0, 0.0], 30), np.arange(90) / 30.0, SIZE)
    own = track.actions[:, _column("mouthSmileLeft")]
    assert own[40:55].min() > 0.5
    assert own[20] < 0.2
    assert own[75:].max() < 0.02
    assert np.abs(np.diff(own[50:])).max() < 0.35  # it comes as fast as it comes, but does not vanish at once
    assert track.sight[59] == 1 and track.sight[60] == 0


def test_points_beyond_the_picture_are_not_believed(golden) -> None:
    points = golden[0][:3]
    middle = points[..., 0].mean()
    assert (track_points(points - [middle + 25.0, 0, 0], np.ones(3), np.arange(3) / 10, SIZE).sight == 0).all()


def _observations(points: np.ndarray, names: tuple[str, ...]) -> Observations:
    frames = len(points)
    return Observations(
        frame_indices=torch.arange(frames),
        times_s=torch.arange(frames) / 10.0,
        width_px=SIZE[0],
        height_px=SIZE[1],
        landmark_names=names,
        xy_px=torch.from_numpy(points[..., :2]).float(),
        xyz_camera_m=torch.from_numpy((points - points.mean(1, keepdims=True)) * 0.0031).float(),
        confidence=torch.ones(points.shape[:2]),
        present=torch.ones(frames, dtype=torch.bool),
        box_px=torch.zeros(frames, 4),
    )


def test_observations_say_the_same_as_points(golden) -> None:
    points = golden[0][:30] + 20.0
    names = tuple(f"face/{i}" for i in range(478))
    track = track_face(_observations(points, names))
    direct = track_points(points, np.ones(30), np.arange(30) / 10.0, SIZE)
    assert np.abs(track.actions - direct.actions).max() < 2e-3
    order = np.random.default_rng(0).permutation(478)
    mixed = track_face(_observations(points[:, order], tuple(names[i] for i in order)))
    assert np.allclose(mixed.actions, track.actions, atol=1e-5)


def test_an_estimator_without_face_points_gives_a_calm_face() -> None:
    track = track_face(_observations(np.ones((4, 2, 3)), ("body/nose", "face/1")))
    assert (track.actions == 0).all()
    assert (track.sight == 0).all()
    assert track.actions.shape == (4, 52)


def test_a_face_of_other_points_is_refused() -> None:
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ShapeError, match=r"478 points .* got \(68, 3\)"):
            load_face_model().align(np.zeros((2, 68, 3)))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
