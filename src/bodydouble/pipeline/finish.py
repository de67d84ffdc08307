"""The last stage: score the avatar on frames it never trained on, turn it once around, write the report."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import bodydouble
from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import InputError
from bodydouble.evaluate.heldout import DEFAULT_REGISTER, evaluate_heldout
from bodydouble.evaluate.protocol import HELDOUT_V1, HeldoutProtocol
from bodydouble.evaluate.results import HeldoutResult, save_heldout
from bodydouble.pipeline.layout import (
    AVATAR,
    HELDOUT,
    MASKS,
    SPLATS_CHECKPOINT,
    SURFACE_CHECKPOINT,
    SURFACE_FOLDER,
    TURNTABLE,
)
from bodydouble.pipeline.presets import CreateConfig
from bodydouble.pipeline.report import write_report
from bodydouble.pipeline.report_collect import collect_report
from bodydouble.pipeline.report_data import StageSeconds
from bodydouble.pipeline.report_face import face_strip
from bodydouble.pipeline.report_training import training_story
from bodydouble.pipeline.stages import Emit, Run
from bodydouble.pipeline.surface import surface_story
from bodydouble.pipeline.turntable import write_turntable
from bodydouble.render.select import make_rasterizer


def finish(
    run: Run,
    capture: Capture,
    body: BodyModel,
    config: CreateConfig,
    emit: Emit,
    *,
    truth: Mapping[str, float],
) -> None:
    """Write the held-out scores, turntable.mp4, report.html and report.json of a reconstructed run.

    Args:
        run: With perceive, fit and reconstruct done.
        capture, body: As the avatar was made from.
        config: The run's settings.
        truth: Scores against known truth, if there are any.
    """
    started = time.perf_counter()
    avatar, refined_track = trained_result(run.folder, capture)
    fit_track = fitted_track(run.folder, capture)
    heldout = score(capture, avatar, fit_track, refined_track, config.device, emit, sweeps=config.register_sweeps)
    save_heldout(heldout, run.folder / HELDOUT)
    evaluated = time.perf_counter()
    turntable = run.folder / TURNTABLE
    write_turntable(
        avatar, turntable, rasterizer=make_rasterizer(config.device), seconds=config.turntable_seconds, emit=emit
    )
    before = {record.name: record.seconds for record in run.records}
    spent = sum(
        before.get(name, 0.0) for name in ("perform", "adopt", "perceive", "fit", "matte", "surface", "reconstruct")
    )
    now = time.perf_counter()
    own_masks = run.folder / SURFACE_FOLDER / MASKS
    data = collect_report(
        capture=capture,
        body=body,
        track=refined_track,
        avatar=avatar,
        avatar_path=run.folder / AVATAR,
        heldout=heldout,
        seconds=StageSeconds(
            perceive=before.get("perceive", math.nan),  # not run where a capture was taken over
            fit=before.get("fit", math.nan),
            matte=before.get("matte", math.nan),
            reconstruct=before["reconstruct"] + before.get("surface", 0.0),
            evaluate=evaluated - started,
            report=now - evaluated,
            total=spent + now - started,
        ),
        peak_rss_mb=run.peak_rss_mb,
        preset=config.preset,
        warnings=[warning for record in run.records for warning in record.warnings],
        turntable=turntable,
        truth=truth,
        provenance=_provenance(run, capture, config),
        training=training_story(run.folder / SPLATS_CHECKPOINT),
        masks_folder=own_masks if own_masks.is_dir() else None,
    )
    data = replace(data, method=config.method, surface=surface_story(run.folder))
    data = replace(data, faces=face_strip(capture, refined_track, avatar, make_rasterizer(config.device)))
    for warning in data.warnings:
        emit(warning)
    write_report(run.folder, data)


def score(
    capture: Capture,
    avatar: Avatar,
    fit_track: BodyTrack,
    refined_track: BodyTrack,
    device: str,
    emit: Emit,
    *,
    protocol: HeldoutProtocol = HELDOUT_V1,
    sweeps: tuple[int, ...] = DEFAULT_REGISTER.sweeps,
) -> HeldoutResult:
    """Held-out scores of an avatar (see `HeldoutProtocol.describe`)."""
    rasterizer = make_rasterizer(device)
    register = replace(DEFAULT_REGISTER, sweeps=sweeps)
    return evaluate_heldout(
        capture, avatar, fit_track, refined_track, rasterizer, emit, protocol=protocol, register=register
    )


def fitted_track(folder: Path, capture: Capture) -> BodyTrack:
    """Poses of the fit, as they drive a run's avatar: a recipe with pose nets has its say."""
    from bodydouble.reconstruct.splats.result import driven_track

    return driven_track(folder / SPLATS_CHECKPOINT, capture)


def trained_result(folder: Path, capture: Capture) -> tuple[Avatar, BodyTrack]:
    """The avatar of a run and its capture's track with the poses that training refined.

    Raises:
        InputError: When the run has not got that far.
    """
    from bodydouble.avatar.glb import load_avatar
    from bodydouble.reconstruct.splats.result import refined_track

    if not (folder / AVATAR).exists():
        raise InputError(f"{folder} holds no {AVATAR} yet. Finish the run first: bodydouble create ... --resume.")
    checkpoints = (folder / SPLATS_CHECKPOINT, folder / SURFACE_CHECKPOINT)
    trained = next((c for c in checkpoints if (c / "poses.safetensors").exists()), None)
    if trained is None:
        raise InputError(
            f"{folder / SPLATS_CHECKPOINT} holds no refined poses. The checkpoints of a run are needed to score it; "
            "run `bodydouble create ... --resume` to make them again."
        )
    return load_avatar(folder / AVATAR), refined_track(trained, capture)


def _provenance(run: Run, capture: Capture, config: CreateConfig) -> dict[str, str]:
    return {
        "made by": f"bodydouble {bodydouble.__version__}",
        "begun": run.created,
        "video SHA-256": capture.info.sha256,
        "method": config.method,
        "body": config.body,
        "preset": config.preset,
        "recipe": config.recipe,
        "seed": str(config.seed),
    }
