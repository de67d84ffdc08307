"""Forgetting a person: out of every table, folder, shard and report; and the proof that nothing is left.

What stays is a tombstone of digests (`corpus.tombstones`): by them the same key, file or page is refused when it is
planned again, and from them nothing can be read. The proof is a search through every byte of every file for all names
that the person had here: key, ids, hashes, addresses. Parquet is read column by column, archives member by member.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import html
import io
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bodydouble.core.arrays import ZIP_DAMAGE
from bodydouble.core.errors import InputError, OutputError
from bodydouble.core.events import Event, Progress
from bodydouble.corpus.catalogue import Catalogue, item_folder, source_folder
from bodydouble.corpus.fetch import video_folder
from bodydouble.corpus.store import Store
from bodydouble.corpus.tables import parquet_text, parquet_without
from bodydouble.corpus.tombstones import FOLDER, digest_of, digests_of
from bodydouble.corpus.values import Source

PUBLISHED = "published"
"""Section of corpus.json: folders outside the corpus that hold something of it."""
_MOST_UNPACKED_BYTES = 4_000_000_000
"""What unpacks to more is not searched: forgetting fails and says so, instead of filling the memory."""
_SHORT = 10
"""Names of fewer bytes turn up in pictures by chance: they are looked for in texts only."""


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What was removed."""

    sources: int
    items: int
    rows: int
    removed: int
    """Files and folders that were the person's alone."""
    rewritten: int
    """Tables and shards that now lack the person."""
    pages: int
    """Reports and lists that named the person: they are removed, since they can be made again."""
    searched: int
    left_outside: tuple[str, ...]
    """The user's own videos; a corpus never removes these."""


def forget(root: str | Path, key: str, emit: Callable[[Event], None], *, also: Sequence[Path] = ()) -> Forgotten:
    """Remove everything of the sources with this takedown key, or of the source (or item's source) with this id.

    Killed in the middle, the same call finishes: the tombstone is written first, the table of sources goes last.

    Args:
        root: A corpus.
        key: Takedown key, or id of a source or of an item.
        emit: Told about progress.
        also: Folders outside the corpus that hold something of it; those it was published to are known.
    Raises:
        InputError: When nobody has this key.
        OutputError: When something of the person is found after all, or a run is at work there.
    """
    catalogue = Catalogue.open(root)
    with catalogue.alone():
        return _forget(catalogue, key, emit, also)


def _forget(catalogue: Catalogue, key: str, emit: Callable[[Event], None], also: Sequence[Path]) -> Forgotten:
    store, root = catalogue.store, catalogue.store.root
    found = list(
        catalogue.sources(
            "takedown_key = ? or id = ? or id in (select source_id from items_rows where id = ?)", [key, key, key]
        )
    )
    if not found:
        if store.exists(f"{FOLDER}/{digest_of('key', key)}.json"):
            raise InputError(f"{key!r} was forgotten before: nothing of it is in {root}.")
        raise InputError(f"Nobody in {root} has the takedown key {key!r}, nor is it the id of a source or item.")
    found = _with_copies(catalogue, found)
    digests = {digest_of("key", key)}.union(*(digests_of(s) for s in found))
    store.write_json(f"{FOLDER}/{digest_of('key', key)}.json", {"digests": sorted(digests)})
    ids = [s.id for s in found]
    marks = ", ".join("?" * len(ids))
    items = [row[0] for row in catalogue.rows(f"select id from items_rows where source_id in ({marks})", ids)[1]]
    places = [row[0] for row in catalogue.rows(f"select uri from places where source_id in ({marks})", ids)[1]]
    names = _names(key, found, items, places)
    folders = [*(item_folder(i) for i in items), *(source_folder(i) for i in ids), *(video_folder(i) for i in ids)]
    folders += [f"quarantine/{unit}.json" for unit in (*items, *ids)]
    present = [name for name in folders if store.exists(name)]
    for name in present:
        store.remove(name)
    others = [Store(Path(place)) for place in dict.fromkeys((*(catalogue.section(PUBLISHED) or ()), *map(str, also)))]
    rewritten = pages = rows = 0
    for place in (*others, store):
        a, b, c = _clean(place, names, emit, keep=catalogue.store is place)
        rewritten, pages, rows = rewritten + a, pages + b, rows + c
    searched = 0
    for place in (*others, store):
        searched += _prove(place, names)
    outside = sorted({p for p in (*places, *(s.uri for s in found)) if "://" not in p and Path(p).is_file()})
    return Forgotten(
        sources=len(found),
        items=len(items),
        rows=rows,
        removed=len(present),
        rewritten=rewritten,
        pages=pages,
        searched=searched,
        left_outside=tuple(outside),
    )


def _with_copies(catalogue: Catalogue, found: list[Source]) -> list[Source]:
    """Also the sources in which near-duplicates of theirs were found: they show the same person."""
    rows = catalogue.rows(
        "select r.source_id, i.source_id from records r join items_rows i on r.reason = 'near-duplicate of ' || i.id "
        "where r.stage = 'alike' and r.state = 'rejected'"
    )[1]
    ids = {s.id for s in found}
    while more := {c for a, b in rows for c in (a, b) if (a in ids) != (b in ids)} - ids:
        ids |= more
    known = {s.id for s in found}
    return [*found, *(s for id in sorted(ids - known) for s in catalogue.sources("id = ?", [id]))]


def _names(key: str, found: Sequence[Source], items: Sequence[str], places: Sequence[str]) -> tuple[bytes, ...]:
    """Everything by which the person could be named in a file."""
    names = {key, *items, *places}
    for source in found:
        names |= {source.id, source.uri, source.takedown_key, source.sha256}
    # As JSON and HTML spell them.
    names |= {json.dumps(n)[1:-1] for n in names} | {html.escape(n) for n in names}
    return tuple(sorted(n.encode() for n in names if n))


