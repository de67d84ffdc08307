"""A tiny synthetic clip through the whole chain: what a run leaves, resuming, short clips, commands, examples."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from e2e_clips import write_clip
from e2e_estimates import error_mm, write_noisy_sam3d
from e2e_micro import FPS, MICRO, SECONDS, SIZE, film_clip, micro_run

from bodydouble.avatar.glb import load_avatar
from bodydouble.capture.folder import Capture
from bodydouble.capture.video import probe, read_frames
from bodydouble.cli.main import main
from bodydouble.core.errors import OutputError
from bodydouble.core.events import Progress
from bodydouble.pipeline.create import RunResult, capture
from bodydouble.pipeline.demo import Performance, demo
from bodydouble.pipeline.estimate_choices import EstimateChoices
from bodydouble.pipeline.motion_capture import capture_motion
from bodydouble.pipeline.motion_files import convert_motion
from bodydouble.synth.truth import read_truth

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
REPORT_KEYS = ("seconds", "peak_rss_mb", "splats", "avatar_mb", "heldout", "warnings")
HELDOUT_KEYS = (
    "frames", "protocol", "psnr_box", "psnr_box_registered", "ssim_box", "psnr_full", "mask_iou", "psnr_hands",
    "psnr_face",
)  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_clip(tmp_path_factory.mktemp("performer"))


@pytest.fixture(scope="module")
def finished(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run of that clip that nothing disturbed. Read only."""
    return micro_run(clip, tmp_path_factory.mktemp("run") / "double")


def test_what_a_run_leaves(finished: RunResult, clip: Path):
    left = {path.name for path in finished.folder.iterdir()}
    assert left == {
        "avatar.glb", "capture", "checkpoints", "report.html", "report.json", "run.json", "turntable.mp4",
    }  # fmt: skip
    assert not list(finished.folder.rglob("*.partial"))
    avatar = load_avatar(finished.folder / "avatar.glb")
    assert avatar.splats is not None
    assert avatar.mesh is not None
    # The mouth's inside and the lining of face and neck: baked, beside those that training may have.
    hidden = 800 + 4000
    assert 500 < len(avatar.splats.means_rest_m) <= MICRO.splats.max_splats + hidden
    assert avatar.provenance.source_sha256 == probe(clip).sha256
    assert probe(finished.folder / "turntable.mp4").num_frames > 1
    html = (finished.folder / "report.html").read_text(encoding="utf-8")
    assert "heldout-v1" in html


def test_a_new_video_is_laid_on_the_double(finished: RunResult, clip: Path, tmp_path: Path):
    laid = capture_motion(clip, tmp_path / "laid.npz", lambda event: None, avatar=finished.folder)
    assert (laid.frames, laid.with_body) == (round(SECONDS * FPS), True)
    convert_motion(finished.folder, tmp_path / "fitted.npz")
    with np.load(tmp_path / "fitted.npz") as before, np.load(tmp_path / "laid.npz") as after:
        moved = np.abs(after["pose_body"] - before["pose_body"]).max(axis=1)
    assert moved.min() > 1e-4 and np.median(moved) < 1.0


def test_the_figures(finished: RunResult):
    report = json.loads((finished.folder / "report.json").read_text())
    assert [key for key in REPORT_KEYS if key not in report] == []
    assert [key for key in HELDOUT_KEYS if key not in report["heldout"]] == []
    assert report["heldout"]["frames"] == 2  # 7 and 15
    assert report["heldout"]["protocol"] == "heldout-v1"
    assert report["heldout"]["psnr_box"] > 12.0
    assert report["heldout"]["mask_iou"] > 0.6
    assert {"perceive", "fit", "matte", "reconstruct", "total"} <= set(report["seconds"])
    assert report["seconds"]["total"] == pytest.approx(finished.seconds, rel=0.2, abs=2.0)
    assert 200 < report["peak_rss_mb"] < 4000
    codes = {warning["code"] for warning in report["warnings"]}
    assert "height_assumed" in codes
    assert "never_seen" in codes or "little_seen" in codes  # a second from the front shows no back


def test_the_ledger(finished: RunResult, clip: Path):
    ledger = json.loads((finished.folder / "run.json").read_text())
    assert list(ledger["stages"]) == ["perceive", "fit", "matte", "reconstruct", "report"]
    assert ledger["about"]["config"]["splats"]["num_steps"] == 20
    assert ledger["about"]["video"]["sha256"] == probe(clip).sha256
    for stage in ledger["stages"].values():
        assert stage["outputs"]
        assert all(len(output["sha256"]) == 64 for output in stage["outputs"])


def test_resuming_a_finished_run_does_nothing(finished: RunResult, clip: Path):
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*") if path.name not in ("run.json",)}
    again = micro_run(clip, finished.folder, resume=True)
    assert again.records == finished.records
    after = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*") if path.name not in ("run.json",)}
    del before[finished.folder / "capture"], after[finished.folder / "capture"]
    assert {k: v for k, v in after.items() if k.is_file()} == {k: v for k, v in before.items() if k.is_file()}


