"""The figures as a page for people: docs/results.md is made by this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bodydouble.bench.rows import Row, shown

_INTRODUCTION = """# Results

Made by `{command}`; do not edit. Measured with bodydouble {version} on {processor}, {threads} threads, torch {torch}.

Quality figures are those of the protocol `heldout-v1` ([evaluation.md](evaluation.md)): every 8th frame is held out;
`psnr_box` takes its pose from the fit alone, `psnr_box_registered` from aligning the finished avatar to the frame
itself. The standing performers are synthetic, so their true poses and masks are known; whatever an avatar was trained
on, its figures are taken against the true masks.
"""

ORDER = ("quality", "ablation", "surface", "create", "fit", "starts", "faces", "kernels")
"""Suites from what matters most on; `motions` has a page of its own."""
_CROSSED = ("quality", "ablation", "surface")
"""Suites whose rows are named `condition: figure, performer`."""


def page(rows: Sequence[Row], remarks: Sequence[str], about: Mapping[str, str], command: str) -> str:
    """Markdown with one table for each suite; quick ones are for machines and left out."""
    parts = [_INTRODUCTION.format(command=command, **about)]
    suites = sorted({r.suite for r in rows if not {"quick", "motions"} & {*r.suite.split()}}, key=_place)
    for suite in suites:
        chosen = [row for row in rows if row.suite == suite]
        parts.append(f"## {suite}\n\n{_crossed(chosen) if suite.split()[0] in _CROSSED else _listed(chosen)}\n")
    if remarks:
        parts.append("\n".join(remarks) + "\n")
    return "\n".join(parts)


def _place(suite: str) -> tuple[int, str]:
    return ORDER.index(suite.split()[0]), suite


def _listed(rows: Sequence[Row]) -> str:
    lines = ["| what | figure | unit | budget |", "|---|---:|---|---|"]
    for row in rows:
        budget = "" if row.budget is None else shown(row.budget)
        lines.append(f"| {row.name} | {shown(row.value)} | {row.unit} | {budget} |")
    return "\n".join(lines)


def _crossed(rows: Sequence[Row]) -> str:
    """Conditions down, figures across, a table for the mean (with its spread) and for each performer."""
    cells: dict[str, dict[str, dict[str, str]]] = {}
    spreads: dict[tuple[str, str], str] = {}
    for row in rows:
        condition, rest = row.name.split(": ", 1)
        figure, performer = rest.rsplit(", ", 1)
        if performer == "spread":
            spreads[condition, figure] = shown(row.value)
            continue
        cells.setdefault(performer, {}).setdefault(condition, {})[figure] = shown(row.value)
    for (condition, figure), spread in spreads.items():
        cells["mean"][condition][figure] += f" ± {spread}"
    tables = []
    for performer, by_condition in cells.items():
        figures = list(dict.fromkeys(figure for values in by_condition.values() for figure in values))
        lines = [f"| {performer} | " + " | ".join(figures) + " |", "|---|" + "---:|" * len(figures)]
        for condition, values in by_condition.items():
            lines.append(f"| {condition} | " + " | ".join(values.get(figure, "-") for figure in figures) + " |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)
