"""The smallest run that still does everything, for end-to-end tests.

As a program: `python e2e_micro.py VIDEO OUT` makes or continues a run; with `STAGE COUNT` behind, it kills itself with
SIGKILL at the COUNT-th event that belongs to STAGE.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from bodydouble.core.events import Checkpointed, Event, Progress, Step
from bodydouble.pipeline.create import RunResult, create
from bodydouble.pipeline.presets import DRAFT, CreateConfig
from bodydouble.reconstruct.splats.config import SplatsConfig

MICRO: CreateConfig = replace(
    DRAFT,
    preset="micro",
    splats=SplatsConfig(num_steps=20, num_seeds=1500, max_splats=1800, max_frames=12, size_px=128, register_at=(0.5,)),
    threads=1,
    turntable_seconds=0.25,
)
SECONDS, FPS, SIZE = 16 / 12, 12.0, (240, 320)


def film_clip(folder: Path) -> Path:
    """16 frames of a synthetic performer: the video, with its truth beside it."""
    from bodydouble.synth.stage import SynthConfig
    from bodydouble.synth.synthesise import synthesise

    synthesise(folder, SynthConfig(seed=3, seconds=SECONDS, fps=FPS, size=SIZE, scene="room"))
    return folder / "video.mp4"


def micro_run(video: Path, out: Path, *, resume: bool = False, kill_at: tuple[str, int] | None = None) -> RunResult:
    """Create an avatar as fast as possible; perhaps die on the way."""
    counts: dict[str, int] = {}

    def listen(event: Event) -> None:
        name = event.stage if isinstance(event, Progress) else type(event).__name__
        if isinstance(event, Step | Checkpointed | Progress):
            counts[name] = counts.get(name, 0) + 1
            if kill_at is not None and kill_at[0] == name and counts[name] == kill_at[1]:
                os.kill(os.getpid(), signal.SIGKILL)

    return create(video, out, MICRO, listen, resume=resume)


if __name__ == "__main__":
    death = (sys.argv[3], int(sys.argv[4])) if len(sys.argv) > 3 else None
    micro_run(Path(sys.argv[1]), Path(sys.argv[2]), resume=True, kill_at=death)
