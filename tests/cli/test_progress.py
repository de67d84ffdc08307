"""Progress for people: every stage announced and closed, every warning said once."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

import bodydouble
from bodydouble.cli.progress import ProgressPrinter
from bodydouble.core.events import Checkpointed, Done, Event, Progress, Step, Warned
from bodydouble.pipeline.stage_words import time_left, words_of

PACKAGE = Path(bodydouble.__file__).parent

EVENTS: tuple[Event, ...] = (
    Progress(stage="perceive", done=0, total=8),
    *(Progress(stage="perceive", done=i + 1, total=8) for i in range(8)),
    Warned(code="dark", message="It is dark.", advice="Use more light."),
    Warned(code="dark", message="It is dark.", advice="Use more light."),
    Done(stage="perceive", seconds=3.25),
    *(Step(step=i, num_steps=4, loss=0.1) for i in range(5)),
    Checkpointed(step=4, path="x"),
    Done(stage="reconstruct", seconds=1.0),
    Done(stage="reconstruct", seconds=1.0),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    with ProgressPrinter(("perceive", "reconstruct"), stream) as emit:
        for event in EVENTS:
            emit(event)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "looking at every frame ..."
    assert next(line for line in lines if "left" in line).startswith("looking at every frame: 25%")
    assert lines.count("note: It is dark. Use more light.") == 1
    assert "[1/2] looking at every frame: 3.2 s" in lines
    assert lines.count("[2/2] building the avatar: 1.0 s") == 1
    assert len(lines) <= 16


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89.0, "89 s"), (90.0, "2 min"), (3600.0, "60 min"), (5399.0, "1.5 h"), (9000.0, "2.5 h")],
)
def test_the_time_left_is_told_as_people_say_it(seconds: float, words: str):
    assert time_left(seconds) == f"about {words} left"


def test_every_stage_that_the_code_names_has_words():
    """Names of stages stand in the sources as literals; those of benches and corpora speak for themselves."""
    named: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        if file.relative_to(PACKAGE).parts[0] not in ("bench", "corpus"):
            text = file.read_text(encoding="utf-8")
            named |= set(re.findall(r'(?:Progress|Done)\(\s*stage="([^"]+)"', text))
    assert len(named) > 15
    assert {stage for stage in named if words_of(stage) == stage} == set()


def test_bars_on_a_terminal():
    stream = Terminal()
    with ProgressPrinter(("perceive", "reconstruct"), stream) as emit:
        for event in EVENTS:
            emit(event)
    text = stream.getvalue()
    assert "[1/2] looking at every frame: 3.2 s" in text
    assert text.count("It is dark.") == 1
    assert "left" in text
