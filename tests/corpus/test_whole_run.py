"""Everything, on a Ray of our own: people out of real clips, a copy, a broken file; killed on the way, and finished."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from corpus_clips import quiet, write_clip

from bodydouble.capture.video import read_frames
from bodydouble.capture.video_write import VideoWriter
from bodydouble.corpus.catalogue import Catalogue, item_folder
from bodydouble.corpus.plan import PlanOptions, plan
from bodydouble.corpus.run import RunOptions, run_corpus
from bodydouble.corpus.values import Item
from bodydouble.corpus.verify import verify_corpus
from bodydouble.pipeline.adopt import usable_capture

pytest.importorskip("ray")
FREE = PlanOptions(licence="CC0-1.0")


def cut(
    source: Path, path: Path, first: int, count: int, size_px: tuple[int, int], *, step: int = 1, crf: int = 18
) -> None:
    """A few frames of a clip, made small; 24 a second."""
    import cv2

    with VideoWriter(path, 24, *size_px, crf=crf) as video:
        for frame in read_frames(source, range(first, first + count * step, step)):
            video.write(cv2.resize(frame.rgb, size_px, interpolation=cv2.INTER_AREA))


def command(root: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "bodydouble", "corpus", "run", str(root), *words]


def begin(root: Path, *words: str) -> subprocess.Popen[bytes]:
    source = Path(__file__).resolve().parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(root, *words), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_a_killed_driver_costs_nothing_but_time(tmp_path: Path) -> None:
    """Killed as soon as the first worker has left a record; the next run, without Ray, ends where an undisturbed one does."""
    for n in range(5):
        write_clip(tmp_path / "videos" / f"{n}.mp4", seeds=(n, n + 20))
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"\x00" * 500)
    for name in ("killed", "undisturbed"):
        plan([str(tmp_path / "videos")], tmp_path / name, FREE, quiet)
    driver = begin(tmp_path / "killed", "--until", "shots", "--workers", "1")
    try:
        catalogue = Catalogue.open(tmp_path / "killed")
        while not catalogue.store.list("sources", "probe.json") and not ended_within(driver, 0.05):
            pass
        driver.send_signal(signal.SIGKILL)
    finally:
        driver.kill()
        driver.communicate()
    options = RunOptions(workers=0, until="shots")
    run_corpus(tmp_path / "undisturbed", options, quiet)
    run_corpus(tmp_path / "killed", options, quiet)
    assert catalogue.digest() == Catalogue.open(tmp_path / "undisturbed").digest()
    assert catalogue.rows("select stage, state, count(*) from records group by all order by all")[1] == [
        ("probe", "done", 5), ("probe", "failed", 1), ("shots", "done", 5),
    ]  # fmt: skip
    assert not (tmp_path / "killed" / "tmp").exists() or not list((tmp_path / "killed" / "tmp").iterdir())


def test_people_become_captures_and_copies_do_not(data_folder: Path, tmp_path: Path) -> None:
    taiji, two = (data_folder / "videos" / name for name in ("indoor_taiji.mp4", "edge_two_people.mp4"))
    videos = tmp_path / "videos"
    videos.mkdir()
    cut(taiji, videos / "taiji.mp4", 60, 25, (426, 240))
    cut(taiji, videos / "copy.mp4", 60, 25, (320, 180), crf=28)
    cut(two, videos / "two.mp4", 10, 25, (240, 424), step=3)
    (videos / "broken.mp4").write_bytes((videos / "taiji.mp4").read_bytes()[100:4000])
    root = tmp_path / "c"
    plan([str(videos)], root, FREE, quiet)
    # Up to the copies with both people; then one of them only, to keep this short.
    driver = begin(root, "--until", "alike", "--workers", "1", "--json")
    out, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err.decode()
    assert json.loads(out)["duplicates"] == 1
    catalogue = Catalogue.open(root)
    items = {name: items_of(catalogue, name) for name in ("taiji", "copy", "two", "broken")}
    assert [len(items[name]) for name in items] == [1, 1, 2, 0]
    assert items["copy"][0].reasons == (f"alike: near-duplicate of {items['taiji'][0].id}",)
    assert {(i.track, i.person, i.others) for i in items["two"]} == {(0, 0, 1), (1, 1, 1)}
    assert catalogue.rows("select state from sources where uri like '%broken.mp4'")[1] == [("failed",)]
    # The smaller of the two is followed, not whoever is most prominent.
    for item in (items["taiji"][0], items["copy"][0], items["two"][0]):
        refused = [
            dataclasses.replace(r, state="rejected")
            for r in catalogue.records("unit_id = ? and stage = 'tracks'", [item.id])
        ]
        catalogue.add_records(refused)
    run_corpus(root, RunOptions(workers=0), quiet)
    (done,) = catalogue.items("state = 'done'")
    assert (done.source_id, done.track) == (items["two"][1].source_id, 1)
    scores = {(s.stage, s.name): s.value for s in catalogue.scores("item_id = ?", [done.id])}
    assert scores["perceive", "presence"] > 0.9
    assert scores["refine", "pck_10"] > 0.8
    assert 0.0 <= scores["refine", "soiou"] < 0.35
    found = verify_corpus(root, quiet, sample=1)
    assert found.faults == ()
    assert found.projected == 1
    capture = root / item_folder(done.id) / "capture"
    observed = usable_capture(capture, "anny").observations()
    middle = 0.5 * (observed.box_px[:, 0] + observed.box_px[:, 2]).mean()
    anchors = sum(0.5 * (a[1] + a[3]) for a in done.anchors) / len(done.anchors)
    assert abs(float(middle) - anchors) < 30.0


def items_of(catalogue: Catalogue, name: str) -> list[Item]:
    return sorted(
        catalogue.items("source_id in (select id from sources where uri like ?)", [f"%/{name}.mp4"]),
        key=lambda i: i.track,
    )
