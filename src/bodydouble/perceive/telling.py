"""Whose a pixel is, frame by frame, once the body is known: odds from all that is known, joined and smoothed into a mask.

Logarithms of odds add up (`whose`), and what is undecided follows its neighbours of the same colour (fast global smoother,
Min et al. 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.body.protocol import BodyModel, ShapedBody
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.perceive.behind import Behind
from bodydouble.perceive.whose import LimbKnowledge, Seen, limb_of_face, odds
from bodydouble.render.mesh import rasterize_mesh

_LEARNT_FRAMES = 48
"""So many tell what limbs look like."""
MOST_CHANGED = 0.4
"""Where more of the person would change sides, the body is not where the person is: the first mask keeps its say."""
_PERSON_PX, _LONGEST_PX = 340, 720
"""Working size: a person of that height, and no frame larger than that."""
_ROOM_M = 0.45
"""Around the body, what a frame is looked at in."""
_SOMETHING = 12
"""Values of the first mask (of 255) above which a pixel is looked at."""
_BLUR, _EDGE = 30.0, 6.0
"""Of the smoother: how far, and which difference of colours (of 255) stops it."""
_CRISP = 3.0
"""Smoothing leaves odds too even; they are raised to this power."""
_SURE = 12
"""Of 255: what is less than this away from surely one side is that side."""

Window = tuple[slice, slice]


def learnt_from(capture: Capture, frame_indices: Sequence[int]) -> list[int]:
    """Which of the frames tell what limbs and scene look like: some of those that are not held out, evenly."""
    free = set(capture.train_indices())
    open_ = [i for i in frame_indices if i in free] or list(frame_indices)
    return [open_[k] for k in np.unique(np.linspace(0, len(open_) - 1, _LEARNT_FRAMES).round().astype(int))]


def others_in_view(capture: Capture) -> bool:
    """Whether what differs from the scene behind may be somebody else."""
    return any(warning["code"] == "several_people" for warning in capture.warnings)


def working_size(size_px: tuple[int, int], person_px: float) -> tuple[int, int]:
    """Width and height at which frames are looked at.

    Args:
        size_px: Width and height of the video.
        person_px: How tall the person usually is in it; 0 where nobody knows.
    """
    scale = min(1.0, _PERSON_PX / max(1.0, person_px), _LONGEST_PX / max(size_px))
    return max(1, round(size_px[0] * scale)), max(1, round(size_px[1] * scale))


class Looker:
    """Frames at working size, beside the fitted body.

    Args:
        body: Of the track.
        track: The fitted body.
        size_px: Width and height of the working size.
    """

    def __init__(self, body: BodyModel, track: BodyTrack, size_px: tuple[int, int]) -> None:
        self.track, self.size_px = track, size_px
        self._limbs, self._faces = limb_of_face(body), body.faces
        self._shaped: ShapedBody = body.with_shape(track.shape)
        self._rows = {int(i): row for row, i in enumerate(track.frame_indices)}
        whole = video_camera(track.width_px, track.height_px, float(track.focal_px))
        # How far the body is away is needed to a centimetre only: half the working size will do.
        half = max(1, size_px[0] // 2), max(1, size_px[1] // 2)
        self._camera = whole.cropped(0.0, 0.0, (float(track.width_px), float(track.height_px)), half)

    def small(self, picture: np.ndarray) -> np.ndarray:
        """A picture or mask at working size."""
        import cv2

        return np.asarray(cv2.resize(picture, self.size_px, interpolation=cv2.INTER_AREA))

    def look(self, index: int, rgb: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"]) -> Seen:
        """What is known of every pixel before anything is decided.

        Args:
            index: Source frame.
            rgb, mask: The frame and its first mask, at working size.
        """
        import cv2

        vertices = self._shaped.with_pose(self.track.pose(self._rows[index])).vertices().detach()
        seen = rasterize_mesh(vertices, self._faces, self._camera).face_index.numpy()
        bare = seen >= 0
        if not bare.any():
            away, limb = np.full(mask.shape, 1e3, np.float32), np.zeros(mask.shape, np.uint8)
            return Seen(rgb=rgb, first_mask=mask, limb=limb, away_m=away, metre_px=1.0)
        outer, label = cv2.distanceTransformWithLabels(
            (~bare).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        inner = cv2.distanceTransform(bare.view(np.uint8), cv2.DIST_L2, 5)
        limb_at = np.zeros(int(label.max()) + 1, np.uint8)
        limb_at[label[bare]] = self._limbs[seen[bare]]
        depth_m = max(0.2, float(self._camera.project(vertices)[1].median()))
        half_metre_px = float(self._camera.focal_px[0]) / depth_m
        away = np.where(bare, 0.5 - inner, outer - 0.5).astype(np.float32) / np.float32(half_metre_px)
        return Seen(
            rgb=rgb,
            first_mask=mask,
            limb=cv2.resize(limb_at[np.asarray(label, np.int64)], self.size_px, interpolation=cv2.INTER_NEAREST),
            away_m=cv2.resize(away, self.size_px),
            metre_px=half_metre_px * self.size_px[0] / self._camera.width_px,
        )


def told_mask(
    seen: Seen, knowledge: LimbKnowledge, behind: Callable[[Window, Seen], Behind | None]
) -> Float[np.ndarray, "height width"]:
    """How likely each pixel is the person's.

    Args:
        seen: The frame.
        knowledge: Of all frames.
        behind: The scene in a part of the frame, given the part and what is known of it.
    """
    matte = np.zeros(seen.limb.shape, np.float32)
    near = (seen.away_m < _ROOM_M) | (seen.first_mask > _SOMETHING)
    lines, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if not lines.size:
        return matte
    window = slice(int(lines[0]), int(lines[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    part = seen.part(window)
    told = odds(part, knowledge, behind(window, part))
    likely = 1.0 / (1.0 + np.exp(-told))
    matte[window] = _joined(_smoothed(part.rgb, likely.astype(np.float32)), part)
    return matte


def changed_share(matte: Float[np.ndarray, "h w"], mask: UInt8[np.ndarray, "h w"]) -> float:
    """Pixels that changed sides, in parts of the person's."""
    return float(((matte > 0.5) != (mask > 127)).sum() / max(1, (mask > 127).sum()))


