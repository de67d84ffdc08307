"""The camera's roll and pitch from how the person stands."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fit_truth import joints_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tracks import made_up_track

from bodydouble.body.anny import AnnyBody
from bodydouble.capture.values import BodyTrack
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.fit.level import Level, find_level, leveled
from bodydouble.fit.quality import LIMBS


def _standing(body: AnnyBody, frames: int = 150, *, legs_seen: bool = True) -> BodyTrack:
    rng = np.random.default_rng(0)
    rotvecs = body.relaxed_rotvecs[None].repeat(frames, 1, 1).clone()
    rotvecs[:, 0] += 0.03 * torch.tensor(np.cumsum(rng.normal(size=(frames, 3)), 0) / math.sqrt(frames)).float()
    errors = torch.full((frames, len(LIMBS)), 2.0)
    if not legs_seen:
        errors[:, -2:] = math.nan
    return made_up_track(
        rotvecs,
        torch.tensor([0.2, -0.1, -3.0]),
        body.shape_default,
        focal_px=torch.tensor(1000.0),
        width_px=720,
        height_px=960,
        limb_names=LIMBS,
        limb_error_px=errors,
    )


def _joints(body: AnnyBody, track: BodyTrack) -> np.ndarray:
    return joints_of(body, track.shape.numpy(), track.rotvecs.numpy(), track.translation_world_m.numpy())


@settings(max_examples=8, deadline=None)
@given(roll=st.floats(-0.1, 0.1), pitch=st.floats(-0.2, 0.2))
def test_a_tilted_camera_is_found_with_caution(anny: AnnyBody, roll: float, pitch: float) -> None:
    upright = _standing(anny)
    straight = find_level(upright, anny)
    held = Level(roll_rad=roll, pitch_rad=pitch, standing_s=1.0)
    filmed = _turned(upright, anny, held.R_level_world.T)
    found = find_level(filmed, anny)
    assert found.standing_s == pytest.approx(5.0, abs=0.1)
    assert found.roll_rad - straight.roll_rad == pytest.approx(0.70 * roll, abs=0.01)
    assert found.pitch_rad - straight.pitch_rad == pytest.approx(0.67 * pitch, abs=0.015)


def _root_rest_m(body: AnnyBody, track: BodyTrack) -> torch.Tensor:
    return body.with_shape(track.shape).joints_rest[0]


def _turned(track: BodyTrack, body: AnnyBody, R: torch.Tensor) -> BodyTrack:
    root = _root_rest_m(body, track).double()
    rotvecs = track.rotvecs.clone()
    rotvecs[:, 0] = matrix_to_rotvec(R @ rotvec_to_matrix(rotvecs[:, 0].double())).float()
    place = (root + track.translation_world_m.double()) @ R.T - root
    return track.replace(rotvecs=rotvecs, translation_world_m=place.float())


def test_leveling_turns_the_whole_person_rigidly_about_the_camera(anny: AnnyBody) -> None:
    track, level = _standing(anny, 3), Level(roll_rad=0.05, pitch_rad=-0.1, standing_s=1.0)
    turned = _joints(anny, track) @ level.R_level_world.numpy().T
    assert np.abs(_joints(anny, leveled(track, _root_rest_m(anny, track), level)) - turned).max() < 1e-5


def test_who_is_not_seen_standing_says_nothing(anny: AnnyBody) -> None:
    standing = _standing(anny)
    tilted = leveled(standing, _root_rest_m(anny, standing), Level(roll_rad=0.1, pitch_rad=0.1, standing_s=1.0))
    unseen = tilted.replace(limb_error_px=_standing(anny, legs_seen=False).limb_error_px)
    assert find_level(unseen, anny) == Level(roll_rad=0.0, pitch_rad=0.0, standing_s=0.0)
    sitting = tilted.rotvecs.clone()
    for side in ("left", "right"):
        sitting[:, anny.bone_names.index(anny.humanoid[f"{side}LowerLeg"])] += torch.tensor([1.4, 0.0, 0.0])
    assert find_level(tilted.replace(rotvecs=sitting), anny).standing_s == 0.0
