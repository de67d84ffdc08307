"""Cuts are found; motion, flashes, exposure changes and noise are none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.capture.shots import find_cuts, longest_shot, signature


def scene(seed: int) -> np.ndarray:
    """A wide random picture with large patches of colour."""
    rng = np.random.default_rng(seed)
    image = np.zeros((180, 480, 3), np.uint8)
    image[:] = rng.integers(0, 255, 3)
    for _ in range(30):
        y, x = rng.integers(0, 180), rng.integers(0, 480)
        h, w = rng.integers(20, 80, 2)
        image[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    return image


def shot(seed: int, count: int, speed_px: int = 2) -> Iterator[np.ndarray]:
    """The camera pans over a scene; a patch moves the other way; there is noise."""
    wide = scene(seed)
    rng = np.random.default_rng(seed + 1000)
    for k in range(count):
        x = (k * speed_px) % 240
        frame = wide[:, x : x + 240].astype(np.int16)
        left = 200 - (3 * k) % 180
        frame[60:120, left : left + 30] = (200, 60, 20)
        yield np.clip(frame + rng.integers(-8, 9, frame.shape), 0, 255).astype(np.uint8)


def cuts_of(frames: list[np.ndarray]) -> list[int]:
    return find_cuts(signature(f) for f in frames)


def test_cuts_are_found_where_they_are() -> None:
    frames = [*shot(1, 20), *shot(2, 31), *shot(3, 8)]
    assert cuts_of(frames) == [20, 51]


@pytest.mark.parametrize("seed", range(8))
def test_every_pair_of_scenes(seed: int) -> None:
    assert cuts_of([*shot(10 + seed, 15), *shot(40 + seed, 15)]) == [15]


@pytest.mark.parametrize("speed_px", [0, 2, 6])
def test_one_shot_has_none(speed_px: int) -> None:
    assert cuts_of(list(shot(5, 39, speed_px))) == []


def test_a_flash_is_no_cut() -> None:
    frames = list(shot(6, 40))
    frames[20] = np.clip(frames[20].astype(np.int16) + 150, 0, 255).astype(np.uint8)
    assert cuts_of(frames) == []


def test_a_lost_frame_is_no_cut() -> None:
    frames = list(shot(7, 40))
    frames[20] = np.zeros_like(frames[20])
    assert cuts_of(frames) == []


def test_a_change_of_exposure_is_no_cut() -> None:
    frames = list(shot(8, 40))
    changed = [np.clip(f * (1.0 - 0.02 * min(k, 20)), 0, 255).astype(np.uint8) for k, f in enumerate(frames)]
    assert cuts_of(changed) == []


def test_few_or_no_frames() -> None:
    assert cuts_of([]) == []
    assert cuts_of(list(shot(9, 1))) == []


@given(
    cuts=st.lists(st.integers(1, 99), unique=True).map(sorted),
    extra=st.integers(0, 50),
)
def test_the_longest_shot_is_the_longest(cuts: list[int], extra: int) -> None:
    total = 100 + extra
    first, stop = longest_shot(cuts, total)
    edges = [0, *cuts, total]
    lengths = [b - a for a, b in itertools.pairwise(edges)]
    assert stop - first == max(lengths)
    assert first in edges and stop in edges
    assert first == edges[lengths.index(max(lengths))]
