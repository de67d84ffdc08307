"""Ways to train a splat avatar, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.core.events import Event
from bodydouble.reconstruct.onto import RestSurface
from bodydouble.reconstruct.splats.config import SplatsConfig
from bodydouble.reconstruct.splats.eva_config import EvaConfig

Recipe = Literal["default", "eva"]
"""Ours, or EVA's as published."""


def reconstruct_by(
    recipe: Recipe,
    capture: Capture,
    body: BodyModel,
    config: SplatsConfig,
    checkpoint_dir: Path,
    device: str,
    *,
    onto: RestSurface | None = None,
) -> Iterator[Event]:
    """Train by a recipe; the result lies in `checkpoint_dir` for `result.load_result`.

    Args:
        recipe: `eva` takes size, number of frames and seed from `config`, everything else as published.
        capture, body, config, checkpoint_dir, device, onto: As for `trainer.reconstruct`; `eva` starts from the bare body.
    """
    if recipe == "eva":
        from bodydouble.reconstruct.splats.eva import reconstruct_eva

        published = EvaConfig(size_px=config.size_px, max_frames=config.max_frames, seed=config.seed)
        yield from reconstruct_eva(capture, body, published, checkpoint_dir, device)
        return
    from bodydouble.reconstruct.splats.trainer import reconstruct

    yield from reconstruct(capture, body, config, checkpoint_dir, device, onto=onto)
