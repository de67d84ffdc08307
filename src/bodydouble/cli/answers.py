"""What commands have in common: progress while they work, and JSON where it is asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from bodydouble.cli.progress import ProgressPrinter
from bodydouble.core.events import Event

_T = TypeVar("_T")


def with_progress(work: Callable[[Callable[[Event], None]], _T]) -> _T:
    """Do some work and show how far it is."""
    with ProgressPrinter(()) as emit:
        return work(emit)


def print_json(value: object) -> int:
    """Print a value as JSON, numbers that are not finite as null; the command has succeeded."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))
    return 0


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
