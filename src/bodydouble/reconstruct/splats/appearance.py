"""What makes the same splats look different from frame to frame, beside the pose: correctives, and the camera's exposure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.values import Correctives, Rig
from bodydouble.body.protocol import BodyModel
from bodydouble.reconstruct.splats.correctives import CorrectiveConfig, CorrectiveLeaves, CorrectiveTraining
from bodydouble.reconstruct.splats.exposure import ExposureConfig, ExposureTraining, exposure_drift
from bodydouble.reconstruct.splats.frames import Target, TrainingFrames
from bodydouble.render.protocol import RenderedSplats

_SURE = 0.95
"""Mask and render above this show the person and nothing of what is behind."""


class FrameAppearance:
    """Both, as the trainer sees them: `begin_due`, then for each look `leaves`, `apply`, `penalty`, then one `step`."""

    def __init__(
        self,
        body: BodyModel,
        vertices_rest: Float[Tensor, "verts 3"],
        rig: Rig,
        correctives: CorrectiveConfig,
        exposure: ExposureConfig,
        seed: int,
    ) -> None:
        self.correctives = CorrectiveTraining(body, vertices_rest, rig, correctives, seed)
        self.exposure = ExposureTraining(exposure)

    def begin_due(
        self, step: int, num_steps: int, frames: TrainingFrames, rotvecs: Float[Tensor, "frames bones 3"]
    ) -> bool:
        """Begin what is to begin at this step; tells whether splats must be bound anew."""
        exposure, correctives = self.exposure.config, self.correctives.config
        starts = exposure.start < 1.0 and step == round(exposure.start * num_steps)
        if starts and exposure_drift(frames.half, frames.times_s) > exposure.least_drift:
            self.exposure.begin(len(frames))
        if step == round(correctives.start * num_steps) and correctives.start < 1.0:
            self.correctives.begin(rotvecs)
            return True
        return False

    def bind(self, faces: Int[Tensor, " n"], barycentric: Float[Tensor, "n 3"]) -> None:
        """Whenever the set of splats changes."""
        self.correctives.bind(faces, barycentric)

    def leaves(self, place: int) -> CorrectiveLeaves | None:
        """What a look at training frame `place` is to learn, if anything."""
        return self.correctives.leaves(place)

    def apply(
        self,
        means: Float[Tensor, "n 3"],
        R_world_rest: Float[Tensor, "bones 3 3"],
        place: int,
        leaves: CorrectiveLeaves | None = None,
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n channels"] | None]:
        """Rest positions as training frame `place` has them, in the pose with these bones' rotations, and the factor of
        each splat's brightness (`avatar.correctives.brightened`), if any."""
        means, shade = self.correctives.apply(means, R_world_rest, place, leaves)
        gain = self.exposure.apply(place)
        if gain is None:
            return means, shade
        return means, gain.expand(len(means), 3) if shade is None else shade * gain

    def observe(self, place: int, image: RenderedSplats, target: Target) -> None:
        """Let the exposure learn from a render of training frame `place`."""
        if self.exposure.gains is not None:
            self.exposure.observe(place, image.rgb, target.rgb, (image.alpha > _SURE) & (target.mask > _SURE))

    def penalty(self, leaves: CorrectiveLeaves | None) -> Tensor:
        """Regularisers of a look."""
        return self.correctives.penalty(leaves)

    def step(self, looks: Sequence[CorrectiveLeaves], decay: float) -> None:
        """One update after the looks' backward passes; `decay` multiplies every rate."""
        self.correctives.step(looks, decay)

    def baked(
        self, faces: Int[Tensor, " n"], barycentric: Float[Tensor, "n 3"], rotvecs: Float[Tensor, "frames bones 3"]
    ) -> tuple[Correctives, Correctives] | None:
        """`CorrectiveTraining.baked`; exposure is the camera's and not baked."""
        return self.correctives.baked(faces, barycentric, rotvecs)

    def tensors(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self.correctives.tensors() | self.exposure.tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.correctives.restore(tensors)
        self.exposure.restore(tensors)


def frame_gains(appearance: FrameAppearance, num_frames: int) -> Float[Tensor, "frames 3"]:
    """Exposure gain of each training frame; ones where none were learnt."""
    gains = appearance.exposure.gains
    return torch.ones(num_frames, 3) if gains is None else gains
