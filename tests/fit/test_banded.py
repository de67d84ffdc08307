"""The bordered, banded solver and smoothness over time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.fit.banded import Stencil, solve_bordered


def _stencil(rng: np.random.Generator, frames: int, size: int) -> Stencil:
    return Stencil(
        rng.uniform(0.01, 0.1, size=frames - 1), rng.uniform(1e-4, 1e-2, size=size), rng.uniform(0, 0.1, size)
    )


def _dense(stencil: Stencil, frames: int, size: int) -> np.ndarray:
    """The smoothness Hessian, from the gradient of unit vectors."""
    columns = []
    for i in range(frames * size):
        x = np.zeros(frames * size)
        x[i] = 1.0
        columns.append(stencil.gradient(np.diff(x.reshape(frames, size), axis=0)).reshape(-1))
    return np.stack(columns, axis=1)


@given(st.integers(1, 7), st.integers(1, 4), st.integers(0, 3), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_solution_is_that_of_the_dense_system(frames: int, size: int, shared: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stencil = _stencil(rng, frames, size)
    root = rng.normal(size=(frames, size + 2, size))
    blocks = np.swapaxes(root, 1, 2) @ root + 0.1 * np.eye(size)
    border = rng.normal(size=(frames, size, shared))
    shared_block = np.eye(shared) * 100.0 * frames
    g, h = rng.normal(size=(frames, size)), rng.normal(size=shared)
    H = _dense(stencil, frames, size) if frames > 1 else np.zeros((size, size))
    for f in range(frames):
        H[f * size : (f + 1) * size, f * size : (f + 1) * size] += blocks[f]
    B = border.reshape(frames * size, shared)
    full = np.block([[H, B], [B.T, shared_block]])
    expected = np.linalg.solve(full, np.concatenate([g.reshape(-1), h]))
    x, y, precision = solve_bordered(blocks, g, stencil, border, shared_block, h)
    assert np.allclose(np.concatenate([x.reshape(-1), y]), expected, rtol=1e-6, atol=1e-8)
    assert np.allclose(precision, shared_block - B.T @ np.linalg.solve(H, B), rtol=1e-6, atol=1e-8)


@given(st.integers(2, 9), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_gradient_is_that_of_the_value(frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stencil = _stencil(rng, frames, 2)
    x, d = rng.normal(size=(2, frames, 2))
    step = 1e-5
    slope = (stencil.value(np.diff(x + step * d, axis=0)) - stencil.value(np.diff(x - step * d, axis=0))) / (2 * step)
    assert slope == pytest.approx(float((stencil.gradient(np.diff(x, axis=0)) * d).sum()), rel=1e-4, abs=1e-6)


def test_the_same_motion_costs_the_same_at_any_frame_rate() -> None:
    costs = []
    for fps in (10.0, 30.0, 60.0):
        t = np.arange(0.0, 4.0, 1.0 / fps)
        x = np.sin(2 * np.pi * 0.5 * t)[:, None]
        stencil = Stencil(np.diff(t), np.array([1.0]), np.array([0.0]))
        costs.append(stencil.value(np.diff(x, axis=0)))
    assert max(costs) < 1.15 * min(costs)


def test_uneven_frame_times_do_not_look_like_acceleration() -> None:
    t = np.array([0.0, 0.03, 0.1, 0.11, 0.2, 0.26])
    stencil = Stencil(np.diff(t), np.array([1.0]), np.array([0.0]))
    assert stencil.value(np.diff(3.0 * t[:, None], axis=0)) == pytest.approx(0.0, abs=1e-12)
