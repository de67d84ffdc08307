"""What the commands of `corpus_sets` do, in words and numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bodydouble.cli import corpus_sets as options
from bodydouble.cli.answers import print_json, with_progress
from bodydouble.core.errors import InputError
from bodydouble.corpus.filters import Filters, load_filters, with_changes


def filters(command: options.Filters) -> int:
    """`corpus filters`."""
    return print_json(_filters(command).to_json())


def tune(command: options.Tune) -> int:
    """`corpus tune`."""
    from bodydouble.corpus.tune import funnel_json, funnel_table, reasons_table
    from bodydouble.corpus.tune import tune as judge

    collection, found = judge(command.root, _filters(command))
    refinement = collection.refinement(found)
    if command.json:
        return print_json(funnel_json(found, refinement))
    waiting = f"; {collection.waiting} items are still waiting and not counted" if collection.waiting else ""
    print(f"Filters {found.filters.name} ({found.filters.digest}){waiting}\n")
    print(funnel_table(found, refinement))
    print(f"\n{reasons_table(found)}")
    return 0


def publish(command: options.Publish) -> int:
    """`corpus publish`."""
    if command.layout == "wildavatar":
        return _publish_wildavatar(command)
    from bodydouble.corpus.publish import PublishConfig
    from bodydouble.corpus.publish import publish as write

    config = PublishConfig(
        name=command.name, pictures=not command.links_only, crop_px=command.crop_px, shard_mb=command.shard_mb
    )
    done = with_progress(lambda emit: write(command.root, command.out, _filters(command), config, emit))
    if command.json:
        return print_json(
            {**dataclasses.asdict(done), "folder": str(done.folder), "shards": [s.path.name for s in done.shards]}
        )
    size = sum(s.bytes for s in done.shards) / 1e6
    print(
        f"{done.kept} of {done.candidates} items, {done.frames} frames in {len(done.shards)} shards ({size:.1f} MB) in {done.folder}."
    )
    if done.withheld:
        print(f"{done.withheld} more were kept by the filters, but consent was refused.")
    return 0


def _publish_wildavatar(command: options.Publish) -> int:
    from bodydouble.corpus.publish import publish_wildavatar

    found = publish_wildavatar(command.root, command.out, _filters(command), pictures=not command.links_only)
    if command.json:
        return print_json({"folder": str(found.folder), "subjects": found.subjects, "left_out": found.left_out})
    print(f"{len(found.subjects)} subjects in {found.folder}; {len(found.left_out)} left out.")
    for item, reason in list(found.left_out.items())[:10]:
        print(f"  {item}: {reason}")
    return 0


def bench(command: options.Bench) -> int:
    """`corpus bench`."""
    from bodydouble.corpus.bench import BenchConfig, format_table
    from bodydouble.corpus.bench_run import bench_corpus

    config = BenchConfig(
        methods=command.methods,
        split=command.split,
        preset=command.preset,
        seed=command.seed,
        max_subjects=command.subjects,
        steps=command.steps,
    )
    where = {"workers": command.workers, "address": command.address, "gpus": command.gpus}
    table = with_progress(
        lambda emit: bench_corpus(command.root, command.out, _filters(command), config, emit, **where)
    )
    if command.json:
        return print_json(table.to_json())
    print(format_table(table))
    return 0


def report(command: options.Report) -> int:
    """`corpus report`."""
    from bodydouble.corpus.report import write_report

    out = command.out or Path(command.root.removeprefix("file://")) / "report.html"
    with_progress(lambda emit: write_report(command.root, out, _filters(command), emit))
    if command.json:
        return print_json({"report": str(out)})
    print(f"The report is {out}.")
    return 0


def seed(command: options.Seed) -> int:
    """`corpus seed`."""
    from bodydouble.corpus.seeded import DEFECTS, MANIFEST_NAME, SOUND, SeedConfig, seed_corpus

    config = SeedConfig(
        clips=command.clips, seed=command.seed, seconds=command.seconds, fps=command.fps, looks=command.looks
    )
    made = with_progress(lambda emit: seed_corpus(command.out, config, emit))
    counts = {kind: made.count(kind) for kind in (SOUND, *DEFECTS)}
    if command.json:
        return print_json({"folder": str(made.folder), "clips": len(made.clips), "counts": counts})
    print(f"{len(made.clips)} clips in {made.folder}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()) + ".")
    print(f"Next: bodydouble corpus plan {made.folder / MANIFEST_NAME} -o ROOT")
    return 0


def judge(command: options.Judge) -> int:
    """`corpus judge`."""
    from bodydouble.corpus.seeded import read_seeded
    from bodydouble.corpus.seeded_score import clip_outcomes, detections, score_table, true_scores
    from bodydouble.corpus.tune import tune as look
    from bodydouble.pipeline.bodies import load_body

    corpus = read_seeded(command.seeded)
    collection, found = look(command.root, _filters(command))
    outcomes = clip_outcomes(corpus, collection, found)
    rows = detections(outcomes)
    truths = true_scores(outcomes, corpus, collection, load_body("anny"))
    if command.json:
        plain = [
            {**dataclasses.asdict(row), "recall": _finite(row.recall), "precision": _finite(row.precision)}
            for row in rows
        ]
        scores = [
            {k: _finite(v) if isinstance(v, float) else v for k, v in dataclasses.asdict(t).items()} for t in truths
        ]
        return print_json({"detections": plain, "truth": scores})
    print(score_table(rows, truths, found.kept))
    return 0


TABLE: dict[type, Callable[[Any], int]] = {
    options.Filters: filters,
    options.Tune: tune,
    options.Publish: publish,
    options.Bench: bench,
    options.Report: report,
    options.Seed: seed,
    options.Judge: judge,
}


def _filters(command: options.Judged) -> Filters:
    if command.filters is not None and not command.filters.is_file():
        raise InputError(f"--filters {command.filters} does not exist. Make one: bodydouble corpus filters > FILE.json")
    return with_changes(load_filters(command.filters), command.changes)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
