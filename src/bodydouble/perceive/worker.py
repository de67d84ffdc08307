"""A worker process: `python -m bodydouble.perceive.worker`. Commands come as JSON lines on stdin, answers go to stdout.

The worker ends when its stdin is closed, so it never outlives the program that started it, however that one ended.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from bodydouble.capture.folder import info_from_json
from bodydouble.capture.video import read_frames
from bodydouble.core.errors import BodydoubleError


def main() -> None:
    """Serve commands until stdin is closed."""
    answers = _private_stdout()
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    commands: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    import torch

    torch.set_num_threads(1)
    while True:
        command = json.loads(commands.get())
        try:
            answer = _serve(command, answers)
        except BodydoubleError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        except Exception as error:  # noqa: BLE001 - the parent turns it into one clear error
            traceback.print_exc()
            answer = {"error": "unexpected", "text": f"{type(error).__name__}: {error}"}
        _say(answers, answer)


def _private_stdout() -> TextIO:
    """Keep stdout for answers alone: what libraries print goes to stderr."""
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return mine


def _listen(commands: queue.Queue[str]) -> None:
    for line in sys.stdin:
        commands.put(line)
    os._exit(3)  # the parent is gone or done with us, whatever we are busy with


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    except OSError:
        os._exit(3)


def _serve(command: dict[str, Any], answers: TextIO) -> dict[str, Any]:
    video = info_from_json(command["video"])
    if command["do"] == "people":
        from bodydouble.perceive.mediapipe_holistic import PersonFinder
        from bodydouble.perceive.subject import find_people

        with PersonFinder() as finder:
            found = [
                find_people(finder, f.rgb, f.index)
                for f in read_frames(video.path, command["frames"], video, threads=1)
            ]
        return {"people": [[dataclasses.asdict(p) for p in people] for people in found]}
    if command["do"] == "run":
        from bodydouble.perceive.estimate import estimate_run
        from bodydouble.perceive.parts import save_part
        from bodydouble.perceive.subject import Gate, Subject, person_from_json

        first, stop = command["frames"]
        anchors = tuple(person_from_json(p) for p in command["anchors"])
        gate = Gate(Subject(anchors=anchors, num_others=1)) if anchors else None
        part = estimate_run(
            video,
            range(first, stop),
            Path(command["masks"]),
            gate=gate,
            on_frame=lambda done: _say(answers, {"done": done}),
        )
        save_part(Path(command["part"]), part)
        return {"finished": True}
    raise ValueError(f"unknown command {command['do']!r}")


if __name__ == "__main__":
    main()
