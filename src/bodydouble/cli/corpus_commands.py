"""What `bodydouble corpus` does, in words and numbers."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

from bodydouble.cli import corpus_options as options
from bodydouble.cli.answers import print_json, with_progress
from bodydouble.core.errors import BodydoubleError

_WATCH_S = 5.0


def plan(command: options.Plan) -> int:
    """`corpus plan`."""
    from bodydouble.corpus.plan import PlanOptions
    from bodydouble.corpus.plan import plan as make_plan

    said = PlanOptions(
        licence=command.licence,
        provenance=command.provenance,
        consent=command.consent,
        takedown_key=command.takedown_key,
        videos=command.videos,
    )
    done = with_progress(lambda emit: make_plan(command.sources, command.out, said, emit))
    if command.json:
        return print_json({"corpus": command.out, **dataclasses.asdict(done)})
    print(
        f"{command.out}: {done.added} videos added, {done.changed} changed, {done.known} known, {done.copies} copies."
    )
    if done.forgotten:
        print(f"{done.forgotten} refused: the person asked to be forgotten.")
    if done.unlicensed:
        print(
            f"{done.unlicensed} have no licence that allows the work. Say it (--licence, or in a list), or run with --any-licence."
        )
    for note in done.notes:
        print(f"note: {note}")
    print(f"Next: bodydouble corpus run {command.out}")
    return 0


def run(command: options.Run) -> int:
    """`corpus run`."""
    from bodydouble.corpus.run import RunOptions, run_corpus

    how = RunOptions(
        workers=command.workers,
        address=command.address,
        any_licence=command.any_licence,
        until=command.until,
        tries=command.tries,
        again=command.again,
    )
    done = with_progress(lambda emit: run_corpus(command.root, how, emit))
    if command.json:
        return print_json({"corpus": command.root, **dataclasses.asdict(done)})
    return _tell_status(command.root)


def status(command: options.Status) -> int:
    """`corpus status`."""
    from bodydouble.corpus.status import corpus_status

    if command.json:
        return print_json(dataclasses.asdict(corpus_status(command.root)))
    if not command.watch:
        return _tell_status(command.root)
    from rich.console import Console
    from rich.live import Live

    finished = threading.Event()
    failures: list[BodydoubleError] = []

    def table() -> Any:
        try:
            found = corpus_status(command.root)
        except BodydoubleError as error:  # told by who waits, not by the thread that draws
            failures.append(error)
            finished.set()
            return ""
        if not any(stage.waiting for stage in found.stages):
            finished.set()
        return _status_table(found)

    with Live(console=Console(), get_renderable=table, refresh_per_second=1 / _WATCH_S):
        finished.wait()
    if failures:
        raise failures[0]
    return 0


def verify(command: options.Verify) -> int:
    """`corpus verify`."""
    from bodydouble.corpus.verify import verify_corpus

    found = with_progress(lambda emit: verify_corpus(command.root, emit, sample=command.sample))
    if command.json:
        print_json(dataclasses.asdict(found))
    else:
        print(
            f"{found.records} records, {found.files} files, {found.projected} bodies laid over their masks: "
            f"{len(found.faults)} faults."
        )
        for fault in found.faults:
            print(f"  {fault}")
    return 1 if found.faults else 0


def query(command: options.Query) -> int:
    """`corpus query`."""
    from bodydouble.corpus.catalogue import Catalogue

    names, rows = Catalogue.open(command.root).rows(command.sql)
    if command.json:
        return print_json([dict(zip(names, map(_plain, row), strict=True)) for row in rows[: command.limit]])
    _table(names, [[_text(value) for value in row] for row in rows[: command.limit]])
    if len(rows) > command.limit:
        print(f"{len(rows) - command.limit} more rows; --limit shows them.")
    return 0


def forget(command: options.Forget) -> int:
    """`corpus forget`."""
    from bodydouble.corpus.forget import forget as remove

    done = with_progress(lambda emit: remove(command.root, command.key, emit, also=command.also))
    if command.json:
        return print_json(dataclasses.asdict(done))
    print(
        f"{done.sources} videos and {done.items} items forgotten: {done.rows} rows and {done.removed} files or folders "
        f"removed, {done.rewritten} shards and tables rewritten, {done.pages} reports removed."
    )
    print(f"{done.searched} files searched afterwards: nothing of the person is in them.")
    if done.left_outside:
        print("The videos themselves are not part of the corpus, and are left where they are:")
        for place in done.left_outside:
            print(f"  {place}")
    return 0


TABLE: dict[type, Callable[[Any], int]] = {
    options.Plan: plan,
    options.Run: run,
    options.Status: status,
    options.Verify: verify,
    options.Query: query,
    options.Forget: forget,
}


def _tell_status(root: str) -> int:
    from rich.console import Console

    from bodydouble.corpus.status import corpus_status

    Console(highlight=False).print(_status_table(corpus_status(root)))
    return 0


def _status_table(status: Any) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("stage", "done", "rejected", "failed", "alone", "waiting", "s each", "an hour", "left"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    scope = ""
    for s in status.stages:
        counts = [str(n) for n in (s.done, s.rejected, s.failed, s.quarantined, s.waiting)]
        if s.scope != scope:
            table.add_row(f"[dim]{'videos' if s.scope == 'source' else 'people in them'}[/dim]")
            scope = s.scope
        rate = f"{s.per_hour:.0f}" if s.mean_seconds else "-"
        table.add_row(f"  {s.stage}", *counts, f"{s.mean_seconds:.2f}", rate, _duration(s.left_s))
    states = ", ".join(f"{n} {state}" for state, n in status.states.items()) or "none yet"
    head = f"{status.root}: {status.sources} videos ({status.places} places, {status.held} held back), items: {states}"
    why = [Text(f"  {n:6d}  {stage}: {reason}") for stage, reason, n in status.refusals]
    return Group(Text(head), table, *([Text("why not:"), *why] if why else []))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
