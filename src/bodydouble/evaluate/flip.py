"""FLIP: how visible the difference of two images is when one flips between them on a screen.

Andersson, Nilsson, Akenine-Moeller, Oskarsson, Astroem, Fairchild, "FLIP: a difference evaluator for alternating
images", 2020 (the LDR version). Section and equation numbers below are the paper's.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from bodydouble.core.colors import srgb_to_linear
from bodydouble.core.errors import ConfigError
from bodydouble.evaluate.psnr import check_same_shape, differing_box

FLIP_PIXELS_PER_DEGREE = 67.0
"""The paper's default: a 4K screen 0.7 m wide, seen from 0.7 m."""

_CSF = {
    "achromatic": ((1.0, 0.0047), (0.0, 1e-5)),
    "red-green": ((1.0, 0.0053), (0.0, 1e-5)),
    "blue-yellow": ((34.1, 0.04), (13.5, 0.025)),
}
"""Table 1: weights a and widths b (degrees^2) of the two Gaussians of each contrast sensitivity filter."""
_LARGEST_WIDTH = 0.04
_COLOR_EXPONENT, _FEATURE_EXPONENT = 0.7, 0.5
_COMPRESS_FROM, _COMPRESS_TO = 0.4, 0.95
"""Section 4.1.3: errors below 0.4 of the largest are spread over [0, 0.95], the rest over [0.95, 1]."""
_FEATURE_WIDTH_DEG = 0.082
"""Section 4.2: width of the edge and point detectors."""
_XYZ_OF_LINEAR_RGB = np.array(
    [
        [10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794],
        [2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897],
        [1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382],
    ],
)
"""Primaries of sRGB and its D65 white, as exact fractions."""
_LINEAR_RGB_OF_XYZ = np.linalg.inv(_XYZ_OF_LINEAR_RGB)
_WHITE_XYZ = _XYZ_OF_LINEAR_RGB.sum(axis=1)


def flip_map(
    image: Float[np.ndarray, "height width 3"],
    truth: Float[np.ndarray, "height width 3"],
    pixels_per_degree: float = FLIP_PIXELS_PER_DEGREE,
) -> Float[np.ndarray, "height width"]:
    """Perceived difference of every pixel, in [0, 1]; 0 where the images are equal.

    Args:
        image, truth: sRGB in [0, 1]; values outside are clipped first.
        pixels_per_degree: How many pixels of the image one degree of the viewer's visual field holds.
    Raises:
        ShapeError: When the sizes differ.
        ConfigError: When the pixels per degree are not positive.
    """
    check_same_shape("flip_map", image, truth)
    if not pixels_per_degree > 0.0:
        raise ConfigError(f"flip_map: pixels_per_degree must be positive, got {pixels_per_degree}; 67 is usual.")
    # Nothing is seen where the images are equal for as far as the filters reach: twice, as in ssim.
    reach = max(_blur_radius(pixels_per_degree), math.ceil(1.5 * _FEATURE_WIDTH_DEG * pixels_per_degree))
    values = np.zeros(image.shape[:2], dtype=np.float32)
    at = differing_box(image, truth, 2 * reach)
    if values[at].size:
        opponent_a, opponent_b = _opponent(image[at]), _opponent(truth[at])
        color = _color_difference(opponent_a, opponent_b, pixels_per_degree)
        feature = _feature_difference(opponent_a[..., 0], opponent_b[..., 0], pixels_per_degree)
        values[at] = color ** (1.0 - feature)  # eq. 17
    return values


def flip(
    image: Float[np.ndarray, "height width 3"],
    truth: Float[np.ndarray, "height width 3"],
    pixels_per_degree: float = FLIP_PIXELS_PER_DEGREE,
) -> float:
    """Mean of `flip_map`: 0 is equal, 1 the largest difference."""
    return float(flip_map(image, truth, pixels_per_degree).mean(dtype=np.float64))


