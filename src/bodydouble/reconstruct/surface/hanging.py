"""A repeated colour is not always the world's: a skirt that hangs still beside somebody who stands repeats itself, too.

It looks like what the body beside it wears, in most frames, and not like the world beyond. Whose it is, motion cannot tell.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

_ALWAYS = 0.95
"""Share of the frames in which a place is near the body, before nobody is sure to have seen the world there."""
_MOST, _ASKED = 0.5, 0.2
"""Share of the looks at a place that must find it like the body's clothes, and the least share of frames that look."""
_SIDE_PX = 7
"""Clothes are so far inside the bare body's outline, and colours are means over so many pixels."""
_HUE = 0.12
"""So much the logarithms of two colours' channels may differ, brightness aside, and be one cloth."""
_FOLD, _LIGHT = (0.6, 1.6), (0.7, 1.4)
"""By what folds change the brightness of cloth, and light that of the world."""
_DARK = 0.02


def hangs_still(
    frames: UInt8[np.ndarray, "frames height width 3"],
    bare: Bool[np.ndarray, "frames height width"],
    near: Bool[np.ndarray, "frames height width"],
    world: Float[np.ndarray, "height width 3"],
    gains: Float[np.ndarray, "frames 3"],
) -> Bool[np.ndarray, "height width"]:
    """Where a still camera's repeated colour may be that of clothes.

    Args:
        frames: The pictures.
        bare: Silhouettes of the bare body.
        near: Where the person's clothes can be.
        world: The repeated colours.
        gains: Brightness of each frame.
    """
    always = near.mean(0) > _ALWAYS
    if not always.any():
        return always
    votes, looks = np.zeros(always.shape, np.int32), np.zeros(always.shape, np.int32)
    for frame, body, reach, gain in zip(frames, bare, near, gains, strict=True):
        asked = reach & ~body & always
        votes += asked & _like_nearest(world, frame.astype(np.float32) / 255.0 / gain, _inner(body), _FOLD)
        looks += asked
    cloth = always & (votes > _MOST * looks) & (looks > _ASKED * len(frames))
    return cloth & ~_like_nearest(world, world, ~always, _LIGHT)


def _inner(body: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    import cv2

    return cv2.erode(body.view(np.uint8), np.ones((_SIDE_PX, _SIDE_PX), np.uint8)) > 0


def _like_nearest(
    asked: Float[np.ndarray, "h w 3"],
    colors: Float[np.ndarray, "h w 3"],
    part: Bool[np.ndarray, "h w"],
    brightness: tuple[float, float],
) -> Bool[np.ndarray, "h w"]:
    """Where asked colours are those of the nearest place of a part of a picture, in somewhat other light; False without it."""
    import cv2

    if not part.any():
        return np.zeros(part.shape, bool)
    weight, window = part.astype(np.float32), (_SIDE_PX, _SIDE_PX)
    mean = cv2.blur(colors * weight[..., None], window)[part] / cv2.blur(weight, window)[part][:, None]
    _, label = cv2.distanceTransformWithLabels((~part).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros((int(label.max()) + 1, 3), np.float32)
    nearest[label[part]] = mean
    apart = np.log(np.maximum(asked, _DARK)) - np.log(np.maximum(nearest[label], _DARK))
    tone = apart.mean(2)
    hue = np.abs(apart - tone[..., None]).max(2)
    return (hue < _HUE) & (tone > np.log(brightness[0])) & (tone < np.log(brightness[1]))
