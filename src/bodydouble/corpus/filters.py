"""Filters as data: steps of rules over stored scores, in a versioned JSON file.

    {"format": "bodydouble-filters", "version": 1, "name": "...", "steps": [
        {"name": "P-I", "title": "...", "rules": [{"score": "presence", "min": 0.8}, ...]}, ...]}

A rule says yes when the score lies within `min` and `max` (both included). A score that is missing or not a number says
no, unless the rule has `"missing": "pass"`. An item is kept when every rule of every step says yes; it is rejected by the
first step that says no, with a reason for each of that step's rules that did.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from bodydouble.core.errors import ConfigError, InputError
from bodydouble.core.files import read_json

FORMAT, VERSION = "bodydouble-filters", 1
_DEFAULT = "default_filters.json"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One bound, or two, on one score."""

    score: str
    min: float | None = None
    max: float | None = None
    missing: str = "reject"
    """`reject` or `pass`: what becomes of an item without this score."""

    def complaint(self, value: float | None) -> str:
        """Why a value is refused; empty when it is not."""
        if value is None or math.isnan(value):
            return "" if self.missing == "pass" else f"{self.score} was not measured"
        if self.min is not None and value < self.min:
            return f"{self.score} {value:.3g} < {self.min:g}"
        if self.max is not None and value > self.max:
            return f"{self.score} {value:.3g} > {self.max:g}"
        return ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Rules that are judged together."""

    name: str
    title: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """All steps, in order."""

    name: str
    steps: tuple[Step, ...]

    @property
    def digest(self) -> str:
        """Of everything that decides, twelve hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.to_json()["steps"], sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """As in a file."""
        steps = [
            {
                "name": step.name,
                "title": step.title,
                "rules": [
                    {
                        k: v
                        for k, v in dataclasses.asdict(rule).items()
                        if v is not None and (k, v) != ("missing", "reject")
                    }
                    for rule in step.rules
                ],
            }
            for step in self.steps
        ]
        return {"format": FORMAT, "version": VERSION, "name": self.name, "steps": steps}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the filters say of one item."""

    step: str | None
    """The step that rejected it; None if it is kept."""
    reasons: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether every rule said yes."""
        return self.step is None


def judge(scores: Mapping[str, float], filters: Filters) -> Verdict:
    """Keep or reject one item by its scores."""
    for step in filters.steps:
        complaints = [c for c in (rule.complaint(scores.get(rule.score)) for rule in step.rules) if c]
        if complaints:
            return Verdict(step=step.name, reasons=tuple(complaints))
    return Verdict(step=None)


def default_filters() -> Filters:
    """The filters of this program."""
    text = resources.files("bodydouble.corpus").joinpath(_DEFAULT).read_text(encoding="utf-8")
    return parse_filters(json.loads(text), _DEFAULT)


def load_filters(path: Path | None) -> Filters:
    """Filters from a file, or the program's own when none is named.

    Raises:
        InputError: When the file is missing or not of this format and version.
    """
    return default_filters() if path is None else parse_filters(read_json(path), str(path))


def parse_filters(document: Mapping[str, Any], where: str) -> Filters:
    """Filters from JSON values.

    Raises:
        InputError: With the place and what is wrong there.
    """
    if document.get("format") != FORMAT or document.get("version") != VERSION:
        raise InputError(
            f"{where} must be {FORMAT} version {VERSION}, found {document.get('format')!r} version "
            f"{document.get('version')!r}. Start from the program's own: bodydouble corpus filters > FILE."
        )
    steps = document.get("steps")
    if not isinstance(steps, list) or not steps:
        raise InputError(f"{where} must hold a list of steps with at least one, found {type(steps).__name__}.")
    parsed = tuple(_step(step, f"{where}: step {number}") for number, step in enumerate(steps))
    names = [step.name for step in parsed]
    if len(set(names)) != len(names):
        raise InputError(f"{where}: steps must have different names, found {', '.join(names)}.")
    return Filters(name=str(document.get("name") or Path(where).stem), steps=parsed)


