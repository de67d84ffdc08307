"""Worker processes seen from the program that uses them. Always used as a context manager: none is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

import bodydouble
from bodydouble.core import errors
from bodydouble.core.errors import BodydoubleError

_SILENCE_S = 300.0
"""A worker that says nothing for so long is taken for stuck (loading the networks takes some seconds)."""


class Workers:
    """A few worker processes that serve one command at a time each. They may stay for many calls of `ask`, until one fails."""

    def __init__(self, count: int) -> None:
        self._answers: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self._stack = contextlib.ExitStack()
        self._processes: list[subprocess.Popen[str]] = []
        log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by the stack
        self._log = self._stack.enter_context(log)
        try:
            for number in range(count):
                self._processes.append(self._start(number))
        except OSError as error:
            self.close()
            raise BodydoubleError(
                f"A worker process could not be started ({error}). Free some memory and try again."
            ) from error

    def _start(self, number: int) -> subprocess.Popen[str]:
        package_parent = os.path.dirname(os.path.dirname(os.path.abspath(bodydouble.__file__)))
        path = os.pathsep.join(p for p in (package_parent, os.environ.get("PYTHONPATH", "")) if p)
        quiet = {"GLOG_minloglevel": "3", "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        process = subprocess.Popen(
            [sys.executable, "-m", "bodydouble.perceive.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env={**os.environ, **quiet, "PYTHONPATH": path},
        )
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
        return process

    def _listen(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in process.stdout:
                with contextlib.suppress(json.JSONDecodeError):
                    self._answers.put((number, json.loads(line)))
        self._answers.put((number, None))

    def ask(
        self, commands: list[dict[str, Any]], on_progress: Callable[[int, int], None] = lambda number, done: None
    ) -> list[dict[str, Any]]:
        """Hand out commands and wait for all final answers.

        Args:
            commands: Dealt out in turn; a worker that gets several serves them one after the other.
            on_progress: Told the command's number and how much of it is done.
        Raises:
            BodydoubleError: What a worker reported, or that one has died or is stuck. Others may still be at work then.
        """
        at_work = [deque(range(number, len(commands), len(self._processes))) for number in range(len(self._processes))]
        for number, mine in enumerate(at_work):
            pipe = self._processes[number].stdin
            assert pipe is not None
            with contextlib.suppress(OSError):  # a dead worker is noticed below
                for place in mine:
                    pipe.write(json.dumps(commands[place]) + "\n")
                pipe.flush()
        finals: dict[int, dict[str, Any]] = {}
        while len(finals) < len(commands):
            try:
                number, answer = self._answers.get(timeout=_SILENCE_S)
            except queue.Empty:
                raise BodydoubleError(
                    f"The landmark networks have not answered for {_SILENCE_S:.0f} s. Is the machine out of memory or very busy? "
                    "Try again with --resume."
                ) from None
            if not at_work[number]:  # its end is nobody's business any more
                continue
            if answer is None:
                raise BodydoubleError(self._death_text(number))
            if "error" in answer:
                raise _rebuilt(answer)
            if "done" in answer:
                on_progress(at_work[number][0], int(answer["done"]))
            else:
                finals[at_work[number].popleft()] = answer
        return [finals[number] for number in range(len(commands))]

    def _death_text(self, number: int) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._processes[number].wait(timeout=5)
        code = self._processes[number].returncode
        self._log.flush()
        self._log.seek(0)
        last = [line.strip() for line in self._log.read()[-4000:].splitlines() if line.strip()][-1:]
        said = f" Its last words: {last[0]}" if last else ""
        return (
            f"A worker process that looks for landmarks has ended unexpectedly (exit status {code}; -9 usually means that the machine "
            f"ran out of memory). Close other programs and try again with --resume.{said}"
        )

    def close(self) -> None:
        """End all workers and wait for them."""
        for process in self._processes:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._stack.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _rebuilt(answer: dict[str, Any]) -> BodydoubleError:
    kind = getattr(errors, answer["error"], None)
    if isinstance(kind, type) and issubclass(kind, BodydoubleError):
        return kind(answer["text"])
    return BodydoubleError(
        f"Looking for landmarks failed ({answer['text']}). Please report this with the video's format."
    )
