"""A source's file as a local one: where it lies, from an object store, or by yt-dlp where the user has that tool.

Nothing is ever fetched that was not planned. What was fetched stays in ROOT/videos, under the source's id.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from bodydouble.core.errors import InputError, MissingDependencyError
from bodydouble.core.files import atomic_path
from bodydouble.corpus.store import Store
from bodydouble.corpus.values import Source

YT_DLP = "yt-dlp"
_TIMEOUT_S = 3600.0
_PAGES = ("http://", "https://")


def video_folder(source_id: str) -> str:
    """Where a fetched file is in the store."""
    return f"videos/{source_id[:2]}/{source_id}"


def local_video(store: Store, source: Source) -> Path:
    """The source's file on this machine; fetched if need be.

    Raises:
        InputError: When it is gone or cannot be fetched.
        MissingDependencyError: When a tool or package for that is missing.
    """
    if "://" not in source.uri or source.uri.startswith("file://"):
        path = Path(source.uri.removeprefix("file://"))
        if not path.is_file():
            raise InputError(
                f"{path} does not exist any more. Put it back, or plan its new place: bodydouble corpus plan"
            )
        return path
    place = _kept_folder(store, source)
    if place.is_dir():
        found = sorted(p for p in place.iterdir() if p.is_file() and not p.name.startswith("."))
        if found:
            return found[0]
    with atomic_path(place) as partial:
        partial.mkdir(parents=True)
        if source.uri.startswith(_PAGES):
            download(source, partial)
        else:
            _copy(source.uri, partial / (Path(source.uri).name or "video"))
    return next(p for p in place.iterdir() if p.is_file())


def _kept_folder(store: Store, source: Source) -> Path:
    """Fetched files are kept beside the corpus, or on this machine's disk where the corpus is in an object store."""
    if store.local_root is not None:
        return store.local_root / video_folder(source.id)
    return Path(tempfile.gettempdir()) / "bodydouble-corpus-videos" / source.id


def download_command(source: Source, folder: Path, tool: str = YT_DLP) -> list[str]:
    """The call of yt-dlp: one video, silent where the page has such, in the planned size and frame rate.

    Without merging and re-encoding, so that the file is the one that the hash is of; and without a fallback to another
    size, since masks and cameras of another size would silently not fit.
    """
    wanted = ""
    if source.width_px and source.height_px:
        wanted += f"[width={source.width_px}][height={source.height_px}]"
    if source.fps_hz:
        wanted += f"[fps>={source.fps_hz - 1:.0f}][fps<={source.fps_hz + 1:.0f}]"
    return [
        tool,
        "--no-playlist",
        "--no-progress",
        "--no-part",
        "--retries", "3",
        "--format", f"bestvideo{wanted}[ext=mp4]/bestvideo{wanted}/best{wanted}",
        "--output", str(folder / "video.%(ext)s"),
        "--", source.uri,
    ]  # fmt: skip


def download(source: Source, folder: Path, tool: str | None = None) -> None:
    """Have yt-dlp fetch a page's video into a folder.

    Raises:
        MissingDependencyError: When the tool is not installed.
        InputError: When it cannot fetch the video.
    """
    found = shutil.which(tool or YT_DLP)
    if found is None:
        raise MissingDependencyError(
            f"{source.uri} is a page, and fetching its video needs the tool {YT_DLP}, which is not installed. Install it "
            "(pip install yt-dlp) if its terms and the page's allow it, or fetch the file yourself and plan the file."
        )
    try:
        run = subprocess.run(
            download_command(source, folder, found), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{source.uri} was not fetched within {_TIMEOUT_S / 60:.0f} minutes.") from error
    if run.returncode != 0 or not any(folder.iterdir()):
        words = [line.strip() for line in run.stderr.splitlines() if line.strip()][-1:] or ["nothing was said"]
        raise InputError(
            f"{source.uri} could not be fetched: {words[0]} Is it still there, in {source.width_px or 'any'}x"
            f"{source.height_px or 'any'} at {source.fps_hz or 'any'} frames/s?"
        )


def _copy(uri: str, path: Path) -> None:
    place = Store(uri.rsplit("/", 1)[0])
    try:
        place.fs.get_file(f"{place.base}/{uri.rsplit('/', 1)[1]}", str(path))
    except OSError as error:
        raise InputError(f"{uri} could not be fetched ({error}). Is it there, and may you read it?") from error
