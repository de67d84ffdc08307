"""Near-duplicates: hashes that survive encoding, sequences at the best shift, and which clip is kept."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from corpus_clips import picture
from corpus_rows import a_record, a_source, an_item
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.corpus.alike import (
    AlikeConfig,
    Looks,
    bits_apart,
    distance_bits,
    embedding_of,
    find_alike,
    picture_hash,
)
from bodydouble.corpus.catalogue import Catalogue
from bodydouble.corpus.duplicates import mark_alike
from bodydouble.corpus.stages import CorpusConfig

_hash = st.integers(0, 2**64 - 1)
CONFIG = AlikeConfig()


def clip(name: str, hashes: tuple[int, ...], worth: tuple[int, int] = (100, 10), source: str = "") -> Looks:
    return Looks(id=name, source_id=source or f"s{name}", hashes=hashes, embedding=(1.0, 0.0), worth=worth)


def copies(clips: list[Looks]) -> dict[str, str]:
    return find_alike(clips, itertools.combinations([c.id for c in clips], 2), CONFIG)


def random_hashes(seed: int, count: int = 12) -> tuple[int, ...]:
    return tuple(int(v) for v in np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64))


@given(st.lists(st.tuples(_hash, _hash), min_size=1, max_size=8))
def test_bits_apart_is_the_population_count(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(v, np.uint64) for v in zip(*pairs, strict=True))
    assert bits_apart(a, b).tolist() == [[(x ^ y).bit_count() for _, y in pairs] for x, _ in pairs]


@settings(max_examples=30)
@given(st.lists(_hash, min_size=4, max_size=12), st.integers(0, 6), st.integers(2, 6))
def test_a_cut_is_found_at_its_shift(hashes: list[int], first: int, length: int) -> None:
    piece = hashes[first : first + length]
    if piece:
        assert distance_bits(hashes, piece, 0.5) == 0.0
        assert distance_bits(piece, hashes, 0.5) == 0.0
    assert distance_bits(hashes, [], 0.5) == 64.0


def test_hashes_survive_size_noise_and_brightness_but_not_another_picture() -> None:
    import cv2

    rng = np.random.default_rng(0)
    for seed in range(6):
        rgb = picture(seed, 0, 320, 240)
        small = cv2.resize(rgb, (107, 80), interpolation=cv2.INTER_AREA)
        noisy = (rgb + rng.normal(0, 6, rgb.shape)).clip(0, 255).astype(np.uint8)
        brighter = (rgb * 0.9 + 12).astype(np.uint8)
        own = picture_hash(rgb)
        for changed in (small, noisy, brighter):
            assert (own ^ picture_hash(changed)).bit_count() <= 6
        assert (own ^ picture_hash(picture(seed + 10, 0, 320, 240))).bit_count() > CONFIG.max_bits


def test_embeddings_are_of_unit_length_and_tell_colours() -> None:
    red, blue = (np.full((40, 30, 3), c, np.uint8) for c in ((200, 30, 30), (30, 30, 200)))
    a, b = embedding_of([red], [red]), embedding_of([blue], [red])
    assert np.linalg.norm(a) == pytest.approx(1.0, abs=1e-4)
    assert np.dot(a, a) > CONFIG.min_cosine > np.dot(a, b)


@settings(max_examples=20)
@given(st.permutations(list(range(5))))
def test_the_best_is_kept_whatever_the_order(order: list[int]) -> None:
    one, other = random_hashes(1), random_hashes(2)
    clips = [
        clip("a", one, (100, 10)),
        clip("b", one, (400, 10)),
        clip("c", one[3:], (400, 7)),
        clip("d", other, (100, 10)),
        clip("e", one, (400, 10)),
    ]
    assert copies([clips[i] for i in order]) == {"a": "b", "c": "b", "e": "b"}


def test_people_of_one_source_are_no_copies_of_each_other() -> None:
    hashes = random_hashes(1)
    assert copies([clip("a", hashes, source="s"), clip("b", hashes, source="s")]) == {}


def test_colours_must_agree_too() -> None:
    hashes = random_hashes(1)
    other = dataclasses.replace(clip("b", hashes), embedding=(0.8, 0.6))
    assert copies([clip("a", hashes), other]) == {}


def test_the_whole_corpus_is_joined_and_only_what_changed_is_written(tmp_path: Path) -> None:
    """A hundred strangers, a re-encoded copy, a cut one, and an even picture that everybody has."""
    rng = np.random.default_rng(0)
    catalogue = Catalogue.create(tmp_path / "c", CorpusConfig().to_json())
    even, config = 0, CorpusConfig()
    strangers = [random_hashes(n) for n in range(100)]
    encoded = tuple(
        h ^ (1 << int(b)) ^ (1 << int(c)) for h, b, c in zip(strangers[7], *rng.integers(0, 64, (2, 12)), strict=True)
    )
    rows = [*strangers, encoded, strangers[9][4:]]
    items = [
        dataclasses.replace(
            an_item(a_source(n)), hashes=(*hashes, even), embedding=(1.0, 0.0), stop_frame=30 + n // 100
        )
        for n, hashes in enumerate(rows)
    ]
    catalogue.add_items(items)
    catalogue.add_items([dataclasses.replace(an_item(a_source(500)), id="refused", hashes=(*strangers[3], even))])
    catalogue.add_records([a_record("refused", a_source(500), "tracks", state="rejected", reason="hardly seen")])
    assert mark_alike(catalogue, config) == 2
    found = {r.unit_id: r.reason for r in catalogue.records("stage = 'alike' and state = 'rejected'")}
    # The encoded copy has a frame more, so it is the better one; the cut one too.
    assert found == {
        items[7].id: f"near-duplicate of {items[100].id}",
        items[9].id: f"near-duplicate of {items[101].id}",
    }
    assert catalogue.rows("select count(*) from records where stage = 'alike' and unit_id = 'refused'")[1] == [(0,)]
    segments = catalogue.store.list("ledger")
    assert mark_alike(catalogue, config) == 2
    assert catalogue.store.list("ledger") == segments
