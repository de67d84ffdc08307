"""Clips of real people that ask for a warning or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from e2e_micro import MICRO

from bodydouble.cli.main import main
from bodydouble.core.errors import NoSubjectError
from bodydouble.pipeline.create import create


def video(data_folder: Path, name: str) -> Path:
    path = data_folder / "videos" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


def test_head_and_shoulders_alone(data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Refused with a reason, and nothing left behind."""
    clip = video(data_folder, "edge_face_only.mp4")
    code = main(["create", str(clip), "-o", str(tmp_path / "double"), "--end-s", "0.7"])
    error = capsys.readouterr().err
    assert code == 1
    assert "Error: " in error
    assert "should not" not in error
    assert not (tmp_path / "double").exists()


def test_two_people(data_folder: Path, tmp_path: Path):
    """One of them is taken, and that is said."""
    clip = video(data_folder, "edge_two_people.mp4")
    config = replace(MICRO, perceive=replace(MICRO.perceive, end_s=0.3))
    try:
        result = create(clip, tmp_path / "double", config, lambda event: None)
    except NoSubjectError as error:
        pytest.fail(f"somebody is in view: {error}")
    assert "several_people" in {warning.code for warning in result.warnings}
    assert (tmp_path / "double" / "avatar.glb").exists()
