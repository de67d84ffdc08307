"""What a viewer is shown, and how time passes for it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.avatar.expressions import EXPRESSIONS
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ConfigError
from bodydouble.studio.faces import FACE_GROUPS, action_label
from bodydouble.studio.state import (
    TURN_S,
    Shown,
    advanced,
    toggled,
    with_action,
    with_control,
    with_face,
    with_motion,
    with_pose,
)

START = Shown(motion="idle")


@settings(deadline=None, max_examples=25)
@given(
    time_s=st.floats(0.0, 9.9),
    elapsed_s=st.floats(0.0, 100.0),
    speed=st.floats(0.1, 3.0),
    duration_s=st.floats(0.1, 10.0),
)
def test_a_looped_motion_never_leaves_its_timeline(
    time_s: float, elapsed_s: float, speed: float, duration_s: float
) -> None:
    later = advanced(START.replace(time_s=min(time_s, duration_s), speed=speed), elapsed_s, duration_s)
    assert later.playing
    assert 0.0 <= later.time_s < duration_s
    went = later.time_s - min(time_s, duration_s) - elapsed_s * speed
    assert math.isclose(
        went / duration_s, round(went / duration_s), abs_tol=1e-6 * (1 + elapsed_s * speed / duration_s)
    )


def test_without_loop_it_stops_at_the_end_and_play_begins_anew() -> None:
    once = START.replace(loop=False, time_s=1.5)
    ended = advanced(once, 1.0, 2.0)
    assert (ended.time_s, ended.playing) == (2.0, False)
    assert advanced(ended, 5.0, 2.0) == ended
    again = toggled(ended, 2.0)
    assert (again.time_s, again.playing) == (0.0, True)
    paused = toggled(once, 2.0)
    assert (paused.time_s, paused.playing) == (1.5, False)
    assert toggled(paused, 2.0) == once


def test_a_still_pose_stays_at_its_beginning() -> None:
    assert advanced(START, 3.0, 0.0).time_s == 0.0


def test_the_turntable_turns_on_the_stage_alone_and_also_while_the_motion_rests() -> None:
    turning = START.replace(turning=True, playing=False)
    assert math.isclose(advanced(turning, TURN_S / 4, 2.0).turn_rad, math.pi / 2)
    assert math.isclose(advanced(turning, TURN_S * 1.25, 2.0).turn_rad, math.pi / 2)
    assert advanced(turning.replace(view="wipe"), 1.0, 2.0).turn_rad == 0.0
    assert turning.moves
    assert not turning.replace(view="wipe").moves


def test_another_motion_begins_at_its_beginning() -> None:
    shown = with_motion(START.replace(time_s=3.0, playing=False, speed=2.0), "dance")
    assert (shown.motion, shown.time_s, shown.playing, shown.speed) == ("dance", 0.0, True, 2.0)


def test_controls_and_actions_are_kept_by_name_and_zero_takes_them_out() -> None:
    shown = with_control(with_control(START, "nod", 10.0), "bend", 5.0)
    assert shown.pose == (("bend", 5.0), ("nod", 10.0))
    assert with_control(shown, "nod", 0.0).pose == (("bend", 5.0),)
    assert with_pose(shown, {"nod": 0.0}).pose == ()
    smiling = with_face(START, EXPRESSIONS["smile"])
    assert dict(smiling.face) == EXPRESSIONS["smile"]
    assert dict(with_action(smiling, "jawOpen", 0.5).face)["jawOpen"] == 0.5


def test_what_cannot_be_is_refused_in_words(our_checks_alone: None) -> None:
    with pytest.raises(ConfigError, match="no layer called 'ghosts'; known are splats, mesh"):
        START.replace(layer="ghosts")
    with pytest.raises(ConfigError, match="no view called"):
        START.replace(view="mirror")
    with pytest.raises(ConfigError, match=r"speed must lie between 0.1 and 3, found 9"):
        START.replace(speed=9.0)
    with pytest.raises(ConfigError, match=r"wipe must lie in \[0, 1\], found 1.5"):
        START.replace(wipe=1.5)
    with pytest.raises(ConfigError, match="none of the 52 facial actions"):
        with_action(START, "jawOpened", 0.5)
    with pytest.raises(ConfigError, match=r"'jawOpen' must lie in \[0, 1\], found 2"):
        with_face(START, {"jawOpen": 2.0})


def test_every_facial_action_is_in_one_group_under_a_label_of_its_own() -> None:
    grouped = [action for actions in FACE_GROUPS.values() for action in actions]
    assert sorted(grouped) == sorted(ARKIT_ACTIONS)
    for actions in FACE_GROUPS.values():
        assert len({action_label(action) for action in actions}) == len(actions)
    assert action_label("eyeBlinkLeft") == "blink, left"
    assert action_label("browInnerUp") == "inner up"
    assert action_label("jawLeft") == "left"
    assert action_label("tongueOut") == "tongue out"
