"""Suite `surface`: doubles made without masks against the truth, what each part brings, and the published recipe beside them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from bodydouble.bench.conditions import Condition, conditioned, true_poses
from bodydouble.bench.performers import QUICK, STANDING, Standing, captured
from bodydouble.bench.rows import Better, Row
from bodydouble.bench.surface_race import RaceResult, race_ours, race_recipe
from bodydouble.bench.surface_scores import SurfaceScores, background_psnr, outline_iou, surface_of, told_iou
from bodydouble.bench.vid2avatar.trainer import RecipeConfig
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.camera_motion import CameraMotion
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import read_json, write_json
from bodydouble.evaluate.results import null_for_nan
from bodydouble.pipeline.bodies import load_body
from bodydouble.pipeline.memory import MemoryWatch
from bodydouble.pipeline.presets import CreateConfig
from bodydouble.pipeline.stages import plain
from bodydouble.pipeline.versions import code_digest
from bodydouble.reconstruct.surface.config import Level, SurfaceConfig
from bodydouble.reconstruct.surface.trainer import SurfaceTrainer
from bodydouble.reconstruct.surface.world_config import WorldConfig
from bodydouble.reconstruct.surface.world_find import world_of
from bodydouble.synth.truth import MASKS_NAME, read_truth

Emit = Callable[[Event], None]
_ROOMS = ("core", "render", "body", "capture", "perceive", "fit", "reconstruct", "evaluate", "synth")
_SCORED_FRAMES = 8
_FIGURES: dict[str, tuple[str, Better]] = {
    "mask_iou": ("", "higher"),
    "outline_iou": ("", "higher"),
    "chamfer_cm": ("cm", "lower"),
    "normal_consistency": ("", "higher"),
    "volume_iou": ("", "higher"),
    "background_psnr": ("dB", "higher"),
    "seconds": ("s", "lower"),
    "peak_mb": ("MB", "lower"),
}
ESTIMATED, TRUE = "estimated poses", "true poses"
_EXAMINED = "outdoors"
"""The performer of ablations and race: in trousers, for a skirt that swings hides what a term brings."""
_RACE, _EQUAL = "race", "without the grid (the published networks), at equal time"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train."""

    name: str
    change: Callable[[SurfaceConfig], SurfaceConfig]


def _without(term: str) -> Callable[[SurfaceConfig], SurfaceConfig]:
    return lambda config: replace(config, loss=replace(config.loss, **{term: 0.0}))


def without_poses(config: SurfaceConfig) -> SurfaceConfig:
    """Poses stay as they were fitted."""
    return replace(config, rates=replace(config.rates, rotvecs_rad=0.0, translation_m=0.0))


def without_levels(config: SurfaceConfig) -> SurfaceConfig:
    """The finest grid and whole pictures from the start."""
    return replace(config, levels=(Level(voxel_m=config.levels[-1].voxel_m, until=1.0),))


def without_motion(config: SurfaceConfig) -> SurfaceConfig:
    """Nothing is told by what repeats itself behind the person: the published evidence alone."""
    return replace(config, loss=replace(config.loss, motion=(0.0, 0.0)))


