"""Structural similarity, in the variants that published figures were made with, and over several scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from bodydouble.core.errors import ShapeError
from bodydouble.evaluate.psnr import check_same_shape, differing_box

_K1, _K2 = 0.01, 0.03
_MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality assessment", 2003, section 4."""


@dataclass(frozen=True, kw_only=True)
class SsimVariant:
    """Everything that two programs may disagree about when both say SSIM."""

    window: Literal["gaussian", "uniform"]
    window_px: int
    sigma_px: float
    """Of the Gaussian window; a uniform window has none (0)."""
    covariance: Literal["population", "sample"]
    """Whether variances are divided by the number of pixels of the window or by one less."""
    border: Literal["mirror", "zero", "inside"]
    """How windows that leave the image are filled: mirrored about the edge pixel, with zeros; or they do not count."""
    value_range: float
    """L in the constants (0.01 L)^2 and (0.03 L)^2. Images in [0, 1] have 1; anything else is a slip of the source."""

    def describe(self) -> str:
        """The variant in words."""
        if self.window == "gaussian":
            window = f"Gaussian window {self.window_px} px, sigma {self.sigma_px:g} px"
        else:
            window = f"uniform window {self.window_px} px, sigma {self.sigma_px:g} px (unused)"
        border = {"mirror": "mirrored border", "zero": "zeros beyond the border", "inside": "whole windows only"}
        return (
            f"{window}, {self.covariance} covariances, {border[self.border]}, K1 {_K1:g}, K2 {_K2:g}, "
            f"value range {self.value_range:g} for images in [0, 1], mean of the channels"
        )


SSIM_OURS = SsimVariant(
    window="gaussian", window_px=11, sigma_px=1.5, covariance="population", border="mirror", value_range=1.0
)
"""Wang et al. 2004, with a map as large as the image, so that regions can be cut from it."""
SSIM_TORCHMETRICS = SsimVariant(
    window="gaussian", window_px=11, sigma_px=1.5, covariance="population", border="inside", value_range=1.0
)
"""torchmetrics' StructuralSimilarityIndexMeasure(data_range=1)."""
SSIM_ZERO_PADDED = SsimVariant(
    window="gaussian", window_px=11, sigma_px=1.5, covariance="population", border="zero", value_range=1.0
)
"""The convolution with zero padding that 3D Gaussian splatting and its descendants use as loss and as metric."""
SSIM_SKIMAGE_RANGE_2 = SsimVariant(
    window="uniform", window_px=7, sigma_px=0.0, covariance="sample", border="inside", value_range=2.0
)
"""scikit-image's structural_similarity on floats without data_range, which older versions took for [-1, 1]: figures come
out higher than with the right range."""


def ssim_map(
    image: Float[np.ndarray, "height width 3"],
    truth: Float[np.ndarray, "height width 3"],
    variant: SsimVariant = SSIM_OURS,
) -> Float[np.ndarray, "rows columns"]:
    """Structural similarity of every pixel, mean of the three channels.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, eq. 13.

    Args:
        image, truth: sRGB in [0, 1]; values of `image` outside are clipped first.
        variant: Window, covariances, border and constants.
    Returns:
        Values in [-1, 1], 1 where the neighbourhoods are equal; of the image's size, or smaller by the window's margin
        where only whole windows count.
    Raises:
        ShapeError: When the sizes differ, or only whole windows count and none fits.
    """
    luminance, structure = _comparison_maps(image, truth, variant)
    return (luminance * structure).mean(axis=-1)


def ssim(
    image: Float[np.ndarray, "height width 3"],
    truth: Float[np.ndarray, "height width 3"],
    region: Bool[np.ndarray, "height width"] | None = None,
    variant: SsimVariant = SSIM_OURS,
) -> float:
    """Mean of `ssim_map` over the pixels in `region` (default: all); NaN when the region is empty."""
    values = ssim_map(image, truth, variant)
    if region is not None:
        if variant.border == "inside":
            m = variant.window_px // 2
            region = region[m : region.shape[0] - m, m : region.shape[1] - m]
        values = values[region]
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")


