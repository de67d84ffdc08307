"""One page about a corpus: the funnel, what each filter kept and rejected with pictures, distributions, rates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodydouble.core.events import Event, Progress
from bodydouble.core.files import write_text
from bodydouble.corpus.collection import Collection, Entry
from bodydouble.corpus.filters import Filters, Step
from bodydouble.corpus.funnel import PUBLISHED, Funnel, FunnelRow
from bodydouble.corpus.pictures import Picture, item_picture
from bodydouble.corpus.plots import distribution_plots, funnel_plot, ladder_plots
from bodydouble.corpus.tune import tune

_PICTURES = 8
_KEPT_PICTURES = 12
_TEMPLATE = "report_template.html"
_SHOWN = ("pck_02", "soiou", "motion", "stature_px", "agreement")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One item with its picture."""

    entry: Entry
    picture: Picture | None
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StepSection:
    """What one step did."""

    name: str
    title: str
    rules: tuple[str, ...]
    rejected: int
    reasons: tuple[tuple[str, int], ...]
    shown: tuple[Shown, ...]


@dataclass(frozen=True, kw_only=True)
class StageRate:
    """What one stage cost."""

    stage: str
    units: int
    seconds: float
    """All of them together."""

    @property
    def mean_s(self) -> float:
        return self.seconds / self.units if self.units else math.nan

    @property
    def per_hour(self) -> float:
        """Units one worker does in an hour."""
        return 3600.0 / self.mean_s if self.seconds > 0 else math.nan


def write_report(
    root: str | Path, out: Path, filters: Filters, emit: Callable[[Event], None] = lambda event: None
) -> Path:
    """Write the page; everything is inside it.

    Args:
        root: Of the corpus.
        out: The .html.
        filters: What is judged by.
        emit: Told about progress, in pictures.
    """
    collection, found = tune(root, filters)
    page = render_report(collection, found, emit)
    write_text(out, page)
    return out


def render_report(collection: Collection, found: Funnel, emit: Callable[[Event], None]) -> str:
    """The page as text."""
    import jinja2

    kept = [collection.entries[id] for id in sorted(found.kept)]
    rejected = [collection.entries[id] for id, verdict in sorted(found.verdicts.items()) if not verdict.kept]
    sections = _sections(collection, found, emit)
    coarse, refined = collection.refinement(found)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bodydouble.corpus", ""), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["figure"] = lambda v: "-" if v is None or math.isnan(v) else f"{v:.3f}"
    environment.filters["share"] = lambda v: "-" if v is None or math.isnan(v) else f"{100 * v:.1f} %"
    environment.filters["grouped"] = lambda v: f"{v:,}".replace(",", "\u202f")
    plots = distribution_plots(kept, rejected, _directions(collection, kept))
    return environment.get_template(_TEMPLATE).render(
        root=Path(collection.catalogue.store.root).name,
        filters=filters_text(found.filters),
        tiles=_tiles(collection, found, kept),
        rows=_table(found, (coarse, refined)),
        funnel=funnel_plot(found),
        ladder=ladder_plots(found, refined),
        sections=sections,
        kept_count=len(kept),
        kept=_shown(collection, kept, _KEPT_PICTURES, lambda e: tuple(_score_lines(e)), emit, "kept"),
        plots={k: v for k, v in plots.items() if k not in ("licences", "consent", "resolution")},
        facts={k: plots[k] for k in ("licences", "consent", "resolution") if k in plots},
        refused=Counter(r for reasons in collection.refused_sources.values() for r in reasons).most_common(20),
        rates=_rates(collection),
    )


def filters_text(filters: Filters) -> str:
    """Name and digest, as figures are quoted with them."""
    return f"{filters.name} ({filters.digest})"


def _table(found: Funnel, refinement: Sequence[FunnelRow]) -> list[dict[str, Any]]:
    published = {row.step: row for row in PUBLISHED}
    return [
        {"row": row, "published": published.get(row.step)} for row in (*found.rows, *(r for r in refinement if r.left))
    ]


