"""What is behind the person: one picture of the scene, gathered from the frames in which each place was in plain view.

For cameras that stand, pan, or are held by hand: frames are laid over each other by homographies of background points
(pyramidal Lucas-Kanade against a key frame, RANSAC). A camera that travels shows no such order; then nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from bodydouble.perceive.repeated import believed_around, repeated_color

_POINTS, _QUALITY, _APART_PX = 400, 0.005, 6
_LEAST_POINTS = 25
_AGREE_PX = 1.5
_AGREEING = 0.55
"""Share of the followed points that one homography must explain."""
_LOST = 0.5
"""With fewer of a key frame's points left, the frame before becomes the key."""
_STILL_PX = 0.6
_STILL_LEVELS = 3.0
"""A camera stands whose background points, or whose colours (of 255) far from the person, stay so near."""
_LARGEST = 3.0
"""Size of the whole scene, in frames."""
_SCENE_FRAMES = 40
_FAR_M, _NEAR_M = 0.25, 0.40
"""Farther from the body nobody is; nearer somebody may be."""
_LEAST_FAR, _COMPARED = 200, 3000
"""Pixels far from the person that are needed, and compared, to tell exposures."""
_TOLERANCE = 0.04
_SEAM_PX, _NEAR_PX, _COARSER = 5, 6.0, 4
"""Flow beside what is not shown is not trusted; it is the mean of so many pixels around."""
_DARK, _BRIGHT = 0.08, 0.92
"""Between these, brightness can be compared."""


@dataclass(frozen=True)
class SmallFrame:
    """A frame at working size."""

    index: int
    rgb: UInt8[np.ndarray, "height width 3"]
    nobody: Bool[np.ndarray, "height width"]
    """Where neither the network nor the fitted body sees anybody."""
    away_m: Float[np.ndarray, "height width"]
    """Distance from the bare body at its depth, negative inside."""


@dataclass(frozen=True)
class Behind:
    """What a frame would show without the person."""

    rgb: Float[np.ndarray, "height width 3"]
    """In [0, 1]."""
    known: Bool[np.ndarray, "height width"]
    moves: bool
    """Whether the camera does: then edges may be off by a little."""


@dataclass(frozen=True)
class Scene:
    """The scene without the person, and how frames lie in it."""

    rgb: Float[np.ndarray, "rows columns 3"]
    known: Bool[np.ndarray, "rows columns"]
    T_scene_frame: dict[int, np.ndarray]
    """Homographies in working pixels, by source frame index."""
    moves: bool

    def behind(
        self,
        index: int,
        window: tuple[slice, slice],
        rgb: UInt8[np.ndarray, "height width 3"],
        nobody: Bool[np.ndarray, "height width"],
    ) -> Behind | None:
        """What a part of a frame would show without the person; None for a frame of unknown place.

        Args:
            index: Source index of the frame.
            window: Its rows and columns, at working size.
            rgb: What it shows.
            nobody: Where the network sees nobody in it.
        """
        import cv2

        place = self.T_scene_frame.get(index)
        if place is None:
            return None
        if not self.moves:
            return Behind(self.rgb[window], np.ascontiguousarray(self.known[window]), moves=False)
        place = place @ np.array([[1.0, 0.0, window[1].start], [0.0, 1.0, window[0].start], [0.0, 0.0, 1.0]])
        flags, size_px = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, rgb.shape[1::-1]
        behind = cv2.warpPerspective(self.rgb, place, size_px, flags=flags)
        known = cv2.warpPerspective(self.known.astype(np.float32), place, size_px, flags=flags)
        at = _laid_over(rgb.astype(np.float32) / 255.0, behind, nobody & (known > 0.99))
        known = cv2.remap(known, *at, cv2.INTER_LINEAR) > 0.99
        return Behind(cv2.remap(behind, *at, cv2.INTER_LINEAR), known, moves=True)


def gather_scene(frames: Sequence[SmallFrame], places: Places) -> Scene | None:
    """Put the scene together; None where the camera travels, or where too little is known of how frames lie.

    Args:
        frames: Some frames, spread over the video; not all are needed.
        places: How all frames lie over each other.
    """
    still = places.still() or _colors_stay(frames)
    height, width = frames[0].nobody.shape
    if still:
        placed, canvas = dict.fromkeys(places.indices, np.eye(3)), (width, height)
    else:
        found = places.on_canvas()
        if found is None:
            return None
        placed, canvas = found
    shown = [f for f in frames if f.index in placed]
    if len(shown) < 2:
        return None
    shown = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, _SCENE_FRAMES).round().astype(int))]
    warped = [_warped(f, None if still else placed[f.index], canvas) for f in shown]
    colors, usable, away = (np.stack(part) for part in zip(*warped, strict=True))
    if not still:
        _lay_over_their_mean(colors, usable, away)
    colors = _evenly_bright(colors, usable & (away > _FAR_M))
    rgb, seen = np.zeros((*usable.shape[1:], 3), np.float32), np.zeros(usable.shape[1:], np.float32)
    asked = (away < _NEAR_M).any(0) & usable.any(0)
    if asked.any():
        rgb[asked], seen[asked] = (
            part[0]
            for part in repeated_color(
                colors[:, asked][:, None],
                usable[:, asked][:, None],
                (usable & (away > _FAR_M))[:, asked][:, None],
                _TOLERANCE,
            )
        )
    return Scene(rgb=rgb, known=believed_around(seen) >= 0.99, T_scene_frame=placed, moves=not still)


