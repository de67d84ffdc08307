"""One process at a time in a run folder. The operating system drops the lock when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bodydouble.core.errors import OutputError

LOCK_NAME = ".bodydouble.lock"


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, or fail at once.

    Raises:
        OutputError: When another process holds it, or the folder cannot be written.
    """
    path = folder / LOCK_NAME
    handle = _locked(path)
    try:
        handle.seek(0)
        handle.truncate()
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield
    finally:
        path.unlink(missing_ok=True)  # while still locked, so that whoever waits for it notices (see _locked)
        handle.close()


def _locked(path: Path) -> IO[str]:
    while True:
        try:
            handle = path.open("a+", encoding="ascii")
        except OSError as error:
            raise OutputError(
                f"{path.parent} cannot be written: {error.strerror}. Choose a folder you may write to with -o."
            ) from error
        if not _try_lock(handle):
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise OutputError(
                f"{path.parent} is in use by another bodydouble (process {holder}). "
                "Wait for it to end, stop it, or choose another folder with -o."
            )
        if _is_still_there(handle, path):
            return handle
        handle.close()  # its last holder has just removed it: lock the new one


def _is_still_there(handle: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _try_lock(handle: IO[str]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        handle.seek(0)
        try:
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