def _tiles(collection: Collection, found: Funnel, kept: Sequence[Entry]) -> list[tuple[str, str]]:
    seconds = sum(e.item.end_s - e.item.start_s for e in kept)
    people = len({(e.item.source_id, e.item.person) for e in kept})
    share = len(kept) / len(collection.entries) if collection.entries else math.nan
    return [
        (f"{len(collection.sources)}", "sources planned"),
        (f"{len(collection.refused_sources)}", "of them gave no item"),
        (f"{len(collection.entries)}", "candidates: a person in a span"),
        (f"{len(kept)}", "kept by every filter" + ("" if math.isnan(share) else f" ({share:.0%})")),
        (f"{people}", "people, told apart within a source"),
        (f"{seconds:.0f} s", "of video kept"),
        *([(f"{collection.waiting}", "candidates are still waiting")] if collection.waiting else []),
    ]


def _sections(collection: Collection, found: Funnel, emit: Callable[[Event], None]) -> list[StepSection]:
    steps = {step.name: step for step in found.filters.steps}
    sections = []
    for row in found.rows[1:]:
        ids = [id for id, verdict in sorted(found.verdicts.items()) if verdict.step == row.step]
        reasons = Counter(_plain(reason) for id in ids for reason in found.verdicts[id].reasons)
        entries = [collection.entries[id] for id in ids]
        sections.append(
            StepSection(
                name=row.step,
                title=row.title,
                rules=_rule_texts(steps.get(row.step)),
                rejected=len(ids),
                reasons=tuple(reasons.most_common(8)),
                shown=_shown(
                    collection, entries, _PICTURES, lambda e: found.verdicts[e.item.id].reasons[:3], emit, row.step
                ),
            )
        )
    return sections


def _shown(
    collection: Collection,
    entries: Sequence[Entry],
    most: int,
    lines: Callable[[Entry], tuple[str, ...]],
    emit: Callable[[Event], None],
    what: str,
) -> tuple[Shown, ...]:
    """Some of the items, evenly over their order."""
    count = min(most, len(entries))
    chosen = [entries[int(i * len(entries) / count)] for i in range(count)]
    shown = []
    for done, entry in enumerate(chosen):
        shown.append(Shown(entry=entry, picture=item_picture(collection, entry), lines=lines(entry)))
        emit(Progress(stage=f"pictures of {what}", done=done + 1, total=count, unit="items"))
    return tuple(shown)


def _score_lines(entry: Entry) -> list[str]:
    return [f"{name} {entry.final[name]:.3g}" for name in _SHOWN if name in entry.final]


def _rule_texts(step: Step | None) -> tuple[str, ...]:
    if step is None:
        return ()
    texts = []
    for rule in step.rules:
        low = "" if rule.min is None else f"{rule.min:g} ≤ "
        high = "" if rule.max is None else f" ≤ {rule.max:g}"
        texts.append(f"{low}{rule.score}{high}")
    return tuple(texts)


def _plain(reason: str) -> str:
    """A complaint without its own figure: `motion < 0.05`."""
    words = reason.split()
    return f"{words[0]} {words[2]} {words[3]}" if len(words) == 4 and words[2] in "<>" else reason


def _directions(collection: Collection, kept: Sequence[Entry]) -> dict[str, list[tuple[float, float]]]:
    from bodydouble.capture.folder import Capture
    from bodydouble.corpus.evidence import view_directions
    from bodydouble.pipeline.bodies import load_body

    body = load_body("anny")
    found = {}
    for entry in kept:
        folder = collection.capture_folder(entry.item.id)
        if (folder / "body.safetensors").is_file():
            track = Capture.open(folder).track()
            if track.body == body.name and bool(track.valid.any()):
                seen = view_directions(track, body).tolist()
                found[entry.item.id] = [(math.atan2(x, z), math.asin(max(-1.0, min(1.0, y)))) for x, y, z in seen]
    return found


def _rates(collection: Collection) -> list[StageRate]:
    _, rows = collection.catalogue.rows(
        "select stage, count(*), sum(seconds) from records where state in ('done', 'rejected') group by stage"
    )
    order = ("probe", "shots", "tracks", "alike", "perceive", "coarse", "consistency", "refine", "ready")
    found = {
        stage: StageRate(stage=stage, units=int(units), seconds=float(seconds or 0.0)) for stage, units, seconds in rows
    }
    return sorted(found.values(), key=lambda r: (order.index(r.stage) if r.stage in order else len(order), r.stage))
