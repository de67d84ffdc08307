"""Points of the background, followed from frame to frame (pyramidal Lucas-Kanade, checked in both directions)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

_LONGER_SIDE_PX = 960
"""Frames larger than this are shrunk before points are followed."""
_LEAST_SHARED = 25
"""Points that two frames must share to be compared."""
_WINDOW_PX, _LEVELS = 17, 3
_LOOP_PX = 0.5
"""A point that does not return to its start within this distance is lost."""
_QUALITY = 0.004
"""Corners weaker than this share of the strongest are no corners."""
_MARGIN_PX = 6


@dataclass(frozen=True, kw_only=True)
class BackgroundTracks:
    """Sightings of background points: one row for each point in each frame that shows it, ordered by frame."""

    num_frames: int
    num_points: int
    width_px: int
    height_px: int
    frame: Int[ndarray, " sightings"]
    """Row of the frame."""
    point: Int[ndarray, " sightings"]
    xy_px: Float[ndarray, "sightings 2"]
    """In the full image; the centre of the top left pixel is (0.5, 0.5)."""
    rgb: Float[ndarray, "points 3"]
    """Colour where each point was first seen, in [0, 1]."""

    def of_frame(self, frame: int) -> tuple[Int[ndarray, " seen"], Float[ndarray, "seen 2"]]:
        """Points of a frame and where they are."""
        start, stop = np.searchsorted(self.frame, [frame, frame + 1])
        return self.point[start:stop], self.xy_px[start:stop]

    def shared(self, first: int, second: int) -> tuple[ndarray, ndarray, ndarray]:
        """Points seen in both frames, and where they are in each."""
        a, xy_a = self.of_frame(first)
        b, xy_b = self.of_frame(second)
        points, at_a, at_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
        return points, xy_a[at_a], xy_b[at_b]


def follow_background(
    frames: Iterable[tuple[int, UInt8[ndarray, "height width 3"]]],
    person: Callable[[int], Bool[ndarray, "height width"]],
    *,
    num_frames: int,
    most_points: int = 900,
) -> BackgroundTracks:
    """Follow corners of the background; where too few are left, new ones are taken up.

    Args:
        frames: Row and picture, rows ascending. Rows may be left out.
        person: Where the person may be in the frame of a row, with a margin; no point there is looked at.
        num_frames: Rows there are.
        most_points: At a time.
    """
    follower = _Follower(most_points)
    for row, rgb in frames:
        follower.add(row, rgb, person(row))
    return follower.tracks(num_frames)


class _Follower:
    def __init__(self, most_points: int) -> None:
        self._most = most_points
        self._before: Any = None
        self._xy = np.zeros((0, 2), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._rows: list[tuple[int, ndarray, ndarray]] = []
        self._colors: list[ndarray] = []
        self._count = 0
        self._size = (0, 0)
        self._scale = 1.0

    def add(self, row: int, rgb: ndarray, person: ndarray) -> None:
        import cv2

        self._size = (rgb.shape[1], rgb.shape[0])
        self._scale = min(1.0, _LONGER_SIDE_PX / max(self._size))
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        if self._scale < 1.0:
            gray = cv2.resize(gray, None, fx=self._scale, fy=self._scale, interpolation=cv2.INTER_AREA)
        open_ = ~person
        if open_.shape != gray.shape:
            shrunk = cv2.resize(open_.astype(np.uint8), gray.shape[::-1], interpolation=cv2.INTER_NEAREST)
            open_ = shrunk.astype(bool)
        if self._before is not None and len(self._xy):
            self._advance(gray, open_)
        self._replenish(gray, open_, rgb)
        self._before = gray
        scale = np.array([self._size[0] / gray.shape[1], self._size[1] / gray.shape[0]])
        self._rows.append((row, self._ids.copy(), (self._xy.astype(np.float64) + 0.5) * scale))

    def tracks(self, num_frames: int) -> BackgroundTracks:
        counts = [len(ids) for _, ids, _ in self._rows]
        empty = np.zeros((0, 2))
        return BackgroundTracks(
            num_frames=num_frames,
            num_points=self._count,
            width_px=self._size[0],
            height_px=self._size[1],
            frame=np.repeat(np.array([row for row, _, _ in self._rows], np.int64), counts),
            point=np.concatenate([ids for _, ids, _ in self._rows] or [np.zeros(0, np.int64)]),
            xy_px=np.concatenate([xy for _, _, xy in self._rows] or [empty]),
            rgb=np.concatenate(self._colors or [np.zeros((0, 3))]),
        )

    def _advance(self, gray: ndarray, open_: ndarray) -> None:
        import cv2

        options: dict[str, Any] = {"winSize": (_WINDOW_PX, _WINDOW_PX), "maxLevel": _LEVELS, "minEigThreshold": 1e-4}
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01)
        options["criteria"] = criteria
        guess: Any = None
        there, found, _ = cv2.calcOpticalFlowPyrLK(self._before, gray, self._xy, guess, **options)
        back, returned, _ = cv2.calcOpticalFlowPyrLK(gray, self._before, there, guess, **options)
        kept = (found[:, 0] > 0) & (returned[:, 0] > 0)
        kept &= np.linalg.norm(back - self._xy, axis=1) < _LOOP_PX
        height, width = gray.shape
        kept &= (there >= _MARGIN_PX).all(1) & (there[:, 0] < width - _MARGIN_PX) & (there[:, 1] < height - _MARGIN_PX)
        column, line = (np.clip(there[:, k].round().astype(int), 0, n - 1) for k, n in ((0, width), (1, height)))
        kept &= open_[line, column]
        self._xy, self._ids = there[kept], self._ids[kept]

    def _replenish(self, gray: ndarray, open_: ndarray, rgb: ndarray) -> None:
        import cv2

        missing = self._most - len(self._xy)
        if missing < 0.15 * self._most:
            return
        apart = max(gray.shape) / np.sqrt(self._most) / 1.6
        free = (open_ * np.uint8(255)).copy()
        free[:_MARGIN_PX], free[-_MARGIN_PX:], free[:, :_MARGIN_PX], free[:, -_MARGIN_PX:] = 0, 0, 0, 0
        for x, y in self._xy:
            cv2.circle(free, (round(float(x)), round(float(y))), int(apart), (0,), -1)
        corners = cv2.goodFeaturesToTrack(gray, missing, _QUALITY, apart, mask=free, blockSize=5)
        if corners is None:
            return
        fresh = cv2.cornerSubPix(
            gray, corners.copy(), (3, 3), (-1, -1), (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.02)
        )[:, 0]
        nearest = fresh.round().astype(int)  # refinement may have drawn a corner over the edge
        height, width = gray.shape
        fresh = fresh[free[np.clip(nearest[:, 1], 0, height - 1), np.clip(nearest[:, 0], 0, width - 1)] > 0]
        full = (fresh / self._scale).round().astype(int)
        self._colors.append(
            rgb[np.clip(full[:, 1], 0, rgb.shape[0] - 1), np.clip(full[:, 0], 0, rgb.shape[1] - 1)] / 255.0
        )
        self._xy = np.concatenate([self._xy, fresh]).astype(np.float32)
        self._ids = np.concatenate([self._ids, self._count + np.arange(len(fresh))])
        self._count += len(fresh)


def motion_between(
    tracks: BackgroundTracks,
) -> tuple[Float[ndarray, " pairs"], Int[ndarray, "pairs 2"]]:
    """How far the background moved between frames: the median over the points that two frames share.

    Frames are compared with the earliest that shares enough points with them, so that slow motion adds up.
    """
    rows = np.unique(tracks.frame)
    medians, pairs = [], []
    for later in rows[1:]:
        for earlier in rows[rows < later]:
            _, xy_a, xy_b = tracks.shared(int(earlier), int(later))
            if len(xy_a) >= _LEAST_SHARED:
                medians.append(float(np.median(np.linalg.norm(xy_b - xy_a, axis=1))))
                pairs.append((earlier, later))
                break
    return np.array(medians), np.array(pairs, np.int64).reshape(-1, 2)
