"""Compiling kernels: one decorator, and one place on disk where compiled kernels are kept.

Numba's own cache compares only the file of the kernel itself, so a kernel that inlines helpers from another module may
be taken from the cache although a helper has changed. Here the stamp covers all sources in the kernel's folder
(inlined helpers live beside the kernels that use them).
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import caching

_PLAIN_KERNELS = "BODYDOUBLE_PLAIN_KERNELS"


def plain_kernels_wanted() -> bool:
    """Whether the user asked for the kernels without SIMD intrinsics (`BODYDOUBLE_PLAIN_KERNELS=1`)."""
    return os.environ.get(_PLAIN_KERNELS, "0") not in ("", "0")


@functools.lru_cache(maxsize=1)
def kernel_cache_dir() -> Path | None:
    """The first writable folder of: NUMBA_CACHE_DIR, the user's cache folder, the temporary folder; None if none is."""
    candidates = [os.environ.get("NUMBA_CACHE_DIR")]
    candidates.append(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    candidates.append(os.path.join(tempfile.gettempdir(), f"cache-{os.getuid() if hasattr(os, 'getuid') else 'user'}"))
    for candidate in candidates:
        if not candidate:
            continue
        folder = Path(candidate) / "bodydouble" / "kernels"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    return None


@functools.cache
def _sources_digest(folder: Path) -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in [Path(__file__), *sorted(folder.glob("*.py"))]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


class _KernelLocator(caching._CacheLocator):
    """Tells numba where the compiled kernels are and what they depend on."""

    def __init__(self, py_func: Callable) -> None:
        self._line = py_func.__code__.co_firstlineno
        self._folder = Path(py_func.__code__.co_filename).parent

    def get_cache_path(self) -> str:
        return str(kernel_cache_dir())

    def get_source_stamp(self) -> str:
        return _sources_digest(self._folder)

    def get_disambiguator(self) -> str:
        return f"{self._line}"

    @classmethod
    def from_function(cls, py_func: Callable, py_file: str) -> "_KernelLocator | None":
        return None if kernel_cache_dir() is None else cls(py_func)


class _KernelCacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [_KernelLocator]  # noqa: RUF012  (numba's own interface)


class _KernelCache(caching.FunctionCache):
    _impl_class = _KernelCacheImpl


def kernel(
    *, fastmath: bool | set[str] = False, inline: bool = False, cached: bool = True
) -> Callable[[Callable], Any]:
    """Decorator: compile on the first call, without the interpreter's lock, kept on disk between processes.

    Args:
        fastmath: As numba's. `{"contract"}` allows fused multiply-add and nothing else.
        inline: Whether LLVM must inline the function into its callers.
        cached: False for small helpers, which are compiled into their callers.
    """

    def decorate(py_func: Callable) -> Any:
        # A run-time type checker may have wrapped it; numba wants the function itself.
        py_func = inspect.unwrap(py_func)
        dispatcher = numba.njit(
            nogil=True, fastmath=fastmath, error_model="numpy", boundscheck=False, forceinline=inline
        )(py_func)
        if cached and kernel_cache_dir() is not None:
            dispatcher._cache = _KernelCache(py_func)
        return dispatcher

    return decorate
