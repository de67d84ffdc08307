"""Pictures of a report, packed small."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import UInt8

from bodydouble.pipeline.report_data import Picture

_JPEG_QUALITY = 86


def jpeg_picture(image: UInt8[np.ndarray, "height width 3"], caption: str) -> Picture:
    """An sRGB picture as JPEG."""
    return _packed(image, caption, "JPEG", quality=_JPEG_QUALITY)


def png_picture(image: UInt8[np.ndarray, "height width 4"], caption: str) -> Picture:
    """An sRGB picture with transparency as PNG."""
    return _packed(image, caption, "PNG")


def _packed(image: np.ndarray, caption: str, kind: str, **options: int) -> Picture:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, format=kind, optimize=True, **options)
    return Picture(
        data=file.getvalue(),
        media_type=f"image/{kind.lower()}",
        caption=caption,
        width_px=image.shape[1],
        height_px=image.shape[0],
    )
