"""The funnel for any thresholds, as text: scores are stored, so nothing is computed again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bodydouble.corpus.collection import Collection, read_collection
from bodydouble.corpus.filters import Filters
from bodydouble.corpus.funnel import PUBLISHED, Funnel, FunnelRow


def tune(root: str | Path, filters: Filters) -> tuple[Collection, Funnel]:
    """Judge a corpus by other thresholds."""
    collection = read_collection(root)
    return collection, collection.judged(filters)


def funnel_table(found: Funnel, refinement: Sequence[FunnelRow] = ()) -> str:
    """The funnel as a Markdown table, the published one beside it.

    Args:
        found: The funnel.
        refinement: Rows of the kept items by their first and their final body (`Collection.refinement`).
    """
    published = {row.step: row for row in PUBLISHED}
    lines = [
        "| step | left | kept | PCK | SOIOU | measured | published: kept | PCK | SOIOU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in (*found.rows, *(r for r in refinement if r.left)):
        theirs = published.get(row.step)
        cells = [row.step, str(row.left), _share(row.kept) if row.step != "candidates" else "-"]
        cells += [_figure(row.pck), _figure(row.soiou), str(row.measured)]
        cells += ["-"] * 3 if theirs is None else [_share(theirs.kept), _figure(theirs.pck), _figure(theirs.soiou)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def reasons_table(found: Funnel) -> str:
    """The dozen most frequent complaints, by step and score."""
    counts = Counter(
        (verdict.step, _kind(reason))
        for verdict in found.verdicts.values()
        if verdict.step
        for reason in verdict.reasons
    )
    lines = ["| step | complaint | items |", "|---|---|---|"]
    lines += [f"| {step} | {reason} | {count} |" for (step, reason), count in counts.most_common(12)]
    return "\n".join(lines)


def funnel_json(found: Funnel, refinement: Sequence[FunnelRow] = ()) -> dict[str, Any]:
    """JSON-ready: filters, rows, the published rows, verdicts."""

    def plain(row: FunnelRow) -> dict[str, Any]:
        return {
            "step": row.step,
            "entered": row.entered,
            "left": row.left,
            "kept": _null(row.kept),
            "pck": _null(row.pck),
            "soiou": _null(row.soiou),
            "measured": row.measured,
        }

    return {
        "filters": found.filters.to_json(),
        "digest": found.filters.digest,
        "rows": [plain(row) for row in found.rows],
        "refinement": [plain(row) for row in refinement if row.left],
        "published": [
            {"step": r.step, "left": r.left, "kept": _null(r.kept), "pck": r.pck, "soiou": r.soiou} for r in PUBLISHED
        ],
        "verdicts": {id: {"step": v.step, "reasons": list(v.reasons)} for id, v in sorted(found.verdicts.items())},
    }


def _kind(reason: str) -> str:
    """A complaint without its figure, so that equal ones are counted together."""
    words = reason.split()
    return f"{words[0]} {words[2]} {words[3]}" if len(words) == 4 and words[2] in "<>" else reason


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
