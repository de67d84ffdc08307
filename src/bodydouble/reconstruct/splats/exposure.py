"""One gain per frame and colour channel for cameras whose exposure or white balance drifts.

Training renders each frame with its own gain, so that the avatar keeps one consistent colour. Only where frames drift:
a gain that is free for no reason would swallow the shading that poses should explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.capture.crops import PersonCrop


@dataclass(frozen=True)
class ExposureConfig:
    """When gains are learnt, and how fast."""

    start: float = 0.1
    """Share of the run from which on they are learnt."""
    least_drift: float = 0.03
    """Standard deviation of the logarithmic brightness, common to person and surroundings, from which gains are learnt."""
    rate: float = 0.02
    """Adam step on the logarithms."""
    weight: float = 2e-3
    """Of the mean squared logarithm: gains stay near 1."""


def exposure_drift(crops: Sequence[PersonCrop], times_s: np.ndarray, window_s: float = 0.5) -> float:
    """How far the brightness of person and surroundings drifts together: a standard deviation of logarithms.

    A person who turns to the light brightens alone, and a camera that pans sees other walls; only a camera's exposure
    moves both by the same factor. So what counts is the part they share: where both deviate to the same side, the smaller.

    Args:
        crops: Training crops in ascending time.
        times_s: Of each crop.
        window_s: Faster changes than this are averaged away.
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
    near = np.exp(-0.5 * ((times[:, None] - times[None]) / window_s) ** 2)
    smooth = (near @ both[:, known].T / near.sum(1, keepdims=True)).T
    smooth -= np.median(smooth, axis=1, keepdims=True)
    shared = np.where(smooth[0] * smooth[1] > 0, np.abs(smooth).min(0), 0.0)
    return float(np.sqrt(np.mean(shared**2)))


class ExposureTraining:
    """Gains in the making: logarithms, mean zero over the frames. Idle until `begin`."""

    def __init__(self, config: ExposureConfig) -> None:
        self.config = config
        self._values: dict[str, Tensor] = {}
        self._leaf: Tensor | None = None

    def begin(self, num_frames: int) -> None:
        """Start with gains of 1."""
        zeros = torch.zeros(num_frames, 3)
        self._values = {
            "log_gains": zeros, "first": zeros.clone(), "second": zeros.clone(),
            "visits": torch.zeros(num_frames, dtype=torch.long),
        }  # fmt: skip

    @property
    def gains(self) -> Float[Tensor, "frames 3"] | None:
        """Gain of each training frame, none where they are not learnt."""
        return self._values["log_gains"].exp() if self._values else None

    def apply(self, place: int) -> Float[Tensor, "1 3"] | None:
        """How bright the camera of training frame `place` records each channel; none before `begin`."""
        if not self._values:
            return None
        self._leaf = self._values["log_gains"][place].detach().clone().requires_grad_(torch.is_grad_enabled())
        return self._leaf.exp()[None]

    def penalty(self) -> Tensor:
        """What a gain far from 1 costs; for the last call of `apply`."""
        return torch.zeros(()) if self._leaf is None else self.config.weight * (self._leaf**2).mean()

    def step(self, place: int, decay: float) -> None:
        """Adam on the gains of one frame, which counts its own visits; their mean over the frames stays 1."""
        leaf, self._leaf = self._leaf, None
        if leaf is None or leaf.grad is None:
            return
        values = self._values
        values["visits"][place] += 1
        n = int(values["visits"][place])
        first, second = values["first"][place], values["second"][place]
        first.mul_(0.9).add_(leaf.grad, alpha=0.1)
        second.mul_(0.99).addcmul_(leaf.grad, leaf.grad, value=0.01)
        scale = (second / (1.0 - 0.99**n)).sqrt() + 1e-12
        values["log_gains"][place] -= self.config.rate * decay * first / (1.0 - 0.9**n) / scale
        values["log_gains"] -= values["log_gains"].mean(0)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs; empty before `begin`."""
        return {f"exposure.{name}": value for name, value in self._values.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """What `tensors` gave."""
        self._values = {k.removeprefix("exposure."): v for k, v in tensors.items() if k.startswith("exposure.")}
