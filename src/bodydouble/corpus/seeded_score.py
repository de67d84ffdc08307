"""A seeded corpus after its run: did each filter find what was hidden for it, and do the scores tell the truth?

Every clip is traced by the hash of its file. A defect counts as found when the stage or filter that is meant for it says
so of the clip; a detector that speaks of a clip without that defect is a false alarm. The ladder is measured once more
against the exact truth of the films: joints and masks of the performer instead of landmarks and masks of networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.corpus.collection import Collection, Entry
from bodydouble.corpus.consistency import box_size_px, outline_figures, pck, silhouette
from bodydouble.corpus.funnel import REFUSED, Funnel
from bodydouble.corpus.seeded import DEFECTS, SOUND, SeededClip, SeededCorpus

_GOOD_KINDS = (SOUND, "two_people", "shot_change")
"""Kinds whose people should be kept: each of them is a sound item once it is cut out."""
_CUT_TOLERANCE = 2
"""Frames by which a found shot may be off."""
_TRUE_RADIUS = 0.02
_TRUE_FRAMES = 8
_JOINTS = tuple(
    side + bone
    for bone in ("UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot")
    for side in ("left", "right")
)


@dataclass(frozen=True, kw_only=True)
class ClipOutcome:
    """What became of one clip."""

    clip: SeededClip
    refusals: tuple[str, ...]
    """Of the source."""
    planned: bool
    """Whether it is a source of its own; a copy byte for byte is not."""
    entries: tuple[Entry, ...]
    complaints: tuple[str, ...]
    """Of all its items, by filters and stages: `step: reason`."""
    kept: int
    """Items that every filter kept."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How well one kind of defect was found, over all clips."""

    kind: str
    seeded: int
    found: int
    false_alarms: int

    @property
    def recall(self) -> float:
        """Share of the seeded ones that were found; NaN where none was seeded."""
        return self.found / self.seeded if self.seeded else math.nan

    @property
    def precision(self) -> float:
        """Share of the alarms that were right; NaN without any."""
        said = self.found + self.false_alarms
        return self.found / said if said else math.nan


def clip_outcomes(corpus: SeededCorpus, collection: Collection, found: Funnel) -> list[ClipOutcome]:
    """Trace every clip through the corpus that was planned from it."""
    by_hash = {source.sha256: source.id for source in collection.sources if source.sha256}
    by_name = {Path(source.uri).name: source.id for source in collection.sources}
    taken: set[str] = set()
    outcomes = []
    for clip in corpus.clips:
        source = by_hash.get(clip.sha256) or by_name.get(clip.file)
        planned = source is not None and source not in taken
        entries = [e for e in collection.entries.values() if planned and e.item.source_id == source]
        if planned and source is not None:
            taken.add(source)
        complaints = [
            f"{found.verdicts[e.item.id].step}: {reason}"
            for e in entries
            if e.item.id in found.verdicts and not found.verdicts[e.item.id].kept
            for reason in found.verdicts[e.item.id].reasons
        ]
        outcomes.append(
            ClipOutcome(
                clip=clip,
                # Of one source that several clips are, such as empty files, each is refused for the same reason.
                refusals=collection.refused_sources.get(source or "", ()),
                planned=planned,
                entries=tuple(sorted(entries, key=lambda e: (e.item.first_frame, e.item.track))),
                complaints=tuple(complaints),
                kept=sum(e.item.id in found.verdicts and found.verdicts[e.item.id].kept for e in entries),
            )
        )
    return outcomes


def _cut_found(outcome: ClipOutcome) -> bool:
    starts = {e.item.first_frame for e in outcome.entries} - {0}
    true = outcome.clip.cuts
    return any(abs(s - c) <= _CUT_TOLERANCE for s in starts for c in true) if true else bool(starts)


def _about(outcome: ClipOutcome, step: str, *words: str) -> bool:
    return any(c.startswith(f"{step}:") and any(word in c for word in words) for c in outcome.complaints)