ABLATIONS: tuple[Variant, ...] = (
    Variant(name="without entropy", change=_without("entropy")),
    Variant(name="without off-surface sparsity", change=_without("sparse")),
    Variant(name="without the in-surface term", change=_without("inside")),
    Variant(name="without the motion term", change=without_motion),
    Variant(name="without pose refinement", change=without_poses),
    Variant(name="without coarse to fine", change=without_levels),
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A performer, perceived and fitted."""

    standing: Standing
    performer: Path
    capture: Capture


def run(
    folder: Path, emit: Emit, *, quick: bool, preset: CreateConfig, limit_minutes: float
) -> tuple[list[Row], list[str]]:
    """Train and score everything that is not known from an earlier run.

    Args:
        folder: Performers, captures and figures lie here. What was scored with the same settings and code is read.
        emit: Told about progress.
        quick: One small performer, few steps, one ablation, and a race of a minute.
        preset: Its training sizes.
        limit_minutes: Training time of the published recipe in the race, at most.
    Returns:
        The rows, and remarks.
    """
    body = load_body("anny")
    config, behind = _training(preset, quick), _world_config(quick, preset)
    limit_s = 60.0 if quick else 60.0 * limit_minutes
    subjects = [_subject(standing, folder, emit, preset) for standing in (QUICK if quick else STANDING)]
    first = next((s for s in subjects if s.standing.name == _EXAMINED), subjects[0])
    scores: dict[tuple[str, str], Mapping[str, float | None]] = {}
    plans = [(subject, poses, lambda c: c) for subject in subjects for poses in (ESTIMATED, TRUE)]
    plans += [(first, v.name, v.change) for v in (ABLATIONS[:1] if quick else ABLATIONS)]
    for done, (subject, name, change) in enumerate(plans, 1):
        scores[name, subject.standing.name] = _scored(subject, name, change(config), body, folder, emit, quick, behind)
        emit(Progress(stage="surface suite", done=done, total=len(plans) + 2, unit="doubles"))
    ours_s = scores[ESTIMATED, first.standing.name]["seconds"] or 60.0
    races = _races(first, config, body, folder, emit, quick, behind, limit_s, ours_s)
    return [*_rows(scores), *_race_rows(races, first.standing.name)], _remarks(subjects, first, config, preset, limit_s)


def _training(preset: CreateConfig, quick: bool) -> SurfaceConfig:
    """What the preset trains, without masks."""
    config = replace(preset.surface, masks="none")
    return replace(config, num_steps=240, max_frames=24, size_px=360) if quick else config


def _subject(standing: Standing, folder: Path, emit: Emit, preset: CreateConfig) -> Subject:
    found = captured(standing, folder, preset, emit)
    return Subject(standing=standing, performer=found.film, capture=found.capture)


def _scored(
    subject: Subject,
    name: str,
    config: SurfaceConfig,
    body: BodyModel,
    folder: Path,
    emit: Emit,
    quick: bool,
    behind: WorldConfig,
) -> Mapping[str, float | None]:
    facts = [plain(config), plain(behind), name == TRUE, quick]
    done, key = _place(folder, subject, name, facts)
    if (known := _known(done, key)) is not None:
        return known
    used = _capture_of(subject, name == TRUE, done.parent / f"{_slug(name)}-capture")
    truth = read_truth(subject.performer)
    with MemoryWatch() as memory:
        begun = time.perf_counter()
        motion, world = world_of(used, used.track(), body, emit, keep=used.folder, config=behind)
        trainer = SurfaceTrainer(used, body, config, world)
        for event in trainer.run():
            emit(event)
        seconds = time.perf_counter() - begun
    result = trainer.result()
    frames = _some(result.frame_indices.tolist(), 3 if quick else _SCORED_FRAMES)
    scores = SurfaceScores(
        mask_iou=told_iou(result, used, body, truth, frames, done.parent / f"{_slug(name)}-masks"),
        outline_iou=outline_iou(result, body, truth, frames),
        background_psnr=background_psnr(result.world, used, truth, frames),
        seconds=seconds,
        peak_mb=float(memory.peak_mb),
        **surface_of(result, body, truth, most_frames=2 if quick else 6),
    )
    figures = {k: null_for_nan(v) for k, v in asdict(scores).items()} | camera_errors(
        motion, truth_cameras(truth, motion)
    )
    write_json(done, {"key": key, "figures": figures})
    return figures


def _races(
    subject: Subject,
    config: SurfaceConfig,
    body: BodyModel,
    folder: Path,
    emit: Emit,
    quick: bool,
    behind: WorldConfig,
    limit_s: float,
    ours_s: float,
) -> dict[str, RaceResult]:
    """Ours and the recipe to the goal, and the recipe for as long as ours takes in all."""
    recipe = RecipeConfig(num_rays=64, size_px=360, max_frames=8, begin_steps=100) if quick else RecipeConfig()
    truth, results = read_truth(subject.performer), {}
    for name in ("ours", "published recipe"):
        facts = [plain(config), plain(recipe), name, quick, limit_s if name != "ours" else 0.0]
        done, key = _place(folder, subject, f"{_RACE} {name}", facts)
        known = _known(done, key)
        if known is None:
            used = _capture_of(subject, False, done.parent / "race-capture")
            begun = time.perf_counter()
            frames = _some(used.train_indices(), 2 if quick else 4)
            if name == "ours":
                _, world = world_of(used, used.track(), body, emit, keep=used.folder, config=behind)
                already_s = time.perf_counter() - begun
                found = race_ours(used, body, config, truth, frames, emit, world=world, already_s=already_s)
            else:
                found = race_recipe(
                    used,
                    body,
                    _with_frames(recipe, used),
                    truth,
                    frames,
                    emit,
                    limit_s=max(limit_s, 1.1 * ours_s),
                    equal_s=ours_s,
                )
            known = {k: null_for_nan(float(v)) for k, v in asdict(found).items()}
            write_json(done, {"key": key, "figures": known})
        values = {k: float("nan") if v is None else v for k, v in known.items()}
        results[name] = RaceResult(**{**values, "steps": int(values["steps"])})
    return results


def _with_frames(recipe: RecipeConfig, capture: Capture) -> RecipeConfig:
    """All training frames take part, as published; fewer where the suite is quick."""
    return recipe if recipe.max_frames < 60 else replace(recipe, max_frames=len(capture.train_indices()))


def _capture_of(subject: Subject, true: bool, folder: Path) -> Capture:
    """A copy of the capture, with the true poses where wanted."""
    track = true_poses(subject.performer, subject.capture.track())
    condition = Condition(true_pose=true, true_masks=False)
    return conditioned(subject.capture, track, subject.performer / MASKS_NAME, folder, condition)


def _world_config(quick: bool, preset: CreateConfig) -> WorldConfig:
    return WorldConfig(num_steps=60, size_px=240, max_frames=16) if quick else preset.world


def truth_cameras(truth, motion: CameraMotion) -> np.ndarray:
    """True T_camera_world of a motion's frames, in the world of the first of them."""
    T = truth.values.T_camera_world[motion.frame_indices.long()].double().numpy()
    return T @ np.linalg.inv(T[0]) @ np.diag([1.0, -1.0, -1.0, 1.0])


def camera_errors(motion: CameraMotion, T_true: np.ndarray) -> dict[str, float | None]:
    """Mean angle to the true cameras, and mean distance from them in shares of how far they went."""
    T = motion.T_camera_world.double().numpy()
    relative = T[:, :3, :3] @ T_true[:, :3, :3].transpose(0, 2, 1)
    cosine = np.clip((np.trace(relative, axis1=1, axis2=2) - 1.0) / 2.0, -1.0, 1.0)
    eyes, true = (-np.einsum("fji,fj->fi", P[:, :3, :3], P[:, :3, 3]) for P in (T, T_true))
    reach = float(np.linalg.norm(true - true[0], axis=1).max())
    off = float(np.linalg.norm(eyes - true, axis=1).mean())
    return {
        "camera_deg": float(np.degrees(np.arccos(cosine)).mean()),
        "camera_share": off / reach if reach > 1e-6 else None,
    }


def _some(frames: Sequence[int], count: int) -> list[int]:
    return [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, min(len(frames), count)).astype(int))]


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def _place(folder: Path, subject: Subject, name: str, facts: list) -> tuple[Path, str]:
    """Where the figures of a training lie, and what they depend on."""
    digest = hashlib.sha256(json.dumps([*facts, code_digest(_ROOMS)], sort_keys=True, default=str).encode())
    track: BodyTrack = subject.capture.track()
    digest.update(track.rotvecs.numpy().tobytes())
    return folder / "surface" / subject.standing.name / f"{_slug(name)}.json", digest.hexdigest()


