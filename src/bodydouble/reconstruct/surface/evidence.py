"""What the video itself tells about who is person and who is world, from motion alone: no segmenter.

Before a camera that stands still the world repeats itself: at each pixel that the bare body does not cover, the shortest
interval that holds a good part of the observed brightness values is the world's (its "shorth"), the more surely the more
frames agree, unless it is what the body beside it wears (`hanging`). What differs from it beside the body is the person,
unless it is only darker (a shadow) or, farther away, keeps the world's hue in another light (a shiny floor); what agrees
with it is the world. What motion leaves open is told by colours (`color_cut`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from bodydouble.perceive.repeated import believed_around, repeated_color
from bodydouble.reconstruct.surface.color_cut import cut_by_color
from bodydouble.reconstruct.surface.hanging import hangs_still

_FAR_M = 0.3
"""Nothing that the person wears is farther from the bare body."""
_KNOWN = 0.99
_GUESS = 0.3
"""Confidence that the bare body is the person where motion says nothing."""
_OUTLINE_PX, _MIXED = 2, 0.6
"""How wide outlines are, blurred by motion as they may be, and below which share of the person their pixels show both."""
_TOLERANCE = 0.02
_SHADOW = (0.35, 0.985)
_SHADOW_HUE = 0.05
_LIT = (0.35, 1.5)
"""Other light falls on the world by these factors, where the person's shadow or a reflection of theirs is."""
_LIT_HUE, _LIT_FROM_M = 0.35, (0.02, 0.08)
"""How far channels may differ then, and how far from the bare body that begins and fully holds: nearer there are clothes."""
_CHUNK = 32


@dataclass(frozen=True)
class Evidence:
    """Of every frame, at half the working size."""

    person: Float[np.ndarray, "frames height width"]
    """1 where the person is, 0 where the world is."""
    confidence: Float[np.ndarray, "frames height width"]
    """In [0, 1]; 0 where the video tells nothing."""
    world: Float[np.ndarray, "height width 3"]
    """Of a camera that stands still: the world's colours where it was seen."""
    seen: Float[np.ndarray, "height width"]
    """In [0, 1], how surely; 0 for a camera that moves."""
    gains: Float[np.ndarray, "frames 3"]
    """Brightness of each frame."""


def gather_evidence(
    frames: UInt8[np.ndarray, "frames height width 3"],
    bare: Bool[np.ndarray, "frames height width"],
    away_m: Float[np.ndarray, "frames height width"],
) -> Evidence:
    """Tell person from world by motion.

    Args:
        frames: Pictures of a camera that stands still.
        bare: Silhouette of the bare body.
        away_m: Distance of each pixel from that silhouette, at the body's distance from the camera, metres.
    """
    gains = _gains(frames, away_m > _FAR_M)
    count, height, width = bare.shape
    world, seen = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    person, confidence = np.zeros(bare.shape, np.float32), np.zeros(bare.shape, np.float32)
    noise = _noise(frames, away_m > _FAR_M)
    tolerance = max(_TOLERANCE, 4.0 * noise)
    for row in range(0, height, _CHUNK):
        rows = slice(row, min(row + _CHUNK, height))
        colors = frames[:, rows].astype(np.float32) / 255.0 / gains[:, None, None]
        world[rows], seen[rows] = repeated_color(colors, ~bare[:, rows], away_m[:, rows] > _FAR_M, tolerance)
    seen[hangs_still(frames, bare, away_m < _FAR_M, world, gains)] = 0.0
    seen = believed_around(seen)
    for row in range(0, height, _CHUNK):
        rows = slice(row, min(row + _CHUNK, height))
        colors = frames[:, rows].astype(np.float32) / 255.0 / gains[:, None, None]
        person[:, rows], confidence[:, rows] = _judged(
            colors, bare[:, rows], away_m[:, rows], world[rows], seen[rows], tolerance
        )
    _settle_by_color(frames, bare, person, confidence)
    for place in range(count):
        _doubt_outline(person[place], confidence[place], frames[place].astype(np.float32) / 255.0 / gains[place], world)
    return Evidence(person, confidence, world, seen, gains)


def compare_with_world(
    frames: UInt8[np.ndarray, "frames height width 3"],
    bare: Bool[np.ndarray, "frames height width"],
    away_m: Float[np.ndarray, "frames height width"],
    shown: Callable[[int], tuple[np.ndarray, np.ndarray]],
) -> Evidence:
    """Tell person from a world that is known already, seen by a camera that may move.

    Args:
        frames, bare, away_m: As for `gather_evidence`.
        shown: For each frame, what it would show without the person [height, width, 3], exposure included, and how sure
            that is [height, width].
    """
    person, confidence = np.zeros(bare.shape, np.float32), np.zeros(bare.shape, np.float32)
    for place in range(len(frames)):
        world, seen = shown(place)
        colors = frames[place].astype(np.float32) / 255.0
        clear = (away_m[place] > _FAR_M) & (seen >= _KNOWN)
        misfit = float(np.quantile(np.abs(colors - world).max(2)[clear], 0.8)) if clear.any() else _TOLERANCE
        one = slice(place, place + 1)
        person[one], confidence[one] = _judged(
            colors[None], bare[one], away_m[one], world, seen, max(_TOLERANCE, misfit)
        )
    _settle_by_color(frames, bare, person, confidence)
    for place in range(len(frames)):
        _doubt_outline(person[place], confidence[place], frames[place].astype(np.float32) / 255.0, shown(place)[0])
    gains = np.ones((len(frames), 3), np.float32)
    return Evidence(
        person, confidence, np.zeros((*bare.shape[1:], 3), np.float32), np.zeros(bare.shape[1:], np.float32), gains
    )


