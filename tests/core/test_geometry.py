"""Rotations against scipy, round trips, group axioms, gradients through zero."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodydouble.core import geometry as g

SIZES = st.sampled_from([0.0, 1e-9, 1e-5, 1e-3, 0.1, 1.0, 3.0, np.pi - 1e-4])
SEEDS = st.integers(0, 2**31)


def random_rotvec(seed: int, size: float, batch: tuple[int, ...] = (7,)) -> torch.Tensor:
    axis = np.random.default_rng(seed).normal(size=(*batch, 3))
    return torch.from_numpy(axis / np.linalg.norm(axis, axis=-1, keepdims=True) * size)


@settings(deadline=None, max_examples=50)
@given(SEEDS, SIZES)
def test_matrix_equals_scipy(seed: int, size: float):
    rotvec = random_rotvec(seed, size)
    expected = Rotation.from_rotvec(rotvec.numpy()).as_matrix()
    np.testing.assert_allclose(g.rotvec_to_matrix(rotvec).numpy(), expected, atol=1e-11)


@settings(deadline=None, max_examples=50)
@given(SEEDS, SIZES)
def test_quaternions_equal_scipy(seed: int, size: float):
    rotvec = random_rotvec(seed, size)
    quat = g.rotvec_to_quat_wxyz(rotvec)
    expected = Rotation.from_rotvec(rotvec.numpy()).as_quat(scalar_first=True)
    sign = np.sign((quat.numpy() * expected).sum(-1, keepdims=True))
    np.testing.assert_allclose(quat.numpy(), expected * sign, atol=1e-10)
    np.testing.assert_allclose(g.quat_wxyz_to_matrix(quat).numpy(), g.rotvec_to_matrix(rotvec).numpy(), atol=1e-10)
    from_matrix = g.matrix_to_quat_wxyz(g.rotvec_to_matrix(rotvec))
    assert (from_matrix[..., 0] >= 0).all()
    np.testing.assert_allclose(
        g.quat_wxyz_to_matrix(from_matrix).numpy(), g.rotvec_to_matrix(rotvec).numpy(), atol=1e-9
    )


@settings(deadline=None, max_examples=50)
@given(SEEDS, SIZES)
def test_round_trip_to_rotvec(seed: int, size: float):
    rotvec = random_rotvec(seed, size)
    np.testing.assert_allclose(g.matrix_to_rotvec(g.rotvec_to_matrix(rotvec)).numpy(), rotvec.numpy(), atol=2e-6)
    np.testing.assert_allclose(g.quat_wxyz_to_rotvec(g.rotvec_to_quat_wxyz(rotvec)).numpy(), rotvec.numpy(), atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_product_of_quaternions_is_product_of_matrices(seed: int):
    a, b = (g.rotvec_to_quat_wxyz(random_rotvec(seed + i, 1.3)) for i in range(2))
    product = g.quat_wxyz_to_matrix(g.quat_multiply_wxyz(a, b))
    torch.testing.assert_close(product, g.quat_wxyz_to_matrix(a) @ g.quat_wxyz_to_matrix(b))


def test_order_of_quaternion_components():
    quarter_turn_about_z = torch.tensor([[0.0, 0.0, np.pi / 2]], dtype=torch.float64)
    wxyz = g.rotvec_to_quat_wxyz(quarter_turn_about_z)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(wxyz.numpy(), [[half, 0, 0, half]], atol=1e-12)
    np.testing.assert_allclose(g.quat_wxyz_to_xyzw(wxyz).numpy(), [[0, 0, half, half]], atol=1e-12)
    torch.testing.assert_close(g.quat_xyzw_to_wxyz(g.quat_wxyz_to_xyzw(wxyz)), wxyz)


def test_quaternions_of_any_length_mean_the_same_rotation():
    quat = g.rotvec_to_quat_wxyz(random_rotvec(3, 0.7))
    torch.testing.assert_close(g.quat_wxyz_to_matrix(quat * 17.0), g.quat_wxyz_to_matrix(quat))
    torch.testing.assert_close(g.quat_wxyz_to_rotvec(-quat), g.quat_wxyz_to_rotvec(quat))


@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-4, 0.5, 3.0])
@pytest.mark.parametrize("batch", [(), (2,), (3, 1)])
def test_gradients(size: float, batch: tuple[int, ...]):
    rotvec = random_rotvec(5, size, batch).requires_grad_()
    assert torch.autograd.gradcheck(g.rotvec_to_matrix, rotvec, atol=1e-5)
    assert torch.autograd.gradcheck(g.rotvec_to_quat_wxyz, rotvec, atol=1e-5)


def test_gradient_at_zero_is_finite_and_right():
    rotvec = torch.zeros(3, requires_grad=True)
    g.rotvec_to_matrix(rotvec)[2, 1].backward()
    torch.testing.assert_close(rotvec.grad, torch.tensor([1.0, 0.0, 0.0]))


def test_rigid_transforms():
    T_world_camera = g.rigid(g.rotvec_to_matrix(random_rotvec(1, 0.9)), random_rotvec(2, 2.0))
    identity = T_world_camera @ g.invert_rigid(T_world_camera)
    torch.testing.assert_close(identity, torch.eye(4, dtype=torch.float64).expand(7, 4, 4))
    points = random_rotvec(3, 1.0, (7, 5))
    moved = g.transform_points(T_world_camera, points)
    expected = torch.einsum("bij,bnj->bni", T_world_camera[:, :3, :3], points) + T_world_camera[:, None, :3, 3]
    torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(g.transform_points(g.invert_rigid(T_world_camera), moved), points)
