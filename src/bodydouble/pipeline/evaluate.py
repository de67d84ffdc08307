"""Scores of a finished run, or of anybody's pictures, by a named protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bodydouble.capture.folder import Capture
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.evaluate.geometry_protocol import GeometryProtocol
from bodydouble.evaluate.picture_protocol import PictureProtocol
from bodydouble.evaluate.picture_results import PictureScores
from bodydouble.evaluate.picture_run import (
    FrameChoice,
    avatar_pictures,
    empty_frames,
    frames_rule,
    frames_to_score,
    score_pictures,
)
from bodydouble.evaluate.predictions import FolderPictures
from bodydouble.evaluate.protocol import HELDOUT_V1, HeldoutProtocol
from bodydouble.evaluate.protocols import find_protocol
from bodydouble.evaluate.results import HeldoutResult
from bodydouble.pipeline.finish import fitted_track, score, trained_result
from bodydouble.pipeline.layout import CAPTURE, capture_folder
from bodydouble.pipeline.stages import LEDGER_NAME, Emit

if TYPE_CHECKING:
    from bodydouble.evaluate.lpips import Lpips
    from bodydouble.evaluate.truth_results import TruthScores


def evaluate_run(
    folder: Path,
    protocol: str,
    device: str,
    emit: Emit,
    *,
    frames: FrameChoice = "heldout",
    lpips_folder: Path | None = None,
) -> HeldoutResult | PictureScores:
    """Score the avatar of a run, anew.

    Args:
        folder: Of a finished run.
        protocol: Name of a protocol for pictures.
        device: `auto`, `cpu` or `cuda`.
        emit: Told about progress.
        frames: The run's held-out frames, or the protocol's own test frames (refused where training could see them).
        lpips_folder: Holds the weights of LPIPS; by default the folder that BODYDOUBLE_LPIPS_DIR names.
    Raises:
        InputError: When the folder is not a finished run, or test frames were open to training.
        ConfigError: When there is no such protocol, or it does not score pictures.
    """
    chosen = _for_pictures(protocol)
    if not (folder / LEDGER_NAME).is_file():
        raise InputError(
            f"{folder} is not the folder of a run ({LEDGER_NAME} is missing). Name what `create` wrote with -o."
        )
    from bodydouble.render.select import make_rasterizer

    capture = Capture.open(folder / CAPTURE)
    avatar, refined_track = trained_result(folder, capture)
    if isinstance(chosen, HeldoutProtocol):
        return score(capture, avatar, fitted_track(folder, capture), refined_track, device, emit, protocol=chosen)
    lpips = _lpips(chosen, lpips_folder)
    indices = frames_to_score(capture, chosen, frames)
    rasterizer = make_rasterizer(device)
    source = avatar_pictures(
        capture, avatar, refined_track, rasterizer, indices, chosen, emit, fit_track=fitted_track(folder, capture)
    )
    return score_pictures(capture, source, indices, chosen, lpips, emit, rule=frames_rule(capture, chosen, frames))


def evaluate_predictions(
    folder: Path,
    predictions: Path,
    protocol: str,
    emit: Emit,
    *,
    frames: FrameChoice = "heldout",
    lpips_folder: Path | None = None,
) -> PictureScores:
    """Score pictures that anybody made of the person in a capture.

    Args:
        folder: A run, or a capture folder.
        predictions: Pictures frame_%06d.png as `render --like` writes them.
        protocol, emit, frames, lpips_folder: As for `evaluate_run`; the protocol's own test frames are allowed here, for
            systems that kept to them in training.
    Raises:
        InputError: When pictures are missing, odd or too many.
        ConfigError: When the protocol does not score pictures.
    """
    chosen = _for_pictures(protocol)
    if isinstance(chosen, HeldoutProtocol):
        raise ConfigError(
            f"{HELDOUT_V1.name} renders the avatar at the size of its crops, so it cannot score finished pictures. "
            "Use --protocol bodydouble-v1: the same split, boxes and poses on pictures at the video's size."
        )
    capture = open_capture(folder)
    lpips = _lpips(chosen, lpips_folder)
    indices = frames_to_score(capture, chosen, frames)
    empty = set(empty_frames(capture, indices, chosen))
    source = FolderPictures(
        predictions,
        width_px=capture.info.width_px,
        height_px=capture.info.height_px,
        required=[frame for frame in indices if frame not in empty],
        allowed={*empty, *(frame - 1 for frame in indices)},
    )
    return score_pictures(capture, source, indices, chosen, lpips, emit, rule=frames_rule(capture, chosen, frames))


def evaluate_against_truth(folder: Path, performer: Path, protocol: str, device: str, emit: Emit) -> TruthScores:
    """Score a run against the synthetic performer whose video it was made from.

    Args:
        folder: Of a reconstructed run.
        performer: What `bodydouble synth` wrote (or the `performer` folder of a demo).
        protocol: Of the surfaces; empty for the default.
        device: Where the avatar is rendered.
        emit: Told about progress.
    """
    from bodydouble.pipeline.bodies import body_of_run
    from bodydouble.pipeline.truth_sections import score_truth

    return score_truth(performer, folder, body_of_run(folder), device, emit, protocol=protocol)


def open_capture(folder: Path) -> Capture:
    """The capture of a run folder, or the folder itself if it is one."""
    return Capture.open(capture_folder(folder))


def _for_pictures(name: str) -> HeldoutProtocol | PictureProtocol:
    chosen = find_protocol(name)
    if isinstance(chosen, GeometryProtocol):
        raise ConfigError(
            f"{name} compares surfaces, so it needs true ones: name a synthetic performer's folder with --truth."
        )
    return chosen


def _lpips(protocol: PictureProtocol, folder: Path | None) -> Lpips | None:
    from bodydouble.evaluate.lpips import find_lpips

    return find_lpips(protocol.lpips.network, folder) if protocol.has("lpips") else None
