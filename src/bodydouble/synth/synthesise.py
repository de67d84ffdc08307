"""A synthetic video of a performer, with the truth about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bodydouble.core.errors import OutputError
from bodydouble.core.events import Event
from bodydouble.synth.record import record
from bodydouble.synth.stage import SynthConfig, check_config, set_stage


def synthesise(
    out_dir: Path, config: SynthConfig | None = None, emit: Callable[[Event], None] = lambda event: None
) -> Path:
    """Film a seeded performer and write the video with the truth about it (docs/synth-format.md).

    The truth describes the body under the clothes as well as the clothes; masks include clothes and hair.

    Args:
        out_dir: New or empty; appears only when everything is written.
        config: What to film.
        emit: Is told about the progress.
    Returns:
        `out_dir`.
    Raises:
        ConfigError: When the length, the rate, the size or another choice makes no sense.
        InputError: When a motion or a wardrobe cannot be read.
        OutputError: When `out_dir` holds something already, or cannot be written.
    """
    config = config or SynthConfig()
    check_config(config)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise OutputError(f"{out_dir} exists and is not an empty folder. Choose a new folder with -o.")
    record(out_dir, set_stage(config, emit), emit)
    return out_dir
