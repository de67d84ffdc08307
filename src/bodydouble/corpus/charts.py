"""Plots of a corpus as SVG that stands on its own: in a datasheet's Markdown, or inline in a page, light or dark.

Colours are set by CSS variables with values to fall back on, so that a page can bring its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from bodydouble.pipeline.report_charts import nice_ticks

_WIDTH, _HEIGHT = 520.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 14.0, 30.0, 40.0
_ROW = 27
_DIRECTIONS = 24
"""From which a rose tells how often somebody was seen."""
_ACCENT, _SECOND = "var(--accent, #0e7c74)", "var(--second, #b9622f)"
_MUTED, _LINE, _INK = "var(--muted, #666b70)", "var(--line, #d9d7d2)", "var(--ink, #1d1f21)"
_FONT = "font-family='system-ui, sans-serif' font-size='13'"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One labelled value."""

    label: str
    value: float
    note: str = ""
    """Beside the bar; the value itself if empty."""
    second: bool = False
    """Drawn in the other colour."""


def histogram(
    title: str,
    values: Sequence[float],
    *,
    bins: int = 18,
    span: tuple[float, float] | None = None,
    x_label: str = "",
    others: Sequence[float] = (),
    counted: str = "items",
) -> Markup:
    """Counts over even bins; `others` are drawn on top in a second colour (what was rejected, say).

    Args:
        title: For those who cannot see it.
        values: Those that are not finite are left out.
        span: First and last edge; by default what the values span.
        x_label: What the values are, with their unit.
        counted: What is counted.
        others: More values, stacked on the first.
    """
    known, more = ([v for v in series if math.isfinite(v)] for series in (values, others))
    if not known and not more:
        return Markup("")
    low, high = span or _span([*known, *more])
    counts, extra = (_counts(series, low, high, bins) for series in (known, more))
    top = max(max(a + b for a, b in zip(counts, extra, strict=True)), 1)
    width = (_WIDTH - _LEFT - _RIGHT) / bins
    parts = [_open(title, _HEIGHT), _y_axis(top, counted)]
    for i, (count, upper) in enumerate(zip(counts, extra, strict=True)):
        x = _LEFT + i * width
        tip = f"{low + i * (high - low) / bins:.3g} to {low + (i + 1) * (high - low) / bins:.3g}: {count}"
        tip += f" and {upper}" if more else ""
        base = _bar(x + 1, width - 2, 0, count / top, _ACCENT, tip)
        parts.append(base + (_bar(x + 1, width - 2, count / top, upper / top, _SECOND, tip) if upper else ""))
    for tick in nice_ticks(low, high, 6):
        x = _LEFT + (tick - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)
        parts.append(_text(x, _HEIGHT - _BOTTOM + 16, f"{tick:g}", anchor="middle"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 6, x_label, anchor="end"))
    return Markup("".join([*parts, "</svg>"]))


def bars(title: str, rows: Sequence[Bar]) -> Markup:
    """Horizontal bars with labels on the left and the values on the right."""
    if not rows:
        return Markup("")
    most = max([r.value for r in rows if math.isfinite(r.value)] or [1.0])
    left = 12 + 7.2 * max(len(r.label) for r in rows)
    note = 16 + 7.2 * max(len(r.note or f"{r.value:g}") for r in rows)
    room = max(_WIDTH - left - note, 60)
    parts = [_open(title, _ROW * len(rows) + 8)]
    for i, row in enumerate(rows):
        y = 4 + i * _ROW
        length = room * (row.value / most if math.isfinite(row.value) and most > 0 else 0.0)
        color = _SECOND if row.second else _ACCENT
        text = row.note or (f"{row.value:g}" if math.isfinite(row.value) else "-")
        parts.append(_text(left - 8, y + 17, row.label, anchor="end", color=_INK))
        parts.append(
            f"<rect x='{left:.1f}' y='{y + 5}' width='{max(length, 1):.1f}' height='{_ROW - 11}' rx='3' fill='{color}'/>"
        )
        parts.append(_text(left + max(length, 1) + 8, y + 17, text))
    return Markup("".join([*parts, "</svg>"]))


