"""Filters as data and the funnel they make."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.errors import ConfigError, InputError
from bodydouble.corpus.filters import (
    Filters,
    Rule,
    Step,
    default_filters,
    judge,
    load_filters,
    parse_filters,
    with_changes,
)
from bodydouble.corpus.funnel import PUBLISHED, funnel, with_refined
from bodydouble.corpus.measure import SCORES

TWO = Filters(
    name="two",
    steps=(
        Step(name="A", title="", rules=(Rule(score="x", min=0.5), Rule(score="y", max=1.0))),
        Step(name="B", title="", rules=(Rule(score="z", min=-1.0, max=1.0), Rule(score="w", max=0.0, missing="pass"))),
    ),
)


def test_the_first_step_that_says_no_rejects_and_names_every_bound() -> None:
    verdict = judge({"x": 0.4, "y": 2.0, "z": 9.0}, TWO)
    assert verdict.step == "A" and verdict.reasons == ("x 0.4 < 0.5", "y 2 > 1")
    assert judge({"x": 0.5, "y": 1.0, "z": 1.0}, TWO).kept  # bounds are included
    assert judge({"x": 0.5, "y": 1.0, "z": -1.5}, TWO).step == "B"


def test_a_missing_score_rejects_unless_the_rule_lets_it_pass() -> None:
    assert judge({"x": 1.0, "y": math.nan, "z": 0.0}, TWO).reasons == ("y was not measured",)
    assert judge({"x": 1.0, "y": 0.0, "z": 0.0}, TWO).kept
    assert judge({"x": 1.0, "y": 0.0, "z": 0.0, "w": 0.1}, TWO).step == "B"


def test_the_programs_own_filters_judge_scores_that_are_computed() -> None:
    filters = default_filters()
    assert [step.name for step in filters.steps] == [row.step for row in PUBLISHED[1:5]]
    assert {rule.score for step in filters.steps for rule in step.rules} <= set(SCORES)


def test_filters_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(TWO.to_json()), encoding="utf-8")
    assert load_filters(path) == TWO
    assert load_filters(path).digest == TWO.digest
    assert with_changes(TWO, ["x=0.6"]).digest != TWO.digest


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"format": "other", "version": 1}, "must be bodydouble-filters version 1"),
        ({"format": "bodydouble-filters", "version": 1, "steps": []}, "at least one"),
        ({"steps": [{"name": "A", "rules": [{"score": "x"}]}]}, "needs a bound"),
        ({"steps": [{"name": "A", "rules": [{"score": "x", "min": 2, "max": 1}]}]}, "nothing could pass"),
        ({"steps": [{"name": "A", "rules": [{"score": "x", "min": "much"}]}]}, "must be a number"),
        ({"steps": [{"name": "A", "rules": [{"score": "x", "least": 1}]}]}, "must have a score"),
        ({"steps": [{"name": "A", "rules": []}, {"name": "A", "rules": []}]}, "different names"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(broken: dict, said: str) -> None:
    document = {"format": "bodydouble-filters", "version": 1, **broken}
    with pytest.raises(InputError, match=said):
        parse_filters(document, "FILE")


def test_bounds_are_changed_by_name() -> None:
    changed = with_changes(TWO, ["x=0.7", "y<=3", "v>=1", "w=off"])
    rules = {rule.score: rule for step in changed.steps for rule in step.rules}
    assert rules["x"].min == 0.7 and rules["y"].max == 3.0 and rules["v"].min == 1.0 and "w" not in rules
    assert TWO.steps[0].rules[0].min == 0.5


@pytest.mark.parametrize("change", ["x", "x=", "x=abc", "x=nan", "y<=inf", "unknown=1", "z=0.5"])
def test_changes_that_cannot_be_read_are_refused(change: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        with_changes(TWO, [change])


values = st.one_of(st.none(), st.floats(-2, 2), st.just(math.nan))


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=4), st.fixed_dictionaries(dict.fromkeys("xyzw", values)), max_size=12)
)
def test_the_funnel_counts_every_item_once(table: dict[str, dict[str, float | None]]) -> None:
    scores = {i: {k: v for k, v in row.items() if v is not None} for i, row in table.items()}
    found = funnel(scores, TWO)
    assert found.rows[0].left == len(scores)
    for before, after in zip(found.rows[:-1], found.rows[1:], strict=True):
        assert after.entered == before.left
        assert after.entered - after.left == sum(v.step == after.step for v in found.verdicts.values())
    assert found.rows[-1].left == len(found.kept)


def test_the_ladder_is_the_mean_over_what_is_left() -> None:
    def item(x: float, pck: float, soiou: float) -> dict[str, float]:
        return {"x": x, "y": 0.0, "z": 0.0, "pck_02": pck, "soiou": soiou}

    scores = {"a": item(1.0, 0.9, 0.1), "b": item(1.0, 0.7, 0.3), "c": item(0.0, 0.2, 0.8), "d": {"x": 0.0}}
    rows = funnel(scores, TWO).rows
    assert rows[0].pck == pytest.approx(0.6) and rows[0].soiou == pytest.approx(0.4) and rows[0].measured == 3
    assert rows[1].pck == pytest.approx(0.8) and rows[1].soiou == pytest.approx(0.2) and rows[1].kept == 0.5
    coarse, refined = with_refined(funnel(scores, TWO), scores, {"a": item(1.0, 1.0, 0.0), "b": item(1.0, 0.8, 0.2)})
    assert (coarse.pck, refined.pck) == (pytest.approx(0.8), pytest.approx(0.9)) and refined.soiou == pytest.approx(0.1)


def test_the_published_funnel_agrees_with_itself() -> None:
    for before, after in itertools.pairwise(PUBLISHED):
        assert after.kept == pytest.approx(after.left / before.left, abs=6e-4)
    assert PUBLISHED[-1].left / PUBLISHED[0].left == pytest.approx(0.0229, abs=5e-5)
