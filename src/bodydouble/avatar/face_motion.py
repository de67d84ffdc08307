"""What a face does over time, apart from any body, and how it is put on an avatar's motion."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Rig
from bodydouble.core.geometry import matrix_to_quat_wxyz, quat_wxyz_to_rotvec, rotvec_to_matrix
from bodydouble.core.struct import TensorStruct, tensor_struct

_NECK_SHARE = 0.4
"""Part of a head's turn that happens in the neck."""


@tensor_struct
class FaceMotion(TensorStruct):
    """A clip of a face. Turns are about the rest frame's axes (+Y up, the face looks to +Z, its left is +X)."""

    name: str
    fps_hz: float
    expression: Float[Tensor, "frames actions"]
    """Strength of the 52 ARKit actions in [0, 1], in the order of `ARKIT_ACTIONS`."""
    head_rad: Float[Tensor, "frames 3"]
    """Yaw (to its own left), pitch (downwards) and roll (to its own right shoulder) of the head, radians."""
    eyes_rad: Float[Tensor, "frames 2 3"]
    """The same of the left and the right eye in the head."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return self.expression.shape[0]

    def resampled(self, fps_hz: float) -> "FaceMotion":
        """The same at another frame rate, linearly in between."""
        last = self.num_frames - 1
        if last < 1 or abs(fps_hz / self.fps_hz - 1) < 1e-4:
            return self.replace(fps_hz=float(fps_hz))
        count = int(last / self.fps_hz * fps_hz + 1e-3) + 1
        place = (torch.arange(count, dtype=torch.float64) * self.fps_hz / fps_hz).clamp(max=last)
        low = place.floor().long().clamp(max=last - 1)

        def mix(values: Tensor) -> Tensor:
            share = (place - low).to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))
            return values[low] * (1 - share) + values[low + 1] * share

        return self.replace(
            fps_hz=float(fps_hz),
            expression=mix(self.expression),
            head_rad=mix(self.head_rad),
            eyes_rad=mix(self.eyes_rad),
        )


def turn_matrices(angles_rad: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations of yaw, pitch and roll: the roll first, the yaw last."""
    axes = torch.eye(3, dtype=angles_rad.dtype)
    yaw, pitch, roll = (angles_rad[..., i, None] * axes[k] for i, k in enumerate((1, 0, 2)))
    return rotvec_to_matrix(yaw) @ rotvec_to_matrix(pitch) @ rotvec_to_matrix(roll)


def turn_angles(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Yaw, pitch and roll of rotations, the inverse of `turn_matrices` for pitches below a right angle."""
    pitch = torch.asin((-R[..., 1, 2]).clamp(-1.0, 1.0))
    yaw = torch.atan2(R[..., 0, 2], R[..., 2, 2])
    roll = torch.atan2(R[..., 1, 0], R[..., 1, 1])
    return torch.stack([yaw, pitch, roll], dim=-1)


def with_face(motion: Motion, face: FaceMotion, rig: Rig, *, turn_head: bool = False) -> Motion:
    """A motion with the expressions of a face; the longer of the two decides, the shorter starts again.

    Args:
        motion: On the avatar's rig.
        face: At any frame rate.
        rig: The avatar's, with a humanoid map.
        turn_head: Whether the head turns as the face did, instead of as the motion has it.
    """
    face = face.resampled(motion.fps_hz)
    frames = max(motion.num_frames, face.num_frames)
    body_rows, face_rows = torch.arange(frames) % motion.num_frames, torch.arange(frames) % face.num_frames
    rotvecs = motion.rotvecs[body_rows]
    if turn_head:
        rotvecs = rotvecs.clone()
        shares = {"neck": _NECK_SHARE, "head": 1.0 - _NECK_SHARE} if "neck" in rig.humanoid else {"head": 1.0}
        turn = quat_wxyz_to_rotvec(matrix_to_quat_wxyz(turn_matrices(face.head_rad)))[face_rows]
        for human, share in shares.items():
            if human in rig.humanoid:
                rotvecs[:, rig.bone_names.index(rig.humanoid[human])] = (turn * share).to(rotvecs.dtype)
    return motion.replace(
        name=face.name if turn_head else motion.name,
        rotvecs=rotvecs,
        translation_world_m=motion.translation_world_m[body_rows],
        expression=face.expression[face_rows].to(motion.expression.dtype),
    )
