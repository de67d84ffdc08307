"""One gain per frame and colour channel for cameras whose exposure or white balance drifts.

Training renders each frame with its own gain, so that the avatar keeps one consistent colour. Only where frames drift:
a gain that is free for no reason would swallow the shading that poses should explain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.capture.crops import PersonCrop

_DARK = 0.02
"""Added to both means: what is nearly black says little about gain."""
_LARGEST_STEP = 0.5
"""Of a logarithm: a frame that is further off is rather misplaced."""
_WINDOW_S = 0.5
"""Changes of brightness faster than this are averaged away."""
_FEWEST_PIXELS = 64


@dataclass(frozen=True)
class ExposureConfig:
    """When gains are learnt, and how fast."""

    start: float = 0.1
    """Share of the run from which on they are learnt."""
    least_drift: float = 0.03
    """Standard deviation of the logarithmic brightness, common to person and surroundings, from which gains are learnt."""
    rate: float = 0.5
    """Share of the way to the gain that the frame asks for, each time it is looked at."""
    shrink: float = 0.02
    """Share of the logarithm that is taken back each time: gains stay near 1."""


def exposure_drift(crops: Sequence[PersonCrop], times_s: np.ndarray) -> float:
    """How far the brightness of person and surroundings drifts together: a standard deviation of logarithms.

    A person who turns to the light brightens alone, and a camera that pans sees other walls; only a camera's exposure
    moves both by the same factor. So what counts is the part they share: where both deviate to the same side, the smaller.

    Args:
        crops: Training crops in ascending time.
        times_s: Of each crop.
    """
    if len(crops) < 8:
        return 0.0
    inside, outside = [], []
    for crop in crops:
        light = crop.rgb[::4, ::4].astype(np.float32).mean(2)
        mask = crop.mask[::4, ::4]
        person, rest = light[mask > 200], light[(mask < 20) & (light > 0.0)]  # what lies outside the frame is black
        inside.append(np.log(person.mean() + 4.0) if len(person) else np.nan)
        outside.append(np.log(rest.mean() + 4.0) if len(rest) else np.nan)
    both = np.stack([inside, outside])
    known = np.isfinite(both).all(0)
    if known.sum() < 8:
        return 0.0
    times = np.asarray(times_s)[known]
    near = np.exp(-0.5 * ((times[:, None] - times[None]) / _WINDOW_S) ** 2)
    smooth = (near @ both[:, known].T / near.sum(1, keepdims=True)).T
    smooth -= np.median(smooth, axis=1, keepdims=True)
    shared = np.where(smooth[0] * smooth[1] > 0, np.abs(smooth).min(0), 0.0)
    return float(np.sqrt(np.mean(shared**2)))


class ExposureTraining:
    """Gains in the making: logarithms, mean zero over the frames. Idle until `begin`."""

    def __init__(self, config: ExposureConfig) -> None:
        self.config = config
        self._log_gains: Tensor | None = None

    def begin(self, num_frames: int) -> None:
        """Start with gains of 1."""
        self._log_gains = torch.zeros(num_frames, 3)

    @property
    def gains(self) -> Float[Tensor, "frames 3"] | None:
        """Gain of each training frame, none where they are not learnt."""
        return None if self._log_gains is None else self._log_gains.exp()

    def apply(self, place: int) -> Float[Tensor, "1 3"] | None:
        """How bright the camera of training frame `place` records each channel; none before `begin`."""
        return None if self._log_gains is None else self._log_gains[place].exp()[None]

    def observe(
        self,
        place: int,
        rendered: Float[Tensor, "height width 3"],
        frame: Float[Tensor, "height width 3"],
        person: Bool[Tensor, "height width"],
    ) -> None:
        """Move a frame's gains towards what makes the render as bright as the frame.

        Means over the person are compared, which hardly feel what is misplaced by a few pixels. The mean over the
        training frames stays 1: the avatar's own colour is theirs.

        Args:
            place: Of the training frame.
            rendered: With the gains so far.
            frame: What should have come out.
            person: Pixels that both show the person for sure.
        """
        if self._log_gains is None or int(person.sum()) < _FEWEST_PIXELS:
            return
        ours, wanted = rendered.detach()[person].mean(0), frame[person].mean(0)
        step = ((wanted + _DARK) / (ours + _DARK)).log().clamp(-_LARGEST_STEP, _LARGEST_STEP)
        self._log_gains[place] += self.config.rate * step
        self._log_gains[place] *= 1.0 - self.config.shrink
        self._log_gains -= self._log_gains.mean(0)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs; empty before `begin`."""
        return {} if self._log_gains is None else {"exposure.log_gains": self._log_gains}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """What `tensors` gave."""
        found = tensors.get("exposure.log_gains")
        self._log_gains = None if found is None else found.clone()
