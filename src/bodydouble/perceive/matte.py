"""Silhouettes told anew once the body is known: whose each pixel is, by network, body, colours and the scene behind.

The network sees one frame at a time. It loses hands, and takes what shows between arm and trunk for the person, in the same
frames again and again. After the fit more is known: where the body is; how far from each of its limbs the network finds
somebody in most frames; which colours each limb has; and, where the camera shows it at some other time, what is behind. Each
says how likely a pixel is the person's (`telling`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture, mask_name, write_mask
from bodydouble.capture.values import BodyTrack
from bodydouble.capture.video import Frame
from bodydouble.core.events import Done, Event, Progress
from bodydouble.core.files import atomic_path
from bodydouble.perceive.behind import Places, Scene, SmallFrame, gather_scene
from bodydouble.perceive.telling import (
    MOST_CHANGED,
    Looker,
    changed_share,
    full_size,
    learnt_from,
    others_in_view,
    told_mask,
    working_size,
)
from bodydouble.perceive.whose import LimbCounts, LimbKnowledge
from bodydouble.render.threads import stream_side_by_side

_NOBODY = 77
"""Network values (of 255) up to which nobody is seen, for the scene behind."""


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
    fitted = track.frame_indices[track.valid].tolist()
    usable = [i for i in fitted if (capture.masks_folder / mask_name(i)).exists()]
    asked = set(usable if frame_indices is None else frame_indices)
    wanted = [i for i in usable if i in asked]
    changed: list[float] = []
    scene: Scene | None = None
    with atomic_path(capture.mattes_folder) as folder:
        folder.mkdir()
        if wanted:
            looker = Looker(body, track, working_size(_size_px(capture), _person_px(capture, usable)))
            knowledge, scene = _learn(capture, looker, wanted, emit)
            if others_in_view(capture):
                scene = None
            changed = _tell_all(capture, looker, wanted, knowledge, scene, folder, emit)
    facts = MatteFacts(
        frames=sum(share <= MOST_CHANGED for share in changed),
        scene="unknown" if scene is None else "moving" if scene.moves else "still",
        changed_share=float(np.median(changed)) if changed else 0.0,
    )
    capture.record_stage("matte", dataclasses.asdict(facts))
    emit(Done(stage="matte", seconds=time.perf_counter() - began))
    return facts


def _size_px(capture: Capture) -> tuple[int, int]:
    return capture.info.width_px, capture.info.height_px


def _person_px(capture: Capture, usable: Sequence[int]) -> float:
    """How tall the person is, by the network."""
    tall = []
    for index in usable[:: max(1, len(usable) // 12)]:
        rows = np.flatnonzero((_mask(capture, index) > 127).any(1))
        tall.append(float(rows[-1] - rows[0] + 1) if rows.size else float(capture.info.height_px))
    return float(np.median(tall))


def _mask(capture: Capture, index: int) -> UInt8[np.ndarray, "height width"]:
    mask = capture.observed_mask(index)
    assert mask is not None, "usable frames have masks"
    return mask


def _small(capture: Capture, looker: Looker, frame: Frame) -> tuple[int, np.ndarray, np.ndarray]:
    """Source index, and picture and network's mask at working size."""
    return frame.index, looker.small(frame.rgb), looker.small(_mask(capture, frame.index))


def _learn(
    capture: Capture, looker: Looker, wanted: Sequence[int], emit: Callable[[Event], None]
) -> tuple[LimbKnowledge, Scene | None]:
    """What limbs look like, and what is behind, from some of the frames; where all lie, from all."""
    chosen = set(learnt_from(capture, wanted))
    counts, places, kept = LimbCounts(), Places(), []
    frames = stream_side_by_side(lambda frame: _small(capture, looker, frame), capture.frames(wanted))
    for done, (index, rgb, mask) in enumerate(frames, start=1):
        places.add(index, rgb, mask <= _NOBODY)
        if index in chosen:
            seen = looker.look(index, rgb, mask)
            counts.add(seen)
            kept.append(SmallFrame(index, rgb, (mask <= 127) & (seen.away_m > 0.0), seen.away_m))
        emit(Progress(stage="matte", done=done, total=2 * len(wanted), unit="frames"))
    return counts.knowledge(), gather_scene(kept, places)


def _tell_all(
    capture: Capture,
    looker: Looker,
    wanted: Sequence[int],
    knowledge: LimbKnowledge,
    scene: Scene | None,
    folder: Path,
    emit: Callable[[Event], None],
) -> list[float]:
    """Write every matte into the folder; by how much each changes the network's mask, in parts of the person."""
    changed: list[float] = []

    def told(frame: Frame) -> float:
        _, rgb, mask = _small(capture, looker, frame)
        matte = told_mask(
            looker.look(frame.index, rgb, mask),
            knowledge,
            lambda window, part: (
                None if scene is None else scene.behind(frame.index, window, part.rgb, part.first_mask <= _NOBODY)
            ),
        )
        share = changed_share(matte, mask)
        if share <= MOST_CHANGED:
            write_mask(folder, frame.index, full_size(matte, _size_px(capture)))
        return share

    for share in stream_side_by_side(told, capture.frames(wanted)):
        changed.append(share)
        emit(Progress(stage="matte", done=len(wanted) + len(changed), total=2 * len(wanted), unit="frames"))
    return changed
