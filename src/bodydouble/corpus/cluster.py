"""Tasks as Ray tasks. The one file that knows Ray.

Without an address a small Ray is started that listens on the loopback interface only, has no dashboard and ends with this
process, however that ends. Ray's own retries are off: whoever submits a task decides what its failure means.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bodydouble.core.errors import InputError, MissingDependencyError
from bodydouble.corpus.tasks import Outcome, Task, call, last_words

_STORE_BYTES = 80 * 2**20
"""Of Ray's object store: only small JSON values pass through it. This is about the least that Ray accepts."""
_START_TRIES = 5
"""Ray gives up when its agents have not named their ports within a fixed 15 s (ray-project/ray#65983), which happens on a
very busy machine."""
_LOOK_S = 5.0
"""Time between looks whether Ray is still there, while tasks are at work."""
_NEEDED = ("raylet", "gcs_server")
_THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_raylet_start_wait_time_s": "45",
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_register_timeout_seconds": "180",
}
_LOCAL_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's switch for "this machine alone": every port is opened on 127.0.0.1."""


class RayExecutor:
    """Tasks on a Ray that is already connected."""

    def __init__(self, ray: Any, slots: int) -> None:
        self.slots = slots
        self._ray = ray
        self._running: dict[Any, Task] = {}
        self._remote = ray.remote(_perform)

    @property
    def in_flight(self) -> int:
        return len(self._running)

    def submit(self, task: Task) -> None:
        demands: dict[str, Any] = {"num_cpus": task.cpus, "num_gpus": task.gpus, "max_retries": 0, "name": task.name}
        if task.memory_mb:
            demands["memory"] = int(task.memory_mb * 1e6)
        self._running[self._remote.options(**demands).remote(task.function, dict(task.payload))] = task

    def take(self) -> Outcome:
        found: list[Any] = []
        while not found:
            found, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_LOOK_S)
            if not found:
                self._check_alive()
        (ready,) = found
        task = self._running.pop(ready)
        try:
            value, error, seconds = self._ray.get(ready)
        except self._ray.exceptions.RayError as failure:
            # What the function raises comes back as text; this is a worker that died, or that could not be started.
            return Outcome(task=task, error=_first_lines(failure), crashed=True)
        return Outcome(task=task, value=value, error=error, seconds=seconds)

    def _check_alive(self) -> None:
        """A Ray of our own whose processes have died answers nothing any more: waiting for it would never end."""
        node = self._ray._private.worker.global_worker.node
        dead = [] if node is None else [kind for kind, _ in node.dead_processes() if kind in _NEEDED]
        if dead:
            raise InputError(
                f"Ray has ended unexpectedly ({', '.join(dead)}). Is the machine short of memory? Nothing is lost: the same "
                "command goes on."
            )


def _perform(function: str, payload: Mapping[str, Any]) -> tuple[Any, str, float]:
    """In a worker: the value, or why there is none, and the seconds."""
    began = time.perf_counter()
    try:
        return call(function, payload), "", time.perf_counter() - began
    except Exception as error:  # noqa: BLE001 - told to whoever submitted it
        return None, last_words(error), time.perf_counter() - began


@contextlib.contextmanager
def ray_executor(workers: int, address: str, *, gpus: int = 0) -> Iterator[RayExecutor]:
    """Connect to Ray, or start one here.

    Args:
        workers: CPUs that a Ray started here has.
        address: Of a running cluster, such as `10.0.0.5:6379`; empty to start one.
        gpus: That a Ray started here has.
    Raises:
        MissingDependencyError: When Ray is missing.
        InputError: When no cluster answers at the address.
    """
    for name, value in {**_QUIET, **({} if address else _LOCAL_ONLY)}.items():
        os.environ.setdefault(name, value)  # Ray reads some of them when it is imported
    if not address:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # of this Ray alone; nothing is kept in a file
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "Working on a corpus in several processes needs Ray. Install it with `pip install 'bodydouble[corpus]'`, or use "
            "--workers 0."
        ) from error
    common: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    with contextlib.ExitStack() as stack:
        if address:
            common["runtime_env"] = {"env_vars": _THREADS}
            _connected(ray, "", lambda: ray.init(address=address, **common), tries=1)
        else:
            for name, value in _THREADS.items():
                os.environ.setdefault(name, value)  # what is started from here inherits it
            # Names of sockets must be short, and the usual temporary folder of macOS is not.
            short = "/tmp" if os.path.isdir("/tmp") else None
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="bdray-", dir=short, ignore_cleanup_errors=True)
            )
            common |= {"num_cpus": workers, "num_gpus": gpus, "object_store_memory": _STORE_BYTES}
            common |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "_temp_dir": folder}
            _connected(ray, folder, lambda: ray.init(**common), tries=_START_TRIES)
        stack.callback(ray.shutdown)
        slots = workers if not address else max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield RayExecutor(ray, slots)


def _connected(ray: Any, folder: str, begin: Callable[[], object], *, tries: int) -> None:
    """Start Ray (in a folder of its own) or connect to it; a start that fails is tried again."""
    for left in reversed(range(tries)):
        try:
            begin()
            return
        except Exception as error:  # what Ray raises here has no common base
            ray.shutdown()
            if folder:
                _end_leftovers(folder)
            if left:
                continue
            what, hint = (
                ("Ray could not be started here", "Is the machine very busy? Or use --workers 0.")
                if folder
                else ("The Ray cluster could not be reached", "Is it running, and is --address right?")
            )
            raise InputError(f"{what} ({_first_lines(error)}). {hint}") from error


def _end_leftovers(folder: str) -> None:
    """End what a failed start left at work: Ray does so only when this process ends, and until then it slows the next try."""
    import psutil  # Ray brings it along

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(folder in word for word in process.cmdline()):
                process.kill()


def _first_lines(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:400]}"
