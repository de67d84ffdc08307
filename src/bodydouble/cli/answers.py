"""What commands have in common: progress while they work, JSON where it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from bodydouble.cli.progress import ProgressPrinter
from bodydouble.core.events import Event

_T = TypeVar("_T")


def with_progress(work: Callable[[Callable[[Event], None]], _T]) -> _T:
    """Do some work and show how far it is."""
    with ProgressPrinter(()) as emit:
        return work(emit)


def print_json(value: object) -> int:
    """Print a value as JSON; the command has succeeded."""
    print(json.dumps(value, indent=2))
    return 0
