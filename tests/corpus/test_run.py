"""Runs in this process: what is worked on, what is refused and why, what is done again and what never."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from corpus_clips import quiet, write_clip

from bodydouble.core.errors import ConfigError, OutputError
from bodydouble.corpus import stage_work
from bodydouble.corpus.admit import Wanted, count_waiting, waiting_units
from bodydouble.corpus.catalogue import Catalogue, source_folder
from bodydouble.corpus.executor import LocalExecutor, open_executor
from bodydouble.corpus.plan import PlanOptions, plan
from bodydouble.corpus.run import RunOptions, RunSummary, run_corpus
from bodydouble.corpus.stages import CorpusConfig, stage_keys, stages_of
from bodydouble.corpus.status import corpus_status
from bodydouble.corpus.tasks import Outcome, Task, run_all
from bodydouble.corpus.values import Source

FREE = PlanOptions(licence="CC0-1.0")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shot; three shots; a broken file; a copy of the first."""
    folder = tmp_path_factory.mktemp("videos")
    write_clip(folder / "one.mp4")
    write_clip(folder / "three.mp4", seeds=(1, 2, 3), count=72)
    (folder / "broken.mp4").write_bytes((folder / "one.mp4").read_bytes()[60:900])
    shutil.copy(folder / "one.mp4", folder / "same.mp4")
    return folder


def run(root: Path, **options: Any) -> RunSummary:
    return run_corpus(root, RunOptions(**{"workers": 0, "until": "shots", **options}), quiet)


def states(root: Path) -> dict[str, tuple[str, str]]:
    """State and reason of each source by its file's name."""
    found = {}
    for uri, state, reasons in Catalogue.open(root).rows("select uri, state, reasons from sources")[1]:
        found[Path(uri).stem] = (state, "; ".join(reasons))
    return found


def test_everything_is_worked_on_once_and_the_broken_file_says_why(videos: Path, tmp_path: Path) -> None:
    plan([str(videos)], tmp_path / "c", FREE, quiet)
    first = run(tmp_path / "c")
    assert dict(first.units) == {"done": 4, "failed": 1}
    found = states(tmp_path / "c")
    assert set(found) == {"one", "three", "broken"}
    assert found["broken"][0] == "failed"
    assert "probe: " in found["broken"][1]
    catalogue = Catalogue.open(tmp_path / "c")
    three = next(s for s in catalogue.sources() if s.uri.endswith("three.mp4"))
    assert (three.width_px, three.height_px, round(three.fps_hz or 0)) == (96, 64, 24)
    shots = catalogue.store.read_json(f"{source_folder(three.id)}/shots.json")
    assert shots == {"cuts": [24, 48], "spans": [[0, 24], [24, 48], [48, 72]]}
    digest = catalogue.digest()
    again = run(tmp_path / "c")
    assert dict(again.units) == {}
    assert catalogue.digest() == digest


def test_a_lost_ledger_is_found_again_in_the_records_beside_the_files(videos: Path, tmp_path: Path) -> None:
    plan([str(videos)], tmp_path / "c", FREE, quiet)
    run(tmp_path / "c")
    catalogue = Catalogue.open(tmp_path / "c")
    digest = catalogue.digest()
    seconds = {(r.unit_id, r.stage): r.seconds for r in catalogue.records()}
    # As after a driver that was killed before it wrote anything down.
    catalogue.store.remove("ledger/records")
    assert sum(run(tmp_path / "c").units.values()) == 5
    assert catalogue.digest() == digest
    assert {(r.unit_id, r.stage): r.seconds for r in catalogue.records()} == seconds  # answered, not worked on again


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ({"fps_hz": 25.0}, "24.000 frames/s, planned were 25.000"),
        ({"width_px": 406, "height_px": 720}, "96x64 pixels, planned were 406x720"),
        ({"sha256": "0" * 64}, "another download or edit"),
        ({"start_s": 60.0, "end_s": 80.0}, "no frame lies between 60 s and 80 s"),
    ],
)
def test_another_file_than_planned_is_refused(
    videos: Path, tmp_path: Path, expected: Mapping[str, Any], reason: str
) -> None:
    plan([str(videos / "one.mp4")], tmp_path / "c", FREE, quiet)
    catalogue = Catalogue.open(tmp_path / "c")
    (source,) = catalogue.sources()
    catalogue.add_sources([dataclasses.replace(source, **expected)])
    run(tmp_path / "c")
    ((state, why),) = states(tmp_path / "c").values()
    assert state == "rejected"
    assert reason in why


