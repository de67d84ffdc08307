"""Planning: from folders, files, lists, pages and releases to sources in the catalogue. A few thousand at a time.

Planning twice changes nothing. A file that was planned before, under another name or in another folder, is the same
source; what is said about it now replaces what was said before.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bodydouble.core.errors import ConfigError, InputError
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import file_sha256
from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.manifest import read_manifest
from bodydouble.corpus.stages import CorpusConfig
from bodydouble.corpus.store import Store
from bodydouble.corpus.tombstones import Tombstones
from bodydouble.corpus.values import CONSENTS, Consent, Place, Source, source_id
from bodydouble.corpus.wildavatar_release import is_release, release_sources

VIDEO_SUFFIXES = (
    ".mp4",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".3gp",
    ".ogv",
    ".wmv",
    ".flv",
)
_LISTS = (".csv", ".parquet")
_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What is said about all sources that do not say it themselves."""

    licence: str = ""
    provenance: str = ""
    consent: Consent = "unknown"
    takedown_key: str = ""
    videos: Path | None = None
    """Folder with the videos of a release that has none."""


@dataclass(frozen=True, kw_only=True)
class PlanSummary:
    """What a plan changed."""

    added: int
    known: int
    """Planned before, with the same facts."""
    changed: int
    """Planned before, with other facts."""
    copies: int
    """Files with the same content as another one of this plan."""
    forgotten: int
    """Refused, because the person asked to be forgotten."""
    unlicensed: int
    """Of all in this plan: those that will not be worked on without --any-licence."""
    notes: tuple[str, ...] = ()


@dataclass
class _Tally:
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def plan(
    sources: Iterable[str],
    root: str | Path,
    options: PlanOptions,
    emit: Callable[[Event], None],
    config: CorpusConfig | None = None,
) -> PlanSummary:
    """Add sources to a corpus; it is made if it is not there.

    Args:
        sources: Folders, video files, lists (.csv, .parquet), URLs, or the folder of a WildAvatar release.
        root: Of the corpus.
        options: What is said about all of them.
        emit: Told about progress.
        config: Settings of a new corpus.
    Raises:
        InputError: When a source cannot be used, with the line of the list.
        ConfigError: When options make no sense.
    """
    if options.consent not in CONSENTS:
        raise ConfigError(f"--consent is {options.consent!r}; expected one of: {', '.join(CONSENTS)}.")
    sources = list(sources)
    if not sources:
        raise ConfigError("Nothing to plan: name folders, video files, lists (.csv, .parquet) or URLs.")
    tally = _Tally()
    for name in sources:
        _check(name)
    if Store(root).exists("corpus.json"):
        catalogue = Catalogue.open(root)
    else:
        catalogue = Catalogue.create(root, (config or CorpusConfig()).to_json())
    settings, tombstones = CorpusConfig.from_json(catalogue.config), Tombstones.load(catalogue.store)
    stream = itertools.chain.from_iterable(_expanded(name, options, tally) for name in sources)
    done = 0
    while batch := list(itertools.islice(stream, _BATCH)):
        _add(catalogue, [_complete(source) for source in batch], tombstones, settings, tally)
        done += len(batch)
        emit(Progress(stage="plan", done=done, total=done, unit="sources"))
    catalogue.compact()
    c = tally.counts
    return PlanSummary(
        added=c["added"],
        known=c["known"],
        changed=c["changed"],
        copies=c["copies"],
        forgotten=c["forgotten"],
        unlicensed=c["unlicensed"],
        notes=tuple(dict.fromkeys(tally.notes)),
    )


def _check(name: str) -> None:
    """A wrong name is told before anything is made."""
    if "://" in name:
        return
    path = Path(name)
    if not path.exists():
        raise InputError(f"{name} does not exist; expected a folder, a video, a list (.csv, .parquet) or a URL.")


def _expanded(name: str, options: PlanOptions, tally: _Tally) -> Iterator[Source]:
    """Sources behind one name, with the options' facts where they have none of their own. Ids come later."""
    if "://" in name:
        yield _with_options(Source(id="", uri=name), options)
        return
    path = Path(name)
    if path.is_dir() and is_release(path):
        for source in release_sources(path, options.videos, tally.notes):
            yield _with_options(source, options)
    elif path.is_dir():
        videos = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()]
        if not videos:
            raise InputError(
                f"{path} holds no video ({', '.join(VIDEO_SUFFIXES[:5])}, ...), nor is it a release of WildAvatar."
            )
        for video in videos:
            yield _with_options(Source(id="", uri=str(video.resolve())), options)
    elif path.suffix.lower() in _LISTS:
        for source in read_manifest(path, tally.notes):
            yield _with_options(source, options)
    else:
        yield _with_options(Source(id="", uri=str(path.resolve())), options)


def _with_options(source: Source, options: PlanOptions) -> Source:
    return dataclasses.replace(
        source,
        licence=source.licence or options.licence,
        provenance=source.provenance or options.provenance,
        consent=options.consent if source.consent == "unknown" else source.consent,
        takedown_key=source.takedown_key or options.takedown_key,
    )


def _complete(source: Source) -> Source:
    """With hash, size and id."""
    if "://" not in source.uri:
        path = Path(source.uri)
        if not path.is_file():
            raise InputError(f"{source.uri} does not exist; expected a video file.")
        found = file_sha256(path) if not source.sha256 else source.sha256.lower()
        source = dataclasses.replace(source, sha256=found, bytes=path.stat().st_size)
    id = source_id(sha256=source.sha256, uri=source.uri)
    return dataclasses.replace(source, id=id, takedown_key=source.takedown_key or id)


def _add(
    catalogue: Catalogue, batch: Sequence[Source], tombstones: Tombstones, config: CorpusConfig, tally: _Tally
) -> None:
    """One segment of sources: those that are new or differ from what is known."""
    marks = ", ".join("?" * len(batch))
    before = {s.id: s for s in catalogue.sources(f"id in ({marks})", [s.id for s in batch])}
    fresh: dict[str, Source] = {}
    places = []
    for source in batch:
        if tombstones.names(source):
            tally.counts["forgotten"] += 1
            continue
        tally.counts["unlicensed"] += source.licence not in config.licences
        places.append(Place(source_id=source.id, uri=source.uri))
        known = before.get(source.id)
        if source.id in fresh:
            tally.counts["copies"] += 1
        elif known is None:
            fresh[source.id] = source
            tally.counts["added"] += 1
        elif _merged(known, source) == known:
            tally.counts["known" if source.uri == known.uri else "copies"] += 1
        else:
            fresh[source.id] = _merged(known, source)
            tally.counts["changed"] += 1
    catalogue.add_sources(list(fresh.values()))
    catalogue.add_places(places)


def _merged(known: Source, said: Source) -> Source:
    """What is said now, and of what is not said now what was known. A place stays as long as the file is there."""
    changes = {}
    for f in dataclasses.fields(Source):
        value = getattr(said, f.name)
        if value in (None, "", 0, "unknown") or (f.name == "takedown_key" and value == said.id):
            changes[f.name] = getattr(known, f.name)
    if "://" not in known.uri and Path(known.uri).is_file():
        changes["uri"] = known.uri
    return dataclasses.replace(said, **changes)
