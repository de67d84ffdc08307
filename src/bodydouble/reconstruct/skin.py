"""Skinning weights of places on the body's skin."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel


def blend_skinning(
    body: BodyModel, corners: Int[Tensor, "n 3"], barycentric: Float[Tensor, "n 3"]
) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """The four largest skinning weights of points on the surface, renormalised.

    Args:
        corners: Vertex indices of the face each point lies on.
        barycentric: Its barycentric coordinates there.
    """
    n = len(corners)
    dense = torch.zeros(n, len(body.bone_names))
    for corner in range(3):
        vertices = corners[:, corner]
        dense.scatter_add_(
            1, body.skin_joints[vertices].long(), body.skin_weights[vertices] * barycentric[:, corner, None]
        )
    weights, joints = dense.topk(4, dim=1)
    return joints, weights / weights.sum(1, keepdim=True)


def vertex_skinning(body: BodyModel, vertices: Int[Tensor, " n"]) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """The same for some of the body's own vertices."""
    # A vertex is the corner 0 of a degenerate face made of itself.
    corner_zero = torch.tensor([[1.0, 0.0, 0.0]]).expand(len(vertices), 3)
    return blend_skinning(body, vertices[:, None].expand(-1, 3), corner_zero)
