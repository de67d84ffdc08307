"""Croissant metadata (MLCommons, version 1.0): what is in a published set, for programs that look for data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bodydouble.corpus.shards import Shard

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_PARQUET = "application/x-parquet"
"""The name by which mlcroissant knows tables; it cannot load those with the registered one, application/vnd.apache.parquet."""
_TYPES = {"VARCHAR": "sc:Text", "BIGINT": "sc:Integer", "DOUBLE": "sc:Float", "BOOLEAN": "sc:Boolean"}


def croissant(
    *,
    name: str,
    description: str,
    licences: Sequence[str],
    tables: Mapping[str, tuple[str, Sequence[tuple[str, str, str]]]],
    shards: Sequence[Shard],
    version: str,
) -> dict[str, Any]:
    """The JSON-LD document.

    Args:
        name, description: Of the set.
        licences: Of the sources, each once.
        tables: By file name: SHA-256 of the Parquet file, and name, type (`VARCHAR`, `BIGINT`, `DOUBLE`, `BOOLEAN`, or one
            with `[]`) and meaning of each column.
        shards: The tar files.
        version: Of the set, three numbers.
    """
    files = [_file(name, _PARQUET, sha256) for name, (sha256, _) in tables.items()] + [
        _file(f"shards/{s.path.name}", "application/x-tar", s.sha256, s.bytes) for s in shards
    ]
    records = [
        {
            "@type": "cr:RecordSet",
            "@id": table.removesuffix(".parquet"),
            "name": table.removesuffix(".parquet"),
            "key": {"@id": f"{table.removesuffix('.parquet')}/{columns[0][0]}"},
            "field": [_field(table, *column) for column in columns],
        }
        for table, (_, columns) in tables.items()
    ]
    if shards:
        files.append(
            {
                "@type": "cr:FileSet",
                "@id": "samples",
                "name": "samples",
                "description": "Frames in WebDataset's form: files with one key belong together.",
                "containedIn": [{"@id": f"shards/{s.path.name}"} for s in shards],
                "encodingFormat": "application/octet-stream",
                "includes": "*",
            }
        )
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "license": list(licences),
        "version": version,
        "isLiveDataset": False,
        "distribution": files,
        "recordSet": records,
    }


def _file(name: str, kind: str, sha256: str, size: int | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "encodingFormat": kind,
        "sha256": sha256,
    }
    return entry if size is None else {**entry, "contentSize": f"{size} B"}


def _field(table: str, column: str, kind: str, meaning: str) -> dict[str, Any]:
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{table.removesuffix('.parquet')}/{column}",
        "name": column,
        "description": meaning,
        "dataType": _TYPES[kind.removesuffix("[]")],
        "source": {"fileObject": {"@id": table}, "extract": {"column": column}},
    }
    return {**field, "repeated": True} if kind.endswith("[]") else field
