"""What a command says besides its result: nothing when it is to be quiet, and how to go on when it was interrupted."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def hushed(quiet: bool) -> Iterator[None]:
    """Swallow what is written to standard error, where progress and notes go, if `quiet`."""
    if not quiet:
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def interrupted(command: Any, words: list[str]) -> str:
    """What to say after Ctrl-C: the command that goes on, for commands that can.

    Args:
        command: The options.
        words: The command line after the program's name.
    """
    if words[:2] == ["corpus", "run"] or words[:1] == ["gallery"]:  # go on by themselves
        return f"Interrupted. What was finished is kept. To go on:\n  {quoted(['bodydouble', *words])}"
    if not hasattr(command, "resume"):
        return "Interrupted. Nothing half-written was left."
    again = words if "--resume" in words else [*words, "--resume"]
    return f"Interrupted. What was finished is kept. To go on:\n  {quoted(['bodydouble', *again])}"


def quoted(words: list[str]) -> str:
    """A command line as one would type it into this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
