"""Rows, the gate and the baseline file."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.bench.page import ORDER, page
from bodydouble.bench.rows import BASELINE, Row, judge, read_rows, table, write_rows
from bodydouble.bench.run import SUITES, merged
from bodydouble.core.errors import InputError

PSNR = Row(suite="quality", name="psnr_box", value=20.0, unit="dB", better="higher", tolerance=0.3)
RATIO = Row(
    suite="kernels", name="faster than torch", value=50.0, unit="x", better="higher", tolerance=0.4,
    tolerance_kind="relative",
)  # fmt: skip
ERROR = Row(suite="fit", name="pose error", value=40.0, unit="mm", better="lower", tolerance=3.0)
ABOUT = {"version": "1", "processor": "p", "threads": "2", "torch": "t"}
TOLD = Row(suite="kernels", name="forward", value=8.0, unit="ms", better="lower", budget=6.0)


def at(row: Row, value: float) -> Row:
    return dataclasses.replace(row, value=value)


@pytest.mark.parametrize(
    ("row", "accepted", "refused"), [(PSNR, 19.71, 19.69), (RATIO, 30.1, 29.9), (ERROR, 42.9, 43.1)]
)
def test_the_gate_closes_at_the_tolerance(row: Row, accepted: float, refused: float):
    assert judge([at(row, accepted)], [row]) == []
    (problem,) = judge([at(row, refused)], [row])
    assert row.key in problem
    assert row.unit in problem


@given(st.sampled_from([PSNR, RATIO, ERROR]), st.floats(0, 1e3))
def test_better_is_always_accepted(row: Row, gain: float):
    better = row.value + gain if row.better == "higher" else row.value - gain
    assert judge([at(row, better)], [row]) == []


def test_a_figure_that_is_not_a_number_or_is_missing_is_refused():
    assert judge([at(PSNR, math.nan)], [PSNR]) != []
    other = dataclasses.replace(PSNR, name="ssim_box")
    (problem,) = judge([other], [PSNR])
    assert "not measured any more" in problem


def test_told_rows_and_suites_left_out_are_not_judged():
    assert judge([at(TOLD, 1e6)], [TOLD, PSNR]) == []
    assert judge([], [PSNR, RATIO]) == []


def test_rows_survive_the_file(tmp_path: Path):
    rows = (PSNR, RATIO, at(ERROR, math.nan), TOLD)
    write_rows(tmp_path / "rows.json", rows, {"version": "1"})
    back = read_rows(tmp_path / "rows.json")
    assert back[:2] == rows[:2]
    assert math.isnan(back[2].value)
    assert back[3] == TOLD


@pytest.mark.parametrize(
    "text", ["{}", '{"schema": 7, "rows": []}', '{"schema": 1, "rows": [{"name": "a"}]}', "not json"]
)
def test_a_damaged_baseline_is_refused(tmp_path: Path, text: str):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(InputError, match=r"rows\.json"):
        read_rows(tmp_path / "rows.json")


def test_the_table_says_what_misses_its_budget():
    text = table([TOLD, at(TOLD, 5.0), PSNR])
    assert "budget 6.00: MISSED" in text
    assert "budget 6.00: kept" in text
    assert "quality" in text.splitlines()


def test_updating_replaces_whole_suites():
    assert merged([PSNR, RATIO, TOLD], [at(RATIO, 60.0)]) == [PSNR, at(RATIO, 60.0)]


def test_the_committed_baseline_is_readable_and_of_known_suites():
    rows = read_rows(BASELINE)
    assert {row.suite.split()[0] for row in rows} <= set(SUITES)
    assert any(row.tolerance is not None for row in rows)
    assert judge(rows, rows) == []


def test_every_suite_has_a_place_on_a_page():
    assert {*ORDER, "motions"} == set(SUITES)
    plain = [suite for suite in ORDER if suite not in ("quality", "ablation", "surface")]
    text = page([dataclasses.replace(TOLD, suite=suite) for suite in reversed(plain)], [], ABOUT, "bodydouble bench")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == plain


def test_the_page_crosses_conditions_with_figures():
    rows = [
        Row(suite="quality", name=f"{c}: {f}, {p}", value=20.0 + k, unit="dB", better="higher")
        for k, (p, c, f) in enumerate(itertools.product(("mean", "room"), ("true", "estimated"), ("psnr", "ssim")))
    ]
    text = page([*rows, TOLD], ["a remark"], ABOUT, "bodydouble bench quality")
    assert "| mean | psnr | ssim |" in text
    assert "| estimated | 26.00 | 27.00 |" in text
    assert f"| {TOLD.name} | 8.00 | ms | 6.00 |" in text
    assert "`bodydouble bench quality`" in text
    assert "a remark" in text
