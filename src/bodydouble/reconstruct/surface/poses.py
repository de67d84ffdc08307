"""Poses on their way: per-frame corrections of the fit, held by it and by their neighbours in time."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.body.humanoid import FINGERS
from bodydouble.body.protocol import BodyModel

_STILL = ("Eye", "Toes", "jaw")
_DECIMETRE = 10.0


def movable_bones(body: BodyModel) -> Bool[Tensor, " bones"]:
    """Bones whose rotation a silhouette and coarse colours can tell: the body's, without fingers, toes, jaw and eyes."""
    there = torch.zeros(len(body.bone_names), dtype=torch.bool)
    for name, bone in body.humanoid.items():
        if not any(part in name for part in (*_STILL, *FINGERS)):
            there[body.bone_names.index(bone)] = True
    return there


class PoseRefinement:
    """Rotations and translations of the training frames, refined by Adam with each frame's own step count.

    Args:
        rotvecs, translation_world_m: The fit, of the training frames in order of time.
        movable: Which bones may turn.
        prior: Weight of half the squared rotation away from the fit, per square radian.
        temporal: Weight of half the squared difference to the neighbours' corrections.
    """

    def __init__(
        self,
        rotvecs: Float[Tensor, "frames bones 3"],
        translation_world_m: Float[Tensor, "frames 3"],
        movable: Bool[Tensor, " bones"],
        *,
        prior: float,
        temporal: float,
    ) -> None:
        self.fit_rotvecs, self.fit_translation = rotvecs.clone(), translation_world_m.clone()
        self.rotvecs, self.translation = rotvecs.clone(), translation_world_m.clone()
        self._movable = movable[:, None].float()
        self._prior, self._temporal = prior, temporal
        self._first = [torch.zeros_like(self.rotvecs), torch.zeros_like(self.translation)]
        self._second = [torch.zeros_like(self.rotvecs), torch.zeros_like(self.translation)]
        self._visits = torch.zeros(len(rotvecs), dtype=torch.long)

    def _pull(self, values: Tensor, fit: Tensor, place: int, scale: float) -> Tensor:
        """Gradient of the temporal term."""
        correction = values[place] - fit[place]
        near = [n for n in (place - 1, place + 1) if 0 <= n < len(values)]
        total = torch.zeros_like(correction)
        for n in near:
            total += correction - (values[n] - fit[n])
        return self._temporal * scale * scale * total

    def step(self, place: int, g_rotvecs: Tensor, g_translation: Tensor, rates: tuple[float, float]) -> None:
        """Move one frame along the gradients of the image's loss and of its own terms."""
        self._visits[place] += 1
        n = int(self._visits[place])
        turn = g_rotvecs + self._prior * (self.rotvecs[place] - self.fit_rotvecs[place])
        turn = (turn + self._pull(self.rotvecs, self.fit_rotvecs, place, 1.0)) * self._movable
        shift = g_translation + self._pull(self.translation, self.fit_translation, place, _DECIMETRE)
        for k, (values, gradient) in enumerate(((self.rotvecs, turn), (self.translation, shift))):
            first, second = self._first[k][place], self._second[k][place]
            first.mul_(0.9).add_(gradient, alpha=0.1)
            second.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
            spread = (second / (1.0 - 0.99**n)).sqrt() + 1e-12
            values[place] -= rates[k] * first / (1.0 - 0.9**n) / spread
