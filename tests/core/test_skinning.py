"""Kinematics and skinning against a bone-by-bone, point-by-point rendering of the formula in the module's docstring."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.geometry import rigid, rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms, skin_points

PARENTS = (-1, 0, 1, 1, 0, 4, 2)


def random_pose(seed: int, batch: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    rotvecs = torch.randn(*batch, len(PARENTS), 3, generator=rng, dtype=torch.float64)
    joints = torch.randn(len(PARENTS), 3, generator=rng, dtype=torch.float64)
    return rotvecs, joints, torch.randn(*batch, 3, generator=rng, dtype=torch.float64)


def naive_transforms(rotvecs: torch.Tensor, joints: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """T_world_rest of each bone, 4x4, exactly as the formula reads."""
    done: list[torch.Tensor] = []
    for bone, parent in enumerate(PARENTS):
        there = rigid(torch.eye(3, dtype=torch.float64), joints[bone])
        back = rigid(torch.eye(3, dtype=torch.float64), -joints[bone])
        turn = rigid(rotvec_to_matrix(rotvecs[bone]), torch.zeros(3, dtype=torch.float64))
        above = rigid(torch.eye(3, dtype=torch.float64), translation) if parent < 0 else done[parent]
        done.append(above @ there @ turn @ back)
    return torch.stack(done)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_bones_follow_the_formula(seed: int):
    rotvecs, joints, translation = random_pose(seed)
    R, t = bone_transforms(rotvecs, joints, translation, PARENTS)
    expected = naive_transforms(rotvecs, joints, translation)
    torch.testing.assert_close(R, expected[:, :3, :3])
    torch.testing.assert_close(t, expected[:, :3, 3])


@pytest.mark.parametrize("batch", [(2,), (3, 1)])
def test_a_batch_equals_its_members(batch: tuple[int, ...]):
    rotvecs, joints, translation = random_pose(1, batch)
    R, t = bone_transforms(rotvecs, joints, translation, PARENTS)
    for index in np.ndindex(*batch):
        R_one, t_one = bone_transforms(rotvecs[index], joints, translation[index], PARENTS)
        torch.testing.assert_close(R[index], R_one)
        torch.testing.assert_close(t[index], t_one)


def test_rest_pose_is_identity_and_joints_stay_attached():
    rotvecs, joints, translation = random_pose(2)
    R, t = bone_transforms(torch.zeros_like(rotvecs), joints, torch.zeros(3, dtype=torch.float64), PARENTS)
    torch.testing.assert_close(R, torch.eye(3, dtype=torch.float64).expand_as(R))
    torch.testing.assert_close(t, torch.zeros_like(t))
    R, t = bone_transforms(rotvecs, joints, translation, PARENTS)
    for bone, parent in enumerate(PARENTS):
        if parent >= 0:  # a joint is where its parent's transform puts it, too
            torch.testing.assert_close(R[bone] @ joints[bone] + t[bone], R[parent] @ joints[bone] + t[parent])


def test_points_equal_a_loop():
    rotvecs, joints, translation = random_pose(3)
    R, t = bone_transforms(rotvecs, joints, translation, PARENTS)
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(11, 3, generator=rng, dtype=torch.float64)
    bones = torch.randint(0, len(PARENTS), (11, 4), generator=rng)
    weights = torch.softmax(torch.randn(11, 4, generator=rng, dtype=torch.float64), -1)
    skinned = skin_points(points, R, t, bones, weights)
    for i in range(11):
        expected = sum(weights[i, k] * (R[bones[i, k]] @ points[i] + t[bones[i, k]]) for k in range(4))
        torch.testing.assert_close(skinned[i], expected)


def test_a_rigid_motion_of_the_root_moves_everything_rigidly():
    rotvecs, joints, translation = random_pose(4)
    rng = torch.Generator().manual_seed(1)
    points = torch.randn(9, 3, generator=rng, dtype=torch.float64)
    bones = torch.randint(0, len(PARENTS), (9, 2), generator=rng)
    weights = torch.full((9, 2), 0.5, dtype=torch.float64)
    before = skin_points(points, *bone_transforms(rotvecs, joints, translation, PARENTS), bones, weights)
    shift = torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64)
    after = skin_points(points, *bone_transforms(rotvecs, joints, translation + shift, PARENTS), bones, weights)
    torch.testing.assert_close(after, before + shift)


@pytest.mark.parametrize("batch", [(), (2,), (3, 1)])
def test_gradients(batch: tuple[int, ...]):
    rotvecs, joints, translation = random_pose(5, batch)
    bones = torch.tensor([[0, 1], [2, 6]])
    weights = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64)

    def moved(rotvecs, joints, translation, points):
        return skin_points(points, *bone_transforms(rotvecs, joints, translation, PARENTS), bones, weights)

    points = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    inputs = tuple(x.requires_grad_() for x in (rotvecs * 0.3, joints, translation, points))
    assert torch.autograd.gradcheck(moved, inputs)
