"""Suite `ablation`: what alignment, context-aware density control and confidence each bring, and EVA's recipe beside them.

The rows of EVA's own ablation (Hu et al. 2024, table 3) on our captures: every variant is trained on the same captures,
each time with the same seeds, and scored alike. The spread is the standard deviation over seeds of the mean over
captures: differences below it mean nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from bodydouble.bench.conditions import Condition, conditioned
from bodydouble.bench.performers import QUICK, STANDING, captured
from bodydouble.bench.rows import Row
from bodydouble.capture.folder import Capture
from bodydouble.core.errors import InputError
from bodydouble.core.events import Densified, Event, Progress
from bodydouble.core.files import read_json, remove_tree, write_json
from bodydouble.evaluate.heldout import DEFAULT_REGISTER, evaluate_heldout
from bodydouble.evaluate.results import null_for_nan
from bodydouble.pipeline.bodies import load_body
from bodydouble.pipeline.layout import CAPTURE
from bodydouble.pipeline.presets import CreateConfig
from bodydouble.pipeline.stages import plain
from bodydouble.pipeline.versions import code_digest
from bodydouble.reconstruct.splats.config import SplatsConfig
from bodydouble.reconstruct.splats.recipes import Recipe, reconstruct_by
from bodydouble.reconstruct.splats.result import driven_track, load_result
from bodydouble.render.select import make_rasterizer
from bodydouble.synth.truth import MASKS_NAME

Emit = Callable[[Event], None]
SPREAD = "spread"
"""In the place of a capture's name: the standard deviation over seeds."""
_DEFAULT_PERFORMERS = 2
_ROOMS = ("core", "render", "body", "capture", "avatar", "fit", "reconstruct", "evaluate")
_FIGURES = {
    "psnr_box": "dB",
    "ssim_box": "",
    "psnr_hands": "dB",
    "psnr_face": "dB",
    "psnr_box_interpolated": "dB",
    "psnr_box_registered": "dB",
    "ssim_box_registered": "",
    "psnr_hands_registered": "dB",
    "psnr_face_registered": "dB",
    "splats": "",
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train."""

    name: str
    change: Callable[[SplatsConfig], SplatsConfig]
    recipe: Recipe = "default"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One capture to train on, and the same with the masks it is judged by."""

    name: str
    trained_on: Capture
    judged: Capture


def with_everything(config: SplatsConfig) -> SplatsConfig:
    """Alignment, context-aware density control and confidence."""
    density = replace(config.density, rule="context")
    return replace(config, density=density, confidence=replace(config.confidence, use=True))


def without_alignment(config: SplatsConfig) -> SplatsConfig:
    """Poses stay as they were fitted: neither registered to the avatar nor refined."""
    everything = with_everything(config)
    rates = replace(everything.rates, rotvecs_rad=0.0, translation_m=0.0)
    return replace(everything, rates=rates, register_at=())


def without_context(config: SplatsConfig) -> SplatsConfig:
    """Splats are added where gradients are largest, whatever the part."""
    everything = with_everything(config)
    return replace(everything, density=replace(everything.density, rule="share"))


def without_confidence(config: SplatsConfig) -> SplatsConfig:
    """All pixels count by their part alone."""
    everything = with_everything(config)
    return replace(everything, confidence=replace(everything.confidence, use=False))


VARIANTS: tuple[Variant, ...] = (
    Variant(name="without alignment", change=without_alignment),
    Variant(name="without context-aware density", change=without_context),
    Variant(name="without confidence", change=without_confidence),
    Variant(name="all", change=with_everything),
    Variant(name="as by default", change=lambda config: config),
    Variant(name="recipe eva", change=lambda config: config, recipe="eva"),
)


def run(
    folder: Path,
    emit: Emit,
    *,
    quick: bool,
    preset: CreateConfig,
    captures: Sequence[Path] = (),
    seeds: int = 3,
) -> tuple[list[Row], list[str]]:
    """Train and score every variant.

    Args:
        folder: Performers, captures and scores lie here. A score whose settings and code are the same is not made again.
        emit: Told about progress.
        quick: One small performer, two seeds.
        preset: How much time avatars may take; EVA's recipe takes its own.
        captures: Run or capture folders to use instead of performers.
        seeds: How many times each is trained.
    Returns:
        The rows, and remarks.
    """
    seeds = min(seeds, 2) if quick else seeds
    subjects = [_opened(path) for path in captures] or _performers(folder, emit, quick, preset)
    scores: dict[tuple[str, str, int], Mapping[str, float | None]] = {}
    total = len(VARIANTS) * len(subjects) * seeds
    for seed in range(seeds):
        for subject in subjects:
            for variant in VARIANTS:
                scores[variant.name, subject.name, seed] = _score(variant, subject, seed, folder, preset, emit)
                emit(Progress(stage="ablation", done=len(scores), total=total, unit="avatars"))
    return ablation_rows(scores, [subject.name for subject in subjects], seeds), _remarks(subjects, seeds, preset)


def ablation_rows(
    scores: Mapping[tuple[str, str, int], Mapping[str, float | None]], subjects: Sequence[str], seeds: int
) -> list[Row]:
    """Means, spreads and single captures.

    Args:
        scores: By variant, subject and seed: figures by name, None where one does not exist.
        subjects: In order.
        seeds: 0 to that number.
    """
    rows = []
    variants = list(dict.fromkeys(variant for variant, _, _ in scores))
    for variant in variants:
        for figure, unit in _FIGURES.items():
            table = np.array([
                [np.nan if (v := scores[variant, subject, seed].get(figure)) is None else v for subject in subjects]
                for seed in range(seeds)
            ])  # fmt: skip
            known = ~np.isnan(table).all(axis=0)
            by_seed = np.nanmean(table[:, known], axis=1) if known.any() else np.full(seeds, np.nan)
            spread = float(by_seed.std(ddof=1)) if seeds > 1 else float("nan")
            found = {"mean": float(by_seed.mean()), SPREAD: spread}
            if len(subjects) > 1:
                found |= {
                    name: float(np.nanmean(table[:, k])) if known[k] else float("nan")
                    for k, name in enumerate(subjects)
                }
            rows += [
                Row(suite="ablation", name=f"{variant}: {figure}, {name}", value=value, unit=unit, better="higher")
                for name, value in found.items()
            ]
    return rows


def _performers(folder: Path, emit: Emit, quick: bool, preset: CreateConfig) -> list[Subject]:
    subjects = []
    for performer in QUICK if quick else STANDING[:_DEFAULT_PERFORMERS]:
        filmed = captured(performer, folder, preset, emit)
        found = filmed.capture
        # Only the masks are replaced, and those that an avatar is judged by only.
        judged = conditioned(
            found, found.track(), filmed.film / MASKS_NAME, folder / "ablation" / performer.name / "judged",
            Condition(true_pose=False, true_masks=True),
        )  # fmt: skip
        subjects.append(Subject(name=performer.name, trained_on=found, judged=judged))
    return subjects


def _opened(path: Path) -> Subject:
    for folder in (path / CAPTURE, path):
        if (folder / "capture.json").is_file():
            found = Capture.open(folder)
            return Subject(name=path.resolve().name, trained_on=found, judged=found)
    raise InputError(
        f"{path} holds no capture (capture.json was found neither there nor in {CAPTURE}/). Name the folder of a run."
    )


def _score(
    variant: Variant, subject: Subject, seed: int, folder: Path, preset: CreateConfig, emit: Emit
) -> Mapping[str, float | None]:
    """Figures of one training, from the file where the same one was scored before."""
    config = variant.change(replace(preset.splats, seed=seed)).for_video(len(subject.trained_on.train_indices()))
    home = folder / "ablation" / subject.name / f"{variant.name.replace(' ', '-')}-{seed}"
    facts = [plain(config), variant.recipe, preset.register_sweeps, code_digest(_ROOMS)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(subject.trained_on.track().rotvecs.numpy().tobytes())
    done = home / "figures.json"
    if done.is_file() and (known := read_json(done)).get("key") == digest.hexdigest():
        return known["figures"]
    remove_tree(home)
    checkpoints = home / "checkpoints"
    checkpoints.mkdir(parents=True)
    body, splats = load_body("anny"), 0
    for event in reconstruct_by(variant.recipe, subject.trained_on, body, config, checkpoints, "auto"):
        splats = event.total if isinstance(event, Densified) else splats
        emit(event)
    avatar, refined = load_result(checkpoints, subject.trained_on)
    assert avatar.splats is not None
    register = replace(DEFAULT_REGISTER, sweeps=preset.register_sweeps)
    result = evaluate_heldout(
        subject.judged, avatar, driven_track(checkpoints, subject.trained_on), refined, make_rasterizer("auto"),
        emit, register=register, outline=None,
    )  # fmt: skip
    figures = {name: null_for_nan(value) for name, value in asdict(result.mean().figures).items()}
    figures["splats"] = float(len(avatar.splats.means_rest_m))
    write_json(done, {"key": digest.hexdigest(), "figures": figures})
    shutil.rmtree(checkpoints, ignore_errors=True)
    return figures


def _remarks(subjects: Sequence[Subject], seeds: int, preset: CreateConfig) -> list[str]:
    names = ", ".join(subject.name for subject in subjects)
    remark = (
        f"ablation: {seeds} seeds on {names}, preset {preset.preset}; recipe eva with its own 2,000 steps at that preset's "
        "size and frames. The spread is the standard deviation over seeds of the mean over captures."
    )
    return [remark]
