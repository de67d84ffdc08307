"""Compiling all kernels before they are needed, and saying so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from bodydouble.core.cameras import video_camera
from bodydouble.core.events import Progress
from bodydouble.render.protocol import SplatCloud

STAGE = "compile kernels"


def warm_up(emit: Callable[[Progress], None] = lambda progress: None) -> None:
    """Compile every kernel of this room, or load it from the cache; the first time takes some 20 seconds.

    Args:
        emit: Told about the progress, in kernel groups.
    """
    groups = (_rasterizer, _mesh, _loss, _skin, _adam)
    for done, group in enumerate(groups):
        emit(Progress(stage=STAGE, done=done, total=len(groups), unit="kernel groups"))
        group()
    emit(Progress(stage=STAGE, done=len(groups), total=len(groups), unit="kernel groups"))


def _rasterizer() -> None:
    from bodydouble.render.cpu import CpuRasterizer

    splats = SplatCloud(
        means_world=torch.tensor([[0.0, 0.0, -2.0]], requires_grad=True),
        quats_wxyz=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales_m=torch.full((1, 3), 0.1),
        opacities=torch.full((1,), 0.5),
        sh=torch.zeros(1, 1, 3),
    )
    image = CpuRasterizer()(splats, video_camera(8, 8, 8.0))
    (image.rgb.sum() + image.alpha.sum() + image.depth.sum()).backward()


def _mesh() -> None:
    from bodydouble.render.mesh import rasterize_mesh

    triangle = torch.tensor([[-1.0, -1.0, -2.0], [1.0, -1.0, -2.0], [0.0, 1.0, -2.0]])
    rasterize_mesh(triangle, torch.tensor([[0, 1, 2]]), video_camera(8, 8, 8.0))


def _loss() -> None:
    from bodydouble.render.losses import photometric_loss

    photometric_loss(torch.zeros(8, 8, 3, requires_grad=True), torch.zeros(8, 8, 3)).total.backward()


def _skin() -> None:
    from bodydouble.render.skin import skin_splats

    means = torch.zeros(1, 3, requires_grad=True)
    joints, weights = torch.zeros(1, 4, dtype=torch.int32), torch.full((1, 4), 0.25)
    moved, turned = skin_splats(means, torch.ones(1, 4), torch.eye(3)[None], torch.zeros(1, 3), joints, weights)
    (moved.sum() + turned.sum()).backward()


def _adam() -> None:
    from bodydouble.render.adam import adam_step, zero_moments

    parameter = torch.zeros(1)
    adam_step(parameter, torch.from_numpy(np.zeros(1, dtype=np.float32)), zero_moments(parameter), step=1, lr=0.0)
