"""What the report tells of a training: density control by part of the body, and where training had doubts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from bodydouble.evaluate.results import null_for_nan
from bodydouble.pipeline.report_data import Picture, TrainingStory
from bodydouble.pipeline.report_pictures import jpeg_picture
from bodydouble.reconstruct.splats.log import ConfidenceMap, read_log

_PICTURE_PX = 300
_DARK, _BRIGHT = np.array([20.0, 24.0, 40.0]), np.array([255.0, 196.0, 70.0])


@dataclass(frozen=True, kw_only=True)
class DensityCell:
    """One group of parts at one event, in words."""

    gradient: str
    threshold: str
    added: int
    pruned: int
    total: int


@dataclass(frozen=True, kw_only=True)
class DensityRow:
    """One event of density control."""

    step: int
    cells: tuple[DensityCell, ...]


def training_story(checkpoint_dir: Path) -> TrainingStory | None:
    """What a training left about itself; None where it left nothing."""
    log, maps = read_log(checkpoint_dir)
    if not log.events and not maps:
        return None
    parts = tuple(part.part for part in log.events[0].parts) if log.events else ()
    top = max((_high(m.noise) for m in maps), default=1.0)
    return TrainingStory(parts=parts, events=tuple(log.events), doubts=tuple(_doubt(m, top) for m in maps))


def density_rows(story: TrainingStory | None) -> tuple[DensityRow, ...]:
    """The events as a table."""
    return tuple(
        DensityRow(
            step=event.step,
            cells=tuple(
                DensityCell(
                    gradient=_ten_thousandths(part.gradient),
                    threshold=_ten_thousandths(part.threshold),
                    added=part.cloned + part.split,
                    pruned=part.pruned,
                    total=part.total,
                )
                for part in event.parts
            ),
        )
        for event in (story.events if story else ())
    )


def density_json(story: TrainingStory | None) -> list[dict[str, Any]]:
    """The events as JSON values; what is unknown is null."""
    events = [asdict(event) for event in (story.events if story else ())]
    for event in events:
        event["parts"] = [
            {k: null_for_nan(v) if isinstance(v, float) else v for k, v in part.items()} for part in event["parts"]
        ]
    return events


def _ten_thousandths(value: float) -> str:
    return f"{1e4 * value:.1f}" if math.isfinite(value) else "\u2013"


def _typical(noise: Float[Tensor, "rows columns"]) -> float:
    person = noise[noise > 0]
    return float(person.median()) if len(person) else 0.0


def _high(noise: Float[Tensor, "rows columns"]) -> float:
    person = noise[noise > 0]
    return float(person.quantile(0.97)) if len(person) else 0.0


def _doubt(found: ConfidenceMap, top: float) -> Picture:
    """The render, and beside it the noise from dark (none, or nobody) to bright (`top` and more)."""
    from PIL import Image

    share = (found.noise.numpy() / max(top, 1e-9)).clip(0.0, 1.0)[..., None]
    colors = (_DARK * (1.0 - share) + _BRIGHT * share).round().astype(np.uint8)
    size = (_PICTURE_PX, _PICTURE_PX)
    both = np.concatenate(
        [
            np.asarray(Image.fromarray(found.rendered.numpy()).resize(size, Image.Resampling.LANCZOS)),
            np.asarray(Image.fromarray(colors).resize(size, Image.Resampling.BICUBIC)),
        ],
        axis=1,
    )
    caption = f"frame {found.frame_index}, usual error {_typical(found.noise):.3f} to {_high(found.noise):.3f}"
    return jpeg_picture(both, caption)
