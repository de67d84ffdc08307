"""The catalogue's tables as Parquet: one schema for each value of `corpus.values`. The one file that knows pyarrow."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bodydouble.corpus.values import Item, Record, Score, Source

WRITTEN = "written_ns"
"""Column of every table: when the row was written. Of rows with the same key the latest counts."""


@dataclass(frozen=True)
class Table:
    """How one kind of value is stored."""

    name: str
    kind: type
    key: tuple[str, ...]
    """Columns that tell one row from another."""
    columns: tuple[tuple[str, str], ...]
    """Name and type (as DuckDB and Arrow both call it) of each column."""
    timing: tuple[str, ...] = ()
    """Columns that differ from run to run, and so are left out of the catalogue's digest."""


_T, _I, _F = "VARCHAR", "BIGINT", "DOUBLE"

SOURCES = Table(
    "sources",
    Source,
    ("id",),
    (
        ("id", _T), ("uri", _T), ("sha256", _T), ("bytes", _I), ("fps_hz", _F), ("width_px", _I), ("height_px", _I),
        ("start_s", _F), ("end_s", _F), ("licence", _T), ("provenance", _T), ("consent", _T), ("takedown_key", _T),
        ("annotations", _T),
    ),
    timing=("uri", "annotations"),  # where a file lies is no property of the corpus
)  # fmt: skip
ITEMS = Table(
    "items",
    Item,
    ("id",),
    (
        ("id", _T), ("source_id", _T), ("first_frame", _I), ("stop_frame", _I), ("start_s", _F), ("end_s", _F),
        ("track", _I), ("person", _I), ("width_px", _I), ("height_px", _I), ("anchors", "DOUBLE[][]"), ("others", _I),
        ("hashes", "UBIGINT[]"), ("embedding", "FLOAT[]"),
    ),
)  # fmt: skip
SCORES = Table(
    "scores",
    Score,
    ("item_id", "stage", "name"),
    (("item_id", _T), ("stage", _T), ("name", _T), ("value", _F)),
)
RECORDS = Table(
    "records",
    Record,
    ("unit_id", "stage"),
    (
        ("unit_id", _T), ("source_id", _T), ("stage", _T), ("key", _T), ("state", _T), ("attempt", _I), ("reason", _T),
        ("seconds", _F), ("outputs_sha256", _T),
    ),
    timing=("attempt", "seconds"),
)  # fmt: skip
TABLES = (SOURCES, ITEMS, SCORES, RECORDS)


def schema(table: Table) -> Any:
    """The Arrow schema of a table."""
    import pyarrow as pa

    types = {
        _T: pa.string(),
        _I: pa.int64(),
        _F: pa.float64(),
        "UBIGINT[]": pa.list_(pa.uint64()),
        "FLOAT[]": pa.list_(pa.float32()),
        "DOUBLE[][]": pa.list_(pa.list_(pa.float64())),
    }
    return pa.schema([*((name, types[kind]) for name, kind in table.columns), (WRITTEN, pa.int64())])


def to_parquet(table: Table, rows: Sequence[object], written_ns: int) -> bytes:
    """Rows as one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [getattr(row, name) for row in rows] for name, _ in table.columns}
    columns[WRITTEN] = [written_ns] * len(rows)
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema(table)), sink, compression="zstd")
    return sink.getvalue()


def segment_name(table: Table, sha256: str) -> str:
    """Place of a segment: by the hash of its content, so that two writers never take each other's."""
    return f"ledger/{table.name}/{sha256[:24]}.parquet"


def from_rows(kind: type, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterable[Any]:
    """Rows of a query as values; columns that the kind does not have are passed over."""
    known = {f.name for f in dataclasses.fields(kind)}
    places = [(i, name) for i, name in enumerate(names) if name in known]
    for row in rows:
        yield kind(**{name: _frozen(row[i]) for i, name in places})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def plain_parquet(columns: Sequence[tuple[str, str]], rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows of a table that is no value of the catalogue, as one Parquet file; the same rows give the same bytes.

    Args:
        columns: Name and type of each: VARCHAR, BIGINT, DOUBLE or BOOLEAN, with `[]` for lists.
        rows: A missing or empty (None) value is null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {_T: pa.string(), _I: pa.int64(), _F: pa.float64(), "BOOLEAN": pa.bool_()}

    def arrow(kind: str) -> Any:
        return pa.list_(types[kind[:-2]]) if kind.endswith("[]") else types[kind]

    table = pa.table(
        {name: [row.get(name) for row in rows] for name, _ in columns},
        schema=pa.schema([(name, arrow(kind)) for name, kind in columns]),
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
