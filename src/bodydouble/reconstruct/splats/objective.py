"""What a step minimises: photometric terms weighted by pixel, the outline, and what keeps splats where they belong."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.reconstruct.splats.config import LossWeights
from bodydouble.reconstruct.splats.frames import Target
from bodydouble.reconstruct.splats.parts import CLOTHED, GROUPS
from bodydouble.reconstruct.splats.seed import SplatState
from bodydouble.render.losses import photometric_loss
from bodydouble.render.protocol import RenderedSplats

_NEIGHBOURS = 4
_HEAD = (GROUPS.index("head"), GROUPS.index("face"))


@tensor_struct
class Neighbours(TensorStruct):
    """Who is beside each splat, which of their bones are the same, and what its part of the body asks of it."""

    others: Int[Tensor, "n near"]
    shared: Float[Tensor, "n near 4"]
    """1 where both list the same bone at that place."""
    normals: Float[Tensor, "n 3"]
    """Of the body's surface where the splat was born, at rest, unit."""
    clothed: Bool[Tensor, " n"]
    """Where hems and collars may be: elsewhere heights have no steps."""
    reach_m: Float[Tensor, " n"]
    """How far from where it was born it may go."""
    thickness_m: Float[Tensor, " n"]
    """How thick it may be along the normal, as a standard deviation."""


def find_neighbours(
    state: SplatState,
    normals: Float[Tensor, "n 3"],
    groups: Int[Tensor, " n"],
    weights: LossWeights,
    reach_of_groups_m: Float[Tensor, " groups"],
) -> Neighbours:
    """The nearest other splats of each, by where they were born: training does not change who that is.

    Args:
        state: The splats.
        normals: As in `Neighbours`.
        groups: Index into `parts.GROUPS` of each.
        weights: For how thick splats may be.
        reach_of_groups_m: How far those of each group may go.
    """
    from scipy.spatial import cKDTree

    places, own = state.anchors.numpy(), torch.arange(len(state.anchors))
    near = min(_NEIGHBOURS, len(places) - 1)
    _, index = cKDTree(places).query(places, k=near + 1, workers=-1)
    index = torch.from_numpy(index).long()
    # Twins share their birthplace, so that a splat need not be the first of its own neighbours.
    itself = (index == own[:, None]).long().cumsum(1).clamp_max(1)
    others = torch.where(itself[:, :-1] > 0, index[:, 1:], index[:, :-1])
    shared = (state.joints[:, None] == state.joints[others]).float()
    return Neighbours(
        others=others,
        shared=shared,
        normals=normals,
        clothed=torch.isin(groups, torch.tensor(CLOTHED)),
        reach_m=reach_of_groups_m[groups],
        thickness_m=torch.where(torch.isin(groups, torch.tensor(_HEAD)), weights.head_thickness_m, weights.thickness_m),
    )


def part_weights(weights: LossWeights) -> Float[Tensor, "256"] | None:
    """Weight of a pixel by the group it shows (255: none); None when all count alike."""
    if weights.hands == 1.0 and weights.face == 1.0:
        return None
    table = torch.ones(256)
    table[GROUPS.index("hands")], table[GROUPS.index("face")] = weights.hands, weights.face
    return table


def image_loss(
    image: RenderedSplats,
    target: Target,
    weights: LossWeights,
    pixel_weights: Float[Tensor, "height width"] | None,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The terms that look at the picture, and what to show of them.

    Args:
        pixel_weights: Of each pixel in the L1 and the squared term; None for 1.
    """
    photometric = photometric_loss(
        image.rgb, target.rgb, l1_weight=1.0 - weights.ssim, ssim_weight=weights.ssim, squared_weight=weights.squared,
        pixel_map=pixel_weights,
    ).total  # fmt: skip
    mask = (image.alpha - target.mask).abs().mean()
    terms = {"photometric": float(photometric.detach()), "mask": float(mask.detach())}
    return photometric + weights.mask * mask, terms


def splat_loss(
    fields: dict[str, Tensor],
    state: SplatState,
    weights: LossWeights,
    *,
    max_scale_m: float,
    neighbours: Neighbours,
    hold: float = 1.0,
) -> Float[Tensor, ""]:
    """The terms that look at the splats alone.

    Args:
        fields: Learnt fields.
        state: The rest.
        max_scale_m: Larger splats are pulled smaller.
        neighbours: Who is beside whom.
        hold: Factor of the terms that hold heights, thickness and reach; 0 leaves them out.
    """
    moved = fields["means"] - state.anchors
    excess = torch.relu(fields["log_scales"] - math.log(max_scale_m)).mean()
    loss = weights.anchor * (moved**2).sum(1).mean() + weights.scale * excess
    if weights.smooth * hold > 0.0:
        # Each is drawn to where its neighbours are: with a gradient for them, too, a step takes a quarter longer.
        height = (moved * neighbours.normals).sum(1)
        apart = (height[:, None] - height.detach()[neighbours.others]).abs()
        near = torch.where(neighbours.clothed[:, None], apart.clamp_max(weights.step_m), apart)
        loss = loss + hold * weights.smooth * (near * (2.0 * apart - near)).mean()
    if weights.thin * hold > 0.0:
        extent = extent_along(neighbours.normals, fields["quats"], fields["log_scales"])
        loss = loss + hold * weights.thin * torch.relu((extent / neighbours.thickness_m).log()).mean()
    if weights.reach * hold > 0.0:
        # Along the surface, too: beside a nose that is towards the camera.
        beyond = torch.relu((moved**2).sum(1) - neighbours.reach_m**2)
        far = (neighbours.reach_m**2 + beyond).sqrt() - neighbours.reach_m
        loss = loss + hold * weights.reach * (far**2).mean()
    deltas = fields["skin_deltas"]
    if deltas.requires_grad or bool(deltas.any()):
        rough = ((deltas[:, None] - deltas[neighbours.others]) ** 2 * neighbours.shared).mean()
        loss = loss + weights.skin * ((deltas**2).mean() + rough)
    return loss


def extent_along(
    directions: Float[Tensor, "n 3"], quats: Float[Tensor, "n 4"], log_scales: Float[Tensor, "n 3"]
) -> Float[Tensor, " n"]:
    """Standard deviation of each splat along a direction of its own, in the unit of the scales.

    Args:
        directions: Unit vectors, in the frame of the quaternions.
        quats: wxyz, of any length.
        log_scales: Logarithms of the standard deviations along the splat's own axes.
    """
    w, x = torch.nn.functional.normalize(quats, dim=1).split([1, 3], dim=1)
    twice = 2.0 * torch.linalg.cross(directions, x)
    inside = directions + w * twice + torch.linalg.cross(twice, x)  # the direction in the splat's own axes
    return ((inside * log_scales.exp()) ** 2).sum(1).clamp_min(1e-12).sqrt()
