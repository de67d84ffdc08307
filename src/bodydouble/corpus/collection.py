"""Everything that is known of a corpus's items, together: what datasets, tables, reports and benchmarks are made from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bodydouble.core.errors import InputError
from bodydouble.corpus.catalogue import Catalogue, item_folder
from bodydouble.corpus.filters import Filters
from bodydouble.corpus.funnel import Funnel, FunnelRow, funnel, with_refined
from bodydouble.corpus.values import Item, Source

FIRST, REFINED = "consistency", "refine"
"""Stages that judge the first and the final body of an item. Filters go by the first one, as those of WildAvatar do."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One item."""

    item: Item
    source: Source
    scores: Mapping[str, float]
    """What filters judge: of the observation, and of the first body."""
    refined: Mapping[str, float] = field(default_factory=dict)
    """Of the final body."""

    @property
    def final(self) -> dict[str, float]:
        """The scores with those of the final body in place of the first one's."""
        return {**self.scores, **self.refined}

    @property
    def refusal(self) -> tuple[str, ...]:
        """Why no body was fitted: reasons of the stages; empty when every stage went through."""
        return self.item.reasons if self.item.state in ("rejected", "failed", "quarantined") else ()


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A corpus, read once."""

    catalogue: Catalogue
    entries: Mapping[str, Entry]
    sources: tuple[Source, ...]
    refused_sources: Mapping[str, tuple[str, ...]]
    """Sources of which no item came, and why: broken files, refused licences."""

    def judged(self, filters: Filters) -> Funnel:
        """The funnel over all items on which work is finished, one way or the other."""
        scores = {id: entry.scores for id, entry in self.entries.items() if entry.item.state != "pending"}
        refused = {id: entry.refusal for id, entry in self.entries.items() if entry.refusal}
        return funnel(scores, filters, refused=refused)

    @property
    def waiting(self) -> int:
        """Items that are not finished: they are in no funnel yet."""
        return sum(entry.item.state == "pending" for entry in self.entries.values())

    def refinement(self, found: Funnel) -> tuple[FunnelRow, FunnelRow]:
        """PCK and SOIOU of the kept items by their first and by their final body."""
        first = {id: entry.scores for id, entry in self.entries.items()}
        refined = {id: entry.refined for id, entry in self.entries.items() if entry.refined}
        return with_refined(found, first, refined)

    def kept(self, found: Funnel) -> list[Entry]:
        """Kept items whose capture is finished, by id."""
        return [self.entries[id] for id in sorted(found.kept) if self.entries[id].item.state == "done"]

    def capture_folder(self, id: str) -> Path:
        """Where an item's capture is, in a corpus on this machine's disk.

        Raises:
            InputError: When the corpus is in an object store.
        """
        root = self.catalogue.store.local_root
        if root is None:
            raise InputError(
                f"{self.catalogue.store.root} is in an object store; pictures and captures are read from a disk. Mount it, or copy it "
                "to a folder and name that. (`corpus tune` needs no pictures and works there.)"
            )
        return root / item_folder(id) / "capture"


def read_collection(root: str | Path) -> Collection:
    """Read a corpus's catalogue.

    Raises:
        InputError: When there is no corpus.
    """
    catalogue = Catalogue.open(root)
    sources = {source.id: source for source in catalogue.sources()}
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for score in catalogue.scores():
        if not math.isnan(score.value):
            scores.setdefault(score.item_id, {}).setdefault(score.stage, {})[score.name] = score.value
    entries = {
        item.id: Entry(
            item=item,
            source=sources[item.source_id],
            scores=_merged(scores.get(item.id, {}), but=REFINED),
            refined=scores.get(item.id, {}).get(REFINED, {}),
        )
        for item in catalogue.items()
    }
    with_items = {entry.item.source_id for entry in entries.values()}
    return Collection(
        catalogue=catalogue,
        entries=entries,
        sources=tuple(sources.values()),
        refused_sources=dict(_refused(catalogue, with_items)),
    )


def _merged(by_stage: Mapping[str, Mapping[str, float]], *, but: str) -> dict[str, float]:
    """Scores of all stages but one; where two have a name in common the first body's counts, else the later in the alphabet."""
    merged: dict[str, float] = {}
    for stage in sorted(by_stage, key=lambda name: (name == FIRST, name)):
        if stage != but:
            merged |= by_stage[stage]
    return merged


def _refused(catalogue: Catalogue, with_items: set[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    _, rows = catalogue.rows(
        "select id, state, reasons from sources where state in ('rejected', 'failed', 'quarantined')"
    )
    for id, _, reasons in rows:
        if id not in with_items:
            yield id, tuple(reasons)
