"""The pose solver on a small skeleton with known truth: exact Jacobians mean quadratic convergence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodydouble.avatar.values import Rig
from bodydouble.capture.crops import PersonCrop
from bodydouble.core.cameras import video_camera
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.skinning import skin_points
from bodydouble.fit.pose_problem import PoseProblem, RegisterConfig

NAMES = ("root", "spine", "arm_l", "arm_r", "hand_l", "hand_r")
PARENTS = (-1, 0, 1, 1, 2, 3)
JOINTS = torch.tensor(
    [[0.0, 1.0, 0.0], [0.0, 1.3, 0.0], [0.2, 1.4, 0.0], [-0.2, 1.4, 0.0], [0.5, 1.4, 0.0], [-0.5, 1.4, 0.0]]
)
HUMANOID = dict(
    zip(("hips", "spine", "leftUpperArm", "rightUpperArm", "leftLowerArm", "rightLowerArm"), NAMES, strict=True)
)
FRAMES, POINTS = 4, 200


def _rig() -> Rig:
    return Rig(bone_names=NAMES, bone_parents=PARENTS, joints_rest_m=JOINTS, humanoid=HUMANOID)


def _crop(index: int) -> PersonCrop:
    blank = np.zeros((8, 8), np.uint8)
    camera = video_camera(512, 512, 600.0)
    return PersonCrop(
        frame_index=index, rgb=np.zeros((8, 8, 3), np.uint8), mask=blank, camera=camera, x0_px=0, y0_px=0, side_px=512
    )


def _scene(seed: int):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    joints = torch.randint(0, len(NAMES), (FRAMES, POINTS, 4), generator=generator)
    weights = torch.rand(FRAMES, POINTS, 4, generator=generator)
    weights = weights / weights.sum(-1, keepdim=True)
    points = JOINTS[joints[..., 0]] + 0.15 * draw(FRAMES, POINTS, 3)
    start = 0.3 * draw(FRAMES, len(NAMES), 3)
    translation = torch.tensor([0.0, -1.0, -3.0]) + 0.1 * draw(FRAMES, 3)
    return points, joints, weights, start, translation, draw


def _project(points, joints, weights, rotvecs, translation) -> np.ndarray:
    R, t = fast_bone_transforms(rotvecs, JOINTS, translation, PARENTS)
    camera = video_camera(512, 512, 600.0)
    world = [skin_points(points[f], R[f], t[f], joints[f], weights[f]) for f in range(FRAMES)]
    return camera.project(torch.stack(world))[0].double().numpy()


WEAK_PRIOR = RegisterConfig(
    iterations=8,
    rotation_sigma_rad=50.0,
    translation_sigma_m=50.0,
    neighbour_sigma_rad=500.0,
    target_sigma_px=1.0,
    robust_px=500.0,
)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_the_pose_that_made_the_targets(seed: int) -> None:
    points, joints, weights, start, translation, draw = _scene(seed)
    truth = start + 0.15 * draw(*start.shape)
    truth_translation = translation + 0.03 * draw(FRAMES, 3)
    targets = _project(points, joints, weights, truth, truth_translation)
    problem = PoseProblem(
        _rig(), [_crop(i) for i in range(FRAMES)], np.arange(FRAMES) / 30.0, start, translation, WEAK_PRIOR
    )
    trust = np.ones((FRAMES, POINTS))
    problem.solve(points.double().numpy(), joints.numpy(), weights.double().numpy(), targets, trust)
    found = _project(points, joints, weights, problem.rotvecs, problem.translation)
    assert np.abs(found - targets).max() < 0.05
    turn = rotvec_to_matrix(problem.rotvecs) - rotvec_to_matrix(truth)
    assert float(turn.abs().max()) < 5e-3
    assert float((problem.translation - truth_translation).abs().max()) < 5e-3


def test_outliers_do_not_pull() -> None:
    points, joints, weights, start, translation, _draw = _scene(5)
    targets = _project(points, joints, weights, start, translation)
    targets[:, ::5] += 150.0
    config = RegisterConfig(iterations=5, robust_px=8.0)
    problem = PoseProblem(
        _rig(), [_crop(i) for i in range(FRAMES)], np.arange(FRAMES) / 30.0, start, translation, config
    )
    problem.solve(points.double().numpy(), joints.numpy(), weights.double().numpy(), targets, np.ones((FRAMES, POINTS)))
    inliers = np.arange(POINTS) % 5 != 0
    error = np.abs(_project(points, joints, weights, problem.rotvecs, problem.translation) - targets)[:, inliers]
    assert np.median(error) < 0.5


def test_without_targets_the_pose_stays() -> None:
    points, joints, weights, start, translation, _ = _scene(6)
    problem = PoseProblem(
        _rig(), [_crop(i) for i in range(FRAMES)], np.arange(FRAMES) / 30.0, start, translation, RegisterConfig()
    )
    problem.solve(
        points.double().numpy(),
        joints.numpy(),
        weights.double().numpy(),
        np.zeros((FRAMES, POINTS, 2)),
        np.zeros((FRAMES, POINTS)),
    )
    torch.testing.assert_close(rotvec_to_matrix(problem.rotvecs), rotvec_to_matrix(start), rtol=0, atol=1e-5)
    torch.testing.assert_close(problem.translation, translation, rtol=0, atol=1e-6)


def test_neighbours_share_their_correction() -> None:
    """Only the first frame sees targets; the second follows it, all the more the nearer it is in time."""
    points, joints, weights, start, translation, _ = _scene(7)
    start = start[:1].expand(FRAMES, -1, -1).clone()
    truth = start.clone()
    truth[:, 2] += torch.tensor([0.0, 0.0, 0.2])
    targets = _project(points, joints, weights, truth, translation)
    trust = np.zeros((FRAMES, POINTS))
    trust[0] = 1.0
    config = RegisterConfig(iterations=6, robust_px=500.0)
    moved = []
    for gap_s in (1 / 60, 1 / 5):
        problem = PoseProblem(
            _rig(), [_crop(i) for i in range(FRAMES)], np.arange(FRAMES) * gap_s, start, translation, config
        )
        problem.solve(points.double().numpy(), joints.numpy(), weights.double().numpy(), targets, trust)
        moved.append(float(problem.deviation()[1].reshape(-1, 3).__abs__().sum()))
    assert moved[0] > 1.3 * moved[1] > 0.0
