"""`bodydouble gallery`: finished runs, or new ones of synthetic performers, on one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodydouble.cli.answers import print_json
from bodydouble.cli.options import Compute


@dataclass(frozen=True, kw_only=True)
class Gallery(Compute):
    """Show doubles side by side on a page: pictures, turntables, figures, links. Without runs it makes some to show."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")] = ()
    """Folders of finished runs. Without any, doubles of synthetic performers are made (minutes each)."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")] = Path("gallery")
    """Folder for index.html and what it shows; new, or that of an earlier gallery."""
    performers: int = 3
    """How many performers, where no run is named. What an earlier, interrupted gallery finished is kept."""
    preset: Literal["draft", "standard", "fine"] = "draft"
    """How much time each performer's double may take."""
    seconds: float = 6.0
    """Length of each performance."""


Command = Annotated[Gallery, tyro.conf.subcommand("gallery")]


def run(command: Gallery) -> int:
    """`bodydouble gallery`."""
    from bodydouble.cli.progress import ProgressPrinter
    from bodydouble.core.errors import ConfigError
    from bodydouble.pipeline.create import use_threads
    from bodydouble.pipeline.demo import DEMO_STAGES, Performance, demo
    from bodydouble.pipeline.gallery import make_gallery
    from bodydouble.pipeline.presets import preset, with_choices

    if not command.runs and not 1 <= command.performers <= 100:
        raise ConfigError(f"--performers is {command.performers}; expected 1 to 100.")
    use_threads(command.threads)
    runs = list(command.runs)
    if not runs:
        config = with_choices(preset(command.preset), device=command.device, threads=command.threads)
        made = command.out.with_name(f"{command.out.name}-runs")
        for seed in range(1, command.performers + 1):
            runs.append(made / f"performer-{seed}")
            with ProgressPrinter(DEMO_STAGES) as emit:
                demo(runs[-1], config, Performance(seed=seed, seconds=command.seconds), emit, resume=True)
    with ProgressPrinter(()) as emit:
        exhibits = make_gallery(runs, command.out, emit, device=command.device)
    page = command.out / "index.html"
    if command.json:
        return print_json({"page": str(page), "doubles": [exhibit.name for exhibit in exhibits]})
    count = "One double is" if len(exhibits) == 1 else f"{len(exhibits)} doubles are"
    print(f"{count} shown in {page}.")
    return 0
