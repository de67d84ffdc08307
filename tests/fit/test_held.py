"""Joints that registration holds: in the picture they stay, whatever pictures say of what lies around them."""

from __future__ import annotations

import numpy as np
import torch
from test_gauss_newton import FRAMES, JOINTS, NAMES, PARENTS, POINTS, _crop, _project, _rig, _scene
from tracks import made_up_track

from bodydouble.avatar.values import Rig
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.fit.held import HeldJoints, landmark_trust
from bodydouble.fit.pose_problem import PoseProblem, RegisterConfig, pack_camera
from bodydouble.fit.quality import LIMBS

LOOSE = RegisterConfig(rotation_sigma_rad=0.5, translation_sigma_m=0.5, neighbour_sigma_rad=5.0, robust_px=500.0)
HAND = NAMES.index("hand_l")


def _hand_px(rotvecs: torch.Tensor, translation: torch.Tensor) -> np.ndarray:
    R, t = fast_bone_transforms(rotvecs, JOINTS, translation, PARENTS)
    world = (R @ JOINTS[..., None])[..., 0] + t
    return video_camera(512, 512, 600.0).project(world[:, HAND])[0].double().numpy()


def _moved_px(trust: float) -> np.ndarray:
    """How far the left hand goes when every target asks for another pose."""
    points, joints, weights, start, translation, draw = _scene(3)
    other = start + 0.1 * draw(*start.shape)
    held = torch.zeros(FRAMES, len(NAMES))
    held[:, HAND] = trust
    problem = PoseProblem(
        _rig(), [_crop(i) for i in range(FRAMES)], np.arange(FRAMES) / 30.0, start, translation, LOOSE, held=held
    )
    targets = _project(points, joints, weights, other, translation)
    few = np.zeros((FRAMES, POINTS))
    few[:, ::20] = 1.0
    problem.solve(points.double().numpy(), joints.numpy(), weights.double().numpy(), targets, few)
    return np.linalg.norm(_hand_px(problem.rotvecs, problem.translation) - _hand_px(start, translation), axis=1)


def test_a_held_joint_stays_where_the_fit_has_it() -> None:
    free, held = _moved_px(0.0), _moved_px(1.0)
    assert free.min() > 2.0
    assert held.max() < 0.25 * free.min()


def test_targets_are_the_projected_joints_of_the_fit() -> None:
    *_, start, translation, _draw = _scene(4)
    trust = torch.zeros(FRAMES, len(NAMES))
    trust[1:, HAND] = 1.0
    held = HeldJoints.of_fit(_rig(), start, translation, trust, 0.01)
    cameras = np.stack([pack_camera(_crop(i)) for i in range(FRAMES)])
    empty = np.zeros((FRAMES, 0, 3))
    rest, bones, alone, at_px, known = held.joined(
        empty, np.zeros((FRAMES, 0, 4), np.int64), np.zeros((FRAMES, 0, 4)), empty[..., :2], empty, cameras
    )
    assert np.allclose(rest[:, 0], JOINTS[HAND]) and (bones[..., 0] == HAND).all() and np.allclose(alone.sum(2), 1.0)
    np.testing.assert_allclose(at_px[:, 0], _hand_px(start, translation), atol=1e-3)
    assert (known[0] == 0.0).all() and (known[1:, 0, 1] == 0.0).all()
    R, t = fast_bone_transforms(start, JOINTS, translation, PARENTS)
    depth = -((R @ JOINTS[..., None])[..., 0] + t)[1:, HAND, 2].double().numpy()
    np.testing.assert_allclose(known[1:, 0, 0] ** -0.5, 600.0 * 0.01 / depth, rtol=1e-4)


def test_what_was_not_seen_is_not_held() -> None:
    human = (
        "hips",
        "head",
        "leftEye",
        "leftLowerArm",
        "leftHand",
        "rightHand",
        "leftIndexProximal",
        "rightIndexProximal",
    )
    rig = Rig(
        bone_names=human,
        bone_parents=(-1, 0, 1, 0, 3, 0, 4, 5),
        joints_rest_m=torch.zeros(len(human), 3),
        humanoid=dict(zip(human, human, strict=True)),
    )
    error = torch.ones(3, len(LIMBS))
    for limb in ("head", "left_hand", "right_arm"):
        error[1, LIMBS.index(limb)] = torch.nan
    trust = landmark_trust(rig, _track(error), torch.tensor([1, 2]))
    expected = {"head": 0.0, "leftEye": 0.0, "leftHand": 1.0, "rightHand": 0.0, "leftIndexProximal": 0.0}
    expected |= {"rightIndexProximal": 1.0, "hips": 0.0, "leftLowerArm": 0.0}
    assert dict(zip(human, trust[0].tolist(), strict=True)) == expected
    nobody_measured = _track(torch.zeros(3, 0)).replace(limb_names=())
    assert not landmark_trust(rig, nobody_measured, torch.tensor([1])).any()
    everywhere = {name: float(name not in ("hips", "leftLowerArm")) for name in human}
    assert dict(zip(human, trust[1].tolist(), strict=True)) == everywhere


def _track(limb_error_px: torch.Tensor) -> BodyTrack:
    frames = len(limb_error_px)
    return made_up_track(
        torch.zeros(frames, 8, 3), torch.zeros(3), torch.zeros(1), limb_names=LIMBS, limb_error_px=limb_error_px
    )
