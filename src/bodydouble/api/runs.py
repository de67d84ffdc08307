"""Runs from Python: a video becomes an avatar, and what was found out about it."""

from __future__ import annotations

import base64
import functools
import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodydouble.api.avatars import Avatar, Posed, Turns, load
from bodydouble.core.errors import InputError
from bodydouble.core.files import read_json


def create(
    video: str | Path,
    out: str | Path | None = None,
    *,
    preset: str = "standard",
    resume: bool = False,
    progress: bool = True,
    **choices: Any,
) -> Run:
    """Turn a video of a person into an avatar. A run that was interrupted goes on with `resume=True`.

    Args:
        video: Any video file with one person in it; or a folder that `import` or `capture` left.
        out: Folder for the results, new or empty. By default the video's name with `-double`, in the current folder.
        preset: How much time to spend: `draft`, `standard` or `fine`.
        resume: Continue what an earlier call left in the folder, however it ended.
        progress: Say on standard error how far the work is.
        choices: Of `pipeline.presets.with_choices`: `height_cm`, `focal_px`, `start_s`, `end_s`, `seed`, `device`, ...
    Raises:
        InputError, NoSubjectError: When the video cannot be used.
        ConfigError: For a choice that makes no sense.
        OutputError: When the folder cannot be used, or the disk is full.
    """
    from bodydouble.cli.progress import ProgressPrinter
    from bodydouble.pipeline.adopt import ADOPT_STAGES, create_from_capture
    from bodydouble.pipeline.create import STAGES
    from bodydouble.pipeline.create import create as create_avatar
    from bodydouble.pipeline.presets import preset as preset_named
    from bodydouble.pipeline.presets import with_choices

    video = Path(video)
    config = with_choices(preset_named(preset), **choices)
    folder = Path(out) if out is not None else Path(f"{video.resolve().stem}-double")
    captured = video.is_dir()
    make = create_from_capture if captured else create_avatar
    with ProgressPrinter(ADOPT_STAGES if captured else STAGES, quiet=not progress) as emit:
        make(video, folder, config, emit, resume=resume)
    return Run(folder=folder)


def demo(
    out: str | Path = "demo",
    *,
    preset: str = "draft",
    seed: int = 7,
    seconds: float = 6.0,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Film a synthetic performer, make its avatar, and score it against the known truth. Needs no input.

    Args:
        out: Folder for the results, new or empty.
        preset: How much time to spend.
        seed: Another number is another performer.
        seconds: Length of the performance.
        resume: Continue an earlier demo in the folder.
        progress: Say on standard error how far the work is.
    """
    from bodydouble.cli.progress import ProgressPrinter
    from bodydouble.pipeline.demo import DEMO_STAGES, Performance
    from bodydouble.pipeline.demo import demo as perform
    from bodydouble.pipeline.presets import preset as preset_named

    performance = Performance(seed=seed, seconds=float(seconds))
    with ProgressPrinter(DEMO_STAGES, quiet=not progress) as emit:
        perform(Path(out), preset_named(preset), performance, emit, resume=resume)
    return Run(folder=Path(out))


def open_run(folder: str | Path) -> Run:
    """A run that is finished already.

    Raises:
        InputError: When the folder holds none, or one that has no report yet.
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise InputError(f"{folder} is not the folder of a run (run.json is missing). `create` makes one.")
    if not (folder / "report.json").is_file():
        raise InputError(f"{folder} holds a run that is not finished; continue it with `create(..., resume=True)`.")
    return Run(folder=folder)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run. In a notebook it shows its key figures."""

    folder: Path

    @functools.cached_property
    def avatar(self) -> Avatar:
        """The avatar it made."""
        return load(self.folder / "avatar.glb")

    @functools.cached_property
    def report(self) -> dict[str, Any]:
        """All of report.json."""
        return read_json(self.folder / "report.json")

    @property
    def verdict(self) -> str:
        """In one or two sentences, how good the double is."""
        return str(self.report["verdict"]["text"])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, and what would help."""
        return tuple(f"{w['message']} {w['advice']}".strip() for w in self.report["warnings"])

    @property
    def figures(self) -> dict[str, float | None]:
        """The figures to compare runs by; names carry the unit. What could not be measured is none."""
        report, heldout = self.report, self.report["heldout"]
        found = {
            "psnr_box_db": heldout["psnr_box"],
            "psnr_box_outlined_db": heldout.get("psnr_box_outlined"),
            "psnr_box_registered_db": heldout["psnr_box_registered"],
            "ssim_box_registered": heldout.get("ssim_box_registered"),
            "mask_iou": heldout["mask_iou"],
            "splats": report["splats"],
            "avatar_mb": report["avatar_mb"],
            "seconds": report["seconds"]["total"],
            "peak_rss_mb": report["peak_rss_mb"],
        }
        return {name: None if value is None else float(value) for name, value in found.items()}

    @property
    def files(self) -> dict[str, Path]:
        """What the run left for people, as far as it is there."""
        names = {"avatar": "avatar.glb", "report": "report.html", "turntable": "turntable.mp4", "capture": "capture"}
        return {name: self.folder / file for name, file in names.items() if (self.folder / file).exists()}

    def pose(self, turns: Turns | None = None, **choices: Any) -> Posed:
        """As `Avatar.pose` of the run's avatar."""
        return self.avatar.pose(turns, **choices)

    def _repr_html_(self) -> str:
        figures = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name.replace('_', ' '))}</th>"
            f"<td style='text-align:right'>{'unknown' if value is None else f'{value:,.4g}'}</td></tr>"
            for name, value in self.figures.items()
        )
        notes = "".join(f"<li>{html.escape(text)}</li>" for text in self.warnings)
        image = base64.b64encode(self.avatar._repr_png_()).decode("ascii")
        return (
            f"<div><p><b>{html.escape(str(self.folder))}</b>: {html.escape(self.verdict)}</p>"
            "<div style='display:flex;gap:1em;align-items:center'>"
            f"<img alt='avatar' style='max-height:320px' src='data:image/png;base64,{image}'><table>{figures}</table>"
            f"</div><ul>{notes}</ul></div>"
        )