def ms_ssim(image: Float[np.ndarray, "height width 3"], truth: Float[np.ndarray, "height width 3"]) -> float:
    """Multi-scale structural similarity: five scales, each half as large as the one before.

    Wang, Simoncelli, Bovik, 2003, eq. 7, with the paper's weights. Per channel and scale the mean of the contrast and
    structure term over whole windows (Gaussian 11 px, sigma 1.5 px); luminance at the coarsest scale only; negative
    means count as 0; images are halved by averaging 2 x 2 px (an odd last row or column is dropped); mean of channels.

    Args:
        image, truth: sRGB in [0, 1]; values of `image` outside are clipped first.
    Raises:
        ShapeError: When the shorter side has less than 176 px: the coarsest scale would not hold a window.
    """
    check_same_shape("ms_ssim", image, truth)
    shortest = SSIM_TORCHMETRICS.window_px * 2 ** (len(_MS_WEIGHTS) - 1)
    if min(image.shape[:2]) < shortest:
        raise ShapeError(
            f"ms_ssim: the shorter side must have at least {shortest} px, got {image.shape[0]} x {image.shape[1]}; "
            "enlarge both images or use ssim."
        )
    x, y = np.clip(image, 0.0, 1.0).astype(np.float64), truth.astype(np.float64)
    product = np.ones(image.shape[-1])
    for scale, weight in enumerate(_MS_WEIGHTS):
        luminance, structure = _comparison_maps(x, y, SSIM_TORCHMETRICS)
        last = scale == len(_MS_WEIGHTS) - 1
        means = (luminance * structure if last else structure).mean(axis=(0, 1))
        product *= np.maximum(means, 0.0) ** weight
        x, y = _halved(x), _halved(y)
    return float(product.mean())


def _comparison_maps(image: np.ndarray, truth: np.ndarray, variant: SsimVariant) -> tuple[np.ndarray, np.ndarray]:
    """Luminance term, and contrast times structure, per pixel and channel."""
    check_same_shape("ssim", image, truth)
    if variant.border == "inside" and min(image.shape[:2]) < variant.window_px:
        raise ShapeError(
            f"ssim: a window of {variant.window_px} px does not fit into {image.shape[0]} x {image.shape[1]} px; "
            "use a variant with a mirrored border."
        )
    image = np.clip(image, 0.0, 1.0)
    half = variant.window_px // 2
    cut = 2 * half if variant.border == "inside" else 0
    luminance = np.ones((image.shape[0] - cut, image.shape[1] - cut, image.shape[2]))
    structure = luminance.copy()
    # Windows without any difference compare as 1, whatever they hold. One margin is for the windows that see a
    # difference, one for the windows' own size: what is assumed beyond the cut then meets equal pixels only.
    rows, columns = differing_box(image, truth, 2 * half)
    if rows.start == rows.stop:
        return luminance, structure
    x, y = image[rows, columns].astype(np.float64), truth[rows, columns].astype(np.float64)
    mu_x, mu_y = _window_mean(x, variant), _window_mean(y, variant)
    count = variant.window_px**2
    unbias = count / (count - 1) if variant.covariance == "sample" else 1.0
    mu_2, mu_xy = mu_x * mu_x + mu_y * mu_y, mu_x * mu_y
    variances = unbias * (_window_mean(x * x + y * y, variant) - mu_2)
    cov = unbias * (_window_mean(x * y, variant) - mu_xy)
    c1, c2 = (_K1 * variant.value_range) ** 2, (_K2 * variant.value_range) ** 2
    at = slice(rows.start, rows.stop - cut), slice(columns.start, columns.stop - cut)
    luminance[at] = (2.0 * mu_xy + c1) / (mu_2 + c1)
    structure[at] = (2.0 * cov + c2) / (variances + c2)
    return luminance, structure


def _window_mean(image: np.ndarray, variant: SsimVariant) -> np.ndarray:
    import cv2

    if variant.window == "gaussian":
        offsets = np.arange(variant.window_px) - variant.window_px // 2
        taps = np.exp(-0.5 * (offsets / variant.sigma_px) ** 2)
    else:
        taps = np.ones(variant.window_px)
    taps /= taps.sum()
    fill = cv2.BORDER_CONSTANT if variant.border == "zero" else cv2.BORDER_REFLECT_101
    mean = cv2.sepFilter2D(image, -1, taps, taps, borderType=fill)
    if variant.border == "inside":
        m = variant.window_px // 2
        mean = mean[m : mean.shape[0] - m, m : mean.shape[1] - m]
    return mean


def _halved(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).mean(axis=(1, 3))
