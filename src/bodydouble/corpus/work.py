"""What happens to one unit in one stage, on the worker's side. Reads and writes the store, never the catalogue.

A stage leaves its files first and its record (`stages/NAME.json` in the unit's folder) last. Asked again with the same
key, it answers with the record and does nothing: so a task may be sent any number of times, by any number of drivers that
died before they could write down that it was done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

from bodydouble.core.errors import (
    BodydoubleError,
    ConfigError,
    InputError,
    MissingDependencyError,
    NoSubjectError,
    OutputError,
)
from bodydouble.corpus.stage_work import WORK
from bodydouble.corpus.stages import CorpusConfig
from bodydouble.corpus.store import Store
from bodydouble.corpus.tasks import last_words
from bodydouble.corpus.units import Found, Rejected, Unit, unit_from_json
from bodydouble.evaluate.results import null_for_nan

DO_BATCH = "bodydouble.corpus.work:do_batch"


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
        "scores": {name: null_for_nan(value) for name, value in found.scores.items()},
        "items": [dataclasses.asdict(item) for item in found.items],
        "refusals": dict(found.refusals),
        "source": None if found.source is None else dataclasses.asdict(found.source),
        "outputs_sha256": found.outputs_sha256,
    }
    store.write_json(record_name(unit, stage), result)
    return result


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
