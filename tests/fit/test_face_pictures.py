"""Actions by the picture: a face laid straight, what is read of it, and what is left to the points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.fit.face import track_points
from bodydouble.fit.face_model import load_face_model, read_faces
from bodydouble.fit.face_pictures import BELIEVED, COLUMNS, FEWEST, HIGH, WIDE, face_crop, read_pictures
from bodydouble.perceive.mediapipe_holistic import FaceEstimator
from bodydouble.synth.heads import Head, View


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """A head that nothing was learnt from, calm between its actions; points, pictures, truth."""
    acts = (
        {}, {}, {"browInnerUp": 1.0}, {}, {"browDownLeft": 1.0, "browDownRight": 1.0}, {}, {"browInnerUp": 0.7}, {},
        {"mouthPucker": 1.0}, {}, {"mouthPucker": 0.6}, {},
    )  # fmt: skip
    rows = [np.array([act.get(n, 0.0) for n in ARKIT_ACTIONS]) for act in (*acts, *acts)]
    head, points, pictures = Head(load_anny(), 504), [], []
    with FaceEstimator() as estimator:
        for k, row in enumerate(rows):
            rgb = head.picture(
                torch.from_numpy(row).float(), View(yaw_rad=0.012 * k - 0.15, head_share=0.8), size_px=256, seed=504
            )
            found = estimator.estimate(rgb)
            assert found is not None
            points.append(found.astype(np.float64))
            pictures.append(rgb)
    return np.stack(points), pictures, np.stack(rows)


def cut_out(points, pictures) -> np.ndarray:
    return np.stack([face_crop(rgb, p) for rgb, p in zip(pictures, points, strict=True)])


def test_the_picture_tells_what_points_hardly_follow(clip) -> None:
    points, pictures, truth = clip
    times = np.arange(len(points)) * 0.5
    found = track_points(points, np.ones(len(points)), times, (256, 256), cut_out(points, pictures)).actions
    by_points = track_points(points, np.ones(len(points)), times, (256, 256)).actions
    for name, least in (("browInnerUp", 0.8), ("browDownLeft", 0.8), ("mouthPucker", 0.9)):
        k = ARKIT_ACTIONS.index(name)
        assert np.corrcoef(found[:, k], truth[:, k])[0, 1] > least, name
    others = [k for k in range(52) if k not in [COLUMNS[b] for b in BELIEVED]]
    assert np.array_equal(found[:, others], by_points[:, others])


def test_a_calm_face_stays_calm(clip) -> None:
    points, pictures, truth = clip
    reading = read_faces(points, np.ones(len(points)))
    found = read_pictures(cut_out(points, pictures), np.ones(len(points)), reading)
    assert found[truth.sum(1) == 0][:, list(COLUMNS)].mean(0).max() < 0.15


def test_a_picture_of_the_crop_itself_gives_it_back() -> None:
    """The mean face, seen straight on in a picture of stripes: rows of the crop are rows of the picture."""
    points = load_face_model().template * 120.0 + 200.0
    rgb = np.repeat((127 + 90 * np.sin(np.arange(400) / 7.0)).astype(np.uint8)[:, None], 400, 1)[..., None].repeat(3, 2)
    crop = face_crop(rgb, points)
    assert crop.shape == (HIGH, WIDE)
    assert crop.std(axis=1).max() < 0.1
    assert crop.std(axis=0).min() > 0.5
    darker = face_crop((rgb * 0.5).astype(np.uint8), points)
    assert np.abs(darker - crop).mean() < 0.1  # light is evened out


def test_a_few_frames_are_left_to_the_points(clip) -> None:
    points, pictures, _ = clip
    crops = cut_out(points, pictures)
    reading = read_faces(points, np.ones(len(points)))
    seen = np.zeros(len(points))
    seen[: FEWEST - 1] = 1.0
    assert read_pictures(crops, seen, reading) is reading.actions
    seen[:FEWEST] = 1.0
    out = read_pictures(crops, seen, reading)
    assert np.array_equal(out[FEWEST:], reading.actions[FEWEST:])
    assert not np.array_equal(out[:FEWEST], reading.actions[:FEWEST])
