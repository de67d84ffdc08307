"""Files of a folder that nobody vouches for: paths stay inside it, and sizes are looked at before anything is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bodydouble.capture.foreign.values import ForeignFrame
from bodydouble.core.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_TEXT_BYTES = 256 << 20
MAX_FRAMES = 100_000


def inside(folder: Path, name: str | Path) -> Path:
    """A path in the folder, by a name that may come from a file.

    Raises:
        InputError: When the name (or a link on the way) leads out of the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{folder}: the name {str(name)!r} leads out of the folder, so it is not followed. "
            "Put the file itself into the folder, not a link or a path to it."
        )
    return path


def existing(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of these names that is there.

    Raises:
        InputError: When none is.
    """
    for name in names:
        path = inside(folder, name)
        if path.exists():
            return path
    raise InputError(
        f"{folder} has no {what}: expected {' or '.join(names)}. Copy the missing file, or name another folder."
    )


def pictures(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The folder's files with these suffixes, ordered by the last number in their names, then by name.

    Raises:
        InputError: When there is no such folder, or far too many files.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is missing; expected a folder of pictures ({', '.join(suffixes)}).")
    found = [inside(folder, p.name) for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file()]
    if len(found) > MAX_FRAMES:
        raise InputError(f"{folder} holds {len(found)} pictures; at most {MAX_FRAMES} are read. Name a smaller part.")
    return sorted(found, key=lambda p: (number_in(p.stem, 0), p.name))


def number_in(stem: str, otherwise: int) -> int:
    """The last number in a file's name, `otherwise` where there is none."""
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1][-18:]) if numbers else otherwise


def read_text(path: Path) -> str:
    """A text file of reasonable size.

    Raises:
        InputError: When it is missing, too large or not text.
    """
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise InputError(
                f"{path} has {size >> 20} MiB; at most {MAX_TEXT_BYTES >> 20} are read. Is it the right file?"
            )
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing. Copy it from the source of the capture.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable as text ({error}). Copy it again from the source.") from error


def read_json_value(path: Path) -> Any:
    """Any JSON value.

    Raises:
        InputError: When the file is missing, too large or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are refused, too
        raise InputError(f"{path} is not readable as JSON ({error}). Copy it again from the source.") from error


def by_number(paths: Sequence[Path]) -> dict[int, Path]:
    """Files by the last number in their names.

    Raises:
        InputError: When two have the same number.
    """
    found: dict[int, Path] = {}
    for place, path in enumerate(paths):
        number = number_in(path.stem, place)
        if number in found:
            raise InputError(
                f"{path.parent}: {found[number].name} and {path.name} have the same number {number}, so their order is "
                "unclear. Remove one of them."
            )
        found[number] = path
    return found


def frames_of(
    images: Mapping[int, Path],
    masks: Mapping[int, Path],
    *,
    fps_hz: float,
    splits: Mapping[str, str] | None = None,
) -> tuple[ForeignFrame, ...]:
    """Frames in the order of their numbers; a frame without a mask of the same number has none.

    Args:
        images, masks: By frame number.
        fps_hz: For the times.
        splits: `train`, `val` or `test` by file name or stem.
    """
    splits = splits or {}
    return tuple(
        ForeignFrame(
            name=images[n].stem,
            number=n,
            image=images[n],
            mask=masks.get(n),
            time_s=n / fps_hz,
            split=splits.get(images[n].name, splits.get(images[n].stem, "")),
        )
        for n in sorted(images)
    )
