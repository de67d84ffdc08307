"""Charts of the report as inline SVG: no script, no fonts from elsewhere, colours from the page's own variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 28, 22


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart over time; NaN breaks it."""

    name: str
    css_class: str
    times_s: Sequence[float]
    values: Sequence[float]
    unit: str = ""
    dots: bool = True


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of time to shade."""

    start_s: float
    stop_s: float


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    shaded: Sequence[Span] = (),
) -> Markup:
    """Lines over time with axes and a tooltip on each dot. Empty when no line has a finite value."""
    points = [(t, v) for line in lines for t, v in zip(line.times_s, line.values, strict=True) if math.isfinite(v)]
    if not points:
        return Markup("")
    first, last = min(t for t, _ in points), max(t for t, _ in points)
    last = max(last, first + 1e-3)
    low, high = y_range or _padded_range([v for _, v in points])

    def x(t: float) -> float:
        return _LEFT + (t - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(v: float) -> float:
        return _HEIGHT - _BOTTOM - (min(max(v, low), high) - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_open_svg(title)]
    for span in shaded:
        a, b = x(max(span.start_s, first)), x(min(span.stop_s, last))
        if b > a:
            parts.append(
                f'<rect class="shade" x="{a:.1f}" y="{_TOP}" width="{b - a:.1f}" height="{_HEIGHT - _TOP - _BOTTOM}"/>'
            )
    for tick in nice_ticks(low, high, 5):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in nice_ticks(first, last, 6):
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{_HEIGHT - 5}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text class="axis" x="{_LEFT}" y="14">{escape(y_label)}, over seconds</text>')
    parts.extend(_line(line, x, y) for line in lines)
    parts.append("</svg>")
    return Markup("".join(parts))


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to `high`, roughly `about` of them."""
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= rough * 0.999)
    start = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(start, math.floor(high / step + 1e-9) + 1)]


def moving_spans(times_s: Sequence[float], moving: Sequence[bool | None]) -> tuple[Span, ...]:
    """Stretches of time around moving frames, each reaching half way to its neighbours; touching ones are joined."""
    spans: list[Span] = []
    for k, (time, moves) in enumerate(zip(times_s, moving, strict=True)):
        if not moves:
            continue
        start = time if k == 0 else (times_s[k - 1] + time) / 2
        stop = time if k == len(times_s) - 1 else (time + times_s[k + 1]) / 2
        if spans and abs(spans[-1].stop_s - start) < 1e-9:
            spans[-1] = Span(start_s=spans[-1].start_s, stop_s=stop)
        else:
            spans.append(Span(start_s=start, stop_s=stop))
    return tuple(spans)


def _line(line: Line, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    runs: list[list[str]] = [[]]
    dots: list[str] = []
    for time, value in zip(line.times_s, line.values, strict=True):
        if not math.isfinite(value):
            runs.append([])
            continue
        runs[-1].append(f"{x(time):.1f},{y(value):.1f}")
        if line.dots:
            label = escape(f"{line.name}: {value:.2f}{line.unit} at {time:.2f} s")
            dots.append(f'<circle cx="{x(time):.1f}" cy="{y(value):.1f}" r="3.2"><title>{label}</title></circle>')
    paths = "".join(f'<polyline points="{" ".join(run)}"/>' for run in runs if len(run) > 1)
    return f'<g class="line {escape(line.css_class)}">{paths}{"".join(dots)}</g>'


def _open_svg(title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>"
    )


def _padded_range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = max(0.08 * (high - low), 0.5)
    return low - pad, high + pad
