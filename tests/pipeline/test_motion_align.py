"""A new video laid on a double: proportions, and doubles that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from avatar_fakes import make_avatar
from tracks import made_up_track

from bodydouble.avatar.glb import save_avatar
from bodydouble.avatar.values import Rig
from bodydouble.body.anny import load_anny
from bodydouble.core.errors import ConfigError
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.pipeline.motion_align import _in_proportion, load_double
from bodydouble.pipeline.motion_capture import capture_motion


def test_a_larger_double_stands_farther_away_and_looks_as_large() -> None:
    body = load_anny()
    generator = torch.Generator().manual_seed(1)
    turns = 0.3 * torch.randn(3, len(body.bone_names), 3, generator=generator)
    track = made_up_track(turns, torch.tensor([0.1, -0.2, -3.0]), body.shape_default.detach().clone())
    joints = body.with_shape(track.shape).joints_rest
    rig = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=1.2 * joints + 0.05,
        humanoid=dict(body.humanoid),
    )

    def seen(rest: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
        R, t = fast_bone_transforms(track.rotvecs, rest, translation, body.bone_parents)
        world = (R @ rest[..., None])[..., 0] + t
        return world[..., :2] / world[..., 2:]

    on_rig = _in_proportion(track, body, rig)
    torch.testing.assert_close(
        seen(rig.joints_rest_m, on_rig.translation_world_m),
        seen(joints, track.translation_world_m),
        atol=1e-5,
        rtol=1e-4,
    )


def test_a_face_alone_is_laid_on_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"face\.csv holds a face alone, and --avatar aligns bodies"):
        capture_motion(tmp_path / "face.mp4", tmp_path / "face.csv", lambda event: None, avatar=tmp_path)


def test_a_double_with_other_bones_is_refused(tmp_path: Path) -> None:
    save_avatar(make_avatar(), tmp_path / "other.glb")
    with pytest.raises(ConfigError, match=r"other\.glb has \d+ bones .*Leave --avatar out, and retarget"):
        load_double(tmp_path / "other.glb", load_anny())
