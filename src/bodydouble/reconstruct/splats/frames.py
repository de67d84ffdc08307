"""Training frames in memory: person crops at two sizes, composited over a plain colour when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from bodydouble.capture.crops import half_size, person_crops
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import Camera
from bodydouble.core.errors import InputError
from bodydouble.core.seeds import torch_rng
from bodydouble.render.protocol import RenderedSplats


@dataclass(frozen=True)
class Target:
    """What one frame demands of a render."""

    rgb: Float[Tensor, "height width 3"]
    """The person over the step's background."""
    mask: Float[Tensor, "height width"]
    camera: Camera
    groups: UInt8[Tensor, "height width"] | None = None
    """Index into `parts.GROUPS` of what each pixel shows, 255 for nothing; None where nobody asked."""
    beyond: Bool[Tensor, "height width"] | None = None
    """Pixels beyond the video's picture; None where there are none."""

    def agreeing_beyond(self, image: RenderedSplats) -> Target:
        """The same, but what a render shows beyond the picture is just what is demanded: legs that the picture's edge
        cuts off are not to vanish."""
        if self.beyond is None:
            return self
        rgb = torch.where(self.beyond[..., None], image.rgb.detach(), self.rgb)
        return replace(self, rgb=rgb, mask=torch.where(self.beyond, image.alpha.detach(), self.mask))


def choose_frames(capture: Capture, track: BodyTrack, max_frames: int) -> list[int]:
    """Source indices of the frames to train on: not held out, subject in view, the body fits; spread evenly.

    Raises:
        InputError: When no frame is left.
    """
    quality = dict(zip(track.frame_indices.tolist(), track.frame_quality.tolist(), strict=True))
    candidates = [i for i in capture.train_indices() if quality.get(i, 0.0) > 0.0] or capture.train_indices()
    if not candidates:
        raise InputError(
            "No frame is left to train on: the person was found in none but held-out frames. Use a longer video, in which "
            "the whole person can be seen."
        )
    if len(candidates) <= max_frames:
        return candidates
    places = np.linspace(0, len(candidates) - 1, max_frames).round().astype(int)
    return [candidates[i] for i in places]


class TrainingFrames:
    """All training crops, full and half size. Their order is ascending in time."""

    def __init__(self, capture: Capture, track: BodyTrack, frame_indices: Sequence[int], size_px: int) -> None:
        self.full = list(person_crops(capture, frame_indices, size_px=size_px, focal_px=float(track.focal_px)))
        if not self.full:
            raise InputError(
                "No training frame holds a usable mask of the person. Film the person larger and fully in view, against a "
                "background of another colour."
            )
        self.half = [half_size(crop) for crop in self.full]
        rows = {int(i): row for row, i in enumerate(track.frame_indices)}
        self.rows = torch.tensor([rows[crop.frame_index] for crop in self.full])
        """Row of each crop in the track."""
        self.times_s = track.times_s[self.rows].double().numpy()
        self.groups: UInt8[Tensor, "frames rows columns"] | None = None
        """Maps of `parts.group_maps`, where they are needed."""

    def __len__(self) -> int:
        return len(self.full)

    def target(self, place: int, *, half: bool, background: Float[Tensor, "3"]) -> Target:
        """The crop at `place` over `background`."""
        crop = (self.half if half else self.full)[place]
        mask = torch.from_numpy(crop.mask).float().div_(255.0)
        planes = torch.from_numpy(crop.rgb).permute(2, 0, 1).contiguous().float().div_(255.0)  # as kernels like it
        planes.sub_(background[:, None, None]).mul_(mask).add_(background[:, None, None])
        beyond = None if crop.beyond is None else torch.from_numpy(crop.beyond)
        return Target(planes.permute(1, 2, 0), mask, crop.camera, self._groups_at(place, mask.shape[0]), beyond)

    def _groups_at(self, place: int, size_px: int) -> UInt8[Tensor, "height width"] | None:
        if self.groups is None:
            return None
        small = self.groups[place]
        nearest = (torch.arange(size_px) * len(small)) // size_px
        return small[nearest][:, nearest]


def frame_of_step(step: int, num_frames: int, seed: int) -> int:
    """Which frame a training step sees: every frame once per epoch, in an order drawn for the epoch."""
    epoch, place = divmod(step, num_frames)
    return int(torch.randperm(num_frames, generator=torch_rng(seed, f"epoch {epoch}"))[place])
