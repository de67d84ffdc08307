"""Somebody else's capture becomes ours: read, checked against its own masks, written as a capture folder.

DIR/capture/frames.mp4                    the frames without loss, as an ideal camera would have taken them
DIR/capture/capture.json, masks/          as of any capture; the source's frame names and split are in its stage record
DIR/capture/observations.safetensors      where the person is; no landmarks
DIR/capture/body.safetensors              our body in the source's poses, if the source has a body and the check passed
DIR/capture/foreign_body.safetensors      the source's own parameters, for an alignment by whoever has the model
DIR/capture/foreign_cameras.safetensors   its cameras, in an upright world in metres
DIR/run.json                              what was read, and how well it fits
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodydouble.capture.folder import Capture, save_struct, write_mask
from bodydouble.capture.foreign.layouts import read_foreign
from bodydouble.capture.foreign.rectify import Rectifier
from bodydouble.capture.foreign.values import ForeignCapture
from bodydouble.capture.values import Observations
from bodydouble.core.errors import InputError
from bodydouble.core.events import Progress, Warned
from bodydouble.core.files import remove_tree
from bodydouble.pipeline.foreign_check import Coverage, check_body
from bodydouble.pipeline.foreign_outline import LOW_SUPPORT, check_outlines, check_polarity
from bodydouble.pipeline.layout import CAPTURE
from bodydouble.pipeline.stages import Emit, Stage, open_run

IMPORT_STAGES = ("import",)
VIDEO_NAME = "frames.mp4"
FOREIGN_BODY, FOREIGN_CAMERAS = "foreign_body.safetensors", "foreign_cameras.safetensors"


@dataclass(frozen=True, kw_only=True)
class ImportChoices:
    """How a foreign capture is read."""

    layout: str = "auto"
    sequence: str = ""
    fps_hz: float | None = None
    with_body: bool = True


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What an import left."""

    folder: Path
    layout: str
    sequence: str
    frames: int
    coverage: Coverage | None
    """None where there was no body to check."""
    outline_support: float
    """From `foreign_outline.check_outlines`; 0 where it could not be measured."""
    focal_px: float | None
    warnings: tuple[Warned, ...]


def import_capture(
    folder: Path, out: Path, choices: ImportChoices, emit: Emit, *, resume: bool = False
) -> ImportResult:
    """Read, check and write a foreign capture.

    Args:
        folder: Of one subject or sequence.
        out: The run folder; new, empty, or with `resume` one that an interrupted import left.
        choices: How to read it.
        emit: Called with every event.
        resume: Go on in a folder that an earlier import of the same capture began.
    Raises:
        InputError: When the folder has no known layout, is damaged, or its body does not lie on its masks. Nothing is
            left behind.
        OutputError: When `out` cannot be used.
    """
    foreign = read_foreign(folder, choices.layout, sequence=choices.sequence, fps_hz=choices.fps_hz)
    results: list[ImportResult] = []
    with open_run(out, kind="import", resume=resume) as run:
        run.describe(
            "import", {"folder": str(folder.resolve()), "layout": foreign.layout, "sequence": foreign.sequence}
        )
        stage = Stage(
            name="import",
            settings={"choices": choices, "source": _fingerprint(foreign)},
            after=(),
            rooms=("capture", "body", "avatar", "pipeline"),
            outputs=(CAPTURE,),
            work=lambda tell: results.append(_import(foreign, out, choices, tell)),
        )
        record = run.do(stage, emit)
    if not results:  # done before
        results.append(_recorded(out))
    return dataclasses.replace(results[0], warnings=record.warnings)


def _import(foreign: ForeignCapture, out: Path, choices: ImportChoices, emit: Emit) -> ImportResult:
    from bodydouble.pipeline.bodies import load_body
    from bodydouble.pipeline.foreign_track import foreign_track

    folder = out / CAPTURE
    remove_tree(folder)
    for note in foreign.notes:
        emit(Warned(code="foreign_note", message=note))
    rectifier = Rectifier(foreign) if foreign.cameras is not None else None
    check_polarity(foreign)
    support = check_outlines(foreign)
    if 0 < support < LOW_SUPPORT:
        emit(
            Warned(
                code="masks_off_frames",
                message=f"The images change only {support:.2f} times as much on the masks' outlines as beside them.",
                advice="Look at some masks over their images: they may be shifted, or of other frames.",
            )
        )
    coverage, track = None, None
    if foreign.body is not None and rectifier is not None and choices.with_body:
        body = load_body("anny", emit)
        coverage = check_body(foreign, body, rectifier)
        track = foreign_track(foreign, body, rectifier, coverage.height_m, emit)
    capture = _write_pictures(foreign, rectifier, folder, emit)
    if foreign.cameras is not None:
        save_struct(folder / FOREIGN_CAMERAS, foreign.cameras)
    if foreign.body is not None:
        save_struct(folder / FOREIGN_BODY, foreign.body)
    if track is not None:
        capture.save_track(track)
    for warning in _what_is_left(foreign, track is not None):
        emit(warning)
        capture.add_warning(warning.code, warning.message, warning.advice)
    result = ImportResult(
        folder=out,
        layout=foreign.layout,
        sequence=foreign.sequence,
        frames=foreign.num_frames,
        coverage=coverage,
        outline_support=support,
        focal_px=None if rectifier is None else rectifier.focal_px,
        warnings=(),
    )
    capture.record_stage("import", _record(foreign, rectifier, result))
    return result


