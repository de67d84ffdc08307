"""Charts as SVG: ticks, gaps, shading, well-formed markup."""

from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.pipeline.report_charts import Line, Span, line_chart, moving_spans, nice_ticks

NAN = float("nan")


@given(low=st.floats(-1e4, 1e4), extent=st.floats(0.01, 1e4), about=st.integers(2, 8))
def test_ticks_are_round_even_and_inside(low: float, extent: float, about: int) -> None:
    high = low + extent
    ticks = nice_ticks(low, high, about)
    assert 1 <= len(ticks) <= about + 2
    assert all(low - 1e-6 * extent <= t <= high + 1e-6 * extent for t in ticks)
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    assert all(math.isclose(s, steps[0], rel_tol=1e-3, abs_tol=1e-8) for s in steps)


def chart(values: list[float]) -> ElementTree.Element:
    times = [float(k) for k in range(len(values))]
    line = Line(name='a <b> & "c"', css_class="first", times_s=times, values=values)
    return ElementTree.fromstring(
        str(line_chart("A & B", (line,), y_label="dB", shaded=(Span(start_s=0.5, stop_s=1.5),)))
    )


def test_a_gap_breaks_the_line() -> None:
    svg = chart([1.0, 2.0, NAN, 3.0, 4.0, 5.0])
    polylines = svg.findall(".//polyline")
    assert [len(p.attrib["points"].split()) for p in polylines] == [2, 3]
    assert len(svg.findall(".//circle")) == 5
    assert svg.find(".//circle/title").text == 'a <b> & "c": 1.00 at 0.00 s'
    assert svg.attrib["aria-label"] == "A & B"
    assert len(svg.findall(".//rect")) == 1


def test_higher_values_are_drawn_higher() -> None:
    points = chart([1.0, 5.0]).find(".//polyline").attrib["points"].split()
    (x0, y0), (x1, y1) = (tuple(map(float, p.split(","))) for p in points)
    assert x1 > x0 and y1 < y0


def test_one_point_and_none() -> None:
    assert len(chart([2.0]).findall(".//circle")) == 1
    assert line_chart("t", (Line(name="n", css_class="c", times_s=[0.0], values=[NAN]),), y_label="y") == ""


def test_moving_frames_are_shaded_to_half_way() -> None:
    spans = moving_spans([0.0, 1.0, 2.0, 3.0, 4.0], [False, True, True, None, True])
    assert [(s.start_s, s.stop_s) for s in spans] == [(0.5, 2.5), (3.5, pytest.approx(4.0))]