def _opponent(srgb: np.ndarray) -> np.ndarray:
    """Y Cx Cz, the linear opponent space that CIELAB's axes are taken from (section 4.1.1)."""
    value = np.clip(srgb, 0.0, 1.0).astype(np.float32)
    linear = srgb_to_linear(value)
    x, y, z = np.moveaxis(linear @ (_XYZ_OF_LINEAR_RGB.T / _WHITE_XYZ).astype(np.float32), -1, 0)
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def _color_difference(a: np.ndarray, b: np.ndarray, pixels_per_degree: float) -> np.ndarray:
    """Section 4.1: what is left of the difference of colours after the eye's blur, in [0, 1]."""
    distance = _hyab(_seen_lab(a, pixels_per_degree), _seen_lab(b, pixels_per_degree)) ** _COLOR_EXPONENT
    green, blue = (_hunt(_lab(np.array(rgb)[None, None])) for rgb in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    largest = float(_hyab(green, blue)[0, 0]) ** _COLOR_EXPONENT
    knee = _COMPRESS_FROM * largest
    below = distance * (_COMPRESS_TO / knee)
    above = _COMPRESS_TO + (distance - knee) / (largest - knee) * (1.0 - _COMPRESS_TO)
    return np.clip(np.where(distance < knee, below, above), 0.0, 1.0)


def _seen_lab(opponent: np.ndarray, pixels_per_degree: float) -> np.ndarray:
    import cv2

    radius = _blur_radius(pixels_per_degree)
    degrees = np.arange(-radius, radius + 1) / pixels_per_degree
    channels = []
    for channel, gaussians in zip(np.moveaxis(opponent, -1, 0), _CSF.values(), strict=True):
        # The sum of two Gaussians is not separable, but each of them is.
        blurred, total = np.zeros_like(channel), 0.0
        for a, b in gaussians:
            taps = np.exp(-(math.pi**2) * degrees**2 / b)
            weight = a * math.sqrt(math.pi / b)
            if weight > 0.0:
                line = np.ascontiguousarray(channel)
                blurred += weight * cv2.sepFilter2D(line, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
            total += weight * float(taps.sum()) ** 2
        channels.append(blurred / total)
    y, cx, cz = channels
    yn = (y + 16.0) / 116.0
    xyz = np.stack([yn + cx / 500.0, yn, yn - cz / 200.0], axis=-1) * _WHITE_XYZ.astype(np.float32)
    return _hunt(_lab(np.clip(xyz @ _LINEAR_RGB_OF_XYZ.T.astype(np.float32), 0.0, 1.0)))


def _blur_radius(pixels_per_degree: float) -> int:
    return math.ceil(3.0 * math.sqrt(_LARGEST_WIDTH / (2.0 * math.pi**2)) * pixels_per_degree)


def _lab(linear_rgb: np.ndarray) -> np.ndarray:
    t = linear_rgb @ (_XYZ_OF_LINEAR_RGB.T / _WHITE_XYZ).astype(np.float32)
    knee = 6.0 / 29.0
    x, y, z = np.moveaxis(np.where(t > knee**3, np.cbrt(t), t / (3.0 * knee**2) + 4.0 / 29.0), -1, 0)
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def _hunt(lab: np.ndarray) -> np.ndarray:
    """Colours look stronger in the light (eq. 7)."""
    lightness = lab[..., :1]
    return np.concatenate([lightness, 0.01 * lightness * lab[..., 1:]], axis=-1)


def _hyab(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """City-block distance of lightness plus Euclidean distance of chroma (eq. 8)."""
    d = a - b
    return np.abs(d[..., 0]) + np.hypot(d[..., 1], d[..., 2])


def _feature_difference(luminance_a: np.ndarray, luminance_b: np.ndarray, pixels_per_degree: float) -> np.ndarray:
    """Section 4.2: how much stronger edges or points are in one image than in the other, in [0, 1]."""
    sigma_px = 0.5 * _FEATURE_WIDTH_DEG * pixels_per_degree
    radius = math.ceil(3.0 * sigma_px)
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    smooth = np.exp(-(x**2) / (2.0 * sigma_px**2))
    edge, point = -x * smooth, (x**2 / sigma_px**2 - 1.0) * smooth
    smooth /= smooth.sum()
    strongest = np.zeros_like(luminance_a)
    for taps in (edge, point):
        taps = np.where(taps > 0.0, taps / taps[taps > 0.0].sum(), -taps / taps[taps < 0.0].sum())
        found = [_gradient_size((y + 16.0) / 116.0, taps, smooth) for y in (luminance_a, luminance_b)]
        strongest = np.maximum(strongest, np.abs(found[0] - found[1]))
    return np.clip((strongest / math.sqrt(2.0)) ** _FEATURE_EXPONENT, 0.0, 1.0)


def _gradient_size(image: np.ndarray, across: np.ndarray, along: np.ndarray) -> np.ndarray:
    import cv2

    line = np.ascontiguousarray(image)
    dx = cv2.sepFilter2D(line, -1, across, along, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.sepFilter2D(line, -1, along, across, borderType=cv2.BORDER_REPLICATE)
    return np.hypot(dx, dy)
