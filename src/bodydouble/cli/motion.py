"""`bodydouble motion`: motions as files of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodydouble.cli.options import Common


@dataclass(frozen=True, kw_only=True)
class Motion(Common):
    """Read the motion of the person in a video: `motion capture VIDEO -o OUT`."""

    do: Annotated[tyro.conf.Positional[Literal["capture"]], tyro.conf.arg(metavar="capture")]
    """What to do."""
    video: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="VIDEO")]
    """A face, close up or not, for a .csv; one person, at least from the hips up, for a .bvh."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """The motion: .csv (face, as the Live Link Face app records it) or .bvh (body with fingers)."""


Command = Annotated[Motion, tyro.conf.subcommand("motion")]


def run(command: Motion) -> int:
    """`bodydouble motion`."""
    import dataclasses
    import json

    from bodydouble.cli.progress import ProgressPrinter
    from bodydouble.pipeline.motion_capture import capture_motion

    with ProgressPrinter(()) as emit:
        result = capture_motion(command.video, command.out, emit)
    if command.json:
        print(json.dumps({"motion": str(command.out), **dataclasses.asdict(result)}, indent=2))
    else:
        print(f"{result.frames} frames written to {command.out}; the face was seen in {result.face_seen:.0%} of them.")
    return 0
