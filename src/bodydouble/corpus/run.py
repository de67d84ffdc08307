"""The driver of a corpus: hands units to workers, stage by stage, and writes down what became of them.

It holds a bounded number of units at any time, whatever the size of the corpus: new ones are admitted as others are
finished. It may be killed at any moment; the next one finds what was written down in the catalogue, and what was not, in
the records beside the files (`corpus.work`).
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bodydouble.core.errors import OutputError
from bodydouble.core.events import Done, Event, Progress
from bodydouble.corpus.admit import Waiting, Wanted, count_waiting, waiting_units
from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.duplicates import mark_alike
from bodydouble.corpus.executor import open_executor
from bodydouble.corpus.stages import CorpusConfig, StageSpec, stage_keys, stages_of
from bodydouble.corpus.tasks import Executor, Outcome, Task
from bodydouble.corpus.units import Unit, item_from_json, unit_from_json, unit_to_json
from bodydouble.corpus.values import Record, Score, Source, State
from bodydouble.corpus.work import DO_BATCH

_FLUSH_ROWS, _FLUSH_S = 256, 5.0
_MEASURED = ("sha256", "bytes", "fps_hz", "width_px", "height_px")
"""What a worker finds out about a source; the rest is what was planned, perhaps anew since."""
_AHEAD = 2
"""Tasks in flight for each worker: one at work, one waiting."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run works; nothing here decides a result."""

    workers: int = 2
    address: str = ""
    any_licence: bool = False
    until: str = ""
    """Last stage; all by default."""
    tries: int = 3
    """A unit that breaks a stage so often is quarantined."""
    again: bool = False
    """Also try again what was rejected, failed or quarantined."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What one run did."""

    units: Mapping[str, int]
    """Stages done, by state."""
    seconds: float
    duplicates: int
    broken: int
    """Times that a stage broke."""


@dataclass
class _Open:
    """A unit that was admitted and is not finished."""

    unit: Unit
    stage: int
    attempts: int = 0
    alone: bool = False
    """Not in one task with others: it, or its neighbour, has killed a worker."""


@dataclass
class _Buffer:
    """Rows on their way to the catalogue."""

    records: list[Record] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def flush(self, catalogue: Catalogue) -> None:
        # Records last: with them a unit counts as done.
        catalogue.add_sources(self.sources)
        catalogue.add_items(self.items)
        catalogue.add_scores(self.scores)
        catalogue.add_records(self.records)

    @property
    def due(self) -> bool:
        rows = len(self.records) + len(self.scores) + len(self.items)
        return rows >= _FLUSH_ROWS or (rows > 0 and time.monotonic() - self.since > _FLUSH_S)


def run_corpus(root: str | Path, options: RunOptions, emit: Callable[[Event], None]) -> RunSummary:
    """Do whatever is left to do.

    Args:
        root: A corpus.
        options: How.
        emit: Told about progress.
    Raises:
        InputError: When there is no corpus, or no cluster at the address.
        OutputError: When another run is at work there, or the disk is full.
    """
    catalogue = Catalogue.open(root)
    config = CorpusConfig.from_json(catalogue.config)
    stages_of("source", options.until)  # a wrong name is told before Ray is started
    began = time.perf_counter()
    with catalogue.alone(), open_executor(options.workers, options.address) as executor:
        flow = _Flow(catalogue, config, options, executor, emit)
        flow.drain("source")
        duplicates = 0
        if options.until not in ("probe", "shots", "tracks"):
            duplicates = mark_alike(catalogue, config)
            flow.drain("item")
        catalogue.compact()
    emit(Done(stage="corpus", seconds=time.perf_counter() - began))
    return RunSummary(units=flow.counts, seconds=time.perf_counter() - began, duplicates=duplicates, broken=flow.broken)


