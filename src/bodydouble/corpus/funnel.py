"""The funnel: how many items each filter keeps, and how PCK and SOIOU of what is left climb, beside the published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bodydouble.corpus.filters import Filters, Verdict, judge

PCK, SOIOU = "pck_02", "soiou"
"""The two scores that the ladder is made of."""
REFUSED = "usable"
"""Name of the row of items that were refused while they were worked on."""


@dataclass(frozen=True, kw_only=True)
class FunnelRow:
    """What is left after one step."""

    step: str
    title: str
    entered: int
    left: int
    pck: float
    """Mean over the items left that have the score; NaN without any."""
    soiou: float
    measured: int
    """How many of the items left have both scores."""

    @property
    def kept(self) -> float:
        """Share of what entered; NaN where nothing did."""
        return self.left / self.entered if self.entered else math.nan


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """The same of WildAvatar, as the paper's tables have it."""

    step: str
    left: int
    kept: float
    pck: float
    soiou: float


PUBLISHED: tuple[PublishedRow, ...] = (
    PublishedRow(step="candidates", left=465_801, kept=math.nan, pck=0.282, soiou=0.760),
    PublishedRow(step="P-I", left=43_824, kept=0.094, pck=0.762, soiou=0.214),
    PublishedRow(step="P-II", left=25_392, kept=0.579, pck=0.839, soiou=0.146),
    PublishedRow(step="P-III", left=12_482, kept=0.492, pck=0.882, soiou=0.129),
    PublishedRow(step="P-IV", left=10_647, kept=0.853, pck=0.902, soiou=0.052),
    PublishedRow(step="refined", left=10_647, kept=1.0, pck=0.921, soiou=0.028),
)
"""WildAvatar (CVPR 2025): clips left, share kept, PCK and SOIOU after each filter and after its refinement. Radius and
thresholds were not published, so heights of the steps compare and absolute values do not."""


@dataclass(frozen=True, kw_only=True)
class Funnel:
    """All rows, and the verdict on every item."""

    filters: Filters
    rows: tuple[FunnelRow, ...]
    verdicts: Mapping[str, Verdict]

    @property
    def kept(self) -> tuple[str, ...]:
        """Ids of the items that every filter kept."""
        return tuple(item for item, verdict in self.verdicts.items() if verdict.kept)


def funnel(
    scores: Mapping[str, Mapping[str, float]], filters: Filters, *, refused: Mapping[str, Sequence[str]] | None = None
) -> Funnel:
    """Judge items by their stored scores.

    Args:
        scores: Of each item, by its id: every candidate, also those about which hardly anything could be measured.
        filters: Steps in order.
        refused: Items on which work stopped before there was anything to judge, and why (nobody there, a duplicate, ...):
            a row of their own comes before the first filter.
    """
    verdicts = {
        item: Verdict(step=REFUSED, reasons=tuple(refused[item]))
        if refused and item in refused
        else judge(values, filters)
        for item, values in scores.items()
    }
    left = list(scores)
    rows = [_row("candidates", "everything that was found", left, left, scores)]
    if refused is not None:
        stay = [item for item in left if verdicts[item].step != REFUSED]
        rows.append(_row(REFUSED, "somebody is there, long enough, readable, no duplicate", left, stay, scores))
        left = stay
    for step in filters.steps:
        stay = [item for item in left if verdicts[item].step != step.name]
        rows.append(_row(step.name, step.title, left, stay, scores))
        left = stay
    return Funnel(filters=filters, rows=tuple(rows), verdicts=verdicts)


def _row(
    step: str, title: str, before: Sequence[str], after: Sequence[str], scores: Mapping[str, Mapping[str, float]]
) -> FunnelRow:
    pairs = [(scores[i].get(PCK, math.nan), scores[i].get(SOIOU, math.nan)) for i in after]
    pcks = [p for p, _ in pairs if not math.isnan(p)]
    soious = [s for _, s in pairs if not math.isnan(s)]
    return FunnelRow(
        step=step,
        title=title,
        entered=len(before),
        left=len(after),
        pck=sum(pcks) / len(pcks) if pcks else math.nan,
        soiou=sum(soious) / len(soious) if soious else math.nan,
        measured=sum(not math.isnan(p) and not math.isnan(s) for p, s in pairs),
    )


def with_refined(
    found: Funnel, coarse: Mapping[str, Mapping[str, float]], refined: Mapping[str, Mapping[str, float]]
) -> tuple[FunnelRow, FunnelRow]:
    """PCK and SOIOU of the kept items before and after refinement, as two further figures.

    Args:
        found: The funnel.
        coarse, refined: Scores of the bodies before and after, by item.
    Returns:
        A row `coarse` and a row `refined` over the kept items that have both.
    """
    both = [i for i in found.kept if i in coarse and i in refined]
    return (
        _row("coarse", "kept items, body as first fitted", both, both, coarse),
        _row("refined", "kept items, body refined", both, both, refined),
    )
