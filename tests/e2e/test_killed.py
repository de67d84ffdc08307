"""Kills at any moment cost nothing but time. In a file of its own: it takes as long as all the other runs together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from e2e_micro import film_clip

from bodydouble.avatar.glb import load_avatar


def test_killed_again_and_again_it_finishes_with_the_same_result(tmp_path: Path):
    """As a run that nobody killed; all in processes of their own, for to the bit means: whatever ran before in this one."""
    clip = film_clip(tmp_path / "performer")
    out, whole = tmp_path / "double", tmp_path / "whole"
    program = [sys.executable, str(Path(__file__).with_name("e2e_micro.py")), str(clip)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(folder: Path, *death: str) -> subprocess.CompletedProcess[str]:
        command = [*program, str(folder), *death]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)

    for stage, count in (("perceive", 3), ("fit", 1), ("Step", 7), ("Step", 5), ("evaluate", 1)):
        killed = run(out, stage, str(count))
        assert killed.returncode == -signal.SIGKILL, f"{stage}: {killed.stderr}"
    assert (out / "run.json").exists()
    for folder in (out, whole):
        finished = run(folder)
        assert finished.returncode == 0, finished.stderr
    assert not list(out.rglob("*.partial"))
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}
    ours, theirs = load_avatar(out / "avatar.glb").splats, load_avatar(whole / "avatar.glb").splats
    assert ours is not None and theirs is not None
    for name in ("means_rest_m", "quats_wxyz", "scales_m", "opacities", "sh"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=0)
    reports = [json.loads((folder / "report.json").read_text())["heldout"] for folder in (out, whole)]
    assert reports[0]["psnr_box"] == reports[1]["psnr_box"]
    assert reports[0]["psnr_box_registered"] == reports[1]["psnr_box_registered"]
