"""The catalogue's tables as Parquet: one schema for each value of `corpus.values`. The one file that knows pyarrow."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodydouble.core.errors import InputError
from bodydouble.corpus.values import Item, Place, Record, Score, Source

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


_ROWS_AT_ONCE = 1024
"""Of anybody's Parquet file."""
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
    # The headers of equal .safetensors files may be in another order, so hashes are for `verify`, not for comparing runs.
    timing=("attempt", "seconds", "outputs_sha256"),
)  # fmt: skip
PLACES = Table(
    "places",
    Place,
    ("source_id", "uri"),
    (("source_id", _T), ("uri", _T)),
    timing=("source_id", "uri"),  # where copies lie is no property of the corpus
)
TABLES = (SOURCES, PLACES, ITEMS, SCORES, RECORDS)


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


def read_segment(table: Table, data: bytes, where: str) -> Iterable[Any]:
    """The values in one segment, replaced ones included.

    Raises:
        InputError: When it is damaged or of another schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{where} is damaged ({error}).") from error
    if not found.schema.remove_metadata().equals(schema(table)):
        raise InputError(f"{where} does not have the columns of {table.name}. Another version may have written it.")
    columns = found.to_pydict()
    return from_rows(table.kind, list(columns), zip(*columns.values(), strict=True))


def read_parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of anybody's Parquet file, a few at a time.

    Raises:
        InputError: When it is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        for rows in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            yield from rows.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file ({error}).") from error


def parquet_text(data: bytes, where: str) -> bytes:
    """All texts in anybody's Parquet file, for searching."""
    table = _any_table(data, where)
    found = [_texts(table.column(i)) for i in range(table.num_columns)]
    metadata = [b"\n".join(pair) for pair in (table.schema.metadata or {}).items()]
    return b"\n".join([*metadata, *(text for column in found if column is not None for text in column)])


def parquet_without(data: bytes, named: Callable[[bytes], bool], where: str) -> tuple[bytes | None, int]:
    """Anybody's Parquet file without the rows of which one text is `named`.

    Returns:
        The new file, None where no row is left; and how many rows are gone.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = _any_table(data, where)
    keep = [True] * table.num_rows
    for i in range(table.num_columns):
        column = _texts(table.column(i))
        for row, text in enumerate(column or ()):
            if keep[row] and named(text):
                keep[row] = False
    gone = keep.count(False)
    if not gone:
        return data, 0
    if gone == table.num_rows:
        return None, gone
    sink = io.BytesIO()
    pq.write_table(table.filter(pa.array(keep)), sink, compression="zstd")
    return sink.getvalue(), gone


def _any_table(data: bytes, where: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{where} is not a readable Parquet file ({error}).") from error


def _texts(column: Any) -> list[bytes] | None:
    """Each row's text; None for a column of numbers."""
    import pyarrow.types as kinds

    leaf = column.type
    while kinds.is_list(leaf) or kinds.is_large_list(leaf):
        leaf = leaf.value_type
    if kinds.is_integer(leaf) or kinds.is_floating(leaf) or kinds.is_boolean(leaf):
        return None
    return [b"\n".join(_leaves(value)) for value in column.to_pylist()]


def _leaves(value: Any) -> Iterator[bytes]:
    """Texts in a value of lists and structs, as they are (and not as Python would print them)."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif value is not None:
        yield value if isinstance(value, bytes) else str(value).encode()


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
