"""Worker processes: none is ever left behind, and their troubles arrive as one clear error."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bodydouble.capture.folder import info_to_json
from bodydouble.capture.values import VideoInfo
from bodydouble.capture.video import probe
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.errors import BodydoubleError, InputError
from bodydouble.perceive.workers import Workers

MISSING = VideoInfo(
    path="/nowhere/clip.mp4", width_px=4, height_px=4, num_frames=1, fps_hz=30.0, times_s=(0.0,), rotation_deg=0, codec="h264"
)  # fmt: skip
COMMAND = {
    "do": "run",
    "video": info_to_json(MISSING),
    "frames": [0, 1],
    "masks": "/nowhere",
    "part": "/nowhere/p",
    "anchors": [],
}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def wait_until_gone(pid: int, seconds: float) -> bool:
    try:
        process = os.pidfd_open(pid)  # Linux only
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], seconds)[0])  # it becomes readable when the process ends
    finally:
        os.close(process)


def test_errors_come_back_as_what_they_are() -> None:
    with Workers(1) as workers:
        with pytest.raises(InputError, match=r"clip\.mp4 does not exist"):
            workers.ask([COMMAND])
        with pytest.raises(
            BodydoubleError, match=r"Looking for landmarks failed \(ValueError: unknown command 'dance'\)"
        ):
            workers.ask([{**COMMAND, "do": "dance"}])
        pid = workers._processes[0].pid
    assert not is_alive(pid)


def test_one_worker_serves_several_commands_and_stays(tmp_path: Path) -> None:
    """People are looked for in two parts of a clip, by one process and by two: the same answers, in the same order."""
    with VideoWriter(tmp_path / "noise.mp4", 24, 64, 48) as video:
        for n in range(4):
            video.write(np.random.default_rng(n).integers(0, 255, (48, 64, 3), np.uint8))
    facts = info_to_json(probe(tmp_path / "noise.mp4"))
    commands = [{"do": "people", "video": facts, "frames": frames} for frames in ([0, 1, 2], [3])]
    with Workers(1) as one:
        answers, again = one.ask(commands), one.ask(commands[1:])
    assert [len(answer["people"]) for answer in answers] == [3, 1]
    assert again == answers[1:]
    with Workers(2) as two:
        assert two.ask(commands) == answers


def test_a_killed_worker_is_an_error_and_the_others_go() -> None:
    with Workers(2) as workers:
        pids = [p.pid for p in workers._processes]
        os.kill(pids[1], signal.SIGKILL)
        with pytest.raises(BodydoubleError, match=r"has ended unexpectedly \(exit status -9"):
            workers.ask([{**COMMAND, "do": "wait"}, COMMAND])
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_workers_die_with_a_killed_parent() -> None:
    code = (
        "import sys\n"
        "from bodydouble.perceive.workers import Workers\n"
        "workers = Workers(1)\n"
        "print(workers._processes[0].pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
        parent.wait()
        assert wait_until_gone(pid, 60.0)
    finally:
        parent.kill()
        parent.communicate()
