"""The catalogue: rows in and out, the latest of equals, states from records, segments that are whole or absent."""

from __future__ import annotations

import dataclasses
import math
import uuid
from pathlib import Path

import pytest
from corpus_rows import a_record, a_source, an_item
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.errors import InputError, OutputError
from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.tables import SOURCES, read_segment
from bodydouble.corpus.values import Score, Source, item_id, source_id

_text = st.text(max_size=12)
_number = st.floats(allow_nan=False, allow_infinity=False, width=64)


@pytest.fixture(params=["file", "memory"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Catalogue:
    return Catalogue.create(tmp_path / "corpus" if request.param == "file" else f"memory://{uuid.uuid4()}/corpus")


def test_rows_come_back_as_they_went_in(catalogue: Catalogue) -> None:
    source = a_source(1, fps_hz=29.97, width_px=160, height_px=240, consent="given", takedown_key="anna's ö")
    item = an_item(
        source, anchors=((3.0, 1.5, 2.0, 30.0, 40.0, 0.75),), hashes=(0, 2**64 - 1), embedding=(0.5, -0.25), others=2
    )
    scores = [
        Score(item_id=item.id, stage="perceive", name="a", value=0.1),
        Score(item_id=item.id, stage="perceive", name="b", value=math.nan),
    ]
    catalogue.add_sources([source])
    catalogue.add_items([item])
    catalogue.add_scores(scores)
    again = Catalogue.open(catalogue.store.root)
    assert list(again.sources()) == [source]
    assert again.item(item.id) == item
    found = list(again.scores())
    assert found[0] == scores[0]
    assert math.isnan(found[1].value)


def test_the_latest_of_equal_keys_counts_and_twice_is_once(catalogue: Catalogue) -> None:
    old, new = a_source(1, uri="/old.mp4"), a_source(1, uri="/new.mp4")
    catalogue.add_sources([old])
    catalogue.add_sources([new])
    catalogue.add_sources([new])
    assert [s.uri for s in catalogue.sources()] == ["/new.mp4"]


def test_states_follow_from_the_records(catalogue: Catalogue) -> None:
    source = a_source(1)
    items = [an_item(source, track=t) for t in range(5)]
    catalogue.add_sources([source])
    catalogue.add_items(items)
    catalogue.add_records(
        [
            a_record(source.id, source, "tracks"),
            a_record(items[0].id, source, "perceive"),
            a_record(items[1].id, source, "ready"),
            a_record(items[2].id, source, "alike", state="rejected", reason="like another"),
            a_record(items[3].id, source, "fit", state="failed", reason="nothing to fit"),
            a_record(items[4].id, source, "fit", state="quarantined", reason="broke 3 times", attempt=3),
        ]
    )
    states = {item.track: (item.state, item.reasons) for item in catalogue.items()}
    assert states == {
        0: ("pending", ()),
        1: ("done", ()),
        2: ("rejected", ("alike: like another",)),
        3: ("failed", ("fit: nothing to fit",)),
        4: ("quarantined", ("fit: broke 3 times",)),
    }
    assert catalogue.rows("select state from sources") == (["state"], [("done",)])
    # A later record of the same stage replaces the earlier one.
    catalogue.add_records([a_record(items[4].id, source, "fit", attempt=4)])
    assert catalogue.item(items[4].id).state == "pending"


def test_the_latest_counts_over_many_segments_and_with_keys_of_several_columns(catalogue: Catalogue) -> None:
    """Against a dictionary that is written in the same order."""
    source, expected = a_source(1), {}
    for turn in range(4):
        records = [a_record(f"unit-{n}", source, stage, attempt=turn, reason=f"{turn}" * (n % 2))
                   for n in range(turn, 9) for stage in ("probe", "shots")[: 1 + turn % 2]]  # fmt: skip
        catalogue.add_records(records)
        expected |= {(r.unit_id, r.stage): r for r in records}
        if turn == 2:
            catalogue.compact(always=True)
    assert {(r.unit_id, r.stage): r for r in catalogue.records()} == expected


def test_compaction_keeps_everything_and_leaves_one_segment(catalogue: Catalogue) -> None:
    sources = [a_source(n) for n in range(9)]
    for source in sources:
        catalogue.add_sources([dataclasses.replace(source, licence="")])
        catalogue.add_sources([source])
    before = catalogue.digest()
    catalogue.compact(always=True)
    assert catalogue.digest() == before
    assert len(catalogue.store.list("ledger")) == 1
    assert list(catalogue.sources()) == sorted(sources, key=lambda s: s.id)
    catalogue.compact(always=True)  # nothing left to do
    assert catalogue.digest() == before


def test_digest_forgets_places_and_times_only(tmp_path: Path) -> None:
    def digest(name: str, source: Source, seconds: float) -> str:
        catalogue = Catalogue.create(tmp_path / name)
        catalogue.add_sources([source])
        catalogue.add_records([a_record(source.id, source, "probe", seconds=seconds)])
        return catalogue.digest()

    first = digest("a", a_source(1), 1.0)
    assert digest("b", a_source(1, uri="/elsewhere/x.mp4"), 2.0) == first
    assert digest("c", a_source(1, licence="MIT"), 1.0) != first
    assert digest("d", a_source(2), 1.0) != first


def test_a_corpus_is_never_started_over_something(tmp_path: Path) -> None:
    Catalogue.create(tmp_path / "c")
    with pytest.raises(OutputError, match="already holds a corpus"):
        Catalogue.create(tmp_path / "c")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="nothing there is touched"):
        Catalogue.create(tmp_path / "other")
    with pytest.raises(InputError, match=r"holds no corpus .*bodydouble corpus plan"):
        Catalogue.open(tmp_path / "none")


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    catalogue = Catalogue.create(tmp_path / "c")
    catalogue.store.write_json("corpus.json", {"schema_version": 99, "config": {}})
    with pytest.raises(InputError, match="schema version 99; this program reads 1"):
        Catalogue.open(tmp_path / "c")


def test_wrong_queries_and_unknown_items_are_told(catalogue: Catalogue) -> None:
    with pytest.raises(InputError, match="views are sources, places, items, scores and records"):
        catalogue.rows("select * from nothing")
    with pytest.raises(InputError, match="holds no item 123"):
        catalogue.item("123")


def test_a_damaged_segment_is_found(tmp_path: Path) -> None:
    catalogue = Catalogue.create(tmp_path / "c")
    catalogue.add_sources([a_source(1)])
    (name,) = catalogue.store.list("ledger")
    assert list(read_segment(SOURCES, catalogue.store.read_bytes(name), name)) == [a_source(1)]
    catalogue.store.write_bytes(name, b"PAR1 nonsense")
    with pytest.raises(InputError, match="is damaged"):
        list(read_segment(SOURCES, catalogue.store.read_bytes(name), name))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(_text, _text, _number), max_size=6), st.randoms(use_true_random=False))
