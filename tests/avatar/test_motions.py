"""Motions as values, built-in motions, and expressions by name."""

from __future__ import annotations

import math

import pytest
import torch
from avatar_fakes import humanoid_rig
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.avatar.builtin import BUILTIN_MOTIONS, builtin_motion
from bodydouble.avatar.expressions import EXPRESSIONS, expression_tensor, named_expression
from bodydouble.avatar.motion import Motion
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms

RIG = humanoid_rig()
BONE = {name: index for index, name in enumerate(RIG.bone_names)}


def joints_of(motion: Motion) -> torch.Tensor:
    R, t = bone_transforms(motion.rotvecs, RIG.joints_rest_m, motion.translation_world_m, RIG.bone_parents)
    return (R @ RIG.joints_rest_m[:, :, None])[..., 0] + t


def turn_deg(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    trace = (rotvec_to_matrix(a) * rotvec_to_matrix(b)).sum((-1, -2))
    return torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1)))


@pytest.mark.parametrize("name", BUILTIN_MOTIONS)
def test_built_in_motions_are_smooth_seamless_and_stand_on_the_floor(name: str) -> None:
    motion = builtin_motion(name, RIG, floor_rest_m=0.0)
    assert motion.name == name and motion.num_frames == round(BUILTIN_MOTIONS[name][0] * 30)
    assert bool(motion.rotvecs.isfinite().all()) and bool(motion.translation_world_m.isfinite().all())
    assert motion.expression.shape == (motion.num_frames, 52)
    assert float(motion.expression.min()) >= 0 and float(motion.expression.max()) <= 1
    step = turn_deg(motion.rotvecs[1:], motion.rotvecs[:-1]).max()
    seam = turn_deg(motion.rotvecs[0], motion.rotvecs[-1]).max()
    assert step < 15 and seam <= step + 0.5, (step, seam)
    joints = joints_of(motion)
    assert (joints[0] - joints[-1]).norm(dim=-1).max() < 0.05
    for foot in ("leftFoot", "rightFoot"):
        ankle = joints[:, BONE[foot]]
        assert (ankle[:, 1] - RIG.joints_rest_m[BONE[foot], 1]).abs().max() < 5e-3
        if name != "turn":
            assert (ankle - ankle[0]).norm(dim=-1).max() < 5e-3  # feet do not slide
    assert joints[:, BONE["head"], 1].min() > joints[:, BONE["hips"], 1].max() - 0.5 * (name == "squat")
    assert joints[:, [BONE["hips"]]][:, :, [0, 2]].abs().max() < 0.3


def test_what_the_motions_are_about() -> None:
    wave = joints_of(builtin_motion("wave", RIG))
    hand, shoulder = wave[:, BONE["rightHand"]], wave[:, BONE["rightUpperArm"]]
    assert float((hand - shoulder)[60, 1]) > 0.1  # up in the middle
    assert float((hand - shoulder)[0, 1]) < -0.3 and float(wave[60, BONE["leftHand"], 1]) < float(
        wave[60, BONE["hips"], 1]
    )
    assert hand[30:90, 0].max() - hand[30:90, 0].min() > 0.08  # and from side to side
    squat = builtin_motion("squat", RIG)
    hips = joints_of(squat)[:, BONE["hips"], 1]
    assert hips.max() - hips.min() > 0.25
    knee = joints_of(squat)
    middle = (knee[:, BONE["leftUpperLeg"]] + knee[:, BONE["leftFoot"]]) / 2
    assert float((knee[:, BONE["leftLowerLeg"]] - middle)[30, 2]) > 0.1  # knees bend to the front
    turn = joints_of(builtin_motion("turn", RIG))
    across = turn[:, BONE["leftHand"]] - turn[:, BONE["rightHand"]]
    angle = torch.atan2(across[:, 2], across[:, 0])
    assert float(angle.min()) < -3 and float(angle.max()) > 3


