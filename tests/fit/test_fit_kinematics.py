"""Controls, forward kinematics and derivatives of the fit's restricted skeleton."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from fit_truth import perform
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.body.anny import AnnyBody
from bodydouble.core.errors import ConfigError
from bodydouble.core.skinning import bone_transforms
from bodydouble.fit import kinematics as kin
from bodydouble.fit.controls import build_controls, hinge_frame
from bodydouble.fit.landmarks import build_landmarks, rest_geometry
from bodydouble.fit.state import track_rotvecs

vectors = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3).map(np.array)


@given(vectors)
@settings(max_examples=60, deadline=None)
def test_exp_and_log_are_inverse(r: np.ndarray) -> None:
    R = kin.exp_so3(r)
    assert np.allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.allclose(kin.exp_so3(kin.log_so3(R)), R, atol=1e-9)


@given(vectors, vectors)
@settings(max_examples=60, deadline=None)
def test_left_jacobian_is_the_derivative_of_exp(r: np.ndarray, d: np.ndarray) -> None:
    step = 1e-6
    change = kin.log_so3(kin.exp_so3(r + step * d) @ kin.exp_so3(r).T) / step
    assert np.allclose(change, kin.left_jacobian(r) @ d, atol=1e-4)


def test_left_jacobian_near_zero_is_the_identity() -> None:
    assert np.allclose(kin.left_jacobian(np.zeros(3)), np.eye(3))
    assert np.allclose(kin.left_jacobian(np.array([1e-5, 0, 0])), np.eye(3), atol=1e-4)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_unwrapping_keeps_rotations_and_leaves_no_jumps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    angle = np.linspace(0, 12.0, 200)[:, None]  # nearly two full turns
    R = kin.exp_so3(angle * axis / np.linalg.norm(axis))
    unwrapped = kin.unwrap_rotvecs(kin.log_so3(R))
    assert np.allclose(kin.exp_so3(unwrapped), R, atol=1e-9)
    assert np.abs(np.diff(unwrapped, axis=0)).max() < 0.2


def test_posing_nodes_agrees_with_the_body_s_own_kinematics(anny: AnnyBody) -> None:
    truth = perform(anny, frames=4)
    c, state = truth.controls, truth.state
    rest = rest_geometry(anny, truth.landmarks, c, state.shape)
    posed = kin.pose_nodes(c, rest.joints, state.R_root, state.translation, state.theta)
    joints = anny.with_shape(torch.as_tensor(state.shape, dtype=torch.float32)).joints_rest.double()
    R, t = bone_transforms(
        torch.as_tensor(track_rotvecs(state, c, anny)), joints, torch.as_tensor(state.translation), anny.bone_parents
    )
    assert np.allclose(R.numpy()[:, c.node_bones], posed.R, atol=1e-6)
    world = R @ joints[..., None]
    assert np.allclose((world[..., 0] + t).numpy()[:, c.node_bones], posed.joints, atol=1e-5)


def test_point_derivatives_are_those_of_the_points(anny: AnnyBody) -> None:
    truth = perform(anny, frames=2, seed=3)
    c, state = truth.controls, truth.state
    rest = rest_geometry(anny, truth.landmarks, c, state.shape)
    nodes = c.node_of_bone[truth.landmarks.bones]
    every, dofs = np.arange(len(nodes)), np.arange(len(c.dofs))

    def points(turn: np.ndarray, move: np.ndarray, change: np.ndarray) -> np.ndarray:
        posed = kin.pose_nodes(
            c, rest.joints, kin.exp_so3(turn) @ state.R_root, state.translation + move, state.theta + change
        )
        return kin.place_points(posed, rest, nodes, every)

    posed = kin.pose_nodes(c, rest.joints, state.R_root, state.translation, state.theta)
    unique, slots = np.unique(nodes, return_inverse=True)
    screws = kin.node_screws(c, posed, unique, dofs)
    J = kin.point_derivatives(screws, slots, kin.place_points(posed, rest, nodes, every))
    step = 1e-6
    direction = np.random.default_rng(0).normal(size=6 + len(dofs))
    sides = [points(s * direction[:3], s * direction[3:6], s * direction[6:]) for s in (step, -step)]
    assert np.allclose((sides[0] - sides[1]) / (2 * step), J @ direction, atol=1e-6)


def test_shape_derivatives_are_those_of_the_points(anny: AnnyBody) -> None:
    truth = perform(anny, frames=2, seed=1)
    c, state, marks = truth.controls, truth.state, truth.landmarks
    nodes = c.node_of_bone[marks.bones]
    every = np.arange(len(nodes))

    def points(shape: np.ndarray) -> np.ndarray:
        rest = rest_geometry(anny, marks, c, shape)
        posed = kin.pose_nodes(c, rest.joints, state.R_root, state.translation, state.theta)
        return kin.place_points(posed, rest, nodes, every)

    rest = rest_geometry(anny, marks, c, state.shape)
    posed = kin.pose_nodes(c, rest.joints, state.R_root, state.translation, state.theta)
    J = kin.shape_derivatives(c, posed, rest, nodes, every)
    change = np.array([0.02 if name in ("height", "proportions") else 0.0 for name in anny.shape_names])
    moved = points(state.shape + change) - points(state.shape - change)
    assert np.allclose(moved / 2.0, J @ change, atol=2e-4)
    assert np.abs(J @ change).max() > 2e-3


@pytest.mark.parametrize("side", ["left", "right"])
def test_hinges_bend_the_way_people_do(anny: AnnyBody, side: str) -> None:
    """A bent elbow brings the hand to the shoulder, a bent knee the foot backwards, a bent finger its tip to the wrist."""
    c = build_controls(anny)
    marks = build_landmarks(anny)
    shape = anny.shape_default.double().numpy()
    rest = rest_geometry(anny, marks, c, shape)
    nodes = c.node_of_bone[marks.bones]

    def place(name: str, control: str, angle: float) -> np.ndarray:
        theta = np.zeros((1, len(c.dofs)))
        theta[0, c.index(control)] = angle
        posed = kin.pose_nodes(c, rest.joints, np.eye(3)[None], np.zeros((1, 3)), theta)
        return kin.place_points(posed, rest, nodes, np.arange(len(nodes)))[0, marks.index(name)]

    def gap(a: str, b: str, control: str, angle: float) -> float:
        return float(np.linalg.norm(place(a, control, angle) - place(b, control, angle)))

    s = side
    wrist, shoulder, elbow = f"body/{s}_wrist", f"body/{s}_shoulder", f"{s}_elbow_bend"
    assert gap(wrist, shoulder, elbow, 1.0) < gap(wrist, shoulder, elbow, 0.0) - 0.1
    ankle, knee = f"body/{s}_ankle", f"{s}_knee_bend"
    assert place(ankle, knee, 1.0)[2] < place(ankle, knee, 0.0)[2] - 0.2
    for finger in ("index", "middle", "ring", "pinky"):
        control = f"{s}_hand_{'little' if finger == 'pinky' else finger}_0_bend"
        tip = f"{s}_hand/{finger}_tip"
        assert gap(tip, f"{s}_hand/wrist", control, 1.2) < gap(tip, f"{s}_hand/wrist", control, 0.0) - 0.02


def test_controls_of_both_sides_mirror_each_other(anny: AnnyBody) -> None:
    c = build_controls(anny)
    flip = np.array([1.0, -1.0, -1.0])  # a rotation axis under mirroring in x
    for dof in c.dofs:
        if dof.name.startswith("left"):
            other = c.dofs[c.index(dof.name.replace("left", "right", 1))]
            mirrored = dof.axes * flip
            assert min(np.abs(other.axes - mirrored).max(), np.abs(other.axes + mirrored).max()) < 1e-3, dof.name
            assert (dof.mean, dof.sigma) == pytest.approx((other.mean, other.sigma), abs=1e-3)
            assert dof.lower <= dof.mean <= dof.upper


def test_a_body_without_a_needed_bone_is_refused(anny: AnnyBody) -> None:
    humanoid = {k: v for k, v in anny.humanoid.items() if k != "leftLowerLeg"}
    with pytest.raises(ConfigError, match="must name a bone for leftLowerLeg, found None"):
        build_controls(dataclasses.replace(anny, humanoid=humanoid))


def test_a_straight_limb_takes_its_hinge_from_the_fallback() -> None:
    frame = hinge_frame(np.array([0.0, -1.0, 0.0]), np.array([0.0, -1.0, 0.01]), np.array([1.0, 0.2, 0.0]))
    assert np.allclose(frame, [[1, 0, 0], [0, -1, 0], [0, 0, -1]])
