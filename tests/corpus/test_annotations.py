"""Somebody's annotations as evidence: an export of our own, read back for another capture of the same film."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from corpus_captures import make_capture

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.capture.folder import Capture
from bodydouble.core.errors import InputError
from bodydouble.corpus.annotations import frames_of_numbers, given_body, use_given_masks
from bodydouble.corpus.consistency import body_landmarks_px
from bodydouble.corpus.values import Source
from bodydouble.corpus.wildavatar_layout import Subject, export_wildavatar


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


@pytest.fixture
def annotated(tmp_path: Path, anny: AnnyBody) -> tuple[Source, Capture]:
    """A capture, and the source whose annotation was exported from it."""
    capture = make_capture(tmp_path / "item", anny, 24)
    subject = Subject(id="2f1c8f6e-9a0b-5f6e-8a9d-7c416d0c5a53", person="p", capture=capture)
    out = export_wildavatar([subject], anny, tmp_path / "WildAvatar")
    folder = out.folder / out.subjects[subject.id]
    return Source(id="s", uri=capture.info.path, annotations=str(folder), start_s=0.0), capture


def test_given_masks_are_taken_where_they_show_the_same_person(annotated: tuple[Source, Capture]) -> None:
    source, capture = annotated
    files = sorted((Path(source.annotations) / "masks").glob("*.png"))
    grown, gone = (cv2.imread(str(f), cv2.IMREAD_UNCHANGED) for f in files[:2])
    grown = cv2.dilate(grown, np.ones((3, 3), np.uint8))
    cv2.imwrite(str(files[0]), grown)
    cv2.imwrite(str(files[1]), np.roll(gone, 60, axis=1))
    before = capture.mask(int(files[1].stem))
    scores = use_given_masks(source, capture)
    assert scores["given_masks"] == len(files) - 1 and 0.8 < scores["given_mask_iou"] < 0.99
    np.testing.assert_array_equal(capture.mask(int(files[0].stem)), grown)
    np.testing.assert_array_equal(capture.mask(int(files[1].stem)), before)


def test_given_bodies_are_a_beginning_that_lies_on_the_person(
    annotated: tuple[Source, Capture], anny: AnnyBody
) -> None:
    source, capture = annotated
    given = given_body(source, capture, anny)
    assert given.track is not None and given.scores["given_frames"] >= 20 and given.scores["given_body_error"] < 0.05
    there, ours = (body_landmarks_px(t, anny) for t in (given.track, capture.track()))
    assert np.median(np.linalg.norm(there - ours, axis=-1)) < 0.06 * 160  # of the person's height


def test_what_is_annotated_of_another_part_says_nothing(annotated: tuple[Source, Capture], anny: AnnyBody) -> None:
    source, capture = annotated
    elsewhere = Source(id="s", uri=source.uri, annotations=source.annotations, start_s=500.0)
    capture.set_span(0, 12)
    assert given_body(elsewhere, capture, anny).track is None
    nothing = Source(id="s", uri=source.uri, annotations=str(Path(source.annotations).parent))
    assert use_given_masks(nothing, capture) == {}


def test_a_damaged_annotation_is_told(annotated: tuple[Source, Capture], anny: AnnyBody) -> None:
    source, capture = annotated
    mask = next((Path(source.annotations) / "masks").glob("*.png"))
    mask.write_bytes(b"no picture")
    (Path(source.annotations) / "metadata.json").write_text("[]")
    with pytest.raises(InputError, match=mask.name):
        use_given_masks(source, capture)
    with pytest.raises(InputError, match="no result of WildAvatar"):
        given_body(source, capture, anny)


def test_numbers_are_times_since_the_clip_began(annotated: tuple[Source, Capture]) -> None:
    _, capture = annotated
    source = Source(id="s", uri="v", start_s=0.5)
    found = frames_of_numbers(source, capture.info, np.array([0, 3, 10]))
    assert found.tolist() == [6, 9, 16]  # at twelve frames a second
