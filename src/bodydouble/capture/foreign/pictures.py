"""Images and masks of foreign captures: sizes from the header first, then the pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from bodydouble.core.arrays import npy_shape, read_npy
from bodydouble.core.errors import InputError

MAX_SIDE_PX = 16_384
MAX_PIXELS = 100_000_000
MaskMeaning = Literal["bright", "dark", "nonzero", "nearer"]
"""What marks the person: bright values (soft), dark values (soft), any value but 0, or a depth below the largest."""


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from the header (of pictures and .npy masks), without decoding.

    Raises:
        InputError: When the file is no picture, or one too large to be a frame.
    """
    if path.suffix == ".npy":
        shape = npy_shape(path)
        if len(shape) not in (2, 3):
            raise InputError(f"{path} must hold height x width values, found shape {shape}.")
        width, height = shape[1], shape[0]
    else:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is not a readable picture ({error}). Copy it again from the source.") from error
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX and width * height <= MAX_PIXELS):
        raise InputError(
            f"{path} says it has {width}x{height} pixels; frames up to {MAX_SIDE_PX} a side are read. Is it a frame?"
        )
    return width, height


def common_size(paths: list[Path]) -> tuple[int, int]:
    """Width and height of all these images.

    Raises:
        InputError: When there is none, or their sizes differ.
    """
    if not paths:
        raise InputError("A capture needs at least one image; none was found.")
    sizes = {image_size(path): path for path in reversed(paths)}
    if len(sizes) > 1:
        (first, path), (second, other) = list(sizes.items())[-1], next(iter(sizes.items()))
        raise InputError(
            f"The images have different sizes: {path.name} {first[0]}x{first[1]}, {other.name} {second[0]}x{second[1]}. "
            "All frames of one camera must have one size: extract them again, or remove the strays."
        )
    return next(iter(sizes))


def read_rgb(path: Path, width_px: int, height_px: int) -> UInt8[np.ndarray, "height_px width_px 3"]:
    """Decode an image of a known size to sRGB; transparent pixels keep their colour.

    Raises:
        InputError: When it is damaged or has another size.
    """
    import cv2

    _check_size(path, width_px, height_px)
    image = _decoded(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.ascontiguousarray(image[:, :, ::-1])


def read_mask(
    path: Path, width_px: int, height_px: int, meaning: MaskMeaning
) -> UInt8[np.ndarray, "height_px width_px"]:
    """Decode a mask to 0..255, 255 being the person, resized to the images where its shape is the same.

    Raises:
        InputError: When it is damaged or its proportions are others than the images'.
    """
    import cv2

    width, height = image_size(path)
    if not same_shape((width, height), (width_px, height_px)):
        raise InputError(
            f"{path} is {width}x{height}, its image {width_px}x{height_px}: not the same picture at another size. "
            "Masks and images come from different downloads; get the images in the masks' size."
        )
    values = read_npy(path) if path.suffix == ".npy" else _decoded(path, cv2.IMREAD_UNCHANGED)
    values = values[..., 0] if values.ndim == 3 else values
    if meaning == "nonzero" and path.suffix.lower() != ".png" and path.suffix != ".npy":
        values = values > values.max(initial=0) / 2  # JPEG's noise is not 0
    mask = _person(values, meaning)
    if (width, height) != (width_px, height_px):
        shrink = width_px < width
        mask = cv2.resize(mask, (width_px, height_px), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    return mask


def same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two sizes are one picture at two resolutions: proportions equal to within a pixel of rounding."""
    smaller = min(*a, *b)
    return abs(a[0] * b[1] - a[1] * b[0]) <= 1.01 * max(*a, *b) and smaller > 0


def _person(values: np.ndarray, meaning: MaskMeaning) -> np.ndarray:
    if meaning == "nonzero":
        return np.where(values != 0, 255, 0).astype(np.uint8)
    if meaning == "nearer":
        finite = values[np.isfinite(values)]
        far = finite.max() if finite.size else 0.0
        return np.where(np.isfinite(values) & (values < far), 255, 0).astype(np.uint8)
    if values.dtype == np.bool_:
        soft = values.astype(np.uint8) * 255
    elif np.issubdtype(values.dtype, np.floating):
        soft = np.rint(np.clip(np.nan_to_num(values), 0.0, 1.0) * 255).astype(np.uint8)
    elif values.dtype == np.uint16:
        soft = (values >> 8).astype(np.uint8)
    else:
        soft = np.clip(values, 0, 255).astype(np.uint8)
        if soft.max(initial=0) == 1:
            soft = soft * np.uint8(255)
    return 255 - soft if meaning == "dark" else soft


def _check_size(path: Path, width_px: int, height_px: int) -> None:
    width, height = image_size(path)
    if (width, height) != (width_px, height_px):
        raise InputError(
            f"{path} is {width}x{height}, the capture's other frames are {width_px}x{height_px}. Extract the frames again."
        )


def _decoded(path: Path, flags: int) -> np.ndarray:
    import cv2

    image = cv2.imdecode(np.fromfile(path, np.uint8), flags) if path.stat().st_size else None
    if image is None:
        raise InputError(f"{path} is damaged: it cannot be decoded. Copy it again from the source.")
    return image