def _known(path: Path, key: str) -> Mapping[str, float | None] | None:
    if path.is_file() and (known := read_json(path)).get("key") == key:
        return known["figures"]
    return None


def _rows(scores: Mapping[tuple[str, str], Mapping[str, float | None]]) -> list[Row]:
    """Each condition and ablation: its mean over performers, and each performer where there are several."""
    shown = {**_FIGURES, "camera_deg": ("deg", "lower"), "camera_share": ("", "lower")}
    rows = []
    for condition in dict.fromkeys(name for name, _ in scores):
        performers = [performer for name, performer in scores if name == condition]
        for figure, (unit, better) in shown.items():
            values = {p: scores[condition, p].get(figure) for p in performers}
            known = [v for v in values.values() if v is not None]
            told = {"mean": float(np.mean(known)) if known else float("nan")}
            if len(performers) > 1:
                told |= {p: float("nan") if v is None else v for p, v in values.items()}
            rows += [
                Row(suite="surface", name=f"{condition}: {figure}, {place}", value=value, unit=unit, better=better)
                for place, value in told.items()
            ]
    return rows


def _race_rows(races: Mapping[str, RaceResult], performer: str) -> list[Row]:
    rows = []
    for name, found in races.items():
        told: tuple[tuple[str, float, str, Better], ...] = (
            ("seconds to IoU .90", found.seconds_to_goal, "s", "lower"),
            ("mask_iou at the start", found.start_iou, "", "higher"),
            ("mask_iou at the end", found.iou, "", "higher"),
            ("seconds", found.seconds, "s", "lower"),
            ("steps", float(found.steps), "", "higher"),
        )
        rows += [
            Row(suite="surface", name=f"{_RACE}, {name}: {figure}, {performer}", value=value, unit=unit, better=better)
            for figure, value, unit, better in told
        ]
    equal = races["published recipe"].equal_iou
    return [
        *rows, Row(suite="surface", name=f"{_EQUAL}: mask_iou, mean", value=equal, unit="", better="higher")
    ]  # fmt: skip


def _remarks(
    subjects: Sequence[Subject], examined: Subject, config: SurfaceConfig, preset: CreateConfig, limit_s: float
) -> list[str]:
    names = ", ".join(subject.standing.name for subject in subjects)
    remark = (
        f"surface: masks none, preset {preset.preset} ({config.num_steps} steps) on {names}; ablations and race on "
        f"{examined.standing.name} with estimated poses. mask_iou and outline_iou (the race's) on trained frames; surfaces on "
        "held-out frames, after the rigid motion that brings the fitted body onto the true one; background_psnr where frames "
        "show the world. seconds: camera, world and training, without landmarks and fit; peak_mb of all processes. camera_deg, "
        "camera_share: mean error of the cameras' turn, and of their place as a share of the true way. The race counts training "
        "time, looks at the masks "
        f"excluded; the published recipe had at most {limit_s:.0f} s, and '-' means that it did not get there."
    )
    return [remark]