def test_frame_rate_and_floor_are_honoured() -> None:
    slow, fast = builtin_motion("dance", RIG, fps_hz=24.0), builtin_motion("dance", RIG, fps_hz=60.0)
    assert slow.num_frames == 96 and fast.num_frames == 240
    assert torch.allclose(joints_of(slow)[::2], joints_of(fast)[::5], atol=1e-4)
    high = builtin_motion("idle", RIG, floor_rest_m=-0.5)
    low = builtin_motion("idle", RIG, floor_rest_m=0.0)
    assert torch.allclose(high.translation_world_m - low.translation_world_m, torch.tensor([0.0, 0.5, 0.0]), atol=1e-5)


def test_unknown_motions_and_inhuman_rigs_are_refused(our_checks_alone: None) -> None:
    with pytest.raises(ConfigError, match="no motion called 'fly'; known are idle, wave, turn, squat, dance"):
        builtin_motion("fly", RIG)
    with pytest.raises(ConfigError, match="frame rate between 1 and 1000"):
        builtin_motion("idle", RIG, fps_hz=0)
    with pytest.raises(InputError, match=r"no head, leftUpperLeg.* in its humanoid map"):
        builtin_motion("idle", RIG.replace(humanoid={"hips": "hips"}))


@settings(deadline=None, max_examples=25)
@given(source=st.floats(5, 120), target=st.floats(5, 120), frames=st.integers(1, 40))
def test_resampling_keeps_duration_ends_and_speed(source: float, target: float, frames: int) -> None:
    angle = torch.linspace(0, 2 * math.pi, frames)
    motion = Motion(
        name="spin",
        fps_hz=source,
        rotvecs=torch.stack([angle * 0, angle, angle * 0], -1)[:, None],
        translation_world_m=torch.stack([angle, angle, angle], -1),
        expression=torch.zeros(frames, 52),
    )
    out = motion.resampled(target)
    assert out.fps_hz == target
    if frames < 2:
        assert out.num_frames == 1
        return
    assert abs((out.num_frames - 1) / target - (frames - 1) / source) < 1 / target + 1e-6
    assert torch.allclose(out.translation_world_m[0], motion.translation_world_m[0])
    at = torch.arange(out.num_frames) / target * source * float(angle[1])
    assert torch.allclose(out.translation_world_m[:, 0], at.clamp(max=2 * math.pi), atol=1e-4)
    if frames > 8:
        wanted = torch.stack([at * 0, at, at * 0], -1)[:, None]
        assert turn_deg(out.rotvecs, wanted).max() < 1.5


def test_resampling_refuses_a_rate_that_is_none(our_checks_alone: None) -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        builtin_motion("idle", RIG).resampled(-1.0)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_presets_are_within_range_and_scale(name: str) -> None:
    full, half = named_expression(name), named_expression(name, 0.5)
    assert full.shape == (52,) and float(full.min()) >= 0 and float(full.max()) <= 1
    assert torch.allclose(half, full * 0.5)
    assert (name == "neutral") == (float(full.max()) == 0)


def test_left_and_right_are_kept_apart_and_presets_differ() -> None:
    wink = named_expression("wink")
    assert wink[ARKIT_ACTIONS.index("eyeBlinkLeft")] == 1 and wink[ARKIT_ACTIONS.index("eyeBlinkRight")] == 0
    smile = named_expression("smile")
    assert smile[ARKIT_ACTIONS.index("mouthSmileLeft")] == smile[ARKIT_ACTIONS.index("mouthSmileRight")] > 0.5
    assert len({tuple(named_expression(n).tolist()) for n in EXPRESSIONS}) == len(EXPRESSIONS)
    assert float(named_expression("jawOpen", 0.3)[ARKIT_ACTIONS.index("jawOpen")]) == pytest.approx(0.3)


def test_unknown_expressions_are_answered_with_the_closest(our_checks_alone: None) -> None:
    with pytest.raises(ConfigError, match="'smlie' is not an expression; did you mean 'smile'"):
        named_expression("smlie")
    with pytest.raises(ConfigError, match="'jawopen' is not a facial action; did you mean 'jawOpen'"):
        expression_tensor({"jawopen": 1.0})
    with pytest.raises(ConfigError, match=r"strength of 'jawOpen' must lie in \[0, 1\], found 1.5"):
        expression_tensor({"jawOpen": 1.5})
    with pytest.raises(ConfigError, match="strength of 'smile'"):
        named_expression("smile", -0.1)
