"""Brows by the picture: a face laid straight, windows that move as the brows do, and what is left to the points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.fit.brows import COLUMNS, FEWEST, brow_strip, read_brows
from bodydouble.fit.face import track_points
from bodydouble.fit.face_model import load_face_model, read_faces
from bodydouble.perceive.mediapipe_holistic import FaceEstimator
from bodydouble.synth.heads import Head, View


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """A head that nothing was learnt from: calm, brows up, calm, brows down, ...; points, pictures, truth."""
    acts = ({}, {}, {"browInnerUp": 1.0}, {}, {"browDownLeft": 1.0, "browDownRight": 1.0}, {}, {"browInnerUp": 0.7}, {})
    rows = [np.array([act.get(n, 0.0) for n in ARKIT_ACTIONS]) for act in (*acts, *acts)]
    head, points, pictures = Head(load_anny(), 504), [], []
    with FaceEstimator() as estimator:
        for k, row in enumerate(rows):
            rgb = head.picture(
                torch.from_numpy(row).float(), View(yaw_rad=0.02 * k - 0.15, head_share=0.8), size_px=256, seed=504
            )
            found = estimator.estimate(rgb)
            assert found is not None
            points.append(found.astype(np.float64))
            pictures.append(rgb)
    return np.stack(points), pictures, np.stack(rows)


def test_brows_are_read_where_the_points_hardly_move(clip) -> None:
    points, pictures, truth = clip
    strips = np.stack([brow_strip(rgb, p) for rgb, p in zip(pictures, points, strict=True)])
    times = np.arange(len(points)) * 0.5
    found = track_points(points, np.ones(len(points)), times, (256, 256), strips).actions
    by_points = track_points(points, np.ones(len(points)), times, (256, 256)).actions
    for name, least in (("browInnerUp", 0.8), ("browDownLeft", 0.7)):
        k = ARKIT_ACTIONS.index(name)
        assert np.corrcoef(found[:, k], truth[:, k])[0, 1] > least, name
    others = [k for k in range(52) if k not in COLUMNS]
    assert np.array_equal(found[:, others], by_points[:, others])


def test_a_picture_of_the_strip_itself_gives_it_back() -> None:
    """The mean face, seen straight on in a picture of stripes: rows of the strip are rows of the picture."""
    points = load_face_model().template * 120.0 + 200.0
    rgb = np.repeat((127 + 90 * np.sin(np.arange(400) / 7.0)).astype(np.uint8)[:, None], 400, 1)[..., None].repeat(3, 2)
    strip = brow_strip(rgb, points)
    assert strip.std(axis=1).max() < 0.1
    assert strip.std(axis=0).min() > 0.5
    darker = brow_strip((rgb * 0.5).astype(np.uint8), points)
    assert np.abs(darker - strip).mean() < 0.1  # light is evened out


def test_a_few_frames_leave_brows_to_the_points(clip) -> None:
    points, pictures, _ = clip
    strips = np.stack([brow_strip(rgb, p) for rgb, p in zip(pictures, points, strict=True)])
    reading = read_faces(points, np.ones(len(points)))
    seen = np.zeros(len(points))
    seen[: FEWEST - 1] = 1.0
    assert read_brows(strips, seen, reading) is reading.actions
    seen[:FEWEST] = 1.0
    out = read_brows(strips, seen, reading)
    assert np.array_equal(out[FEWEST:], reading.actions[FEWEST:])
    assert not np.array_equal(out[:FEWEST], reading.actions[:FEWEST])
