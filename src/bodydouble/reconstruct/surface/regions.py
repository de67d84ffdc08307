"""Where in a frame the bare body is, and how far from it everything else."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.core.cameras import video_camera
from bodydouble.render.mesh import rasterize_mesh


def bare_silhouette(
    vertices_world: Float[Tensor, "verts 3"],
    faces: Int[Tensor, "faces 3"],
    focal_px: float,
    size_px: tuple[int, int],
) -> tuple[Bool[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """The bare body's silhouette, and each pixel's distance from it as a length at the body's distance, metres.

    Args:
        vertices_world: Of the posed body, in the world of a fit.
        faces: Its triangles.
        focal_px: In pixels of this size.
        size_px: Width and height.
    """
    import cv2

    camera = video_camera(*size_px, focal_px)
    mask = rasterize_mesh(vertices_world, faces, camera).mask.numpy()
    depth = max(0.2, float(-vertices_world[:, 2].median()))
    if not mask.any():
        return mask, np.full(mask.shape, 1e3, np.float32)
    pixels = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
    return mask, (pixels * np.float32(depth / focal_px)).astype(np.float32)
