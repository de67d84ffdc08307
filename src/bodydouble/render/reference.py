"""The truth about splats: image formation in plain torch, any floating type, with autograd. Slow, exact, short."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.core.geometry import quat_wxyz_to_matrix
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.protocol import (
    COVARIANCE_BLUR_PX2,
    FIELD_MARGIN,
    MAX_ALPHA,
    MIN_ALPHA,
    MIN_TRANSMITTANCE,
    NEAR_M,
    RenderedSplats,
    SplatCloud,
)
from bodydouble.render.sh import sh_to_rgb

_PAIRS_AT_ONCE = 4_000_000


@tensor_struct
class ProjectedSplats(TensorStruct):
    """What is left of the splats in the image, sorted by depth (ties by index)."""

    means_px: Float[Tensor, "m 2"]
    conics: Float[Tensor, "m 3"]
    """Inverse 2D covariance: xx, xy, yy, 1/px^2."""
    depths_m: Float[Tensor, " m"]
    opacities: Float[Tensor, " m"]
    rgb: Float[Tensor, "m 3"]


def drawable(splats: SplatCloud, camera: Camera) -> Bool[Tensor, " n"]:
    """Splats that may show: every number finite, in front of the near plane, peak opacity of at least 1/255."""
    finite = torch.isfinite(splats.means_world).all(-1) & torch.isfinite(splats.quats_wxyz).all(-1)
    finite &= torch.isfinite(splats.scales_m).all(-1) & torch.isfinite(splats.opacities)
    finite &= torch.isfinite(splats.sh).all(-1).all(-1)
    depth = splats.means_world @ camera.T_camera_world[2, :3].to(splats.means_world) + camera.T_camera_world[2, 3]
    return finite & (depth >= NEAR_M) & (splats.opacities >= MIN_ALPHA)


def covariances_px(
    points_camera: Float[Tensor, "m 3"], covariances_camera: Float[Tensor, "m 3 3"], camera: Camera
) -> Float[Tensor, "m 2 2"]:
    """EWA projection (Zwicker et al. 2001): the perspective map linearised at the centre, plus the blur of the pixel.

    Beyond the field of view (and a margin) the linearisation is taken at the margin: further out it grows and grows.
    """
    fx, fy = camera.focal_px.to(points_camera)
    cx, cy = camera.center_px.to(points_camera)
    x, y, z = points_camera.unbind(-1)
    margin_x, margin_y = FIELD_MARGIN * camera.width_px, FIELD_MARGIN * camera.height_px
    u = torch.minimum(torch.maximum(x / z, -(cx + margin_x) / fx), (camera.width_px - cx + margin_x) / fx)
    v = torch.minimum(torch.maximum(y / z, -(cy + margin_y) / fy), (camera.height_px - cy + margin_y) / fy)
    zero = torch.zeros_like(z)
    J = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], dim=-1).reshape(-1, 2, 3)
    blur = COVARIANCE_BLUR_PX2 * torch.eye(2, dtype=z.dtype, device=z.device)
    return J @ covariances_camera @ J.transpose(-1, -2) + blur


def project_splats(splats: SplatCloud, camera: Camera) -> ProjectedSplats:
    """Gaussians of the image, nearest first. Differentiable."""
    keep = torch.nonzero(drawable(splats, camera))[:, 0]
    T_camera_world = camera.T_camera_world.to(splats.means_world)
    R_camera_world = T_camera_world[:3, :3]
    means = splats.means_world[keep]
    points = means @ R_camera_world.T + T_camera_world[:3, 3]
    order = torch.argsort(points[:, 2], stable=True)
    keep, means, points = keep[order], means[order], points[order]
    M = R_camera_world @ quat_wxyz_to_matrix(splats.quats_wxyz[keep]) * splats.scales_m[keep][:, None, :]
    covariances = covariances_px(points, M @ M.transpose(-1, -2), camera)
    inverse = torch.linalg.inv(covariances) if keep.numel() else covariances
    eye = -R_camera_world.T @ T_camera_world[:3, 3]
    return ProjectedSplats(
        means_px=points[:, :2] / points[:, 2:] * camera.focal_px.to(points) + camera.center_px.to(points),
        conics=torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], dim=-1),
        depths_m=points[:, 2],
        opacities=splats.opacities[keep],
        rgb=sh_to_rgb(splats.sh[keep], torch.nn.functional.normalize(means - eye, dim=-1)),
    )


def splat_weights(
    pixels: Float[Tensor, "pixels 2"], projected: ProjectedSplats, *, stop_early: bool = True
) -> Float[Tensor, "pixels m"]:
    """Share of each splat in the colour of each pixel. Differentiable.

    Args:
        pixels: Positions in the image.
        projected: From `project_splats`.
        stop_early: Whether a pixel stops at a transmittance of 1e-4.
    """
    d = pixels[:, None, :] - projected.means_px[None]
    a, b, c = projected.conics.unbind(-1)
    power = -0.5 * (a * d[..., 0] ** 2 + c * d[..., 1] ** 2) - b * d[..., 0] * d[..., 1]
    alpha = (projected.opacities * power.exp()).clamp_max(MAX_ALPHA)
    alpha = torch.where(alpha >= MIN_ALPHA, alpha, torch.zeros_like(alpha))
    through = torch.cumprod(1.0 - alpha, dim=1)
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], dim=1)
    weights = alpha * before
    return torch.where(before >= MIN_TRANSMITTANCE, weights, torch.zeros_like(weights)) if stop_early else weights


def rasterize_reference(
    splats: SplatCloud,
    camera: Camera,
    background: Float[Tensor, " 3"] | None = None,
    *,
    stop_early: bool = True,
) -> RenderedSplats:
    """Rasterise as `protocol.Rasterizer` says, by evaluating every splat at every pixel.

    Args:
        splats: In any floating type; the result has the same.
        camera: Cast to the splats' type; gradients flow to it too.
        background: Black by default.
        stop_early: Whether a pixel stops at a transmittance of 1e-4. Off, the image is smooth there.
    """
    projected = project_splats(splats, camera)
    num_pixels = camera.height_px * camera.width_px
    index = torch.arange(num_pixels, device=splats.means_world.device)
    column, row = index % camera.width_px, index // camera.width_px
    pixels = torch.stack([column, row], dim=-1).to(splats.means_world) + 0.5
    values = torch.cat([projected.rgb, torch.ones_like(projected.rgb[:, :1]), projected.depths_m[:, None]], dim=1)
    chunk = max(1, _PAIRS_AT_ONCE // max(1, projected.depths_m.shape[0]))
    if projected.depths_m.shape[0]:
        image = torch.cat([splat_weights(p, projected, stop_early=stop_early) @ values for p in pixels.split(chunk)])
    else:
        image = pixels.new_zeros(num_pixels, 5)
    image = image.reshape(camera.height_px, camera.width_px, 5)
    rgb, alpha, depth = image[..., :3], image[..., 3], image[..., 4]
    if background is not None:
        rgb = rgb + (1.0 - alpha)[..., None] * background.to(rgb)
    return RenderedSplats(rgb=rgb, alpha=alpha, depth=depth)


class ReferenceRasterizer:
    """`rasterize_reference` behind the protocol."""

    def __init__(self, *, stop_early: bool = True) -> None:
        self.stop_early = stop_early

    def __call__(
        self, splats: SplatCloud, camera: Camera, background: Float[Tensor, " 3"] | None = None
    ) -> RenderedSplats:
        """See `protocol.Rasterizer`."""
        return rasterize_reference(splats, camera, background, stop_early=self.stop_early)
