"""What one picture says of splats and poses. Several are made side by side for each step of the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.reconstruct.splats.confidence import Judgement
from bodydouble.reconstruct.splats.correctives import CorrectiveLeaves
from bodydouble.reconstruct.splats.frames import Target
from bodydouble.render.protocol import RenderedSplats, SplatCloud

_OUTSIDE = 0.1
"""Where the mask is below this, the person is not."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What density control wants to know of one picture."""

    gradient: Float[Tensor, " n"]
    """Screen-space gradient of each splat, per width of the image."""
    seen: Float[Tensor, " n"]
    """1 where there is one."""
    outside: Float[Tensor, " n"]
    """1 where a seen splat's centre lies beside the person."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One picture's loss and its gradients."""

    place: int
    """Of the training frame."""
    target: Target
    image: RenderedSplats
    """The render, detached."""
    loss: float
    terms: dict[str, float]
    """To show."""
    gradients: dict[str, Tensor]
    """Of the learnt fields, by name."""
    rotvecs: Float[Tensor, "bones 3"] | None
    translation: Float[Tensor, "3"] | None
    """Gradients of the frame's pose."""
    leaves: CorrectiveLeaves | None
    """With their gradients."""
    judged: Judgement | None
    sighting: Sighting | None


def gradients_of(fields: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of the fields that have got one."""
    return {name: field.grad for name, field in fields.items() if field.grad is not None}


def summed(held: dict[str, Tensor], looks: Sequence[Look]) -> dict[str, Tensor]:
    """Gradients of the mean of the looks' losses plus one loss more, always added up in the same order."""
    total = dict(held)
    for look in looks:
        for name, gradient in look.gradients.items():
            share = gradient / len(looks)
            total[name] = total[name] + share if name in total else share
    return total


def mean_terms(looks: Sequence[Look]) -> dict[str, float]:
    """Each term's mean over the looks."""
    return {name: sum(look.terms[name] for look in looks) / len(looks) for name in looks[0].terms}


def sighting_of(cloud: SplatCloud, target: Target) -> Sighting | None:
    """After the backward pass; a shift of one pixel moves a splat's centre by depth / focal length."""
    gradient = cloud.means_world.grad
    if gradient is None:
        return None
    with torch.no_grad():
        at, depth = target.camera.project(cloud.means_world)
        size = gradient.norm(dim=1) * depth / target.camera.focal_px[0] * target.camera.width_px
        seen = (size > 0).float()
        column, row = at.nan_to_num().long().clamp_(0, target.camera.width_px - 1).unbind(1)
        outside = seen * (target.mask[row, column] < _OUTSIDE)
    return Sighting(gradient=size, seen=seen, outside=outside)
