"""Which frames are used, and what the user is told about them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from bodydouble.capture.values import VideoInfo
from bodydouble.capture.video import probe
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.errors import ConfigError, NoSubjectError
from bodydouble.core.events import Event, Warned
from bodydouble.perceive.judge import check_subject, settle, subject_box_px
from bodydouble.perceive.mediapipe_holistic import BODY_INDEX
from bodydouble.perceive.parts import LEFT_HAND, NUM_LANDMARKS, RawLandmarks, join_parts, load_part, save_part
from bodydouble.perceive.span import PerceiveConfig, choose_span


def scenes(path: Path, lengths: list[int], fps_hz: float = 30.0, size: tuple[int, int] = (320, 240)) -> VideoInfo:
    """A clip of still scenes, each of its own."""
    with VideoWriter(path, fps_hz, *size) as video:
        for number, length in enumerate(lengths):
            rng = np.random.default_rng(number)
            blocks = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
            image = np.kron(blocks, np.ones((size[1] // 6, size[0] // 8, 1), np.uint8))
            for _ in range(length):
                video.write(np.ascontiguousarray(image))
    return probe(path)


def chosen(info: VideoInfo, config: PerceiveConfig | None = None) -> tuple[tuple[int, int], list[str]]:
    events: list[Event] = []
    span = choose_span(info, config or PerceiveConfig(), events.append)
    return span, [e.code for e in events if isinstance(e, Warned)]


def test_everything_by_default(tmp_path: Path) -> None:
    assert chosen(scenes(tmp_path / "a.mp4", [30])) == ((0, 30), [])


def test_the_longest_shot(tmp_path: Path) -> None:
    info = scenes(tmp_path / "a.mp4", [12, 30, 20])
    assert chosen(info) == ((12, 42), ["shot_change"])
    assert chosen(info, PerceiveConfig(start_s=1.45)) == ((44, 62), [])
    assert chosen(info, PerceiveConfig(end_s=0.5)) == ((0, 12), ["shot_change"])


def test_long_spans_are_trimmed(tmp_path: Path) -> None:
    info = scenes(tmp_path / "a.mp4", [60])
    assert chosen(info, PerceiveConfig(max_seconds=1.0)) == ((0, 30), ["span_trimmed"])
    assert chosen(info, PerceiveConfig(max_frames=10)) == ((0, 10), ["span_trimmed"])
    assert chosen(info, PerceiveConfig(start_s=0.5, end_s=1.0)) == ((15, 30), [])


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (PerceiveConfig(start_s=5.0), r"5 s to inf s, holds no frame: the video runs from 0 s to 0\.97 s"),
        (PerceiveConfig(start_s=0.5, end_s=0.2), "holds no frame"),
        (PerceiveConfig(start_s=0.501, end_s=0.502), r"No frame lies between 0\.501 s and 0\.502 s"),
        (PerceiveConfig(max_seconds=0.0), "must be positive"),
    ],
)
def test_empty_spans_are_refused(tmp_path: Path, config: PerceiveConfig, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        chosen(scenes(tmp_path / "a.mp4", [30]), config)


def test_poor_material_is_named(tmp_path: Path) -> None:
    assert chosen(scenes(tmp_path / "a.mp4", [1]))[1] == ["few_frames"]
    assert chosen(scenes(tmp_path / "b.mp4", [10], fps_hz=5.0))[1] == ["low_frame_rate"]
    assert chosen(scenes(tmp_path / "c.mp4", [10], size=(160, 120)))[1] == ["small_video"]
    damaged = dataclasses.replace(probe(tmp_path / "b.mp4"), damage="2 parts were skipped", fps_hz=30.0)
    assert chosen(damaged)[1] == ["damaged_video"]


def raw_run(frames: int = 10, **visible: float) -> RawLandmarks:
    """A run in which body landmarks are seen with 0.9, but those named with another confidence."""
    confidence = torch.zeros(frames, NUM_LANDMARKS)
    confidence[:, : len(BODY_INDEX)] = 0.9
    for part, value in visible.items():
        for name, i in BODY_INDEX.items():
            if part in name:
                confidence[:, i] = value
    xy = torch.zeros(frames, NUM_LANDMARKS, 2)
    xy[:, : len(BODY_INDEX)] = torch.linspace(20, 600, len(BODY_INDEX))[None, :, None]
    return RawLandmarks(
        frame_indices=torch.arange(frames),
        xy_px=xy,
        xyz_camera_m=torch.zeros(frames, NUM_LANDMARKS, 3),
        confidence=confidence,
        present=torch.ones(frames, dtype=torch.bool),
        mask_box_px=torch.tensor([[10.0, 30.0, 400.0, 500.0]]).expand(frames, 4).clone(),
    )


INFO = VideoInfo(
    path="clip.mp4", width_px=640, height_px=480, num_frames=10, fps_hz=30.0,
    times_s=tuple(k / 30 for k in range(10)), rotation_deg=0, codec="h264",
)  # fmt: skip


def judged(raw: RawLandmarks) -> list[str]:
    events: list[Event] = []
    check_subject(raw, INFO, events.append)
    return [e.code for e in events if isinstance(e, Warned)]


def test_a_whole_person_gives_no_warning() -> None:
    assert judged(raw_run()) == []


def test_unseen_parts_are_named() -> None:
    legs = {"knee": 0.1, "ankle": 0.1, "heel": 0.1, "foot": 0.1}
    assert judged(raw_run(**legs)) == ["legs_not_seen"]
    assert judged(raw_run(**{**legs, "knee": 0.9})) == ["feet_not_seen"]
    assert judged(raw_run(**legs, hip=0.1)) == ["torso_hardly_seen"]


def test_head_and_shoulders_alone_are_refused() -> None:
    with pytest.raises(
        NoSubjectError, match=r"Only head and shoulders are in view in clip\.mp4.*at least from the hips up"
    ):
        judged(raw_run(hip=0.1, knee=0.1, ankle=0.1, elbow=0.1))


def test_nobody_is_refused() -> None:
    raw = raw_run()
    with pytest.raises(NoSubjectError, match=r"Nobody was found in clip\.mp4"):
        judged(raw.replace(present=torch.zeros(10, dtype=torch.bool)))


def test_missing_and_small_subjects_are_named() -> None:
    raw = raw_run()
    present = torch.ones(10, dtype=torch.bool)
    present[3] = False
    assert judged(raw.replace(present=present)) == ["subject_missing"]
    assert judged(raw.replace(mask_box_px=torch.tensor([[10.0, 10.0, 60.0, 110.0]]).expand(10, 4))) == ["subject_small"]


def test_fast_hands_are_believed_less() -> None:
    raw = raw_run(6)
    hand = torch.zeros(21, 2)
    hand[:, 1] = torch.linspace(0.0, 60.0, 21)
    hand[9], hand[12] = torch.tensor([0.0, 50.0]), torch.tensor([0.0, 100.0])
    xy, confidence = raw.xy_px.clone(), raw.confidence.clone()
    for k, x_px in enumerate((100.0, 102.0, 104.0, 184.0, 264.0, 266.0)):
        xy[k, LEFT_HAND] = hand + torch.tensor([x_px, 200.0])
    confidence[:, LEFT_HAND] = 1.0
    settled = settle(raw.replace(xy_px=xy, confidence=confidence)).confidence[:, LEFT_HAND.start]
    assert settled[[0, 1, 5]].tolist() == [1.0, 1.0, 1.0]
    assert float(settled[[2, 3, 4]].max()) == pytest.approx(0.3)
    # The same steps over a gap of frames are no fast motion.
    gaps = raw.replace(xy_px=xy, confidence=confidence, frame_indices=torch.arange(6) * 8)
    assert float(settle(gaps).confidence[:, LEFT_HAND].min()) == 1.0


def test_boxes_join_mask_and_landmarks_inside_the_image() -> None:
    raw = raw_run()
    present = torch.ones(10, dtype=torch.bool)
    present[0] = False
    boxes = subject_box_px(raw.replace(present=present), INFO)
    assert boxes[0].tolist() == [0, 0, 0, 0]
    assert boxes[1].tolist() == [10, 20, 600, 480]
    empty = raw.replace(mask_box_px=torch.zeros(10, 4), confidence=torch.zeros_like(raw.confidence))
    assert subject_box_px(empty, INFO).abs().max() == 0


def test_parts_join_in_the_order_of_their_frames(tmp_path: Path) -> None:
    first, second = raw_run(4), raw_run(3).replace(frame_indices=torch.arange(4, 7))
    save_part(tmp_path / "p.safetensors", second)
    joined = join_parts([load_part(tmp_path / "p.safetensors"), first])
    assert joined.frame_indices.tolist() == list(range(7))
    assert joined.xy_px.shape == (7, NUM_LANDMARKS, 2)
