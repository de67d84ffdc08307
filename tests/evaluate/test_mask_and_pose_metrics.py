"""Masks, joints and facial actions against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from scipy.spatial import Delaunay
from scipy.spatial.transform import Rotation

from bodydouble.core.errors import ConfigError
from bodydouble.evaluate.actions import action_correlations, action_errors
from bodydouble.evaluate.alignment import body_alignment, fitted_transform
from bodydouble.evaluate.joints import (
    acceleration_error_m_s2,
    limb_errors_m,
    mpjpe_m,
    pa_mpjpe_m,
    root_relative_m,
)
from bodydouble.evaluate.masks import boundary_f, mask_agreement, mask_boundary, mask_iou


def test_mask_iou_of_shifted_boxes() -> None:
    a = np.zeros((10, 10), dtype=bool)
    b = np.zeros((10, 10), dtype=bool)
    a[2:6, 2:6] = True
    b[4:8, 2:6] = True
    assert mask_iou(a, b) == pytest.approx(8 / 24)
    assert mask_iou(a, a) == 1.0
    assert mask_iou(np.zeros((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool)) == 1.0
    assert mask_iou(a, np.zeros_like(a)) == 0.0


def test_mpjpe_of_a_shift() -> None:
    truth = np.random.default_rng(0).normal(size=(4, 17, 3))
    assert mpjpe_m(truth + np.array([0.03, 0.0, 0.04]), truth) == pytest.approx(0.05)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.2, 5.0))
def test_pa_mpjpe_ignores_similarities_but_not_mirrors(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(2, 17, 3))
    R = Rotation.from_rotvec(rng.normal(scale=2.0, size=3)).as_matrix()
    moved = scale * truth @ R.T + rng.normal(size=3)
    assert pa_mpjpe_m(moved, truth) < 1e-6
    assert pa_mpjpe_m(moved * np.array([-1.0, 1.0, 1.0]), truth) > 0.05
    noisy = moved + scale * 0.01 * rng.normal(size=moved.shape)
    assert 0.0 < pa_mpjpe_m(noisy, truth) < 0.03


def test_pa_mpjpe_of_coinciding_joints_is_finite() -> None:
    assert np.isfinite(pa_mpjpe_m(np.zeros((1, 5, 3)), np.random.default_rng(0).normal(size=(1, 5, 3))))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.95))
def test_mask_agreement_counts_pixels(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((9, 11)) < share, rng.random((9, 11)) < 0.5
    found = mask_agreement(a, b)
    tp, fp, fn = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    assert found.precision == pytest.approx(tp / (tp + fp) if tp + fp else 0.0)
    assert found.recall == pytest.approx(tp / (tp + fn) if tp + fn else 0.0)
    assert found.f1 == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert found.iou == pytest.approx(tp / (tp + fp + fn))


def test_empty_masks_are_decided() -> None:
    empty, some = np.zeros((4, 4), dtype=bool), np.eye(4, dtype=bool)
    assert mask_agreement(empty, empty).f1 == 1.0
    assert (mask_agreement(some, empty).precision, mask_agreement(some, empty).recall) == (0.0, 0.0)
    assert boundary_f(empty, empty, 1.0) == 1.0 and boundary_f(some, empty, 1.0) == 0.0


def disk(cx: float, radius: float = 12.0, size: int = 60) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size]
    return (x - cx) ** 2 + (y - size / 2) ** 2 <= radius**2


def boundary_f_by_dilation(a: np.ndarray, b: np.ndarray, tolerance: int) -> float:
    """Independent: scipy's erosion for the outlines, and a disk swept along them."""
    cross = ndimage.generate_binary_structure(2, 1)
    edge_a, edge_b = (m & ~ndimage.binary_erosion(m, cross, border_value=1) for m in (a, b))
    y, x = np.mgrid[-tolerance : tolerance + 1, -tolerance : tolerance + 1]
    ball = x**2 + y**2 <= tolerance**2
    precision = (edge_a & ndimage.binary_dilation(edge_b, ball)).sum() / edge_a.sum()
    recall = (edge_b & ndimage.binary_dilation(edge_a, ball)).sum() / edge_b.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("tolerance", [1, 3])
def test_boundary_f_equals_an_independent_implementation(shift: float, tolerance: int) -> None:
    a, b = disk(26.0 + shift), disk(26.0)
    assert boundary_f(a, b, float(tolerance)) == pytest.approx(boundary_f_by_dilation(a, b, tolerance), abs=1e-9)


def test_boundary_f_sees_what_area_hides() -> None:
    a, b = disk(30.0, 22.0), disk(30.0, 25.0)
    assert mask_iou(a, b) > 0.75 and boundary_f(a, b, 1.0) < 0.1
    assert boundary_f(a, b, 4.0) == 1.0
    with pytest.raises(ConfigError, match="tolerance_px must not be negative"):
        boundary_f(a, b, -1.0)


def test_the_edge_of_the_image_is_no_boundary() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[:, :5] = True
    expected = np.zeros_like(mask)
    expected[:, 4] = True
    np.testing.assert_array_equal(mask_boundary(mask), expected)