def full_size(matte: Float[np.ndarray, "h w"], size_px: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    """The mask as captures have it, of this width and height."""
    import cv2

    likely = cv2.resize(matte, size_px, interpolation=cv2.INTER_LINEAR).clip(0.002, 0.998)
    ratio = (likely / (1.0 - likely)) ** _CRISP
    mask = (255.0 * ratio / (1.0 + ratio)).round().astype(np.uint8)
    mask[mask < _SURE] = 0
    mask[mask > 255 - _SURE] = 255
    return mask


def _joined(matte: np.ndarray, seen: Seen) -> Float[np.ndarray, "height width"]:
    """Without what is not joined to the fitted body."""
    import cv2

    label = np.asarray(cv2.connectedComponents((matte > 0.5).view(np.uint8), connectivity=4)[1], np.int64)
    counts = np.bincount(label[seen.away_m < 0.0], minlength=int(label.max()) + 1)
    kept = counts >= max(1.0, 1e-3 * counts[1:].sum())
    kept[0] = False
    near = cv2.dilate(kept[label].view(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.where(near, matte, 0.0)


def _smoothed(rgb: np.ndarray, likely: np.ndarray) -> Float[np.ndarray, "height width"]:
    """What is undecided follows its neighbours of the same colour."""
    import cv2

    contrib: Any = cv2  # the stubs know nothing of ximgproc, which is in mediapipe's OpenCV
    sure = 2.0 * np.abs(likely - 0.5) + np.float32(0.02)
    rgb = np.ascontiguousarray(rgb)
    smoother = contrib.ximgproc.createFastGlobalSmootherFilter(rgb, _BLUR, _EDGE)
    told, weight = smoother.filter(likely * sure), smoother.filter(sure)
    return (told / np.maximum(weight, 1e-5)).clip(0.0, 1.0)
