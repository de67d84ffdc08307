"""Files that are either whole or absent: written beside their place, flushed, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from bodydouble.core.errors import InputError, OutputError

_PARTIAL = ".partial"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, otherwise it is removed.

    Works for files and for folders. A folder already at `path` is replaced.

    Raises:
        OutputError: When the disk is full or the place cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_tree(partial)
        yield partial
        if partial.is_dir():
            remove_tree(path)
        else:
            with partial.open("r+b") as handle:  # Windows flushes only what is open for writing
                os.fsync(handle.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # what stopped us may stop this, too
            remove_tree(partial)
        raise output_error(path, partial, error) from error
    except BaseException:
        remove_tree(partial)
        raise


def output_error(path: Path, partial: Path, error: OSError) -> OutputError | OSError:
    """What to raise when a file cannot be written; the error itself where it tells of something else.

    Args:
        path: What was to be written.
        partial: Where it was being written.
        error: What the system said.
    """
    if error.errno == errno.ENOSPC:
        return OutputError(
            f"The disk is full: {path} could not be written. Free some space and run the same command again (a run goes on with --resume)."
        )
    missing = error.errno == errno.ENOENT and error.filename in (None, str(partial)) and not partial.exists()
    if missing or error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"{path} cannot be written: {error.strerror}. Choose a folder you may write to with -o.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OutputError(
            f"{path} cannot be made: a part of that path is a file, not a folder. Choose another name with -o."
        )
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(f"{path} cannot be made: the name is too long. Choose a shorter one with -o.")
    if error.errno == errno.EISDIR:
        return OutputError(f"{path} is a folder; expected the name of a file. Choose another name with -o.")
    return error


def remove_tree(path: Path) -> None:
    """Remove a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_partials(folder: Path) -> None:
    """Remove what a killed process left behind in `folder` and below."""
    for partial in list(folder.rglob(f".*{_PARTIAL}")):
        remove_tree(partial)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or none."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file or none."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a whole JSON file or none. NaN and infinity are refused: a reader would choke on them."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises:
        InputError: When the file is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; expected a JSON file. Is this a folder that bodydouble wrote?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable as JSON ({error}). It may be damaged: create it again.") from error
    if not isinstance(value, dict):
        raise InputError(
            f"{path} must hold a JSON object, found {type(value).__name__}. It may be damaged: create it again."
        )
    return value


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a whole .safetensors file or none."""
    from safetensors.torch import save

    contiguous = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    write_bytes(path, save(contiguous, dict(metadata) if metadata else None))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a .safetensors file: tensors by name and its text metadata.

    Raises:
        InputError: When the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}, dict(handle.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} is not a readable .safetensors file ({error}). It may be damaged: create it again."
        ) from error


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