def test_order_and_repetition_of_writing_change_nothing(rows: list[tuple[str, str, float]], random) -> None:
    scores = [
        Score(item_id=a, stage="s", name=b, value=v) for a, b, v in {(a, b): (a, b, v) for a, b, v in rows}.values()
    ]
    shuffled = [*scores, *scores]
    random.shuffle(shuffled)
    one = Catalogue.create(f"memory://{uuid.uuid4()}")
    one.add_scores(scores)
    other = Catalogue.create(f"memory://{uuid.uuid4()}")
    for score in shuffled:
        other.add_scores([score])
    assert one.digest() == other.digest()
    assert sorted(other.scores(), key=repr) == sorted(scores, key=repr)


@given(
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.integers(-1, 9),
)
def test_ids_are_of_content_span_and_track(sha256: str, first: int, length: int, track: int) -> None:
    source = source_id(sha256=sha256)
    assert source == source_id(sha256=sha256.upper(), uri="/anywhere")
    assert uuid.UUID(source).version == 5
    item = item_id(source, first, first + length, track)
    others = {
        item_id(source, first + 1, first + length, track),
        item_id(source, first, first + length + 1, track),
        item_id(source, first, first + length, track + 1),
        item_id(source_id(uri="https://example.org/v"), first, first + length, track),
    }
    assert item not in others
    assert len(others) == 4


def test_items_of_an_earlier_cutting_are_none_any_more(catalogue: Catalogue) -> None:
    """Tracks were looked for again with other settings: one item was found again, one is new, one is not there any more."""
    source = a_source(1)
    lost, kept, new = (an_item(source, track=t) for t in range(3))
    catalogue.add_sources([source])
    catalogue.add_items([lost, kept])
    catalogue.add_records([a_record(id, source, "tracks") for id in (source.id, lost.id, kept.id)])
    assert {i.id for i in catalogue.items()} == {lost.id, kept.id}
    catalogue.add_items([kept, new])
    catalogue.add_records([a_record(id, source, "tracks", key="other") for id in (source.id, kept.id, new.id)])
    assert {i.id for i in catalogue.items()} == {kept.id, new.id}
    assert corpus_states(catalogue) == 2


def corpus_states(catalogue: Catalogue) -> int:
    return catalogue.rows("select count(*) from items")[1][0][0]


@pytest.mark.parametrize("document", ['{"schema_version": 1}', '{"schema_version": 1, "config": 3}'])
def test_a_corpus_without_settings_is_told(tmp_path: Path, document: str) -> None:
    (tmp_path / "corpus.json").write_text(document)
    with pytest.raises(InputError, match="has no settings"):
        Catalogue.open(tmp_path)


def test_a_broken_segment_is_an_error_that_names_the_remedy(tmp_path: Path) -> None:
    catalogue = Catalogue.create(tmp_path / "corpus")
    catalogue.add_sources([a_source(1)])
    (segment,) = (tmp_path / "corpus" / "ledger" / "sources").glob("*.parquet")
    segment.write_bytes(segment.read_bytes()[:40])
    with pytest.raises(InputError, match="corpus verify"):
        list(catalogue.sources())
