"""How well facial actions follow the truth over time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from bodydouble.evaluate.psnr import check_same_shape

LEAST_RANGE = 0.1
"""An action whose true strength varies by less than this over the frames cannot be judged by correlation."""


def action_correlations(
    strengths: Float[np.ndarray, "frames actions"], truth: Float[np.ndarray, "frames actions"]
) -> Float[np.ndarray, " actions"]:
    """Pearson correlation over time of each action with its truth.

    Args:
        strengths, truth: In [0, 1].
    Returns:
        In [-1, 1]; 0 for an action that never moves though the truth does; NaN where the truth varies by less than
        `LEAST_RANGE`, so that there is nothing to correlate with.
    """
    check_same_shape("action_correlations", strengths, truth)
    found = np.full(truth.shape[1], np.nan)
    if len(truth) == 0:
        return found
    x, y = strengths.astype(np.float64), truth.astype(np.float64)
    judged = np.ptp(y, axis=0) >= LEAST_RANGE
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    products = (x * y).sum(axis=0)
    found[judged] = np.where(spread > 1e-9, products / np.maximum(spread, 1e-9), 0.0)[judged]
    return found


def action_errors(
    strengths: Float[np.ndarray, "frames actions"], truth: Float[np.ndarray, "frames actions"]
) -> Float[np.ndarray, " actions"]:
    """Mean absolute error of each action's strength, in [0, 1]."""
    check_same_shape("action_errors", strengths, truth)
    return np.abs(strengths.astype(np.float64) - truth).mean(axis=0)
