"""Who is filmed: finding all people in a few frames, choosing one, and staying with that one.

The landmark networks know one person only. Others are found by covering those already found and looking again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from bodydouble.perceive.mediapipe_holistic import BODY_INDEX

MAX_PEOPLE = 3
_TORSO = [BODY_INDEX[n] for n in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")]
_MIN_TORSO_VISIBILITY = 0.6
_MIN_HEIGHT = 0.12
"""Smaller people, in parts of the picture's height, are background."""
_RIVAL_HEIGHT = 0.3
"""Others count when they are at least this tall compared with the subject."""

Box = tuple[float, float, float, float]


@runtime_checkable
class Finder(Protocol):
    """Finds the most prominent person of an image."""

    def find(
        self, rgb: UInt8[np.ndarray, "height width 3"]
    ) -> tuple[Float32[np.ndarray, "33 2"], Float32[np.ndarray, " 33"]] | None:
        """Body landmarks in pixels and their visibility, or None."""
        ...


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody found in one sampled frame."""

    frame_index: int
    box_px: Box
    score: float
    """Torso visibility in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The chosen person."""

    anchors: tuple[Person, ...]
    """Where the person is in the sampled frames, ascending; empty when nobody was found there."""
    num_others: int
    """How many other people of some size are in view (not counting passers-by seen once)."""


def person_from_json(value: dict[str, Any]) -> Person:
    """A person from JSON values as `dataclasses.asdict` gives them."""
    x0, y0, x1, y1 = (float(v) for v in value["box_px"])
    return Person(frame_index=int(value["frame_index"]), box_px=(x0, y0, x1, y1), score=float(value["score"]))


def landmarks_box(xy_px: Float32[np.ndarray, "n 2"], visibility: Float32[np.ndarray, " n"]) -> Box | None:
    """Box around the visible landmarks, or None when hardly any is visible."""
    seen = xy_px[visibility > 0.5]
    if len(seen) < 5:
        return None
    x0, y0 = seen.min(0)
    x1, y1 = seen.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def expanded(box: Box, share: float) -> Box:
    """A box grown on every side by a share of its longer side."""
    grow = share * max(box[2] - box[0], box[3] - box[1])
    return box[0] - grow, box[1] - grow, box[2] + grow, box[3] + grow


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / max((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both, 1e-9)


def find_people(finder: Finder, rgb: UInt8[np.ndarray, "height width 3"], frame_index: int) -> list[Person]:
    """Everybody the networks find in a frame, most prominent first."""
    height_px, width_px = rgb.shape[:2]
    image = rgb.copy()
    people: list[Person] = []
    for _ in range(MAX_PEOPLE):
        found = finder.find(image)
        if found is None:
            break
        xy_px, visibility = found
        box = landmarks_box(xy_px, visibility)
        if box is None:
            break
        score = float(visibility[_TORSO].mean())
        new = all(overlap(box, p.box_px) < 0.4 for p in people)
        if new and score >= _MIN_TORSO_VISIBILITY and box[3] - box[1] >= _MIN_HEIGHT * height_px:
            people.append(Person(frame_index=frame_index, box_px=box, score=score))
        x0, y0, x1, y1 = expanded(box, 0.12)
        rows = slice(max(0, int(y0)), min(height_px, int(y1) + 1))
        columns = slice(max(0, int(x0)), min(width_px, int(x1) + 1))
        image[rows, columns] = np.median(image.reshape(-1, 3)[::97], axis=0).astype(np.uint8)
    return people


def choose_subject(samples: list[list[Person]], width_px: int, height_px: int) -> Subject:
    """Link people over the sampled frames and choose who is large, near the middle and there most of the time."""
    tracks = link_people(samples)
    if not tracks:
        return Subject(anchors=(), num_others=0)
    chosen = max(tracks, key=lambda t: prominence(t, width_px, height_px))
    return subject_of(chosen, tracks, len(samples))


def link_people(samples: list[list[Person]]) -> list[list[Person]]:
    """Finds in sampled frames, one list per frame in order of time, linked to tracks: one list per person."""
    tracks: list[list[Person]] = []
    for people in samples:
        free = list(tracks)
        for person in sorted(people, key=lambda p: -_height(p)):
            best = max(free, key=lambda t: _affinity(t[-1], person), default=None)
            if best is not None and _affinity(best[-1], person) > 0.0:
                best.append(person)
                free = [t for t in free if t is not best]
            else:
                tracks.append([person])
    return tracks


def prominence(track: list[Person], width_px: int, height_px: int) -> float:
    """How large, how near the middle and how often somebody is; only for comparing."""
    return sum(_prominence(p, width_px, height_px) for p in track)


def subject_of(chosen: list[Person], tracks: list[list[Person]], num_samples: int) -> Subject:
    """One of the tracks as the subject, among the others of a span that was sampled so many times."""
    tall = float(np.median([_height(p) for p in chosen]))
    needed = max(2, round(0.2 * num_samples)) if num_samples > 1 else 1
    others = sum(
        1
        for t in tracks
        if t is not chosen and len(t) >= needed and float(np.median([_height(p) for p in t])) >= _RIVAL_HEIGHT * tall
    )
    return Subject(anchors=tuple(sorted(chosen, key=lambda p: p.frame_index)), num_others=others)


def _height(person: Person) -> float:
    return person.box_px[3] - person.box_px[1]


def _prominence(person: Person, width_px: int, height_px: int) -> float:
    x0, y0, x1, y1 = person.box_px
    area = max(x1 - x0, 0.25 * (y1 - y0)) * (y1 - y0) / (width_px * height_px)
    off_centre = abs(0.5 * (x0 + x1) / width_px - 0.5)
    return person.score * area**0.5 * (1.0 - off_centre)


def _affinity(before: Person, after: Person) -> float:
    """Above 0 where two finds in neighbouring samples may be one person."""
    size = 0.5 * (_height(before) + _height(after))
    a, b = before.box_px, after.box_px
    distance = np.hypot(0.5 * (a[0] + a[2] - b[0] - b[2]), 0.5 * (a[1] + a[3] - b[1] - b[3])) / max(size, 1e-6)
    ratio = min(_height(before), _height(after)) / max(_height(before), _height(after), 1e-6)
    return float(1.0 - distance) * ratio if distance < 0.8 and ratio > 0.4 else 0.0


class Gate:
    """Covers everything but the subject's surroundings, so that the networks cannot jump to somebody else."""

    def __init__(self, subject: Subject) -> None:
        self._frames = np.array([p.frame_index for p in subject.anchors], np.float64)
        self._boxes = np.array([p.box_px for p in subject.anchors], np.float64)
        self._last: tuple[int, Box] | None = None

    def box(self, frame_index: int) -> Box:
        """Where the subject may be in a frame."""
        x0, y0, x1, y1 = (float(np.interp(frame_index, self._frames, self._boxes[:, k])) for k in range(4))
        nearest = float(np.abs(self._frames - frame_index).min())
        wide = expanded((x0, y0, x1, y1), 0.2 + min(0.25, 0.01 * nearest))
        if self._last is None or frame_index - self._last[0] > 15:
            return wide
        here = expanded(self._last[1], 0.18 + 0.02 * (frame_index - self._last[0]))
        return here if overlap(here, wide) > 0.1 else wide

    def cover(self, rgb: UInt8[np.ndarray, "height width 3"], frame_index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The frame with everything outside the gate in one even colour."""
        height_px, width_px = rgb.shape[:2]
        x0, y0, x1, y1 = self.box(frame_index)
        left, right = max(0, int(x0)), min(width_px, int(x1) + 1)
        top, bottom = max(0, int(y0)), min(height_px, int(y1) + 1)
        covered = np.empty_like(rgb)
        covered[:] = np.median(rgb.reshape(-1, 3)[::997], axis=0).astype(np.uint8)
        covered[top:bottom, left:right] = rgb[top:bottom, left:right]
        return covered

    def accept(self, frame_index: int, box: Box | None) -> bool:
        """Whether a find lies where the subject is expected; remembers it if so."""
        if box is None:
            return False
        gate = self.box(frame_index)
        middle = 0.5 * (box[0] + box[2]), 0.5 * (box[1] + box[3])
        inside = gate[0] <= middle[0] <= gate[2] and gate[1] <= middle[1] <= gate[3]
        before = self._last[1] if self._last is not None and frame_index - self._last[0] <= 15 else None
        if not inside or (before is not None and overlap(before, box) < 0.15):
            return False
        self._last = frame_index, box
        return True