def test_a_tracker_s_noisy_start_ends_where_the_fit_ends_by_itself(finished: RunResult, clip: Path, tmp_path: Path):
    """Only fit and mattes are done again; keypoints of a person 8 % larger and farther, 2 cm of noise, two frames missing."""
    truth = read_truth(clip.parent)
    write_noisy_sam3d(tmp_path / "theirs", truth)
    shutil.copytree(finished.folder, tmp_path / "run")
    config = replace(MICRO, estimate=EstimateChoices(path=tmp_path / "theirs"))
    result = capture(clip, tmp_path / "run", config, lambda event: None, resume=True)
    assert [record.name for record in result.records[-2:]] == ["fit", "matte"]
    own, begun_there = (Capture.open(run / "capture").track() for run in (finished.folder, tmp_path / "run"))
    assert not torch.equal(own.rotvecs, begun_there.rotvecs)
    assert error_mm(begun_there, truth) < 1.1 * error_mm(own, truth)


def test_a_used_folder_and_another_video_are_refused(finished: RunResult, clip: Path, tmp_path: Path):
    with pytest.raises(OutputError, match="already holds a run"):
        micro_run(clip, finished.folder)
    frames = [frame.rgb for frame in read_frames(clip, [0, 1])]
    other = write_clip(tmp_path / "other.mp4", frames)
    with pytest.raises(OutputError, match="holds the run of another video"):
        micro_run(other, finished.folder, resume=True)


@pytest.mark.parametrize(("count", "fps"), [(1, 12.0), (8, 12.0), (10, 5.0)])
def test_short_and_slow_clips(clip: Path, tmp_path: Path, count: int, fps: float):
    frames = [frame.rgb for frame in read_frames(clip, list(range(count)))]
    video = write_clip(tmp_path / "short.mp4", frames, fps)
    result = micro_run(video, tmp_path / "double")
    assert load_avatar(tmp_path / "double" / "avatar.glb").splats is not None
    report = json.loads((tmp_path / "double" / "report.json").read_text())
    assert report["heldout"]["frames"] == (0 if count < 8 else 1)
    if count < 8:
        assert report["heldout"]["psnr_box"] is None
    assert result.warnings  # about few frames, or few frames a second, or what was not seen


