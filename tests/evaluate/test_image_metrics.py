"""Image metrics against closed forms, plain formulas, and the figures of other people's programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_images import image_pair
from scipy import ndimage

from bodydouble.core.errors import ShapeError
from bodydouble.evaluate.flicker import flicker
from bodydouble.evaluate.flip import flip, flip_map
from bodydouble.evaluate.psnr import PSNR_CEILING_DB, psnr_db
from bodydouble.evaluate.ssim import (
    SSIM_OURS,
    SSIM_SKIMAGE_RANGE_2,
    SSIM_TORCHMETRICS,
    SSIM_ZERO_PADDED,
    ms_ssim,
    ssim,
    ssim_map,
)

SSIM_SKIMAGE = replace(SSIM_SKIMAGE_RANGE_2, value_range=1.0)  # with the right range
GOLDEN = json.loads((Path(__file__).parent / "golden_metrics.json").read_text())
PAIRS = [image_pair(seed) for seed in GOLDEN["seeds"]]


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


def test_different_shapes_are_named() -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ShapeError, match=r"psnr_db: both arrays must have the same shape, got \(4, 4, 3\) and"):
            psnr_db(np.zeros((4, 4, 3), np.float32), np.zeros((4, 5, 3), np.float32))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_psnr_equals_scikit_image() -> None:
    assert [psnr_db(*pair) for pair in PAIRS] == pytest.approx(GOLDEN["psnr"], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "variant", "tolerance"),
    [
        ("ssim_range_1", SSIM_SKIMAGE, 1e-9),
        ("ssim_range_2", SSIM_SKIMAGE_RANGE_2, 1e-9),
        ("ssim_gaussian", SSIM_TORCHMETRICS, 1e-9),
        ("ssim_torchmetrics_1.4", SSIM_TORCHMETRICS, 1e-6),
        ("ssim_torchmetrics_new", SSIM_OURS, 1e-6),
    ],
)
def test_ssim_variants_equal_the_programs_they_stand_for(name: str, variant, tolerance: float) -> None:
    assert [ssim(*pair, variant=variant) for pair in PAIRS] == pytest.approx(GOLDEN[name], abs=tolerance)


def test_zero_padded_ssim_is_a_convolution_with_zeros() -> None:
    image, truth = (v.astype(np.float64) for v in image_pair(5, 24, 20))
    offsets = np.arange(11) - 5
    taps = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2

    def blur(a: np.ndarray) -> np.ndarray:
        return np.stack([ndimage.convolve(a[..., c], window, mode="constant") for c in range(3)], axis=-1)

    mu_a, mu_b = blur(image), blur(truth)
    var_a, var_b, cov = blur(image**2) - mu_a**2, blur(truth**2) - mu_b**2, blur(image * truth) - mu_a * mu_b
    values = (2 * mu_a * mu_b + 1e-4) * (2 * cov + 9e-4) / ((mu_a**2 + mu_b**2 + 1e-4) * (var_a + var_b + 9e-4))
    assert ssim(image, truth, variant=SSIM_ZERO_PADDED) == pytest.approx(values.mean(), abs=1e-9)


def test_a_wrong_value_range_flatters() -> None:
    image, truth = PAIRS[0]
    assert ssim(image, truth, variant=SSIM_SKIMAGE_RANGE_2) > ssim(image, truth, variant=SSIM_SKIMAGE) + 0.02


def test_regions_of_whole_window_variants_are_cut_alike() -> None:
    image, truth = image_pair(3, 40, 50)
    everywhere = np.ones((40, 50), dtype=bool)
    assert ssim(image, truth, everywhere, SSIM_SKIMAGE) == pytest.approx(ssim(image, truth, variant=SSIM_SKIMAGE))
    with pytest.raises(ShapeError, match="a window of 7 px does not fit into 5 x 50 px"):
        ssim(image[:5], truth[:5], variant=SSIM_SKIMAGE)


def test_every_field_of_an_ssim_variant_is_described() -> None:
    texts = {v.describe() for v in (SSIM_OURS, SSIM_TORCHMETRICS, SSIM_ZERO_PADDED, SSIM_SKIMAGE, SSIM_SKIMAGE_RANGE_2)}
    assert len(texts) == 5 and all("K1 0.01" in text for text in texts)


def test_ms_ssim_equals_pytorch_msssim() -> None:
    assert [ms_ssim(*pair) for pair in PAIRS] == pytest.approx(GOLDEN["ms_ssim"], abs=1e-6)
    assert ms_ssim(PAIRS[0][1], PAIRS[0][1]) == pytest.approx(1.0)
    with pytest.raises(ShapeError, match=r"at least 176 px, got 100 x 176"):
        ms_ssim(PAIRS[0][0][:100], PAIRS[0][1][:100])


def test_flip_equals_its_authors_program() -> None:
    for (image, truth), mean, coarse, pixels in zip(
        PAIRS, GOLDEN["flip_67"], GOLDEN["flip_40"], GOLDEN["flip_67_pixels"], strict=True
    ):
        values = flip_map(image, truth)
        assert values.mean() == pytest.approx(mean, abs=5e-5)
        np.testing.assert_allclose(values[5::50, 3::40].ravel(), pixels, atol=1e-3)
        assert flip(image, truth, 40.0) == pytest.approx(coarse, abs=5e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_flip_is_symmetric_and_in_range(seed: int) -> None:
    a, b = random_image(seed), random_image(seed + 1)
    values = flip_map(a, b)
    assert values.min() >= 0.0 and values.max() <= 1.0
    np.testing.assert_allclose(values, flip_map(b, a), atol=1e-5)
    assert flip(a, a) == 0.0


def test_flip_of_black_and_white_is_nearly_one_and_of_a_faint_change_nearly_zero() -> None:
    black, white = np.zeros((30, 30, 3), np.float32), np.ones((30, 30, 3), np.float32)
    assert flip(white, black) > 0.9
    assert 0.0 < flip(black + 1 / 255, black) < 0.1


def test_flicker_is_the_closed_form() -> None:
    still = np.full((6, 8, 3), 0.4, dtype=np.float32)
    assert flicker(still + 0.1, still + 0.1, still, still) == pytest.approx(0.0)  # a constant error does not flicker
    assert flicker(still - 0.1, still + 0.1, still, still) == pytest.approx(0.2, abs=1e-6)
    assert flicker(still, still, still - 0.1, still) == pytest.approx(0.1, abs=1e-6)  # nor may it lag behind
    half = np.zeros((6, 8), dtype=bool)
    half[:3] = True
    moved = still.copy()
    moved[:3] += 0.3
    assert flicker(still, moved, still, still, half) == pytest.approx(0.3, abs=1e-6)
    assert np.isnan(flicker(still, moved, still, still, np.zeros_like(half)))


def test_psnr_of_channels_is_never_below_the_pooled_one() -> None:
    truth = np.zeros((4, 4, 3), dtype=np.float32)
    image = truth + np.array([0.1, 0.2, 0.4], dtype=np.float32)
    expected = np.mean([-20 * np.log10(v) for v in (0.1, 0.2, 0.4)])
    assert psnr_db(image, truth, channels="channels") == pytest.approx(expected, abs=1e-4)
    assert psnr_db(image, truth) == pytest.approx(-10 * np.log10((0.01 + 0.04 + 0.16) / 3), abs=1e-4)
    assert psnr_db(image, truth, channels="channels") >= psnr_db(image, truth)
