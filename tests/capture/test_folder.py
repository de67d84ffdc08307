"""The Capture on disk: what goes in comes out, and every kind of damage is named."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.capture.folder import HELDOUT_EVERY, Capture, info_from_json, info_to_json, is_heldout, write_mask
from bodydouble.capture.values import BodyTrack, Observations, VideoInfo
from bodydouble.capture.video import probe
from bodydouble.core.errors import InputError, OutputError

from .tiny_clips import number_of, numbered, write_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", [numbered(i) for i in range(24)])


@pytest.fixture
def capture(tmp_path: Path, clip: Path) -> Capture:
    return Capture.create(tmp_path / "capture", probe(clip))


def some_observations(info: VideoInfo, absent: tuple[int, ...] = ()) -> Observations:
    frames = info.num_frames
    rng = torch.Generator().manual_seed(0)
    present = torch.ones(frames, dtype=torch.bool)
    present[list(absent)] = False
    return Observations(
        frame_indices=torch.arange(frames),
        times_s=torch.tensor(info.times_s),
        width_px=info.width_px,
        height_px=info.height_px,
        landmark_names=("body/nose", "face/3"),
        xy_px=torch.rand(frames, 2, 2, generator=rng),
        xyz_camera_m=torch.rand(frames, 2, 3, generator=rng),
        confidence=torch.rand(frames, 2, generator=rng),
        present=present,
        box_px=torch.rand(frames, 4, generator=rng),
    )


def assert_same(a: Observations | BodyTrack, b: Observations | BodyTrack) -> None:
    assert type(a) is type(b)
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, torch.Tensor):
            assert x.dtype == y.dtype
            torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)
        else:
            assert x == y


class TestRoundTrips:
    def test_facts(self, capture: Capture) -> None:
        again = Capture.open(capture.folder)
        assert dataclasses.replace(again.info, times_s=()) == dataclasses.replace(capture.info, times_s=())
        np.testing.assert_allclose(again.info.times_s, capture.info.times_s, atol=1e-6)

    def test_observations(self, capture: Capture) -> None:
        assert not capture.has_observations()
        observations = some_observations(capture.info)
        capture.save_observations(observations)
        assert_same(Capture.open(capture.folder).observations(), observations)

    def test_track(self, capture: Capture) -> None:
        assert not capture.has_track()
        track = BodyTrack(
            body="anny",
            frame_indices=torch.arange(3),
            times_s=torch.arange(3.0),
            shape=torch.rand(6),
            rotvecs=torch.rand(3, 4, 3),
            translation_world_m=torch.rand(3, 3),
            expression=torch.rand(3, 52),
            focal_px=torch.tensor(900.0),
            focal_source="given",
            height_source="prior",
            width_px=64,
            height_px=48,
            valid=torch.tensor([True, False, True]),
            limb_names=("torso", "head"),
            limb_error_px=torch.tensor([[1.0, float("nan")]] * 3),
            frame_quality=torch.rand(3),
        )
        capture.save_track(track)
        assert_same(Capture.open(capture.folder).track(), track)

    def test_masks(self, capture: Capture) -> None:
        mask = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
        assert capture.mask(7) is None
        capture.save_mask(7, mask)
        found = capture.mask(7)
        assert found is not None
        np.testing.assert_array_equal(found, mask)
        assert [p.name for p in capture.masks_folder.iterdir()] == ["000007.png"]

    def test_a_matte_goes_before_the_networks_mask(self, capture: Capture) -> None:
        mask, matte = np.full((48, 64), 40, np.uint8), np.full((48, 64), 200, np.uint8)
        capture.save_mask(7, mask)
        capture.save_mask(8, mask)
        write_mask(capture.mattes_folder, 7, matte)
        for frame, best in ((7, matte), (8, mask)):
            found, observed = capture.mask(frame), capture.observed_mask(frame)
            assert found is not None and observed is not None
            np.testing.assert_array_equal(found, best)
            np.testing.assert_array_equal(observed, mask)

    def test_spans_warnings_and_stage_records(self, capture: Capture) -> None:
        capture.set_span(3, 20)
        capture.add_warning("few_frames", "There are few.", "Film more.")
        capture.add_warning("few_frames", "There are few.", "Film more.")
        capture.record_stage("fit", {"seconds": 3.5})
        again = Capture.open(capture.folder)
        assert again.span == (3, 20)
        assert again.warnings == ({"code": "few_frames", "message": "There are few.", "advice": "Film more."},)
        assert again.stage("fit") == {"seconds": 3.5}
        assert again.stage("other") is None

    def test_nothing_is_left_beside_the_files(self, capture: Capture) -> None:
        capture.save_observations(some_observations(capture.info))
        assert sorted(p.name for p in capture.folder.iterdir()) == ["capture.json", "observations.safetensors"]

    @given(
        times=st.lists(st.floats(1e-3, 10), min_size=0, max_size=20).map(
            lambda steps: (0.0, *np.cumsum(steps).tolist())
        ),
        focal=st.none() | st.floats(1, 1e5),
    )
    def test_any_facts_survive(self, times: tuple[float, ...], focal: float | None) -> None:
        info = VideoInfo(
            path="/a/b.mp4", width_px=3, height_px=5, num_frames=len(times), fps_hz=29.97, times_s=times,
            rotation_deg=90, codec="hevc", focal_px=focal, sha256="ab", damage="two parts",
        )  # fmt: skip
        again = info_from_json(json.loads(json.dumps(info_to_json(info))))
        np.testing.assert_allclose(again.times_s, times, atol=1e-6)
        assert dataclasses.replace(again, times_s=times) == info


class TestFrames:
    def test_observed_frames_come_from_the_video(self, capture: Capture) -> None:
        assert [number_of(f.rgb) for f in capture.frames([2, 9])] == [2, 9]
        assert len(list(capture.frames())) == 24
        observations = some_observations(capture.info)
        keep = torch.tensor([4, 5, 6])
        capture.save_observations(
            observations.replace(
                **{
                    f.name: getattr(observations, f.name)[keep]
                    for f in dataclasses.fields(observations)
                    if isinstance(getattr(observations, f.name), torch.Tensor)
                }
            )
        )
        assert [f.index for f in capture.frames()] == [4, 5, 6]

    def test_heldout_frames_are_every_eighth_of_those_with_the_subject(self, capture: Capture) -> None:
        capture.save_observations(some_observations(capture.info, absent=(0, 15)))
        assert HELDOUT_EVERY == 8
        assert capture.heldout_indices() == [7, 23]
        train = capture.train_indices()
        assert not set(train) & {0, 7, 15, 23}
        assert len(train) == 24 - 4
        assert not any(is_heldout(i) for i in train)

    def test_moved_video(self, capture: Capture, clip: Path) -> None:
        clip.rename(clip.with_name("elsewhere.mp4"))
        with pytest.raises(InputError, match=r"is gone: .*clip\.mp4 does not exist. Move it back, or put a copy at"):
            next(iter(Capture.open(capture.folder).frames()))
        shutil.copy(clip.with_name("elsewhere.mp4"), capture.folder / "clip.mp4")
        assert number_of(next(iter(Capture.open(capture.folder).frames([3]))).rgb) == 3

    def test_changed_video(self, capture: Capture, clip: Path) -> None:
        write_clip(clip, [numbered(i + 1) for i in range(24)])
        with pytest.raises(InputError, match="not the video this capture was made from"):
            next(iter(Capture.open(capture.folder).frames()))


class TestRefusals:
    def test_folder_in_use(self, capture: Capture) -> None:
        with pytest.raises(OutputError, match=r"already holds a capture .* continue it with --resume"):
            Capture.create(capture.folder, capture.info)

    def test_not_a_capture(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"is not a capture folder \(capture\.json is missing\)"):
            Capture.open(tmp_path)

    def test_other_version(self, capture: Capture) -> None:
        path = capture.folder / "capture.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "schema_version": 99}))
        with pytest.raises(InputError, match="has schema version 99; this program reads 1"):
            Capture.open(capture.folder)

    @pytest.mark.parametrize("source", [{}, {"path": 3}, {"times_s": [0.0]}])
    def test_damaged_facts(self, capture: Capture, source: dict) -> None:
        path = capture.folder / "capture.json"
        document = json.loads(path.read_text())
        changed = {**document["source"], **source} if source else {}
        if source == {"path": 3}:
            changed.pop("width_px")
        path.write_text(json.dumps({**document, "source": changed}))
        with pytest.raises(InputError, match="is damaged"):
            Capture.open(capture.folder)

    @pytest.mark.parametrize(
        "part",
        [{"span": "all"}, {"span": [1]}, {"span": [0, "end"]}, {"warnings": None}, {"warnings": [1]}, {"stages": 3}],
    )
    def test_a_damaged_document(self, capture: Capture, part: dict) -> None:
        path = capture.folder / "capture.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **part}))
        with pytest.raises(InputError, match=f"is damaged .the {next(iter(part))} must be"):
            Capture.open(capture.folder)

    def test_nothing_there_yet(self, capture: Capture) -> None:
        with pytest.raises(InputError, match="holds no observations yet"):
            capture.observations()
        with pytest.raises(InputError, match="holds no fitted body yet"):
            capture.track()

    def test_damaged_tensors(self, capture: Capture) -> None:
        capture.save_observations(some_observations(capture.info))
        path = capture.folder / "observations.safetensors"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(InputError, match=r"not a readable \.safetensors file"):
            capture.observations()

    def test_the_wrong_kind_of_tensors(self, capture: Capture) -> None:
        capture.save_observations(some_observations(capture.info))
        shutil.copy(capture.folder / "observations.safetensors", capture.folder / "body.safetensors")
        with pytest.raises(InputError, match="must hold BodyTrack of schema version 1, found 'Observations'"):
            capture.track()

    def test_masks_of_a_wrong_size(self, capture: Capture) -> None:
        with pytest.raises(InputError, match=r"expected 48 rows x 64 columns, got \(64, 48\)"):
            capture.save_mask(0, np.zeros((64, 48), np.uint8))
        with pytest.raises(InputError, match="cannot be negative"):
            capture.save_mask(-1, np.zeros((48, 64), np.uint8))

    def test_damaged_mask(self, capture: Capture) -> None:
        capture.save_mask(0, np.zeros((48, 64), np.uint8))
        huge = struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 0, 0, 0, 0)
        header = struct.pack(">I", len(huge)) + b"IHDR" + huge + struct.pack(">I", zlib.crc32(b"IHDR" + huge))
        for data in (b"not a picture", b"", b"\x89PNG\r\n\x1a\n" + header):
            (capture.masks_folder / "000000.png").write_bytes(data)
            with pytest.raises(InputError, match="must be an 8-bit 64x48 PNG, found no picture"):
                capture.mask(0)
