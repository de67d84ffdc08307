"""What the stages of a corpus work on, and what they answer: sources and items, on their way to workers and back as JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodydouble.corpus.catalogue import item_folder, source_folder
from bodydouble.corpus.stages import CorpusConfig
from bodydouble.corpus.store import Store
from bodydouble.corpus.values import Item, Source


class Rejected(Exception):
    """A rule says no to the unit; the text is the reason."""


@dataclass(frozen=True)
class Unit:
    """What a stage works on."""

    source: Source
    item: Item | None = None

    @property
    def id(self) -> str:
        """Of the item, or of the source where there is none."""
        return self.source.id if self.item is None else self.item.id

    @property
    def folder(self) -> str:
        """Its place in the store."""
        return source_folder(self.source.id) if self.item is None else item_folder(self.item.id)


@dataclass(frozen=True)
class Found:
    """What a stage found out besides the files it left."""

    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    items: tuple[Item, ...] = ()
    refusals: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of new items: why one goes no further."""
    source: Source | None = None
    """The source with what is now known about it."""
    outputs_sha256: str = ""


Work = Callable[[Store, Unit, CorpusConfig], Found]


def unit_to_json(source: Source, item: Item | None = None) -> dict[str, Any]:
    """A unit as JSON values; without what only whole-corpus stages need."""
    return {
        "source": dataclasses.asdict(source),
        "item": None if item is None else {**dataclasses.asdict(item), "hashes": (), "embedding": ()},
    }


def unit_from_json(value: Mapping[str, Any]) -> Unit:
    """What `unit_to_json` gave."""
    item = value["item"]
    return Unit(Source(**value["source"]), None if item is None else item_from_json(item))


def item_from_json(value: Mapping[str, Any]) -> Item:
    """An item from JSON values, lists made tuples again."""
    tuples = {
        "anchors": tuple(tuple(float(v) for v in row) for row in value["anchors"]),
        "hashes": tuple(int(v) for v in value["hashes"]),
        "embedding": tuple(float(v) for v in value["embedding"]),
        "reasons": tuple(value["reasons"]),
    }
    return Item(**{**value, **tuples})


def folder_sha256(folder: Path) -> str:
    """Over names and contents of all files in a folder."""
    from bodydouble.pipeline.stages import describe_output

    return describe_output(folder.parent, folder.name).sha256
