"""The most memory that this process and its children held together."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import TracebackType

_INTERVAL_S = 0.2
_PROC = Path("/proc")


class MemoryWatch:
    """Samples memory on a thread of its own. A context manager.

    Memory shared between the processes is counted once (the largest share). Where there is no /proc, only the peaks
    that the system itself keeps are known: the larger of this process and its largest finished child.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._peak_mb = 0.0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MemoryWatch:
        if _PROC.is_dir():
            self._thread = threading.Thread(target=self._watch, name="bodydouble-memory", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def peak_mb(self) -> float:
        """Peak since the last `take_peak_mb` (or the start), MB of 10^6 bytes."""
        with self._lock:
            return self._peak_mb

    def take_peak_mb(self) -> float:
        """Peak since the last call (or the start), MB of 10^6 bytes. Begins a new interval."""
        now = tree_rss_mb() if self._thread is not None else lifetime_peak_mb()
        with self._lock:
            peak, self._peak_mb = max(self._peak_mb, now), 0.0
        return peak

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            now = tree_rss_mb()
            with self._lock:
                self._peak_mb = max(self._peak_mb, now)


def lifetime_peak_mb() -> float:
    """The larger of this process's peak so far and that of its largest finished child, MB of 10^6 bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def tree_rss_mb() -> float:
    """Memory that this process and all below it hold now, MB of 10^6 bytes. 0 where there is no /proc."""
    page_mb = os.sysconf("SC_PAGE_SIZE") / 1e6 if hasattr(os, "sysconf") else 4096 / 1e6
    private, shared = 0.0, 0.0
    for pid in _process_tree(os.getpid()):
        try:
            fields = (_PROC / str(pid) / "statm").read_text(encoding="utf-8").split()
        except OSError:  # it has ended
            continue
        private += int(fields[1]) - int(fields[2])
        shared = max(shared, int(fields[2]))
    return (private + shared) * page_mb


def _process_tree(root: int) -> list[int]:
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        try:
            for task in (_PROC / str(pid) / "task").iterdir():
                queue += [int(child) for child in (task / "children").read_text(encoding="utf-8").split()]
        except OSError:  # it has ended, or this kernel doesn't tell
            continue
    return found
