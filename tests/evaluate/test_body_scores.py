"""Figures of a body's motion against closed forms, and how they are printed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bodydouble.body.parts import anny_humanoid
from bodydouble.body.protocol import BodyModel
from bodydouble.evaluate.body_scores import finger_error_m, limb_joints, main_joints, pose_figures
from bodydouble.evaluate.truth_results import TruthScores, TruthSection, format_truth_scores


def some_body() -> BodyModel:
    """Names alone."""
    humanoid = anny_humanoid()
    fields = {n: print for n in dir(BodyModel) if not n.startswith("_")}
    return SimpleNamespace(**{**fields, "humanoid": humanoid, "bone_names": tuple(humanoid.values())})  # type: ignore[return-value]


BODY = some_body()
BONES = len(BODY.bone_names)


def motion(frames: int = 10) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(frames, BONES, 3))


def bone(name: str) -> int:
    return BODY.bone_names.index(BODY.humanoid[name])


def test_joints_are_sorted_into_limbs() -> None:
    main, limbs = main_joints(BODY), limb_joints(BODY)
    assert bone("leftHand") in main and bone("leftIndexDistal") not in main and bone("leftEye") not in main
    assert set(limbs) == {"torso", "head", "left_arm", "right_arm", "left_leg", "right_leg"}
    assert sorted(k for columns in limbs.values() for k in columns) == sorted(main)


def test_a_perfect_motion_has_no_error_and_a_shift_only_the_absolute_one() -> None:
    truth = motion()
    perfect = pose_figures(BODY, truth, truth, range(10), 24.0)
    assert all(value == pytest.approx(0.0, abs=1e-6) for value in perfect.values())
    shifted = pose_figures(BODY, truth + np.array([0.3, 0.0, 0.4]), truth, range(10), 24.0)
    assert shifted.pop("mpjpe_mm") == pytest.approx(500.0)
    assert all(value == pytest.approx(0.0, abs=1e-6) for value in shifted.values())


def test_one_wrong_hand_shows_in_its_limb() -> None:
    truth = motion()
    found = truth.copy()
    found[:, bone("rightHand"), 1] += 0.08
    figures = pose_figures(BODY, found, truth, range(10), 24.0)
    assert figures["right_arm_root_mm"] == pytest.approx(80.0 / 4)
    assert figures["left_arm_root_mm"] == pytest.approx(0.0, abs=1e-9)
    assert figures["mpjpe_root_mm"] == pytest.approx(80.0 / len(main_joints(BODY)))
    assert figures["finger_error_mm"] == pytest.approx(80.0 / 2)  # its fingers are off by as much, relative to it


def test_fingers_are_measured_from_their_wrist() -> None:
    truth = motion()
    found = truth + 0.5
    assert finger_error_m(BODY, found, truth) == pytest.approx(0.0, abs=1e-12)
    found[:, bone("leftIndexDistal"), 0] += 0.15
    assert finger_error_m(BODY, found, truth) == pytest.approx(0.15 / 15 / 2)


def test_accelerations_do_not_reach_over_gaps() -> None:
    truth = np.zeros((8, BONES, 3))
    found = truth.copy()
    found[4:] += 1.0  # a jump between frames 3 and 10: nobody knows how it went
    figures = pose_figures(BODY, found, truth, [0, 1, 2, 3, 10, 11, 12, 13], 10.0)
    assert figures["acceleration_error_mm_s2"] == pytest.approx(0.0, abs=1e-6)
    joined = pose_figures(BODY, found, truth, range(8), 10.0)
    # Two of six accelerations hold the jump: sqrt(3) m twice, times the squared rate.
    assert joined["acceleration_error_mm_s2"] == pytest.approx(1000 * np.sqrt(3) * 2 / 6 * 100)
    assert np.isnan(pose_figures(BODY, found, truth, [0, 2, 4, 6, 8, 10, 12, 14], 10.0)["acceleration_error_mm_s2"])


def test_sections_are_printed_and_written_without_nan() -> None:
    scores = TruthScores(
        sections=(
            TruthSection(name="pose", how="Two joints.", figures={"mpjpe_mm": 12.345, "tail_mm": float("nan")}),
            TruthSection(name="surface, rigid", how="None.", figures={}),
        ),
        protocol_text=("Protocol x.",),
    )
    document = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert document["pose"] == {"mpjpe_mm": 12.345, "tail_mm": None} and document["how"]["pose"] == "Two joints."
    text = format_truth_scores(scores)
    assert "mpjpe_mm       12.35" in text or "mpjpe_mm       12.34" in text
    assert "tail_mm            -" in text and "Protocol x." in text