def test_a_video_cut_short_is_damaged_and_not_just_short(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", count=48).read_bytes()
    media = whole.index(b"mdat")
    assert whole.index(b"moov") < media  # so the head says what the rest does not hold
    (tmp_path / "cut.mp4").write_bytes(whole[: media + (len(whole) - media) // 2])
    plan([str(tmp_path / "cut.mp4"), str(tmp_path / "whole.mp4")], tmp_path / "c", FREE, quiet)
    run(tmp_path / "c")
    found = states(tmp_path / "c")
    assert found["whole"] == ("pending", "")
    assert found["cut"][0] == "failed" and "is damaged" in found["cut"][1] and "at least 1 s" in found["cut"][1]


def test_licence_and_consent_are_asked_first(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "c"
    plan([str(videos / "one.mp4")], root, PlanOptions(licence="CC-BY-NC-4.0"), quiet)
    plan([str(videos / "three.mp4")], root, PlanOptions(licence="CC0-1.0", consent="refused"), quiet)
    assert dict(run(root).units) == {}
    assert corpus_status(root).held == 2
    assert dict(run(root, any_licence=True).units) == {"done": 2}  # never without consent
    assert {name: state for name, (state, _) in states(root).items()} == {"one": "pending", "three": "pending"}


def test_other_settings_make_what_depends_on_them_run_again(videos: Path, tmp_path: Path) -> None:
    plan([str(videos / "three.mp4")], tmp_path / "c", FREE, quiet)
    run(tmp_path / "c")
    catalogue = Catalogue.open(tmp_path / "c")
    config = CorpusConfig()
    changed = dataclasses.replace(config, people=dataclasses.replace(config.people, max_seconds=0.5))
    catalogue.describe("config", changed.to_json())
    assert dict(run(tmp_path / "c").units) == {"done": 1}  # shots, but not the probe
    (source,) = catalogue.sources()
    assert len(catalogue.store.read_json(f"{source_folder(source.id)}/shots.json")["spans"]) == 6


def test_what_breaks_again_and_again_is_left_alone_until_asked_for(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "c"
    plan([str(videos / "one.mp4"), str(videos / "three.mp4")], root, FREE, quiet)
    tried: list[str] = []

    def poisoned(store: Any, unit: Any, config: Any) -> Any:
        tried.append(unit.source.uri)
        if unit.source.uri.endswith("one.mp4"):
            raise ZeroDivisionError("by the spot")
        return shots(store, unit, config)

    shots = stage_work.WORK["shots"]
    monkeypatch.setitem(stage_work.WORK, "shots", poisoned)  # type: ignore[arg-type]
    summary = run(root, tries=3)
    assert summary.broken == 3
    assert sorted(Path(t).stem for t in tried) == ["one", "one", "one", "three"]
    state, why = states(root)["one"]
    assert (state, why) == ("quarantined", "shots: broke 3 times; the last: ZeroDivisionError: by the spot")
    assert states(root)["three"][0] == "pending"
    catalogue = Catalogue.open(root)
    (name,) = catalogue.store.list("quarantine")
    kept = catalogue.store.read_json(name)
    assert (kept["stage"], kept["attempts"]) == ("shots", 3)
    assert "Traceback" in kept["words"]
    run(root)
    assert len(tried) == 4
    monkeypatch.setitem(stage_work.WORK, "shots", shots)  # type: ignore[arg-type]
    run(root, again=True)
    assert states(root)["one"] == ("pending", "")


def test_a_full_disk_stops_the_run_and_blames_no_video(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan([str(videos / "one.mp4")], tmp_path / "c", FREE, quiet)

    def full(*_: Any) -> Any:
        raise OutputError("The disk is full.")

    monkeypatch.setitem(stage_work.WORK, "shots", full)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="The disk is full"):
        run(tmp_path / "c")
    assert states(tmp_path / "c")["one"] == ("pending", "")


def test_the_corpus_may_be_in_a_store_that_is_no_folder(videos: Path) -> None:
    root = f"memory://run-{videos.parent.name}/corpus"
    plan([str(videos)], root, FREE, quiet)
    summary = run_corpus(root, RunOptions(workers=0, until="shots"), quiet)
    assert dict(summary.units) == {"done": 4, "failed": 1}
    assert Catalogue.open(root).store.list("sources", "shots.json")


def test_only_one_run_at_a_time(videos: Path, tmp_path: Path) -> None:
    from bodydouble.pipeline.lock import folder_lock

    plan([str(videos / "one.mp4")], tmp_path / "c", FREE, quiet)
    with folder_lock(tmp_path / "c"), pytest.raises(OutputError, match="in use by another bodydouble"):
        run(tmp_path / "c")


def test_unknown_stages_and_settings_are_told(videos: Path, tmp_path: Path) -> None:
    plan([str(videos / "one.mp4")], tmp_path / "c", FREE, quiet)
    with pytest.raises(ConfigError, match="no stage 'dance'; expected one of: probe, shots, tracks, alike, perceive"):
        run(tmp_path / "c", until="dance")
    with pytest.raises(ConfigError, match=r"settings in corpus.json cannot be used.*speed"):
        CorpusConfig.from_json({"speed": 3})
    for settings in ({"people": {"min_share": 40}}, {"people": 3}, {"licences": "own"}, {"fps_tolerance": "0.1"}):
        with pytest.raises(ConfigError, match=r"min_share|cannot be used|fps_tolerance"):
            CorpusConfig.from_json(settings)
    with pytest.raises(ConfigError, match="--workers is -1"), open_executor(-1):
        pass


def test_keys_depend_on_what_comes_before_and_on_nothing_after() -> None:
    config = CorpusConfig()
    before = stage_keys(config)
    other = stage_keys(dataclasses.replace(config, looks=False))
    assert {name for name in before if before[name] != other[name]} == {
        "perceive", "coarse", "consistency", "refine", "ready",
    }  # fmt: skip
    assert CorpusConfig.from_json(config.to_json()) == config
    assert len(set(before.values())) == len(before)


def test_pages_of_many_units_come_in_order_and_leave_out_what_is_done(tmp_path: Path) -> None:
    catalogue = Catalogue.create(tmp_path / "c", CorpusConfig().to_json())
    catalogue.add_sources([Source(id=f"{n:05d}", uri=f"/{n}", licence="own") for n in range(700)])
    wanted = Wanted(scope="source", stages=stages_of("source"), keys=stage_keys(CorpusConfig()))
    for licences, count in ((("own",), 700), (("CC0-1.0",), 0), (None, 700)):
        assert count_waiting(catalogue, dataclasses.replace(wanted, licences=licences)) == count
    assert [w.unit.id for w in waiting_units(catalogue, wanted)] == [f"{n:05d}" for n in range(700)]


def test_tasks_in_flight_are_bounded_and_errors_come_back_as_words() -> None:
    executor, seen, most = LocalExecutor(), [], 0

    def tasks():
        nonlocal most
        for n in range(10):
            most = max(most, executor.in_flight)
            yield Task(
                name=str(n), function="bodydouble.corpus.values:source_id" if n != 4 else "os:getcwd", payload={}
            )

    def done(outcome: Outcome) -> None:
        seen.append((outcome.task.name, outcome.error.strip().splitlines()[-1]))

    run_all(executor, tasks(), done, ahead=2)
    assert most < 2
    assert [name for name, _ in seen] == [str(n) for n in range(10)]
    assert "A task's function must be bodydouble.MODULE:NAME, got 'os:getcwd'" in seen[4][1]
    assert all("TypeError" in error for name, error in seen if name != "4")  # its arguments are keywords


_WITHOUT_RAYLET = """
from bodydouble.corpus.executor import open_executor
from bodydouble.corpus.tasks import Task
with open_executor(1) as executor:
    import ray
    (raylet,) = ray._private.worker.global_worker.node.all_processes["raylet"]
    raylet.process.kill()
    raylet.process.wait()
    executor.submit(Task(name="x", function="bodydouble.corpus.values:source_id", payload={}))
    executor.take()
"""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
def test_a_ray_that_has_died_is_an_error_and_no_endless_wait() -> None:
    # In a process of its own: Ray reads its settings when it is first imported.
    source = Path(__file__).resolve().parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_RAYLET], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "InputError: Ray has ended unexpectedly (raylet)." in done.stderr
    assert "the same command goes on" in done.stderr
