"""What cannot become an avatar is refused: exit code 1, one message that helps, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from e2e_clips import landscape, moov_at_the_end, write_clip

from bodydouble.cli.main import main


def refused(video: Path, out: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The message that `create` ends with."""
    code = main(["create", str(video), "-o", str(out), *more])
    error = capsys.readouterr().err
    assert code == 1, error
    assert "Traceback" not in error
    messages = [line for line in error.splitlines() if line.startswith("Error: ")]
    assert len(messages) == 1
    assert "should not" not in messages[0], messages[0]
    assert len(messages[0]) > 40
    assert not out.exists()
    return messages[0]


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    message = refused(tmp_path / "absent.mp4", tmp_path / "out", capsys)
    assert "absent.mp4" in message


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "clips").mkdir()
    refused(tmp_path / "clips", tmp_path / "out", capsys)


def test_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refused(tmp_path / "empty.mp4", tmp_path / "out", capsys)


@pytest.mark.parametrize("text", ["Dear diary,\n" * 50, "#EXTM3U\nhttp://example.com/a.ts\n", "\x00\x01\x02" * 400])
def test_something_else_named_mp4(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "text.mp4").write_text(text)
    assert "text.mp4" in refused(tmp_path / "text.mp4", tmp_path / "out", capsys)


def test_a_truncated_clip_without_its_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    whole = moov_at_the_end(tmp_path / "whole.mp4", landscape())
    data = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    assert "cut.mp4" in refused(tmp_path / "cut.mp4", tmp_path / "out", capsys)


def test_nobody_in_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clip = write_clip(tmp_path / "hills.mp4", landscape())
    message = refused(clip, tmp_path / "out", capsys)
    assert "hills.mp4" in message


def test_darkness(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clip = write_clip(tmp_path / "dark.mp4", [np.zeros((64, 64, 3), np.uint8)] * 4)
    refused(clip, tmp_path / "out", capsys)


def test_a_span_beyond_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clip = write_clip(tmp_path / "hills.mp4", landscape())
    refused(clip, tmp_path / "out", capsys, "--start-s", "100")


def test_a_folder_that_is_in_use_for_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clip = write_clip(tmp_path / "hills.mp4", landscape())
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    for more in ([], ["--resume"]):
        assert main(["create", str(clip), "-o", str(tmp_path / "photos"), *more]) == 1
        assert "nothing there is touched" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_place_where_nothing_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clip = write_clip(tmp_path / "hills.mp4", landscape())
    (tmp_path / "file").write_text("x")
    places = [tmp_path / "file" / "run"]
    if Path("/proc/self").exists():
        places.append(Path("/proc/bodydouble"))  # not even root can make a folder there
    for place in places:
        assert main(["create", str(clip), "-o", str(place)]) == 1
        error = capsys.readouterr().err
        assert "cannot be" in error
        assert "-o" in error