def with_changes(filters: Filters, changes: Sequence[str]) -> Filters:
    """Filters with some bounds changed.

    Args:
        filters: To start from.
        changes: `score=value`, which replaces the one bound of the rule on that score; `score>=value` or `score<=value`,
            which say which bound and add a rule to the last step where there is none; `score=off`, which drops its rules.
    Raises:
        ConfigError: When a change cannot be read, or names a score without a rule.
    """
    for change in changes:
        filters = _changed(filters, change)
    return filters


def _changed(filters: Filters, change: str) -> Filters:
    operator = next((o for o in (">=", "<=", "=") if o in change), None)
    name, _, text = (part.strip() for part in change.partition(operator or "="))
    if operator is None or not name or not text:
        raise ConfigError(f"--set {change}: expected score=value, score>=value, score<=value or score=off.")
    rules = [rule for step in filters.steps for rule in step.rules if rule.score == name]
    if operator == "=" and not rules:
        known = ", ".join(dict.fromkeys(rule.score for step in filters.steps for rule in step.rules))
        raise ConfigError(f"--set {change}: no rule is about {name!r}; there are: {known}. Add one with >= or <=.")
    if operator == "=" and text == "off":
        kept = (
            dataclasses.replace(step, rules=tuple(r for r in step.rules if r.score != name)) for step in filters.steps
        )
        return dataclasses.replace(filters, steps=tuple(kept), name=f"{filters.name}, changed")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"--set {change}: {text!r} is no number. Expected for example {name}=0.8.")
    if operator == "=":
        both = [rule for rule in rules if rule.min is not None and rule.max is not None]
        if both:
            raise ConfigError(f"--set {change}: {name} has two bounds; say which one with >= or <=.")
        operator = ">=" if rules[0].min is not None else "<="
    return _bounded(filters, name, "min" if operator == ">=" else "max", value)


def _bounded(filters: Filters, name: str, side: Literal["min", "max"], bound: float) -> Filters:
    """The bound put in place of every rule's own on that score, or as a rule of its own at the end."""

    def changed(rule: Rule) -> Rule:
        return dataclasses.replace(rule, min=bound) if side == "min" else dataclasses.replace(rule, max=bound)

    steps, found = [], False
    for step in filters.steps:
        rules = []
        for rule in step.rules:
            if rule.score == name and (getattr(rule, side) is not None or not found):
                rule, found = changed(rule), True
            rules.append(rule)
        steps.append(dataclasses.replace(step, rules=tuple(rules)))
    if not found:
        last = steps[-1]
        steps[-1] = dataclasses.replace(last, rules=(*last.rules, changed(Rule(score=name))))
    return dataclasses.replace(filters, steps=tuple(steps), name=f"{filters.name.removesuffix(', changed')}, changed")


def _step(value: object, where: str) -> Step:
    if not isinstance(value, dict) or not isinstance(value.get("rules"), list) or not value.get("name"):
        raise InputError(f"{where} must be an object with a name and a list of rules.")
    rules = tuple(_rule(rule, f"{where} ({value['name']}), rule {i}") for i, rule in enumerate(value["rules"]))
    return Step(name=str(value["name"]), title=str(value.get("title", "")), rules=rules)


def _rule(value: object, where: str) -> Rule:
    known = {"score", "min", "max", "missing"}
    if not isinstance(value, dict) or not isinstance(value.get("score"), str) or set(value) - known:
        raise InputError(f"{where} must have a score and min, max or missing, found {value!r}.")
    bounds: dict[str, float] = {}
    for key in ("min", "max"):
        bound = value.get(key)
        if bound is None:
            continue
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound):
            raise InputError(f"{where}: {key} must be a number, found {bound!r}.")
        bounds[key] = float(bound)
    if not bounds:
        raise InputError(f"{where} on {value['score']} needs a bound: min, max or both.")
    if bounds.get("min", -math.inf) > bounds.get("max", math.inf):
        raise InputError(f"{where}: min {bounds['min']:g} is above max {bounds['max']:g}; nothing could pass.")
    if value.get("missing", "reject") not in ("reject", "pass"):
        raise InputError(f"{where}: missing must be 'reject' or 'pass', found {value['missing']!r}.")
    missing = str(value.get("missing", "reject"))
    return Rule(score=value["score"], min=bounds.get("min"), max=bounds.get("max"), missing=missing)
