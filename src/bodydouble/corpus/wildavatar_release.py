"""The release of WildAvatar as sources: its metadata and masks are read, its videos are the user's to supply.

    train.txt val.txt test.txt        one video id a line
    VIDEO_ID/metadata.json            frames by number, and `start`: second of the video at which the 20 s clip begins
    VIDEO_ID/masks/NUMBER.png
    VIDEO_ID/VIDEO_ID.mp4             the whole video, where its toolbox has downloaded it

The annotated size is twice the principal point. Downloads of another size are refused when they are probed: masks and
cameras would not fit (the release names no format, and its official command fetches other sizes today).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bodydouble.core.errors import InputError
from bodydouble.corpus.values import Source

CLIP_S = 20.0
LICENCE = "CC-BY-NC-SA-4.0"
_PAGE = "https://www.youtube.com/watch?v="
_LISTS = ("train.txt", "val.txt", "test.txt")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Ids name folders here and pages there: nothing else may come in by them."""
_MOST_PX = 65_536
_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov")


def is_release(folder: Path) -> bool:
    """Whether a folder looks like the release, or a part of it."""
    if any((folder / name).is_file() for name in _LISTS) or (folder / "subjects.csv").is_file():
        return True
    return any((child / "metadata.json").is_file() for child in folder.iterdir() if child.is_dir())


def release_sources(folder: Path, videos: Path | None, notes: list[str]) -> Iterator[Source]:
    """A source for each subject whose metadata are there, without ids.

    Args:
        folder: Of the release.
        videos: Where the videos are, as VIDEO_ID.mp4 or in folders of that name; else beside the metadata. What is
            nowhere is planned by its page, to be fetched.
        notes: Told what is missing.
    Raises:
        InputError: When there is no subject, or metadata are damaged.
    """
    named = sorted({line.strip() for name in _LISTS if (folder / name).is_file() for line in _lines(folder / name)})
    strange = [id for id in named if not _ID.fullmatch(id)]
    if strange:
        raise InputError(
            f"The lists in {folder} name {strange[0][:40]!r}, which is no id of a video. Unpack the archive again."
        )
    ids = named or sorted(p.name for p in folder.iterdir() if (p / "metadata.json").is_file())
    present = [id for id in ids if (folder / id / "metadata.json").is_file()]
    if not present:
        raise InputError(
            f"{folder} lists {len(ids)} subjects, but has metadata of none. Unpack the release's archive there."
        )
    if len(present) < len(ids):
        notes.append(f"{folder.name}: {len(ids) - len(present)} of {len(ids)} subjects have no metadata.")
    pages = 0
    for id in present:
        source = _source(folder / id, id, videos)
        pages += source.uri.startswith(_PAGE)
        yield source
    if pages:
        notes.append(
            f"{folder.name}: {pages} of {len(present)} videos are not on this machine; they will be fetched by yt-dlp."
        )


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of ids ({error}). Unpack the archive again.") from error


def _source(folder: Path, id: str, videos: Path | None) -> Source:
    path = folder / "metadata.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        frames: list[dict[str, Any]] = [v for k, v in table.items() if isinstance(v, dict) and str(k).isdigit()]
        width_px, height_px = (round(2.0 * float(frames[0]["cam_intrinsics"][i][2])) for i in (0, 1))
        start_s = float(table.get("start", 0))
        if not (0 < width_px <= _MOST_PX and 0 < height_px <= _MOST_PX and 0 <= start_s < math.inf):
            raise ValueError(f"{width_px}x{height_px} pixels from {start_s} s")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is no metadata of WildAvatar ({error!r}). Unpack the archive again.") from error
    file = _find(folder, id, videos)
    return Source(
        id="",
        uri=_PAGE + id if file is None else str(file.resolve()),
        width_px=width_px,
        height_px=height_px,
        start_s=start_s,
        end_s=start_s + CLIP_S,
        licence=LICENCE,
        provenance=_PAGE + id,
        takedown_key=id,
        annotations=str(folder.resolve()),
    )


def _find(folder: Path, id: str, videos: Path | None) -> Path | None:
    places = [folder, *(() if videos is None else (videos, videos / id))]
    return next((p / f"{id}{s}" for p in places for s in _SUFFIXES if (p / f"{id}{s}").is_file()), None)
