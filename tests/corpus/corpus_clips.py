"""Tiny clips with nobody in them, for everything of a corpus that does not look for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.events import Event


def picture(seed: int, time: int, width_px: int = 96, height_px: int = 64) -> np.ndarray:
    """Soft hills of colours of their own, with a moving spot."""
    rng = np.random.default_rng(seed)
    column, row = np.meshgrid(np.arange(width_px) / width_px, np.arange(height_px) / height_px)
    waves, phases = rng.uniform(1, 6, (3, 2)), rng.uniform(0, 6, (3, 2))
    base = np.stack(
        [np.sin(w[0] * column * 3 + p[0]) * np.cos(w[1] * row * 3 + p[1]) for w, p in zip(waves, phases, strict=True)],
        -1,
    )
    spot = np.exp(-(((column - (0.1 + 0.02 * time) % 1.0) / 0.1) ** 2) - ((row - 0.5) / 0.15) ** 2)[..., None]
    return (rng.uniform(40, 215, 3) + 40 * base + 40 * spot).clip(0, 255).astype(np.uint8)


def write_clip(path: Path, seeds: tuple[int, ...] = (0,), count: int = 30, fps_hz: float = 24.0, crf: int = 18) -> Path:
    """A clip with a shot for each seed, `count` frames in all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps_hz, 96, 64, crf=crf) as video:
        for time in range(count):
            video.write(picture(seeds[time * len(seeds) // count], time))
    return path


def quiet(event: Event) -> None:
    """Listens to nothing."""
