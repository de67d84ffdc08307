"""Truth in place of estimates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FPS, HEIGHT, WIDTH, film
from tracks import made_up_track

from bodydouble.bench.conditions import CONDITIONS, Condition, conditioned, true_poses
from bodydouble.body.anny import load_anny
from bodydouble.capture.folder import Capture, write_mask
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.synth.stage import SynthConfig
from bodydouble.synth.synthesise import synthesise
from bodydouble.synth.truth import read_truth

FRAMES = 9
SIZE = (64, 96)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: c.name)
def test_only_what_is_named_is_replaced(tmp_path: Path, condition: Condition):
    given = film(tmp_path, FRAMES)
    estimated = given.truth.replace(rotvecs=given.truth.rotvecs + 0.1)
    given.capture.save_track(estimated)
    true_masks = tmp_path / "masks"
    true_masks.mkdir()
    for f in range(FRAMES):
        write_mask(true_masks, f, np.full((HEIGHT, WIDTH), 100 + f, np.uint8))
        (true_masks / f"{f:06d}.png").rename(true_masks / f"frame_{f:06d}.png")
    write_mask(given.capture.mattes_folder, 3, np.full((HEIGHT, WIDTH), 7, np.uint8))
    copy = conditioned(given.capture, given.truth, true_masks, tmp_path / "copy", condition)
    expected = given.truth if condition.true_pose else estimated
    torch.testing.assert_close(copy.track().rotvecs, expected.rotvecs)
    for f in range(FRAMES):
        mask, before = copy.mask(f), given.capture.mask(f)
        assert mask is not None and before is not None
        np.testing.assert_array_equal(mask, 100 + f if condition.true_masks else before)
    assert Capture.open(given.capture.folder).track().rotvecs.equal(estimated.rotvecs)  # the original is left alone


def test_the_four_conditions_are_all_there_are():
    assert len({(c.true_pose, c.true_masks) for c in CONDITIONS}) == len({c.folder_name for c in CONDITIONS}) == 4


def test_true_poses_stand_before_the_camera_that_filmed_them(tmp_path: Path):
    """Of a moving camera, too: the track is in the camera's own frame, where its pixels are the truth's."""
    config = SynthConfig(seed=3, seconds=0.5, fps=FPS / 5, size=SIZE, camera="orbit", orbit_deg=60.0)
    performer = synthesise(tmp_path / "performer", config)
    truth = read_truth(performer)
    body = load_anny()
    frames = truth.index.num_frames
    track = true_poses(performer, _empty_track(frames, SIZE, len(body.bone_names), len(body.action_names)))
    pose = track.pose()
    joints = body.with_shape(track.shape).with_pose(pose).joints_world
    for f in range(frames):
        found, _ = video_camera(*SIZE, track.focal_px).project(joints[f])
        expected, _ = truth.camera(f).project(truth.values.joints_world_m[f])
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def _empty_track(frames: int, size: tuple[int, int], bones: int, actions: int) -> BodyTrack:
    return made_up_track(
        torch.zeros(frames, bones, 3),
        torch.zeros(3),
        torch.zeros(6),
        times_s=torch.arange(frames) / FPS,
        expression=torch.zeros(frames, actions),
        width_px=size[0],
        height_px=size[1],
    )
