"""Does what is on the disk agree with what the catalogue says?

Segments are read with their schemas. Every record of a stage that left files is hashed again. Of a sample of finished
items, the body is laid over the masks anew, and the share of its silhouette outside them must be the stored one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bodydouble.core.errors import BodydoubleError, InputError
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import file_sha256
from bodydouble.corpus.catalogue import Catalogue, item_folder
from bodydouble.corpus.stage_work import CAPTURE, COARSE
from bodydouble.corpus.stages import CorpusConfig
from bodydouble.corpus.store import Store
from bodydouble.corpus.tables import TABLES, read_segment
from bodydouble.corpus.units import folder_sha256
from bodydouble.corpus.values import Item, Record

SCORE = "soiou"
TOLERANCE = 0.01
"""Of that share: another processor rounds otherwise."""
_FILES = {"coarse": COARSE, "refine": f"{CAPTURE}/body.safetensors", "ready": CAPTURE}
"""What a stage's hash is of. `perceive` hashes a capture that `refine` adds to, so it is checked by `ready`."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was checked, and what is wrong."""

    segments: int
    records: int
    files: int
    """Files and folders that were hashed."""
    projected: int
    faults: tuple[str, ...]


def verify_corpus(root: str | Path, emit: Callable[[Event], None], *, sample: int = 10) -> Verified:
    """Check everything.

    Args:
        root: A corpus.
        emit: Told about progress.
        sample: Items whose silhouettes are projected again, evenly over their ids.
    Raises:
        InputError: When there is no corpus. Everything else that is wrong is in the result.
    """
    catalogue = Catalogue.open(root)
    faults: list[str] = []
    segments = _check_segments(catalogue.store, faults)
    if faults:  # the views cannot be trusted
        return Verified(segments=segments, records=0, files=0, projected=0, faults=tuple(faults))
    faults += _orphans(catalogue)
    total = int(catalogue.rows("select count(*) from records")[1][0][0])
    records = files = 0
    for record in catalogue.records():
        records += 1
        if record.state == "done" and record.stage in _FILES and record.outputs_sha256:
            files += 1
            faults += _check_files(catalogue.store, record)
        emit(Progress(stage="verify", done=records, total=total, unit="records"))
    projected = 0
    for item in _sample(catalogue, sample):
        projected += 1
        faults += _check_projection(catalogue, item)
    return Verified(segments=segments, records=records, files=files, projected=projected, faults=tuple(faults))


def _check_segments(store: Store, faults: list[str]) -> int:
    count = 0
    for table in TABLES:
        for name in store.list(f"ledger/{table.name}", ".parquet"):
            count += 1
            try:
                for _ in read_segment(table, store.read_bytes(name), name):
                    pass
            except (InputError, TypeError) as error:
                faults.append(f"{name}: {error}")
    return count


def _orphans(catalogue: Catalogue) -> list[str]:
    """Rows that name what is not there."""
    missing = (
        ("item {0} is of source {1}, which is not planned", "select id, source_id from items_rows where source_id not in (select id from sources)"),
        ("score {1} is of item {0}, which does not exist", "select item_id, name from scores where item_id not in (select id from items_rows)"),
        (
            "a record of {1} is of {0}, which does not exist",
            "select unit_id, stage from records where unit_id not in (select id from items_rows union all select id from sources)",
        ),
    )  # fmt: skip
    return [text.format(*row) for text, sql in missing for row in catalogue.rows(f"{sql} order by all limit 20")[1]]


def _check_files(store: Store, record: Record) -> list[str]:
    name = f"{item_folder(record.unit_id)}/{_FILES[record.stage]}"
    if not store.exists(name):
        return [f"{name} is missing, but {record.stage} was done"]
    with store.as_folder(name) as path:
        found = folder_sha256(path) if path.is_dir() else file_sha256(path)
    return [] if found == record.outputs_sha256 else [f"{name} has changed since {record.stage}"]


def _sample(catalogue: Catalogue, count: int) -> Iterator[Item]:
    if count <= 0:
        return
    rows = catalogue.rows(
        "select id from (select id, row_number() over (order by id) - 1 as place, count(*) over () as total from items "
        "where state = 'done') where place % greatest(1, total // ?) = 0 order by id limit ?",
        [count, count],
    )[1]
    for (id,) in rows:
        yield catalogue.item(id)


def _check_projection(catalogue: Catalogue, item: Item) -> list[str]:
    from bodydouble.capture.folder import Capture
    from bodydouble.corpus.measure import measure_body
    from bodydouble.pipeline.bodies import load_body

    name = f"{item_folder(item.id)}/{CAPTURE}"
    stored = {s.name: s.value for s in catalogue.scores("item_id = ? and stage = 'refine'", [item.id])}.get(SCORE)
    if stored is None or math.isnan(stored):
        return [f"{name}: no {SCORE} was stored"]
    try:
        body = load_body(CorpusConfig.from_json(catalogue.config).body)
        with catalogue.store.as_folder(name) as folder:
            found = measure_body(Capture.open(folder), body).get(SCORE, math.nan)
    except BodydoubleError as error:
        return [f"{name}: {error}"]
    if not abs(found - stored) <= TOLERANCE:
        return [f"{name}: {found:.3f} of the silhouette is outside the masks, stored is {stored:.3f}"]
    return []
