"""Confidences: high where geometry supports a find, near zero where the networks make things up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.perceive.confidence import (
    body_scale_px,
    face_confidence,
    facing_camera,
    hand_confidence,
    inside_image,
    smoothstep,
)
from bodydouble.perceive.mediapipe_holistic import BODY_INDEX

from .people import standing, standing_xyz


@given(st.floats(-3.1, 3.1))
def test_facing_follows_the_turn(yaw_rad: float) -> None:
    head, chest = facing_camera(standing_xyz(yaw_rad))
    assert head == pytest.approx(np.cos(yaw_rad), abs=1e-4)
    assert chest == pytest.approx(np.cos(yaw_rad), abs=1e-4)


def test_a_face_turned_to_the_camera_is_believed() -> None:
    weights = face_confidence(standing())
    assert weights[1] > 0.9
    assert weights.mean() > 0.5


@pytest.mark.parametrize("yaw_rad", [np.pi, 2.2, -2.2, np.pi / 2 + 0.1])
def test_the_back_of_the_head_has_no_face(yaw_rad: float) -> None:
    assert face_confidence(standing(yaw_rad)).max() < 1e-3


@pytest.mark.parametrize("yaw_rad", [0.9, -0.9])
def test_the_far_cheek_counts_less(yaw_rad: float) -> None:
    result = standing(yaw_rad)
    weights = face_confidence(result)
    # Turned to the subject's left, which is the right of the image, the left ear is the far one for positive yaw.
    far, near = (454, 234) if result.face_px[454, 2] > result.face_px[234, 2] else (234, 454)
    assert weights[far] < 0.35 * weights[near] + 1e-6


def test_a_face_away_from_the_head_is_not_believed() -> None:
    result = standing()
    assert result.face_px is not None
    away = dataclasses.replace(result, face_px=result.face_px + np.array([200, 0, 0], np.float32))
    assert face_confidence(away).max() == 0.0
    assert face_confidence(dataclasses.replace(result, face_px=None)).max() == 0.0


def test_a_hand_at_the_end_of_its_arm_is_believed() -> None:
    result = standing()
    assert hand_confidence(result.left_hand_px, result, "left") > 0.8
    assert hand_confidence(None, result, "left") == 0.0


def test_a_hand_found_on_the_other_arm_is_not() -> None:
    result = standing()
    assert hand_confidence(result.right_hand_px, result, "left") < 0.05


@pytest.mark.parametrize("factor", [0.05, 5.0])
def test_a_hand_of_an_impossible_size_is_not(factor: float) -> None:
    result = standing()
    assert result.left_hand_px is not None
    wrist = result.left_hand_px[:1]
    scaled = (wrist + (result.left_hand_px - wrist) * factor).astype(np.float32)
    assert hand_confidence(scaled, result, "left") < 0.05


def test_scale_is_pixels_per_metre() -> None:
    result = standing(scale_px=250.0)
    assert body_scale_px(result.body_xy_px, result.body_xyz_camera_m) == pytest.approx(250.0, rel=1e-4)


def test_points_beyond_the_border_were_not_seen() -> None:
    points = np.array([[5, 5], [-1, 5], [5, 101], [200, 100]], np.float32)
    assert inside_image(points, (100, 200)).tolist() == [1, 0, 0, 1]


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_smoothstep_ascends_from_0_to_1(a: float, b: float) -> None:
    low, high = smoothstep(min(a, b), -1.0, 2.0), smoothstep(max(a, b), -1.0, 2.0)
    assert 0 <= low <= high <= 1


def test_names_cover_both_sides() -> None:
    assert BODY_INDEX["left_shoulder"] == 11 and BODY_INDEX["right_foot_index"] == 32
