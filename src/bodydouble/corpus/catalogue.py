"""The catalogue: what is in a corpus and what became of it. The one file that knows DuckDB.

    ROOT/corpus.json                      schema version, settings
    ROOT/ledger/TABLE/SEGMENT.parquet     sources, places, items, scores, records (`corpus.values`): immutable segments
    ROOT/sources/ab/ID/                   what was found out about a source: stages/NAME.json
    ROOT/items/ab/ID/                     capture/ as `bodydouble capture` leaves it; stages/NAME.json
    ROOT/quarantine/ID.json               why a unit is left alone, with the traceback
    ROOT/tombstones/                      digests of what was forgotten

A segment is never changed: rows are added in a new one, and of rows with the same key the latest counts. So a process
that is killed leaves whole segments only, and writing the same rows again changes nothing. Whatever reads Parquet can
read the ledger; DuckDB sees it as five views, `sources`, `places`, `items`, `scores` and `records`.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bodydouble.core.errors import InputError, MissingDependencyError, OutputError
from bodydouble.core.files import atomic_path, file_sha256, remove_tree
from bodydouble.corpus.store import Store
from bodydouble.corpus.tables import (
    ITEMS,
    PLACES,
    RECORDS,
    SCORES,
    SOURCES,
    TABLES,
    WRITTEN,
    Table,
    from_rows,
    segment_name,
    to_parquet,
)
from bodydouble.corpus.values import Item, Place, Record, Score, Source

SCHEMA_VERSION = 1
INDEX = "corpus.json"
_BATCH = 1024
_MEMORY = "384MB"
"""Of DuckDB: what does not fit is spilled to a temporary folder."""
_SMALL_SEGMENT_BYTES = 32_000_000
_MANY_SEGMENTS = 48
_V = TypeVar("_V", Source, Item, Score, Record)


class Catalogue:
    """An opened corpus. Make one with `create` or `open`."""

    def __init__(self, store: Store, document: dict[str, Any]) -> None:
        self.store = store
        self._document = document

    # --- making and opening ---

    @classmethod
    def create(cls, root: str | Path, config: Mapping[str, Any] | None = None) -> Catalogue:
        """Start a corpus where none is.

        Raises:
            OutputError: When there is one already, or the folder holds something else.
        """
        store = Store(root)
        if store.exists(INDEX):
            raise OutputError(f"{root} already holds a corpus. Open it, or choose another folder.")
        if store.list(""):
            raise OutputError(
                f"{root} is not empty and holds no corpus ({INDEX} is missing): nothing there is touched."
            )
        catalogue = cls(store, {"schema_version": SCHEMA_VERSION, "config": dict(config or {})})
        catalogue.save()
        return catalogue

    @classmethod
    def open(cls, root: str | Path) -> Catalogue:
        """Open a corpus.

        Raises:
            InputError: When there is none, or another version wrote it.
        """
        store = Store(root)
        if not store.exists(INDEX):
            raise InputError(
                f"{root} holds no corpus ({INDEX} is missing). Plan one: bodydouble corpus plan VIDEOS -o {root}"
            )
        document = store.read_json(INDEX)
        if not isinstance(document.get("config"), dict):
            raise InputError(f"{store.url(INDEX)} has no settings (`config`). It is damaged, or not of a corpus.")
        if document.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{root} holds a corpus of schema version {document.get('schema_version')!r}; this program reads "
                f"{SCHEMA_VERSION}. Use the program that wrote it."
            )
        return cls(store, document)

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the corpus, JSON values."""
        return self._document["config"]

    def section(self, name: str) -> Any:
        """What `describe` stored in corpus.json, or None."""
        return self._document.get(name)

    def describe(self, name: str, value: object) -> None:
        """Store a section of corpus.json."""
        if self._document.get(name) != value:
            self._document[name] = value
            self.save()

    def save(self) -> None:
        """Write corpus.json."""
        self.store.write_json(INDEX, self._document)

    # --- adding ---

    def add_sources(self, rows: Sequence[Source]) -> None:
        """Add or replace sources."""
        self._add(SOURCES, rows)

    def add_places(self, rows: Sequence[Place]) -> None:
        """Add places of sources."""
        self._add(PLACES, rows)

    def add_items(self, rows: Sequence[Item]) -> None:
        """Add or replace items; their state is not stored, it follows from the records."""
        self._add(ITEMS, rows)

    def add_scores(self, rows: Sequence[Score]) -> None:
        """Add or replace scores."""
        self._add(SCORES, rows)

    def add_records(self, rows: Sequence[Record]) -> None:
        """Add or replace records."""
        self._add(RECORDS, rows)

    def _add(self, table: Table, rows: Sequence[object]) -> None:
        # Rows of one segment are of one time: of equal keys the last one is meant.
        last = {tuple(getattr(row, name) for name in table.key): row for row in rows}
        if last:
            data = to_parquet(table, list(last.values()), time.time_ns())
            self.store.write_bytes(segment_name(table, hashlib.sha256(data).hexdigest()), data)

    # --- reading ---

    def sources(self, where: str = "true", parameters: Sequence[Any] = ()) -> Iterator[Source]:
        """Sources by id; `where` is an SQL condition on the view."""
        return self._values(Source, SOURCES, where, parameters)

    def items(self, where: str = "true", parameters: Sequence[Any] = ()) -> Iterator[Item]:
        """Items by id, with state and reasons."""
        return self._values(Item, ITEMS, where, parameters)

    def scores(self, where: str = "true", parameters: Sequence[Any] = ()) -> Iterator[Score]:
        """Scores by item, stage and name."""
        return self._values(Score, SCORES, where, parameters)

    def records(self, where: str = "true", parameters: Sequence[Any] = ()) -> Iterator[Record]:
        """Records by unit and stage."""
        return self._values(Record, RECORDS, where, parameters)

    def item(self, id: str) -> Item:
        """One item.

        Raises:
            InputError: When there is none of this id.
        """
        found = next(self.items("id = ?", [id]), None)
        if found is None:
            raise InputError(f"{self.store.root} holds no item {id}. `bodydouble corpus query` lists what it holds.")
        return found

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and all rows of an SQL query over the views.

        Raises:
            InputError: When the query is wrong.
        """
        with self.connected() as connection:
            cursor = _executed(connection, sql, parameters)
            return [column[0] for column in cursor.description or []], cursor.fetchall()

    def _values(self, kind: type[_V], table: Table, where: str, parameters: Sequence[Any]) -> Iterator[_V]:
        order = ", ".join(table.key)
        with self.connected() as connection:
            cursor = _executed(connection, f"select * from {table.name} where {where} order by {order}", parameters)
            names = [column[0] for column in cursor.description or []]
            while batch := cursor.fetchmany(_BATCH):
                yield from from_rows(kind, names, batch)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        """A DuckDB connection that sees the views as they are now. Nothing that is done in it changes the corpus."""
        duckdb = _duckdb()
        with tempfile.TemporaryDirectory(prefix="bodydouble-duckdb-") as spill:
            connection = duckdb.connect(
                config={
                    "memory_limit": _MEMORY,
                    "threads": 1,
                    "temp_directory": spill,
                    "preserve_insertion_order": False,
                }
            )
            try:
                if self.store.fs is not None:
                    connection.register_filesystem(self.store.fs)
                for table in TABLES:
                    connection.execute(self._rows_view(table, self._segments(table)))
                connection.execute(_VIEWS)
                yield connection
            except duckdb.Error as error:
                raise InputError(
                    f"The ledger of {self.store.root} cannot be read ({error}). A file of it may be damaged: `bodydouble corpus verify` "
                    "names it."
                ) from error
            finally:
                connection.close()

    def _segments(self, table: Table) -> list[str]:
        return self.store.list(f"ledger/{table.name}", ".parquet")

    def _rows_view(self, table: Table, segments: Sequence[str]) -> str:
        """All rows of some segments; of those with the same key only the latest."""
        columns = [name for name, _ in table.columns]
        if not segments:
            nothing = ", ".join(f"null::{kind} as {name}" for name, kind in table.columns)
            return f"create view {table.name}_rows as select {nothing}, 0::bigint as {WRITTEN} where false"
        names = ", ".join([*columns, WRITTEN])
        rows = f"read_parquet([{', '.join(_quoted(self.store.url(name)) for name in segments)}])"
        if len(segments) > 1:
            # Keys and times alone are grouped: that, unlike whole rows, is spilled where memory does not hold it.
            keys = ", ".join(table.key)
            latest = f"(select {keys}, max({WRITTEN}) as {WRITTEN} from {rows} group by {keys})"
            rows = f"{rows} semi join {latest} using ({keys}, {WRITTEN})"
        return f"create view {table.name}_rows as select {names} from {rows}"

    # --- looking after ---

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One run, or one forgetting, at a time where the corpus is on this machine; leftovers of a killed one go first.

        Raises:
            OutputError: When another is at work.
        """
        root = self.store.local_root
        if root is None:
            yield
            return
        from bodydouble.pipeline.lock import folder_lock

        with folder_lock(root):
            remove_tree(root / "tmp")
            yield

    def compact(self, *, always: bool = False) -> None:
        """Merge small segments once there are many, and drop rows that later ones replace. Safe to be killed in."""
        for table in TABLES:
            small = [n for n in self._segments(table) if self.store.size_bytes(n) < _SMALL_SEGMENT_BYTES]
            if len(small) < 2 or (len(small) < _MANY_SEGMENTS and not always):
                continue
            with self.store.working_folder() as place, self.connected() as connection:
                path = Path(place) / "segment.parquet"
                connection.execute(self._rows_view(table, small).replace(f"view {table.name}_rows", "view merged"))
                order = ", ".join(table.key)
                names = ", ".join([*(name for name, _ in table.columns), WRITTEN])
                connection.execute(
                    f"copy (select {names} from merged order by {order}) to {_quoted(str(path))} (format parquet, compression zstd)"
                )
                name = segment_name(table, file_sha256(path))
                self.store.take_file(path, name)
            for old in small:
                if old != name:
                    self.store.remove(old)

    def digest(self) -> str:
        """Digest of everything in the catalogue but times, attempts and places: equal for equal corpora."""
        digest = hashlib.sha256()
        with self.connected() as connection:
            for table in TABLES:
                names = [name for name, _ in table.columns if name not in table.timing]
                if not names:
                    continue
                order = ", ".join(table.key)
                cursor = connection.execute(f"select {', '.join(names)} from {table.name} order by {order}")
                digest.update(f"{table.name}({', '.join(names)})\n".encode())
                while batch := cursor.fetchmany(_BATCH):
                    for row in batch:
                        digest.update(repr(row).encode())
        return digest.hexdigest()

    def export(self, path: Path, view: str) -> None:
        """Write a view as one Parquet file, for others to read."""
        with self.connected() as connection, atomic_path(path) as partial:
            order = next((", ".join(t.key) for t in TABLES if t.name == view), "all")
            connection.execute(
                f"copy (select * from {view} order by {order}) to {_quoted(str(partial))} (format parquet)"
            )