class _Flow:
    """Units on their way through the stages of one scope."""

    def __init__(
        self,
        catalogue: Catalogue,
        config: CorpusConfig,
        options: RunOptions,
        executor: Executor,
        emit: Callable[[Event], None],
    ) -> None:
        self._catalogue, self._config, self._options = catalogue, config, options
        self._executor, self._emit = executor, emit
        self._keys = stage_keys(config)
        self._buffer = _Buffer()
        self.counts: dict[str, int] = {}
        self.broken = 0

    def drain(self, scope: Literal["source", "item"]) -> None:
        """Admit units, keep workers busy, until nothing is left."""
        stages = stages_of(scope, self._options.until)
        if not stages:
            return
        licences = None if self._options.any_licence else self._config.licences
        wanted = Wanted(scope=scope, stages=stages, keys=self._keys, licences=licences, again=self._options.again)
        total = count_waiting(self._catalogue, wanted)
        self._finished, self._total, self._scope = 0, total, scope
        arriving = waiting_units(self._catalogue, wanted)
        ready: list[deque[_Open]] = [deque() for _ in stages]
        places = _AHEAD * self._executor.slots
        limit = places * max(stage.batch for stage in stages)
        self._open = 0
        try:
            while True:
                self._admit(arriving, ready, limit)
                self._submit(stages, ready, places)
                if not self._executor.in_flight:
                    break
                self._settle(self._executor.take(), stages, ready)
                if self._buffer.due:
                    self._flush()
        finally:
            arriving.close()
            self._flush()

    def _flush(self) -> None:
        self._buffer.flush(self._catalogue)
        self._buffer = _Buffer()

    def _admit(self, arriving: Iterator[Waiting], ready: list[deque[_Open]], limit: int) -> None:
        while self._open < limit and (waiting := next(arriving, None)) is not None:
            self._open += 1
            attempts = 0 if self._options.again else waiting.attempts
            ready[waiting.stage].append(_Open(waiting.unit, waiting.stage, attempts, attempts > 0))

    def _submit(self, stages: Sequence[StageSpec], ready: list[deque[_Open]], places: int) -> None:
        """Late stages first: what is begun is finished before new units are begun."""
        for place in reversed(range(len(stages))):
            while ready[place] and self._executor.in_flight < places:
                batch = [ready[place].popleft()]
                size = 1 if batch[0].alone else stages[place].batch
                while len(batch) < size and ready[place] and not ready[place][0].alone:
                    batch.append(ready[place].popleft())
                self._executor.submit(self._task(stages[place], batch))

    def _task(self, stage: StageSpec, batch: Sequence[_Open]) -> Task:
        payload = {
            "root": self._catalogue.store.root,
            "stage": stage.name,
            "key": self._keys[stage.name],
            "config": self._catalogue.config,
            "again": self._options.again,
            "units": [unit_to_json(o.unit.source, o.unit.item) for o in batch],
            "attempts": [o.attempts for o in batch],
        }
        return Task(
            name=f"corpus {stage.name}", function=DO_BATCH, payload=payload, cpus=stage.cpus, memory_mb=stage.memory_mb
        )

    def _settle(self, outcome: Outcome, stages: Sequence[StageSpec], ready: list[deque[_Open]]) -> None:
        payload = outcome.task.payload
        place = next(i for i, s in enumerate(stages) if s.name == payload["stage"])
        batch = [_Open(unit_from_json(u), place, a) for u, a in zip(payload["units"], payload["attempts"], strict=True)]
        if outcome.error and not outcome.crashed:
            raise OutputError(f"The stage {payload['stage']} could not be worked on: {_reason(outcome.error)}")
        if outcome.error:
            for each in batch:
                # Nobody knows which of a batch it was: each is tried alone, and only then is it counted.
                self._broke(each, outcome.error, stages, ready, counted=len(batch) == 1)
            return
        for each, result in zip(batch, outcome.value, strict=True):
            if "broke" in result:
                self._broke(each, result["broke"], stages, ready)
            else:
                self._result(each, result, stages, ready)

    def _result(
        self, each: _Open, result: Mapping[str, Any], stages: Sequence[StageSpec], ready: list[deque[_Open]]
    ) -> None:
        """Write down what a worker found, and pass the unit on."""
        stage = stages[each.stage]
        unit = each.unit
        self._buffer.scores += [
            Score(item_id=unit.id, stage=stage.name, name=name, value=float("nan") if value is None else value)
            for name, value in result["scores"].items()
        ]
        items = [item_from_json(item) for item in result["items"]]
        self._buffer.items += items
        for item in items:
            refusal = result["refusals"].get(item.id, "")
            state: State = "rejected" if refusal else "done"
            self._record(stage.name, Unit(unit.source, item), state, 1, refusal)
        if result["source"] is not None:
            measured = {name: result["source"][name] for name in _MEASURED}
            known = dataclasses.replace(unit.source, **measured)
            if known != unit.source:
                self._buffer.sources.append(known)
            each.unit = Unit(known, unit.item)
        self._record(
            stage.name,
            unit,
            result["state"],
            each.attempts + 1,
            result["reason"],
            seconds=result["seconds"],
            outputs_sha256=result["outputs_sha256"],
        )
        if result["state"] == "done" and each.stage + 1 < len(stages):
            ready[each.stage + 1].append(_Open(each.unit, each.stage + 1))
        else:
            self._close()

    def _broke(
        self, each: _Open, why: str, stages: Sequence[StageSpec], ready: list[deque[_Open]], *, counted: bool = True
    ) -> None:
        """Try again, or quarantine."""
        self.broken += 1
        stage, unit = stages[each.stage], each.unit
        attempts = each.attempts + counted
        if attempts >= self._options.tries:
            reason = f"broke {attempts} times; the last: {_reason(why)}"
            self._catalogue.store.write_json(
                f"quarantine/{unit.id}.json",
                {"unit": unit.id, "source": unit.source.id, "stage": stage.name, "attempts": attempts, "words": why},
            )
            self._record(stage.name, unit, "quarantined", attempts, reason)
            self._close()
            return
        if counted:
            self._record(stage.name, unit, "pending", attempts, f"broke: {_reason(why)}")
        ready[each.stage].appendleft(_Open(unit, each.stage, attempts, alone=True))

    def _record(
        self,
        stage: str,
        unit: Unit,
        state: State,
        attempt: int,
        reason: str,
        *,
        seconds: float = 0.0,
        outputs_sha256: str = "",
    ) -> None:
        self.counts[state] = self.counts.get(state, 0) + 1
        self._buffer.records.append(
            Record(
                unit_id=unit.id,
                source_id=unit.source.id,
                stage=stage,
                key=self._keys[stage],
                state=state,
                attempt=attempt,
                reason=reason,
                seconds=seconds,
                outputs_sha256=outputs_sha256,
            )
        )

    def _close(self) -> None:
        self._open -= 1
        self._finished += 1
        self._emit(
            Progress(stage=f"corpus {self._scope}s", done=self._finished, total=self._total, unit=f"{self._scope}s")
        )


def _reason(words: str) -> str:
    """The last line of a traceback, or the words themselves."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return (lines[-1] if lines else "nothing was said")[:300]
