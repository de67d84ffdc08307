"""Where the person may be in each frame, after the fitted body alone: nobody's masks are needed for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.render.mesh import rasterize_mesh

_RASTER_PX = 240
"""Longer side of the image that the body is drawn into."""


def body_cover(
    track: BodyTrack, body: BodyModel, *, margin: float = 0.06
) -> Callable[[int], Bool[ndarray, "height width"]]:
    """The fitted body's outline in each row of a track, widened, at the video's size.

    Args:
        track: The fitted body. Rows without a person are covered by nobody.
        body: Its model.
        margin: By how much the outline is widened, in parts of its own height: clothes, hair, an inexact pose.
    """
    import cv2

    shaped = body.with_shape(track.shape)
    shrink = min(1.0, _RASTER_PX / max(track.width_px, track.height_px))
    size = (max(1, round(track.width_px * shrink)), max(1, round(track.height_px * shrink)))
    whole = video_camera(track.width_px, track.height_px, track.focal_px)
    camera = whole.cropped(0, 0, (track.width_px, track.height_px), size)

    def cover(row: int) -> ndarray:
        if not bool(track.valid[row]):
            return np.zeros((track.height_px, track.width_px), bool)
        with torch.no_grad():
            pose = track.pose(row)
            vertices = shaped.with_pose(pose).vertices()
        seen = rasterize_mesh(vertices, body.faces, camera).mask.numpy().astype(np.uint8)
        lines = np.flatnonzero(seen.any(1))
        if len(lines):
            radius = max(1, round(margin * float(lines[-1] - lines[0] + 1)))
            seen = cv2.dilate(seen, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))
        full = cv2.resize(seen, (track.width_px, track.height_px), interpolation=cv2.INTER_NEAREST)
        return full.astype(bool)

    return cover
