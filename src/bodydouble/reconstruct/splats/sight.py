"""What the training frames show of each splat: its colour, and how much of it was ever seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.core.geometry import quat_multiply_wxyz, quat_wxyz_to_matrix
from bodydouble.reconstruct.splats.frames import TrainingFrames
from bodydouble.reconstruct.splats.prior import ramp
from bodydouble.reconstruct.splats.seed import LEARNT, SplatState
from bodydouble.render.protocol import COVARIANCE_BLUR_PX2, Rasterizer, RenderedSplats, SplatCloud
from bodydouble.render.sh import C0

_COLOR_VIEWS, _SEEN_VIEWS = 24, 40
"""About how many training frames are looked at."""
_CLEARLY = 200
"""Mask values, of 255, above which a pixel is the person's."""
_AT_SURFACE_M = 0.02
_EDGE_ON = (-0.05, 0.2)
"""Cosine of the angle between outward and the camera up to which a splat is on the far side, and from which it is not."""
CloudAt = Callable[[dict[str, Tensor], int], SplatCloud]
"""Splats with the given learnt fields, in the pose of the training frame at a place."""


def observed_colors(
    state: SplatState, frames: TrainingFrames, cloud_at: CloudAt, rasterizer: Rasterizer
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Mean colour of each splat over the frames that show it from the front, and the weight of that evidence."""
    total = torch.zeros(len(state.means), 3)
    weight = torch.zeros(len(state.means))
    fields = {name: getattr(state, name) for name in LEARNT}
    for place in range(0, len(frames), max(1, len(frames) // _COLOR_VIEWS)):
        crop = frames.half[place]
        with torch.no_grad():
            cloud = cloud_at(fields, place)
            image = rasterizer(cloud, crop.camera)
            share = visible_share(cloud, image, crop.camera)
            at, _ = crop.camera.project(cloud.means_world)
            column = at[:, 0].long().clamp(0, crop.rgb.shape[1] - 1)
            row = at[:, 1].long().clamp(0, crop.rgb.shape[0] - 1)
            inside = torch.from_numpy(crop.mask)[row, column] > _CLEARLY
            evidence = share * inside
            total += torch.from_numpy(crop.rgb)[row, column].float() / 255.0 * evidence[:, None]
            weight += evidence
    return total / weight.clamp_min(1e-6)[:, None], weight


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What the looked-at frames show of each splat, in [0, 1]."""

    shown: Float[Tensor, " n"]
    """Its blending weight summed over pixels of the mask, against its own area in the image; the best view counts."""
    seen: Float[Tensor, " n"]
    """The same over views from outside: a back that nobody filmed glimmers through the chest, as skin and cloth are
    translucent a little, and is shown so, but not seen."""
    supported: Float[Tensor, " n"]
    """Of all its weight in all frames the share inside the masks, 1 where it has none."""

    def chosen(self, index: Int[Tensor, " m"]) -> Shares:
        """Those of some splats."""
        return Shares(shown=self.shown[index], seen=self.seen[index], supported=self.supported[index])


def seen_shares(
    state: SplatState,
    normals: Float[Tensor, "n 3"],
    frames: TrainingFrames,
    cloud_at: CloudAt,
    rasterizer: Rasterizer,
) -> Shares:
    """How much the training frames show of each splat, and how much of that the masks support.

    Args:
        state: Trained splats.
        normals: Of the surface where each was born, at rest (`seed.birth_normals`).
        frames, cloud_at, rasterizer: Where to look.
    """
    shown, seen = torch.zeros(2, len(state.means))
    total = torch.zeros(len(state.means), 2)
    for place in range(0, len(frames), max(1, len(frames) // _SEEN_VIEWS)):
        crop = frames.half[place]
        fields = {name: getattr(state, name) for name in LEARNT}
        fields["sh_rest"] = fields["sh_rest"][:, :0]
        fields["sh"] = torch.zeros_like(fields["sh"]).requires_grad_()
        cloud = cloud_at(fields, place)
        image = rasterizer(cloud, crop.camera)
        inside = torch.from_numpy(crop.mask).float() / 255.0
        # One colour channel counts pixels inside the mask, another those outside.
        (image.rgb[..., 0] * inside + image.rgb[..., 1] * (1.0 - inside)).sum().backward()
        assert fields["sh"].grad is not None
        pixels = fields["sh"].grad[:, 0, :2] / C0
        depth = crop.camera.project(cloud.means_world)[1].detach().clamp_min(0.1)
        two_largest = cloud.scales_m.detach().topk(2, dim=1).values * crop.camera.focal_px[0] / depth[:, None]
        area = 2.0 * torch.pi * cloud.opacities.detach() * (two_largest**2 + COVARIANCE_BLUR_PX2).sqrt().prod(1)
        share = (pixels[:, 0] / area.clamp_min(1e-3)).clamp(0.0, 1.0)
        shown = torch.maximum(shown, share)
        seen = torch.maximum(seen, share * _facing(cloud, state, normals, crop.camera))
        total += pixels.clamp_min(0.0)
    weight = total.sum(1)
    supported = torch.where(weight > 0.1, total[:, 0] / weight.clamp_min(1e-6), torch.ones(()))
    return Shares(shown=shown, seen=seen, supported=supported)


def _facing(cloud: SplatCloud, state: SplatState, normals: Float[Tensor, "n 3"], camera: Camera) -> Float[Tensor, " n"]:
    """1 for splats that were born on the side of the body that faces the camera, 0 for those on its far side."""
    with torch.no_grad():
        undo = state.quats * torch.tensor([1.0, -1.0, -1.0, -1.0])
        turn = quat_wxyz_to_matrix(torch.nn.functional.normalize(quat_multiply_wxyz(cloud.quats_wxyz, undo), dim=1))
        outward = (turn @ normals[..., None])[..., 0]
        return ramp((outward * _towards(camera, cloud.means_world)).sum(1), *_EDGE_ON)


def _towards(camera: Camera, points_world: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Unit vectors from points to the camera."""
    eye_world = -camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3]
    return torch.nn.functional.normalize(eye_world - points_world, dim=1)


def visible_share(cloud: SplatCloud, image: RenderedSplats, camera: Camera) -> Float[Tensor, " n"]:
    """1 for splats at the rendered surface that face the camera, fading to 0 at grazing angles and behind it."""
    at, depth = camera.project(cloud.means_world)
    height, width = image.alpha.shape
    column, row = at[:, 0].long().clamp(0, width - 1), at[:, 1].long().clamp(0, height - 1)
    surface = image.depth[row, column] / image.alpha[row, column].clamp_min(1e-3)
    inside = (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height) & (image.alpha[row, column] > 0.5)
    normal = quat_wxyz_to_matrix(cloud.quats_wxyz)[..., 2]
    facing = (normal * _towards(camera, cloud.means_world)).sum(1).clamp_min(0.0)
    return facing**2 * (inside & ((depth - surface).abs() < _AT_SURFACE_M))