def steps_chart(
    title: str, names: Sequence[str], ours: Sequence[float], published: Sequence[float], *, y_label: str
) -> Markup:
    """Two lines over the steps of a funnel: ours and the published one; values in [0, 1], NaN breaks a line."""
    count = len(names)
    if count < 2:
        return Markup("")
    parts = [_open(title, _HEIGHT)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(tick)
        parts.append(f"<line x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='{_LINE}'/>")
        parts.append(_text(_LEFT - 7, y + 4, f"{tick:g}", anchor="end"))
    place = [_LEFT + 30 + i * (_WIDTH - _LEFT - _RIGHT - 60) / (count - 1) for i in range(count)]
    parts += [_text(x, _HEIGHT - _BOTTOM + 18, name, anchor="middle") for x, name in zip(place, names, strict=True)]
    for series, color, dash in ((published, _SECOND, "5 4"), (ours, _ACCENT, "")):
        known = [(x, _y(v), v) for x, v in zip(place, series, strict=True) if math.isfinite(v)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in known)
        parts.append(
            f"<polyline points='{line}' fill='none' stroke='{color}' stroke-width='2' stroke-dasharray='{dash}'/>"
        )
        parts += [
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='{color}'><title>{v:.3f}</title></circle>"
            for x, y, v in known
        ]
    parts.append(_text(_LEFT, 15, f"{y_label}: this corpus (line), WildAvatar as published (dashes)"))
    return Markup("".join([*parts, "</svg>"]))


def rose(title: str, angles_rad: Sequence[float]) -> Markup:
    """How often something is seen from each side: a bar for each direction around a person who faces downwards."""
    known = [a for a in angles_rad if math.isfinite(a)]
    if not known:
        return Markup("")
    counts = [0] * _DIRECTIONS
    for angle in known:
        counts[int((angle % (2 * math.pi)) / (2 * math.pi) * _DIRECTIONS + 0.5) % _DIRECTIONS] += 1
    size, middle, inner, outer = 300, 150, 26.0, 112.0
    parts = [f"<svg xmlns='http://www.w3.org/2000/svg' class='rose' viewBox='0 0 {size} {size}' role='img' {_FONT}>"]
    parts.append(
        f"<title>{escape(title)}</title><circle cx='{middle}' cy='{middle}' r='{outer}' fill='none' stroke='{_LINE}'/>"
    )
    for i, count in enumerate(counts):
        far = inner + (outer - inner) * math.sqrt(count / max(counts))
        a, b = ((i + e) * 2 * math.pi / _DIRECTIONS for e in (-0.42, 0.42))
        # Angle 0 (from the front) points down, the person's left side is on the right.
        corners = [
            (middle + r * math.sin(t), middle + r * math.cos(t))
            for r, t in ((inner, a), (far, a), (far, b), (inner, b))
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        parts.append(
            f"<polygon points='{path}' fill='{_ACCENT}'><title>{count} of {len(known)} frames</title></polygon>"
        )
    labels = (
        ("front", middle, size - 8, "middle"),
        ("back", middle, 18, "middle"),
        ("left", size - 4, middle + 4, "end"),
    )
    parts += [_text(x, y, text, anchor=anchor) for text, x, y, anchor in (*labels, ("right", 4, middle + 4, "start"))]
    return Markup("".join([*parts, "</svg>"]))


def _counts(values: Sequence[float], low: float | int, high: float | int, bins: int) -> list[int]:
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int((value - low) / (high - low) * bins)))] += 1
    return counts


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.02 * (high - low) or max(abs(high), 1.0) * 0.1
    return low - pad, high + pad


def _y(share: float | int) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _bar(x: float, width: float, start: float | int, share: float, color: str, tip: str) -> str:
    top, bottom = _y(start + share), _y(start)
    return (
        f"<rect x='{x:.1f}' y='{top:.1f}' width='{width:.1f}' height='{max(bottom - top, 0):.1f}' fill='{color}'>"
        f"<title>{escape(tip)}</title></rect>"
    )


def _y_axis(top: float | int, label: str) -> str:
    lines = []
    for tick in nice_ticks(0.0, float(top), 4):
        if tick == round(tick):
            y = _y(tick / top)
            lines.append(f"<line x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='{_LINE}'/>")
            lines.append(_text(_LEFT - 7, y + 4, f"{tick:g}", anchor="end"))
    return "".join([*lines, _text(_LEFT, 15, label)])


def _text(x: float | int, y: float | int, text: str, *, anchor: str = "start", color: str = _MUTED) -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' style='fill:{color}'>{escape(text)}</text>"


def _open(title: str, height: float | int) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' class='chart' viewBox='0 0 {_WIDTH:.0f} {height:.0f}' role='img' {_FONT}>"
        f"<title>{escape(title)}</title>"
    )