def item_folder(id: str) -> str:
    """Where an item is in the store."""
    return f"items/{id[:2]}/{id}"


def source_folder(id: str) -> str:
    """Where what was found out about a source is in the store."""
    return f"sources/{id[:2]}/{id}"


# Reasons are gathered of the few units that have one: groups that hold lists cannot be spilled.
# An item that an earlier cutting of its source into tracks gave, and today's did not, is none any more.
_VIEWS = """
    create view current_items_rows as select i.* from items_rows i anti join (
        select r.unit_id from records_rows r join records_rows s on s.unit_id = r.source_id
        where r.stage = 'tracks' and s.stage = 'tracks' and r.unit_id <> r.source_id and r.key <> s.key) t on t.unit_id = i.id;
    create view told_reasons as select unit_id, list(stage || ': ' || reason order by stage) as reasons
      from records_rows where reason <> '' group by unit_id;
    create view sources as select s.*, coalesce(r.state, 'pending') as state, coalesce(t.reasons, []) as reasons
      from sources_rows s left join (
        select source_id,
          case when bool_or(state = 'quarantined') then 'quarantined' when bool_or(state = 'failed') then 'failed'
               when bool_or(state = 'rejected') then 'rejected' when bool_or(stage = 'tracks' and state = 'done') then 'done'
               else 'pending' end as state
        from records_rows where unit_id = source_id group by source_id) r on r.source_id = s.id
      left join told_reasons t on t.unit_id = s.id;
    create view items as select i.*, coalesce(r.state, 'pending') as state, coalesce(t.reasons, []) as reasons
      from current_items_rows i left join (
        select unit_id,
          case when bool_or(state = 'quarantined') then 'quarantined' when bool_or(state = 'failed') then 'failed'
               when bool_or(state = 'rejected') then 'rejected' when bool_or(stage = 'ready' and state = 'done') then 'done'
               else 'pending' end as state
        from records_rows group by unit_id) r on r.unit_id = i.id
      left join told_reasons t on t.unit_id = i.id;
    create view places as select source_id, uri from places_rows;
    create view scores as select * from scores_rows;
    create view records as select * from records_rows;
    """


def _executed(connection: Any, sql: str, parameters: Sequence[Any]) -> Any:
    duckdb = _duckdb()
    try:
        return connection.execute(sql, list(parameters))
    except duckdb.Error as error:
        raise InputError(
            f"The query cannot be answered: {error}. The views are sources, places, items, scores and records."
        ) from error


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependencyError(
            "A corpus needs DuckDB and pyarrow. Install them with `pip install 'bodydouble[corpus]'`."
        ) from error
    return duckdb
