"""Where in a frame the person could be."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.core.cameras import video_camera
from bodydouble.reconstruct.surface.frames import VideoFrames
from bodydouble.render.mesh import rasterize_mesh

_COARSER = 4


def person_region(
    vertices_world: Float[Tensor, "verts 3"],
    faces: Int[Tensor, "faces 3"],
    focal_px: float,
    frames: VideoFrames,
    band_m: float,
) -> Bool[np.ndarray, "height width"]:
    """The body's silhouette, grown by the width of the band as it appears at the body's distance.

    Args:
        vertices_world: Of the posed body, in the world of a fit.
        faces: Its triangles.
        focal_px: In pixels of the frames' working size.
        frames: Tell that size.
        band_m: How far the person may reach beyond the bare body.
    """
    import cv2

    width, height = math.ceil(frames.width / _COARSER), math.ceil(frames.height / _COARSER)
    camera = video_camera(width, height, focal_px / _COARSER).replace(
        center_px=torch.tensor([frames.width / 2.0, frames.height / 2.0]) / _COARSER
    )
    mask = rasterize_mesh(vertices_world, faces, camera).mask.numpy().astype(np.uint8)
    distance = float(-vertices_world[:, 2].median())
    reach = max(1, math.ceil(band_m * focal_px / _COARSER / max(distance, 0.2)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    grown = cv2.dilate(mask, kernel)
    whole = np.repeat(np.repeat(grown, _COARSER, axis=0), _COARSER, axis=1)
    return whole[: frames.height, : frames.width] > 0
