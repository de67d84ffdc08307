"""Value noise in space: the grain of cloth, skin, wood and hair."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def noise_at(points: Float[ndarray, "n 3"]) -> Float[ndarray, " n"]:
    """Smooth, repeatable noise in [-1, 1] with features of unit size; scale the points to choose their size."""
    from bodydouble.synth.noise_kernels import fill

    out = np.empty(len(points))
    fill(np.ascontiguousarray(points, np.float64), out)
    return out
