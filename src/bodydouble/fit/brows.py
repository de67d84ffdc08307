"""Brows from the picture itself: the landmark network's points hardly follow them.

The strip of the face from forehead to eyes is laid on the mean face, its light evened out, and compared with the person's
own calm strip, the median over the video: around each brow point a small window is looked for (normalised correlation). How
far the windows have moved, beside those at the eyes, tells the five brow actions by a linear model learnt from renders
(`scripts/learn_face_actions.py brows`).
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.fit.face_model import FaceModel, FaceReading, load_face_model, side_inputs

WEIGHTS_FILE = "brow_actions.safetensors"
ACTIONS = ("browInnerUp", "browOuterUpLeft", "browOuterUpRight", "browDownLeft", "browDownRight")
COLUMNS = tuple(ARKIT_ACTIONS.index(name) for name in ACTIONS)
FEWEST = 10
"""Frames with a face from which their median is a calm face."""
_WIDE, _HIGH, _PER_UNIT = 96, 48, 64.0
_LEFT, _TOP = -0.75, -0.56
"""The strip: pixels, pixels per distance of the eyes' outer corners, and its corner beside the eyes' middle."""
_BROWS = (46, 53, 52, 65, 55, 285, 295, 282, 283, 276, 9)
_EYES = (33, 159, 133, 362, 386, 263)
_WINDOW, _REACH = (8, 7), (2, 8)
"""Half the window's width and height, and how far it is looked for."""
_SHARP = 12.0
_WIDEST = 4.0


@lru_cache(maxsize=1)
def _grid() -> Float[np.ndarray, "pixels 3"]:
    """The strip's pixels on the mean face, in its own axes: depths are smoothed from its points."""
    from scipy.interpolate import RBFInterpolator

    template = load_face_model().template[:468]
    middle = _middle()
    x, y = np.meshgrid((np.arange(_WIDE) + 0.5) / _PER_UNIT + _LEFT, (np.arange(_HIGH) + 0.5) / _PER_UNIT + _TOP)
    flat = np.stack([x.ravel(), y.ravel()], 1) + middle
    depth = RBFInterpolator(template[:, :2], template[:, 2], smoothing=0.01, neighbors=40, kernel="linear")(flat)
    return np.concatenate([flat, depth[:, None]], 1)


def _middle() -> Float[np.ndarray, "2"]:
    template = load_face_model().template
    return 0.5 * (template[33, :2] + template[263, :2])


