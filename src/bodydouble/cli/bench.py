"""`bodydouble bench`: from options to suites, and from their rows to words, pages and the exit code of the gate."""

from __future__ import annotations

from pathlib import Path

from bodydouble.cli import options
from bodydouble.cli.answers import print_json
from bodydouble.cli.progress import ProgressPrinter
from bodydouble.core.errors import InputError


def bench(command: options.Bench) -> int:
    """`bodydouble bench`."""
    from bodydouble.bench.motions import around_table, with_table
    from bodydouble.bench.page import page
    from bodydouble.bench.rows import BASELINE, read_rows, rows_json, table, write_rows
    from bodydouble.bench.run import merged, run_suites
    from bodydouble.core.files import write_text
    from bodydouble.pipeline.create import use_threads

    use_threads(command.threads)
    baseline = command.baseline or BASELINE
    page_of_motions = command.page if command.suites == ("motions",) else None
    if page_of_motions is not None:
        around_table(_page_text(page_of_motions))  # what is wrong with it is said before minutes are spent
    with ProgressPrinter(()) as emit:
        result = run_suites(
            command.suites,
            command.out,
            emit,
            quick=command.quick,
            preset=command.preset,
            gate=command.gate,
            baseline=baseline,
            captures=command.captures,
            seeds=command.seeds,
            motions=command.motions,
            avatar=command.avatar,
            recipe_minutes=command.recipe_minutes,
        )
    told = result.rows
    if command.update:
        told = merged(read_rows(baseline) if baseline.exists() else (), result.rows)
        write_rows(baseline, told, result.about)
    if page_of_motions is not None:
        write_text(page_of_motions, with_table(_page_text(page_of_motions), result.rows))
    elif command.page is not None:
        words = ["bodydouble bench", *command.suites, *(["--quick"] if command.quick else [])]
        words += [f"--preset {command.preset}"] if command.preset != "draft" else []
        words += [f"--captures {' '.join(map(str, command.captures))}"] if command.captures else []
        words += [*(["--update"] if command.update else []), f"--page {command.page}"]
        write_text(command.page, page(told, result.remarks, result.about, " ".join(words)))
    if command.json:
        rows = rows_json(result.rows)
        print_json({"about": result.about, "rows": rows, "remarks": result.remarks, "problems": result.problems})
    else:
        print("\n".join([table(result.rows), "", *result.remarks]))
        if command.gate:
            print("gate: passed" if not result.problems else "gate: FAILED")
        print("\n".join(result.problems))
    return 1 if result.problems else 0


def _page_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(
            f"--page {path} cannot be read ({reason}). Figures of motions go into a page that is there, between two marks."
        ) from error
