"""Rows of a catalogue, made up."""

from __future__ import annotations

import dataclasses

from bodydouble.corpus.values import Item, Record, Source, item_id, source_id


def a_source(n: int, **changes: object) -> Source:
    sha256 = f"{n:064x}"
    source = Source(id=source_id(sha256=sha256), uri=f"/videos/{n}.mp4", sha256=sha256, bytes=n, licence="CC0-1.0")
    return dataclasses.replace(source, **changes)


def an_item(source: Source, track: int = 0, **changes: object) -> Item:
    item = Item(
        id=item_id(source.id, 0, 30, track),
        source_id=source.id,
        first_frame=0,
        stop_frame=30,
        start_s=0.0,
        end_s=1.0,
        track=track,
        person=track,
        width_px=160,
        height_px=240,
    )
    return dataclasses.replace(item, **changes)


def a_record(unit: str, source: Source, stage: str, **changes: object) -> Record:
    record = Record(unit_id=unit, source_id=source.id, stage=stage, key="k", state="done", attempt=1)
    return dataclasses.replace(record, **changes)
