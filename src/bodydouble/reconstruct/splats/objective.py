"""What a step minimises: photometric terms weighted by pixel, the outline, and what keeps splats where they belong."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.reconstruct.splats.config import LossWeights
from bodydouble.reconstruct.splats.frames import Target
from bodydouble.reconstruct.splats.parts import GROUPS
from bodydouble.reconstruct.splats.seed import SplatState
from bodydouble.render.losses import photometric_loss
from bodydouble.render.protocol import RenderedSplats


@tensor_struct
class Neighbours(TensorStruct):
    """Pairs of splats side by side, and which of their bones are the same."""

    other: Int[Tensor, " n"]
    shared: Float[Tensor, "n 4"]
    """1 where both list the same bone at that place."""


def find_neighbours(state: SplatState) -> Neighbours:
    """The nearest other splat of each, by where they were born: training does not change who that is."""
    from scipy.spatial import cKDTree

    places, own = state.anchors.numpy(), torch.arange(len(state.anchors))
    _, index = cKDTree(places).query(places, k=2, workers=-1)
    first, second = torch.from_numpy(index).long().clamp_max(len(places) - 1).unbind(1)
    other = torch.where(second == own, first, second)  # twins share their birthplace, in any order
    return Neighbours(other=other, shared=(state.joints == state.joints[other]).float())


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
        image.rgb, target.rgb, l1_weight=1.0 - weights.ssim, ssim_weight=weights.ssim, l1_map=pixel_weights
    ).total
    if weights.squared > 0.0:
        squared = (image.rgb - target.rgb) ** 2
        if pixel_weights is not None:
            squared = squared * pixel_weights[..., None]
        photometric = photometric + weights.squared * squared.mean()
    mask = (image.alpha - target.mask).abs().mean()
    terms = {"photometric": float(photometric.detach()), "mask": float(mask.detach())}
    return photometric + weights.mask * mask, terms


def splat_loss(
    fields: dict[str, Tensor],
    state: SplatState,
    weights: LossWeights,
    *,
    max_scale_m: float,
    neighbours: Neighbours | None,
) -> Float[Tensor, ""]:
    """The terms that look at the splats alone.

    Args:
        fields: Learnt fields.
        state: The rest.
        max_scale_m: Larger splats are pulled smaller.
        neighbours: For the skinning residual; None while it is not learnt.
    """
    drift = ((fields["means"] - state.anchors) ** 2).sum(1).mean()
    excess = torch.relu(fields["log_scales"] - math.log(max_scale_m)).mean()
    loss = weights.anchor * drift + weights.scale * excess
    if neighbours is not None:
        deltas = fields["skin_deltas"]
        rough = ((deltas - deltas[neighbours.other]) ** 2 * neighbours.shared).mean()
        loss = loss + weights.skin * ((deltas**2).mean() + rough)
    return loss
