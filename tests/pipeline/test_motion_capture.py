"""A tiny film of a face becomes a motion file; what nobody can follow is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodydouble.avatar.arkit_csv import read_arkit_csv
from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.errors import ConfigError, NoSubjectError
from bodydouble.core.events import Event, Warned
from bodydouble.fit.face import FaceTrack
from bodydouble.pipeline.motion_capture import capture_motion, face_motion
from bodydouble.synth.heads import Head, View

RATE_HZ = 20.0


def _k(name: str) -> int:
    return ARKIT_ACTIONS.index(name)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Two seconds: calm, the jaw opens, calm, a smile, calm, a blink; the head turns to its left."""
    head, truth = Head(load_anny(), 4), np.zeros((40, 52))
    truth[8:14, _k("jawOpen")] = [0.5, 0.9, 0.9, 0.9, 0.9, 0.5]
    truth[20:26, [_k("mouthSmileLeft"), _k("mouthSmileRight")]] = 0.9
    truth[32:35, [_k("eyeBlinkLeft"), _k("eyeBlinkRight")]] = 1.0
    path = tmp_path_factory.mktemp("clip") / "face.mp4"
    with VideoWriter(path, RATE_HZ, 192, 192) as video:
        for k, row in enumerate(truth):
            view = View(head_share=0.8, yaw_rad=0.01 * k)
            video.write(head.picture(torch.from_numpy(row).float(), view, size_px=192, seed=4))
    return path, truth


def test_a_film_of_a_face_becomes_a_table(clip: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    video, truth = clip
    events: list[Event] = []
    result = capture_motion(video, tmp_path / "face.csv", events.append)
    assert (result.frames, result.with_body) == (40, False)
    assert result.fps_hz == pytest.approx(RATE_HZ, rel=1e-3)
    assert result.face_seen > 0.95
    assert not any(isinstance(event, Warned) for event in events)
    read = read_arkit_csv(tmp_path / "face.csv", rate_hz=RATE_HZ)
    found = read.expression.numpy()
    for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight"):
        assert np.corrcoef(found[:, _k(name)], truth[:, _k(name)])[0, 1] > 0.8, name
    yaw = read.head_rad[:, 0]
    assert float(yaw[-5:].mean() - yaw[:5].mean()) == pytest.approx(0.35, abs=0.15)


def test_other_kinds_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"face\.txt must end in \.csv, \.bvh or \.npz"):
        capture_motion(tmp_path / "none.mp4", tmp_path / "face.txt", lambda event: None)


def test_nobody_is_no_motion(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "empty.mp4", 10.0, 96, 96) as video:
        for _ in range(12):
            video.write(np.full((96, 96, 3), 120, np.uint8))
    with pytest.raises(NoSubjectError):
        capture_motion(tmp_path / "empty.mp4", tmp_path / "face.csv", lambda event: None)
    assert not (tmp_path / "face.csv").exists()


def test_eyes_and_head_turn_as_their_actions_say() -> None:
    actions = np.zeros((3, 52))
    actions[:, [_k("eyeLookOutLeft"), _k("eyeLookInRight")]] = 1.0
    actions[:, [_k("eyeLookDownLeft"), _k("eyeLookDownRight")]] = 1.0
    track = FaceTrack(
        actions=actions,
        sigma=np.ones((3, 52)),
        sight=np.array([1.0, 1.0, 0.0]),
        R_camera_face=np.tile(np.eye(3), (3, 1, 1)),
    )
    motion = face_motion(track, np.array([0.0, 0.1, 0.2]), "m")
    assert motion.fps_hz == pytest.approx(10.0)
    assert (motion.eyes_rad[:, :, 0] > 0.3).all()  # both to the own left
    assert (motion.eyes_rad[:, :, 1] > 0.2).all()
    assert (motion.head_rad == 0).all()
