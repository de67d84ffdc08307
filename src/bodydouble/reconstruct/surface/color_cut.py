"""Whose the pixels are that motion leaves open: the person's or the world's, by what colours either has in that frame.

A mixture of Gaussians for the surely known pixels of either side and one cut through the frame, along its edges: GrabCut
(Rother, Kolmogorov and Blake 2004), begun with what motion and the bare body tell instead of somebody's rectangle. It is
asked within the person's reach only, and a frame whose cut differs in size from its neighbours' is believed less. What the
cut took beside the bare body for the sake of short edges, though its colours are the world's, is given back: the gap
between dark legs before a dark hedge.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float, UInt8

from bodydouble.render.threads import kernel_threads

_KNOWN = 0.5
"""Confidence in motion above which it is not asked again."""
_DEEP = 0.006
"""So far inside the bare body, in longer sides of the picture, nothing but the person is expected."""
_ROUNDS = 2
_ROOM = 0.05
"""Of the world around the person that is looked at, in longer sides of the picture."""
_BELIEF = 0.7
_USUAL = 0.15
"""By which share the person's area may differ from the usual one, before a cut is doubted."""
_BESIDE = 0.005
"""What is added to the bare body can be given back from here on, in longer sides of the picture."""
_AROUND = 0.0065
"""Colours are asked together with those so far around, in longer sides of the picture."""
_MOST = 4.0
"""No pixel says more than this, as a logarithm of likelihoods."""
_LEAST_VARIANCE = 0.01
"""Of a colour, in squared units of 1/255: what has one colour only."""
_SEED = 1


def cut_by_color(
    frames: UInt8[np.ndarray, "frames height width 3"],
    bare: Bool[np.ndarray, "frames height width"],
    person: Float[np.ndarray, "frames height width"],
    confidence: Float[np.ndarray, "frames height width"],
) -> None:
    """Decide what motion left open, in place.

    Args:
        frames: The pictures.
        bare: Silhouette of the bare body.
        person, confidence: What motion tells, as in `evidence.Evidence`; far from the body it is surely the world.
    """
    with ThreadPoolExecutor(kernel_threads()) as pool:
        cuts = list(pool.map(_cut, frames, bare, person, confidence))
    share = np.array([cut.sum() / max(1, body.sum()) for cut, body in zip(cuts, bare, strict=True)])
    usual = float(np.median(share))
    for place, cut in enumerate(cuts):
        if usual <= 0.0 or share[place] <= 0.0:
            continue
        belief = _BELIEF * np.exp(-((np.log(share[place] / usual) / _USUAL) ** 2))
        open_ = (confidence[place] <= _KNOWN) & (confidence[place] < belief)
        person[place][open_] = cut[open_]
        confidence[place][open_] = belief


def _cut(frame: np.ndarray, bare: np.ndarray, person: np.ndarray, confidence: np.ndarray) -> Bool[np.ndarray, "h w"]:
    """Where the person is in one frame; nowhere if one of the two sides is not known at all."""
    import cv2

    side = max(bare.shape)
    deep = cv2.distanceTransform(bare.astype(np.uint8), cv2.DIST_L2, 3) > _DEEP * side
    given = np.where(bare, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    given[deep] = cv2.GC_FGD
    known = confidence > _KNOWN
    given[known] = np.where(person[known] > 0.5, cv2.GC_FGD, cv2.GC_BGD)
    found = np.zeros(bare.shape, bool)
    lines, columns = np.nonzero(given != cv2.GC_BGD)
    if not len(lines):
        return found
    room = max(4, round(_ROOM * side))
    part = tuple(slice(max(0, at.min() - room), at.max() + 1 + room) for at in (lines, columns))
    inner = np.ascontiguousarray(given[part])
    if not np.isin(inner, (cv2.GC_FGD, cv2.GC_PR_FGD)).any() or not np.isin(inner, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        return found
    cv2.setRNGSeed(_SEED)
    outer_model, inner_model, no_rectangle = np.zeros((1, 65)), np.zeros((1, 65)), (0, 0, 0, 0)
    picture = np.ascontiguousarray(frame[part])
    cv2.grabCut(picture, inner, no_rectangle, outer_model, inner_model, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = np.isin(inner, (cv2.GC_FGD, cv2.GC_PR_FGD))
    away = cv2.distanceTransform((~bare[part]).astype(np.uint8), cv2.DIST_L2, 3)
    added = cut & ~known[part] & (away > _BESIDE * side)
    found[part] = cut & ~_against_colors(picture, added, inner_model, outer_model, round(_AROUND * side))
    return found


def _against_colors(
    picture: np.ndarray, added: np.ndarray, inner_model: np.ndarray, outer_model: np.ndarray, around_px: int
) -> Bool[np.ndarray, "h w"]:
    """What was added though the colours of the added pixels around are likelier the world's."""
    import cv2

    if not added.any():
        return added
    colors = picture[added].astype(np.float64)
    ratio = np.zeros(added.shape)
    ratio[added] = _log_likelihood(inner_model, colors) - _log_likelihood(outer_model, colors)
    window = (2 * max(1, around_px) + 1,) * 2
    return added & (cv2.blur(ratio.clip(-_MOST, _MOST), window) < 0.0)


def _log_likelihood(model: np.ndarray, colors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Of colours in OpenCV's mixture of five Gaussians: their weights, means and covariances in one row of 65 numbers.

    Args:
        model: As `cv2.grabCut` leaves it.
        colors: In [0, 255], channels as `cv2.grabCut` saw them.
    """
    weights, means, covariances = np.split(model.reshape(-1), [5, 20])
    parts = []
    for weight, mean, covariance in zip(weights, means.reshape(5, 3), covariances.reshape(5, 3, 3), strict=True):
        if weight <= 0.0:
            continue
        spread = covariance + _LEAST_VARIANCE * np.eye(3)
        off = colors - mean
        distance = np.einsum("ni,ij,nj->n", off, np.linalg.inv(spread), off)
        parts.append(np.log(weight) - 0.5 * (np.linalg.slogdet(spread)[1] + distance))
    return np.logaddexp.reduce(parts)
