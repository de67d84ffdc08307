"""Runs benchmark suites, one after the other, and judges them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from bodydouble import __version__
from bodydouble.bench.rows import BASELINE, Row, judge, read_rows
from bodydouble.core.events import Event
from bodydouble.pipeline.versions import cpu_name

SuiteName = Literal["kernels", "faces", "fit", "create", "quality", "ablation", "motions", "surface", "starts"]
SUITES: tuple[SuiteName, ...] = get_args(SuiteName)


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """What the suites found."""

    rows: tuple[Row, ...]
    remarks: tuple[str, ...]
    problems: tuple[str, ...]
    """Rows worse than the baseline; empty unless a gate was asked for."""
    about: dict[str, str]


def run_suites(
    suites: Sequence[SuiteName],
    folder: Path,
    emit: Callable[[Event], None],
    *,
    quick: bool = False,
    preset: str = "draft",
    gate: bool = False,
    baseline: Path = BASELINE,
    captures: Sequence[Path] = (),
    seeds: int = 3,
    motions: Path | None = None,
    avatar: Path | None = None,
    recipe_minutes: float = 60.0,
) -> BenchResult:
    """Run suites.

    Args:
        suites: Which, in this order.
        folder: Performers, captures and avatars are kept here: what is there already is not made again.
        emit: Told about progress.
        quick: The smallest scenes that still mean something. Their rows bear `quick` in the suite's name, so that they
            are compared with their like.
        preset: How much time the avatars of `create` and `quality` may take. Rows of others than drafts bear its name, too.
        gate: Compare with the baseline.
        baseline: Rows to compare with.
        captures: For `ablation`: run or capture folders to use instead of performers.
        seeds: For `ablation`: how many times each variant is trained.
        motions: For `motions`: a folder of motion files.
        avatar: For `motions`: who performs them; an adult of 1.70 m if none.
        recipe_minutes: For `surface`: training time of the published recipe, at most.
    """
    known = read_rows(baseline) if gate else ()
    rows: list[Row] = []
    remarks: list[str] = []
    for suite in suites:
        if suite == "ablation":
            found, said = _ablation(folder, emit, quick, preset, captures, seeds)
        elif suite == "motions":
            found, said = _motions(folder, motions, avatar, emit)
        elif suite == "surface":
            found, said = _surface(folder, emit, quick, preset, recipe_minutes)
        elif suite == "starts":
            found, said = _starts(folder, emit, quick)
        else:
            found, said = _run(suite, folder, emit, quick, preset)
        label = " ".join([suite, *(["quick"] if quick else []), *([preset] if preset != "draft" else [])])
        rows += [replace(row, suite=label) for row in found]
        remarks += said
    return BenchResult(
        rows=tuple(rows), remarks=tuple(remarks), problems=tuple(judge(rows, known)) if gate else (), about=about()
    )


def about() -> dict[str, str]:
    """What the figures were measured on."""
    import torch

    from bodydouble.render.cpu import hot_kernels

    return {
        "version": __version__,
        "processor": cpu_name(),
        "threads": str(torch.get_num_threads()),
        "kernels": hot_kernels().__name__.rsplit(".", 1)[-1],
        "torch": torch.__version__,
    }


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The old rows with the suites of the new ones replaced: what `--update` writes."""
    replaced = {row.suite for row in new}
    return [row for row in old if row.suite not in replaced] + list(new)


def _run(
    suite: Literal["kernels", "faces", "fit", "create", "quality"],
    folder: Path,
    emit: Callable[[Event], None],
    quick: bool,
    preset: str,
) -> tuple[list[Row], list[str]]:
    if suite == "kernels":
        from bodydouble.bench import kernels

        return kernels.run(quick=quick, emit=emit)
    if suite == "faces":
        from bodydouble.bench import faces

        return faces.run(quick=quick, emit=emit)
    from bodydouble.bench import performers
    from bodydouble.pipeline.presets import preset as preset_named

    return performers.run(suite, folder, emit, quick=quick, preset=preset_named(preset))


def _ablation(
    folder: Path, emit: Callable[[Event], None], quick: bool, preset: str, captures: Sequence[Path], seeds: int
) -> tuple[list[Row], list[str]]:
    from bodydouble.bench import ablation
    from bodydouble.pipeline.presets import preset as preset_named

    return ablation.run(folder, emit, quick=quick, preset=preset_named(preset), captures=captures, seeds=seeds)


def _motions(
    folder: Path, motions: Path | None, avatar: Path | None, emit: Callable[[Event], None]
) -> tuple[list[Row], list[str]]:
    from bodydouble.avatar.glb import load_avatar
    from bodydouble.bench import motions as suite
    from bodydouble.pipeline.layout import avatar_file

    performer = None if avatar is None else load_avatar(avatar_file(avatar))
    return suite.run(folder, motions, performer, emit)


def _surface(
    folder: Path, emit: Callable[[Event], None], quick: bool, preset: str, recipe_minutes: float
) -> tuple[list[Row], list[str]]:
    from bodydouble.bench import surface
    from bodydouble.pipeline.presets import preset as preset_named

    return surface.run(folder, emit, quick=quick, preset=preset_named(preset), limit_minutes=recipe_minutes)


def _starts(folder: Path, emit: Callable[[Event], None], quick: bool) -> tuple[list[Row], list[str]]:
    from bodydouble.bench import starts

    return starts.run(folder, emit, quick=quick)
