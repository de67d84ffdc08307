"""Writes report.html (one self-contained page) and report.json (the same figures) into a run folder."""

from __future__ import annotations

import base64
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bodydouble.core.files import write_json, write_text
from bodydouble.evaluate.protocol import HELDOUT_V1
from bodydouble.evaluate.results import HeldoutExample, HeldoutResult, MeanFigures, null_for_nan
from bodydouble.pipeline.coverage import UNSEEN_BELOW
from bodydouble.pipeline.report_charts import Line, line_chart, moving_spans
from bodydouble.pipeline.report_data import ReportData, StageSeconds
from bodydouble.pipeline.report_training import density_json, density_rows

REPORT_SCHEMA_VERSION = 1
EMBED_VIDEO_BELOW_BYTES = 3_000_000
"""A larger turntable is linked beside the page instead of being put into it."""
_TEMPLATE = Path(__file__).with_name("report_template.html")

_STAGES = ("perceive", "fit", "matte", "reconstruct", "evaluate", "report")
_STAGE_WORDS = {
    "perceive": "Find the person",
    "fit": "Fit the body",
    "matte": "Tell person from background",
    "reconstruct": "Build the double",
    "evaluate": "Score it",
    "report": "Report and turntable",
}
_GRADES: tuple[tuple[float, str, str], ...] = (
    (25.0, "very close", "A very close double"),
    (21.0, "close", "A close double"),
    (18.0, "recognisable", "A recognisable double"),
    (-math.inf, "rough", "A rough double"),
)
"""Lowest registered held-out PSNR in the person box, dB, of each grade. Published whole-body avatars score 18.7 to 20.4
dB on video from the web."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome in plain words."""

    grade: str
    """`very close`, `close`, `recognisable`, `rough`, or `not scored`."""
    headline: str
    sentences: tuple[str, ...]


def write_report(run_dir: Path, data: ReportData) -> None:
    """Write `report.html` and `report.json` into `run_dir`, each whole or not at all."""
    write_json(run_dir / "report.json", report_json(data))
    write_text(run_dir / "report.html", report_html(data))


def verdict_of(data: ReportData) -> Verdict:
    """What the figures mean, for somebody who has never heard of a decibel."""
    if data.heldout is None or not data.heldout.rows:
        return Verdict(
            grade="not scored",
            headline="A double, not scored",
            sentences=("No frame of the video was held out, so its likeness could not be measured.",),
        )
    mean = data.heldout.mean()
    figures = mean.figures
    registered = figures.psnr_box_registered
    decisive = registered if math.isfinite(registered) else figures.psnr_box
    grade, headline = next((grade, words) for lowest, grade, words in _GRADES if decisive >= lowest)
    how = f"{figures.psnr_box:.1f} dB with the pose from the fit alone"
    if math.isfinite(registered):
        how = f"{registered:.1f} dB in its best pose and {how}"
    sentences = [f"Compared with {mean.frames} frames it never learnt from, it reaches {how}."]
    iou = figures.mask_iou_registered if math.isfinite(registered) else figures.mask_iou
    sentences.append(f"Its outline agrees with the person's to {iou:.0%}.")
    if math.isfinite(data.total_seen):
        sentences.append(f"The video showed {data.total_seen:.0%} of the body's surface.")
    return Verdict(grade=grade, headline=headline, sentences=tuple(sentences))


def report_json(data: ReportData) -> dict[str, Any]:
    """The report as JSON values; what is unknown is null."""
    heldout = data.heldout or HeldoutResult(protocol=HELDOUT_V1, rows=(), skipped=())
    verdict = verdict_of(data)
    return {
        "schema_version": REPORT_SCHEMA_VERSION,
        "bodydouble": data.version,
        "verdict": {"grade": verdict.grade, "text": " ".join((verdict.headline + ".", *verdict.sentences))},
        "method": data.method,
        "preset": data.preset,
        "input": {
            "path": data.video.path,
            "sha256": data.video.sha256,
            "width_px": data.video.width_px,
            "height_px": data.video.height_px,
            "frames": data.video.num_frames,
            "fps_hz": null_for_nan(data.video.fps_hz),
            "codec": data.video.codec,
            "rotation_deg": data.video.rotation_deg,
            "frames_observed": data.frames_observed,
            "frames_with_subject": data.frames_with_subject,
            "focal_px": null_for_nan(data.focal_px),
            "focal_source": data.focal_source,
            "height_m": null_for_nan(data.height_m),
            "height_source": data.height_source,
        },
        "seconds": {name: null_for_nan(value) for name, value in asdict(data.seconds).items()},
        "peak_rss_mb": null_for_nan(data.peak_rss_mb),
        "splats": data.splats,
        "avatar_mb": null_for_nan(data.avatar_mb),
        "heldout": heldout.to_json(),
        "limbs": [
            {k: null_for_nan(v) if isinstance(v, float) else v for k, v in asdict(x).items()} for x in data.limbs
        ],
        "coverage": {
            "total_seen": null_for_nan(data.total_seen),
            "regions": {r.name: null_for_nan(r.seen_share) for r in data.regions},
            "never_seen": [r.name for r in data.regions if r.seen_share < UNSEEN_BELOW],
        },
        "truth": {name: null_for_nan(value) for name, value in data.truth.items()},
        "density": density_json(data.training),
        "surface": None if data.surface is None else {**data.surface.figures, "watertight": data.surface.watertight},
        "warnings": [asdict(w) for w in data.warnings],
        "provenance": dict(data.provenance),
    }


