"""Make an avatar from Python, with settings that no preset has.

python examples/04_settings_of_your_own.py clip.mp4 my-double
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from bodydouble.core.events import Event, Warned
from bodydouble.pipeline.create import RunResult, create
from bodydouble.pipeline.presets import CreateConfig, preset, with_choices


def main(video: Path, out: Path, config: CreateConfig | None = None) -> RunResult:
    """Twice the splats of `draft`, and a known height."""
    if config is None:
        draft = preset("draft")
        config = with_choices(replace(draft, splats=replace(draft.splats, max_splats=28_000)), height_cm=172.0)

    def listen(event: Event) -> None:
        if isinstance(event, Warned):
            print(f"note: {event.message} {event.advice}")

    result = create(video, out, config, listen, resume=True)
    print(f"{out}/avatar.glb after {result.seconds:.0f} s")
    return result


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
