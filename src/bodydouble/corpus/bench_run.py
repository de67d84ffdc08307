"""The benchmark over a corpus's kept items, as tasks: on Ray, on a cluster, or in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bodydouble.core.errors import InputError
from bodydouble.core.events import Event, Progress
from bodydouble.corpus.bench import BenchConfig, BenchTable, bench_payloads, bench_table, save_table
from bodydouble.corpus.executor import open_executor
from bodydouble.corpus.filters import Filters
from bodydouble.corpus.publish import publishable, remember_folder
from bodydouble.corpus.tasks import Outcome, Task, run_all
from bodydouble.corpus.tune import tune

_BENCH = "bodydouble.corpus.bench:bench_subject"


def bench_corpus(
    root: str | Path,
    out: Path,
    filters: Filters,
    config: BenchConfig,
    emit: Callable[[Event], None],
    *,
    workers: int = 1,
    address: str = "",
    gpus: float = 0.0,
) -> BenchTable:
    """Train and score every method on every kept subject; bench.json and bench.md are left in `out`.

    Args:
        root: Of the corpus, on a disk that all workers see.
        out: Where the runs go; finished ones are kept.
        filters: Which items are subjects.
        config: What is compared.
        emit: Told about progress.
        workers, address: As for `executor.open_executor`.
        gpus: Share of a GPU for each task.
    Raises:
        InputError: When there is no subject.
    """
    collection, found = tune(root, filters)
    chosen, _ = publishable(collection, found)
    if not chosen:
        raise InputError(
            f"{root} has no finished item that every filter kept; `bodydouble corpus tune {root}` shows why."
        )
    remember_folder(collection, out)
    captures = {entry.item.id: collection.capture_folder(entry.item.id) for entry in chosen}
    payloads = list(bench_payloads(captures, config, out.absolute()))
    rows: list[dict] = []

    def done(outcome: Outcome) -> None:
        payload = outcome.task.payload
        failed = {"subject": payload["subject"], "method": payload["method"], "figures": {}, "failure": outcome.error}
        rows.append(outcome.value if not outcome.error else {**failed, "seconds": outcome.seconds})
        emit(Progress(stage="bench", done=len(rows), total=len(payloads), unit="runs"))

    tasks = (Task(name="bench", function=_BENCH, payload=payload, gpus=gpus) for payload in payloads)
    with open_executor(workers, address, gpus=1 if gpus else 0) as executor:
        run_all(executor, tasks, done)
    table = bench_table(config, rows)
    out.mkdir(parents=True, exist_ok=True)
    save_table(table, out)
    return table
