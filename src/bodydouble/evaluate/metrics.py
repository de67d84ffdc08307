"""Image and pose metrics on NumPy arrays. Images are sRGB in [0, 1]; every default that can move a figure is stated."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from bodydouble.core.errors import ShapeError

PSNR_CEILING_DB = 100.0
"""Identical images have no finite PSNR; they score this, so that means stay finite."""
SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
_SSIM_C1 = 0.01**2
_SSIM_C2 = 0.03**2


def psnr_db(
    image: Float[np.ndarray, "height width channels"],
    truth: Float[np.ndarray, "height width channels"],
    region: Bool[np.ndarray, "height width"] | None = None,
) -> float:
    """Peak signal-to-noise ratio for a peak of 1, over all channels of the pixels in `region` (default: all).

    Args:
        image, truth: sRGB in [0, 1]; values of `image` outside are clipped first, as a screen would.
        region: Pixels that count.
    Returns:
        10 log10(1 / MSE), dB, at most `PSNR_CEILING_DB`; NaN when the region is empty.
    """
    _check_same("psnr_db", image, truth)
    if region is not None:
        image, truth = image[region], truth[region]
    error = np.clip(image, 0.0, 1.0)
    error = np.subtract(error, truth, out=error)
    error = np.square(error, out=error)
    if error.size == 0:
        return float("nan")
    return mse_to_psnr_db(float(error.mean(dtype=np.float64)))


def mse_to_psnr_db(mse: float) -> float:
    """PSNR in dB of a mean squared error of images in [0, 1], at most `PSNR_CEILING_DB`."""
    return float(-10.0 * np.log10(max(mse, 10.0 ** (-PSNR_CEILING_DB / 10.0))))


def ssim_map(
    image: Float[np.ndarray, "height width 3"], truth: Float[np.ndarray, "height width 3"]
) -> Float[np.ndarray, "height width"]:
    """Structural similarity of every pixel, mean of the three channels.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, eq. 13: Gaussian
    window of 11x11 px with sigma 1.5 px normalised to 1, population (not sample) covariances, K1 = 0.01, K2 = 0.03,
    data range 1. At the border the image is mirrored about its edge pixels, so that the map is as large as the image.

    Args:
        image, truth: sRGB in [0, 1]; values of `image` outside are clipped first.
    Returns:
        Values in [-1, 1], 1 where the neighbourhoods are equal.
    """
    _check_same("ssim_map", image, truth)
    x = np.clip(image, 0.0, 1.0).astype(np.float32)
    y = truth.astype(np.float32)
    mu_x, mu_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mu_x * mu_x
    var_y = _blur(y * y) - mu_y * mu_y
    cov = _blur(x * y) - mu_x * mu_y
    numerator = (2.0 * mu_x * mu_y + _SSIM_C1) * (2.0 * cov + _SSIM_C2)
    denominator = (mu_x * mu_x + mu_y * mu_y + _SSIM_C1) * (var_x + var_y + _SSIM_C2)
    return (numerator / denominator).mean(axis=-1)


def ssim(
    image: Float[np.ndarray, "height width 3"],
    truth: Float[np.ndarray, "height width 3"],
    region: Bool[np.ndarray, "height width"] | None = None,
) -> float:
    """Mean of `ssim_map` over the pixels in `region` (default: all); NaN when the region is empty."""
    values = ssim_map(image, truth)
    if region is not None:
        values = values[region]
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")


def mask_iou(a: Bool[np.ndarray, "height width"], b: Bool[np.ndarray, "height width"]) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    _check_same("mask_iou", a, b)
    union = int(np.logical_or(a, b).sum())
    return float(np.logical_and(a, b).sum() / union) if union else 1.0


def mpjpe_m(joints: Float[np.ndarray, "*batch joints 3"], truth: Float[np.ndarray, "*batch joints 3"]) -> float:
    """Mean per-joint position error, metres, without any alignment."""
    _check_same("mpjpe_m", joints, truth)
    return float(np.linalg.norm(joints - truth, axis=-1).mean())


def pa_mpjpe_m(joints: Float[np.ndarray, "*batch joints 3"], truth: Float[np.ndarray, "*batch joints 3"]) -> float:
    """Mean per-joint position error, metres, after the best similarity transform of each set of joints.

    Rotation, uniform scale and translation minimise the squared error per batch element (Umeyama, 1991); mirrored
    solutions are excluded.
    """
    _check_same("pa_mpjpe_m", joints, truth)
    source = joints.reshape(-1, *joints.shape[-2:]).astype(np.float64)
    target = truth.reshape(source.shape).astype(np.float64)
    aligned = np.stack([_similarity_aligned(s, t) for s, t in zip(source, target, strict=True)])
    return float(np.linalg.norm(aligned - target, axis=-1).mean())


def _similarity_aligned(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    mean_s, mean_t = source.mean(axis=0), target.mean(axis=0)
    s, t = source - mean_s, target - mean_t
    spread = float((s * s).sum())
    if spread < 1e-12:
        return np.broadcast_to(mean_t, source.shape)
    U, D, Vt = np.linalg.svd(t.T @ s)
    sign = np.ones(3)
    sign[-1] = np.sign(np.linalg.det(U) * np.linalg.det(Vt)) or 1.0
    R = (U * sign) @ Vt
    scale = float((D * sign).sum()) / spread
    return scale * s @ R.T + mean_t


def _blur(image: np.ndarray) -> np.ndarray:
    import cv2

    offsets = np.arange(SSIM_WINDOW_PX) - SSIM_WINDOW_PX // 2
    taps = np.exp(-0.5 * (offsets / SSIM_SIGMA_PX) ** 2)
    taps /= taps.sum()
    return cv2.sepFilter2D(image, cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REFLECT_101)


def _check_same(name: str, a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ShapeError(
            f"{name}: both arrays must have the same shape, got {a.shape} and {b.shape}; resample one of them first."
        )
