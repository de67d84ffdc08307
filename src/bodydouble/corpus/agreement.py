"""Do several looks at the same frame agree? The landmark network sees the person cut out widely, mirrored, and closely.

WildAvatar keeps what several detectors, 2D pose and body estimators agree on (low standard deviation). One network that is
shown the same person in several ways is a weaker, but honest, version of it: where it is sure for good reasons, a mirror
image changes nothing but left and right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.capture.values import Observations
from bodydouble.corpus.consistency import PCK_LANDMARKS, SEEN, box_size_px, seen_landmarks

_WIDE, _CLOSE = 0.25, 0.10
"""Margins around the person, in longer sides of the box."""
_ELSEWHERE = 0.3
"""A look whose landmarks lie so far from the tracked ones (median, sizes of the box) found somebody else."""
_CROP_PX = 384
"""Longer side to which the person's surroundings are brought."""
_MIN_LOOKS = 2

Look = Callable[[UInt8[np.ndarray, "height width 3"]], "tuple[np.ndarray, np.ndarray] | None"]
"""Landmarks of `PCK_LANDMARKS` in pixels of the picture, and their confidence; None when nobody is found."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well the looks agree, over the frames looked at."""

    spread: float
    """Standard deviation of a landmark's place over the looks in sizes of the person's box: median over landmarks, then
    over frames. NaN where no landmark was seen twice."""
    found: float
    """Share of the looks that found the person again."""


def mirrored_points(
    xy_px: Float[np.ndarray, "points 2"], confidence: Float[np.ndarray, " points"], width_px: int
) -> tuple[Float[np.ndarray, "points 2"], Float[np.ndarray, " points"]]:
    """Landmarks of a mirrored picture, where they are in the picture itself: left and right change places.

    Args:
        xy_px, confidence: Of `PCK_LANDMARKS`, which are pairs of left and right.
        width_px: Of the picture.
    """
    order = np.arange(len(xy_px)).reshape(-1, 2)[:, ::-1].ravel()
    back = xy_px.copy()
    back[:, 0] = width_px - back[:, 0]
    return back[order], confidence[order]


def spread_of_looks(
    xy_px: Float[np.ndarray, "looks points 2"], confidence: Float[np.ndarray, "looks points"], size_px: float
) -> float:
    """Standard deviation of the landmarks' places over looks, in sizes of the person: median over landmarks that at least
    two looks saw; NaN without any."""
    weight = (confidence >= SEEN).astype(float)
    count = weight.sum(0)
    mean = (xy_px * weight[..., None]).sum(0) / np.maximum(count, 1.0)[:, None]
    square = (((xy_px - mean) ** 2).sum(-1) * weight).sum(0) / np.maximum(count, 1.0)
    several = count >= _MIN_LOOKS
    return float(np.median(np.sqrt(square[several])) / max(size_px, 1.0)) if several.any() else float("nan")


def person_crop(
    rgb: UInt8[np.ndarray, "height width 3"], box_px: Sequence[float], margin: float = _WIDE
) -> tuple[UInt8[np.ndarray, "rows columns 3"], float, float, float]:
    """The person with a margin, brought to a fixed size; and the corner and the factor that lead back: p = corner + q / s.

    Returns:
        The crop, x and y of its corner in the picture, pixels of the crop for each pixel of the picture.
    """
    import cv2

    height, width = rgb.shape[:2]
    grow = margin * max(box_px[2] - box_px[0], box_px[3] - box_px[1])
    x0, y0 = max(0, int(box_px[0] - grow)), max(0, int(box_px[1] - grow))
    x1, y1 = min(width, int(np.ceil(box_px[2] + grow))), min(height, int(np.ceil(box_px[3] + grow)))
    crop = rgb[y0:y1, x0:x1]
    scale = _CROP_PX / max(crop.shape[:2])
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    resized = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return resized, float(x0), float(y0), scale


def agreement(observations: Observations, frames: Sequence[tuple[int, np.ndarray]], look: Look) -> Agreement:
    """Look again at some frames in several ways.

    Args:
        observations: What was seen while the person was followed: a look of its own.
        frames: Place in the observations, and the picture (height x width x 3, 8-bit sRGB).
        look: The landmark estimator, without memory of earlier pictures.
    """
    size = box_size_px(observations.box_px)
    tracked = seen_landmarks(observations)
    spreads, found, asked = [], 0, 0
    for row, rgb in frames:
        looks = [] if tracked is None else [(tracked[0][row], tracked[1][row])]
        for seen in _looks(rgb, observations.box_px[row].tolist(), look):
            asked += 1
            if seen is not None and not (looks and _elsewhere(seen, looks[0], float(size[row]))):
                found += 1
                looks.append(seen)
        if len(looks) >= _MIN_LOOKS:
            xy, confidence = np.stack([p for p, _ in looks]), np.stack([c for _, c in looks])
            spreads.append(spread_of_looks(xy, confidence, float(size[row])))
    finite = [s for s in spreads if np.isfinite(s)]
    return Agreement(spread=float(np.median(finite)) if finite else float("nan"), found=found / asked if asked else 0.0)


def _looks(rgb: np.ndarray, box_px: Sequence[float], look: Look) -> Iterator[tuple[np.ndarray, np.ndarray] | None]:
    """What the estimator says of the person cut out widely, the same mirrored, and closely; in pixels of the frame."""
    if box_px[2] - box_px[0] < 2 or box_px[3] - box_px[1] < 2:
        return
    for margin, mirrored in ((_WIDE, False), (_WIDE, True), (_CLOSE, False)):
        crop, x0, y0, scale = person_crop(rgb, box_px, margin)
        seen = look(np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop)
        if seen is not None and mirrored:
            seen = mirrored_points(seen[0], seen[1], crop.shape[1])
        yield None if seen is None else (seen[0] / scale + np.array([x0, y0]), seen[1])


def _elsewhere(seen: tuple[np.ndarray, np.ndarray], tracked: tuple[np.ndarray, np.ndarray], size_px: float) -> bool:
    """Whether a look found somebody else than the person who is followed."""
    both = (seen[1] >= SEEN) & (tracked[1] >= SEEN)
    return (
        bool(both.any()) and float(np.median(np.linalg.norm(seen[0] - tracked[0], axis=1)[both])) > _ELSEWHERE * size_px
    )


def network_look(finder: object) -> Look:
    """`Look` of a landmark network that finds the most prominent person (`perceive.subject.Finder`)."""
    from bodydouble.perceive.mediapipe_holistic import BODY_INDEX
    from bodydouble.perceive.subject import Finder

    assert isinstance(finder, Finder)
    columns = [BODY_INDEX[name.removeprefix("body/")] for name in PCK_LANDMARKS]

    def look(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        found = finder.find(rgb)
        if found is None:
            return None
        return found[0][columns].astype(np.float64), found[1][columns].astype(np.float64)

    return look