def brow_strip(
    rgb: UInt8[np.ndarray, "height width 3"], points_px: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "rows columns"]:
    """The strip around the brows, its light evened out: every place has mean 0 and spread 1 around itself.

    Args:
        rgb: The picture.
        points_px: x, y and relative depth of all 478 points.
    """
    import cv2

    model = load_face_model()
    face = model.align(points_px[None])
    size, R = float(face.size_px[0]), face.R_camera_face[0]
    centre = points_px[model.rigid].mean(0)
    at = (size * (_grid() - model.template[model.rigid].mean(0)) @ R.T + centre)[:, :2]
    limit = np.array([rgb.shape[1], rgb.shape[0]])
    low = np.clip(np.floor(at.min(0)).astype(int) - 2, 0, limit - 2)
    high = np.clip(np.ceil(at.max(0)).astype(int) + 3, low + 2, limit)
    cut = cv2.cvtColor(np.ascontiguousarray(rgb[low[1] : high[1], low[0] : high[0]]), cv2.COLOR_RGB2GRAY)
    shrink = min(1.0, 1.25 * _PER_UNIT / size)
    if shrink < 0.8:
        cut = cv2.resize(cut, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    else:
        shrink = 1.0
    x, y = ((at - low) * shrink - 0.5).astype(np.float32).T.reshape(2, _HIGH, _WIDE)
    grey = cv2.remap(cut, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32) / 255.0
    even = grey - cv2.GaussianBlur(grey, (0, 0), 12)
    spread = np.sqrt(cv2.GaussianBlur(even * even, (0, 0), 16))
    return even / (spread + 0.02)


def read_brows(
    strips: Float[np.ndarray, "frames rows columns"], seen: Float[np.ndarray, " frames"], reading: FaceReading
) -> Float[np.ndarray, "frames actions"]:
    """All actions of a reading, those of the brows by the picture where there are enough frames.

    Args:
        strips: `brow_strip` of each frame; whatever where there is no face.
        seen: Positive where there is one.
        reading: By the face points.
    """
    there = np.nonzero(seen > 0)[0]
    if len(there) < FEWEST:
        return reading.actions
    inputs = brow_inputs(strips[there], reading.actions[there], reading.R_camera_face[there], reading.size_px[there])
    mean, scale, weights, bias = _model()
    found = np.clip((inputs - mean) / scale, -_WIDEST, _WIDEST) @ weights + bias
    out = reading.actions.copy()
    out[there[:, None], list(COLUMNS)] = np.clip(found, 0.0, 1.0)
    return out


def brow_inputs(
    strips: Float[np.ndarray, "frames rows columns"],
    actions: Float[np.ndarray, "frames actions"],
    R_camera_face: Float[np.ndarray, "frames 3 3"],
    size_px: Float[np.ndarray, " frames"],
) -> Float[np.ndarray, "frames inputs"]:
    """What the linear model sees: how the windows moved, how well they were found, what the points said, the view."""
    calm = np.median(strips, axis=0).astype(np.float32)
    moved = np.stack([_moved(strip.astype(np.float32), calm) for strip in strips])
    moved[..., :2] -= np.median(moved[..., :2], axis=0)
    across, down, alike = np.moveaxis(moved, -1, 0)
    sure = down * np.clip(alike, 0.0, 1.0)
    raised = np.clip(-sure[:, : len(_BROWS)], 0.0, None)
    side = side_inputs(R_camera_face, size_px, np.zeros(len(strips)))
    return np.concatenate([down, across, alike, sure, raised, actions, side], axis=1)


def _moved(strip: Float[np.ndarray, "rows columns"], calm: Float[np.ndarray, "rows columns"]) -> np.ndarray:
    """Shift across and down (soft maximum of the correlation) and best correlation of each window."""
    import cv2

    pad = max(_WINDOW) + max(_REACH)
    strip, calm = (cv2.copyMakeBorder(s, pad, pad, pad, pad, cv2.BORDER_REPLICATE) for s in (strip, calm))
    (w, h), (dx, dy) = _WINDOW, _REACH
    down, across = np.mgrid[-dy : dy + 1, -dx : dx + 1]
    out = np.zeros((len(_BROWS) + len(_EYES), 3))
    for k, (x, y) in enumerate(_windows() + pad):
        around = strip[y - h - dy : y + h + dy + 1, x - w - dx : x + w + dx + 1]
        match = cv2.matchTemplate(around, calm[y - h : y + h + 1, x - w : x + w + 1], cv2.TM_CCOEFF_NORMED)
        share = np.exp(_SHARP * (match - match.max()))
        share /= share.sum()
        out[k] = (share * across).sum(), (share * down).sum(), match.max()
    return out


@lru_cache(maxsize=1)
def _windows() -> np.ndarray:
    model: FaceModel = load_face_model()
    at = (model.template[[*_BROWS, *_EYES], :2] - _middle() - [_LEFT, _TOP]) * _PER_UNIT
    return at.round().astype(int)


@lru_cache(maxsize=1)
def _model() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    from safetensors.numpy import load

    stored = load(resources.files("bodydouble.fit").joinpath(WEIGHTS_FILE).read_bytes())
    mean, scale, weights, bias = (stored[n].astype(np.float64) for n in ("mean", "scale", "weights", "bias"))
    return mean, scale, weights, bias
