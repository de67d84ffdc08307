"""Forgetting: gone from tables, folders, shards and reports; refused when planned again; proven by a search."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from corpus_clips import quiet
from corpus_rows import a_record, a_source, an_item
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.core.errors import InputError, OutputError
from bodydouble.corpus.catalogue import Catalogue, item_folder, source_folder
from bodydouble.corpus.forget import _found, _unpacked, forget
from bodydouble.corpus.plan import PlanOptions, plan
from bodydouble.corpus.stages import CorpusConfig
from bodydouble.corpus.status import corpus_status
from bodydouble.corpus.tables import parquet_text, parquet_without
from bodydouble.corpus.values import Item, Score, Source
from bodydouble.corpus.verify import verify_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Catalogue:
    """Three people with two items each; everything about them where a corpus keeps it."""
    catalogue = Catalogue.create(tmp_path / "c", CorpusConfig().to_json())
    for n, key in enumerate(("Anna", "bert", "cleo")):
        video = tmp_path / "videos" / f"{key}.mp4"
        video.parent.mkdir(exist_ok=True)
        video.write_bytes(b"film of " + key.encode())
        plan([str(video)], tmp_path / "c", PlanOptions(licence="own", takedown_key=key), quiet)
        source = next(catalogue.sources("takedown_key = ?", [key]))
        for track in (0, 1):
            put(catalogue, source, an_item(source, track, width_px=100 + n))
    return catalogue


def put(catalogue: Catalogue, source: Source, item: Item) -> None:
    """An item with scores, records and files."""
    catalogue.add_items([item])
    catalogue.add_scores([Score(item_id=item.id, stage="refine", name="soiou", value=0.03)])
    catalogue.add_records([a_record(source.id, source, "tracks"), a_record(item.id, source, "ready")])
    catalogue.store.write_json(f"{item_folder(item.id)}/stages/ready.json", {"unit": item.id})
    catalogue.store.write_bytes(f"{item_folder(item.id)}/capture/masks/000000.png", b"\x89PNG")
    catalogue.store.write_json(f"{source_folder(source.id)}/video.json", {"path": source.uri})
    catalogue.store.write_json(f"quarantine/{item.id}.json", {"unit": item.id})


def shard(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def test_a_person_is_gone_everywhere_and_the_others_are_as_before(corpus: Catalogue, tmp_path: Path) -> None:
    store = corpus.store
    anna, bert = (
        list(corpus.items("source_id in (select id from sources where takedown_key = ?)", [k]))
        for k in ("Anna", "bert")
    )
    others_before = [list(corpus.items("width_px > 100")), list(corpus.scores("item_id = ?", [bert[0].id]))]
    published = tmp_path / "set"
    published.mkdir()
    corpus.describe("published", [str(published)])
    members = {f"{i.id}.{part}": i.id.encode() for i in (*anna, *bert) for part in ("json", "jpg")}
    (published / "000.tar").write_bytes(shard(members))
    (published / "001.tar.gz").write_bytes(gzip.compress(shard({f"{bert[0].id}.json": b"{}"})))
    corpus.export(published / "items.parquet", "items")
    store.write_bytes("report.html", f"<p>{anna[0].id}</p>".encode())
    store.write_bytes("other.html", b"<p>nobody; annals</p>")

    done = forget(tmp_path / "c", "Anna", quiet)
    assert (done.sources, done.items, done.pages) == (1, 2, 1)
    assert done.left_outside == (str(tmp_path / "videos" / "Anna.mp4"),)
    assert [list(corpus.items("true")), list(corpus.scores("item_id = ?", [bert[0].id]))] == others_before
    with tarfile.open(published / "000.tar") as archive:
        assert {m.name for m in archive} == {f"{i.id}.{part}" for i in bert for part in ("json", "jpg")}
    assert corpus.rows(f"select count(*) from read_parquet('{published}/items.parquet')")[1] == [(4,)]
    assert store.exists("other.html")
    assert not store.exists("report.html")
    # By hand, and not by the same code: no file of either folder holds an id, the key, or the place.
    for file in [p for root in (tmp_path / "c", published) for p in root.rglob("*") if p.is_file()]:
        data = file.read_bytes() + file.name.encode()
        if file.suffix == ".parquet":
            data = parquet_text(data[: -len(file.name)], str(file))
        for name in (anna[0].id, anna[1].id, anna[0].source_id, "Anna.mp4"):
            assert name.encode() not in data, file


def test_the_forgotten_stay_out_by_content_and_by_key(corpus: Catalogue, tmp_path: Path) -> None:
    forget(tmp_path / "c", "Anna", quiet)
    again = tmp_path / "renamed.mp4"
    again.write_bytes((tmp_path / "videos" / "Anna.mp4").read_bytes())
    assert plan([str(again)], tmp_path / "c", PlanOptions(takedown_key="somebody else"), quiet).forgotten == 1
    again.write_bytes(b"another film of hers")
    assert plan([str(again)], tmp_path / "c", PlanOptions(takedown_key="Anna"), quiet).forgotten == 1
    assert len(list(corpus.sources())) == 2
    (stone,) = corpus.store.list("tombstones")
    assert "Anna" not in stone + corpus.store.read_bytes(stone).decode()
    with pytest.raises(InputError, match="was forgotten before"):
        forget(tmp_path / "c", "Anna", quiet)
    with pytest.raises(InputError, match=r"Nobody in .* has the takedown key 'dora'"):
        forget(tmp_path / "c", "dora", quiet)


def test_nobody_is_forgotten_while_a_run_is_at_work(corpus: Catalogue, tmp_path: Path) -> None:
    with corpus.alone(), pytest.raises(OutputError, match="in use by another bodydouble"):
        forget(tmp_path / "c", "Anna", quiet)
    assert len(list(corpus.sources())) == 3


def test_copies_of_the_forgotten_go_with_them(corpus: Catalogue, tmp_path: Path) -> None:
    anna, bert = (
        next(corpus.items("source_id in (select id from sources where takedown_key = ?)", [k]))
        for k in ("Anna", "bert")
    )
    record = a_record(bert.id, dataclasses.replace(a_source(1), id=bert.source_id), "alike")
    corpus.add_records([dataclasses.replace(record, state="rejected", reason=f"near-duplicate of {anna.id}")])
    assert forget(tmp_path / "c", anna.id, quiet).sources == 2
    assert [s.takedown_key for s in corpus.sources()] == ["cleo"]


def test_packed_files_are_looked_into(corpus: Catalogue, tmp_path: Path) -> None:
    import zipfile

    anna = next(corpus.items("source_id in (select id from sources where takedown_key = 'Anna')"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "readme.bin").write_bytes(b"nothing")
    with zipfile.ZipFile(outside / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("list.txt", anna.id * 3)
    done = forget(tmp_path / "c", "Anna", quiet, also=[outside])
    assert done.pages == 1  # removed whole, since it can be made again
    assert not (outside / "set.npz").exists()
    assert (outside / "readme.bin").exists()


def test_broken_archives_are_searched_as_they_are(corpus: Catalogue, tmp_path: Path) -> None:
    """They hold nothing of the person, and stop nothing; one that names the person is for people to remove."""
    other = tmp_path / "copies"
    other.mkdir()
    for name in ("a.tar", "b.tar.gz", "c.zip", "d.gz"):
        (other / name).write_bytes(b"no archive at all")
    assert forget(tmp_path / "c", "Anna", quiet, also=[other]).searched > 4
    (other / "a.tar").write_bytes(b"of " + next(corpus.sources("takedown_key = 'bert'")).id.encode())
    with pytest.raises(OutputError, match=r"a.tar names the person, but cannot be read as an archive"):
        forget(tmp_path / "c", "bert", quiet, also=[other])


@pytest.mark.parametrize("name", ["x.zip", "x.gz", "x.tar.gz"])
def test_what_unpacks_to_too_much_is_not_unpacked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodydouble.corpus.forget._MOST_UNPACKED_BYTES", 10_000)
    plain = bytes(20_000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", plain)
    data = {"x.zip": packed.getvalue(), "x.gz": gzip.compress(plain), "x.tar.gz": gzip.compress(shard({"z": plain}))}
    with pytest.raises(OutputError, match="unpacks to more than"):
        list(_unpacked(name, data[name]))


def test_a_killed_forget_is_finished_by_the_same_call(
    corpus: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def dies(event: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        forget(tmp_path / "c", "Anna", dies)
    assert plan([str(tmp_path / "videos" / "Anna.mp4")], tmp_path / "c", PlanOptions(), quiet).forgotten == 1
    assert forget(tmp_path / "c", "Anna", quiet).sources == 1
    assert len(list(corpus.sources())) == 2


@pytest.mark.parametrize(
    ("piece", "found"),
    [
        (b"a film of eva.", True),
        (b"evaluate this", False),
        (b"\xff\xfe eva ", False),  # no text: three letters are in every picture
        (b"medieval", False),
        (b"\xff 0123456789ab", True),
    ],
)
def test_short_names_are_words_and_long_ones_are_found_anywhere(piece: bytes, found: bool) -> None:
    assert _found(piece, (b"eva", b"0123456789ab")) is found


@given(st.text(min_size=1, max_size=20))
def test_parquet_is_searched_in_its_values(name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    rows = pa.table({"id": ["x", name, "y"], "tags": [["p"], ["q"], [name]], "n": [1, 2, 3]})
    pq.write_table(rows, sink)
    wanted = name.encode()
    assert wanted in parquet_text(sink.getvalue(), "t")
    data, gone = parquet_without(sink.getvalue(), lambda text: wanted in text, "t")
    assert gone >= 2
    assert data is None or pq.read_table(io.BytesIO(data)).num_rows == 3 - gone


def test_verify_finds_what_was_changed(corpus: Catalogue, tmp_path: Path) -> None:
    item = next(corpus.items())
    source = next(corpus.sources("id = ?", [item.source_id]))
    name = f"{item_folder(item.id)}/coarse.safetensors"
    corpus.store.write_bytes(name, b"body")
    import hashlib

    corpus.add_records([a_record(item.id, source, "coarse", outputs_sha256=hashlib.sha256(b"body").hexdigest())])
    sound = verify_corpus(tmp_path / "c", quiet, sample=0)
    assert (sound.files, sound.faults) == (1, ())
    corpus.store.write_bytes(name, b"another")
    corpus.add_scores([Score(item_id="of nobody", stage="refine", name="soiou", value=0.1)])
    faults = verify_corpus(tmp_path / "c", quiet, sample=0).faults
    assert faults == ("score soiou is of item of nobody, which does not exist", f"{name} has changed since coarse")
    segment = corpus.store.list("ledger/items")[0]
    corpus.store.write_bytes(segment, b"PAR1")
    (fault,) = verify_corpus(tmp_path / "c", quiet).faults
    assert fault.startswith(f"{segment}: {segment} is damaged")


def test_status_counts_stages_states_and_reasons(corpus: Catalogue, tmp_path: Path) -> None:
    from bodydouble.corpus.stages import stage_keys

    keys = stage_keys(CorpusConfig())
    sources = list(corpus.sources())
    item = next(corpus.items())
    corpus.add_records(
        [
            a_record(sources[0].id, sources[0], "probe", key=keys["probe"], seconds=2.0),
            a_record(
                sources[1].id, sources[1], "probe", key=keys["probe"], state="failed", reason="/x/y.mp4 is 3 bytes"
            ),
            a_record(sources[2].id, sources[2], "probe", key="of other settings"),
            a_record(
                item.id, sources[0], "alike", key=keys["alike"], state="rejected", reason=f"near-duplicate of {item.id}"
            ),
        ]
    )
    found = corpus_status(tmp_path / "c")
    assert (found.sources, found.places, found.items, found.held) == (3, 3, 6, 0)
    assert found.states == {"done": 5, "rejected": 1}
    probe = found.stages[0]
    assert (probe.stage, probe.done, probe.failed, probe.waiting, probe.mean_seconds) == ("probe", 1, 1, 1, 2.0)
    assert probe.left_s is not None
    assert set(found.refusals) == {("alike", "near-duplicate of ID", 1), ("probe", "FILE is N bytes", 1)}
    json.dumps(dataclasses.asdict(found))


def test_forgetting_proves_or_fails(corpus: Catalogue, tmp_path: Path) -> None:
    """What the clean-up may not touch is told, with what to do: here the settings name the person."""
    anna = next(corpus.items("source_id in (select id from sources where takedown_key = 'Anna')"))
    corpus.describe("note", f"best clip: {anna.id}")
    with pytest.raises(OutputError, match=r"still in 1 of .* corpus.json. Remove these by hand"):
        forget(tmp_path / "c", "Anna", quiet)
