"""What a corpus is made of: sources, the items found in them, what was done to each, and every score.

All values are frozen and plain (text, numbers, tuples), so that each is one row of a Parquet table. Ids are made of what
a thing is, never of when or where it was found: the same video in another folder, planned in another order, on another
machine, has the same ids.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Literal

NAMESPACE = uuid.UUID("6f0f0b1e-6d0c-5a53-9a0b-5f6e0a9d7c41")
"""Of all ids of corpora."""

State = Literal["pending", "done", "rejected", "failed", "quarantined"]
"""`rejected`: a rule said no. `failed`: the input cannot be used, and trying again would not help. `quarantined`: it broke
the work so often that it is left alone."""

Consent = Literal["given", "unknown", "refused", "synthetic"]
CONSENTS: tuple[Consent, ...] = ("given", "unknown", "refused", "synthetic")

NO_TRACK = -1
"""Track of an item in which nobody was looked for, or nobody was found."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One video that was planned. What is said here about the file is expected of it; what is found is checked against it."""

    id: str
    """See `source_id`."""
    uri: str
    """Path or URL from which the file is read."""
    sha256: str = ""
    """Of the content; empty while it has not been fetched and nobody said it."""
    bytes: int = 0
    fps_hz: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    start_s: float | None = None
    """Only the part from here is used."""
    end_s: float | None = None
    """And only up to here."""
    licence: str = ""
    """SPDX identifier where there is one, such as `CC-BY-4.0`; `own` and `synthetic` are known too; empty if unknown."""
    provenance: str = ""
    """Where it comes from, for people: a page, a camera, a data set."""
    consent: Consent = "unknown"
    takedown_key: str = ""
    """By this the person is forgotten (`corpus forget`); of a source without one it is the source's id."""
    annotations: str = ""
    """Folder with somebody's annotations of this video, in WildAvatar's layout."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One of the places at which a source was planned: copies of a file are one source."""

    source_id: str
    uri: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """One person during one span of one source: what becomes a capture."""

    id: str
    """See `item_id`."""
    source_id: str
    first_frame: int
    stop_frame: int
    """First and one-past-last frame of the span, in the source."""
    start_s: float
    end_s: float
    """Times of the first and of the last frame."""
    track: int
    """Number of the track within its span, by prominence; `NO_TRACK` where nobody was followed."""
    person: int
    """Number of the person within the source: tracks of different spans that look alike share it; -1 without a person."""
    width_px: int
    height_px: int
    anchors: tuple[tuple[float, ...], ...] = ()
    """Where the person was found: frame number, x0, y0, x1, y1 in pixels, score."""
    others: int = 0
    """Other people of some size in the span."""
    hashes: tuple[int, ...] = ()
    """Perceptual hashes of frames at even times, 64 bits each (`corpus.alike`)."""
    embedding: tuple[float, ...] = ()
    """How the person and the place look (`corpus.alike`), of unit length."""
    state: State = "pending"
    """Follows from the records; rows on disk hold none."""
    reasons: tuple[str, ...] = ()
    """Why it is not done; one for each stage that said so."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure of one item, as one stage found it."""

    item_id: str
    stage: str
    name: str
    value: float
    """NaN where it cannot be told."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What became of one unit (a source or an item) in one stage."""

    unit_id: str
    source_id: str
    stage: str
    key: str
    """Digest of everything but the unit that the result depends on: settings and versions of this stage and of those before."""
    state: State
    attempt: int
    """From 1."""
    reason: str = ""
    seconds: float = 0.0
    outputs_sha256: str = ""
    """Over names and contents of what the stage left; empty if it left no files."""


def source_id(*, sha256: str = "", uri: str = "") -> str:
    """Id of a source: of its content where that is known, else of the URL that will be fetched."""
    if not sha256 and not uri:
        raise ValueError("source_id needs a hash or a URL.")
    return str(uuid.uuid5(NAMESPACE, f"source/{sha256.lower()}" if sha256 else f"url/{uri}"))


def item_id(source: str, first_frame: int, stop_frame: int, track: int) -> str:
    """Id of an item: its source, span and track."""
    return str(uuid.uuid5(NAMESPACE, f"item/{source}/{first_frame}-{stop_frame}/{track}"))