def _clean(store: Store, names: Sequence[bytes], emit: Callable[[Event], None], *, keep: bool) -> tuple[int, int, int]:
    """Take the person out of all files that others are in, too."""
    rewritten = pages = rows = 0
    files = store.list("")
    # Sources last: as long as they are there, an interrupted call can be repeated.
    files.sort(key=lambda name: name.startswith("ledger/sources"))
    for number, name in enumerate(files):
        emit(Progress(stage="forget", done=number + 1, total=len(files), unit="files"))
        if name.startswith(f"{FOLDER}/") or (keep and name == "corpus.json"):
            continue
        if name.endswith(".parquet"):
            data, gone = parquet_without(store.read_bytes(name), lambda text: _found(text, names), store.url(name))
            if gone:
                rewritten, rows = rewritten + 1, rows + gone
                store.remove(name) if data is None else store.write_bytes(name, data)
        elif name.endswith((".tar", ".tar.gz", ".tgz")):
            data = store.read_bytes(name)
            if _contains(name, data, names):
                store.write_bytes(name, _tar_without(data, names, store.url(name), packed=not name.endswith(".tar")))
                rewritten += 1
        elif _contains(name, store.read_bytes(name), names):
            pages += 1
            store.remove(name)
    return rewritten, pages, rows


def _tar_without(data: bytes, names: Sequence[bytes], where: str, *, packed: bool) -> bytes:
    """An archive without the samples in which the person is named: all members up to the first dot of a name belong together."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = [(m, archive.extractfile(m)) for m in archive.getmembers()]
            contents = [(m, None if handle is None else handle.read()) for m, handle in members]
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise OutputError(
            f"{where} names the person, but cannot be read as an archive ({error}). Remove it by hand, then run the same command again."
        ) from error
    bad = {_sample_of(m.name) for m, content in contents if _contains(m.name, content or b"", names)}
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for member, content in contents:
            if _sample_of(member.name) not in bad:
                archive.addfile(member, None if content is None else io.BytesIO(content))
    return gzip.compress(sink.getvalue(), mtime=0) if packed else sink.getvalue()


def _sample_of(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.split('.', 1)[0]}"


def _prove(store: Store, names: Sequence[bytes]) -> int:
    """Search every file.

    Returns:
        How many were searched.
    Raises:
        OutputError: When something was found.
    """
    files = store.list("")
    left = [n for n in files if not n.startswith(f"{FOLDER}/") and _contains(n, store.read_bytes(n), names)]
    if left:
        raise OutputError(
            f"Something of the person is still in {len(left)} of {len(files)} files of {store.root}: {', '.join(left[:5])}. "
            "Remove these by hand, then run the same command again."
        )
    return len(files)


def _contains(name: str, data: bytes, names: Sequence[bytes]) -> bool:
    """Whether one of the names is in a file, in its name, or in what is packed in it."""
    return any(_found(piece, names) for piece in (name.encode(), *_unpacked(name, data)))


def _found(piece: bytes, names: Sequence[bytes]) -> bool:
    long = [n for n in names if len(n) >= _SHORT]
    if any(name in piece for name in long):
        return True
    short = [n for n in names if len(n) < _SHORT and n in piece]
    if not short:
        return False
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    # As a word of its own: `eva` is not in `evaluate`.
    return any(re.search(rb"(?<![0-9A-Za-z])" + re.escape(name) + rb"(?![0-9A-Za-z])", piece) for name in short)


def _unpacked(name: str, data: bytes) -> Iterator[bytes]:
    """A file's bytes as they can be searched: as they are, and unpacked where it is an archive. A broken archive holds what
    its bytes say.

    Raises:
        OutputError: When an archive unpacks to more than can be searched.
    """
    yield data
    if name.endswith(".parquet"):
        yield parquet_text(data, name)
        return
    unpack = next((work for endings, work in _ARCHIVES if name.endswith(endings)), None)
    if unpack is None:
        return
    left = _MOST_UNPACKED_BYTES
    with contextlib.suppress(*_BROKEN):
        for size, read in unpack(data):
            left -= size
            if left < 0:
                raise OutputError(
                    f"{name} unpacks to more than {_MOST_UNPACKED_BYTES / 1e9:g} GB, which is not searched. Search or remove it by hand, "
                    "then run the same command again."
                )
            yield read()


_BROKEN = (tarfile.TarError, *ZIP_DAMAGE)
"""Cut short, of no known kind, or locked by a password: what archives say when they cannot be read."""
_Pieces = Iterator[tuple[int, Callable[[], bytes]]]
"""Declared size and content of each piece; nothing is unpacked before its size was looked at."""


def _tar_pieces(data: bytes) -> _Pieces:
    # Unpacked in small steps: of what is packed as a whole, nobody says the size.
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            yield 0, member.name.encode
            handle = archive.extractfile(member)
            if handle is not None:
                yield member.size, handle.read


def _gzip_pieces(data: bytes) -> _Pieces:
    unpacked = zlib.decompressobj(wbits=31).decompress(data, _MOST_UNPACKED_BYTES + 1)
    yield len(unpacked), lambda: unpacked


def _zip_pieces(data: bytes) -> _Pieces:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for inner in archive.infolist():
            yield 0, inner.filename.encode
            yield inner.file_size, functools.partial(archive.read, inner)


_ARCHIVES: tuple[tuple[tuple[str, ...], Callable[[bytes], _Pieces]], ...] = (
    ((".tar", ".tar.gz", ".tgz"), _tar_pieces),
    ((".gz",), _gzip_pieces),
    ((".zip", ".npz"), _zip_pieces),
)
