"""Choosing one person among several, and staying with that one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.perceive.subject import (
    Box,
    Gate,
    Person,
    Subject,
    choose_subject,
    expanded,
    find_people,
    landmarks_box,
    overlap,
    person_from_json,
)

boxes = st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(1, 300), st.floats(1, 300)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def person(frame: int, x: float | int, height: float | int = 300, score: float = 0.95, y: float | int = 50) -> Person:
    box = (float(x), float(y), x + 0.35 * height, float(y + height))
    return Person(frame_index=frame, box_px=box, score=score)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_at_most_1(a: Box, b: Box) -> None:
    assert overlap(a, b) == pytest.approx(overlap(b, a))
    assert 0.0 <= overlap(a, b) <= 1.0 + 1e-9
    assert overlap(a, a) == pytest.approx(1.0)
    assert overlap(expanded(a, 0.1), a) < 1.0


def test_one_person() -> None:
    subject = choose_subject([[person(k, 200 + 5 * k)] for k in range(5)], 640, 480)
    assert [p.frame_index for p in subject.anchors] == [0, 1, 2, 3, 4]
    assert subject.num_others == 0


def test_nobody() -> None:
    assert choose_subject([[], []], 640, 480) == Subject(anchors=(), num_others=0)
    assert choose_subject([], 640, 480).anchors == ()


def test_the_larger_and_more_central_is_chosen_whatever_the_order() -> None:
    near = [person(k, 250, 400) for k in range(6)]
    far = [person(k, 30, 220) for k in range(6)]
    for samples in ([[a, b] for a, b in zip(near, far, strict=True)], [[b, a] for a, b in zip(near, far, strict=True)]):
        subject = choose_subject(samples, 640, 480)
        assert [p.box_px for p in subject.anchors] == [p.box_px for p in near]
        assert subject.num_others == 1


def test_people_who_walk_past_do_not_swap() -> None:
    samples = [[person(k, 60 + 40 * k, 400), person(k, 420 - 40 * k, 250)] for k in range(9)]
    subject = choose_subject(samples, 640, 480)
    assert all(p.box_px[3] - p.box_px[1] == 400 for p in subject.anchors)


def test_a_passer_by_seen_once_does_not_count() -> None:
    samples = [[person(k, 250, 400)] for k in range(10)]
    samples[4].append(person(4, 30, 300))
    assert choose_subject(samples, 640, 480).num_others == 0


def test_small_people_in_the_background_do_not_count() -> None:
    samples = [[person(k, 250, 400), person(k, 20, 90)] for k in range(10)]
    assert choose_subject(samples, 640, 480).num_others == 0


def test_people_survive_json() -> None:
    one = person(3, 20.5)
    assert person_from_json(json.loads(json.dumps(dataclasses.asdict(one)))) == one


def test_the_gate_covers_what_is_far_from_the_subject() -> None:
    gate = Gate(Subject(anchors=tuple(person(10 * k, 200 + 10 * k) for k in range(3)), num_others=1))
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    covered = gate.cover(image, 10)
    np.testing.assert_array_equal(covered[60:340, 215:310], image[60:340, 215:310])
    assert len(np.unique(covered[:, 500:].reshape(-1, 3), axis=0)) == 1


def test_the_gate_follows_and_refuses_jumps() -> None:
    gate = Gate(Subject(anchors=(person(0, 200), person(100, 400)), num_others=1))
    for k in range(100):
        assert gate.accept(k, person(k, 200 + 2 * k).box_px)
    assert not gate.accept(100, person(100, 30).box_px)
    assert not gate.accept(100, None)
    assert gate.accept(101, person(101, 402).box_px)


def test_box_of_landmarks_needs_some() -> None:
    points = np.arange(20, dtype=np.float32).reshape(10, 2)
    assert landmarks_box(points, np.ones(10, np.float32)) == (0, 1, 18, 19)
    assert landmarks_box(points, np.zeros(10, np.float32)) is None


def test_people_are_found_by_covering_those_already_found() -> None:
    """A finder that always sees the largest bright blob."""

    class Blobs:
        def find(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
            for x0 in (300, 60):
                if (rgb[100:400, x0 : x0 + 100] > 200).mean() > 0.5:
                    corners = np.linspace([x0, 100], [x0 + 100, 400], 33, dtype=np.float32)
                    return corners, np.ones(33, np.float32)
            return None

    image = np.zeros((480, 640, 3), np.uint8)
    image[100:400, 60:160] = 255
    image[100:400, 300:400] = 255
    found = find_people(Blobs(), image, 7)
    assert [p.box_px[0] for p in found] == [300, 60]
    assert {p.frame_index for p in found} == {7}
