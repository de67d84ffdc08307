"""The kernels that weigh pixels against what their docstrings say, in plain numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.perceive.whose_kernels import color_before_scene, prior_and_color

HEIGHT, WIDTH, LIMBS, STEPS, LEVELS, SHRINK = 7, 9, 3, 6, 4, 3
MOST = 4.0


def made_up(seed: int):
    rng = np.random.default_rng(seed)
    shape = (HEIGHT, WIDTH)
    rgb = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    limb = rng.integers(0, LIMBS, shape).astype(np.uint8)
    density = rng.normal(0.0, 3.0, (LIMBS, LEVELS**3)).astype(np.float32)
    return rng, rgb, limb, density


def own_density(rgb: np.ndarray, limb: np.ndarray, density: np.ndarray) -> np.ndarray:
    level = rgb.astype(int) // (256 // LEVELS)
    return density[limb, (level[..., 0] * LEVELS + level[..., 1]) * LEVELS + level[..., 2]]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_prior_and_colours_around(seed: int):
    rng, rgb, limb, density = made_up(seed)
    first_mask = rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
    step = rng.uniform(0.0, STEPS - 1.001, (HEIGHT, WIDTH)).astype(np.float32)
    first_odds = rng.normal(size=256).astype(np.float32)
    usual = rng.normal(size=(LIMBS, STEPS)).astype(np.float32)
    around = rng.normal(size=(HEIGHT // SHRINK, WIDTH // SHRINK, 10)).astype(np.float32)
    around[0, 0] = np.nan  # no background is near
    prior, color = np.empty((HEIGHT, WIDTH), np.float32), np.empty((HEIGHT, WIDTH), np.float32)
    prior_and_color(
        rgb, first_mask, limb, step, first_odds, usual, density, around, SHRINK, np.float32(MOST), prior, color
    )
    low = step.astype(int)
    share = step - low
    expected = first_odds[first_mask] + usual[limb, low] * (1 - share) + usual[limb, low + 1] * share
    np.testing.assert_allclose(prior, expected, rtol=1e-4, atol=1e-5)
    rows = np.minimum(np.arange(HEIGHT) // SHRINK, around.shape[0] - 1)
    columns = np.minimum(np.arange(WIDTH) // SHRINK, around.shape[1] - 1)
    c = around[rows[:, None], columns[None]].astype(np.float64)
    r, g, b = np.moveaxis(rgb / 255.0, -1, 0)
    terms = [r * r, r * g, r * b, g * g, g * b, b * b, r, g, b, np.ones_like(r)]
    background = sum(c[..., k] * term for k, term in enumerate(terms))
    wanted = np.where(np.isnan(background), 0.0, (own_density(rgb, limb, density) - background).clip(-MOST, MOST))
    np.testing.assert_allclose(color, wanted, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0.02, 0.2))
def test_colours_before_a_known_scene(seed: int, noise: float):
    rng, rgb, limb, density = made_up(seed)
    scene = (rgb / 255.0 * rng.uniform(0.3, 1.6, (HEIGHT, WIDTH, 1)) + rng.normal(0, 0.05, (HEIGHT, WIDTH, 3))).clip(
        0, 1
    )
    low, high = (scene - 0.02).astype(np.float32), (scene + 0.02).astype(np.float32)
    known = rng.random((HEIGHT, WIDTH)) < 0.8
    away = rng.uniform(-0.1, 0.2, (HEIGHT, WIDTH)).astype(np.float32)
    shadow, lit = (0.35, 1.05, 0.12, 1.6), (0.35, 1.5, 0.35, 0.02, 0.08)
    color = np.empty((HEIGHT, WIDTH), np.float32)
    color_before_scene(
        rgb, limb, away, density, low, high, known, np.float32(noise),
        np.asarray(shadow, np.float32), np.asarray(lit, np.float32), np.float32(MOST), color,
    )  # fmt: skip
    colors = rgb / 255.0
    apart = np.maximum(np.maximum(colors - high, low - colors), 0.0).max(2)
    plain = -0.5 * np.minimum(apart / noise, 6.0) ** 2 - 3.0 * np.log(noise * np.sqrt(2.0 * np.pi))
    tint = colors / np.maximum(0.5 * (low.astype(np.float64) + high), 0.03)
    tone, hue = tint.mean(2), np.ptp(tint, axis=2)
    beyond = ((away - lit[3]) / (lit[4] - lit[3])).clip(0.0, 1.0)
    shaded = (tone > shadow[0]) & (tone < shadow[1]) & (hue < shadow[2])
    shaded |= (tone > lit[0]) & (tone < lit[1]) & (hue < lit[2] * beyond)
    density_there = np.where(shaded, np.logaddexp(plain, shadow[3]), plain)
    expected = np.where(known, (own_density(rgb, limb, density) - density_there).clip(-MOST, MOST), 0.0)
    np.testing.assert_allclose(color, expected, rtol=1e-3, atol=1e-3)
