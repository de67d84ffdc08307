"""What a report shows: plain values, gathered by `report_collect`, laid out by `report`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bodydouble.capture.values import BodyTrack, VideoInfo
from bodydouble.core.events import Densified, Warned
from bodydouble.evaluate.results import HeldoutResult

_NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class StageSeconds:
    """Wall-clock time of each stage; NaN for one that did not run."""

    perceive: float = _NAN
    fit: float = _NAN
    matte: float = _NAN
    reconstruct: float = _NAN
    evaluate: float = _NAN
    report: float = _NAN
    total: float = _NAN


@dataclass(frozen=True, kw_only=True)
class LimbQuality:
    """How well the fitted body follows one limb."""

    name: str
    seen_share: float
    """Share of the frames in which landmarks of the limb were found."""
    median_px: float
    """Median over those frames of the limb's median landmark error; NaN if never found."""
    worst_tenth_px: float
    """90th percentile of the same."""
    median_share: float
    """`median_px` as a share of the person's height in pixels."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture with its caption."""

    data: bytes
    media_type: str
    caption: str
    width_px: int
    height_px: int


@dataclass(frozen=True, kw_only=True)
class RegionCoverage:
    """How much of one region of the body was ever seen."""

    name: str
    seen_share: float


@dataclass(frozen=True, kw_only=True)
class FrameQuality:
    """How well the fit explains one observed frame."""

    frame_index: int
    time_s: float
    quality: float
    """In [0, 1], as in `BodyTrack.frame_quality`."""


@dataclass(frozen=True, kw_only=True)
class TrainingStory:
    """What training says about itself."""

    parts: tuple[str, ...] = ()
    """Groups of the body's parts."""
    events: tuple[Densified, ...] = ()
    """Of density control, in order; each tells of every group."""
    doubts: tuple[Picture, ...] = ()
    """Training frames as rendered, beside the noise that is believed of them."""


@dataclass(frozen=True, kw_only=True)
class SurfaceStory:
    """What the surface method found."""

    sheets: tuple[Picture, ...]
    """Frames taken apart: the frame, the person alone, the world alone, normals, the mesh."""
    seen: tuple[Picture, ...]
    """The mesh from the front and from the back; what was never filmed is coloured."""
    figures: Mapping[str, float]
    """Name with unit -> value."""
    watertight: bool


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything `report.html` and `report.json` say."""

    version: str
    video: VideoInfo
    frames_observed: int
    """Frames of the chosen part of the video."""
    frames_with_subject: int
    focal_px: float
    focal_source: str
    height_m: float
    height_source: str
    method: str
    preset: str
    seconds: StageSeconds
    peak_rss_mb: float
    splats: int
    avatar_mb: float
    heldout: HeldoutResult | None = None
    warnings: tuple[Warned, ...] = ()
    limbs: tuple[LimbQuality, ...] = ()
    frame_quality: tuple[FrameQuality, ...] = ()
    regions: tuple[RegionCoverage, ...] = ()
    total_seen: float = _NAN
    overlays: tuple[Picture, ...] = ()
    """Frames with the outline of the fitted body."""
    masks: tuple[Picture, ...] = ()
    faces: tuple[Picture, ...] = ()
    """Frames of the face, each above the double with the expression that was read."""
    coverage: tuple[Picture, ...] = ()
    """The body from the front and from the back."""
    turntable: Path | None = None
    """An .mp4 in the run folder."""
    truth: Mapping[str, float] = field(default_factory=dict)
    """Scores against known truth, for synthetic performers: name (with unit) -> value."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    training: TrainingStory | None = None
    surface: SurfaceStory | None = None


def limb_qualities(track: BodyTrack, person_height_px: float) -> tuple[LimbQuality, ...]:
    """Per-limb figures of a track over the frames that show the subject; none where nobody looked for landmarks."""
    errors = track.limb_error_px[track.valid]
    if bool(errors.isnan().all()):
        return ()
    found: list[LimbQuality] = []
    for k, name in enumerate(track.limb_names):
        column = errors[:, k]
        known = sorted(column[~torch.isnan(column)].tolist())
        median = statistics.median(known) if known else _NAN
        found.append(
            LimbQuality(
                name=name.replace("_", " "),
                seen_share=len(known) / max(len(column), 1),
                median_px=median,
                worst_tenth_px=known[min(len(known) - 1, int(0.9 * len(known)))] if known else _NAN,
                median_share=median / person_height_px if person_height_px > 0 else _NAN,
            )
        )
    return tuple(found)
