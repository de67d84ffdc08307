"""How the camera of a video moved: one pose for each frame, and the background points that told it."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.capture.folder import load_struct, save_struct
from bodydouble.core.cameras import Camera
from bodydouble.core.struct import TensorStruct, tensor_struct

CAMERA_FILE = "camera.safetensors"
"""Beside the other files of a capture."""


@tensor_struct
class CameraMotion(TensorStruct):
    """The camera in every frame of a track.

    World: that of the fit in the first frame (the first camera at the origin, looking along -Z, +Y up). A camera that
    stands still has that same pose in all frames.
    """

    frame_indices: Int[Tensor, " frames"]
    width_px: int
    height_px: int
    focal_px: Float[Tensor, ""]
    T_camera_world: Float[Tensor, "frames 4 4"]
    moves: bool
    method: str
    """`static` (it stands still), `structure` (from motion: it moves), `turning` (it turns about its own centre, or its way
    is too short to be seen), `unknown` (too little background to tell; taken for still)."""
    metric: bool
    """Whether translations are metres; else they have an arbitrary unit (the first camera is still at the origin)."""
    scale_spread: float
    """Standard error of the scale as a share of it; NaN where there is none."""
    error_px: float
    """Median distance of background points from where these cameras put them."""
    motion_px: float
    """How far the background moves in the picture: the median over points between frames far apart."""
    points_world: Float[Tensor, "points 3"]
    """Background points, in the unit of the translations; none for a camera that stands still or turns."""
    points_rgb: Float[Tensor, "points 3"]
    """Their colours, sRGB in [0, 1]."""
    seen: Bool[Tensor, " frames"]
    """Frames whose camera was found; those between are interpolated."""

    def camera(self, row: int) -> Camera:
        """The camera of a row of the track."""
        focal = self.focal_px.float()
        return Camera(
            width_px=self.width_px,
            height_px=self.height_px,
            focal_px=torch.stack([focal, focal]),
            center_px=torch.tensor([self.width_px / 2.0, self.height_px / 2.0]),
            T_camera_world=self.T_camera_world[row].float(),
        )

    def eyes_world(self) -> Float[Tensor, "frames 3"]:
        """Where the camera is."""
        R, t = self.T_camera_world[:, :3, :3], self.T_camera_world[:, :3, 3]
        return -(R.transpose(1, 2) @ t[..., None])[..., 0]


def still_camera(
    frame_indices: Int[Tensor, " frames"],
    width_px: int,
    height_px: int,
    focal_px: Float[Tensor, ""],
    *,
    method: str,
    motion_px: float,
) -> CameraMotion:
    """A camera that stands where the fit puts it."""
    frames = len(frame_indices)
    return CameraMotion(
        frame_indices=frame_indices,
        width_px=width_px,
        height_px=height_px,
        focal_px=focal_px.double(),
        T_camera_world=torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)).repeat(frames, 1, 1),
        moves=False,
        method=method,
        metric=True,
        scale_spread=float("nan"),
        error_px=0.0,
        motion_px=motion_px,
        points_world=torch.zeros(0, 3),
        points_rgb=torch.zeros(0, 3),
        seen=torch.ones(frames, dtype=torch.bool),
    )


def save_camera(folder: Path, motion: CameraMotion) -> None:
    """Write `camera.safetensors` into a capture's folder."""
    save_struct(folder / CAMERA_FILE, motion)


def load_camera(folder: Path) -> CameraMotion | None:
    """What `save_camera` wrote, or None where there is none.

    Raises:
        InputError: When the file is damaged.
    """
    path = folder / CAMERA_FILE
    return load_struct(CameraMotion, path) if path.exists() else None
