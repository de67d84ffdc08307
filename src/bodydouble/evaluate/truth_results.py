"""What is found against known truth, in sections that can be printed and written as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bodydouble.evaluate.results import null_for_nan


@dataclass(frozen=True, kw_only=True)
class TruthSection:
    """Figures of one kind."""

    name: str
    how: str
    """What they mean, in words; printed with them."""
    figures: Mapping[str, float]
    """Name with its unit -> value; NaN where there is none."""


@dataclass(frozen=True, kw_only=True)
class TruthScores:
    """A run against a synthetic performer."""

    sections: tuple[TruthSection, ...]
    protocol_text: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """JSON-ready: `section -> figure -> value`, and the explanations; NaN is null."""
        return {
            **{s.name: {name: null_for_nan(v) for name, v in s.figures.items()} for s in self.sections},
            "how": {s.name: s.how for s in self.sections},
            "protocol_text": list(self.protocol_text),
        }


def format_truth_scores(scores: TruthScores) -> str:
    """The figures as plain text tables with what they mean."""
    lines = []
    for section in scores.sections:
        lines += [section.name, f"  {section.how}"]
        width = max((len(name) for name in section.figures), default=0)
        lines += [f"  {name:{width}}  {_number(value):>10}" for name, value in section.figures.items()]
        lines.append("")
    return "\n".join([*lines, *scores.protocol_text])


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if abs(value) >= 10.0 else f"{value:.3f}"
