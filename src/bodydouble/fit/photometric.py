"""Poses by Gauss-Newton on the pictures themselves: the avatar is rendered, and the difference to the frame says where
each visible part of it should move. A handful of renders a frame does what hundreds of gradient steps do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from bodydouble.avatar.values import Splats
from bodydouble.capture.crops import PersonCrop, half_size
from bodydouble.fit.photometric_kernels import image_pulls, window_cover
from bodydouble.fit.pose_problem import GRAY, PoseProblem, frame_over_gray, pack_camera, visible_points
from bodydouble.render.protocol import Rasterizer
from bodydouble.render.threads import kernel_threads, run_kernel, side_by_side


class _Level:
    """The crops at one size, each with its own visible points and the best pose met so far."""

    def __init__(self, problem: PoseProblem, splats: Splats, halvings: int) -> None:
        self.problem, self.splats = problem, splats
        self.crops: list[PersonCrop] = list(problem.crops)
        for _ in range(halvings):
            self.crops = [half_size(crop) for crop in self.crops]
        self.cameras = np.stack([pack_camera(crop) for crop in self.crops])
        frames, count, k = len(self.crops), problem.config.sweep_points, splats.joints.shape[1]
        self.joints_all, self.weights_all = splats.joints.long().numpy(), splats.weights.double().numpy()
        self.points = np.zeros((frames, count, 3))
        self.joints = np.zeros((frames, count, k), np.int64)
        self.weights = np.zeros((frames, count, k))
        self.targets_px = np.zeros((frames, count, 2))
        self.information = np.zeros((frames, count, 3))
        self.error = np.full(frames, np.inf)
        """Mean squared colour difference at the best pose."""
        self.rotvecs, self.translation = problem.rotvecs.clone(), problem.translation.clone()
        self.damping = np.full(frames, 0.01)

    def look(self, f: int, rasterizer: Rasterizer, *, pull: bool) -> None:
        """Render a frame; keep its pose if it is better than the best so far and, with `pull`, ask where to go next."""
        crop, config = self.crops[f], self.problem.config
        with torch.no_grad():
            dressed, cloud = self.problem.posed(self.splats, f)
            image = rasterizer(cloud, crop.camera, GRAY)
        target = frame_over_gray(crop)
        render = crop.agreeing_beyond(image.pixels(), target)
        error = float(((render - target) ** 2).mean())
        if error >= self.error[f]:
            self.damping[f] = max(self.damping[f], 0.05) * 6.0
            return
        self.error[f], self.damping[f] = error, self.damping[f] / 4.0
        self.rotvecs[f], self.translation[f] = self.problem.rotvecs[f], self.problem.translation[f]
        if not pull:
            return
        chosen, at_px = visible_points(cloud, image, crop, config.sweep_points)
        n = len(chosen)
        self.points[f, :n] = dressed.means_rest_m.numpy()[chosen]
        self.joints[f, :n] = self.joints_all[chosen]
        self.weights[f, :n] = self.weights_all[chosen]
        self.information[f] = 0.0
        pull_points(
            render, target, at_px.astype(np.float64), config.window_px, self.targets_px[f], self.information[f]
        )  # fmt: skip
        self.information[f] /= config.color_sigma**2


def pull_points(
    render: np.ndarray,
    frame: np.ndarray,
    points_px: np.ndarray,
    radius_px: float,
    targets_out: np.ndarray,
    information_out: np.ndarray,
) -> None:
    """`image_pulls` of some points on all threads; arguments as there."""
    cover = np.zeros(render.shape[:2], np.float32)
    window_cover(points_px, radius_px, cover)
    run_kernel(image_pulls, kernel_threads(), render, frame, points_px, radius_px, cover, targets_out, information_out)


def align_photometrically(
    problem: PoseProblem,
    splats: Splats,
    rasterizer: Rasterizer,
    progress: Callable[[int], None] | None = None,
    settle: Callable[[], None] | None = None,
) -> np.ndarray:
    """Move all poses of `problem` in place towards their frames; none ends with a larger squared error than it began.

    Returns:
        Root mean squared colour difference over each crop at the best pose met.
    """
    config = problem.config
    error = np.zeros(len(problem.crops))
    for halvings in sorted(set(config.sweeps), reverse=True):
        level = _Level(problem, splats, halvings)
        problem.cameras = level.cameras
        sweeps = config.sweeps.count(halvings)
        for sweep in range(sweeps + 1):
            last = sweep == sweeps
            side_by_side(partial(level.look, rasterizer=rasterizer, pull=not last), len(problem.crops), progress)
            problem.rotvecs.copy_(level.rotvecs)
            problem.translation.copy_(level.translation)
            if not last:
                problem.step(
                    level.points, level.joints, level.weights, level.targets_px, level.information, rho_px=1e6,
                    damping=level.damping,
                )  # fmt: skip
        error = level.error
        if settle is not None and halvings > min(config.sweeps):
            settle()
    problem.cameras = np.stack([pack_camera(crop) for crop in problem.crops])
    return np.sqrt(error)
