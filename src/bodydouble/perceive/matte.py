"""Silhouettes told anew once the body is known: whose each pixel is, by network, body, colours and the scene behind.

The network sees one frame at a time. It loses hands, and takes what shows between arm and trunk for the person, in the same
frames again and again. After the fit more is known: where the body is; how far from each of its limbs the network finds
somebody in most frames; which colours each limb has; and, where the camera shows it at some other time, what is behind. Each
says how likely a pixel is the person's; logarithms of odds add up, and what is undecided follows its neighbours of the same
colour (fast global smoother, Min et al. 2014).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.body.protocol import BodyModel, ShapedBody
from bodydouble.capture.folder import Capture, mask_name, write_mask
from bodydouble.capture.values import BodyTrack
from bodydouble.capture.video import Frame
from bodydouble.core.cameras import video_camera
from bodydouble.core.events import Done, Event, Progress
from bodydouble.core.files import atomic_path
from bodydouble.perceive.behind import Places, Scene, SmallFrame, gather_scene
from bodydouble.perceive.whose import LimbCounts, LimbKnowledge, Seen, limb_of_face, odds
from bodydouble.render.mesh import rasterize_mesh
from bodydouble.render.threads import side_by_side

_PERSON_PX, _LONGEST_PX = 340, 720
"""Working size: a person of that height, and no frame larger than that."""
_LEARNT_FRAMES = 48
_AT_ONCE = 8
"""Frames in memory."""
_ROOM_M = 0.45
"""Around the body, what a frame is looked at in."""
_NOBODY, _SOMETHING = 77, 12
"""Network values (of 255) up to which nobody is seen, for the scene behind, and above which a pixel is looked at."""
_MOST_CHANGED = 0.4
"""Where more would change, the body is not where the person is: the network keeps its say."""
_BLUR, _EDGE = 30.0, 6.0
"""Of the smoother: how far, and which difference of colours (of 255) stops it."""
_CRISP = 3.0
"""Smoothing leaves odds too even; they are raised to this power."""
_SURE = 12
"""Of 255: what is less than this away from surely one side is that side."""


@dataclass(frozen=True)
class MatteFacts:
    """What is worth remembering."""

    frames: int
    """That have a matte."""
    scene: str
    """"still", "moving" or "unknown": what was known of the scene behind."""
    changed_share: float
    """Pixels that changed sides, in parts of the person's; median over frames."""


def write_mattes(
    capture: Capture,
    body: BodyModel,
    track: BodyTrack,
    emit: Callable[[Event], None],
    frame_indices: Sequence[int] | None = None,
) -> MatteFacts:
    """Tell person from background anew in a capture whose body is fitted; `Capture.mask` answers with it from then on.

    Args:
        capture: With the network's masks; gets mattes besides.
        body: Of the track.
        track: The fitted body.
        emit: Told about progress.
        frame_indices: Source frames that are wanted; None for all of the track.
    """
    began = time.perf_counter()
    looker = _Looker(capture, body, track)
    asked = looker.usable if frame_indices is None else set(frame_indices)
    wanted = [i for i in looker.usable if i in asked]
    changed: list[float] = []
    scene: Scene | None = None
    with atomic_path(capture.mattes_folder) as folder:
        folder.mkdir()
        if wanted:
            knowledge, scene = _learn(looker, wanted, emit)
            if any(warning["code"] == "several_people" for warning in capture.warnings):
                scene = None  # what differs from it may be somebody else
            changed = _tell_all(looker, wanted, knowledge, scene, folder, emit)
    facts = MatteFacts(
        frames=sum(share <= _MOST_CHANGED for share in changed),
        scene="unknown" if scene is None else "moving" if scene.moves else "still",
        changed_share=float(np.median(changed)) if changed else 0.0,
    )
    capture.record_stage("matte", dataclasses.asdict(facts))
    emit(Done(stage="matte", seconds=time.perf_counter() - began))
    return facts