def test_pictures_like_the_video(finished: RunResult, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from PIL import Image

    words = ["render", str(finished.folder), "--like", str(finished.folder / "capture")]
    assert main([*words, "--frames", "heldout", "-o", str(tmp_path / "fit")]) == 0
    assert main([*words, "--frames", "heldout", "--poses", "registered", "-o", str(tmp_path / "reg")]) == 0
    for folder in ("fit", "reg"):
        names = sorted(p.name for p in (tmp_path / folder).iterdir())
        assert names == ["frame_000007.png", "frame_000015.png"]
        with Image.open(tmp_path / folder / names[0]) as picture:
            assert picture.mode == "RGBA"
            assert picture.size == SIZE
            alpha = np.asarray(picture)[..., 3]
        mask = Capture.open(finished.folder / "capture").mask(7)
        assert mask is not None
        inside, outside = alpha[mask > 200].mean(), alpha[mask < 20].mean()
        assert inside > 150
        assert outside < 40
    assert main([*words, "-o", str(tmp_path / "fit")]) == 1
    assert "is not an empty folder" in capsys.readouterr().err


def test_a_video_of_the_avatar(finished: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "wave.mp4"
    words = ["render", str(finished.folder / "avatar.glb"), "--motion", "wave", "--expression", "smile"]
    more = ["--size", "64x80", "--fps", "6", "--seconds", "1", "--background", "#102030", "-o", str(out), "--json"]
    assert main([*words, *more]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 6
    info = probe(out)
    assert (info.num_frames, info.width_px, info.height_px) == (6, 64, 80)


def test_evaluate_repeats_the_report(finished: RunResult, capsys: pytest.CaptureFixture[str]):
    words = ["evaluate", str(finished.folder), "--protocol", "heldout-v1", "--threads", "1"]
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    report = json.loads((finished.folder / "report.json").read_text())
    assert figures["psnr_box"] == pytest.approx(report["heldout"]["psnr_box"], abs=1e-3)
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "psnr_box_registered" in text
    assert "never masked by the truth" in text


def test_an_avatar_and_its_own_pictures_get_the_same_figures(
    finished: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, pictures = str(finished.folder), str(tmp_path / "pictures")
    like = ["--like", f"{run}/capture", "--frames", "heldout-pairs", "--threads", "1"]
    assert main(["render", run, *like, "-o", pictures]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--threads", "1", "--json"]) == 0
    direct = json.loads(capsys.readouterr().out)
    assert main(["evaluate", run, "--predictions", pictures, "--threads", "1", "--json"]) == 0
    through = json.loads(capsys.readouterr().out)
    assert direct["protocol"] == through["protocol"] == "bodydouble-v1"
    assert direct["psnr_box"] is not None and direct["flicker_box"] is not None
    assert through["columns"]["predictions"]["all"] == direct["columns"]["fit"]["all"]
    assert main(["evaluate", run, "--predictions", pictures, "--threads", "1"]) == 0
    assert "Protocol bodydouble-v1" in capsys.readouterr().out


def test_capture_then_create(finished: RunResult, clip: Path, tmp_path: Path):
    """What `capture` leaves is what `create` goes on from."""
    out = tmp_path / "double"
    shutil.copytree(finished.folder, out)
    for name in ("avatar.glb", "report.html", "report.json", "turntable.mp4"):
        (out / name).unlink()
    stages: set[str] = set()
    from bodydouble.pipeline.create import create

    create(clip, out, MICRO, lambda e: stages.add(e.stage) if isinstance(e, Progress) else None, resume=True)
    assert "perceive" not in stages  # done before
    assert (out / "avatar.glb").exists()


def test_the_demo_scores_against_the_truth(tmp_path: Path):
    performance = Performance(seed=3, seconds=SECONDS, fps_hz=FPS, width_px=SIZE[0], height_px=SIZE[1])
    result = demo(tmp_path / "demo", MICRO, performance, lambda event: None)
    assert 0 < result.truth["pose_error_aligned_mm"] < 80
    assert result.truth["pose_error_aligned_mm"] <= result.truth["pose_error_mm"]
    assert result.truth["joint_error_px"] < 0.05 * SIZE[1]
    assert result.truth["mask_iou"] > 0.8
    assert result.truth["avatar_iou"] > 0.6
    assert (tmp_path / "demo" / "performer" / "video.mp4").exists()
    assert "pose_error_mm" in (tmp_path / "demo" / "report.json").read_text()


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run_here():
    source = Path(__file__).read_text(encoding="utf-8")
    examples = [path.stem for path in EXAMPLES.glob("*.py")]
    assert len(examples) >= 6
    assert [name for name in examples if f'load_example("{name}").main(' not in source] == []


def test_examples(finished: RunResult, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from avatar_fakes import bvh_text, humanoid_rig
    from PIL import Image

    avatar = finished.folder / "avatar.glb"
    load_example("01_pose_an_avatar").main(avatar, tmp_path / "pose.png")
    with Image.open(tmp_path / "pose.png") as picture:
        assert 0.02 < (np.asarray(picture) < 250).any(-1).mean() < 0.6
    rig = humanoid_rig()
    bvh = bvh_text(rig, torch.zeros(6, len(rig.bone_names), 3), rig.joints_rest_m[0].expand(6, 3), fps_hz=12.0)
    (tmp_path / "stand.bvh").write_text(bvh)
    load_example("02_dance_to_a_bvh").main(avatar, tmp_path / "stand.bvh", tmp_path / "stand.mp4", 48, 64)
    assert probe(tmp_path / "stand.mp4").num_frames >= 6
    assert load_avatar(tmp_path / "stand.glb").splats is not None
    load_example("03_look_into_a_capture").main(finished.folder / "capture")
    assert "left_arm" in capsys.readouterr().out
    result = load_example("04_settings_of_your_own").main(clip, finished.folder, MICRO)
    assert result.records == finished.records
    load_example("05_in_a_few_lines").main(avatar, tmp_path / "few", 96, 128)
    assert {path.name for path in (tmp_path / "few").iterdir()} == {
        "wave.png", "face.png", "dance.png", "side.png", "dancing.glb"
    }  # fmt: skip
    with Image.open(tmp_path / "few" / "dance.png") as strip, Image.open(tmp_path / "few" / "face.png") as face:
        assert strip.size == (160, 42) and face.mode == "RGBA"
    table = load_example("06_compare_runs").main([finished.folder, finished.folder]).splitlines()
    assert len(table) == 4 and table[2] == table[3] and table[2].startswith(f"| {finished.folder.name} | ")


def test_the_notebook_runs(finished: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("BODYDOUBLE_RUN", str(finished.folder))
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert {"text/html", "image/png"} <= shown
    assert (tmp_path / "dance.mp4").is_file() and (tmp_path / "double.spz").is_file()


def test_a_gallery_of_runs(finished: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import re

    out = tmp_path / "gallery"
    assert main(["gallery", str(finished.folder), str(finished.folder), "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["doubles"] == ["double", "double-2"]
    page = (out / "index.html").read_text(encoding="utf-8")
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {"double/picture.png", "double-2/turntable.mp4", "double/report.html", "double/avatar.glb"} <= set(linked)
    assert all((out / link).is_file() for link in linked) and "http" not in page
    from PIL import Image

    with Image.open(out / "double" / "picture.png") as picture:
        pixels = np.asarray(picture).astype(int)
    assert 0.02 < (np.abs(pixels - pixels[0, 0]).max(-1) > 8).mean() < 0.6
    assert main(["gallery", str(finished.folder), "-o", str(out), "-q"]) == 0  # takes the place of the first
    assert "double-2" not in (out / "index.html").read_text(encoding="utf-8")
    capsys.readouterr()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    assert main(["gallery", str(finished.folder), "-o", str(tmp_path / "photos")]) == 1
    assert "nothing there is touched" in capsys.readouterr().err
    assert main(["gallery", str(tmp_path / "photos"), "-o", str(out)]) == 1
    assert "holds no finished run" in capsys.readouterr().err
