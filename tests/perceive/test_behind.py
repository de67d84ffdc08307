"""The scene behind the person: cameras that stand, pan, and travel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bodydouble.perceive.behind import Places, SmallFrame, gather_scene

HEIGHT, WIDTH, FRAMES = 120, 160, 16
WHOLE = slice(0, HEIGHT), slice(0, WIDTH)


def wall(seed: int, height: int = 220, width: int = 320) -> np.ndarray:
    """A textured picture without sharp repetition."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((height // 16, width // 16, 3)).astype(np.float32), (width, height))
    fine = cv2.resize(rng.random((height // 4, width // 4, 3)).astype(np.float32), (width, height))
    return (255 * (0.2 + 0.4 * coarse + 0.3 * fine)).astype(np.uint8)


def somebody(frame: int) -> np.ndarray:
    """Where the person is, walking through."""
    there = np.zeros((HEIGHT, WIDTH), bool)
    there[40:110, 40 + 4 * frame : 60 + 4 * frame] = True
    return there


def film(background, gain=lambda f: 1.0) -> tuple[list[SmallFrame], Places]:
    frames, places = [], Places()
    for f in range(FRAMES):
        there = somebody(f)
        rgb = (background(f) * gain(f)).clip(0, 255).astype(np.uint8)
        rgb[there] = (250, 20, 20)
        away = cv2.distanceTransform((~there).astype(np.uint8), cv2.DIST_L2, 5).astype(np.float32) / 60.0
        away[there] = -0.05
        frames.append(SmallFrame(f, rgb, away > 0.0, away))
        places.add(f, rgb, away > 0.0)
    return frames, places


def test_a_camera_that_stands_shows_the_whole_scene():
    picture = wall(1)[:HEIGHT, :WIDTH]
    frames, places = film(lambda f: picture, lambda f: 1.0 + 0.01 * f)  # exposure drifts
    scene = gather_scene(frames, places)
    assert scene is not None and not scene.moves
    behind = scene.behind(7, WHOLE, frames[7].rgb, frames[7].nobody)
    assert behind is not None and behind.known[45:105, 30:110].mean() > 0.95
    ratio = behind.rgb[behind.known] / (picture[behind.known] / 255.0)
    assert np.quantile(np.abs(ratio / np.median(ratio) - 1.0), 0.9) < 0.02


def test_a_camera_that_pans_shows_what_was_hidden():
    large = wall(2)
    frames, places = film(lambda f: large[20 + f : 20 + f + HEIGHT, 10 + 3 * f : 10 + 3 * f + WIDTH])
    scene = gather_scene(frames, places)
    assert scene is not None and scene.moves
    here = somebody(8)
    behind = scene.behind(8, WHOLE, frames[8].rgb, frames[8].nobody)
    assert behind is not None and behind.known[here].mean() > 0.8
    truth = large[28 : 28 + HEIGHT, 34 : 34 + WIDTH] / 255.0
    shown = here & behind.known
    assert np.abs(behind.rgb[shown] - truth[shown]).mean() < 0.03
    part = slice(30, 115), slice(40, 130)
    there = scene.behind(8, part, frames[8].rgb[part], frames[8].nobody[part])
    assert there is not None
    both = there.known & behind.known[part]
    assert both.mean() > 0.8 and np.abs(there.rgb[both] - behind.rgb[part][both]).mean() < 0.02


def test_frames_that_show_nothing_in_common_have_no_scene():
    frames, places = film(lambda f: wall(100 + f)[:HEIGHT, :WIDTH])
    assert gather_scene(frames, places) is None


def test_a_frame_of_unknown_place_has_nothing_behind():
    picture = wall(3)[:HEIGHT, :WIDTH]
    frames, places = film(lambda f: picture)
    scene = gather_scene(frames, places)
    assert scene is not None
    assert scene.behind(99, WHOLE, frames[0].rgb, frames[0].nobody) is None


@pytest.mark.parametrize("grey", [40, 200])
def test_a_plain_wall_stands_still(grey: int):
    picture = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    frames, places = film(lambda f: picture)
    scene = gather_scene(frames, places)
    assert scene is not None and not scene.moves
    assert np.abs(scene.rgb[scene.known] - grey / 255.0).max() < 0.01
