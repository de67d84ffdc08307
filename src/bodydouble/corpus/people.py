"""Who is in a video, and when: spans of continuous recording, people followed through each, identities over all of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from bodydouble.capture.values import VideoInfo
from bodydouble.capture.video import read_frames
from bodydouble.corpus.alike import HASH_STEP_S, MAX_HASHES, embedding_of, picture_hash
from bodydouble.corpus.ranges import check_range
from bodydouble.corpus.small_people import everybody
from bodydouble.corpus.values import NO_TRACK, Item, item_id
from bodydouble.perceive.subject import (
    Finder,
    Person,
    link_people,
    prominence,
    subject_of,
)

_SMALL_PX = 320
"""Longer side at which pictures are kept for hashing."""
_CROP_MARGIN = 0.15
_COLOR_BINS = 6


@dataclass(frozen=True, kw_only=True)
class PeopleConfig:
    """What counts as a clip of a person."""

    min_seconds: float = 1.0
    """Shorter spans are rejected."""
    max_seconds: float = 20.0
    """Longer ones are cut into equal parts of at most this."""
    sample_s: float = 0.5
    """Time between pictures in which everybody is looked for, at most."""
    min_samples: int = 5
    """And at least so many pictures in each span."""
    min_share: float = 0.4
    """A person must be found in this share of them."""
    same_person: float = 0.80
    """Likeness of clothes and skin (0 to 1) from which people of different spans count as one."""

    def __post_init__(self) -> None:
        check_range("people.min_seconds", self.min_seconds, 0.0, 3600.0)
        check_range("people.max_seconds", self.max_seconds, 0.1, 3600.0)
        check_range("people.sample_s", self.sample_s, 0.01, 3600.0)
        check_range("people.min_samples", self.min_samples, 1.0, 10_000.0, whole=True)
        check_range("people.min_share", self.min_share, 0.0, 1.0)
        check_range("people.same_person", self.same_person, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Found:
    """One item, and why it goes no further, if so."""

    item: Item
    reason: str = ""


@dataclass
class _Track:
    """A person followed through one span."""

    people: list[Person]
    number: int
    colors: np.ndarray
    hashes: tuple[int, ...] = ()
    embedding: tuple[float, ...] = ()
    others: int = 0


def cut_spans(
    info: VideoInfo, cuts: Sequence[int], config: PeopleConfig, part_s: tuple[float | None, float | None]
) -> list[tuple[int, int]]:
    """First and one-past-last frame of each continuous part, long ones divided evenly.

    Args:
        info: Of the video.
        cuts: First frames of shots.
        config: How long a span may be.
        part_s: From when to when the video is used; None for its beginning and end.
    """
    start_s, end_s = part_s
    inside = [
        i
        for i, t in enumerate(info.times_s)
        if (start_s is None or t >= start_s - 1e-6) and (end_s is None or t < end_s)
    ]
    if not inside:
        return []
    first, stop = inside[0], inside[-1] + 1
    edges = [first, *(c for c in cuts if first < c < stop), stop]
    spans = []
    for a, b in itertools.pairwise(edges):
        pieces = max(1, int(np.ceil(seconds_of(info, a, b) / config.max_seconds - 1e-6)))
        marks = [a + round((b - a) * k / pieces) for k in range(pieces + 1)]
        spans += [(m, n) for m, n in itertools.pairwise(marks) if n > m]
    return spans


def seconds_of(info: VideoInfo, first: int, stop: int) -> float:
    """Length of a span, the last frame's own duration included."""
    return info.times_s[stop - 1] - info.times_s[first] + 1.0 / max(info.fps_hz, 1e-3)


def find_items(
    finder: Finder, info: VideoInfo, source: str, spans: Sequence[tuple[int, int]], config: PeopleConfig
) -> list[Found]:
    """Everybody in every span.

    Args:
        finder: Finds the most prominent person of a picture.
        info: Of the video.
        source: Id of the source.
        spans: Of continuous recording.
        config: What counts.
    Returns:
        Items in order of time and prominence. Spans without a person, and people hardly seen, are items with a reason.
    """
    found: list[Found] = []
    known: list[np.ndarray] = []  # colours of the people so far, by number
    for first, stop in spans:
        if seconds_of(info, first, stop) < config.min_seconds:
            reason = (
                f"the span has only {seconds_of(info, first, stop):.2f} s, at least {config.min_seconds:g} s are needed"
            )
            found.append(Found(item=_item(info, source, (first, stop), None, -1), reason=reason))
            continue
        samples, frames = _looked_at(finder, info, (first, stop), config)
        tracks = _tracks(samples, frames, info)
        if not tracks:
            found.append(Found(item=_item(info, source, (first, stop), None, -1), reason="nobody was found"))
        taken: set[int] = set()
        for track in tracks:
            share = len(track.people) / len(samples)
            if share < config.min_share:
                item = _item(info, source, (first, stop), track, -1)
                found.append(Found(item=item, reason=f"seen in {len(track.people)} of {len(samples)} pictures only"))
                continue
            person = _identity(track.colors, known, taken, config.same_person)
            taken.add(person)
            found.append(Found(item=_item(info, source, (first, stop), track, person)))
    return found


