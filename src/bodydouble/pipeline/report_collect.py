"""Gathers what a report shows from the results of the stages: figures, overlays, masks, coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8

import bodydouble
from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture, read_mask
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.core.events import Warned
from bodydouble.evaluate.results import HeldoutResult
from bodydouble.fit.quality import quality_warnings
from bodydouble.pipeline.coverage import Coverage, body_coverage, coverage_picture, coverage_warnings
from bodydouble.pipeline.report_data import (
    FrameQuality,
    Picture,
    RegionCoverage,
    ReportData,
    StageSeconds,
    TrainingStory,
    limb_qualities,
)
from bodydouble.pipeline.report_pictures import jpeg_picture, png_picture
from bodydouble.render.mesh import rasterize_mesh

STRIP_FRAMES = 8
_STRIP_PX = 480
"""Longer side of the pictures in a strip."""
_STRIP_ROOM = 0.08
"""Room around the person, as a share of their size."""
_OUTLINE_RGB = np.array([61, 235, 215], dtype=np.float32)
_GROUND_RGB = np.array([24, 26, 29], dtype=np.float32)


def collect_report(
    *,
    capture: Capture,
    body: BodyModel,
    track: BodyTrack,
    avatar: Avatar,
    avatar_path: Path,
    heldout: HeldoutResult | None,
    seconds: StageSeconds,
    peak_rss_mb: float,
    preset: str,
    warnings: Sequence[Warned] = (),
    turntable: Path | None = None,
    truth: Mapping[str, float] | None = None,
    provenance: Mapping[str, str] | None = None,
    training: TrainingStory | None = None,
    masks_folder: Path | None = None,
) -> ReportData:
    """Everything a report shows.

    Args:
        capture: Frames, masks and observations.
        body: The body of the track.
        track: The track whose outline is drawn (the refined one, where there is one).
        avatar, avatar_path: The double and its file.
        heldout: The evaluation, if there was one.
        seconds, peak_rss_mb: What the run cost.
        preset: Name of the preset.
        warnings: Of all stages; those about coverage and fit, and those the capture remembers, are added here, each once.
        turntable: turntable.mp4, if it was made.
        truth: Scores against known truth, for synthetic performers.
        provenance: What to say about where this comes from, in words.
        training: What training says about itself.
        masks_folder: Masks to show in place of the capture's: those a surface double told by itself.
    """
    observations = capture.observations()
    coverage = body_coverage(capture, body, track)
    rest = body.with_shape(track.shape).vertices_rest
    boxes = observations.box_px[observations.present]
    person_height_px = float((boxes[:, 3] - boxes[:, 1]).median()) if len(boxes) else 0.0
    overlays, masks = _strips(capture, body, track, masks_folder)
    return ReportData(
        version=bodydouble.__version__,
        video=capture.info,
        frames_observed=len(observations.frame_indices),
        frames_with_subject=int(observations.present.sum()),
        focal_px=float(track.focal_px),
        focal_source=track.focal_source,
        height_m=float(body.height_m(track.shape)),
        height_source=track.height_source,
        method="splats" if avatar.splats is not None else "surface",
        preset=preset,
        seconds=seconds,
        peak_rss_mb=peak_rss_mb,
        splats=0 if avatar.splats is None else len(avatar.splats.means_rest_m),
        avatar_mb=avatar_path.stat().st_size / 1e6,
        heldout=heldout,
        warnings=merged_warnings(
            [*_remembered(capture), *warnings, *coverage_warnings(coverage, track), *quality_warnings(track)]
        ),
        limbs=limb_qualities(track, person_height_px),
        frame_quality=_frame_quality(track),
        regions=_regions(coverage),
        total_seen=coverage.total_seen,
        overlays=overlays,
        masks=masks,
        coverage=_coverage_pictures(coverage, body, rest),
        turntable=turntable,
        truth=dict(truth or {}),
        provenance=dict(provenance or {}),
        training=training,
    )


def merged_warnings(warnings: Sequence[Warned]) -> tuple[Warned, ...]:
    """In order, each said once."""
    kept: dict[tuple[str, str], Warned] = {}
    for warning in warnings:
        kept.setdefault((warning.code, warning.message), warning)
    return tuple(kept.values())


def outlined(
    image: UInt8[np.ndarray, "height width 3"], inside: Bool[np.ndarray, "height width"], *, width_px: int = 1
) -> UInt8[np.ndarray, "height width 3"]:
    """The image with the outline of a region drawn on it and a light tint inside."""
    import cv2

    kernel = np.ones((2 * width_px + 1, 2 * width_px + 1), np.uint8)
    region = inside.astype(np.uint8)
    edge = cv2.dilate(region, kernel) - cv2.erode(region, kernel)
    weight = np.where(edge > 0, 0.95, 0.16 * region)[..., None].astype(np.float32)
    return (image * (1.0 - weight) + _OUTLINE_RGB * weight).round().astype(np.uint8)


def _strips(
    capture: Capture, body: BodyModel, track: BodyTrack, masks_folder: Path | None
) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    rows = torch.nonzero(track.valid)[:, 0].tolist()
    picks = np.linspace(0, len(rows) - 1, min(STRIP_FRAMES, len(rows))).round().astype(int)
    row_of = {int(track.frame_indices[rows[k]]): rows[k] for k in picks}
    shaped = body.with_shape(track.shape)
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    x0, y0, x1, y1 = _common_view(capture, track, sorted(row_of))
    scale = min(1.0, _STRIP_PX / max(x1 - x0, y1 - y0))
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    view = camera.cropped(float(x0), float(y0), (float(x1 - x0), float(y1 - y0)), size)
    overlays: list[Picture] = []
    masks: list[Picture] = []
    for frame in capture.frames(sorted(row_of)) if row_of else ():
        small = _resampled(frame.rgb[y0:y1, x0:x1], size)
        verts = shaped.with_pose(track.pose(row_of[frame.index])).vertices().detach()
        caption = f"frame {frame.index}, {frame.time_s:.2f} s"
        overlays.append(jpeg_picture(outlined(small, rasterize_mesh(verts, body.faces, view).mask.numpy()), caption))
        size_px = track.height_px, track.width_px
        mask = read_mask(masks_folder, frame.index, size_px) if masks_folder else capture.mask(frame.index)
        if mask is not None:
            soft = _resampled(mask[y0:y1, x0:x1], size).astype(np.float32)[..., None] / 255.0
            masks.append(jpeg_picture((small * soft + _GROUND_RGB * (1.0 - soft)).round().astype(np.uint8), caption))
    return tuple(overlays), tuple(masks)


def _common_view(capture: Capture, track: BodyTrack, frame_indices: Sequence[int]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the part of the picture that the person needs in all of these frames, with some room."""
    observations = capture.observations()
    shown = torch.isin(observations.frame_indices, torch.tensor(list(frame_indices))) & observations.present
    boxes = observations.box_px[shown]
    if len(boxes) == 0:
        return 0, 0, track.width_px, track.height_px
    (x0, y0), (x1, y1) = boxes[:, :2].min(0).values.tolist(), boxes[:, 2:].max(0).values.tolist()
    room = _STRIP_ROOM * max(x1 - x0, y1 - y0)
    left, top = max(0, int(x0 - room)), max(0, int(y0 - room))
    right, bottom = min(track.width_px, int(x1 + room) + 1), min(track.height_px, int(y1 + room) + 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _resampled(image: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(np.ascontiguousarray(image), size_px, interpolation=cv2.INTER_AREA)


def _coverage_pictures(coverage: Coverage, body: BodyModel, verts_rest: torch.Tensor) -> tuple[Picture, ...]:
    return tuple(
        png_picture(coverage_picture(coverage, body, verts_rest, back=back), caption)
        for back, caption in ((False, "front"), (True, "back"))
    )


def _remembered(capture: Capture) -> list[Warned]:
    """What the capture's stages warned of, in this run or in the one that the capture was taken from."""
    return [
        Warned(code=w.get("code", ""), message=w.get("message", ""), advice=w.get("advice", ""))
        for w in capture.warnings
    ]


def _frame_quality(track: BodyTrack) -> tuple[FrameQuality, ...]:
    return tuple(
        FrameQuality(frame_index=int(i), time_s=float(t), quality=float(q))
        for i, t, q in zip(track.frame_indices, track.times_s, track.frame_quality, strict=True)
    )


def _regions(coverage: Coverage) -> tuple[RegionCoverage, ...]:
    return tuple(
        RegionCoverage(name=n, seen_share=s)
        for n, s in zip(coverage.region_names, coverage.region_seen.tolist(), strict=True)
    )
