"""What a picture protocol found, as values that can be printed and written as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bodydouble.evaluate.picture_protocol import LOWER_IS_BETTER, PictureProtocol
from bodydouble.evaluate.results import nan_mean, null_for_nan

_Choice = Callable[["ScoredFrame"], bool]


@dataclass(frozen=True, kw_only=True)
class ScoredFrame:
    """One test frame in one column."""

    frame_index: int
    time_s: float
    speed_heights_per_s: float
    """NaN where unknown."""
    moving: bool | None
    values: tuple[float, ...]
    """In the order of the protocol's metrics; NaN where a figure does not exist."""


@dataclass(frozen=True, kw_only=True)
class ScoreColumn:
    """The figures of one source of pictures: a pose of an avatar, or a folder of predictions."""

    name: str
    rows: tuple[ScoredFrame, ...]


@dataclass(frozen=True, kw_only=True)
class PictureScores:
    """Everything an evaluation by a picture protocol says."""

    protocol: PictureProtocol
    frames_rule: str
    """Which frames were scored, in words."""
    columns: tuple[ScoreColumn, ...]
    """The first holds the headline."""
    skipped: tuple[int, ...]
    """Test frames that cannot be scored: an empty mask."""
    absent: tuple[tuple[str, str], ...]
    """Figures that this machine cannot give, and why."""
    seconds: float

    def mean(self, column: str, metric: str, choice: _Choice = lambda row: True) -> float:
        """Mean of a figure over the frames that have it (and satisfy `choice`); NaN where none has."""
        at = self.protocol.metrics.index(metric)
        return nan_mean(row.values[at] for row in self._rows(column) if choice(row))

    def count(self, column: str, metric: str) -> int:
        """Frames that have a figure."""
        at = self.protocol.metrics.index(metric)
        return sum(not math.isnan(row.values[at]) for row in self._rows(column))

    def to_json(self) -> dict:
        """JSON-ready. Means of the first column under their own names, of the others with `_column` added."""
        metrics = self.protocol.metrics
        means = {
            metric if k == 0 else f"{metric}_{column.name}": null_for_nan(self.mean(column.name, metric))
            for k, column in enumerate(self.columns)
            for metric in metrics
        }
        return {
            "protocol": self.protocol.name,
            "frames": len(self.columns[0].rows),
            **means,
            "columns": {column.name: self._column_json(column) for column in self.columns},
            "scored_frames": self.frames_rule,
            "skipped_frames": list(self.skipped),
            "absent": dict(self.absent),
            "seconds": null_for_nan(self.seconds),
            "protocol_text": list(self.protocol.describe()),
        }

    def _column_json(self, column: ScoreColumn) -> dict:
        metrics = self.protocol.metrics
        return {
            **{
                group: {metric: null_for_nan(self.mean(column.name, metric, choice)) for metric in metrics}
                for group, choice in GROUPS
            },
            "frames_with": {metric: self.count(column.name, metric) for metric in metrics},
            "rows": [
                {
                    "frame_index": row.frame_index,
                    "time_s": row.time_s,
                    "speed_heights_per_s": null_for_nan(row.speed_heights_per_s),
                    "moving": row.moving,
                    **{metric: null_for_nan(v) for metric, v in zip(metrics, row.values, strict=True)},
                }
                for row in column.rows
            ],
        }

    def _rows(self, column: str) -> tuple[ScoredFrame, ...]:
        return next(c.rows for c in self.columns if c.name == column)


GROUPS: tuple[tuple[str, _Choice], ...] = (
    ("all", lambda row: True),
    ("still", lambda row: row.moving is False),
    ("moving", lambda row: row.moving is True),
)


def format_picture_scores(scores: PictureScores) -> str:
    """The figures as a plain text table, followed by the protocol in words."""
    first = scores.columns[0]
    heads = [(column.name, GROUPS[0]) for column in scores.columns] + [(first.name, group) for group in GROUPS[1:]]
    titles = [
        f"{name if group == 'all' else group} ({sum(choice(row) for row in first.rows)})"
        for name, (group, choice) in heads
    ]
    lines = [f"{'':18}" + "".join(f"{title:>20}" for title in titles) + f"{'frames with it':>18}"]
    for metric in scores.protocol.metrics:
        cells = (scores.mean(name, metric, choice) for name, (_, choice) in heads)
        arrow = "(less is better)" if metric.startswith(LOWER_IS_BETTER) else ""
        lines.append(
            f"{metric:18}"
            + "".join(f"{'-' if math.isnan(v) else format(v, _form(metric)):>20}" for v in cells)
            + f"{scores.count(first.name, metric):>18}  {arrow}".rstrip()
        )
    lines.append("")
    if len(scores.columns) > 1:
        lines.append(
            f"The columns are poses; {first.name} is the protocol's own choice. still, moving: of {first.name}."
        )
    lines.append(f"Scored: {scores.frames_rule}.")
    if scores.skipped:
        lines.append(f"Not scored (empty mask): frames {', '.join(str(f) for f in scores.skipped)}.")
    lines += [f"{name}: absent, {why}" for name, why in scores.absent]
    return "\n".join([*lines, "", *scores.protocol.describe()])


def _form(metric: str) -> str:
    return ".2f" if metric.startswith("psnr") else ".4f"