def report_html(data: ReportData) -> str:
    """The page as text. It loads nothing: pictures and a small enough video are in it, the rest lies beside it."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=format_number, percent=format_percent, pixels=format_pixels, duration=format_duration, uri=data_uri
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    heldout = data.heldout if data.heldout is not None and data.heldout.rows else None
    return template.render(
        data=data,
        verdict=verdict_of(data),
        heldout=heldout,
        groups=[] if heldout is None else _groups(heldout),
        examples=[] if heldout is None else [_example_row(heldout, e) for e in heldout.examples],
        figure_rows=_FIGURE_ROWS,
        psnr_chart=_psnr_chart(heldout),
        fit_chart=_fit_chart(data),
        stages=_stage_bars(data.seconds),
        density=density_rows(data.training),
        turntable_src=_turntable_src(data.turntable),
        file_name=Path(data.video.path).name,
        seen_from=UNSEEN_BELOW,
    )


def format_number(value: float | int, digits: int = 1) -> str:
    """A number with a fixed count of decimals and thin thousands; a dash where it is unknown."""
    return f"{value:,.{digits}f}".replace(",", "\u202f") if math.isfinite(value) else "\u2013"


def format_percent(value: float, digits: int = 0) -> str:
    """A share in [0, 1] as per cent; a dash where it is unknown."""
    return f"{100.0 * value:.{digits}f}\u202f%" if math.isfinite(value) else "\u2013"


def format_pixels(value: float) -> str:
    """A length in pixels; a dash where it is unknown."""
    return f"{value:.1f}\u202fpx" if math.isfinite(value) else "\u2013"


def format_duration(seconds: float) -> str:
    """Seconds for people: `8.2 s`, `1 min 23 s`; a dash where unknown."""
    if not math.isfinite(seconds):
        return "\u2013"
    if seconds < 59.95:
        return f"{seconds:.1f}\u202fs"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}\u202fmin {rest}\u202fs"


def data_uri(data: bytes, media_type: str) -> str:
    """Bytes as a URI that needs no request."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


_FIGURE_ROWS: tuple[tuple[str, str, str | None, str], ...] = (
    ("Person box, dB", "psnr_box", "psnr_box_registered", "db"),
    ("… outline on the mask, dB", "psnr_box_outlined", None, "db"),
    ("… pose interpolated, dB", "psnr_box_interpolated", None, "db"),
    ("… at native size, dB", "psnr_box_native", "psnr_box_native_registered", "db"),
    ("… structural similarity", "ssim_box", "ssim_box_registered", "unit"),
    ("Whole frame, dB", "psnr_full", "psnr_full_registered", "db"),
    ("Outline overlap (IoU)", "mask_iou", "mask_iou_registered", "unit"),
    ("Hands, dB", "psnr_hands", "psnr_hands_registered", "db"),
    ("Face, dB", "psnr_face", "psnr_face_registered", "db"),
)
"""Words, name of the figure with the fit's pose, name of the registered one, and how to print it."""


@dataclass(frozen=True, kw_only=True)
class _ExampleRow:
    example: HeldoutExample
    psnr_box: float
    psnr_box_registered: float
    moving: bool | None


@dataclass(frozen=True, kw_only=True)
class _StageBar:
    name: str
    words: str
    seconds: float
    share: float
    offset: float
    """Both in per cent of the longer of the total and the sum of the stages."""


def _groups(heldout: HeldoutResult) -> list[tuple[str, MeanFigures]]:
    found = [("all", heldout.mean()), ("still", heldout.still()), ("moving", heldout.moving())]
    return [(name, mean) for name, mean in found if mean.frames]


def _example_row(heldout: HeldoutResult, example: HeldoutExample) -> _ExampleRow:
    row = next(r for r in heldout.rows if r.frame_index == example.frame_index)
    return _ExampleRow(
        example=example,
        psnr_box=row.figures.psnr_box,
        psnr_box_registered=row.figures.psnr_box_registered,
        moving=row.moving,
    )


def _psnr_chart(heldout: HeldoutResult | None) -> str:
    if heldout is None:
        return ""
    times = [row.time_s for row in heldout.rows]
    return line_chart(
        "Likeness of each held-out frame over time",
        (
            Line(
                name="pose from the fit",
                css_class="second",
                times_s=times,
                values=[row.figures.psnr_box for row in heldout.rows],
                unit=" dB",
            ),
            Line(
                name="pose registered",
                css_class="first",
                times_s=times,
                values=[row.figures.psnr_box_registered for row in heldout.rows],
                unit=" dB",
            ),
        ),
        y_label="dB in the person box",
        shaded=moving_spans(times, [row.moving for row in heldout.rows]),
    )


def _fit_chart(data: ReportData) -> str:
    return line_chart(
        "How well the fitted body explains each frame",
        (
            Line(
                name="fit",
                css_class="first",
                times_s=[q.time_s for q in data.frame_quality],
                values=[100.0 * q.quality for q in data.frame_quality],
                unit=" %",
                dots=len(data.frame_quality) <= 60,
            ),
        ),
        y_label="quality of the fit, %",
        y_range=(0.0, 100.0),
    )


def _stage_bars(seconds: StageSeconds) -> list[_StageBar]:
    known = [(name, getattr(seconds, name)) for name in _STAGES if math.isfinite(getattr(seconds, name))]
    whole = max(sum(value for _, value in known), seconds.total if math.isfinite(seconds.total) else 0.0, 1e-9)
    bars: list[_StageBar] = []
    offset = 0.0
    for name, value in known:
        share = 100.0 * value / whole
        bars.append(_StageBar(name=name, words=_STAGE_WORDS[name], seconds=value, share=share, offset=offset))
        offset += share
    return bars


def _turntable_src(turntable: Path | None) -> str | None:
    if turntable is None or not turntable.is_file():
        return None
    if turntable.stat().st_size < EMBED_VIDEO_BELOW_BYTES:
        return data_uri(turntable.read_bytes(), "video/mp4")
    return turntable.name
