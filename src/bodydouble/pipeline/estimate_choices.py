"""Which result of a tracker a fit starts from; a module of its own, so that naming it loads nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bodydouble.core.errors import InputError
from bodydouble.core.files import file_sha256


@dataclass(frozen=True, kw_only=True)
class EstimateChoices:
    """Which result of a tracker a fit starts from."""

    path: Path
    kind: str = "auto"
    person: int | None = None
    """Number of the person (or detection) in the file; None to find our subject."""

    @property
    def digest(self) -> str:
        """Of what is read: a file's content; in a folder names, sizes and times.

        Raises:
            InputError: When there is nothing.
        """
        if not self.path.exists():
            raise InputError(f"{self.path} is not there; expected the results of a tracker. Check --estimate.")
        if self.path.is_file():
            return file_sha256(self.path)
        digest = hashlib.sha256()
        for file in sorted(p for p in self.path.rglob("*") if p.is_file()):
            stat = file.stat()
            digest.update(f"{file.relative_to(self.path).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        return digest.hexdigest()
