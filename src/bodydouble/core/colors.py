"""Colour values: what screens are given, and the light that comes out (IEC 61966-2-1)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def srgb_to_linear(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """sRGB values in [0, 1] to linear light."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Linear light in [0, 1] to sRGB values."""
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * np.maximum(values, 0.0031308) ** (1 / 2.4) - 0.055)
