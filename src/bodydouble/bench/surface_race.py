"""Time to a mask IoU of .90 on one performer: ours and the published recipe, in the same run on the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from bodydouble.bench.surface_scores import outline_iou
from bodydouble.bench.vid2avatar.trainer import RecipeConfig, RecipeTrainer, train_for
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.core.events import Event, Progress, Step
from bodydouble.evaluate.masks import mask_iou
from bodydouble.reconstruct.surface.config import SurfaceConfig
from bodydouble.reconstruct.surface.trainer import SurfaceTrainer
from bodydouble.reconstruct.surface.values import World
from bodydouble.synth.truth import Truth

GOAL = 0.90
_LOOKS = 24
_RECIPE_SIDE_PX = 120
"""Longer side of the pictures on which the recipe's masks are compared: each of its pixels costs hundreds of samples."""


@dataclass(frozen=True, kw_only=True)
class RaceResult:
    """How one method did."""

    seconds_to_goal: float
    """Training time until the masks were good; NaN when they never were."""
    start_iou: float
    iou: float
    """Of the last look."""
    seconds: float
    """Training time in all."""
    steps: int
    equal_iou: float = float("nan")
    """Of the first look after a given time."""

    @property
    def reached(self) -> bool:
        return not np.isnan(self.seconds_to_goal)


def race_ours(
    capture: Capture,
    body: BodyModel,
    config: SurfaceConfig,
    truth: Truth,
    frames: list[int],
    emit: Callable[[Event], None],
    *,
    world: World | None,
    already_s: float,
) -> RaceResult:
    """Train ours; looks at the masks are not counted.

    Args:
        capture, body, config, world: As for `train_surface`.
        truth: Judges.
        frames: On which.
        emit: Told about progress.
        already_s: What camera and world took.
    """
    begun = time.perf_counter()
    trainer = SurfaceTrainer(capture, body, config, world)
    spent = already_s + time.perf_counter() - begun
    start = found = outline_iou(trainer.result(), body, truth, frames)
    reached = spent if found >= GOAL else float("nan")
    begun, every = time.perf_counter(), max(1, config.num_steps // _LOOKS)
    for event in trainer.run():
        if isinstance(event, Step) and event.step % every == 0:
            spent += time.perf_counter() - begun
            found = outline_iou(trainer.result(), body, truth, frames)
            if found >= GOAL and np.isnan(reached):
                reached = spent
            emit(Progress(stage="race, ours", done=event.step, total=config.num_steps))
            begun = time.perf_counter()
    return RaceResult(seconds_to_goal=reached, start_iou=start, iou=found, seconds=spent, steps=config.num_steps)


def race_recipe(
    capture: Capture,
    body: BodyModel,
    config: RecipeConfig,
    truth: Truth,
    frames: list[int],
    emit: Callable[[Event], None],
    *,
    limit_s: float,
    equal_s: float,
) -> RaceResult:
    """Train by the published recipe until the masks are good and `equal_s` has passed, or the time is over; looks are not
    counted.

    Args:
        limit_s: Training time at most.
        equal_s: After so long the masks are noted, too.
    """
    begun = time.perf_counter()
    trainer = RecipeTrainer(capture, capture.track(), body, config)
    already = time.perf_counter() - begun
    nan = float("nan")
    reached, start, found, equal = nan, nan, nan, nan
    spent, steps = already, 0
    for seconds, count in train_for(trainer, limit_s - already, first_s=equal_s - already):
        spent, steps = already + seconds, count
        found = recipe_iou(trainer, capture, truth, frames)
        start = found if np.isnan(start) else start
        emit(Progress(stage="race, published recipe", done=round(spent), total=round(limit_s), unit="s"))
        equal = found if np.isnan(equal) and spent >= equal_s else equal
        reached = spent if np.isnan(reached) and found >= GOAL else reached
        if not np.isnan(reached) and not np.isnan(equal):
            break
    return RaceResult(seconds_to_goal=reached, start_iou=start, iou=found, seconds=spent, steps=steps, equal_iou=equal)


def recipe_iou(trainer: RecipeTrainer, capture: Capture, truth: Truth, frames: list[int]) -> float:
    """Mean IoU of the recipe's masks; outside the posed body's widened box nobody is."""
    import cv2

    track = trainer.track
    shrink = min(1.0, _RECIPE_SIDE_PX / max(track.width_px, track.height_px))
    size = (round(track.width_px * shrink), round(track.height_px * shrink))
    boxes = {frame.row: frame.box_px for frame in trainer.frames}
    rows = {int(index): row for row, index in enumerate(track.frame_indices.tolist())}
    found = []
    for frame in frames:
        if rows[frame] not in boxes:
            continue
        inside, pixels = _grid(boxes[rows[frame]], size, track.width_px)
        mask = np.zeros(size[::-1], bool)
        mask[inside] = (trainer.alpha(rows[frame], pixels) > 0.5).numpy()
        true = cv2.resize(truth.mask(frame), size, interpolation=cv2.INTER_AREA)
        found.append(mask_iou(mask, true > 127))
    return float(np.mean(found)) if found else float("nan")


def _grid(
    box_px: tuple[float, float, float, float], size: tuple[int, int], width_px: int
) -> tuple[Bool[ndarray, "height width"], Float[Tensor, "n 2"]]:
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    pixels = np.stack([x, y], axis=-1) * (width_px / size[0])
    inside = (pixels >= box_px[:2]).all(-1) & (pixels <= box_px[2:]).all(-1)
    return inside, torch.from_numpy(pixels[inside].astype(np.float32))