def _colors_stay(frames: Sequence[SmallFrame]) -> bool:
    """Whether the picture far from the person is always the same: a camera that stands before plain walls."""
    some = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, 12).round().astype(int))]
    far = np.logical_and.reduce([f.nobody & (f.away_m > _FAR_M) for f in some])
    if int(far.sum()) < _LEAST_FAR:
        return False
    values = np.stack([f.rgb[far] for f in some]).astype(np.float32)
    return float(np.abs(values - np.median(values, axis=0)).mean()) < _STILL_LEVELS


def _warped(frame: SmallFrame, place: np.ndarray | None, canvas: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Colours, where they are usable, and distances, in the scene's pixels."""
    import cv2

    if place is None:
        return frame.rgb, frame.nobody, frame.away_m.astype(np.float32)
    usable = cv2.warpPerspective(frame.nobody.astype(np.float32), place, canvas) > 0.99
    away = cv2.warpPerspective(frame.away_m.astype(np.float32), place, canvas, borderValue=(1e3,))
    return cv2.warpPerspective(frame.rgb, place, canvas), usable, away


def _lay_over_their_mean(colors: np.ndarray, usable: np.ndarray, away: np.ndarray) -> None:
    """Undo what homographies leave, in place: a camera held by hand also shifts a little."""
    import cv2

    count = usable.sum(0)
    mean = (colors * usable[..., None]).sum(0, dtype=np.float32) / np.float32(255.0) / np.maximum(count, 1)[..., None]
    for frame in range(len(colors)):
        shown = usable[frame] & (count > 1)
        at = _laid_over(mean, colors[frame].astype(np.float32) / 255.0, shown)
        colors[frame] = cv2.remap(colors[frame], *at, cv2.INTER_LINEAR)
        usable[frame] = cv2.remap(usable[frame].astype(np.float32), *at, cv2.INTER_LINEAR) > 0.99
        away[frame] = cv2.remap(away[frame], *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _laid_over(target: np.ndarray, moved: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row where in `moved` each pixel of `target` lies: optical flow where both show the scene, smoothly continued elsewhere."""
    import cv2

    greys = [
        cv2.cvtColor((255.0 * part.clip(0.0, 1.0)).astype(np.uint8), cv2.COLOR_RGB2GRAY) for part in (target, moved)
    ]
    greys = [np.where(shown, grey, 0) for grey in greys]
    flow = np.zeros((*shown.shape, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(greys[0], greys[1], flow)
    sure = cv2.erode(shown.astype(np.float32), np.ones((_SEAM_PX, _SEAM_PX)))
    height, width = shown.shape
    # What is smooth can be computed on few pixels.
    few = max(1, width // _COARSER), max(1, height // _COARSER)
    both = cv2.resize(np.dstack([flow * sure[..., None], sure]), few, interpolation=cv2.INTER_AREA)
    near = _NEAR_PX / _COARSER
    spread = cv2.GaussianBlur(both, (0, 0), near) + 1e-3 * cv2.GaussianBlur(both, (0, 0), 5.0 * near)
    shift = cv2.resize(spread[..., :2] / np.maximum(spread[..., 2:], 1e-6), (width, height))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return columns + shift[..., 0], rows + shift[..., 1]


def _evenly_bright(colors: np.ndarray, far: np.ndarray) -> Float[np.ndarray, "frames rows columns 3"]:
    """Colours in [0, 1] with each frame's exposure taken out, where far from the person enough is to be seen."""
    values = colors.astype(np.float32) / 255.0
    rows, columns = np.nonzero(far.sum(0) >= max(2, len(far) // 2))
    if len(rows) < _LEAST_FAR:
        return values
    some = np.linspace(0, len(rows) - 1, min(len(rows), _COMPARED)).astype(int)
    at = (slice(None), rows[some], columns[some])
    shown = np.where(far[at][..., None], values[at], np.nan)
    middle = np.nanmedian(shown, axis=0)
    fair = (middle.min(1) > _DARK) & (middle.max(1) < _BRIGHT)
    if int(fair.sum()) < _LEAST_FAR:
        return values
    for frame, ratio in enumerate(shown[:, fair] / middle[fair]):
        if np.isfinite(ratio[:, 0]).sum() >= _LEAST_FAR:
            values[frame] /= np.nanmedian(ratio, axis=0)
    return values


class Places:
    """How frames lie over each other, found one after the other in order of time."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self._found: dict[int, np.ndarray] = {}
        self._shares: list[float] = []
        self._size_px = (0, 0)
        self._key: tuple[np.ndarray, np.ndarray] | None = None
        """Grey values and points of the key frame."""
        self._T_first_key = np.eye(3)
        self._before: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        """Grey values, mask and place in the key frame of the frame before."""

    def add(
        self, index: int, rgb: UInt8[np.ndarray, "height width 3"], nobody: Bool[np.ndarray, "height width"]
    ) -> None:
        """Lay the next frame over those before."""
        import cv2

        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        self.indices.append(index)
        self._size_px = (grey.shape[1], grey.shape[0])
        if self._key is None:
            self._key, place = (grey, _corners(grey, nobody)), np.eye(3)
        else:
            place, left = self._in_key(grey, nobody)
            if (place is None or left < _LOST) and self._before is not None:
                before, open_, at = self._before
                self._T_first_key = self._T_first_key @ at
                self._key, self._before = (before, _corners(before, open_)), (before, open_, np.eye(3))
                place, _ = self._in_key(grey, nobody)
        if place is not None:
            self._before = (grey, nobody, place)
            self._found[index] = self._T_first_key @ place

    def _in_key(self, grey: np.ndarray, nobody: np.ndarray) -> tuple[np.ndarray | None, float]:
        """The frame's place in the key frame, and which share of the key frame's points is still in view."""
        import cv2

        assert self._key is not None
        key, points = self._key
        if len(points) < _LEAST_POINTS:
            return None, 0.0
        guess = np.linalg.inv(self._before[2]) if self._before is not None else np.eye(3)
        begun = cv2.perspectiveTransform(points, guess).astype(np.float32)
        found, ok, _ = cv2.calcOpticalFlowPyrLK(
            key, grey, points, begun, winSize=(15, 15), maxLevel=3, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
        )
        at = np.floor(found[:, 0]).astype(int)
        inside = (at >= 0).all(1) & (at[:, 0] < grey.shape[1]) & (at[:, 1] < grey.shape[0])
        kept = (ok[:, 0] > 0) & inside
        kept[kept] = nobody[at[kept, 1], at[kept, 0]]
        if int(kept.sum()) < _LEAST_POINTS:
            return None, 0.0
        place, agrees = cv2.findHomography(found[kept], points[kept], cv2.RANSAC, _AGREE_PX)
        share = float(agrees.mean()) if place is not None else 0.0
        self._shares.append(share)
        if place is None or share < _AGREEING:
            return None, 0.0
        return place, float(kept.mean())

    def still(self) -> bool:
        """Whether all frames lie exactly over each other."""
        if len(self._found) < len(self.indices):
            return False
        width, height = self._size_px
        x, y = np.meshgrid(np.linspace(0.1, 0.9, 3) * width, np.linspace(0.1, 0.9, 3) * height)
        at = np.stack([x, y], -1).reshape(-1, 2)
        moved = [np.linalg.norm(_moved(at, place) - at, axis=1).mean() for place in self._found.values()]
        return bool(np.quantile(moved, 0.9) < _STILL_PX)

    def on_canvas(self) -> tuple[dict[int, np.ndarray], tuple[int, int]] | None:
        """Places on one canvas, and its width and height; None where most frames have none, or it would be too large."""
        if len(self._found) < max(2, len(self.indices) // 2):
            return None
        width, height = self._size_px
        frame = np.array([[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]])
        corners = np.concatenate([_moved(frame, place) for place in self._found.values()])
        low, high = np.floor(corners.min(0)), np.ceil(corners.max(0))
        width, height = (int(n) for n in high - low)
        if width * height > _LARGEST * self._size_px[0] * self._size_px[1]:
            return None
        shift = np.array([[1.0, 0.0, -low[0]], [0.0, 1.0, -low[1]], [0.0, 0.0, 1.0]])
        return {index: shift @ place for index, place in self._found.items()}, (width, height)


def _corners(grey: np.ndarray, nobody: np.ndarray) -> Float[np.ndarray, "points 1 2"]:
    import cv2

    points = cv2.goodFeaturesToTrack(grey, _POINTS, _QUALITY, _APART_PX, mask=nobody.astype(np.uint8))
    return np.zeros((0, 1, 2), np.float32) if points is None else points


def _moved(points_px: Float[np.ndarray, "n 2"], place: np.ndarray) -> Float[np.ndarray, "n 2"]:
    """Where points of a frame lie."""
    import cv2

    return cv2.perspectiveTransform(points_px[None].astype(np.float64), place)[0]
