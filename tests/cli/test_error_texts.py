"""What people read when something is wrong, word for word: the file is the place to judge the texts."""

from __future__ import annotations

import re

import pytest
from error_cases import CASES, TEXTS, answers

EXPECTED = [
    part.strip() for part in re.split(r"^(?=\$ bodydouble)", TEXTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
][1:]


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    return dict(zip(CASES, (text.strip() for text in answers()), strict=True))


def test_the_file_has_all_cases():
    assert [text.splitlines()[0] for text in EXPECTED] == [f"$ bodydouble {line}" for line in CASES]
    assert len(CASES) >= 55


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number].replace(" ", "_"))
def test_the_text(number: int, said: dict[str, str]):
    """If you meant to change it: python tests/cli/error_cases.py, and look at the difference."""
    assert said[CASES[number]] == EXPECTED[number]


def test_no_text_is_a_traceback_or_an_excuse():
    for text in EXPECTED:
        assert "Traceback" not in text and "should not" not in text and "[Errno" not in text
        assert text.endswith(("[1]", "[2]"))
        if text.endswith("[1]"):
            error = text.split("Error: ", 1)[1].rsplit("\n", 1)[0]
            assert error.endswith((".", ".)")) and len(error) > 40 and "\n" not in error
