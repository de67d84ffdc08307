"""The folder in which compacted data of bodies are kept between runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from bodydouble.core.errors import OutputError
from bodydouble.core.files import write_tensors

CACHE_VARIABLE = "BODYDOUBLE_CACHE_DIR"


def cache_folder() -> Path:
    """The folder that BODYDOUBLE_CACHE_DIR names, else `bodydouble` in XDG_CACHE_HOME or ~/.cache; it need not exist."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return Path(override)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "bodydouble"


def write_cached(path: Path, tensors: Mapping[str, Tensor], names: Mapping[str, str] | None = None) -> None:
    """Write a whole .safetensors file of the cache or none.

    Raises:
        OutputError: When the folder takes no files.
    """
    try:
        write_tensors(path, tensors, names)
    except (OSError, OutputError) as error:
        system = error if isinstance(error, OSError) else error.__cause__
        reason = system.strerror if isinstance(system, OSError) else error
        raise OutputError(
            f"The body's data, which are compacted once, cannot be kept in {path.parent}: {reason}. "
            f"Point {CACHE_VARIABLE} to a folder you may write to."
        ) from error
