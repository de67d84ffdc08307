"""Corpora with known defects, and the judging of runs over them."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.capture.video import probe, read_frames
from bodydouble.core.errors import ConfigError, InputError, OutputError
from bodydouble.core.seeds import numpy_rng
from bodydouble.corpus import seeded_edits as edits
from bodydouble.corpus.alike import AlikeConfig, distance_bits, embedding_of, picture_hash
from bodydouble.corpus.collection import Entry
from bodydouble.corpus.seeded import (
    DEFECTS,
    SOUND,
    SeedConfig,
    SeededClip,
    SeededCorpus,
    _make_clip,
    films_of,
    manifest,
    plan_kinds,
    read_seeded,
    seed_corpus,
)
from bodydouble.corpus.seeded_score import ClipOutcome, detections, score_table
from bodydouble.corpus.values import Item, Source, State


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(0, 5))
def test_defects_come_in_known_numbers(clips: int, seed: int) -> None:
    kinds = plan_kinds(SeedConfig(clips=clips, seed=seed))
    counts = Counter(kinds)
    assert len(kinds) == clips and counts[SOUND] >= clips - clips // 2
    if clips >= 18:
        assert {counts[d] for d in DEFECTS} == {clips // 18}
    assert kinds == plan_kinds(SeedConfig(clips=clips, seed=seed))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200))
def test_people_of_clips_that_might_be_kept_are_in_no_other_clip(clips: int) -> None:
    kinds = plan_kinds(SeedConfig(clips=clips))
    shown = [tuple(film for film, look in roles if look == 0) for roles in films_of(kinds)]
    own = [f for kind, films in zip(kinds, shown, strict=True) if kind in (SOUND, "two_people", "shot_change", "tiny_person",
           "no_motion", "occluded") for f in films]  # fmt: skip
    assert len(own) == len(set(own)) and sorted(own) == list(range(len(own)))
    assert all(films[0] < kinds.count(SOUND) for kind, films in zip(kinds, shown, strict=True) if kind == "duplicate")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200))
def test_two_looks_halve_the_films_and_no_look_of_a_film_is_used_twice(clips: int) -> None:
    kinds = plan_kinds(SeedConfig(clips=clips))
    once, twice = films_of(kinds), films_of(kinds, 2)
    borrowing = ("corrupt", "duplicate", "wrong_fps", "nobody")
    own = [role for kind, roles in zip(kinds, twice, strict=True) if kind not in borrowing for role in roles]
    assert len(own) == len(set(own)) and {look for _, look in own} <= {0, 1}
    assert 1 + max(f for f, _ in own) == -(-(1 + max(f for roles in once for f, _ in roles)) // 2)
    # What is copied is a film as it is, and a clip of its own: a copy of it is a near-duplicate.
    sound = {roles for kind, roles in zip(kinds, twice, strict=True) if kind == SOUND}
    assert all(roles in sound for kind, roles in zip(kinds, twice, strict=True) if kind in borrowing)
    assert all(roles[0][1] == 0 for kind, roles in zip(kinds, twice, strict=True) if kind in borrowing)


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(ConfigError, match="or also mirrored in other colours"):
        SeedConfig(looks=3)
    with pytest.raises(ConfigError, match="1 to 100000 clips"):
        SeedConfig(clips=0)
    with pytest.raises(ConfigError, match="1 to 30 seconds"):
        SeedConfig(seconds=0.5)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> SeededCorpus:
    """One sound clip of twelve frames."""
    return seed_corpus(tmp_path_factory.mktemp("seeded") / "one", SeedConfig(clips=1, seconds=1.0, fps=12.0))


def test_a_sound_clip_is_a_film_with_its_truth(one: SeededCorpus) -> None:
    assert read_seeded(one.folder) == one
    (clip,) = one.clips
    info = probe(one.folder / "videos" / clip.file)
    assert (clip.kind, info.num_frames, info.sha256) == (SOUND, 12, clip.sha256)
    assert (one.performer(0) / "truth.json").is_file()
    (row,) = csv.DictReader((one.folder / "manifest.csv").read_text().splitlines())
    assert row["uri"] == f"videos/{clip.file}" and float(row["fps_hz"]) == 12.0 and row["consent"] == "synthetic"
    again = seed_corpus(one.folder, one.config)  # films are kept, clips are the same bytes
    assert again == one
    with pytest.raises(OutputError, match="another configuration"):
        seed_corpus(one.folder, dataclasses.replace(one.config, seed=1))


@pytest.mark.parametrize("kind", DEFECTS)
def test_clips_with_a_defect_have_it(one: SeededCorpus, kind: str, tmp_path: Path) -> None:
    films = ((0, 0), (0, 1)) if kind in ("two_people", "shot_change") else ((0, 0),)
    path = tmp_path / "clip.mp4"
    clip = _make_clip(one.folder, path, kind, films, one.config, numpy_rng(0, kind))
    film = edits.read_film(one.performer(0))
    height, width = film.frames[0].shape[:2]
    if kind == "corrupt":
        with pytest.raises(InputError):
            probe(path)
        return
    info = probe(path)
    frames = [frame.rgb.astype(float) for frame in read_frames(path, threads=1)]
    assert info.fps_hz == pytest.approx(clip.fps_hz, rel=0.01)
    if kind == "two_people":
        assert info.width_px == 2 * width and clip.people == 2
    elif kind == "shot_change":
        assert info.num_frames == 24 and clip.cuts == (12,)
    elif kind == "wrong_fps":
        assert info.num_frames == 6 and clip.fps_hz == 6.0 and clip.announced_fps_hz == 12.0
    elif kind == "no_motion":
        assert max(np.abs(f - frames[0]).mean() for f in frames) < 4.0
    elif kind == "nobody":
        inside = film.masks[0] > 200
        changed = np.abs(frames[0] - film.frames[0])[inside].mean()
        assert clip.people == 0 and changed > 15.0  # the person's colours are gone
    elif kind == "tiny_person":
        assert np.abs(frames[0] - film.frames[0]).mean() > 5.0 and (info.width_px, info.height_px) == (width, height)
    elif kind == "occluded":
        rows = np.flatnonzero((film.masks[0] > 127).any(1))
        low = film.masks[0].copy()
        low[: rows[0] + round(0.4 * len(rows))] = 0
        assert frames[0][low > 200].std(0).max() < 12.0  # one flat colour where the legs were
    elif kind == "duplicate":
        same = path.read_bytes() == (one.performer(0) / "video.mp4").read_bytes()
        assert same == (clip.detail == "byte for byte")


def test_the_other_look_of_a_film_is_no_near_duplicate_of_it(one: SeededCorpus, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    clip = _make_clip(one.folder, path, SOUND, ((0, 1),), one.config, numpy_rng(0, "look"))
    assert clip.looks == (1,) and clip.copy_of == ""
    film = edits.read_film(one.performer(0))
    look = edits.other_look(film)
    assert np.array_equal(look.masks[3], film.masks[3][:, ::-1])
    assert np.array_equal(look.frames[3][:, ::-1, 0], film.frames[3][..., 0])  # red stays, green and blue are darker
    assert (look.frames[3][:, ::-1].astype(int) <= film.frames[3]).all()
    encoded = [frame.rgb for frame in read_frames(path, threads=1)]
    assert np.abs(encoded[3].astype(float) - look.frames[3]).mean() < 6.0
    pictures = [film.frames[::3], look.frames[::3]]
    hashes = [[picture_hash(picture) for picture in some] for some in pictures]
    a, b = (np.array(embedding_of(some, some)) for some in pictures)
    apart = distance_bits(hashes[0], hashes[1], AlikeConfig().min_overlap)
    assert apart > AlikeConfig().max_bits or float(a @ b) < AlikeConfig().min_cosine


def test_the_manifest_announces_what_the_file_may_not_keep() -> None:
    clip = SeededClip(file="a.mp4", kind="wrong_fps", films=(3,), fps_hz=12.0, announced_fps_hz=24.0)
    text = manifest(SeededCorpus(folder=Path("x"), config=SeedConfig(), clips=(clip,)))
    assert "videos/a.mp4,24,synthetic,synthetic,bodydouble corpus seed,performer-0003" in text


@pytest.mark.parametrize("clips", [[{"file": "a.mp4", "kind": "sound", "colour": "red"}], [3], 3])
def test_a_damaged_index_is_told(tmp_path: Path, clips: object) -> None:
    index = {"format": "bodydouble-seeded-corpus", "version": 1, "config": {}, "clips": clips}
    (tmp_path / "seeded.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="is damaged"):
        read_seeded(tmp_path)


# --- judging ---


def outcome(kind: str, *complaints: str, kept: int = 0, refusals: tuple[str, ...] = (), planned: bool = True, others: int = 0,
            starts: tuple[int, ...] = (0,), cuts: tuple[int, ...] = (), state: State = "done") -> ClipOutcome:  # fmt: skip
    source = Source(id="s", uri="v.mp4")
    entries = tuple(
        Entry(
            item=Item(id=f"{kind}{start}", source_id="s", first_frame=start, stop_frame=start + 9, start_s=0.0, end_s=1.0,
                      track=0, person=0, width_px=8, height_px=8, others=others, state=state),
            source=source,
            scores={},
        )
        for start in starts
    )  # fmt: skip
    clip = SeededClip(file="v.mp4", kind=kind, cuts=cuts)
    return ClipOutcome(clip=clip, refusals=refusals, planned=planned, entries=entries, complaints=complaints, kept=kept)


def test_detectors_count_hits_misses_and_false_alarms() -> None:
    outcomes = [
        outcome(SOUND, kept=1),
        outcome(SOUND, "P-I: motion 0.01 < 0.05"),
        outcome("no_motion", "P-I: motion 0.001 < 0.05"),
        outcome("no_motion", kept=1),
        outcome("no_motion", "P-I: motion was not measured", "P-I: presence 0.1 < 0.8"),
        outcome("corrupt", refusals=("probe: cannot be read",), starts=()),
        outcome("corrupt", refusals=("probe: cannot be read",), planned=False, starts=()),  # as empty as the other
        outcome("wrong_fps", refusals=("probe: the video has 12.000 frames/s, planned were 24.000",), starts=()),
        outcome("shot_change", kept=2, starts=(0, 37), cuts=(36,)),
        outcome("two_people", kept=2, others=1),
        outcome("duplicate", planned=False, starts=()),
        outcome("nobody", "usable: tracks: nobody was found"),
        outcome("tiny_person", "P-I: stature_px 70 < 110"),
        outcome("occluded", "P-II: agreement 0.09 > 0.02"),
    ]
    rows = {row.kind: row for row in detections(outcomes)}
    motion = rows["no_motion"]
    assert (motion.seeded, motion.found, motion.false_alarms) == (3, 1, 1)
    assert motion.recall == pytest.approx(1 / 3) and motion.precision == 0.5
    for kind in DEFECTS:
        if kind != "no_motion":
            seeded = 2 if kind == "corrupt" else 1
            assert (rows[kind].seeded, rows[kind].found, rows[kind].false_alarms) == (seeded, seeded, 0), kind
    overall = rows["anything that should go"]
    assert (overall.seeded, overall.found, overall.false_alarms) == (10, 9, 1)
    assert "| no_motion | 3 | 1 | 1 | 0.333 | 0.500 |" in score_table(list(rows.values()), [], [])


def test_clips_that_are_not_finished_count_for_what_is_known_early_alone() -> None:
    waiting = [outcome("two_people", others=1, state="pending"), outcome("occluded", state="pending")]
    rows = {row.kind: row for row in detections([*waiting, outcome(SOUND, kept=1)])}
    assert (rows["two_people"].seeded, rows["two_people"].found) == (1, 1)
    assert rows["occluded"].seeded == 0 and rows["anything that should go"].seeded == 0
