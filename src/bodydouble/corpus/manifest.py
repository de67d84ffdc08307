"""Lists of videos: a .csv or .parquet with a row for each, and what is known about it.

uri (or path, or url)   needed; a relative path is relative to the list
licence, provenance, consent, takedown_key
sha256, fps, width, height     expected of the file; another one is refused
start_s, end_s                 only this part is used
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bodydouble.core.errors import InputError
from bodydouble.corpus.values import CONSENTS, Source

_URI = ("uri", "path", "url")
_TEXTS = ("licence", "provenance", "consent", "takedown_key", "sha256", "annotations")
_NUMBERS = {"fps": "fps_hz", "width": "width_px", "height": "height_px", "start_s": "start_s", "end_s": "end_s"}
_MOST = 1e9
"""Of any number; whatever is larger is no video's."""
_SPELLINGS = {"license": "licence", "fps_hz": "fps", "width_px": "width", "height_px": "height"}


def read_manifest(path: Path, notes: list[str]) -> Iterator[Source]:
    """Sources of a list, without ids, one by one.

    Args:
        path: .csv (UTF-8, with a header) or .parquet.
        notes: Told which columns are not used.
    Raises:
        InputError: When the list, or a row of it, cannot be used.
    """
    checked = False
    for number, row in _rows(path):
        row = {
            _SPELLINGS.get(str(k).strip().lower(), str(k).strip().lower()): v for k, v in row.items() if k is not None
        }
        if not checked:
            _check_columns(path, row, notes)
            checked = True
        yield _source(path, number, row)
    if not checked:
        raise InputError(f"{path} has no rows; expected a header with `uri` and a row for each video.")


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix.lower() == ".parquet":
        from bodydouble.corpus.tables import read_parquet_rows

        yield from enumerate(read_parquet_rows(path), start=1)
        return
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a list ({error}); expected UTF-8 text with commas.") from error


def _check_columns(path: Path, row: Mapping[str, Any], notes: list[str]) -> None:
    if not any(name in row for name in _URI):
        raise InputError(f"{path} has no column `uri` (or `path`, or `url`); found: {', '.join(row) or 'none'}.")
    unused = [name for name in row if name not in (*_URI, *_TEXTS, *_NUMBERS)]
    if unused:
        notes.append(f"{path.name}: columns that are not used: {', '.join(unused)}.")


def _source(path: Path, number: int, row: Mapping[str, Any]) -> Source:
    where = f"{path}, row {number}"
    uri = next((text for name in _URI if (text := _text(row.get(name)))), "")
    if not uri:
        raise InputError(f"{where}: no `uri`. Name the video, or remove the row.")
    if "://" not in uri:
        uri = _existing(path.parent / uri, where)
    values: dict[str, Any] = {name: _text(row.get(name)) for name in _TEXTS}
    values["consent"] = values["consent"].lower() or "unknown"
    if values["consent"] not in CONSENTS:
        raise InputError(f"{where}: consent is {values['consent']!r}; expected one of: {', '.join(CONSENTS)}.")
    sha256 = values["sha256"].lower()
    if sha256 and (len(sha256) != 64 or any(c not in "0123456789abcdef" for c in sha256)):
        raise InputError(f"{where}: sha256 must be 64 hexadecimal digits, found {sha256!r}.")
    values["sha256"] = sha256
    for column, name in _NUMBERS.items():
        values[name] = _number(row.get(column), f"{where}: {column}")
    for name in ("width_px", "height_px"):
        values[name] = None if values[name] is None else int(values[name])
    if values["start_s"] is not None and values["end_s"] is not None and values["end_s"] <= values["start_s"]:
        raise InputError(f"{where}: end_s ({values['end_s']:g}) must be after start_s ({values['start_s']:g}).")
    return Source(id="", uri=uri, **values)


def _existing(file: Path, where: str) -> str:
    try:
        found = file.resolve()
        if found.is_file():
            return str(found)
    except (OSError, ValueError) as error:  # longer than any name may be, or with a null in it
        raise InputError(f"{where}: {str(file)[:200]!r} is no name of a file ({error}).") from error
    raise InputError(f"{where}: {found} does not exist. Paths are relative to the list.")


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _number(value: Any, what: str) -> float | None:
    text = _text(value)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError as error:
        raise InputError(f"{what} must be a number, found {text!r}.") from error
    if not 0 <= number <= _MOST:
        raise InputError(f"{what} must be a number from 0 to {_MOST:g}, found {text[:40]!r}.")
    return number
