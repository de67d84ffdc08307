"""Running a kernel on several threads.

Kernels release the interpreter's lock and take `(worker, num_workers)` as their first arguments; each worker does a
fixed share of the work, so results do not depend on timing. Numba's own threading layers are not used: one of them may
not be entered from two Python threads, another spins on the cores that torch needs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_AT_ONCE = 8
"""So many items of a stream are held in memory."""
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def kernel_threads() -> int:
    """Threads that kernels use: torch's number (`torch.set_num_threads`), at most the cores this process may use."""
    import torch

    return max(1, min(torch.get_num_threads(), _cores()))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def run_kernel(fn: Callable, num_workers: int, *args: object) -> None:
    """Call `fn(worker, num_workers, *args)` for every worker at once and wait for all of them.

    Safe to call from several Python threads. The calling thread is worker 0.

    Raises:
        Exception: Whatever a worker raised first.
    """
    if num_workers <= 1:
        fn(0, 1, *args)
        return
    pool = _shared_pool(max(num_workers, _cores()) - 1)  # others may be calling kernels beside this one
    others = [pool.submit(fn, worker, num_workers, *args) for worker in range(1, num_workers)]
    try:
        fn(0, num_workers, *args)
    finally:
        for other in others:
            other.exception()  # waits: no worker may go on writing after this has returned
    for other in others:
        other.result()


def stream_side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work(item)` for items that are too large to hold all at once, such as frames of a video, in their order.

    Args:
        work: As for `side_by_side`.
        items: Taken a few at a time.
    """
    stream = iter(items)
    while few := list(islice(stream, _AT_ONCE)):
        yield from side_by_side(lambda k, few=few: work(few[k]), len(few))


def side_by_side(work: Callable[[int], Result], count: int, done: Callable[[int], None] | None = None) -> list[Result]:
    """`work(k)` for k in 0..count-1, as many at once as there are threads, which they share.

    For pieces that do not depend on each other, such as frames: on one thread nothing waits between a piece's kernels.

    Args:
        work: Must only write what belongs to its own k.
        done: Told each k in order, in the calling thread.
    Returns:
        What it returned for each k.
    Raises:
        Exception: Whatever the first piece that failed raised; pieces not begun are left out.
    """
    import torch

    threads = kernel_threads()
    workers = min(threads, count)
    results = []
    if workers <= 1:
        for k in range(count):
            results.append(work(k))
            if done is not None:
                done(k)
        return results
    # Torch's number of threads belongs to the thread that sets it.
    with ThreadPoolExecutor(workers, "bodydouble-beside", torch.set_num_threads, (threads // workers,)) as pool:
        running = [pool.submit(work, k) for k in range(count)]
        try:
            for k, piece in enumerate(running):
                results.append(piece.result())
                if done is not None:
                    done(k)
        finally:
            for piece in running:
                piece.cancel()
    return results


def _shared_pool(size: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < size:
            # A pool that grew too small keeps serving those who hold it; its threads end when it is collected.
            _pool, _pool_size = ThreadPoolExecutor(size, thread_name_prefix="bodydouble-kernel"), size
        return _pool


def _forget_pool() -> None:
    """A forked child has the pool's object but none of its threads."""
    global _pool, _pool_size, _lock
    _pool, _pool_size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
