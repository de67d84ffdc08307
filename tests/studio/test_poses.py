"""Pose controls: which way they turn, on which bones, and that sides mirror each other."""

from __future__ import annotations

import math

import pytest
import torch
from avatar_fakes import humanoid_rig
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.errors import ConfigError
from bodydouble.core.skinning import bone_transforms
from bodydouble.studio.poses import CONTROLS_BY_NAME, POSE_CONTROLS, POSES, Poser

RIG = humanoid_rig()
POSER = Poser(RIG)
REST = torch.zeros(len(RIG.bone_names), 3)


def joints(**degrees: float) -> dict[str, torch.Tensor]:
    """Where the joints are with some controls moved."""
    rotvecs = POSER.apply(REST, degrees)
    R, t = bone_transforms(rotvecs, RIG.joints_rest_m, torch.zeros(3), RIG.bone_parents)
    moved = (R @ RIG.joints_rest_m[:, :, None])[..., 0] + t
    return dict(zip(RIG.bone_names, moved, strict=True))


@pytest.mark.parametrize(
    ("control", "bone", "axis", "sign"),
    [
        ("bend", "head", 2, 1.0),  # forwards
        ("lean", "head", 0, -1.0),  # to the own right, as `tilt head`
        ("twist", "leftHand", 2, -1.0),  # to the own left: the left hand goes back
        ("left_arm_up", "leftHand", 1, 1.0),
        ("right_arm_up", "rightHand", 1, 1.0),
        ("left_arm_forward", "leftHand", 2, 1.0),
        ("right_arm_forward", "rightHand", 2, 1.0),
        ("left_elbow", "leftHand", 2, 1.0),
        ("right_elbow", "rightHand", 2, 1.0),
        ("left_leg_forward", "leftFoot", 2, 1.0),
        ("right_leg_out", "rightFoot", 0, -1.0),
        ("left_knee", "leftFoot", 2, -1.0),
        ("left_shrug", "leftUpperArm", 1, 1.0),
        ("right_toes_up", "rightToes", 1, 1.0),
    ],
)
def test_controls_move_what_they_say(control: str, bone: str, axis: int, sign: float) -> None:
    before, after = joints()[bone], joints(**{control: 20.0})[bone]
    assert float(after[axis] - before[axis]) * sign > 0.01


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(["arm_up", "arm_forward", "elbow", "leg_forward", "leg_out", "knee", "index_finger"]),
    degrees=st.floats(-20.0, 80.0),
)
def test_the_same_number_on_both_sides_is_the_mirrored_pose(name: str, degrees: float) -> None:
    posed = joints(**{f"left_{name}": degrees, f"right_{name}": degrees})
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    for bone in ("Hand", "IndexDistal", "Foot", "Toes"):
        torch.testing.assert_close(posed[f"left{bone}"] * mirror, posed[f"right{bone}"], atol=1e-5, rtol=0.0)


def test_an_angle_is_the_sum_over_the_bones_it_is_shared_by() -> None:
    rotvecs = POSER.apply(REST, {"turn_head": 50.0})
    neck, head = RIG.bone_names.index("neck"), RIG.bone_names.index("head")
    torch.testing.assert_close(rotvecs[neck], torch.tensor([0.0, math.radians(20.0), 0.0]))
    torch.testing.assert_close(rotvecs[head], torch.tensor([0.0, math.radians(30.0), 0.0]))
    assert float(rotvecs.abs().sum()) == pytest.approx(math.radians(50.0), abs=1e-5)


def test_closing_the_hand_brings_fingertips_to_the_palm() -> None:
    def tip_to_wrist(**degrees: float) -> float:
        posed = joints(**degrees)
        return float((posed["leftIndexDistal"] - posed["leftHand"]).norm())

    assert tip_to_wrist(left_index_finger=80.0) < 0.7 * tip_to_wrist()


def test_controls_are_added_to_a_motion_frame_by_frame() -> None:
    frames = 0.3 * torch.randn(4, *REST.shape, generator=torch.Generator().manual_seed(3))
    together = POSER.apply(frames, {"bend": 20.0, "left_arm_twist": 30.0})
    for k in range(4):
        torch.testing.assert_close(together[k], POSER.apply(frames[k], {"bend": 20.0, "left_arm_twist": 30.0}))
    torch.testing.assert_close(POSER.apply(frames, {}), frames)


def test_presets_name_controls_and_stay_in_their_ranges() -> None:
    for controls in POSES.values():
        for name, degrees in controls.items():
            control = CONTROLS_BY_NAME[name]
            assert control.low_deg <= degrees <= control.high_deg
    assert len(CONTROLS_BY_NAME) == len(POSE_CONTROLS)


def test_a_rig_without_a_bone_has_no_control_for_it_and_an_unknown_control_is_refused() -> None:
    assert "left_thumb" not in {control.name for control in POSER.controls}
    torch.testing.assert_close(POSER.apply(REST, {"left_thumb": 30.0}), REST)
    with pytest.raises(ConfigError, match="no pose control 'left_wing'; known are turn_head"):
        POSER.apply(REST, {"left_wing": 30.0})
