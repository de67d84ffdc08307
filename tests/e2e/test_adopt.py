"""`create` with a capture in place of a video: what was imported becomes an avatar, with the body and masks it has."""

from __future__ import annotations

import json
from pathlib import Path

import foreign_sets as sets
import pytest
import torch
from e2e_micro import MICRO

from bodydouble.capture.folder import Capture, write_mask
from bodydouble.cli.main import main
from bodydouble.core.errors import InputError, OutputError
from bodydouble.pipeline.adopt import create_from_capture, find_capture
from bodydouble.pipeline.create import RunResult
from bodydouble.pipeline.import_ import ImportChoices, import_capture


def ignore(event: object) -> None:
    pass


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen frames of a person of capsules, in somebody else's layout, imported."""
    folder = tmp_path_factory.mktemp("adopt")
    (folder / "theirs").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "FRAMES", 16)
        sets.write_peoplesnapshot(folder / "theirs")
    import_capture(folder / "theirs", folder / "imported", ImportChoices(fps_hz=12.0), ignore)
    given = Capture.open(folder / "imported/capture")
    mask = given.mask(3)
    assert mask is not None
    write_mask(given.mattes_folder, 3, mask)
    return folder / "imported"


@pytest.fixture(scope="module")
def finished(imported: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return create_from_capture(imported, tmp_path_factory.mktemp("adopted") / "run", MICRO, ignore)


def test_an_imported_capture_becomes_an_avatar(finished: RunResult, imported: Path):
    assert [record.name for record in finished.records] == ["adopt", "reconstruct", "report"]
    report = json.loads((finished.folder / "report.json").read_text())
    assert report["heldout"]["frames"] == 2
    assert report["heldout"]["mask_iou"] > 0.6
    assert report["heldout"]["psnr_box"] > 12.0
    assert report["seconds"]["perceive"] is None
    assert report["limbs"] == []
    assert "never_tracked" not in {warning["code"] for warning in report["warnings"]}
    theirs, ours = Capture.open(imported / "capture"), Capture.open(finished.folder / "capture")
    assert torch.equal(theirs.track().rotvecs, ours.track().rotvecs)
    assert ours.stage("import") == theirs.stage("import")  # frame names and split are kept
    assert len(list(ours.masks_folder.glob("*.png"))) == 16
    assert [path.name for path in ours.mattes_folder.iterdir()] == ["000003.png"]


def test_resuming_does_nothing_and_edits_are_noticed(finished: RunResult, imported: Path):
    again = create_from_capture(imported / "capture", finished.folder, MICRO, ignore, resume=True)
    assert again.records == finished.records


def test_what_cannot_be_adopted(imported: Path, finished: RunResult, tmp_path: Path):
    with pytest.raises(InputError, match="holds no capture"):
        create_from_capture(tmp_path, tmp_path / "out", MICRO, ignore)
    assert find_capture(tmp_path) is None
    assert not (tmp_path / "out").exists()
    with pytest.raises(OutputError, match="is the capture itself"):
        create_from_capture(imported, imported, MICRO, ignore)
    with pytest.raises(OutputError, match="already holds a run"):
        create_from_capture(imported, finished.folder, MICRO, ignore)
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in (imported / "capture").iterdir():
        if file.is_file() and file.name != "body.safetensors":
            (bare / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match=r"holds no fitted body\. To have one fitted: bodydouble create .*frames\.mp4"):
        create_from_capture(bare, tmp_path / "out", MICRO, ignore)


def test_options_that_change_nothing_are_refused(imported: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["create", str(imported), "--height-cm", "180", "--start-s", "1"]) == 1
    assert "--start-s and --height-cm can change nothing" in capsys.readouterr().err