def _write_pictures(foreign: ForeignCapture, rectifier: Rectifier | None, folder: Path, emit: Emit) -> Capture:
    """Video, masks, and the observations that follow from them."""
    from bodydouble.capture.video import probe
    from bodydouble.capture.video_write import VideoWriter

    width, height = (
        (foreign.width_px, foreign.height_px) if rectifier is None else (rectifier.width_px, rectifier.height_px)
    )
    video = folder / VIDEO_NAME
    first = foreign.frames[0].number
    boxes = np.zeros((foreign.num_frames, 4), np.float32)
    with VideoWriter(video, foreign.fps_hz, width, height, lossless=True) as writer:
        for i, frame in enumerate(foreign.frames):
            rgb, mask = foreign.rgb(i), foreign.mask(i)
            writer.write(rgb if rectifier is None else rectifier(rgb, i), frame.number - first)
            if mask is not None:
                mask = mask if rectifier is None else rectifier(mask, i)
                boxes[i] = _box(mask)
                write_mask(folder / "masks", i, np.ascontiguousarray(mask))
            emit(Progress(stage="import", done=i + 1, total=foreign.num_frames, unit="frames"))
    info = probe(video)
    if info.num_frames != foreign.num_frames or (info.width_px, info.height_px) != (width, height):
        raise InputError(
            f"{video} came out with {info.num_frames} frames of {info.width_px}x{info.height_px} instead of "
            f"{foreign.num_frames} of {width}x{height}. Please report this."
        )
    focal = None if rectifier is None else rectifier.focal_px
    capture = Capture.create(folder, dataclasses.replace(info, focal_px=focal))
    capture.set_span(0, info.num_frames)
    capture.save_observations(
        Observations(
            frame_indices=torch.arange(info.num_frames),
            times_s=torch.tensor(info.times_s, dtype=torch.float32),
            width_px=width,
            height_px=height,
            landmark_names=(),
            xy_px=torch.zeros(info.num_frames, 0, 2),
            xyz_camera_m=torch.zeros(info.num_frames, 0, 3),
            confidence=torch.zeros(info.num_frames, 0),
            present=torch.from_numpy(boxes[:, 2] > boxes[:, 0]),
            box_px=torch.from_numpy(boxes),
        )
    )
    return capture


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero((mask > 127).any(1)), np.flatnonzero((mask > 127).any(0))
    if not rows.size:
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _what_is_left(foreign: ForeignCapture, has_track: bool) -> list[Warned]:
    """What the import could not bring."""
    left = []
    if not foreign.fps_known:
        left.append(
            Warned(
                code="frame_rate_guessed",
                message=f"The layout does not say the frame rate; {foreign.fps_hz:g} frames a second were taken.",
                advice="Give it with --fps if you know it: motions play at the wrong speed otherwise.",
            )
        )
    missing = sum(frame.mask is None for frame in foreign.frames)
    if missing:
        left.append(
            Warned(
                code="masks_missing",
                message=f"{missing} of {foreign.num_frames} frames have no mask.",
                advice="Such frames are not trained on.",
            )
        )
    if not has_track:
        left.append(
            Warned(
                code="body_missing",
                message="There is no fitted body in this capture.",
                advice=f"To have one fitted: bodydouble create DIR/capture/{VIDEO_NAME} into another folder.",
            )
        )
    else:
        left.append(
            Warned(
                code="body_is_a_stand_in",
                message="The body is ours in the source's poses, with a height but no build of its own, and hands at rest.",
                advice="An avatar of it (bodydouble create with this folder) aligns poses by pictures, but not the build.",
            )
        )
    return left


def _record(foreign: ForeignCapture, rectifier: Rectifier | None, result: ImportResult) -> dict[str, Any]:
    body = foreign.body
    return {
        "layout": foreign.layout,
        "sequence": foreign.sequence,
        "folder": str(foreign.folder.resolve()),
        "frame_names": [frame.name for frame in foreign.frames],
        "frame_numbers": [frame.number for frame in foreign.frames],
        "split": [frame.split for frame in foreign.frames],
        "fps_known": foreign.fps_known,
        "resampled": rectifier is not None and rectifier.resamples,
        "focal_px": result.focal_px,
        "shared_world": foreign.cameras is not None and foreign.cameras.shared_world,
        "body": None
        if body is None
        else {"model": body.model, "gender": body.gender, "pivot": body.pivot, "hands": body.hands},
        "coverage": None if result.coverage is None else plain_coverage(result.coverage),
        "outline_support": result.outline_support,
        "notes": list(foreign.notes),
    }


def plain_coverage(coverage: Coverage) -> dict[str, Any]:
    """A coverage as JSON values, frame by frame."""
    per_frame = {key: list(getattr(coverage, key)) for key in ("frames", "covered", "inside", "iou")}
    return {**coverage.figures, "per_frame": per_frame}


def _recorded(out: Path) -> ImportResult:
    """The result of an import that was finished before."""
    record = Capture.open(out / CAPTURE).stage("import") or {}
    kept = record.get("coverage")
    coverage = None
    if kept is not None:
        per_frame = {key: tuple(values) for key, values in kept["per_frame"].items()}
        coverage = Coverage(**per_frame, height_m=kept["height_m"])
    return ImportResult(
        folder=out,
        layout=record["layout"],
        sequence=record["sequence"],
        frames=len(record["frame_names"]),
        coverage=coverage,
        outline_support=record["outline_support"],
        focal_px=record["focal_px"],
        warnings=(),
    )


def _fingerprint(foreign: ForeignCapture) -> str:
    """Digest of names, sizes and times of the pictures: enough to notice that they are others."""
    digest = hashlib.sha256()
    for frame in foreign.frames:
        for path in (frame.image, frame.mask):
            if path is not None:
                stat = path.stat()
                digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()
