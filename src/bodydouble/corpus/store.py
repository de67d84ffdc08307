"""The place of a corpus: a local folder, or any store that fsspec reaches (`s3://`, `gs://`, `memory://`). The one file that knows fsspec.

Names are relative, with forward slashes. Every file is whole or absent: locally by renaming, in object stores because a
put is. Folders are not: whoever reads one looks first for the record that is written after it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bodydouble.core.errors import InputError, MissingDependencyError, OutputError
from bodydouble.core.files import remove_tree, write_bytes


class Store:
    """Files under one root. Cheap to make, so that every process makes its own from the root's name."""

    def __init__(self, root: str | Path) -> None:
        """
        Args:
            root: A folder, or a URL that fsspec knows.
        Raises:
            MissingDependencyError: When the package for that kind of URL is missing.
            InputError: When the kind of URL is unknown.
        """
        text = str(root)
        self.local_root: Path | None = None
        """The folder, where it is one of this machine."""
        self.fs: Any = None
        if "://" not in text or text.startswith("file://"):
            self.local_root = Path(text.removeprefix("file://")).expanduser().absolute()
            self.root = str(self.local_root)
            return
        try:
            import fsspec
        except ImportError as error:
            raise MissingDependencyError(
                f"{text} is no local folder; reaching it needs fsspec. Install it with `pip install 'bodydouble[corpus]'`."
            ) from error
        try:
            self.fs, self.base = fsspec.core.url_to_fs(text)
        except ImportError as error:
            raise MissingDependencyError(f"{text} needs a package that is not installed: {error}.") from error
        except ValueError as error:
            raise InputError(
                f"{text} is no place for a corpus ({error}). Name a folder, or a URL such as s3://bucket/corpus."
            ) from error
        self.base = self.base.rstrip("/")
        self.root = text.rstrip("/")

    def url(self, name: str) -> str:
        """The whole name of a file, as a path or a URL."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is a file or a folder of this name."""
        if self.local_root is not None:
            return (self.local_root / name).exists()
        return bool(self.fs.exists(f"{self.base}/{name}"))

    def read_bytes(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: When it is missing or cannot be read.
        """
        try:
            if self.local_root is not None:
                return (self.local_root / name).read_bytes()
            return bytes(self.fs.cat_file(f"{self.base}/{name}"))
        except OSError as error:
            raise InputError(f"{self.url(name)} cannot be read ({error}). Is this the folder of a corpus?") from error

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object.

        Raises:
            InputError: When it is missing or damaged.
        """
        try:
            value = json.loads(self.read_bytes(name))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.url(name)} is not readable as JSON ({error}). It may be damaged.") from error
        if not isinstance(value, dict):
            raise InputError(
                f"{self.url(name)} must hold a JSON object, found {type(value).__name__}. It may be damaged."
            )
        return value

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a whole file or none."""
        if self.local_root is not None:
            write_bytes(self.local_root / name, data)
            return
        try:
            self.fs.pipe_file(f"{self.base}/{name}", data)
        except OSError as error:
            raise OutputError(f"{self.url(name)} cannot be written ({error}). May you write there?") from error

    def write_json(self, name: str, value: object) -> None:
        """Write a whole JSON file or none; NaN is refused."""
        self.write_bytes(name, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    def list(self, folder: str, suffix: str = "") -> list[str]:
        """Names of all files in a folder and below it, ascending; none where it does not exist."""
        if self.local_root is not None:
            base = self.local_root / folder
            found = (p.relative_to(self.local_root).as_posix() for p in base.rglob("*") if p.is_file())
            return sorted(name for name in found if name.endswith(suffix) and not name.endswith(".partial"))
        try:
            paths = self.fs.find(f"{self.base}/{folder}" if folder else self.base)
        except FileNotFoundError:
            return []
        base = self.base.lstrip("/")
        names = (str(p).lstrip("/").removeprefix(base).lstrip("/") for p in paths)
        return sorted(name for name in names if name.endswith(suffix))

    def size_bytes(self, name: str) -> int:
        """Size of a file."""
        if self.local_root is not None:
            return (self.local_root / name).stat().st_size
        return int(self.fs.size(f"{self.base}/{name}"))

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        if self.local_root is not None:
            remove_tree(self.local_root / name)
            return
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm(f"{self.base}/{name}", recursive=True)

    def take_file(self, path: Path, name: str) -> None:
        """Move a local file in, whole or not at all."""
        if self.local_root is not None:
            target = self.local_root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.{path.name}.partial")
            shutil.move(path, partial)
            partial.replace(target)
            return
        self.fs.put_file(str(path), f"{self.base}/{name}")
        path.unlink()

    def take_folder(self, folder: Path, name: str) -> None:
        """Move a local folder in, in place of what is there."""
        self.remove(name)
        if self.local_root is not None:
            target = self.local_root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, target)
            return
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.fs.put_file(str(file), f"{self.base}/{name}/{file.relative_to(folder).as_posix()}")
        remove_tree(folder)

    @contextlib.contextmanager
    def as_folder(self, name: str) -> Iterator[Path]:
        """A folder of the store as a local one, to be read: itself, or a copy that goes away again."""
        if self.local_root is not None:
            yield self.local_root / name
            return
        with tempfile.TemporaryDirectory(prefix="bodydouble-corpus-") as place:
            for file in self.list(name):
                target = Path(place) / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self.read_bytes(file))
            yield Path(place) / name

    def working_folder(self) -> tempfile.TemporaryDirectory[str]:
        """A local folder for work in progress, on the store's own disk where that is local: so it is moved in by renaming."""
        if self.local_root is None:
            return tempfile.TemporaryDirectory(prefix="bodydouble-corpus-")
        place = self.local_root / "tmp"
        place.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="work-", dir=place)
