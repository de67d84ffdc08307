"""Refined masks: nearer to the truth than the network's, no islands, empty where empty."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.perceive.masks import mask_box_px, refine_mask, thin_parts

from .people import standing


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def figure(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A person-like shape with a pattern, on a background with another; and its true mask."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((400, 300), np.uint8)
    cv2.ellipse(truth, (150, 80), (35, 45), 0, 0, 360, (255,), -1)
    cv2.rectangle(truth, (105, 120), (195, 260), (255,), -1)
    cv2.line(truth, (110, 140), (50, 230), (255,), 22)
    cv2.line(truth, (190, 140), (250, 240), (255,), 22)
    cv2.line(truth, (130, 260), (115, 385), (255,), 32)
    cv2.line(truth, (170, 260), (190, 385), (255,), 32)
    alpha = cv2.GaussianBlur(truth, (0, 0), 0.8)[..., None] / 255.0
    body = np.full((400, 300, 3), rng.integers(120, 255, 3), np.float64)
    body[::40] *= 0.6
    back = np.full((400, 300, 3), rng.integers(0, 110, 3), np.float64)
    back += cv2.GaussianBlur(rng.normal(0, 60, (400, 300, 3)), (0, 0), 6) * 3
    image = body * alpha + back * (1 - alpha) + rng.normal(0, 3, (400, 300, 3))
    return np.clip(image, 0, 255).astype(np.uint8), truth > 127


def coarse(truth: np.ndarray, grid_px: int = 6, shift_px: int = 2) -> np.ndarray:
    """What a network with a coarse grid makes of a shape: blocky, soft, a little too large and shifted."""
    h, w = truth.shape
    grown = cv2.dilate(truth.astype(np.uint8), np.ones((5, 5)))
    grown = np.roll(grown, shift_px, 1)
    small = cv2.resize(grown.astype(np.float32), (w // grid_px, h // grid_px), interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), 0, 1)


@pytest.mark.parametrize("seed", range(4))
def test_refined_is_nearer_to_the_truth(seed: int) -> None:
    image, truth = figure(seed)
    raw = coarse(truth)
    refined = refine_mask(image, raw)
    assert refined.dtype == np.uint8 and refined.shape == truth.shape
    error_before = 1 - iou(raw > 0.5, truth)
    error_after = 1 - iou(refined > 127, truth)
    assert error_after < 0.7 * error_before, (error_before, error_after)


def test_colors_that_tell_nothing_change_little() -> None:
    _, truth = figure(0)
    grey = np.full((*truth.shape, 3), 128, np.uint8)
    raw = coarse(truth)
    assert iou(refine_mask(grey, raw) > 127, raw > 0.5) > 0.97


def test_islands_go() -> None:
    image, truth = figure(1)
    raw = coarse(truth)
    raw[5:12, 270:278] = 0.95
    assert refine_mask(image, raw)[:30, 255:].max() == 0


def test_two_large_parts_stay() -> None:
    image, truth = figure(2)
    raw = coarse(truth)
    raw[200:215] = 0.0  # a belt-high bar stands before the person
    refined = refine_mask(image, raw)
    assert (refined[120:190] > 127).any() and (refined[280:] > 127).any()


def test_empty() -> None:
    image, truth = figure(0)
    empty = refine_mask(image, np.zeros(truth.shape, np.float32))
    assert empty.max() == 0
    assert mask_box_px(empty) == (0, 0, 0, 0)


def test_box() -> None:
    mask = np.zeros((50, 60), np.uint8)
    mask[10:20, 30:45] = 200
    mask[0, 0] = 100
    assert mask_box_px(mask) == (30, 10, 45, 20)


def test_seeds_bring_back_what_the_network_lost() -> None:
    image, truth = figure(3)
    arm = np.zeros(truth.shape, np.uint8)
    cv2.line(arm, (190, 140), (250, 240), (1,), 22)
    far = np.zeros(truth.shape, bool)
    far[200:, 225:] = True
    raw = coarse(truth)
    raw[far] = 0.02
    line = np.array([[225, 198], [250, 240]], np.float32)
    with_seed = refine_mask(image, raw, ((line, 8.0),))
    lost = far & truth
    assert (refine_mask(image, raw)[lost] > 127).mean() < 0.5
    assert (with_seed[lost] > 127).mean() > 0.6


def test_seeds_in_the_wrong_place_are_refused_by_color() -> None:
    image, truth = figure(3)
    line = np.array([[94, 215], [94, 255]], np.float32)  # background, just beside the trunk
    assert (refine_mask(image, coarse(truth), ((line, 4.0),))[215:255, 88:98] > 127).mean() < 0.1


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
)
def test_any_image_and_mask(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (*size, 3), np.uint8)
    mask = (rng.random(size) ** 3).astype(np.float32)
    refined = refine_mask(image, mask)
    assert refined.shape == size
    np.testing.assert_array_equal(refined, refine_mask(image, mask))


def test_thin_parts_of_somebody_whole() -> None:
    assert len(thin_parts(standing())) == 12