def _looked_at(
    finder: Finder, info: VideoInfo, span: tuple[int, int], config: PeopleConfig
) -> tuple[list[list[Person]], dict[int, np.ndarray]]:
    """People in sampled frames, and small pictures of these and of those that will be hashed, by frame number."""
    first, stop = span
    length_s = seconds_of(info, first, stop)
    count = min(stop - first, max(config.min_samples, int(np.ceil(length_s / config.sample_s))))
    searched = sorted({first + int((k + 0.5) * (stop - first) / count) for k in range(count)})
    hashed = _hash_frames(info, span)
    samples, small = [], {}
    for frame in read_frames(info.path, sorted({*searched, *hashed}), info, threads=1):
        if frame.index in searched:
            samples.append(everybody(finder, frame.rgb, frame.index))
        small[frame.index] = _shrunk(frame.rgb)
    return samples, small


def _hash_frames(info: VideoInfo, span: tuple[int, int]) -> list[int]:
    """Frames nearest to even times from the span's beginning; one for each time."""
    first, stop = span
    times = np.asarray(info.times_s[first:stop])
    wanted = times[0] + HASH_STEP_S * np.arange(min(MAX_HASHES, int((times[-1] - times[0]) / HASH_STEP_S) + 1))
    return sorted({first + int(np.abs(times - t).argmin()) for t in wanted})


def _shrunk(rgb: UInt8[np.ndarray, "height width 3"]) -> np.ndarray:
    import cv2

    scale = _SMALL_PX / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _tracks(samples: list[list[Person]], frames: dict[int, np.ndarray], info: VideoInfo) -> list[_Track]:
    """People of one span, most prominent first."""
    linked = link_people(samples)
    linked.sort(key=lambda t: (-prominence(t, info.width_px, info.height_px), t[0].frame_index, t[0].box_px))
    tracks = []
    for number, people in enumerate(linked):
        crops = {n: _person_crop(picture, _box_at(people, n), info) for n, picture in frames.items()}
        hashed = [n for n in sorted(frames) if people[0].frame_index - 2 <= n <= people[-1].frame_index + 2]
        own = [crops[p.frame_index] for p in people]
        tracks.append(
            _Track(
                people=people,
                number=number,
                colors=clothing_colors(own),
                hashes=tuple(picture_hash(crops[n]) for n in hashed),
                embedding=embedding_of(own, [frames[p.frame_index] for p in people]),
                others=subject_of(people, linked, len(samples)).num_others,
            )
        )
    return tracks


def _box_at(people: Sequence[Person], frame: int) -> np.ndarray:
    """The person's box, interpolated between finds."""
    numbers = [p.frame_index for p in people]
    boxes = np.array([p.box_px for p in people])
    return np.array([np.interp(frame, numbers, boxes[:, k]) for k in range(4)])


def _person_crop(small: np.ndarray, box_px: np.ndarray, info: VideoInfo) -> np.ndarray:
    """The person with a margin, from a small picture."""
    scale = small.shape[1] / info.width_px
    x0, y0, x1, y1 = box_px * scale
    grow = _CROP_MARGIN * max(x1 - x0, y1 - y0)
    left, top = max(0, int(x0 - grow)), max(0, int(y0 - grow))
    right, bottom = min(small.shape[1], int(x1 + grow) + 1), min(small.shape[0], int(y1 + grow) + 1)
    crop = small[top:bottom, left:right]
    return crop if crop.size else small


def clothing_colors(crops: Sequence[UInt8[np.ndarray, "rows columns 3"]]) -> Float[np.ndarray, " bins"]:
    """Histograms of colour of the upper and of the lower half of the person's middle, each of unit sum."""
    import cv2

    halves = []
    for crop in crops:
        height, width = crop.shape[:2]
        middle = crop[:, int(0.3 * width) : max(int(0.7 * width), int(0.3 * width) + 1)]
        lab = cv2.cvtColor(np.ascontiguousarray(middle), cv2.COLOR_RGB2LAB).astype(np.float64)
        cut = max(1, height // 2)
        both = [lab[:cut], lab[cut:] if height > 1 else lab]
        bins = (_COLOR_BINS, 2 * _COLOR_BINS, 2 * _COLOR_BINS)
        halves.append(
            np.concatenate(
                [
                    np.histogramdd(h.reshape(-1, 3), bins=bins, range=((0, 256),) * 3)[0].ravel() / h[..., 0].size
                    for h in both
                ]
            )
        )
    return np.mean(halves, axis=0)


def likeness(a: Float[np.ndarray, " bins"], b: Float[np.ndarray, " bins"]) -> float:
    """Bhattacharyya coefficient of two pairs of histograms, 0 to 1."""
    return float(np.sqrt(a * b).sum() / 2.0)


def _identity(colors: np.ndarray, known: list[np.ndarray], taken: set[int], least: float) -> int:
    """The number of the person who looks like this and is not in the span already; a new one if nobody does."""
    free = [(likeness(colors, other), -number) for number, other in enumerate(known) if number not in taken]
    best = max(free, default=None)
    if best is not None and best[0] >= least:
        return -best[1]
    known.append(colors)
    return len(known) - 1


def _item(info: VideoInfo, source: str, span: tuple[int, int], track: _Track | None, person: int) -> Item:
    first, stop = span
    number = NO_TRACK if track is None else track.number
    anchors = (
        ()
        if track is None
        else tuple(
            (float(p.frame_index), *(round(float(v), 2) for v in p.box_px), round(p.score, 4)) for p in track.people
        )
    )
    return Item(
        id=item_id(source, first, stop, number),
        source_id=source,
        first_frame=first,
        stop_frame=stop,
        start_s=info.times_s[first],
        end_s=info.times_s[stop - 1],
        track=number,
        person=person,
        width_px=info.width_px,
        height_px=info.height_px,
        anchors=anchors,
        others=0 if track is None else track.others,
        hashes=() if track is None else track.hashes,
        embedding=() if track is None else track.embedding,
    )
