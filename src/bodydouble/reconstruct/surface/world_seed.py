"""Where the splats of a moving camera's world begin: pixels of some frames, as far away as the background points around."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from bodydouble.capture.camera_motion import CameraMotion
from bodydouble.core.cameras import Camera
from bodydouble.core.geometry import invert_rigid
from bodydouble.reconstruct.surface.world_splats import WorldSplats
from bodydouble.render.protocol import Rasterizer

_FAR = 5.0
"""Distance of everything where no point tells (a camera that only turns), in the unit of the world."""
_COVERED = 0.6
"""Opacity from which a place needs no more splats."""
_OPACITY = 0.8
_FEWEST_POINTS = 8


def seed_world(
    pictures: dict[int, UInt8[ndarray, "height width 3"]],
    open_: dict[int, Bool[ndarray, "height width"]],
    motion: CameraMotion,
    rasterizer: Rasterizer,
    *,
    step_px: float,
    most_splats: int,
) -> WorldSplats:
    """Splats that cover what the frames show, each frame adding what those before left open.

    Args:
        pictures: By row of the motion, shrunk alike.
        open_: Where each is surely background.
        motion: The cameras, in full pixels.
        rasterizer: Tells what is covered.
        step_px: Distance of splats in a picture.
        most_splats: At the most, all frames together.
    """
    means: list[Tensor] = []
    scales: list[Tensor] = []
    colors: list[Tensor] = []
    count = 0
    for row, rgb in pictures.items():
        camera = shrunk(motion.camera(row), rgb.shape[1], rgb.shape[0])
        free = open_[row].copy()
        if means:
            cloud = _plain(torch.cat(means), torch.cat(scales), torch.cat(colors)).cloud()
            with torch.no_grad():
                free &= (rasterizer(cloud, camera).alpha < _COVERED).numpy()
        xs, ys = np.arange(0.5 * step_px, rgb.shape[1], step_px), np.arange(0.5 * step_px, rgb.shape[0], step_px)
        x, y = (a.reshape(-1) for a in np.meshgrid(xs, ys))
        column, line = x.astype(int), y.astype(int)
        kept = free[line, column]
        if not kept.any() or count >= most_splats:
            continue
        x, y, column, line = x[kept], y[kept], column[kept], line[kept]
        depth = _depths(np.stack([x, y], axis=1), camera, motion)
        rays = torch.from_numpy(np.stack([x, y], axis=1)).float()
        rays = torch.cat([(rays - camera.center_px) / camera.focal_px, torch.ones(len(rays), 1)], dim=1)
        places = rays * torch.from_numpy(depth).float()[:, None]
        T = invert_rigid(camera.T_camera_world)
        means.append(places @ T[:3, :3].T + T[:3, 3])
        scales.append(torch.from_numpy(depth * 0.6 * step_px / float(camera.focal_px[0])).float())
        colors.append(torch.from_numpy(rgb[line, column].astype(np.float32) / 255.0))
        count += len(x)
    if not means:
        means, scales, colors = [torch.zeros(0, 3)], [torch.zeros(0)], [torch.zeros(0, 3)]
    splats = _plain(torch.cat(means)[:most_splats], torch.cat(scales)[:most_splats], torch.cat(colors)[:most_splats])
    return splats.replace(log_gains=torch.zeros(len(motion.frame_indices), 3))


def shrunk(camera: Camera, width_px: int, height_px: int) -> Camera:
    """The same view with fewer pixels."""
    return camera.cropped(0, 0, (camera.width_px, camera.height_px), (width_px, height_px))


def _plain(means: Tensor, scales: Tensor, colors: Tensor) -> WorldSplats:
    n = len(means)
    return WorldSplats(
        means_world=means,
        quats_wxyz=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
        log_scales=scales.clamp_min(1e-6).log()[:, None].repeat(1, 3),
        logit_opacities=torch.full((n,), float(np.log(_OPACITY / (1.0 - _OPACITY)))),
        colors=colors,
        log_gains=torch.zeros(0, 3),
    )


def _depths(xy_px: Float[ndarray, "n 2"], camera: Camera, motion: CameraMotion) -> Float[ndarray, " n"]:
    """Depth of pixels: the inverse depth of the points around, linear between them, that of the nearest beyond."""
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
    from scipy.spatial import QhullError

    at, depth = camera.project(motion.points_world.float())
    inside = (depth > 0.02 * _FAR) & (at > -0.1 * camera.width_px).all(1)
    inside &= (at[:, 0] < 1.1 * camera.width_px) & (at[:, 1] < 1.1 * camera.height_px)
    if int(inside.sum()) < _FEWEST_POINTS:
        return np.full(len(xy_px), _FAR)
    known, inverse = at[inside].double().numpy(), 1.0 / depth[inside].double().numpy()
    nearest = NearestNDInterpolator(known, inverse)(xy_px)
    try:
        between = LinearNDInterpolator(known, inverse)(xy_px)
    except QhullError:  # all on one line
        between = np.full(len(xy_px), np.nan)
    return 1.0 / np.where(np.isfinite(between), between, nearest)
