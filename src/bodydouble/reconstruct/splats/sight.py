"""What the training frames show of each splat: its colour, and how much of it was ever seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.capture.crops import PersonCrop
from bodydouble.core.cameras import Camera
from bodydouble.core.geometry import quat_multiply_wxyz, quat_wxyz_to_matrix
from bodydouble.reconstruct.splats.frames import TrainingFrames
from bodydouble.reconstruct.splats.prior import ramp
from bodydouble.reconstruct.splats.seed import LEARNT, SplatState
from bodydouble.render.protocol import COVARIANCE_BLUR_PX2, Rasterizer, RenderedSplats, SplatCloud
from bodydouble.render.sh import C0

_COLOR_VIEWS, _SEEN_VIEWS, _OUTSIDE_VIEWS = 24, 40, 20
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
    for place in _some_places(frames, _COLOR_VIEWS):
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
    fields = {name: getattr(state, name) for name in LEARNT}
    fields["sh_rest"] = fields["sh_rest"][:, :0]
    for place in _some_places(frames, _SEEN_VIEWS):
        crop = frames.half[place]
        with torch.no_grad():
            cloud = cloud_at(fields, place)
        pixels, area = _weight_px(cloud, crop, rasterizer)
        # A splat of which only the tail is in the picture has any colour.
        share = (pixels[:, 0] / area).clamp(0.0, 1.0) * (pixels[:, 2] < pixels[:, :2].sum(1))
        shown = torch.maximum(shown, share)
        seen = torch.maximum(seen, share * _facing(cloud, state, normals, crop.camera))
        total += pixels[:, :2].clamp_min(0.0)
    weight = total.sum(1)
    supported = torch.where(weight > 0.1, total[:, 0] / weight.clamp_min(1e-6), torch.ones(()))
    return Shares(shown=shown, seen=seen, supported=supported)


def shown_outside(
    state: SplatState,
    laid_at: Callable[[int], SplatCloud],
    frames: TrainingFrames,
    cloud_at: CloudAt,
    rasterizer: Rasterizer,
) -> Float[Tensor, " n"]:
    """How much of splats that are laid over the trained ones the training frames would show beside the person: blending
    weight outside the masks against the splat's own area in the image; the view that shows most counts.

    Args:
        state: Trained splats.
        laid_at: The others, in the pose of the training frame at a place.
        frames, cloud_at, rasterizer: Where to look.
    """
    fields = {name: getattr(state, name) for name in LEARNT}
    fields["sh_rest"] = fields["sh_rest"][:, :0]
    outside: list[Tensor] = []
    for place in _some_places(frames, _OUTSIDE_VIEWS):
        with torch.no_grad():
            trained, laid = cloud_at(fields, place), laid_at(place)
            both = SplatCloud(
                means_world=torch.cat([trained.means_world, laid.means_world]),
                quats_wxyz=torch.cat([trained.quats_wxyz, laid.quats_wxyz]),
                scales_m=torch.cat([trained.scales_m, laid.scales_m]),
                opacities=torch.cat([trained.opacities, laid.opacities]),
                sh=torch.cat([trained.sh[:, :1], laid.sh[:, :1]]),
            )
        pixels, area = _weight_px(both, frames.half[place], rasterizer)
        outside.append((pixels[:, 1] / area)[len(trained.means_world) :])
    return torch.stack(outside).amax(0).clamp(0.0, 1.0)


def _some_places(frames: TrainingFrames, about: int) -> range:
    return range(0, len(frames), max(1, len(frames) // about))


def _weight_px(
    cloud: SplatCloud, crop: PersonCrop, rasterizer: Rasterizer
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Blending weight of each splat, summed over pixels inside the mask, outside of it, and beyond the video's picture;
    and its area in pixels."""
    sh = torch.zeros(len(cloud.means_world), 1, 3, requires_grad=True)
    image = rasterizer(cloud.replace(sh=sh), crop.camera)
    inside = torch.from_numpy(crop.mask).float() / 255.0
    beyond = torch.zeros_like(inside) if crop.beyond is None else torch.from_numpy(crop.beyond).float()
    within = 1.0 - beyond
    # Each colour channel counts pixels of one kind.
    (image.rgb * torch.stack([inside * within, (1.0 - inside) * within, beyond], dim=-1)).sum().backward()
    assert sh.grad is not None
    depth = crop.camera.project(cloud.means_world)[1].clamp_min(0.1)
    two_largest = cloud.scales_m.topk(2, dim=1).values * crop.camera.focal_px[0] / depth[:, None]
    area = 2.0 * torch.pi * cloud.opacities * (two_largest**2 + COVARIANCE_BLUR_PX2).sqrt().prod(1)
    return sh.grad[:, 0] / C0, area.clamp_min(1e-3)


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
