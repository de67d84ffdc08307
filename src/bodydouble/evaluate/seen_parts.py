"""What the estimators' landmarks say about a frame: where hands, face and feet are, and how fast the person moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bodydouble.capture.values import Observations
from bodydouble.evaluate.picture_protocol import DetailRule
from bodydouble.evaluate.picture_scores import LandmarkBoxes
from bodydouble.evaluate.protocol import HeldoutProtocol
from bodydouble.evaluate.regions import Box, grown_box, landmark_box, landmark_speeds

_FOOT = ("ankle", "heel", "foot_index")


def part_boxes(
    observations: Observations, frame_index: int, base: HeldoutProtocol, detail: DetailRule
) -> LandmarkBoxes:
    """Boxes of the parts that were seen in a frame, in its pixels."""
    hands = [seen_box(observations, frame_index, f"{side}_hand/", base) for side in ("left", "right")]
    face = seen_box(observations, frame_index, "face/", base)
    feet = [_foot_box(observations, frame_index, side, base, detail) for side in ("left", "right")]
    return LandmarkBoxes(
        hands=tuple(b for b in hands if b is not None),
        face=() if face is None else (face,),
        feet=tuple(b for b in feet if b is not None),
    )


def seen_box(observations: Observations, frame_index: int, prefix: str, base: HeldoutProtocol) -> Box | None:
    """The box around the landmarks whose names begin with `prefix`; None when too few are sure."""
    row = _row(observations, frame_index)
    columns = [k for k, name in enumerate(observations.landmark_names) if name.startswith(prefix)]
    return landmark_box(observations.xy_px[row, columns].numpy(), observations.confidence[row, columns].numpy(), base)


def frame_speeds(observations: Observations, frame_indices: Sequence[int], base: HeldoutProtocol) -> dict[int, float]:
    """Speed of the person in some frames, person heights a second; NaN where unknown."""
    columns = [k for k, name in enumerate(observations.landmark_names) if name.startswith("body/")]
    box = observations.box_px
    heights = torch.where(observations.present, box[:, 3] - box[:, 1], torch.zeros_like(box[:, 0]))
    speeds = landmark_speeds(
        observations.times_s.double().numpy(),
        observations.xy_px[:, columns].numpy(),
        observations.confidence[:, columns].numpy(),
        heights.numpy(),
        np.array([_row(observations, i) for i in frame_indices], dtype=np.int64),
        base,
    )
    return {i: float(s) for i, s in zip(frame_indices, speeds, strict=True)}


def _foot_box(
    observations: Observations, frame_index: int, side: str, base: HeldoutProtocol, detail: DetailRule
) -> Box | None:
    names = [f"body/{side}_{point}" for point in _FOOT]
    if not set(names) <= set(observations.landmark_names):
        return None
    row, columns = _row(observations, frame_index), [observations.landmark_names.index(name) for name in names]
    if float(observations.confidence[row, columns].min()) < base.landmark_confidence:
        return None
    points = observations.xy_px[row, columns].double().numpy()
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2.0, float((high - low).max()) / 2.0
    (x0, y0), (x1, y1) = middle - half, middle + half
    return grown_box(float(x0), float(y0), float(x1), float(y1), detail.foot_growth)


def _row(observations: Observations, frame_index: int) -> int:
    return int((observations.frame_indices == frame_index).nonzero()[0, 0])