def _noise(frames: np.ndarray, far: np.ndarray) -> float:
    """Median difference between frames where nobody is."""
    pairs = [(k, k + 1) for k in range(0, len(frames) - 1, max(1, len(frames) // 6))]
    values = []
    for a, b in pairs:
        there = far[a] & far[b]
        if there.any():
            values.append(np.median(np.abs(frames[a][there].astype(np.float32) - frames[b][there])) / 255.0)
    return float(np.median(values)) if values else 0.0


def _gains(frames: np.ndarray, far: np.ndarray) -> Float[np.ndarray, "frames 3"]:
    """Brightness of each frame against the first few, where nobody is; 1 where too little of the world is in view."""
    gains = np.ones((len(frames), 3), np.float32)
    always = far.all(0)
    always[1::2] = always[:, 1::2] = False
    if always.sum() < 200:
        return gains
    values = frames[:, always].astype(np.float32) / 255.0
    middle = np.median(values, axis=0)
    usable = (middle.min(1) > 0.08) & (middle.max(1) < 0.92)
    if usable.sum() >= 100:
        gains = np.median(values[:, usable] / middle[usable], axis=1).astype(np.float32)
    return gains


def _judged(
    colors: np.ndarray,
    bare: np.ndarray,
    away_m: np.ndarray,
    world: np.ndarray,
    seen: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Person or world, and how surely; 0 where that cannot be told."""
    apart = np.abs(colors - world).max(3)
    known = seen >= _KNOWN
    ratio = colors / np.maximum(world, 0.02)
    tone = ratio.mean(3)
    shadow = (tone > _SHADOW[0]) & (tone < _SHADOW[1]) & (np.ptp(ratio, axis=3) < _SHADOW_HUE + 0.1 * (1.0 - tone))
    far_enough = ((away_m - _LIT_FROM_M[0]) / (_LIT_FROM_M[1] - _LIT_FROM_M[0])).clip(0.0, 1.0)
    shadow |= (tone > _LIT[0]) & (tone < _LIT[1]) & (np.ptp(ratio, axis=3) < _LIT_HUE * far_enough)
    near = away_m < _FAR_M
    differs, agrees = apart > 2.0 * tolerance, apart < tolerance
    person = np.where(known, differs, 0.0).astype(np.float32)
    confidence = np.where(known, np.where(differs, np.where(shadow, 0.0, 1.0), agrees), 0.0)
    confidence = np.where(bare & ~(known & agrees), np.maximum(confidence, _GUESS), confidence)
    person = np.where(bare & ~(known & agrees), 1.0, person)
    far = ~near
    return np.where(far, 0.0, person).astype(np.float32), np.where(far, 1.0, confidence).astype(np.float32)


def _settle_by_color(frames: np.ndarray, bare: np.ndarray, person: np.ndarray, confidence: np.ndarray) -> None:
    """What motion left open, and without specks before and after."""
    for place in range(len(frames)):
        _clean(person[place], confidence[place], bare[place])
    cut_by_color(frames, bare, person, confidence)
    for place in range(len(frames)):
        _clean(person[place], confidence[place], bare[place])


def _clean(person: np.ndarray, confidence: np.ndarray, bare: np.ndarray) -> None:
    """Take specks away, and what is not joined to the body: it is not the person's, whatever it is."""
    import cv2

    solid = ((person > 0.5) & (confidence > 0.0)) | bare
    opened = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels = cv2.connectedComponents(np.maximum(opened, bare.astype(np.uint8)))
    joined = np.isin(labels, np.unique(labels[bare])) & (labels > 0)
    confidence[(person > 0.5) & ~joined] = 0.0


def _doubt_outline(person: np.ndarray, confidence: np.ndarray, colors: np.ndarray, world: np.ndarray) -> None:
    """Leave open whose the outline's pixels are that show both: little of the person is enough to differ from the world.

    How much of the person is in a pixel is told by how far its colour is from the world's on the way to that of the
    surely inner pixels around.
    """
    import cv2

    sure = confidence > 0.5
    outer = cv2.dilate(((person < 0.5) & sure).astype(np.uint8), np.ones((2 * _OUTLINE_PX + 1,) * 2, np.uint8)) > 0
    inner = ((person > 0.5) & sure & ~outer).astype(np.float32)
    window = (4 * _OUTLINE_PX + 1,) * 2
    weight = cv2.blur(inner, window)
    there = cv2.blur(colors * inner[..., None], window) / np.maximum(weight, 1e-6)[..., None] - world
    share = ((colors - world) * there).sum(2) / np.maximum((there * there).sum(2), 1e-6)
    confidence[(person > 0.5) & outer & (weight > 1e-4) & (share < _MIXED)] = 0.0
