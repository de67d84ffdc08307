"""The datasheet of a published set: what is in it, where it comes from, and what is not known about it.

In the order of questions of Gebru et al., "Datasheets for datasets", 2021.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bodydouble.core.files import write_text
from bodydouble.corpus.collection import Collection, Entry
from bodydouble.corpus.funnel import Funnel
from bodydouble.corpus.measure import SCORES
from bodydouble.corpus.plots import distribution_plots, funnel_plot, ladder_plots
from bodydouble.corpus.shards import Shard
from bodydouble.corpus.tune import funnel_table

_SUMMARISED = (
    "seconds", "person_px", "motion", "view_range_rad", "pose_range_rad", "pck_02", "soiou", "ssiou", "agreement",
    "height_m", "skin_ita_deg", "skin_ita_sd_deg",
)  # fmt: skip
_CAPTIONS = {
    "views": "From which side people are seen, over all frames of the kept items.",
    "skin": (
        "Skin tones as filmed (individual typology angle of the cheeks). Light and white balance move it by tens of degrees; "
        "its spread within an item is in the table above."
    ),
    "height_m": "Heights of the fitted bodies. A video cannot tell a height: where nobody gave one, 1.70 m was assumed.",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a datasheet is written from."""

    name: str
    collection: Collection
    found: Funnel
    kept: tuple[Entry, ...]
    frames: int
    shards: tuple[Shard, ...]
    withheld: int
    pictures: bool
    directions: Mapping[str, Sequence[tuple[float, float]]]


def write_datasheet(published: Published, plots_folder: Path) -> str:
    """The Markdown; plots are written beside it.

    Args:
        published: What was published.
        plots_folder: Where the SVG files go; named `plots` in the text.
    """
    kept_ids = {entry.item.id for entry in published.kept}
    rejected = [e for id, e in published.collection.entries.items() if id not in kept_ids]
    plots = distribution_plots(published.kept, rejected, published.directions)
    coarse, refined = published.collection.refinement(published.found)
    every = {"funnel": funnel_plot(published.found), **plots, **ladder_plots(published.found, refined)}
    for name, plot in every.items():
        if plot:
            write_text(plots_folder / f"{name}.svg", str(plot) + "\n")
    lines = [
        f"# Datasheet: {published.name}",
        "",
        *_motivation(published),
        *_composition(published),
        *_numbers(published.kept),
        *(line for name in plots for line in _picture(name)),
        *_collection(published),
        "## How it was filtered",
        "",
        funnel_table(published.found, (coarse, refined)),
        "",
        *_picture("funnel"),
        *(line for name in ("pck", "soiou") for line in _picture(name)),
        *_limits(published),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _motivation(published: Published) -> list[str]:
    return [
        "## What it is for",
        "",
        "Training and judging methods that make animatable avatars of people from ordinary video: for each item, frames of one",
        "person with mask, camera, body pose and shape.",
        "",
        f"Made by bodydouble {_version()}; filters {published.found.filters.name} ({published.found.filters.digest}).",
        "",
    ]


def _composition(published: Published) -> list[str]:
    people = {(e.item.source_id, e.item.person) for e in published.kept}
    size = sum(s.bytes for s in published.shards) / 1e6
    seconds = sum(e.item.end_s - e.item.start_s for e in published.kept)
    missing = (
        "" if published.pictures else " It is a links-only set: there are no pictures in it, only where they come from."
    )
    lines = [
        "## What is in it",
        "",
        (
            f"{len(published.kept)} items ({seconds:.0f} s of video) of {len(people)} people in "
            f"{len({e.item.source_id for e in published.kept})} sources; {published.frames} frames in {len(published.shards)} shards "
            f"({size:.1f} MB). People are told apart within a source only: one person in two sources counts as two.{missing}"
        ),
        "",
        (
            "`items.parquet` lists every candidate, also the rejected ones, with scores, verdict and reasons; `frames.parquet` every "
            "frame with its shard; `croissant.json` describes the columns."
        ),
        "",
    ]
    for what, key in (("Licences", "licence"), ("Consent", "consent")):
        counts: dict[str, int] = {}
        for entry in published.kept:
            value = getattr(entry.source, key) or "unknown"
            counts[value] = counts.get(value, 0) + 1
        lines += [f"{what}: " + ", ".join(f"{n} {value}" for value, n in sorted(counts.items())) + ".", ""]
    if published.withheld:
        lines += [f"{published.withheld} items that the filters kept are withheld because consent was refused.", ""]
    return lines


def _numbers(kept: Sequence[Entry]) -> list[str]:
    lines = ["| score | meaning | median | 5 % to 95 % | items |", "|---|---|---|---|---|"]
    for name in _SUMMARISED:
        values = sorted(e.final[name] for e in kept if math.isfinite(e.final.get(name, math.nan)))
        if values:
            low, high = (values[min(len(values) - 1, int(q * len(values)))] for q in (0.05, 0.95))
            middle = statistics.median(values)
            lines.append(f"| {name} | {SCORES[name]} | {middle:.3g} | {low:.3g} to {high:.3g} | {len(values)} |")
    return [*lines, ""]


def _collection(published: Published) -> list[str]:
    sources = published.collection.sources
    provenance = sorted({s.provenance for s in sources if s.provenance})
    lines = [
        "## How it was collected",
        "",
        (
            f"{len(sources)} sources were planned; of {len(published.collection.refused_sources)} no item came (unreadable, refused "
            "licence, or not what was announced)."
        ),
    ]
    if provenance:
        lines += ["", "Provenance: " + "; ".join(provenance[:20]) + ("; ..." if len(provenance) > 20 else "") + "."]
    return [*lines, ""]


def _limits(published: Published) -> list[str]:
    measured = sum("agreement" in e.final for e in published.kept)
    return [
        "## What is not known",
        "",
        "- Body shape comes from silhouettes under clothes, height is assumed where nobody gave it: neither is a measurement.",
        "- PCK and SOIOU are what filters and fit strive for, so they are no independent evidence of quality.",
        (
            f"- Agreement was measured with one landmark network in several looks, on {measured} of {len(published.kept)} items; "
            "systematic errors of that network are invisible to it."
        ),
        "- Age, gender and origin were not determined and must not be inferred.",
        "",
        "## Removal",
        "",
        (
            "Every item carries a takedown key. `bodydouble corpus forget` removes a person from the corpus; a set is then published "
            "anew, and users move to the newest version."
        ),
        "",
    ]


def _picture(name: str) -> list[str]:
    return [f"![{name}](plots/{name}.svg)", "", *([_CAPTIONS[name], ""] if name in _CAPTIONS else [])]


def _version() -> str:
    from bodydouble import __version__

    return __version__
