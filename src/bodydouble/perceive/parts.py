"""Raw findings for a run of frames, as one worker leaves them for the next step."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.core.files import read_tensors, write_tensors
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.perceive.mediapipe_holistic import BODY_NAMES, HAND_NAMES, NUM_FACE

LANDMARK_NAMES: tuple[str, ...] = (
    *(f"body/{name}" for name in BODY_NAMES),
    *(f"left_hand/{name}" for name in HAND_NAMES),
    *(f"right_hand/{name}" for name in HAND_NAMES),
    *(f"face/{i}" for i in range(NUM_FACE)),
)
BODY = slice(0, len(BODY_NAMES))
LEFT_HAND = slice(BODY.stop, BODY.stop + len(HAND_NAMES))
RIGHT_HAND = slice(LEFT_HAND.stop, LEFT_HAND.stop + len(HAND_NAMES))
FACE = slice(RIGHT_HAND.stop, RIGHT_HAND.stop + NUM_FACE)
NUM_LANDMARKS = len(LANDMARK_NAMES)


@tensor_struct
class RawLandmarks(TensorStruct):
    """Landmarks of some frames, before confidences are judged over time."""

    frame_indices: Int[Tensor, " frames"]
    xy_px: Float[Tensor, "frames landmarks 2"]
    xyz_camera_m: Float[Tensor, "frames landmarks 3"]
    confidence: Float[Tensor, "frames landmarks"]
    """Of single frames: 0 where not found."""
    present: Bool[Tensor, " frames"]
    mask_box_px: Float[Tensor, "frames 4"]
    """x0, y0, x1, y1 of the refined mask; 0 where it is empty."""


def save_part(path: Path, part: RawLandmarks) -> None:
    """Write a part."""
    write_tensors(path, {name: getattr(part, name) for name in RawLandmarks.__dataclass_fields__})


def load_part(path: Path) -> RawLandmarks:
    """Read a part."""
    tensors, _ = read_tensors(path)
    return RawLandmarks(**tensors)


def join_parts(parts: list[RawLandmarks]) -> RawLandmarks:
    """Put parts together in the order of their frames."""
    ordered = sorted((p for p in parts if len(p.frame_indices)), key=lambda p: int(p.frame_indices[0]))
    return RawLandmarks(
        **{name: torch.cat([getattr(p, name) for p in ordered]) for name in RawLandmarks.__dataclass_fields__}
    )
