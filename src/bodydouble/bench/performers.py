"""Suites `fit`, `create` and `quality`: a fixed set of synthetic performers by seed, whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bodydouble.bench.conditions import CONDITIONS, Condition, conditioned, true_poses
from bodydouble.bench.measure import timing
from bodydouble.bench.rows import Row
from bodydouble.capture.folder import Capture
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import read_json, remove_tree
from bodydouble.evaluate.heldout import evaluate_heldout
from bodydouble.evaluate.results import HeldoutResult
from bodydouble.pipeline.bodies import load_body
from bodydouble.pipeline.create import capture, create
from bodydouble.pipeline.layout import CAPTURE, REPORT_JSON
from bodydouble.pipeline.presets import DRAFT, CreateConfig
from bodydouble.pipeline.truth import score_against_truth
from bodydouble.reconstruct.splats.config import SplatsConfig
from bodydouble.reconstruct.splats.trainer import load_result, reconstruct
from bodydouble.render.select import make_rasterizer
from bodydouble.synth.stage import SynthConfig
from bodydouble.synth.synthesise import synthesise
from bodydouble.synth.truth import MASKS_NAME, VIDEO_NAME

Emit = Callable[[Event], None]
_TRUTH_TOLERANCES = {
    "pose_error_mm": 6.0,
    "pose_error_aligned_mm": 4.0,
    "finger_error_mm": 4.0,
    "joint_error_px": 1.0,
    "mask_iou": 0.01,
}
FIGURES = {
    "psnr_box": ("dB", 0.4),
    "psnr_box_registered": ("dB", 0.4),
    "ssim_box": ("", 0.01),
    "mask_iou": ("", 0.01),
    "psnr_hands": ("dB", 0.6),
    "psnr_hands_registered": ("dB", 0.6),
    "psnr_face": ("dB", 0.6),
    "psnr_face_registered": ("dB", 0.6),
}
"""Held-out figures: unit, and how much worse they may become."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One performer of the standing suite."""

    name: str
    seed: int
    camera: Literal["static", "orbit", "handheld"] = "static"
    scene: Literal["room", "outdoors"] = "room"
    seconds: float = 6.0
    fps_hz: float = 24.0
    width_px: int = 720
    height_px: int = 960


STANDING = (
    Standing(name="room", seed=11),
    Standing(name="outdoors", seed=23, scene="outdoors"),
    Standing(name="orbit", seed=35, camera="orbit"),
    Standing(name="handheld", seed=47, camera="handheld", scene="outdoors"),
)
QUICK = (Standing(name="quick", seed=11, seconds=2.5, fps_hz=12.0, width_px=360, height_px=480),)


def run(
    suite: Literal["fit", "create", "quality"], folder: Path, emit: Emit, *, quick: bool, preset: CreateConfig = DRAFT
) -> tuple[list[Row], list[str]]:
    """Run one suite.

    Args:
        suite: `fit` (how near the truth the body is), `create` (time and quality of a draft), `quality` (every
            performer with truth in place of estimates, and without).
        folder: Performers lie here from run to run; everything else is made anew.
        emit: Told about progress.
        quick: One small, short performer.
        preset: How much time avatars may take.
    Returns:
        The rows, and remarks.
    """
    performers = QUICK if quick else STANDING
    if suite == "quality":
        return _quality(performers, folder, emit, preset), []
    performer = performers[0]
    video = performed(performer, folder, emit)
    run_folder = folder / "create" / performer.name
    remove_tree(run_folder)
    step_ms = _calibration_ms()
    result = create(video, run_folder, preset, emit)
    step_ms = 0.5 * (step_ms + _calibration_ms())
    report = read_json(run_folder / REPORT_JSON)
    truth = score_against_truth(video.parent, run_folder, load_body("anny"), "auto", emit)
    rows = _fit_rows(truth, report) if suite == "fit" else _create_rows(truth, report, step_ms, result.peak_rss_mb)
    return rows, []


def performed(performer: Standing, folder: Path, emit: Emit) -> Path:
    """The performer's video, filmed unless it is there."""
    home = folder / "performers" / performer.name
    video = home / VIDEO_NAME
    if not video.exists():
        config = SynthConfig(
            seed=performer.seed,
            camera=performer.camera,
            scene=performer.scene,
            seconds=performer.seconds,
            fps=performer.fps_hz,
            size=(performer.width_px, performer.height_px),
        )
        synthesise(home, config, emit)
    return video


@dataclass(frozen=True, kw_only=True)
class CapturedPerformer:
    """A performer, filmed and captured."""

    film: Path
    """Folder with the video and the truth about it."""
    home: Path
    """Folder of the run."""

    @property
    def capture(self) -> Capture:
        """What was seen of it and fitted to it."""
        return Capture.open(self.home / CAPTURE)


def captured(performer: Standing, folder: Path, preset: CreateConfig, emit: Emit) -> CapturedPerformer:
    """The performer's capture, made unless it is there."""
    video, home = performed(performer, folder, emit), folder / "quality" / performer.name
    capture(video, home, preset, emit, resume=(home / "run.json").exists())
    return CapturedPerformer(film=video.parent, home=home)


