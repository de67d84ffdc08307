"""Timing of small pieces of work."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Repeated runs of one piece of work."""

    median_ms: float
    best_ms: float


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Two pieces of work, measured in turn."""

    ours_ms: float
    theirs_ms: float

    @property
    def times_faster(self) -> float:
        """How many times ours goes into theirs."""
        return self.theirs_ms / self.ours_ms


def measure(work: Callable[[], object], *, seconds: float, least: int = 5) -> list[float]:
    """Milliseconds of repeated runs, after one that is thrown away."""
    work()
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < deadline:
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def timing(work: Callable[[], object], *, seconds: float = 2.0) -> Timing:
    """Measure one piece of work."""
    times = measure(work, seconds=seconds)
    return Timing(median_ms=statistics.median(times), best_ms=min(times))


def ratio(ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 3) -> Ratio:
    """Measure two pieces of work in turn, so that both see the same machine."""
    a: list[float] = []
    b: list[float] = []
    for _ in range(rounds):
        a += measure(ours, seconds=0.3, least=3)
        b += measure(theirs, seconds=0.3, least=2)
    return Ratio(ours_ms=statistics.median(a), theirs_ms=statistics.median(b))
