"""People whom the finder overlooks in a whole picture: it sees the picture shrunk to some 200 pixels, and small people with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from bodydouble.perceive.subject import MAX_PEOPLE, Box, Finder, Person, find_people, overlap

_PART = 0.7
"""Width and height of a part, in those of the picture; three by three overlapping parts cover it."""
_AGREE = 0.5
"""Intersection over union from which two parts speak of the same person."""


def everybody(finder: Finder, rgb: UInt8[np.ndarray, "height width 3"], frame_index: int) -> list[Person]:
    """Everybody in a frame, most prominent first; where the whole picture shows nobody, its parts are looked at one by one."""
    return find_people(finder, rgb, frame_index) or in_parts(finder, rgb, frame_index)


def in_parts(finder: Finder, rgb: UInt8[np.ndarray, "height width 3"], frame_index: int) -> list[Person]:
    """People in overlapping parts of a frame, tallest first.

    What only one part shows is left out: networks that look closely at a background see people in it now and then, but not
    twice at the same place. Of the boxes of one person the tallest counts, since parts cut people off.
    """
    height_px, width_px = rgb.shape[:2]
    found: list[list[Person]] = []
    for x0, y0, x1, y1 in parts(width_px, height_px):
        part = np.ascontiguousarray(rgb[y0:y1, x0:x1])
        found.append([_moved(person, x0, y0) for person in find_people(finder, part, frame_index)])
    people: list[Person] = []
    for place, seen in enumerate(found):
        others = [p for i, those in enumerate(found) if i != place for p in those]
        people += [p for p in seen if any(overlap(p.box_px, o.box_px) >= _AGREE for o in others)]
    chosen: list[Person] = []
    for person in sorted(people, key=lambda p: p.box_px[1] - p.box_px[3]):
        if all(overlap(person.box_px, other.box_px) < _AGREE for other in chosen):
            chosen.append(person)
    return chosen[:MAX_PEOPLE]


def parts(width_px: int, height_px: int) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, right and bottom edge of each part, pixels."""
    width, height = round(_PART * width_px), round(_PART * height_px)
    for y0 in (0, (height_px - height) // 2, height_px - height):
        for x0 in (0, (width_px - width) // 2, width_px - width):
            yield x0, y0, x0 + width, y0 + height


def _moved(person: Person, x_px: int, y_px: int) -> Person:
    x0, y0, x1, y1 = person.box_px
    box: Box = (x0 + x_px, y0 + y_px, x1 + x_px, y1 + y_px)
    return Person(frame_index=person.frame_index, box_px=box, score=person.score)
