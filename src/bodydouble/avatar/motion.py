"""Motions on an avatar's rig: a pose and an expression for each of evenly spaced frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import Pose
from bodydouble.core.errors import ConfigError
from bodydouble.core.geometry import quat_wxyz_to_rotvec, rotvec_to_quat_wxyz
from bodydouble.core.struct import TensorStruct, tensor_struct


@tensor_struct
class Motion(TensorStruct):
    """A clip in the avatar's own parametrisation (`core.skinning`)."""

    name: str
    fps_hz: float
    rotvecs: Float[Tensor, "frames bones 3"]
    """Local rotations since the rest pose, radians."""
    translation_world_m: Float[Tensor, "frames 3"]
    """Added to the root joint's rest position."""
    expression: Float[Tensor, "frames actions"]
    """Strength of the 52 ARKit actions, in [0, 1]."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return self.rotvecs.shape[0]

    @property
    def duration_s(self) -> float:
        """Seconds until the motion may start again."""
        return self.num_frames / self.fps_hz

    def pose(self, frame: int) -> Pose:
        """The pose of one frame."""
        return Pose(rotvecs=self.rotvecs[frame], translation_world_m=self.translation_world_m[frame])

    def resampled(self, fps_hz: float) -> "Motion":
        """The same motion at another frame rate: rotations along the short arc, the rest linearly."""
        if fps_hz <= 0:
            raise ConfigError(f"A frame rate must be positive, found {fps_hz}; 30 is usual.")
        # Files round their frame time: rates this close are the same.
        if self.num_frames < 2 or abs(fps_hz / self.fps_hz - 1) < 1e-4:
            return self.replace(fps_hz=fps_hz)
        last = self.num_frames - 1
        count = int(last / self.fps_hz * fps_hz + 1e-3) + 1
        place = (torch.arange(count, dtype=torch.float64) * self.fps_hz / fps_hz).clamp(max=last)
        low = place.floor().long().clamp(max=last - 1)
        share = (place - low).to(self.rotvecs.dtype)

        def mix(values: Tensor) -> Tensor:
            weight = share.reshape(-1, *[1] * (values.dim() - 1))
            return values[low] * (1 - weight) + values[low + 1] * weight

        quats = rotvec_to_quat_wxyz(self.rotvecs)
        before, after = quats[low], quats[low + 1]
        after = torch.where((before * after).sum(-1, keepdim=True) < 0, -after, after)
        weight = share[:, None, None]
        blended = before * (1 - weight) + after * weight
        return self.replace(
            fps_hz=float(fps_hz),
            rotvecs=quat_wxyz_to_rotvec(blended),
            translation_world_m=mix(self.translation_world_m),
            expression=mix(self.expression),
        )
