"""First angles of limbs: whatever was seen of a limb, its axes are a rotation."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.fit.initial import limb_axes

FRAME = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])


def assert_rotations(axes: np.ndarray) -> None:
    np.testing.assert_allclose(axes @ np.swapaxes(axes, -1, -2), np.broadcast_to(np.eye(3), axes.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(axes), 1.0, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_axes_of_any_two_directions_are_a_rotation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 6, 3))
    first, second = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (first, second))
    axes = limb_axes(first, second, FRAME)
    assert_rotations(axes)
    np.testing.assert_allclose(axes[:, 1], first, atol=1e-12)


def test_limbs_that_nobody_saw_are_as_at_rest_and_straight_ones_keep_their_hinge() -> None:
    nothing, down, up = np.zeros(3), np.array([0.0, -1.0, 0.0]), np.array([0.0, 1.0, 0.0])
    first, second = np.array([nothing, nothing, down, up, down]), np.array([nothing, down, down, up, nothing])
    axes = limb_axes(first, second, FRAME)
    assert_rotations(axes)
    np.testing.assert_allclose(axes[[0, 1, 2, 4]], np.broadcast_to(FRAME, (4, 3, 3)), atol=1e-9)
