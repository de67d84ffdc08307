"""A corpus becomes a data set: shards, tables, metadata, datasheet.

    DIR/shards/frames-000000.tar ...   WebDataset samples of the kept items (`corpus.shards`)
    DIR/items.parquet                  every candidate: scores, verdict with reasons, source, licence, consent, takedown key
    DIR/frames.parquet                 every published frame and its shard
    DIR/croissant.json                 metadata for programs; DIR/DATASHEET.md for people, with DIR/plots/*.svg
    DIR/filters.json                   the thresholds that decided

The same corpus and filters give the same bytes. Of items whose person refused consent nothing is published, whatever the
filters say; forgotten items are not in the catalogue any more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bodydouble.capture.folder import Capture
from bodydouble.core.errors import ConfigError, InputError, OutputError
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import atomic_path, file_sha256, write_bytes, write_json, write_text
from bodydouble.corpus.collection import Collection, Entry, read_collection
from bodydouble.corpus.croissant import croissant
from bodydouble.corpus.datasheet import Published, write_datasheet
from bodydouble.corpus.evidence import view_directions
from bodydouble.corpus.filters import Filters, Verdict
from bodydouble.corpus.forget import PUBLISHED
from bodydouble.corpus.funnel import Funnel
from bodydouble.corpus.measure import SCORES
from bodydouble.corpus.shards import Sample, Shard, item_samples, write_shards
from bodydouble.corpus.tables import plain_parquet

if TYPE_CHECKING:
    from bodydouble.corpus.wildavatar_layout import WildAvatarExport

VERSION = "1.0.0"
_ITEM_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("id", "VARCHAR", "id of the item: one person during one span of one source"),
    ("kept", "BOOLEAN", "whether every filter kept it and its capture is published"),
    ("step", "VARCHAR", "the filter that rejected it; empty if none did"),
    ("reasons", "VARCHAR[]", "why"),
    ("source_id", "VARCHAR", "id of the source"),
    ("uri", "VARCHAR", "where the source was read from"),
    ("sha256", "VARCHAR", "of the source file"),
    ("fps_hz", "DOUBLE", "frame rate of the source"),
    ("width_px", "BIGINT", "width of the source, pixels"),
    ("height_px", "BIGINT", "height of the source, pixels"),
    ("first_frame", "BIGINT", "first frame of the span"),
    ("stop_frame", "BIGINT", "one past its last frame"),
    ("start_s", "DOUBLE", "time of the first frame, seconds"),
    ("end_s", "DOUBLE", "time of the last frame, seconds"),
    ("track", "BIGINT", "number of the person's track in the span"),
    ("person", "BIGINT", "number of the person in the source"),
    ("licence", "VARCHAR", "of the source"),
    ("provenance", "VARCHAR", "where the source comes from"),
    ("consent", "VARCHAR", "given, unknown, refused or synthetic"),
    ("takedown_key", "VARCHAR", "names the person for removal"),
)
_FRAME_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("key", "VARCHAR", "key of the sample in its shard"),
    ("item", "VARCHAR", "id of the item"),
    ("frame", "BIGINT", "index in the source video"),
    ("time_s", "DOUBLE", "time in the source, seconds"),
    ("box_px", "DOUBLE[]", "x0, y0, x1, y1 of the person in the source's picture"),
    ("crop_px", "DOUBLE[]", "x, y, width, height of the crop in the source's picture"),
    ("width_px", "BIGINT", "width of the sample"),
    ("height_px", "BIGINT", "height of the sample"),
    ("focal_px", "DOUBLE[]", "focal lengths of the sample's camera"),
    ("center_px", "DOUBLE[]", "principal point of the sample's camera; pixel centres at +0.5"),
    ("translation_world_m", "DOUBLE[]", "place of the body before the camera, metres"),
    ("quality", "DOUBLE", "quality of the fit in the frame, 0 to 1"),
    ("shard", "VARCHAR", "tar file that holds the sample"),
)


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """What is published, and how."""

    name: str = "corpus"
    pictures: bool = True
    """False for a links-only set: masks, poses and links, no pixels."""
    crop_px: int = 512
    shard_mb: int = 64

    def __post_init__(self) -> None:
        if not 32 <= self.crop_px <= 8192 or not 1 <= self.shard_mb <= 4096:
            raise ConfigError(
                f"Crops have 32 to 8192 pixels and shards 1 to 4096 MB, got {self.crop_px} and {self.shard_mb}."
            )


@dataclass(frozen=True, kw_only=True)
class PublishResult:
    """What was published."""

    folder: Path
    candidates: int
    kept: int
    frames: int
    shards: tuple[Shard, ...]
    withheld: int
    """Kept by the filters, but their consent was refused."""


def publish(
    root: str | Path, out: Path, filters: Filters, config: PublishConfig, emit: Callable[[Event], None] = lambda e: None
) -> PublishResult:
    """Write the data set; the folder appears only when it is whole.

    Args:
        root: Of the corpus; on a local disk.
        out: A new folder.
        filters: What decides which items are kept.
        config: What is published.
        emit: Told about progress, in items.
    Raises:
        InputError: When there is no corpus, or nothing to publish.
        OutputError: When `out` is there already.
    """
    if out.exists():
        raise OutputError(f"{out} exists. A data set is never overwritten: choose a new folder with -o.")
    collection = read_collection(root)
    found = collection.judged(filters)
    chosen, withheld = publishable(collection, found)
    if not chosen:
        raise InputError(
            f"Nothing is left to publish of the {len(collection.entries)} items in {root}. `bodydouble corpus tune {root}` shows "
            "where they went; run the corpus to its end first, or loosen the filters."
        )
    with atomic_path(out) as folder:
        (folder / "shards").mkdir(parents=True)
        directions: dict[str, list[tuple[float, float]]] = {}
        samples = _samples(collection, chosen, config, directions, emit)
        shards, frames = write_shards(samples, folder / "shards", "frames", config.shard_mb * 1_000_000)
        tables = {
            "items.parquet": (
                _item_columns(),
                [_item_row(collection, found, id, chosen) for id in sorted(collection.entries)],
            ),
            "frames.parquet": (_FRAME_COLUMNS, frames),
        }
        digests = {name: _table(folder / name, columns, rows) for name, (columns, rows) in tables.items()}
        write_json(folder / "filters.json", filters.to_json())
        licences = sorted({entry.source.licence or "unknown" for entry in chosen})
        summary = Published(
            name=config.name,
            collection=collection,
            found=found,
            kept=tuple(chosen),
            frames=len(frames),
            shards=tuple(shards),
            withheld=withheld,
            pictures=config.pictures,
            directions=directions,
        )
        write_text(folder / "DATASHEET.md", write_datasheet(summary, folder / "plots"))
        described = {name: (digests[name], columns) for name, (columns, _) in tables.items()}
        metadata = croissant(
            name=config.name,
            description=f"{len(chosen)} captures of people, {len(frames)} frames: masks, camera, body pose and shape"
            + ("." if config.pictures else "; links only, no pictures."),
            licences=licences,
            tables=described,
            shards=shards,
            version=VERSION,
        )
        write_json(folder / "croissant.json", metadata)
    remember_folder(collection, out)
    moved = tuple(dataclasses.replace(s, path=out / "shards" / s.path.name) for s in shards)
    return PublishResult(
        folder=out,
        candidates=len(collection.entries),
        kept=len(chosen),
        frames=len(frames),
        shards=moved,
        withheld=withheld,
    )


def publish_wildavatar(root: str | Path, out: Path, filters: Filters, *, pictures: bool) -> WildAvatarExport:
    """Write the kept items in WildAvatar's layout (`corpus.wildavatar_layout`).

    Args:
        root: Of the corpus; on a local disk.
        out: A new folder.
        filters: What decides which items are kept.
        pictures: Whether frames are written, too.
    Raises:
        InputError: When there is nothing to publish.
        OutputError: When `out` is there already.
    """
    from bodydouble.corpus.wildavatar_layout import Subject, export_wildavatar
    from bodydouble.pipeline.bodies import load_body

    if out.exists():
        raise OutputError(f"{out} exists. A data set is never overwritten: choose a new folder with -o.")
    collection = read_collection(root)
    chosen, _ = publishable(collection, collection.judged(filters))
    subjects = [
        Subject(
            id=entry.item.id,
            person=f"{entry.source.takedown_key or entry.source.id}/{entry.item.person}",
            capture=Capture.open(collection.capture_folder(entry.item.id)),
        )
        for entry in chosen
    ]
    found = export_wildavatar(subjects, load_body("anny"), out, pictures=pictures)
    remember_folder(collection, out)
    return found


def remember_folder(collection: Collection, out: Path) -> None:
    """Note a folder that holds something of the corpus in corpus.json, so that people are forgotten there as well."""
    catalogue = collection.catalogue
    known = list(catalogue.section(PUBLISHED) or ())
    catalogue.describe(PUBLISHED, [*known, *([] if str(out.absolute()) in known else [str(out.absolute())])])


def publishable(collection: Collection, found: Funnel) -> tuple[list[Entry], int]:
    """Kept items that may leave, and how many may not because their consent was refused."""
    kept = collection.kept(found)
    allowed = [entry for entry in kept if entry.source.consent != "refused"]
    return allowed, len(kept) - len(allowed)


def _samples(
    collection: Collection,
    chosen: list[Entry],
    config: PublishConfig,
    directions: dict[str, list[tuple[float, float]]],
    emit: Callable[[Event], None],
) -> Iterator[Sample]:
    """Samples of all items in order; on the way, from where each item is seen (azimuth and elevation, radians)."""
    from bodydouble.pipeline.bodies import load_body

    body = load_body("anny")
    for done, entry in enumerate(chosen):
        id = entry.item.id
        capture = Capture.open(collection.capture_folder(id))
        track = capture.track()
        if track.body == body.name:
            seen = view_directions(track, body).tolist()
            directions[id] = [(math.atan2(x, z), math.asin(max(-1.0, min(1.0, y)))) for x, y, z in seen]
        facts: dict[str, Any] = {
            "uri": entry.source.uri,
            "sha256": entry.source.sha256,
            "licence": entry.source.licence,
            "takedown_key": entry.source.takedown_key or entry.source.id,
        }
        yield from item_samples(id, capture, track, pictures=config.pictures, crop_px=config.crop_px, facts=facts)
        emit(Progress(stage="publish", done=done + 1, total=len(chosen), unit="items"))


def _item_columns() -> tuple[tuple[str, str, str], ...]:
    return (*_ITEM_COLUMNS, *((name, "DOUBLE", meaning) for name, meaning in SCORES.items()))


def _item_row(collection: Collection, found: Funnel, id: str, chosen: list[Entry]) -> dict[str, Any]:
    entry, verdict = collection.entries[id], found.verdicts.get(id, Verdict(step="not finished"))
    item, source = entry.item, entry.source
    facts: dict[str, Any] = {name: getattr(item, name) for name in ("id", "source_id", "first_frame", "stop_frame")}
    facts |= {name: getattr(item, name) for name in ("start_s", "end_s", "track", "person", "width_px", "height_px")}
    facts |= {name: getattr(source, name) for name in ("uri", "sha256", "fps_hz", "licence", "provenance", "consent")}
    published = any(entry is other for other in chosen)
    return {
        **facts,
        "takedown_key": source.takedown_key or source.id,
        "kept": published,
        "step": verdict.step or ("" if published else "not finished or withheld"),
        "reasons": list(verdict.reasons or item.reasons),
        **{name: entry.final.get(name) for name in SCORES},
    }


def _table(path: Path, columns: tuple[tuple[str, str, str], ...], rows: list[dict[str, Any]]) -> str:
    write_bytes(path, plain_parquet([(name, kind) for name, kind, _ in columns], rows))
    return file_sha256(path)
