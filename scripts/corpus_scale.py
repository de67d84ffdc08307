"""What planning and the catalogue cost at any size, without a single video: memory of the driver, seconds, bytes.

    python scripts/corpus_scale.py 100 1000 10000
    python scripts/corpus_scale.py 1000000 --plan
    python scripts/corpus_scale.py 1000000 --catalogue

Each size runs in a process of its own. Planned are rows of a made-up list (hash and facts given, no file behind them); then a
run takes every source through `probe`, which refuses it because the file is not there, so that the driver does everything
it does for real videos but wait. With `--plan` the list is planned only. With `--catalogue` only rows are written (a source,
an item, five records and six scores each), compacted, counted and asked for what is left to do. `_cpu_s` are seconds of the
processor, which other work on the machine does not lengthen.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 10_000


def main() -> None:
    """Measure each size in a child process and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sizes", type=int, nargs="+")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="nothing is run")
    what.add_argument("--catalogue", action="store_true", help="rows only: nothing is planned or run")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measured = _rows if options.catalogue else functools.partial(_plan_and_run, run=not options.plan)
        print(json.dumps(measured(options.sizes[0])))
        return
    mode = ["--catalogue"] * options.catalogue + ["--plan"] * options.plan
    for size in options.sizes:
        words = [sys.executable, __file__, str(size), "--child", *mode]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        print(size, done.stdout.strip(), flush=True)


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1)


def _plan_and_run(size: int, *, run: bool) -> dict[str, float]:
    from bodydouble.corpus.plan import PlanOptions, plan
    from bodydouble.corpus.run import RunOptions, run_corpus

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with (place / "list.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["uri", "sha256", "fps", "width", "height", "licence", "takedown_key"])
            for n in range(size):
                # A kind of address that is refused at once, where a page would be fetched.
                writer.writerow([f"file:///nowhere/{n}.mp4", f"{n:064x}", 25, 640, 360, "CC0-1.0", f"person {n // 3}"])
        found: dict[str, float] = {}
        began, began_cpu = time.perf_counter(), time.process_time()
        plan([str(place / "list.csv")], place / "c", PlanOptions(), lambda event: None)
        found["plan_s"], found["plan_peak_mb"] = _since(began), _peak_mb()
        found["plan_cpu_s"] = round(time.process_time() - began_cpu, 2)
        if not run:
            return found
        began = time.perf_counter()
        run_corpus(place / "c", RunOptions(workers=0), lambda event: None)
        found["run_s"], found["run_peak_mb"] = _since(began), _peak_mb()
    return found


def _rows(size: int) -> dict[str, float]:
    from bodydouble.corpus.admit import Wanted, count_waiting
    from bodydouble.corpus.catalogue import Catalogue
    from bodydouble.corpus.stages import CorpusConfig, stage_keys, stages_of

    folder = Path(tempfile.mkdtemp(prefix="corpus-scale-"))
    try:
        config = CorpusConfig()
        catalogue = Catalogue.create(folder / "c", config.to_json())
        found: dict[str, float] = {}
        began = time.perf_counter()
        for chunk in _chunks(size):
            _write(catalogue, chunk, stage_keys(config))
        found["write_s"], found["write_peak_mb"] = _since(began), _peak_mb()
        began = time.perf_counter()
        catalogue.compact(always=True)
        found["compact_s"], found["compact_peak_mb"] = _since(began), _peak_mb()
        began = time.perf_counter()
        waiting = count_waiting(catalogue, Wanted(scope="item", stages=stages_of("item"), keys=stage_keys(config)))
        assert waiting == size
        found["left_to_do_s"], found["left_to_do_peak_mb"] = _since(began), _peak_mb()
        began = time.perf_counter()
        catalogue.rows("select state, count(*) from items group by state")
        found["count_states_s"] = _since(began)
        ledger = sum(catalogue.store.size_bytes(n) for n in catalogue.store.list("ledger"))
        found["ledger_mb"], found["peak_mb"] = round(ledger / 1e6, 1), _peak_mb()
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 2)


def _chunks(size: int) -> Iterator[range]:
    for first in range(0, size, _CHUNK):
        yield range(first, min(size, first + _CHUNK))


def _write(catalogue, numbers: range, keys: dict[str, str]) -> None:
    """A source, its item, five records and six scores for each number."""
    from bodydouble.corpus.values import Item, Record, Score, Source, item_id, source_id

    sources, items, records, scores = [], [], [], []
    for n in numbers:
        source = Source(id=source_id(sha256=f"{n:064x}"), uri=f"/videos/{n}.mp4", sha256=f"{n:064x}", licence="own")
        id = item_id(source.id, 0, 300, 0)
        sources.append(source)
        items.append(
            Item(
                id=id,
                source_id=source.id,
                first_frame=0,
                stop_frame=300,
                start_s=0.0,
                end_s=10.0,
                track=0,
                person=0,
                width_px=640,
                height_px=360,
                hashes=(n, n * 7919 + 1),
            )
        )
        for unit, stage in (
            (source.id, "probe"),
            (source.id, "shots"),
            (source.id, "tracks"),
            (id, "tracks"),
            (id, "perceive"),
        ):
            records.append(
                Record(
                    unit_id=unit,
                    source_id=source.id,
                    stage=stage,
                    key=keys[stage],
                    state="done",
                    attempt=1,
                    seconds=1.0,
                )
            )
        scores += [Score(item_id=id, stage="perceive", name=f"score_{k}", value=n * 0.001 + k) for k in range(6)]
    catalogue.add_sources(sources)
    catalogue.add_items(items)
    catalogue.add_scores(scores)
    catalogue.add_records(records)


if __name__ == "__main__":
    main()
