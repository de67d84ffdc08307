"""Ctrl-C, as a terminal sends it, to a run of the real command: it ends cleanly, and the command it names goes on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bodydouble.capture.folder import Capture
from bodydouble.synth.stage import SynthConfig
from bodydouble.synth.synthesise import synthesise

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to a process group")


def test_ctrl_c_then_the_command_it_names(tmp_path: Path):
    synthesise(tmp_path / "p", SynthConfig(seed=3, seconds=1.0, fps=10.0, size=(240, 320), scene="room"))
    out = tmp_path / "my double"
    words = [sys.executable, "-m", "bodydouble", "capture", str(tmp_path / "p" / "video.mp4"), "-o", str(out)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("[1/2]"):  # the first stage is finished, the second has begun or is about to
            os.killpg(process.pid, signal.SIGINT)  # a terminal tells the helpers, too
            break
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130, "".join(said) + rest
    assert "Traceback" not in rest and "Interrupted. What was finished is kept. To go on:" in rest
    command = shlex.split(rest.strip().splitlines()[-1])
    assert command[0] == "bodydouble" and command[-1] == "--resume"
    again = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    assert "looking at every frame ..." not in again.stderr  # what was finished is kept
    assert Capture.open(out / "capture").has_track()
