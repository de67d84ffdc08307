"""The plots of a corpus, by name: the same in a datasheet and in a report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from bodydouble.corpus.charts import Bar, bars, histogram, rose, steps_chart
from bodydouble.corpus.collection import Entry
from bodydouble.corpus.funnel import PUBLISHED, Funnel, FunnelRow
from bodydouble.corpus.skin_tone import GROUPS, group_of

_SPANS: dict[str, tuple[str, str, tuple[float, float] | None]] = {
    "view_range_rad": ("Range of views", "largest angle between two views, radians", (0.0, math.pi)),
    "pose_range_rad": ("Range of poses", "largest difference between two poses, radians", None),
    "motion": ("Motion", "sizes of the person a second", None),
    "person_px": ("Size of the person", "height in pixels", None),
    "ssiou": ("Looseness of clothing (SSIOU)", "1 / intersection over union", (1.0, 2.2)),
    "height_m": ("Height of the fitted body", "metres", None),
    "pck_02": ("PCK at 2 % of the person's box", "share of the joints", (0.0, 1.0)),
    "soiou": ("SOIOU", "share of the body outside the mask", (0.0, 1.0)),
    "agreement": ("Disagreement of several looks", "sizes of the person's box", None),
}


def distribution_plots(
    kept: Sequence[Entry], rejected: Sequence[Entry], directions: Mapping[str, Sequence[tuple[float, float]]]
) -> dict[str, Markup]:
    """Every distribution as a plot; those without any value are left out.

    Args:
        kept, rejected: Items; the latter are drawn in the second colour.
        directions: Azimuth and elevation of the views of kept items, radians.
    """
    plots: dict[str, Markup] = {}
    for name, (title, label, span) in _SPANS.items():
        ours, theirs = ([e.final.get(name, math.nan) for e in group] for group in (kept, rejected))
        plots[name] = histogram(title, ours, others=theirs, x_label=label, span=span)
    azimuths = [azimuth for views in directions.values() for azimuth, _ in views]
    elevations = [math.degrees(elevation) for views in directions.values() for _, elevation in views]
    plots["views"] = rose("From which side people are seen", azimuths)
    plots["elevation"] = histogram(
        "Height of the view", elevations, x_label="degrees above the hips' own horizon", counted="frames"
    )
    tones = Counter(group_of(e.final["skin_ita_deg"]) for e in kept if "skin_ita_deg" in e.final)
    plots["skin"] = bars(
        "Skin tones as filmed", [Bar(label=g, value=float(tones[g])) for g, _ in GROUPS] if tones else []
    )
    for name, counts in (
        ("licences", Counter(e.source.licence or "unknown" for e in kept)),
        ("consent", Counter(e.source.consent for e in kept)),
        ("resolution", Counter(f"{e.item.width_px} x {e.item.height_px}" for e in kept)),
    ):
        plots[name] = bars(name.capitalize(), [Bar(label=k, value=float(n)) for k, n in counts.most_common(12)])
    return {name: plot for name, plot in plots.items() if plot}


def funnel_plot(found: Funnel) -> Markup:
    """Items left after each step."""
    rows = [
        Bar(
            label=row.step,
            value=float(row.left),
            note=f"{row.left}" + (f"  ({row.kept:.0%} of {row.entered})" if row.left != row.entered else ""),
        )
        for row in found.rows
    ]
    return bars("Items left after each filter", rows)


def ladder_plots(found: Funnel, refined: FunnelRow | None) -> dict[str, Markup]:
    """PCK and SOIOU over the steps, beside the published ones; steps of the same name share a place."""
    ours = {row.step: row for row in found.rows}
    if refined is not None and refined.left:
        ours["refined"] = refined
    names = [row.step for row in PUBLISHED]
    plots = {}
    for key, label in (("pck", "PCK"), ("soiou", "SOIOU")):
        mine = [getattr(ours[n], key) if n in ours else math.nan for n in names]
        theirs = [getattr(row, key) for row in PUBLISHED]
        plots[key] = steps_chart(f"{label} over the steps", names, mine, theirs, y_label=label)
    return plots
