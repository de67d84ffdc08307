"""A gallery: finished runs side by side on one page, each with its picture, turntable, figures and files.

OUT/index.html        the page; everything it shows lies beside it, nothing is fetched from elsewhere
OUT/NAME/...          of each run: picture.png, turntable.mp4, report.html, avatar.glb, and page.html where it can be built
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bodydouble.avatar.values import Avatar
from bodydouble.core.errors import InputError, MissingDependencyError, OutputError
from bodydouble.core.events import Progress
from bodydouble.core.files import atomic_path, read_json, write_text
from bodydouble.pipeline.layout import AVATAR, REPORT_HTML, REPORT_JSON, TURNTABLE
from bodydouble.pipeline.stages import Emit

_WIDTH_PX, _HEIGHT_PX = 480, 640
_BACKGROUND = (0.263, 0.266, 0.278)
"""The template's, around the pictures."""
_MARK = "<!-- bodydouble gallery -->"


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One run as the page shows it."""

    name: str
    verdict: str
    figures: tuple[tuple[str, str], ...]
    """What is measured, and the figure with its unit."""
    files: tuple[str, ...]
    """Names of files in its folder that are there."""


def make_gallery(runs: Sequence[Path], out: Path, emit: Emit, *, device: str = "auto") -> tuple[Exhibit, ...]:
    """Write a gallery of finished runs.

    Args:
        runs: Folders of runs, in the order of the page.
        out: Folder for the page; a new one, or one with an earlier gallery, which is replaced.
        emit: Told about progress.
        device: Renders the pictures.
    Raises:
        InputError: When a folder holds no finished run.
        OutputError: When `out` holds something else.
    """
    for run in runs:
        if not (run / REPORT_JSON).is_file() or not (run / AVATAR).is_file():
            raise InputError(f"{run} holds no finished run ({REPORT_JSON} or {AVATAR} is missing). `create` makes one.")
    page = out / "index.html"
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _is_gallery(page))):
        raise OutputError(f"{out} exists and holds no gallery: nothing there is touched. Choose a new folder with -o.")
    names = _distinct([run.resolve().name for run in runs])
    exhibits = []
    for done, (name, run) in enumerate(zip(names, runs, strict=True)):
        emit(Progress(stage="gallery", done=done, total=len(runs), unit="runs"))
        with atomic_path(out / name) as folder:
            folder.mkdir()
            exhibits.append(_exhibit(name, run, folder, device))
    write_text(page, _page(exhibits))
    emit(Progress(stage="gallery", done=len(runs), total=len(runs), unit="runs"))
    return tuple(exhibits)


def _is_gallery(page: Path) -> bool:
    return page.is_file() and _MARK in page.read_text(encoding="utf-8", errors="replace")


def _distinct(names: Sequence[str]) -> list[str]:
    """Names made different by numbers where several runs share one."""
    found: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in found or candidate == "index.html":
            candidate, number = f"{name}-{number}", number + 1
        found.append(candidate)
    return found


def _exhibit(name: str, run: Path, folder: Path, device: str) -> Exhibit:
    from bodydouble.avatar.glb import load_avatar

    avatar = load_avatar(run / AVATAR)
    for file in (AVATAR, TURNTABLE, REPORT_HTML):
        if (run / file).is_file():
            shutil.copyfile(run / file, folder / file)
    _write_picture(avatar, folder / "picture.png", device)
    try:
        from bodydouble.avatar.builtin import BUILTIN_MOTIONS
        from bodydouble.avatar.export.html import load_bundle
        from bodydouble.pipeline.export import ExportChoices, export_avatar
        from bodydouble.pipeline.motions import find_motion

        load_bundle()  # before the motions are made for it
        motions = tuple(find_motion(motion, avatar, 30.0) for motion in BUILTIN_MOTIONS)
        export_avatar(avatar, "html", folder / "page.html", ExportChoices(motions=motions))
    except MissingDependencyError:
        pass  # the page's program was not built here: the gallery is whole without it
    report = read_json(run / REPORT_JSON)
    files = tuple(sorted(path.name for path in folder.iterdir()))
    try:
        return Exhibit(name=name, verdict=str(report["verdict"]["text"]), figures=_figures(report), files=files)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{run / REPORT_JSON} is damaged or of another version ({error!r}). Make the report again: "
            "bodydouble create ... --resume."
        ) from error


def _write_picture(avatar: Avatar, out: Path, device: str) -> None:
    import torch
    from PIL import Image

    from bodydouble.pipeline.motions import find_motion
    from bodydouble.pipeline.playback import Playback, rendered_frames
    from bodydouble.render.select import make_rasterizer

    motion = find_motion("wave", avatar, 30.0)
    middle = motion.num_frames // 2
    moment = motion.replace(
        rotvecs=motion.rotvecs[middle : middle + 1],
        translation_world_m=motion.translation_world_m[middle : middle + 1],
        expression=motion.expression[middle : middle + 1],
    )
    playback = Playback(
        camera="orbit",
        width_px=_WIDTH_PX,
        height_px=_HEIGHT_PX,
        seconds=1.0 / 30.0,
        start_azimuth_rad=0.3,
        background=_BACKGROUND,
    )
    with torch.no_grad():
        pixels = next(rendered_frames(avatar, moment, playback, make_rasterizer(device)))
    with atomic_path(out) as partial:
        Image.fromarray(pixels).save(partial, format="PNG")


def _figures(report: dict) -> tuple[tuple[str, str], ...]:
    heldout, seconds = report["heldout"], report["seconds"]["total"]
    rows = [
        ("picture, best pose", heldout["psnr_box_registered"], "dB", 1),
        ("picture, pose of the fit", heldout["psnr_box"], "dB", 1),
        ("outline overlap, pose of the fit", heldout["mask_iou"], "", 3),
        ("splats", report["splats"], "", 0),
        ("avatar.glb", report["avatar_mb"], "MB", 1),
        ("time", seconds / 60.0, "min", 1),
    ]
    return tuple((name, f"{v:,.{digits}f} {unit}".strip()) for name, v, unit, digits in rows if v)


def _page(exhibits: Sequence[Exhibit]) -> str:
    from jinja2 import Environment, select_autoescape

    environment = Environment(autoescape=select_autoescape(default=True, default_for_string=True), trim_blocks=True)
    text = Path(__file__).with_name("gallery_template.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(exhibits=exhibits, mark=_MARK)
