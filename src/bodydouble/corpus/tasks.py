"""Tasks, what becomes of them, and what does them.

A task names a function of the program and hands it JSON values; the answer is JSON values too. So a task can be sent
anywhere, and nothing is pickled but text and numbers.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from bodydouble.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Task:
    """One piece of work."""

    name: str
    """For people: what it is part of."""
    function: str
    """`package.module:function`; called with the payload, returns a JSON value."""
    payload: Mapping[str, Any]
    cpus: float = 1.0
    gpus: float = 0.0
    """May be a fraction: several tasks share one."""
    memory_mb: float = 0.0
    """Kept free for it; 0 for no demand."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended."""

    task: Task
    value: Any = None
    error: str = ""
    """Why there is no value; empty if there is one."""
    crashed: bool = False
    """Whether the process that did the work died."""
    seconds: float = field(default=0.0, compare=False)


@runtime_checkable
class Executor(Protocol):
    """Does tasks."""

    @property
    def slots(self) -> int:
        """How many tasks of one CPU run at once."""
        ...

    @property
    def in_flight(self) -> int:
        """Tasks that were submitted and whose outcome was not taken yet."""
        ...

    def submit(self, task: Task) -> None:
        """Hand in a task. Returns at once; the caller keeps `in_flight` within bounds."""
        ...

    def take(self) -> Outcome:
        """The next outcome, in whatever order tasks end; waits for it."""
        ...


def call(function: str, payload: Mapping[str, Any]) -> Any:
    """Call `package.module:function` of this program with a payload.

    Raises:
        ConfigError: When it is not one of this program's.
    """
    module, _, name = function.partition(":")
    if not module.startswith("bodydouble.") or not name:
        raise ConfigError(f"A task's function must be bodydouble.MODULE:NAME, got {function!r}.")
    return getattr(importlib.import_module(module), name)(payload)


def last_words(error: BaseException) -> str:
    """An unexpected error with its traceback, as text that is kept."""
    return "".join(traceback.format_exception(error))[-4000:]


def run_all(executor: Executor, tasks: Iterator[Task], done: Callable[[Outcome], None], *, ahead: int = 2) -> None:
    """Do many tasks with a bounded number in flight.

    Args:
        executor: Does them.
        tasks: Taken from as places become free.
        done: Told each outcome, in the order in which tasks end.
        ahead: Tasks in flight for each slot.
    """
    exhausted = False
    while True:
        while not exhausted and executor.in_flight < ahead * executor.slots:
            task = next(tasks, None)
            if task is None:
                exhausted = True
            else:
                executor.submit(task)
        if not executor.in_flight:
            return
        done(executor.take())
