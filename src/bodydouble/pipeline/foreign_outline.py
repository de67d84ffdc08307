"""Do masks belong to their pictures, and mark the person? Their outlines must lie where the pictures change.

A body can lie perfectly on masks that belong to other frames, or to another download of a clip. Then the outline crosses
the picture where nothing in particular is.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from bodydouble.capture.foreign.values import ForeignCapture
from bodydouble.core.errors import InputError

MIN_SUPPORT = 1.0
"""Below, outlines are no better than displaced ones."""
LOW_SUPPORT = 1.15
SAMPLED_FRAMES = 12
_WORK_PX = 480
_AWAY = 0.05
"""Displaced by this share of the person's height."""


def check_outlines(capture: ForeignCapture) -> float:
    """How much stronger pictures change on the masks' outlines than beside them, median over some frames.

    Returns:
        1 is chance; 1.5 to 5 is usual; 0 where nothing could be measured (no masks, or coarse ones).
    Raises:
        InputError: When the outlines of most frames lie on nothing.
    """
    usable = [i for i, frame in enumerate(capture.frames) if frame.mask is not None]
    if not usable or capture.coarse_masks:
        return 0.0
    places = np.unique(np.linspace(0, len(usable) - 1, SAMPLED_FRAMES).round().astype(int))
    found = [
        outline_support(capture.rgb(usable[p]), mask) for p in places if (mask := capture.mask(usable[p])) is not None
    ]
    found = [support for support in found if support > 0]
    if not found:
        return 0.0
    support = float(np.median(found))
    if len(found) >= 3 and support < MIN_SUPPORT:
        raise InputError(
            f"{capture.folder} ({capture.layout}): the masks do not belong to the images. The images change {support:.2f} times "
            "as much on the masks' outlines as beside them, where 1.5 and more is usual: frames of another frame rate, another "
            "cut or another download. Extract the frames by time, at the frame rate that was annotated."
        )
    return support


def check_polarity(capture: ForeignCapture) -> None:
    """Refuse masks that mark everything but the person.

    Raises:
        InputError: When most of the pictures' edge is marked in most frames.
    """
    usable = [i for i, frame in enumerate(capture.frames) if frame.mask is not None]
    shares = []
    for place in (
        np.unique(np.linspace(0, max(len(usable) - 1, 0), SAMPLED_FRAMES).round().astype(int)) if usable else ()
    ):
        mask = capture.mask(usable[place])
        assert mask is not None
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        shares.append(float((edge > 127).mean()))
    if shares and np.median(shares) > 0.6:
        raise InputError(
            f"{capture.folder} ({capture.layout}): {100 * np.median(shares):.0f} % of the pictures' edge is marked as the person, "
            f"so the masks look inverted ({capture.mask_meaning} values were taken for the person). Invert them."
        )


def outline_support(rgb: UInt8[np.ndarray, "height width 3"], mask: UInt8[np.ndarray, "height width"]) -> float:
    """Mean change of a picture across its mask's outline over that across displaced outlines; 0 without an outline."""
    import cv2

    shrink = min(1.0, _WORK_PX / max(mask.shape))
    size = (max(1, round(mask.shape[1] * shrink)), max(1, round(mask.shape[0] * shrink)))
    grey = cv2.GaussianBlur(
        cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY), (0, 0), 1.0
    )
    person = (cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 127).astype(np.uint8)
    change = cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    outline = cv2.morphologyEx(person, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    outline[[0, -1]] = outline[:, [0, -1]] = False  # the picture's edge is no outline
    rows = np.flatnonzero(person.any(1))
    if not outline.any() or rows.size < 8:
        return 0.0
    away = max(3, round(_AWAY * rows.size))
    shifts = [(dy, dx) for dy in (-away, 0, away) for dx in (-away, 0, away) if (dy, dx) != (0, 0)]
    beside = [_mean_at(change, outline, dy, dx) for dy, dx in shifts]
    return float(change[outline].mean() / max(np.mean(beside), 1e-6))


def _mean_at(values: np.ndarray, where: np.ndarray, dy: int, dx: int) -> float:
    y, x = np.nonzero(where)
    y, x = y + dy, x + dx
    seen = (y >= 0) & (y < values.shape[0]) & (x >= 0) & (x < values.shape[1])
    return float(values[y[seen], x[seen]].mean()) if seen.any() else 0.0
