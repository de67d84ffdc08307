"""Spans and identities; people found by the real network in a real clip are tested with the whole run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.capture.values import VideoInfo
from bodydouble.corpus.people import PeopleConfig, clothing_colors, cut_spans, likeness, seconds_of
from bodydouble.corpus.small_people import everybody, in_parts, parts
from bodydouble.perceive.subject import find_people


def info_of(frames: int, fps_hz: float = 10.0) -> VideoInfo:
    return VideoInfo(
        path="v.mp4",
        width_px=320,
        height_px=240,
        num_frames=frames,
        fps_hz=fps_hz,
        times_s=tuple(i / fps_hz for i in range(frames)),
        rotation_deg=0,
        codec="h264",
    )


@given(st.integers(1, 300), st.sets(st.integers(1, 299), max_size=6), st.floats(0.5, 8.0))
def test_spans_cover_everything_once_and_cross_no_cut(frames: int, cuts: set[int], longest_s: float) -> None:
    info, config = info_of(frames), PeopleConfig(max_seconds=longest_s)
    spans = cut_spans(info, sorted(cuts), config, (None, None))
    assert [n for a, b in spans for n in range(a, b)] == list(range(frames))
    for first, stop in spans:
        assert not any(first < cut < stop for cut in cuts)
        assert seconds_of(info, first, stop) <= longest_s + 0.11  # to the next whole frame


@given(st.integers(20, 200), st.floats(0, 15), st.floats(0.1, 10))
def test_only_the_wanted_part_is_cut(frames: int, start_s: float, length_s: float) -> None:
    info = info_of(frames)
    spans = cut_spans(info, [], PeopleConfig(), (start_s, start_s + length_s))
    wanted = [i for i, t in enumerate(info.times_s) if start_s - 1e-6 <= t < start_s + length_s]
    assert [n for a, b in spans for n in range(a, b)] == wanted


def person(upper: tuple[int, int, int], lower: tuple[int, int, int], seed: int) -> np.ndarray:
    """Somebody of two colours, with noise and shading of their own."""
    rng = np.random.default_rng(seed)
    rgb = np.zeros((80, 40, 3))
    rgb[:40], rgb[40:] = upper, lower
    return (rgb * rng.uniform(0.97, 1.03) + rng.normal(0, 4, rgb.shape)).clip(0, 255).astype(np.uint8)


def test_the_same_clothes_are_alike_and_others_are_not() -> None:
    red, blue, white = (180, 40, 40), (40, 50, 170), (220, 220, 215)
    looks = {
        name: [clothing_colors([person(*colors, seed=10 * n + k) for k in range(3)]) for n in range(2)]
        for name, colors in {"a": (red, blue), "b": (blue, red), "c": (white, blue)}.items()
    }
    least = PeopleConfig().same_person
    for one, other in looks.values():
        assert likeness(one, other) > least
    for a, b in itertools.combinations(looks, 2):
        assert likeness(looks[a][0], looks[b][0]) < least
    assert likeness(looks["a"][0], looks["a"][0]) == pytest.approx(1.0)


class NearSighted:
    """Finds a bright upright bar, if it is tall enough in the picture it is shown; ghosts only in the very top left part."""

    def __init__(self, ghost: bool = False) -> None:
        self.ghost = ghost

    def find(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        rows, columns = (np.flatnonzero((rgb[..., 0] > 200).any(axis)) for axis in (1, 0))
        if rows.size and rows[-1] - rows[0] > 0.2 * rgb.shape[0]:
            box = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        elif self.ghost and rgb.shape[0] < 200 and (rgb[0, 0] == (7, 7, 7)).all():
            box = 20, 20, 40, 90
        else:
            return None
        points = np.linspace(box[:2], box[2:], 33).astype(np.float32)
        return points, np.ones(33, np.float32)


def test_somebody_too_small_for_the_whole_picture_is_found_in_its_parts() -> None:
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[100:145, 150:160] = 255
    assert find_people(NearSighted(), rgb, 0) == []
    (person,) = everybody(NearSighted(), rgb, 4)
    assert person.frame_index == 4 and person.box_px == pytest.approx((150.0, 100.0, 160.0, 145.0), abs=1.0)


def test_what_a_single_part_shows_is_nobody() -> None:
    rgb = np.zeros((240, 320, 3), np.uint8)
    rgb[0, 0] = 7
    assert in_parts(NearSighted(ghost=True), rgb, 0) == []


@given(st.integers(20, 2000), st.integers(20, 2000))
def test_parts_cover_the_picture_and_stay_in_it(width_px: int, height_px: int) -> None:
    boxes = np.array(list(parts(width_px, height_px)))
    assert boxes.min() == 0 and boxes[:, 2].max() == width_px and boxes[:, 3].max() == height_px
    assert (boxes[:, 2] - boxes[:, 0] > 0.6 * width_px).all() and (boxes[:, 3] - boxes[:, 1] > 0.6 * height_px).all()