def test_root_relative_errors_ignore_a_shift_of_everything() -> None:
    truth = np.random.default_rng(0).normal(size=(4, 17, 3))
    moved = truth + np.array([1.0, 2.0, 3.0])
    assert root_relative_m(moved, truth, moved[:, 0], truth[:, 0]) == pytest.approx(0.0, abs=1e-12)
    moved[:, 5] += np.array([0.0, 0.17, 0.0])
    assert root_relative_m(moved, truth, moved[:, 0], truth[:, 0]) == pytest.approx(0.01)


def test_limb_errors_are_means_of_their_joints() -> None:
    truth = np.zeros((2, 4, 3))
    joints = truth.copy()
    joints[:, 1, 0], joints[:, 2, 1] = 0.02, 0.04
    found = limb_errors_m(joints, truth, {"arm": [1, 2], "leg": [0, 3], "tail": []})
    assert found["arm"] == pytest.approx(0.03) and found["leg"] == 0.0 and np.isnan(found["tail"])


@pytest.mark.parametrize("fps", [24.0, 60.0])
def test_acceleration_error_of_a_swing_is_its_amplitude_times_frequency_squared(fps: float) -> None:
    times = np.arange(int(4 * fps)) / fps
    truth = np.zeros((len(times), 3, 3))
    joints = truth.copy()
    joints[..., 0] = (0.01 * np.sin(2 * np.pi * times))[:, None]
    expected = 0.01 * (2 * np.pi) ** 2 * 2 / np.pi  # mean of |sin|
    assert acceleration_error_m_s2(joints, truth, fps) == pytest.approx(expected, rel=0.03)
    steady = truth + np.linspace(0, 1, len(times))[:, None, None]
    assert acceleration_error_m_s2(steady, truth, fps) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(acceleration_error_m_s2(joints[:2], truth[:2], fps))
    with pytest.raises(ConfigError, match="fps_hz must be positive"):
        acceleration_error_m_s2(joints, truth, 0.0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.2, 5.0))
def test_fitted_transforms_are_found_again(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(30, 3))
    R, t = Rotation.from_rotvec(rng.normal(size=3)).as_matrix(), rng.normal(size=3)
    similar = fitted_transform(points, scale * points @ R.T + t, scaled=True)
    np.testing.assert_allclose(similar.R_truth_source, R, atol=1e-9)
    assert similar.scale == pytest.approx(scale) and similar.t_truth_source_m == pytest.approx(t)
    rigid = fitted_transform(points, points @ R.T + t, scaled=False)
    np.testing.assert_allclose(rigid.apply(points), points @ R.T + t, atol=1e-9)
    turned = points @ R.T
    kabsch = Rotation.align_vectors(turned - turned.mean(0), points - points.mean(0))[0]
    np.testing.assert_allclose(rigid.R_truth_source, kabsch.as_matrix(), atol=1e-6)
    counts = rng.integers(1, 4, len(points))
    elsewhere = points @ R.T + rng.normal(size=points.shape)
    weighted = fitted_transform(points, elsewhere, scaled=True, weights=counts.astype(float))
    repeated = fitted_transform(np.repeat(points, counts, 0), np.repeat(elsewhere, counts, 0), scaled=True)
    np.testing.assert_allclose(weighted.apply(points), repeated.apply(points), atol=1e-9)


def test_a_body_lies_where_its_skin_does_not_where_its_vertices_crowd() -> None:
    """Two squares of one size; one of them has a thousand vertices, and moved. Each square counts half."""
    side, dense = np.linspace(0.0, 1.0, 2), np.linspace(0.0, 1.0, 32)
    few = np.stack(np.meshgrid(side, side, [0.0], indexing="ij"), -1).reshape(-1, 3)
    many = np.array([5.0, 0.0, 0.0]) + np.stack(np.meshgrid(dense, dense, [0.0], indexing="ij"), -1).reshape(-1, 3)
    faces = np.concatenate([Delaunay(few[:, :2]).simplices, Delaunay(many[:, :2]).simplices + len(few)])
    true = np.concatenate([few, many])
    found = true + np.where(np.arange(len(true)) < len(few), 0.0, 0.2)[:, None] * [0.0, 0.0, 1.0]
    laid = body_alignment(found, true, faces, scaled=False).apply(found)
    left = (laid - true)[:, 2]
    assert abs(left[: len(few)].mean() + left[len(few) :].mean()) < 1e-3


def test_correlations_equal_scipy_and_are_decided_where_nothing_moves() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((40, 4))
    found = truth + 0.3 * rng.normal(size=truth.shape)
    truth[:, 2] = 0.5 + 0.01 * truth[:, 2]  # hardly moves: no statement
    found[:, 3] = 0.2  # never moves though the truth does
    r = action_correlations(found, truth)
    for k in (0, 1):
        assert r[k] == pytest.approx(stats.pearsonr(found[:, k], truth[:, k]).statistic)
    assert np.isnan(r[2]) and r[3] == 0.0
    assert action_correlations(2.0 * truth + 1.0, truth)[0] == pytest.approx(1.0)
    np.testing.assert_allclose(action_errors(truth + 0.25, truth), 0.25)
    assert np.isnan(action_correlations(truth[:0], truth[:0])).all()
