"""Pairs of images from closed formulas, so that other programs can be given exactly the same ones."""

from __future__ import annotations

import numpy as np


def image_pair(seed: int, height: int = 208, width: int = 176) -> tuple[np.ndarray, np.ndarray]:
    """A distorted image and its truth: float32 in [0, 1], all values multiples of 1/255."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    truth = 0.5 + 0.4 * np.stack(
        [np.sin(x / 7 + seed) * np.cos(y / 11), np.sin((x + y) / 13 + 2 * seed), np.cos(x / 5 - y / 17 + seed)], axis=-1
    )
    error = np.stack([np.sin(x * y / 300 + seed), np.cos(x / 3) * np.sin(y / 4), np.sin(x / 29 + seed)], axis=-1)
    image = np.clip(truth + 0.15 * error, 0.0, 1.0)
    image[60:100, 50:90] = (0.9, 0.2, 0.1)
    image[::40] = 0.0
    return _eight_bits(image), _eight_bits(truth)


def _eight_bits(values: np.ndarray) -> np.ndarray:
    return (np.round(values * 255.0) / 255.0).astype(np.float32)
