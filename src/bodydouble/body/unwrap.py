"""Texture coordinates for meshes that come without: every triangle its own place in a grid."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int

_MARGIN = 0.08
"""Kept free around each triangle, in cells, so that neighbours do not bleed into each other."""


def triangle_atlas(num_faces: int) -> tuple[Float[np.ndarray, "texcoords 2"], Int[np.ndarray, "faces 3"]]:
    """A valid unwrap of any mesh: two triangles share a square cell. Nothing overlaps, nothing is continuous.

    Returns:
        Coordinates in [0, 1] and the three that each face has.
    """
    cells = math.ceil(num_faces / 2)
    side = max(1, math.ceil(math.sqrt(cells)))
    m = _MARGIN
    lower = np.array([[m, m], [1 - 2.5 * m, m], [m, 1 - 2.5 * m]])
    corners = np.stack([lower, 1.0 - lower])
    face = np.arange(num_faces)
    cell = np.stack([face // 2 % side, face // 2 // side], 1)
    uv = (cell[:, None] + corners[face % 2]) / side
    return uv.reshape(-1, 2).astype(np.float32), np.arange(3 * num_faces).reshape(-1, 3)