def _calibration_ms() -> float:
    """A fixed piece of torch: what this machine does in a moment, beside whatever else it does."""
    import torch

    from bodydouble.render.losses import photometric_loss_reference

    rendered, target = torch.rand(512, 512, 3, requires_grad=True), torch.rand(512, 512, 3)
    return timing(lambda: photometric_loss_reference(rendered, target).total.backward(), seconds=1.0).median_ms


def _fit_rows(truth: dict[str, float], report: dict) -> list[Row]:
    rows = [
        Row(
            suite="fit",
            name=name,
            value=truth[name],
            unit=name.rsplit("_", 1)[-1] if name.endswith(("_mm", "_px")) else "",
            better="higher" if name.endswith("iou") else "lower",
            tolerance=tolerance,
        )
        for name, tolerance in _TRUTH_TOLERANCES.items()
    ]
    seconds = report["seconds"]
    return [
        *rows,
        Row(suite="fit", name="perceive", value=seconds["perceive"], unit="s", better="lower"),
        Row(suite="fit", name="fit", value=seconds["fit"], unit="s", better="lower"),
    ]


def _create_rows(truth: dict[str, float], report: dict, step_ms: float, peak_mb: float) -> list[Row]:
    seconds, heldout = report["seconds"], report["heldout"]
    rows = [
        Row(suite="create", name=f"seconds, {name}", value=float(value), unit="s", better="lower")
        for name, value in seconds.items()
    ]
    rows.append(
        Row(
            suite="create",
            name="whole run, in L1 + SSIM steps of plain torch",
            value=1e3 * float(seconds["total"]) / step_ms,
            unit="steps",
            better="lower",
            tolerance=0.4,
            tolerance_kind="relative",
        )
    )
    rows.append(Row(suite="create", name="peak memory of this process", value=peak_mb, unit="MB", better="lower"))
    rows.append(
        Row(
            suite="create",
            name="avatar.glb",
            value=float(report["avatar_mb"]),
            unit="MB",
            better="lower",
            tolerance=1.0,
            budget=12.0,
        )
    )
    for name, (unit, tolerance) in FIGURES.items():
        value = heldout[name]
        if value is not None:
            rows.append(Row(suite="create", name=name, value=value, unit=unit, better="higher", tolerance=tolerance))
    rows.append(
        Row(
            suite="create",
            name="outline IoU with the truth",
            value=truth["avatar_iou"],
            unit="",
            better="higher",
            tolerance=0.01,
        )
    )
    return rows


def _quality(performers: Sequence[Standing], folder: Path, emit: Emit, preset: CreateConfig) -> list[Row]:
    scores: dict[tuple[str, Condition], HeldoutResult] = {}
    for place, performer in enumerate(performers):
        found = captured(performer, folder, preset, emit)
        for n, condition in enumerate(CONDITIONS):
            scores[performer.name, condition] = _score(found, condition, preset.splats, emit)
            done = place * len(CONDITIONS) + n + 1
            emit(Progress(stage="quality", done=done, total=len(performers) * len(CONDITIONS), unit="avatars"))
    rows = []
    for condition in CONDITIONS:
        for figure, (unit, tolerance) in FIGURES.items():
            values = {p.name: getattr(scores[p.name, condition].mean().figures, figure) for p in performers}
            rows.append(_quality_row(f"{condition.name}: {figure}, mean", _mean(values.values()), unit, tolerance))
            if len(performers) > 1:
                rows += [
                    _quality_row(f"{condition.name}: {figure}, {name}", value, unit, None)
                    for name, value in values.items()
                ]
    return rows


def _quality_row(name: str, value: float, unit: str, tolerance: float | None) -> Row:
    return Row(suite="quality", name=name, value=value, unit=unit, better="higher", tolerance=tolerance)


def _mean(values) -> float:
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


def _score(found: CapturedPerformer, condition: Condition, splats: SplatsConfig, emit: Emit) -> HeldoutResult:
    """Train under a condition; score on held-out frames against the true masks, whatever it was trained on."""
    body = load_body("anny")
    estimated = found.capture
    masks = found.film / MASKS_NAME
    track = true_poses(found.film, estimated.track())
    folder = found.home / condition.folder_name
    trained_on = conditioned(estimated, track, masks, folder / "capture", condition)
    checkpoints = folder / "checkpoints"
    remove_tree(checkpoints)
    checkpoints.mkdir(parents=True)
    config = splats.for_video(len(trained_on.train_indices()))
    for event in reconstruct(trained_on, body, config, checkpoints, "auto"):
        emit(event)
    avatar, refined = load_result(checkpoints, trained_on)
    judged = conditioned(trained_on, track, masks, folder / "judged", Condition(true_pose=False, true_masks=True))
    return evaluate_heldout(judged, avatar, trained_on.track(), refined, make_rasterizer("auto"), emit, outline=None)
