"""Metrics against closed forms and independent implementations."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bodydouble.core.errors import ShapeError
from bodydouble.evaluate.metrics import PSNR_CEILING_DB, mask_iou, mpjpe_m, pa_mpjpe_m, psnr_db, ssim, ssim_map


def random_image(seed: int, height: int = 40, width: int = 33) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


@given(offset=st.floats(0.001, 0.5))
def test_psnr_of_a_constant_offset_is_the_closed_form(offset: float) -> None:
    truth = np.full((8, 9, 3), 0.25, dtype=np.float32)
    assert psnr_db(truth + np.float32(offset), truth) == pytest.approx(-20.0 * np.log10(offset), abs=1e-3)


def test_psnr_counts_only_the_region() -> None:
    truth = np.zeros((10, 10, 3), dtype=np.float32)
    image = truth.copy()
    image[:5] = 0.1
    region = np.zeros((10, 10), dtype=bool)
    region[:5] = True
    assert psnr_db(image, truth, region) == pytest.approx(20.0, abs=1e-4)
    assert psnr_db(image, truth) == pytest.approx(20.0 + 10.0 * np.log10(2.0), abs=1e-4)
    assert psnr_db(image, truth, ~region) == PSNR_CEILING_DB
    assert np.isnan(psnr_db(image, truth, np.zeros((10, 10), dtype=bool)))


def test_psnr_clips_the_prediction_as_a_screen_would() -> None:
    truth = np.ones((4, 4, 3), dtype=np.float32)
    assert psnr_db(truth * 3.0, truth) == PSNR_CEILING_DB


def ssim_by_scipy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Written from the paper's equation in float64, one channel at a time, with scipy's Gaussian."""

    def blur(a: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(a, sigma=1.5, radius=5, mode="mirror")

    channels = []
    for c in range(3):
        a, b = x[..., c].astype(np.float64), y[..., c].astype(np.float64)
        mu_a, mu_b = blur(a), blur(b)
        cov = blur((a - 0.5) * (b - 0.5)) - (mu_a - 0.5) * (mu_b - 0.5)
        var_a = blur((a - 0.5) ** 2) - (mu_a - 0.5) ** 2
        var_b = blur((b - 0.5) ** 2) - (mu_b - 0.5) ** 2
        luminance = (2 * mu_a * mu_b + 1e-4) / (mu_a**2 + mu_b**2 + 1e-4)
        channels.append(luminance * (2 * cov + 9e-4) / (var_a + var_b + 9e-4))
    return np.mean(channels, axis=0)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), noise=st.floats(0.0, 1.0))
def test_ssim_equals_an_independent_implementation(seed: int, noise: float) -> None:
    truth = random_image(seed)
    image = ((1 - noise) * truth + noise * random_image(seed + 1)).astype(np.float32)
    expected = ssim_by_scipy(image, truth)
    np.testing.assert_allclose(ssim_map(image, truth), expected, atol=2e-4)
    assert ssim(image, truth) == pytest.approx(expected.mean(), abs=1e-4)


def test_ssim_of_flat_images_is_the_closed_form() -> None:
    a = np.full((20, 20, 3), 0.2, dtype=np.float32)
    b = np.full((20, 20, 3), 0.6, dtype=np.float32)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-4)
    assert ssim(a, a) == pytest.approx(1.0, abs=1e-6)


def test_ssim_region_is_a_mean_of_the_map() -> None:
    a, b = random_image(1), random_image(2)
    region = np.zeros(a.shape[:2], dtype=bool)
    region[3:9, 4:20] = True
    assert ssim(a, b, region) == pytest.approx(float(ssim_map(a, b)[3:9, 4:20].mean()), abs=1e-6)
    assert np.isnan(ssim(a, b, np.zeros_like(region)))


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


def test_different_shapes_are_named() -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ShapeError, match=r"psnr_db: both arrays must have the same shape, got \(4, 4, 3\) and"):
            psnr_db(np.zeros((4, 4, 3), np.float32), np.zeros((4, 5, 3), np.float32))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