def _too_low(outcome: ClipOutcome, *scores: str) -> bool:
    """Whether P-I found one of these scores too low; that it was not measured says nothing of the clip."""
    return any(c.startswith(tuple(f"P-I: {score} " for score in scores)) and " < " in c for c in outcome.complaints)


def _several_people(outcome: ClipOutcome) -> bool:
    """Others in view, as counted for people who were really followed: a find in one picture is no person."""
    followed = [e.item for e in outcome.entries if not any(r.startswith("tracks:") for r in e.item.reasons)]
    return any(item.others > 0 for item in followed)


def _occluded(outcome: ClipOutcome) -> bool:
    """Found by what hides a body: joints unseen or unsure, looks that disagree, a body beside what is seen."""
    hidden = _too_low(outcome, "visible", "confidence")
    return hidden or any(c.startswith(("P-II:", "P-III:", "P-IV:")) for c in outcome.complaints)


_FPS_WORDS = ("frames a second", "frames per second", "fps", "frame rate", "frames/s")
DETECTORS: Mapping[str, Callable[[ClipOutcome], bool]] = {
    "corrupt": lambda o: bool(o.refusals) and not any(w in r for r in o.refusals for w in _FPS_WORDS),
    "wrong_fps": lambda o: any(w in r for r in o.refusals for w in _FPS_WORDS),
    "duplicate": lambda o: (
        (not o.planned and not o.refusals) or _about(o, REFUSED, "alike", "duplicate", "copy", "same")
    ),
    "nobody": lambda o: _about(o, REFUSED, "nobody", "Nobody"),
    "shot_change": _cut_found,
    "two_people": _several_people,
    "tiny_person": lambda o: _too_low(o, "stature_px"),
    "no_motion": lambda o: _too_low(o, "motion"),
    "occluded": _occluded,
}
"""What says that a clip has a defect."""
_EARLY = ("corrupt", "wrong_fps", "duplicate", "nobody", "shot_change", "two_people")
"""What is known once everybody was followed and compared, before any landmark is."""


def detections(outcomes: Sequence[ClipOutcome]) -> list[Detection]:
    """Precision and recall of every detector; last, of rejecting whatever should not be kept.

    Clips on which work is not finished count for what is known early (`_EARLY`), and not for the rest.
    """
    every, outcomes = outcomes, [o for o in outcomes if all(e.item.state != "pending" for e in o.entries)]
    rows = []
    for kind in DEFECTS:
        counted = every if kind in _EARLY else outcomes
        said = [o for o in counted if DETECTORS[kind](o)]
        rows.append(
            Detection(
                kind=kind,
                seeded=sum(o.clip.kind == kind for o in counted),
                found=sum(o.clip.kind == kind for o in said),
                false_alarms=sum(o.clip.kind != kind for o in said),
            )
        )
    bad = [o for o in outcomes if o.clip.kind not in _GOOD_KINDS]
    good = [o for o in outcomes if o.clip.kind in _GOOD_KINDS]
    rows.append(
        Detection(
            kind="anything that should go",
            seeded=len(bad),
            found=sum(o.kept == 0 for o in bad),
            false_alarms=sum(o.kept == 0 for o in good),
        )
    )
    return rows


@dataclass(frozen=True, kw_only=True)
class TrueScores:
    """One item of a sound clip against exact truth."""

    item: str
    stage: str
    """`first` or `final` body."""
    pck: float
    soiou: float
    measured_pck: float
    measured_soiou: float
    """As the corpus scored it, against what networks saw."""


