"""One process at a time in a run folder. The operating system drops the lock when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bodydouble.core.errors import OutputError

LOCK_NAME = ".bodydouble.lock"
_LOCKED_BYTE = 1 << 20


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
        with contextlib.suppress(PermissionError):  # Windows removes no file that is open
            path.unlink(missing_ok=True)  # while still locked, so that whoever waits for it notices (see _locked)
        handle.close()
        if os.name == "nt":
            with contextlib.suppress(OSError):  # somebody else may hold it by now
                path.unlink(missing_ok=True)


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
        return _try_lock_windows(handle)
    try:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_lock_windows(handle: IO[str]) -> bool:
    import msvcrt

    # Windows lets nobody read a locked byte: lock one far behind the holder's number, which others want to read.
    os.lseek(handle.fileno(), _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    finally:
        os.lseek(handle.fileno(), 0, os.SEEK_SET)
    return True
