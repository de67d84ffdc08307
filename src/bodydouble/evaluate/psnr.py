"""Peak signal-to-noise ratio. Images are sRGB in [0, 1]; every default that can move a figure is stated."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from bodydouble.core.errors import ShapeError

PSNR_CEILING_DB = 100.0
"""Identical images have no finite PSNR; they score this, so that means stay finite."""

ChannelMean = Literal["pooled", "channels"]
"""`pooled`: one mean squared error over all channels. `channels`: mean of the PSNRs of the channels."""


def psnr_db(
    image: Float[np.ndarray, "height width channels"],
    truth: Float[np.ndarray, "height width channels"],
    region: Bool[np.ndarray, "height width"] | None = None,
    *,
    channels: ChannelMean = "pooled",
) -> float:
    """Peak signal-to-noise ratio for a peak of 1, over the pixels in `region` (default: all).

    Args:
        image, truth: sRGB in [0, 1]; values of `image` outside are clipped first, as a screen would.
        region: Pixels that count.
        channels: Whether the squared errors or the PSNRs of the channels are averaged; the latter is never lower.
    Returns:
        10 log10(1 / MSE), dB, at most `PSNR_CEILING_DB`; NaN when the region is empty.
    """
    import cv2

    check_same_shape("psnr_db", image, truth)
    if region is not None:
        image, truth = image[region], truth[region]
    if image.size == 0:
        return float("nan")
    image = np.clip(image, 0.0, 1.0)
    if channels == "channels":
        error = np.square(image - truth).reshape(-1, image.shape[-1]).mean(axis=0, dtype=np.float64)
        return float(np.mean([mse_to_psnr_db(float(value)) for value in error]))
    return mse_to_psnr_db(cv2.norm(image, truth.astype(image.dtype, copy=False), cv2.NORM_L2SQR) / image.size)


def mse_to_psnr_db(mse: float) -> float:
    """PSNR in dB of a mean squared error of images in [0, 1], at most `PSNR_CEILING_DB`."""
    return float(-10.0 * np.log10(max(mse, 10.0 ** (-PSNR_CEILING_DB / 10.0))))


def differing_box(
    image: Float[np.ndarray, "height width channels"], truth: Float[np.ndarray, "height width channels"], margin_px: int
) -> tuple[slice, slice]:
    """Rows and columns of the box around all pixels that differ, wider by a margin on each side; empty where none does.

    Metrics of neighbourhoods know their value where two images are equal for as far as they look. Pictures of a person
    on a plain colour are equal nearly everywhere.
    """
    different = (image != truth).any(axis=-1)
    rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    (y0, y1), (x0, x1) = ((int(v[0]) - margin_px, int(v[-1]) + 1 + margin_px) for v in (rows, columns))
    return slice(max(y0, 0), min(y1, len(image))), slice(max(x0, 0), min(x1, image.shape[1]))


def check_same_shape(name: str, a: np.ndarray, b: np.ndarray) -> None:
    """Raise ShapeError unless both arrays have the same shape."""
    if a.shape != b.shape:
        raise ShapeError(
            f"{name}: both arrays must have the same shape, got {a.shape} and {b.shape}; resample one of them first."
        )
