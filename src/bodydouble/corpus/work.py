"""What happens to one unit in one stage, on the worker's side. Reads and writes the store, never the catalogue.

A stage leaves its files first and its record (`stages/NAME.json` in the unit's folder) last. Asked again with the same
key, it answers with the record and does nothing: so a task may be sent any number of times, by any number of drivers that
died before they could write down that it was done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodydouble.core.errors import (
    BodydoubleError,
    ConfigError,
    InputError,
    MissingDependencyError,
    NoSubjectError,
    OutputError,
)
from bodydouble.corpus.catalogue import item_folder, source_folder
from bodydouble.corpus.executor import last_words
from bodydouble.corpus.stages import CorpusConfig
from bodydouble.corpus.store import Store
from bodydouble.corpus.values import Item, Source

DO_BATCH = "bodydouble.corpus.work:do_batch"


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


def do_batch(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Do one stage for some units.

    Args:
        payload: `root`, `stage`, `key`, `config`, and `units`: sources and items as JSON values (`unit_to_json`). With
            `again`, what was rejected or failed before is tried again.
    Returns:
        A result for each: `unit`, `state`, `reason`, `seconds`, `scores`, `items`, `refusals`, `source`,
        `outputs_sha256`; or `unit` and `broke` with a traceback when something went wrong that should not.
    Raises:
        OutputError, MissingDependencyError: When no unit could be worked on.
    """
    store, config = Store(payload["root"]), CorpusConfig.from_json(payload["config"])
    with _one_thread():
        return [
            _known(store, unit, payload) or _do(store, unit, config, payload["stage"], payload["key"])
            for unit in map(unit_from_json, payload["units"])
        ]


def record_name(unit: Unit, stage: str) -> str:
    """Where a unit's record of a stage is."""
    return f"{unit.folder}/stages/{stage}.json"


def _known(store: Store, unit: Unit, payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record that is there already, if it counts."""
    name = record_name(unit, payload["stage"])
    if not store.exists(name):
        return None
    with contextlib.suppress(InputError):  # a damaged record is none
        record = store.read_json(name)
        if record.get("key") == payload["key"] and (record.get("state") == "done" or not payload.get("again")):
            return record
    return None


def _do(store: Store, unit: Unit, config: CorpusConfig, stage: str, key: str) -> dict[str, Any]:
    from bodydouble.corpus.stage_work import WORK

    began = time.perf_counter()
    result: dict[str, Any] = {"unit": unit.id, "key": key, "state": "done", "reason": ""}
    try:
        found = WORK[stage](store, unit, config)
    except (Rejected, NoSubjectError) as refusal:
        result |= {"state": "rejected", "reason": str(refusal)}
        found = Found()
    except (InputError, ConfigError) as error:
        result |= {"state": "failed", "reason": str(error)}
        found = Found()
    except (OutputError, MissingDependencyError):
        raise  # no fault of the unit: the whole run has to stop
    except Exception as error:  # noqa: BLE001 - kept with the unit; after some tries it is left alone
        text = str(error) if isinstance(error, BodydoubleError) else last_words(error)
        return {"unit": unit.id, "broke": text}
    result |= {
        "seconds": round(time.perf_counter() - began, 3),
        "scores": {name: _finite(value) for name, value in found.scores.items()},
        "items": [dataclasses.asdict(item) for item in found.items],
        "refusals": dict(found.refusals),
        "source": None if found.source is None else dataclasses.asdict(found.source),
        "outputs_sha256": found.outputs_sha256,
    }
    store.write_json(record_name(unit, stage), result)
    return result


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


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Torch and kernels on one thread: workers share the machine, and results must not depend on how many there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