class _Looker:
    """Frames at working size, beside the fitted body."""

    def __init__(self, capture: Capture, body: BodyModel, track: BodyTrack) -> None:
        self.capture, self.track = capture, track
        self.limbs = limb_of_face(body)
        self._faces = body.faces
        self._shaped: ShapedBody = body.with_shape(track.shape)
        self._rows = {int(i): row for row, i in enumerate(track.frame_indices)}
        self.usable = [
            i
            for i, row in self._rows.items()
            if bool(track.valid[row]) and (capture.masks_folder / mask_name(i)).exists()
        ]
        width, height = capture.info.width_px, capture.info.height_px
        tall = [self._height_px(i) for i in self.usable[:: max(1, len(self.usable) // 12)]]
        scale = min(
            1.0, _PERSON_PX / max(1.0, float(np.median(tall))) if tall else 1.0, _LONGEST_PX / max(width, height)
        )
        self.size_px = max(1, round(width * scale)), max(1, round(height * scale))
        whole = video_camera(width, height, float(track.focal_px))
        # How far the body is away is needed to a centimetre only: half the working size will do.
        half = max(1, self.size_px[0] // 2), max(1, self.size_px[1] // 2)
        self._camera = whole.cropped(0.0, 0.0, (float(width), float(height)), half)

    def _mask(self, index: int) -> UInt8[np.ndarray, "height width"] | None:
        return self.capture.observed_mask(index)

    def _height_px(self, index: int) -> float:
        mask = self._mask(index)
        rows = np.flatnonzero((mask > 127).any(1)) if mask is not None else np.zeros(0)
        return float(rows[-1] - rows[0] + 1) if rows.size else float(self.capture.info.height_px)

    def small(self, frame: Frame) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """Picture and network's mask at working size."""
        import cv2

        mask = self._mask(frame.index)
        assert mask is not None, "usable frames have masks"
        area = cv2.INTER_AREA
        rgb = np.asarray(cv2.resize(frame.rgb, self.size_px, interpolation=area))
        return rgb, np.asarray(cv2.resize(mask, self.size_px, interpolation=area))

    def look(self, index: int, rgb: np.ndarray, mask: np.ndarray) -> Seen:
        """What is known of every pixel before anything is decided."""
        import cv2

        vertices = self._shaped.with_pose(self.track.pose(self._rows[index])).vertices().detach()
        seen = rasterize_mesh(vertices, self._faces, self._camera).face_index.numpy()
        bare = seen >= 0
        if not bare.any():
            away, limb = np.full(mask.shape, 1e3, np.float32), np.zeros(mask.shape, np.uint8)
            return Seen(rgb=rgb, network=mask, limb=limb, away_m=away, metre_px=1.0)
        outer, label = cv2.distanceTransformWithLabels(
            (~bare).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        inner = cv2.distanceTransform(bare.view(np.uint8), cv2.DIST_L2, 5)
        limb_at = np.zeros(int(label.max()) + 1, np.uint8)
        limb_at[label[bare]] = self.limbs[seen[bare]]
        depth_m = max(0.2, float(self._camera.project(vertices)[1].median()))
        half_metre_px = float(self._camera.focal_px[0]) / depth_m
        away = np.where(bare, 0.5 - inner, outer - 0.5).astype(np.float32) / np.float32(half_metre_px)
        return Seen(
            rgb=rgb,
            network=mask,
            limb=cv2.resize(limb_at[np.asarray(label, np.int64)], self.size_px, interpolation=cv2.INTER_NEAREST),
            away_m=cv2.resize(away, self.size_px),
            metre_px=half_metre_px * self.size_px[0] / self._camera.width_px,
        )


def _learn(looker: _Looker, wanted: Sequence[int], emit: Callable[[Event], None]) -> tuple[LimbKnowledge, Scene | None]:
    """What limbs look like, and what is behind, from some of the frames; where all lie, from all."""
    chosen = {wanted[i] for i in np.unique(np.linspace(0, len(wanted) - 1, _LEARNT_FRAMES).round().astype(int))}
    counts, places, kept = LimbCounts(), Places(), []
    frames, done = looker.capture.frames(wanted), 0
    while few := list(islice(frames, _AT_ONCE)):
        for frame, (rgb, mask) in zip(
            few, side_by_side(lambda k, few=few: looker.small(few[k]), len(few)), strict=True
        ):
            places.add(frame.index, rgb, mask <= _NOBODY)
            if frame.index in chosen:
                seen = looker.look(frame.index, rgb, mask)
                counts.add(seen)
                kept.append(SmallFrame(frame.index, rgb, (mask <= 127) & (seen.away_m > 0.0), seen.away_m))
        done += len(few)
        emit(Progress(stage="matte", done=done, total=2 * len(wanted), unit="frames"))
    return counts.knowledge(), gather_scene(kept, places)


def _tell_all(
    looker: _Looker,
    wanted: Sequence[int],
    knowledge: LimbKnowledge,
    scene: Scene | None,
    folder: Path,
    emit: Callable[[Event], None],
) -> list[float]:
    """Write every matte into the folder; by how much each changes the network's mask, in parts of the person."""
    changed: list[float] = []

    def told(frame: Frame) -> float:
        rgb, mask = looker.small(frame)
        matte = _matte(frame.index, looker.look(frame.index, rgb, mask), knowledge, scene)
        share = float(((matte > 0.5) != (mask > 127)).sum() / max(1, (mask > 127).sum()))
        if share <= _MOST_CHANGED:
            write_mask(folder, frame.index, _full_size(matte, frame.rgb.shape[1::-1]))
        return share

    frames = looker.capture.frames(wanted)
    while few := list(islice(frames, _AT_ONCE)):
        changed += side_by_side(lambda k, few=few: told(few[k]), len(few))
        emit(Progress(stage="matte", done=len(wanted) + len(changed), total=2 * len(wanted), unit="frames"))
    return changed


def _matte(index: int, seen: Seen, knowledge: LimbKnowledge, scene: Scene | None) -> Float[np.ndarray, "height width"]:
    """How likely each pixel is the person's."""
    matte = np.zeros(seen.limb.shape, np.float32)
    near = (seen.away_m < _ROOM_M) | (seen.network > _SOMETHING)
    lines, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if not lines.size:
        return matte
    window = slice(int(lines[0]), int(lines[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    part = seen.part(window)
    behind = None if scene is None else scene.behind(index, window, part.rgb, part.network <= _NOBODY)
    told = odds(part, knowledge, behind)
    likely = 1.0 / (1.0 + np.exp(-told))
    matte[window] = _joined(_smoothed(part.rgb, likely.astype(np.float32)), part)
    return matte


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


def _full_size(matte: np.ndarray, size_px: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    import cv2

    likely = cv2.resize(matte, size_px, interpolation=cv2.INTER_LINEAR).clip(0.002, 0.998)
    ratio = (likely / (1.0 - likely)) ** _CRISP
    mask = (255.0 * ratio / (1.0 + ratio)).round().astype(np.uint8)
    mask[mask < _SURE] = 0
    mask[mask > 255 - _SURE] = 255
    return mask
