"""Masks of every frame: the double's outline, told anew by colours and by the world behind.

One shape on bones cannot follow every hem and finger, and poses are off by a centimetre or two. Where its outline lies is a
good first guess; the picture itself tells the rest: which colours each limb has, which there are around, and what the world,
learnt with the double, shows there without anybody (`perceive.telling`). No network takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture, write_mask
from bodydouble.capture.values import BodyTrack
from bodydouble.capture.video import Frame
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.events import Event, Progress
from bodydouble.perceive.behind import Behind
from bodydouble.perceive.telling import (
    MOST_CHANGED,
    Looker,
    Window,
    changed_share,
    full_size,
    learnt_from,
    others_in_view,
    told_mask,
    working_size,
)
from bodydouble.perceive.whose import LimbCounts, Seen
from bodydouble.reconstruct.surface.plate import PlateWorld
from bodydouble.reconstruct.surface.values import World
from bodydouble.reconstruct.surface.world_pictures import WorldPictures
from bodydouble.render.threads import stream_side_by_side

Outline = Callable[[int, Camera], Float[np.ndarray, "height width"]]
"""How much of each of a camera's pixels the double covers, in one row of the track."""

_OFF_M, _SWING_M = 0.012, 0.06
"""So far outlines are usually off: of what is near the body, and of cloth that hangs far from it and swings."""
_LOOSE_M = 0.02, 0.08
"""So far from the bare body that begins and fully holds."""


def write_silhouettes(
    track: BodyTrack,
    world: World,
    capture: Capture,
    body: BodyModel,
    outline: Outline,
    folder: Path,
    emit: Callable[[Event], None],
    frame_indices: Sequence[int] | None = None,
) -> None:
    """Write the person's mask of frames as 8-bit PNGs by source frame index, as a capture has them.

    Args:
        track: The body, as training left it.
        world: What is behind the person.
        capture, body: The video, and the body of that track.
        outline: The double's.
        folder: Where masks go; made if it is missing.
        emit: Told about progress.
        frame_indices: Source frames that are wanted; None for all of the track. Those that are not held
            out tell what limbs look like. Where the body does not fit, nobody is.
    """
    valid = dict(zip(track.frame_indices.tolist(), track.valid.tolist(), strict=True))
    asked = set(valid if frame_indices is None else frame_indices)
    wanted, fitted = [i for i in valid if i in asked], [i for i in valid if valid[i]]
    folder.mkdir(parents=True, exist_ok=True)
    size_px = track.width_px, track.height_px
    nobody = np.zeros(size_px[::-1], np.uint8)
    teller = _Teller(track, world, capture, body, outline, fitted) if fitted else None

    def write(frame: Frame) -> None:
        there = teller is not None and valid[frame.index]
        write_mask(folder, frame.index, teller.mask(frame) if teller is not None and there else nobody)

    for done, _ in enumerate(stream_side_by_side(write, capture.frames(wanted)), start=1):
        emit(Progress(stage="silhouettes", done=done, total=len(wanted), unit="frames"))


class _Teller:
    """Looks at frames beside the double."""

    def __init__(
        self,
        track: BodyTrack,
        world: World,
        capture: Capture,
        body: BodyModel,
        outline: Outline,
        fitted: Sequence[int],
    ) -> None:
        self._rows = {int(index): row for row, index in enumerate(track.frame_indices)}
        self._size_px = track.width_px, track.height_px
        self._outline = outline
        self._still = isinstance(world, PlateWorld)
        self._others = others_in_view(capture)
        whole = video_camera(*self._size_px, float(track.focal_px))
        box = 0.0, 0.0, (float(track.width_px), float(track.height_px))
        rough = whole.cropped(*box, working_size(self._size_px, 0.0))
        tall = [_height(outline(self._rows[i], rough)) for i in fitted[:: max(1, len(fitted) // 12)]]
        person_px = float(np.median(tall)) * track.height_px / rough.height_px
        self._looker = Looker(body, track, working_size(self._size_px, person_px))
        self._camera = whole.cropped(*box, self._looker.size_px)
        self._shown = WorldPictures(world, self._size_px, self._looker.size_px)
        counts = LimbCounts()
        for seen, _ in stream_side_by_side(self._seen, capture.frames(learnt_from(capture, fitted))):
            counts.add(seen)
        self._knowledge = counts.knowledge()

    def mask(self, frame: Frame) -> UInt8[np.ndarray, "height width"]:
        """Of one frame, at full size."""
        seen, outline = self._seen(frame)

        def behind(window: Window, part: Seen) -> Behind | None:
            if self._others:
                return None
            world, certain = self._shown(frame.index, window)
            return Behind(
                rgb=np.ascontiguousarray(world.numpy(), np.float32),
                known=np.ascontiguousarray(certain),
                moves=not self._still,
            )

        matte = told_mask(seen, self._knowledge, behind)
        if changed_share(matte, outline) > MOST_CHANGED:
            matte = outline.astype(np.float32) / np.float32(255.0)
        return full_size(matte, self._size_px)

    def _seen(self, frame: Frame) -> tuple[Seen, UInt8[np.ndarray, "height width"]]:
        """What is known of a frame, with its outline as soft as that is usually off; and the crisp one."""
        alpha = self._outline(self._rows[frame.index], self._camera)
        outline = (alpha * 255.0 + 0.5).astype(np.uint8)
        seen = self._looker.look(frame.index, self._looker.small(frame.rgb), outline)
        return seen.with_mask(softened(outline, seen)), outline


def softened(outline: UInt8[np.ndarray, "h w"], seen: Seen) -> UInt8[np.ndarray, "h w"]:
    """An outline with edges as soft as it is usually off: more so where cloth hangs far from the body."""
    import cv2

    near, far = (cv2.GaussianBlur(outline, (0, 0), max(0.3, off * seen.metre_px)) for off in (_OFF_M, _SWING_M))
    loose = ((seen.away_m - _LOOSE_M[0]) / (_LOOSE_M[1] - _LOOSE_M[0])).clip(0.0, 1.0)
    return (near + loose * (far.astype(np.float32) - near) + 0.5).astype(np.uint8)


def _height(alpha: Float[np.ndarray, "height width"]) -> int:
    rows = np.flatnonzero((alpha > 0.5).any(1))
    return int(rows[-1] - rows[0] + 1) if rows.size else len(alpha)
