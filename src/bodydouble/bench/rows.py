"""What a benchmark says: rows of figures, each with its unit and direction, compared with a baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from bodydouble.core.errors import InputError
from bodydouble.core.files import read_json, write_json

SCHEMA = 1
BASELINE = Path(__file__).with_name("baseline.json")

Better = Literal["lower", "higher"]
ToleranceKind = Literal["relative", "absolute"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure."""

    suite: str
    name: str
    value: float
    unit: str
    better: Better
    tolerance: float | None = None
    """How far the figure may be worse than the baseline. None: told, never judged (milliseconds of a machine)."""
    tolerance_kind: ToleranceKind = "absolute"
    budget: float | None = None
    """What the design asks for, told beside the figure."""

    @property
    def key(self) -> str:
        """What a row is found by."""
        return f"{self.suite}/{self.name}"

    def worst_accepted(self, baseline: float) -> float:
        """The figure at which the gate closes, given the baseline's."""
        assert self.tolerance is not None
        margin = self.tolerance * (abs(baseline) if self.tolerance_kind == "relative" else 1.0)
        return baseline + margin if self.better == "lower" else baseline - margin


def judge(rows: Sequence[Row], baseline: Sequence[Row]) -> list[str]:
    """One sentence for each row that is worse than the baseline allows, or that is not measured any more.

    Rows of suites that were not run are left alone; rows that the baseline lacks are new and pass.
    """
    found = {row.key: row for row in rows}
    suites = {row.suite for row in rows}
    problems = []
    for old in baseline:
        if old.tolerance is None or old.suite not in suites:
            continue
        row = found.get(old.key)
        if row is None:
            problems.append(f"{old.key}: not measured any more; the baseline has {shown(old.value)} {old.unit}")
            continue
        limit = old.worst_accepted(old.value)
        worse = row.value > limit if old.better == "lower" else row.value < limit
        if worse or not math.isfinite(row.value):
            problems.append(
                f"{row.key}: {shown(row.value)} {row.unit}; the baseline has {shown(old.value)} and accepts "
                f"{shown(limit)}"
            )
    return problems


def table(rows: Sequence[Row]) -> str:
    """The rows as text for people, suite by suite."""
    lines: list[str] = []
    for suite in dict.fromkeys(row.suite for row in rows):
        lines += ["", suite]
        for row in (r for r in rows if r.suite == suite):
            verdict = ""
            if row.budget is not None:
                met = row.value <= row.budget if row.better == "lower" else row.value >= row.budget
                verdict = f"   budget {shown(row.budget)}: {'kept' if met else 'MISSED'}"
            lines.append(f"  {row.name:64}{shown(row.value):>10} {row.unit:<8}{verdict}")
    return "\n".join(lines[1:])


def write_rows(path: Path, rows: Sequence[Row], about: dict[str, str]) -> None:
    """Write rows, and what they were measured on, as JSON."""
    write_json(path, {"schema": SCHEMA, "about": about, "rows": rows_json(rows)})


def rows_json(rows: Sequence[Row]) -> list[dict]:
    """JSON-ready rows; a value that is not a number becomes null."""
    return [{k: (None if _is_nan(v) else v) for k, v in asdict(row).items()} for row in rows]


def read_rows(path: Path) -> tuple[Row, ...]:
    """Read what `write_rows` wrote.

    Raises:
        InputError: When the file is missing, damaged or of another version.
    """
    document = read_json(path)
    try:
        if document["schema"] != SCHEMA:
            raise InputError(f"{path} has schema {document['schema']}; expected {SCHEMA}. Write the baseline anew.")
        nan = float("nan")
        return tuple(
            Row(**{k: (nan if k == "value" and v is None else v) for k, v in r.items()}) for r in document["rows"]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} does not hold benchmark rows ({error!r}). Write it anew with --update.") from error


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def shown(value: float) -> str:
    """A figure with as many digits as it deserves."""
    if math.isnan(value):
        return "-"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 1
    return f"{value:.{digits}f}"
