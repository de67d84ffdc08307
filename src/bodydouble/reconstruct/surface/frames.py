"""The frames that a surface is trained on: whole pictures, since the world is learnt from them, too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import InputError
from bodydouble.reconstruct.surface.config import MaskUse
from bodydouble.reconstruct.surface.evidence import Evidence

_DOUBTFUL = 0.5
"""Confidence in motion below which a soft mask is asked, and that it then has."""


def choose_frames(capture: Capture, track: BodyTrack, max_frames: int) -> list[int]:
    """Source indices of the frames to train on: not held out, the body fits; spread evenly.

    Raises:
        InputError: When no frame is left.
    """
    good = {int(i) for i, q in zip(track.frame_indices, track.frame_quality, strict=True) if q > 0.0}
    candidates = [i for i in capture.train_indices() if i in good] or capture.train_indices()
    if not candidates:
        raise InputError(
            "No frame is left to train on: the person was found in none but held-out frames. Use a longer video, in which "
            "the whole person can be seen."
        )
    places = np.unique(np.linspace(0, len(candidates) - 1, min(max_frames, len(candidates))).round().astype(int))
    return [candidates[i] for i in places]


class VideoFrames:
    """Frames at a working size and at half of it, 8 bits, with the subject's masks where they are wanted.

    Args:
        capture: Names the video.
        frame_indices: Which source frames, ascending.
        size_px: Longer side of the working size at most.
        masks: Whether to read the masks.
    """

    def __init__(self, capture: Capture, frame_indices: Sequence[int], size_px: int, *, masks: bool) -> None:
        import cv2

        info = capture.info
        self.frame_indices = list(frame_indices)
        shrink = min(1.0, size_px / max(info.width_px, info.height_px))
        self.width, self.height = (2 * round(0.5 * shrink * n) for n in (info.width_px, info.height_px))
        self.scale = self.width / info.width_px
        """Working pixels per pixel of the video."""
        shape = (len(self.frame_indices), self.height, self.width)
        self.full = np.empty((*shape, 3), np.uint8)
        self.half = np.empty((shape[0], self.height // 2, self.width // 2, 3), np.uint8)
        self.masks = np.zeros(shape, np.uint8) if masks else None
        self.has_mask = np.zeros(shape[0], bool)
        size = (self.width, self.height)
        for place, frame in enumerate(capture.frames(self.frame_indices)):
            self.full[place] = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
            self.half[place] = cv2.resize(self.full[place], (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA)
            mask = capture.mask(frame.index) if masks else None
            if self.masks is not None and mask is not None:
                self.masks[place] = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
                self.has_mask[place] = True

    def __len__(self) -> int:
        return len(self.frame_indices)

    def colors_at(self, place: int, pixels: np.ndarray, *, half: bool) -> Float[Tensor, "n 3"]:
        """Colours of pixels [n, 2] (column, row) of the working or the half size, in [0, 1]."""
        picture: UInt8[np.ndarray, "height width 3"] = (self.half if half else self.full)[place]
        return torch.from_numpy(picture[pixels[:, 1], pixels[:, 0]].astype(np.float32) / np.float32(255.0))

    def mask_values(self, place: int, pixels: np.ndarray, *, half: bool) -> Float[Tensor, " n"] | None:
        """The mask at such pixels, in [0, 1]; None where the frame has none."""
        if self.masks is None or not self.has_mask[place]:
            return None
        step = 2 if half else 1
        values = self.masks[place][pixels[:, 1] * step, pixels[:, 0] * step]
        return torch.from_numpy(values.astype(np.float32) / np.float32(255.0))

    def video_pixels(self, pixels: np.ndarray, *, half: bool) -> Float[Tensor, "n 2"]:
        """Centres of such pixels in the full video frame."""
        factor = (2.0 if half else 1.0) / self.scale
        return torch.from_numpy((pixels.astype(np.float32) + np.float32(0.5)) * np.float32(factor))


def believe_masks(evidence: Evidence, frames: VideoFrames, use: MaskUse) -> None:
    """Let masks speak where they are wanted: in place of motion (`trust`), or where motion says little (`soft`).

    Args:
        evidence: Of the frames, at half their working size; changed in place.
        frames: With masks.
        use: How far they are believed.
    """
    if use == "none" or frames.masks is None:
        return
    for place in np.flatnonzero(frames.has_mask):
        mask = frames.masks[place].reshape(frames.height // 2, 2, frames.width // 2, 2).mean((1, 3)) / np.float32(255.0)
        sure = np.abs(2.0 * mask - 1.0).astype(np.float32)
        taken = sure >= 0.0 if use == "trust" else evidence.confidence[place] < _DOUBTFUL
        evidence.person[place] = np.where(taken, mask > 0.5, evidence.person[place])
        believed = sure if use == "trust" else _DOUBTFUL * sure
        evidence.confidence[place] = np.where(taken, believed, evidence.confidence[place])
