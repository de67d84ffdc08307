"""The whole stage on a few real frames, and on clips without a usable person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodydouble.capture.folder import Capture
from bodydouble.capture.values import Observations
from bodydouble.capture.video import probe
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.errors import NoSubjectError
from bodydouble.core.events import Done, Event, Progress, Warned
from bodydouble.perceive.observe import PerceiveConfig, observe


def run(clip: Path, folder: Path, config: PerceiveConfig) -> tuple[Observations, Capture, list[Event]]:
    info = probe(clip)
    capture = Capture.create(folder, info)
    events: list[Event] = []
    return observe(info, capture, config, events.append), capture, events


@pytest.fixture(scope="module")
def signing(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Observations, Capture, list[Event]]:
    """The last frames of a man who signs, his right hand on his chest."""
    folder = tmp_path_factory.mktemp("signing") / "capture"
    return run(data_folder / "videos" / "signing_upper_body.mkv", folder, PerceiveConfig(start_s=2.0))


class TestRealClip:
    def test_landmarks_lie_where_they_should(self, signing: tuple[Observations, Capture, list[Event]]) -> None:
        o, capture, _ = signing
        assert capture.span == (60, 73)
        assert o.frame_indices.tolist() == list(range(60, 73))
        assert bool(o.present.all())
        names = {n: i for i, n in enumerate(o.landmark_names)}
        assert len(names) == 33 + 42 + 478
        xy, xyz, confidence = o.xy_px[1], o.xyz_camera_m[1], o.confidence[1]

        def at(name: str) -> torch.Tensor:
            return xyz[names[f"body/{name}"]]

        # He faces the camera: his left is on the image's right, his nose is up and nearer than his shoulders.
        assert at("left_shoulder")[0] > at("right_shoulder")[0] + 0.2
        assert at("nose")[1] < at("left_shoulder")[1] < at("left_hip")[1]
        assert at("nose")[2] < at("left_shoulder")[2] - 0.05
        assert at("right_wrist")[2] < at("right_shoulder")[2]  # the hand on the chest is nearer
        assert 0.25 < float((at("left_shoulder") - at("right_shoulder")).norm()) < 0.5
        assert torch.allclose(0.5 * (at("left_hip") + at("right_hip")), torch.zeros(3), atol=0.02)
        # The picture agrees with the space.
        assert xy[names["body/left_shoulder"], 0] > xy[names["body/right_shoulder"], 0] + 50
        # Knees and feet are below the picture; the face and the right hand are seen.
        assert float(confidence[names["body/left_ankle"]]) == 0.0
        assert float(confidence[names["face/1"]]) > 0.8
        assert float(confidence[names["right_hand/index_tip"]]) > 0.5
        wrist_gap = xy[names["right_hand/wrist"]] - xy[names["body/right_wrist"]]
        assert float(wrist_gap.norm()) < 30.0
        assert torch.equal(xyz[names["right_hand/wrist"]], torch.zeros(3))

    def test_what_is_not_found_is_zero(self, signing: tuple[Observations, Capture, list[Event]]) -> None:
        o, _, _ = signing
        missing = o.confidence == 0
        assert bool(missing.any())
        assert float(o.xy_px[missing].abs().max()) == 0.0
        assert float(o.xyz_camera_m[missing].abs().max()) == 0.0
        assert float(o.confidence.min()) >= 0.0 and float(o.confidence.max()) <= 1.0

    def test_masks_cover_the_man_and_nobody_else(self, signing: tuple[Observations, Capture, list[Event]]) -> None:
        o, capture, _ = signing
        mask = capture.mask(65)
        assert mask is not None and mask.shape == (480, 640)
        share = float((mask > 127).mean())
        assert 0.15 < share < 0.5
        names = {n: i for i, n in enumerate(o.landmark_names)}
        for name in ("nose", "left_shoulder", "right_shoulder", "left_hip", "right_elbow"):
            x, y = o.xy_px[5, names[f"body/{name}"]].int().tolist()
            assert mask[y, x] > 127, name
        assert (mask[:, 560:] > 127).mean() < 0.01  # somebody sits at the right border
        x0, y0, x1, y1 = o.box_px[5].tolist()
        outside = mask.copy()
        outside[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1] = 0
        assert outside.max() < 128

    def test_what_is_told(self, signing: tuple[Observations, Capture, list[Event]]) -> None:
        _, capture, events = signing
        progress = [e for e in events if isinstance(e, Progress)]
        assert progress[-1].done == progress[-1].total == 13
        assert isinstance(events[-1], Done)
        assert "legs_not_seen" in [e.code for e in events if isinstance(e, Warned)]
        assert "legs_not_seen" in [w["code"] for w in Capture.open(capture.folder).warnings]

    def test_it_can_be_read_back(self, signing: tuple[Observations, Capture, list[Event]]) -> None:
        o, capture, _ = signing
        again = Capture.open(capture.folder).observations()
        assert torch.equal(again.xy_px, o.xy_px)
        assert again.landmark_names == o.landmark_names
        left = sorted(p.name for p in capture.folder.iterdir())
        assert left == ["capture.json", "masks", "observations.safetensors"]

    def test_the_same_again(
        self, data_folder: Path, tmp_path: Path, signing: tuple[Observations, Capture, list[Event]]
    ) -> None:
        o, capture, _ = signing
        clip = data_folder / "videos" / "signing_upper_body.mkv"
        again, second, _ = run(clip, tmp_path / "capture", PerceiveConfig(start_s=2.0))
        assert torch.equal(again.xy_px, o.xy_px) and torch.equal(again.confidence, o.confidence)
        a, b = capture.mask(70), second.mask(70)
        assert a is not None and b is not None
        np.testing.assert_array_equal(a, b)


def test_several_people_are_told_and_one_is_followed(data_folder: Path, tmp_path: Path) -> None:
    clip = data_folder / "videos" / "edge_two_people.mp4"
    o, _, events = run(clip, tmp_path / "capture", PerceiveConfig(end_s=0.1))
    assert "several_people" in [e.code for e in events if isinstance(e, Warned)]
    assert bool(o.present.all())
    centres = 0.5 * (o.box_px[:, :2] + o.box_px[:, 2:])
    assert float((centres - centres.mean(0)).norm(dim=-1).max()) < 100.0


def test_head_and_shoulders_are_refused(data_folder: Path, tmp_path: Path) -> None:
    clip = data_folder / "videos" / "edge_face_only.mp4"
    with pytest.raises(NoSubjectError, match="Only head and shoulders are in view"):
        run(clip, tmp_path / "capture", PerceiveConfig(end_s=0.2))
    assert sorted(p.name for p in (tmp_path / "capture").iterdir()) == ["capture.json"]


def test_nobody_in_view(tmp_path: Path) -> None:
    clip = tmp_path / "empty_room.mp4"
    with VideoWriter(clip, 30.0, 320, 240) as video:
        ramp = np.linspace(30, 200, 320).astype(np.uint8)
        for _ in range(9):
            video.write(np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (240, 320, 3))))
    with pytest.raises(NoSubjectError, match=r"Nobody was found in .*empty_room\.mp4\. One person should be in view"):
        run(clip, tmp_path / "capture", PerceiveConfig())
    assert sorted(p.name for p in (tmp_path / "capture").iterdir()) == ["capture.json"]
