"""Photometric alignment: windows find known shifts, and poses find back to the pictures they made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.values import Avatar, Provenance, Rig, Splats
from bodydouble.body.protocol import Pose
from bodydouble.capture.crops import PersonCrop
from bodydouble.core.cameras import video_camera
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.fit.photometric import align_photometrically, pull_points
from bodydouble.fit.pose_problem import GRAY, PoseProblem, RegisterConfig
from bodydouble.render.select import make_rasterizer

SIZE = 128
NAMES = ("root", "spine", "arm_l", "arm_r")
PARENTS = (-1, 0, 1, 1)
JOINTS = torch.tensor([[0.0, 0.6, 0.0], [0.0, 1.0, 0.0], [0.2, 1.3, 0.0], [-0.2, 1.3, 0.0]])
RIG = Rig(
    bone_names=NAMES,
    bone_parents=PARENTS,
    joints_rest_m=JOINTS,
    humanoid=dict(zip(("hips", "spine", "leftUpperArm", "rightUpperArm"), NAMES, strict=True)),
)
ENDS = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.4, 0.0], [0.75, 1.3, 0.0], [-0.75, 1.3, 0.0]])
"""Where each bone's limb ends."""


def _smooth_picture(seed: int, height: int, width: int, at: tuple[float, float]) -> np.ndarray:
    """A sum of a few waves, sampled with its origin at `at`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] + 0.5
    out = np.zeros((height, width, 3))
    for _ in range(6):
        fx, fy = rng.uniform(-0.4, 0.4, 2)
        phase = fx * (x - at[0]) + fy * (y - at[1])
        out += rng.uniform(0, 0.08, 3) * np.sin(phase + rng.uniform(0, 6))[..., None]
    return (out + 0.5).astype(np.float32)


@pytest.mark.parametrize("shift", [(0.3, 0.0), (0.0, -0.4), (0.5, 0.6)])
def test_windows_find_a_small_shift(shift: tuple[float, float]) -> None:
    render, frame = _smooth_picture(1, 40, 50, (0.0, 0.0)), _smooth_picture(1, 40, 50, shift)
    points = np.stack(np.meshgrid(np.arange(10.0, 40.0, 5.0), np.arange(10.0, 30.0, 5.0)), -1).reshape(-1, 2)
    target, information = np.zeros_like(points), np.zeros((len(points), 3))
    pull_points(render, frame, points, 4.5, target, information)
    found = np.median(target - points, axis=0)
    np.testing.assert_allclose(found, shift, atol=0.05)
    assert (information[:, [0, 2]] > 0).all()
    assert (information[:, 1] ** 2 <= information[:, 0] * information[:, 2] + 1e-9).all()


def test_an_edge_says_nothing_along_itself() -> None:
    render = np.zeros((30, 30, 3), np.float32)
    render[:, :15] = 0.8
    target, information = np.zeros((1, 2)), np.zeros((1, 3))
    pull_points(render, np.roll(render, 1, axis=1), np.array([[15.0, 15.0]]), 4.5, target, information)
    assert information[0, 0] > 0.1
    assert abs(information[0, 2]) < 1e-6
    assert target[0, 0] > 15.3
    assert abs(target[0, 1] - 15.0) < 1e-6


def _splats(seed: int) -> Splats:
    """Four limbs of coloured splats, each on one bone."""
    generator = torch.Generator().manual_seed(seed)
    per_bone = 220
    bones = torch.arange(4).repeat_interleave(per_bone)
    along = torch.rand(len(bones), 1, generator=generator)
    around = 0.05 * torch.randn(len(bones), 3, generator=generator)
    means = JOINTS[bones] * (1 - along) + ENDS[bones] * along + around
    joints = torch.zeros(len(bones), 4, dtype=torch.long)
    joints[:, 0] = bones
    return Splats(
        means_rest_m=means,
        quats_wxyz=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(bones), 1),
        scales_m=torch.full((len(bones), 3), 0.02),
        opacities=torch.full((len(bones),), 0.9),
        sh=torch.sin(means * torch.tensor([17.0, 13.0, 11.0]))[:, None] * 1.2,  # smooth: neighbours look alike
        joints=joints,
        weights=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(bones), 1),
        seen=torch.ones(len(bones)),
    )


def _crops(splats: Splats, rotvecs: torch.Tensor, translation: torch.Tensor) -> list[PersonCrop]:
    camera = video_camera(SIZE, SIZE, 150.0)
    crops = []
    for f in range(len(rotvecs)):
        avatar = Avatar(rig=RIG, mesh=None, splats=splats, provenance=Provenance(generator="test"))
        cloud = pose_avatar(avatar, Pose(rotvecs=rotvecs[f], translation_world_m=translation[f])).splats
        assert cloud is not None
        image = make_rasterizer("cpu")(cloud, camera, GRAY)
        rgb = (image.rgb.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
        mask = np.full((SIZE, SIZE), 255, np.uint8)
        crops.append(PersonCrop(frame_index=f, rgb=rgb, mask=mask, camera=camera, x0_px=0, y0_px=0, side_px=SIZE))
    return crops


def _problem(seed: int, noise_rad: float) -> tuple[PoseProblem, Splats, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    splats = _splats(seed)
    frames = 3
    truth = 0.15 * torch.randn(frames, 4, 3, generator=generator)
    translation = torch.tensor([[0.0, -1.0, -2.0]]).repeat(frames, 1)
    crops = _crops(splats, truth, translation)
    start = truth + noise_rad * torch.randn(frames, 4, 3, generator=generator)
    config = RegisterConfig(
        rotation_sigma_rad=1.0, translation_sigma_m=1.0, neighbour_sigma_rad=50.0, sweeps=(1, 1, 1, 0, 0, 0, 0)
    )
    moved = translation + 0.02 * torch.randn(frames, 3, generator=generator)
    return PoseProblem(RIG, crops, np.arange(frames) / 30.0, start, moved, config), splats, truth, translation


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_poses_find_back_to_their_pictures(seed: int) -> None:
    problem, splats, truth, translation = _problem(seed, 0.04)
    error = align_photometrically(problem, splats, make_rasterizer("cpu"))
    between = rotvec_to_matrix(problem.rotvecs) @ rotvec_to_matrix(truth).transpose(-1, -2)
    assert float(matrix_to_rotvec(between).norm(dim=-1).max()) < 0.015
    assert float((problem.translation - translation).norm(dim=-1).max()) < 0.006
    assert (error < 0.01).all()


def test_no_frame_ends_worse_than_it_began() -> None:
    """Started far off, where linear steps mislead: the best pose met is kept."""
    problem, splats, _, _ = _problem(3, 0.8)
    rasterizer = make_rasterizer("cpu")

    def errors() -> np.ndarray:
        found = []
        for f, crop in enumerate(problem.crops):
            image = rasterizer(problem.posed(splats, f)[1], crop.camera, GRAY)
            found.append(float(((image.rgb.numpy() - crop.rgb / 255.0) ** 2).mean()))
        return np.array(found)

    before = errors()
    problem.config = RegisterConfig(sweeps=(0, 0, 0, 0))
    align_photometrically(problem, splats, rasterizer)
    assert (errors() <= before + 1e-9).all()


def _cut_off(crop: PersonCrop, rows: int, *, known: bool) -> PersonCrop:
    """The same, but the video ended above the lowest rows."""
    rgb, mask, beyond = crop.rgb.copy(), crop.mask.copy(), np.zeros((SIZE, SIZE), bool)
    rgb[-rows:], mask[-rows:], beyond[-rows:] = 0, 0, True
    return replace(crop, rgb=rgb, mask=mask, beyond=beyond if known else None)


def test_what_lies_beyond_the_image_pulls_no_pose() -> None:
    drift_m = {}
    for known in (True, False):
        problem, splats, _, translation = _problem(1, 0.0)
        problem.translation.copy_(translation)
        lowest = max(np.flatnonzero((crop.rgb != 128).any((1, 2)))[-1] for crop in problem.crops)
        problem.crops = [_cut_off(crop, SIZE - int(lowest) + 12, known=known) for crop in problem.crops]
        align_photometrically(problem, splats, make_rasterizer("cpu"))
        drift_m[known] = float((problem.translation - translation).norm(dim=-1).max())
    assert drift_m[True] < 0.002 < drift_m[False]


def test_centring_takes_what_all_frames_share() -> None:
    """A turn common to all frames goes; what differs between them stays."""
    problem, _, _, _ = _problem(0, 0.0)
    own = torch.tensor([[-0.05], [0.0], [0.05]])
    shared = torch.tensor([0.0, 0.1, 0.0])
    for f in range(3):
        turn = rotvec_to_matrix(shared + torch.tensor([0.0, 1.0, 0.0]) * own[f])
        problem.rotvecs[f, 2] = matrix_to_rotvec(turn @ rotvec_to_matrix(problem.rotvecs[f, 2]))
    problem.centre()
    left = problem.deviation()[:, 6:9]
    np.testing.assert_allclose(left, own.numpy() * np.array([[0.0, 1.0, 0.0]]), atol=1e-4)
    np.testing.assert_allclose(np.delete(problem.deviation(), [6, 7, 8], axis=1), 0.0, atol=1e-4)
