"""The world before a camera that does not move: one picture, how bright each frame is, and where it was ever seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from bodydouble.reconstruct.surface.evidence import Evidence

_SEEN_OFTEN = 4
"""So many frames that show a place make it certain."""
_TRUST = 0.95
"""By how much learning is slowed where the world was seen."""
_PLAIN_STD, _PLAIN_SHARE = 0.02, 0.9


class PlateWorld:
    """A clean plate at a working size, in sRGB values, with one gain per frame and channel. Implements `World`."""

    def __init__(
        self,
        plate: Float[Tensor, "height width 3"],
        seen: Float[Tensor, "height width"],
        frame_indices: Sequence[int],
        gains: Float[Tensor, "frames 3"],
        scale: float,
    ) -> None:
        self.plate, self.seen_map, self.gains, self.scale = plate, seen, gains, scale
        self.frame_indices = list(frame_indices)
        self._row = {index: row for row, index in enumerate(self.frame_indices)}

    def _at(self, pixels_px: Float[Tensor, "n 2"]) -> tuple[Tensor, Tensor]:
        """Left and top one of the four working pixels around, and shares for interpolation."""
        height, width = self.seen_map.shape
        at = pixels_px * self.scale - 0.5
        limit = torch.tensor([width - 1.0, height - 1.0])
        at = torch.minimum(at.clamp_min(0.0), limit)
        low = torch.minimum(at.floor(), limit - 1.0).clamp_min(0.0)
        return low.long(), at - low

    def _look_up(self, picture: Tensor, pixels_px: Tensor) -> Tensor:
        low, share = self._at(pixels_px)
        x, y = low.unbind(1)
        u, v = share[:, :1], share[:, 1:]
        top = picture[y, x] * (1 - u) + picture[y, x + 1] * u
        return top * (1 - v) + (picture[y + 1, x] * (1 - u) + picture[y + 1, x + 1] * u) * v

    def gain(self, frame_index: int) -> Float[Tensor, "3"]:
        """Exposure of a frame; of one that was not trained on, its nearest neighbour's."""
        row = self._row.get(frame_index)
        if row is None:
            row = int(np.abs(np.asarray(self.frame_indices) - frame_index).argmin())
        return self.gains[row]

    def colors_at(self, frame_index: int, pixels_px: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
        """See `World`."""
        return self._look_up(self.plate, pixels_px) * self.gain(frame_index)

    def seen(self, frame_index: int, pixels_px: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        """See `World`."""
        return self._look_up(self.seen_map[..., None], pixels_px)[:, 0]

    def learn(
        self, frame_index: int, pixels_px: Float[Tensor, "n 2"], gradient: Float[Tensor, "n 3"], rate: float
    ) -> None:
        """See `World`: the four pixels around each place move by `rate` where a mean absolute error over these places pulls
        with all its weight, by less where the person hides them, and hardly where the video showed what is there."""
        pull = (3.0 * len(pixels_px) * gradient * self.gain(frame_index)).clamp(-1.0, 1.0)
        low, share = self._at(pixels_px)
        height, width = self.seen_map.shape
        total, weight = torch.zeros(height * width, 3), torch.zeros(height * width)
        for corner in range(4):
            step = torch.tensor([corner & 1, corner >> 1])
            x, y = (low + step).unbind(1)
            part = torch.where(step.bool(), share, 1.0 - share).prod(1)
            total.index_add_(0, y * width + x, part[:, None] * pull)
            weight.index_add_(0, y * width + x, part)
        at = torch.nonzero(weight)[:, 0]
        pace = rate * (1.0 - _TRUST * self.seen_map.view(-1)[at])[:, None]
        flat = self.plate.view(-1, 3)
        flat[at] = (flat[at] - pace * total[at] / weight[at, None].clamp_min(1.0)).clamp(0.0, 1.0)


def plate_from_frames(
    frames: UInt8[np.ndarray, "frames height width 3"],
    evidence: Evidence,
    frame_indices: Sequence[int],
    scale: float,
) -> PlateWorld:
    """A clean plate: the mean of what frames show where the evidence says that it is the world.

    What no frame shows is filled in from around it.

    Args:
        frames: At the working size.
        evidence: At half of it.
        frame_indices: Their source indices.
        scale: Working pixels per pixel of the video.
    """
    import cv2

    height, width = frames.shape[1:3]
    total, weight = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    for place, frame in enumerate(frames):
        surely = ((evidence.person[place] < 0.5) & (evidence.confidence[place] > 0.5)).astype(np.float32)
        share = cv2.resize(cv2.erode(surely, np.ones((3, 3))), (width, height), interpolation=cv2.INTER_NEAREST)
        total += share[..., None] * (frame.astype(np.float32) / (255.0 * evidence.gains[place]))
        weight += share
    plate = total / np.maximum(weight, 1e-6)[..., None]
    return PlateWorld(
        torch.from_numpy(_filled(plate, weight < 0.5)),
        torch.from_numpy((weight / np.float32(_SEEN_OFTEN)).clip(0.0, 1.0)),
        frame_indices,
        torch.from_numpy(evidence.gains),
        scale,
    )


def plain_share(world: PlateWorld, around: Bool[np.ndarray, "height width"]) -> float:
    """Share of the seen world around a person that has no texture to speak of."""
    import cv2

    grey = world.plate.mean(2).numpy()
    mean, square = cv2.blur(grey, (9, 9)), cv2.blur(grey * grey, (9, 9))
    asked = around & (world.seen_map.numpy() > 0.5)
    return float((np.sqrt(np.maximum(square - mean * mean, 0.0))[asked] < _PLAIN_STD).mean()) if asked.any() else 1.0


def is_plain(share: float) -> bool:
    """Whether so plain a world cannot tell person and background apart by itself."""
    return share > _PLAIN_SHARE


def _filled(plate: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The plate with unknown places taken from around them."""
    import cv2

    if not unknown.any() or unknown.all():
        return np.where(unknown[..., None], np.float32(0.5), plate) if unknown.all() else plate
    size = (max(1, plate.shape[1] // 4), max(1, plate.shape[0] // 4))
    known = (~unknown).astype(np.float32)
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    color = (
        cv2.resize(plate * known[..., None], size, interpolation=cv2.INTER_AREA) / np.maximum(weight, 1e-6)[..., None]
    )
    small = cv2.inpaint(
        (255 * color.clip(0, 1)).astype(np.uint8), (weight < 1e-3).astype(np.uint8), 5, cv2.INPAINT_TELEA
    )
    wide = cv2.resize(small, plate.shape[1::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255.0
    return np.where(unknown[..., None], wide, plate).astype(np.float32)