def true_scores(
    outcomes: Sequence[ClipOutcome], corpus: SeededCorpus, collection: Collection, body: BodyModel
) -> list[TrueScores]:
    """Scores of the fitted bodies of sound clips against the truth of their films.

    Returns:
        Two `TrueScores` for each item with both bodies, sorted by item; of films as they are, which have a truth.
    """
    from bodydouble.capture.folder import Capture, load_struct
    from bodydouble.synth.truth import read_truth

    scores: list[TrueScores] = []
    for outcome in outcomes:
        if outcome.clip.kind != SOUND or any(outcome.clip.looks) or len(outcome.entries) != 1:
            continue
        entry = outcome.entries[0]
        folder = collection.capture_folder(entry.item.id)
        first = folder.parent / "coarse.safetensors"
        if not first.is_file() or not (folder / "body.safetensors").is_file():
            continue
        truth = read_truth(corpus.performer(outcome.clip.films[0]))
        capture = Capture.open(folder)
        for stage, track, measured in (
            ("first", load_struct(BodyTrack, first), entry.scores),
            ("final", capture.track(), entry.refined),
        ):
            true_pck, true_soiou = _against_truth(track, body, truth, capture)
            scores.append(
                TrueScores(
                    item=entry.item.id,
                    stage=stage,
                    pck=true_pck,
                    soiou=true_soiou,
                    measured_pck=measured.get("pck_02", math.nan),
                    measured_soiou=measured.get("soiou", math.nan),
                )
            )
    return sorted(scores, key=lambda s: (s.item, s.stage))


def _against_truth(track: BodyTrack, body: BodyModel, truth: Any, capture: Any) -> tuple[float, float]:
    """PCK of the fitted joints around the true ones, and SOIOU of the fitted body with the true mask."""
    rows = np.flatnonzero(track.valid.numpy())
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(_TRUE_FRAMES, len(rows))).round().astype(int))]
    frames = [int(track.frame_indices[row]) for row in rows]
    bones = [body.bone_names.index(body.humanoid[name]) for name in _JOINTS]
    camera = video_camera(track.width_px, track.height_px, float(track.focal_px))
    shaped = body.with_shape(track.shape)
    chosen = torch.from_numpy(rows)
    pose = Pose(rotvecs=track.rotvecs[chosen], translation_world_m=track.translation_world_m[chosen])
    ours, _ = camera.project(shaped.with_pose(pose).joints_world[:, bones])
    true_bones = [truth.index.bone_names.index(body.bone_names[b]) for b in bones]
    true = torch.stack([truth.camera(f).project(truth.values.joints_world_m[f, true_bones])[0] for f in frames])
    size = box_size_px(capture.observations().box_px[chosen])
    share = pck(ours.double().numpy(), true.double().numpy(), np.ones(ours.shape[:2]), size, _TRUE_RADIUS)
    outside = []
    for i, frame in enumerate(frames):
        one = Pose(rotvecs=pose.rotvecs[i], translation_world_m=pose.translation_world_m[i])
        seen = silhouette(shaped.with_pose(one).vertices(), body, camera)
        outside.append(outline_figures(seen, truth.mask(frame) >= 128).soiou)
    return float(np.nanmean(share)), float(np.mean(outside))


def score_table(rows: Sequence[Detection], truths: Sequence[TrueScores], kept: Sequence[str]) -> str:
    """Detections and the ladder against truth, as Markdown."""
    lines = ["| defect | seeded | found | false alarms | recall | precision |", "|---|---|---|---|---|---|"]
    for r in rows:
        lines.append(f"| {r.kind} | {r.seeded} | {r.found} | {r.false_alarms} | {_f(r.recall)} | {_f(r.precision)} |")
    lines += [
        "",
        "| sound items | n | PCK measured | PCK true | SOIOU measured | SOIOU true |",
        "|---|---|---|---|---|---|",
    ]
    chosen = set(kept)
    for title, those in (("all", truths), ("kept", [t for t in truths if t.item in chosen])):
        for stage in ("first", "final"):
            group = [t for t in those if t.stage == stage]
            cells = [
                _f(_mean([getattr(t, name) for t in group]))
                for name in ("measured_pck", "pck", "measured_soiou", "soiou")
            ]
            lines.append(f"| {title}, {stage} body | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return sum(known) / len(known) if known else math.nan


def _f(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
