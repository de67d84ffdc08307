"""Temporal flicker: change from frame to frame that the filmed person did not show."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from bodydouble.evaluate.psnr import check_same_shape


def flicker(
    before: Float[np.ndarray, "height width 3"],
    image: Float[np.ndarray, "height width 3"],
    truth_before: Float[np.ndarray, "height width 3"],
    truth: Float[np.ndarray, "height width 3"],
    region: Bool[np.ndarray, "height width"] | None = None,
) -> float:
    """Mean absolute error of the change between two successive frames.

    For prediction P and truth T at frames t - 1 and t: mean of |(P_t - P_t-1) - (T_t - T_t-1)| over the three channels
    of the pixels in `region`. A constant error of colour or shape costs nothing while the person stands still; shimmer
    and jumps do. Noise of the truth itself sets a floor.

    Args:
        before, image: Prediction at t - 1 and t, sRGB in [0, 1].
        truth_before, truth: The frames.
        region: Pixels that count (default: all).
    Returns:
        In [0, 2]; NaN when the region is empty.
    """
    check_same_shape("flicker", image, truth)
    check_same_shape("flicker", before, truth_before)
    error = np.abs((image - before) - (truth - truth_before))
    if region is not None:
        error = error[region]
    return float(error.mean(dtype=np.float64)) if error.size else float("nan")
