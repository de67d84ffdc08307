"""Options of `bodydouble corpus`, first half: from plans to captures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodydouble.cli.options import Common

_Root = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ROOT")]


@dataclass(frozen=True, kw_only=True)
class Plan(Common):
    """Add videos to a corpus; it is made if it is not there. Nothing is worked on yet."""

    sources: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SOURCE")]
    """Folders, videos, lists (.csv or .parquet: uri, licence, provenance, consent, takedown_key, sha256, fps, width, height,
    start_s, end_s), pages for yt-dlp, or the folder of WildAvatar's release."""
    out: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="ROOT")]
    """The corpus: a folder, or a URL that fsspec knows (s3://bucket/corpus)."""
    licence: str = ""
    """Licence of all that do not say their own, such as CC-BY-4.0, or `own`."""
    provenance: str = ""
    """Where they come from, for people."""
    consent: Literal["given", "unknown", "refused", "synthetic"] = "unknown"
    """Of the people in them; what is refused is never worked on."""
    takedown_key: Annotated[str, tyro.conf.arg(metavar="KEY")] = ""
    """By this name they are forgotten together (`corpus forget`). By default each by its own id."""
    videos: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the videos of a release are that has none."""


@dataclass(frozen=True, kw_only=True)
class Run(Common):
    """Work on everything that is left to do. May be interrupted at any moment: the same command goes on."""

    root: _Root
    workers: int = 2
    """Processes on this machine; 0 for this one alone, without Ray."""
    address: Annotated[str, tyro.conf.arg(metavar="HOST:PORT")] = ""
    """Of a running Ray cluster to work on, instead of a Ray of our own."""
    any_licence: bool = False
    """Work on sources without a licence from the list in corpus.json, too. You answer for that."""
    until: Annotated[str, tyro.conf.arg(metavar="STAGE")] = ""
    """Stop after this stage: probe, shots, tracks, alike, perceive, coarse, consistency, refine, ready."""
    tries: int = 3
    """What breaks a stage so often is quarantined."""
    again: bool = False
    """Also try again what was rejected, failed or quarantined."""


@dataclass(frozen=True, kw_only=True)
class Status(Common):
    """Say where a corpus stands: per stage what is done, refused and waiting, rate and time left."""

    root: _Root
    watch: bool = False
    """Show it anew every few seconds until everything is done."""


@dataclass(frozen=True, kw_only=True)
class Verify(Common):
    """Hold files against the catalogue: hashes, schemas, and the silhouettes of a sample."""

    root: _Root
    sample: int = 10
    """Captures whose body is laid over their masks again; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class Query(Common):
    """Ask the catalogue in SQL: views sources, places, items, scores, records."""

    root: _Root
    sql: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SQL")]
    """Such as "select state, count(*) from items group by state"."""
    limit: int = 100
    """Rows to print."""


@dataclass(frozen=True, kw_only=True)
class Forget(Common):
    """Remove a person everywhere, leave a tombstone that keeps them out, and prove it by searching all files."""

    root: _Root
    key: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="KEY")]
    """Takedown key, or the id of a source or item."""
    also: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR")] = ()
    """Other folders that hold something of this corpus: copies, published sets."""
