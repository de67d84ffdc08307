"""When a viewer's next picture is due, and how large it is."""

from __future__ import annotations

import pytest
from avatar_fakes import make_avatar
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.errors import InputError
from bodydouble.render.cpu import CpuRasterizer
from bodydouble.studio.motions import Repertoire
from bodydouble.studio.pace import FPS_HZ, SIDES_PX, STILL_SIDE_PX, Pace, picture_size
from bodydouble.studio.scene import Scene
from bodydouble.studio.viewer import STILL_AFTER_S, Viewer

AVATAR = make_avatar()


def viewer() -> Viewer:
    return Viewer(Scene(AVATAR, CpuRasterizer()), Repertoire(AVATAR), "wave")


def test_while_something_moves_pictures_come_at_the_pace_and_time_goes_on() -> None:
    one = viewer()
    sizes = [one.tick(k / 120.0) for k in range(121)]
    drawn = [size for size in sizes if size is not None]
    assert 0.9 * FPS_HZ <= len(drawn) <= FPS_HZ + 1
    assert set(drawn) == {one.pace.side_px}
    assert one.shown.time_s == pytest.approx(1.0, abs=0.05)


def test_when_nothing_moves_one_sharp_picture_follows_and_then_none() -> None:
    one = viewer()
    one.change(lambda shown: shown.replace(playing=False))
    assert one.tick(0.0) == one.pace.side_px
    assert one.tick(STILL_AFTER_S * 0.5) is None
    assert one.tick(STILL_AFTER_S * 1.5) == STILL_SIDE_PX
    assert one.tick(5.0) is None
    one.touch()
    assert one.tick(5.1) == one.pace.side_px


def test_after_a_pause_of_the_drawing_the_motion_goes_on_where_it_was() -> None:
    one = viewer()
    one.tick(0.0)
    one.tick(60.0)
    assert one.shown.time_s < 0.5


def test_another_motion_and_a_wrong_one() -> None:
    one = viewer()
    one.play("dance")
    assert one.motion.name == "dance"
    assert one.duration_s == pytest.approx(4.0)
    with pytest.raises(InputError, match="no motion 'jig'"):
        one.play("jig")
    assert one.motion.name == "dance"
    one.play("rest pose")
    assert one.duration_s == 0.0


def test_without_a_video_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(InputError, match="as in the video"):
        viewer().look("wipe")


@settings(deadline=None, max_examples=25)
@given(seconds_at_512=st.floats(0.001, 1.0), viewers=st.integers(1, 4))
def test_the_pace_settles_at_a_size_that_the_machine_can_draw(seconds_at_512: float, viewers: int) -> None:
    """With a time that grows with the number of pixels, it ends at a size that is fast enough, or at the smallest."""
    pace = Pace()
    for _ in range(400):
        pace.note(seconds_at_512 * (pace.side_px / 512.0) ** 2, viewers)
    settled = seconds_at_512 * (pace.side_px / 512.0) ** 2 * viewers * 24.0
    assert settled <= 1.01 or pace.side_px == SIDES_PX[0]
    larger = [side for side in SIDES_PX if side > pace.side_px]
    if larger:
        assert seconds_at_512 * (larger[0] / 512.0) ** 2 * viewers * 24.0 > 0.5


@settings(deadline=None, max_examples=25)
@given(width=st.integers(0, 4000), height=st.integers(0, 4000), longest=st.integers(64, 1600))
def test_pictures_have_the_windows_shape(width: int, height: int, longest: int) -> None:
    size = picture_size((width, height), longest)
    assert all(16 <= side <= longest + 2 and side % 2 == 0 for side in size) or max(size) == 16
    if min(width, height) >= 64 and max(width, height) / min(width, height) < 4:
        assert size[0] / size[1] == pytest.approx(width / height, rel=0.15)
