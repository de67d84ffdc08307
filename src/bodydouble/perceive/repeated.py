"""The colour that repeats itself at a pixel over the frames of a camera that stands: the scene's, where nobody is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from bodydouble.perceive.repeated_kernels import repeated_colors
from bodydouble.render.threads import kernel_threads, run_kernel

_SHARE = 0.35
"""Of the frames: the interval of the scene's brightness must hold so many."""
_STABLE = 0.6
"""Share of agreeing frames from which the scene is believed to have been seen."""
LEAST = 4
"""Frames from which a pixel is surely seen."""
_KNOWN, _FIRM = 0.99, 0.6
_AROUND = 0.008


def repeated_color(
    colors: Float[np.ndarray, "frames height width 3"],
    usable: Bool[np.ndarray, "frames height width"],
    far: Bool[np.ndarray, "frames height width"],
    tolerance: float,
) -> tuple[Float[np.ndarray, "height width 3"], Float[np.ndarray, "height width"]]:
    """At each pixel the middle of the shortest interval that holds a good part of the observed brightness values.

    Args:
        colors: In [0, 1], exposure taken out.
        usable: Where nobody is thought to be.
        far: Where nobody can be; these frames decide alone where there are enough of them.
        tolerance: By how much the same colour may differ between frames.
    Returns:
        Colours, and how surely they are the scene's, in [0, 1]; 1 where enough frames agree.
    """
    height, width = usable.shape[1:]
    rgb, sure = np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)
    run_kernel(
        repeated_colors, kernel_threads(),
        np.ascontiguousarray(colors, np.float32), np.ascontiguousarray(usable), np.ascontiguousarray(far),
        _SHARE, _STABLE, LEAST, tolerance, rgb, sure,
    )  # fmt: skip
    return rgb, sure


def believed_around(seen: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """The scene is believed where it is around, too: hanging cloth repeats itself here and there by chance."""
    import cv2

    side = max(3, 2 * round(_AROUND * max(seen.shape)) + 1)
    share = cv2.blur((seen >= _KNOWN).astype(np.float32), (side, side))
    return np.where(share > _FIRM, seen, np.minimum(seen, 0.5)).astype(np.float32)
