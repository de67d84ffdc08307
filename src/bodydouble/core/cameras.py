"""Pinhole cameras after OpenCV: +X right, +Y down, +Z forward, pixel centres at +0.5. The world has +Y up."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.core.struct import TensorStruct, tensor_struct


@tensor_struct
class Camera(TensorStruct):
    """One pinhole camera without distortion.

    The default pose puts the camera at the world's origin, looking along world -Z with world +Y up, which is where
    the fit puts the camera of the source video.
    """

    width_px: int
    height_px: int
    focal_px: Float[Tensor, "2"]
    """Focal lengths (fx, fy)."""
    center_px: Float[Tensor, "2"]
    """Principal point (cx, cy); the centre of the top left pixel is (0.5, 0.5)."""
    T_camera_world: Float[Tensor, "4 4"]

    def project(
        self, points_world: Float[Tensor, "*batch 3"]
    ) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
        """Pixel coordinates and depth along +Z, metres. Points at or behind the camera give meaningless pixels."""
        points_camera = points_world @ self.T_camera_world[:3, :3].T + self.T_camera_world[:3, 3]
        depth = points_camera[..., 2]
        safe = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
        return points_camera[..., :2] / safe[..., None] * self.focal_px + self.center_px, depth

    def cropped(
        self, x0_px: float | int, y0_px: float | int, size_px: tuple[float | int, float | int], out_px: tuple[int, int]
    ) -> "Camera":
        """The camera that sees only a rectangle of this image, resampled to another size.

        Args:
            x0_px, y0_px: Top left corner of the rectangle in this image; may lie outside it.
            size_px: Width and height of the rectangle in this image.
            out_px: Width and height of the new image.
        """
        scale = torch.tensor([out_px[0] / size_px[0], out_px[1] / size_px[1]], dtype=self.focal_px.dtype)
        corner = torch.tensor([x0_px, y0_px], dtype=self.focal_px.dtype)
        return self.replace(
            width_px=out_px[0],
            height_px=out_px[1],
            focal_px=self.focal_px * scale.to(self.focal_px),
            center_px=(self.center_px - corner.to(self.center_px)) * scale.to(self.center_px),
        )


def video_camera(width_px: int, height_px: int, focal_px: float | Tensor) -> Camera:
    """The camera of a video in the world of its fit: at the origin, looking along -Z, +Y up, square pixels."""
    focal = torch.as_tensor(focal_px, dtype=torch.float32)
    return Camera(
        width_px=width_px,
        height_px=height_px,
        focal_px=torch.stack([focal, focal]),
        center_px=torch.tensor([width_px / 2.0, height_px / 2.0]),
        T_camera_world=torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])),
    )


def look_at_camera(
    eye_world: Float[Tensor, "3"], target_world: Float[Tensor, "3"], *, width_px: int, height_px: int, focal_px: float
) -> Camera:
    """A camera at `eye_world` that looks at `target_world`, world +Y pointing up in the image."""
    forward = torch.nn.functional.normalize(target_world - eye_world, dim=0)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=forward.dtype)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=0)
    down = torch.linalg.cross(forward, right)
    R_camera_world = torch.stack([right, down, forward])
    T = torch.eye(4, dtype=forward.dtype)
    T[:3, :3] = R_camera_world
    T[:3, 3] = -R_camera_world @ eye_world
    return video_camera(width_px, height_px, focal_px).replace(T_camera_world=T)
