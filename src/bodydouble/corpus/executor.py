"""Where tasks are carried out: in this process, or by Ray (`corpus.cluster`). Both behave alike, so that nothing else differs."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator

from bodydouble.core.errors import ConfigError
from bodydouble.corpus.tasks import Executor, Outcome, Task, call, last_words


class LocalExecutor:
    """One task after the other, in this process."""

    slots = 1

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def submit(self, task: Task) -> None:
        self._waiting.append(task)

    def take(self) -> Outcome:
        task = self._waiting.popleft()
        began = time.perf_counter()
        try:
            value = call(task.function, task.payload)
        except Exception as error:  # noqa: BLE001 - told to whoever submitted it, as from another process
            return Outcome(task=task, error=last_words(error), seconds=time.perf_counter() - began)
        return Outcome(task=task, value=value, seconds=time.perf_counter() - began)


@contextlib.contextmanager
def open_executor(workers: int, address: str = "", *, gpus: int = 0) -> Iterator[Executor]:
    """Something that does tasks, for as long as it is needed.

    Args:
        workers: Processes on this machine; 0 for this process alone, without Ray. Without meaning for a cluster.
        address: Of a running Ray cluster; empty to start one here that ends with this process.
        gpus: Of this machine that tasks may share.
    Raises:
        ConfigError: When the number of workers makes no sense.
        MissingDependencyError: When Ray is needed and missing.
    """
    if workers < 0:
        raise ConfigError(f"--workers is {workers}; expected 0 (this process alone) or a number of processes.")
    if workers == 0 and not address:
        yield LocalExecutor()
        return
    from bodydouble.corpus.cluster import ray_executor

    with ray_executor(workers, address, gpus=gpus) as executor:
        yield executor
