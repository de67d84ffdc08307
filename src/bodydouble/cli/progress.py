"""Progress for people, on standard error: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import sys
import time
from io import TextIOBase
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bodydouble.core.events import Checkpointed, Done, Evaluated, Event, Progress, Step, Warned
from bodydouble.pipeline.stage_words import TRAINED, time_left, words_of

if TYPE_CHECKING:
    from rich.progress import TaskID

_PLAIN_EVERY = 0.25
"""Elsewhere than on a terminal a line is printed at each of these shares of a stage."""


class ProgressPrinter:
    """Listens to events. A context manager; call it with each event."""

    def __init__(self, stages: tuple[str, ...], stream: TextIOBase | None = None, *, quiet: bool = False) -> None:
        """
        Args:
            stages: The stages to come, in order; a line is printed when one of them is done.
            stream: Standard error by default.
            quiet: Say nothing.
        """
        self._stages = stages
        self._training = TRAINED[0]
        self._stream: Any = io.StringIO() if quiet else stream if stream is not None else sys.stderr
        self._bars = _TerminalBars(self._stream) if self._stream.isatty() else _PlainLines(self._stream)
        self._warned: set[tuple[str, str]] = set()
        self._done: set[str] = set()

    def __enter__(self) -> ProgressPrinter:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Progress):
            if event.stage in TRAINED:
                self._training = event.stage
            self._bars.update(event.stage, words_of(event.stage), event.done, event.total)
        elif isinstance(event, Step):
            self._bars.update(self._training, words_of(self._training), event.step, event.num_steps)
        elif isinstance(event, Warned):
            if (event.code, event.message) not in self._warned:
                self._warned.add((event.code, event.message))
                self._bars.say(f"note: {event.message}" + (f" {event.advice}" if event.advice else ""))
        elif isinstance(event, Done):
            self._bars.finish(event.stage)
            if event.stage == self._training:
                self._training = TRAINED[0]
            if event.stage in self._stages and event.stage not in self._done:
                self._done.add(event.stage)
                place = f"[{len(self._done)}/{len(self._stages)}]"
                self._bars.say(f"{place} {words_of(event.stage)}: {event.seconds:.1f} s")
        elif isinstance(event, Evaluated | Checkpointed):
            pass  # nothing a person needs to see at once


class _PlainLines:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._shown: dict[str, float] = {}
        self._begun: dict[str, float] = {}

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self._stream.flush()

    def update(self, stage: str, words: str, done: int, total: int) -> None:
        share = done / total if total else 0.0
        if stage not in self._shown or share < self._shown[stage]:
            self._shown[stage], self._begun[stage] = 0.0, time.monotonic()
            self.say(f"{words} ...")
        if share - self._shown[stage] >= _PLAIN_EVERY and share < 1.0:
            self._shown[stage] = share - share % _PLAIN_EVERY
            left = (time.monotonic() - self._begun[stage]) * (1.0 - share) / share
            self.say(f"{words}: {share:.0%}, {time_left(left)}")

    def finish(self, stage: str) -> None:
        self._shown.pop(stage, None)

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class _TerminalBars:
    def __init__(self, stream: Any) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(file=stream, highlight=False)
        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def update(self, stage: str, words: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(words, total=total or None)
        self._progress.update(self._tasks[stage], completed=done, total=total or None)
        if total and done >= total:
            self.finish(stage)

    def finish(self, stage: str) -> None:
        task = self._tasks.pop(stage, None)
        if task is not None:
            self._progress.remove_task(task)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)
