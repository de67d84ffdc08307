"""A clothed surface that another method starts from."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.struct import TensorStruct, tensor_struct

_NEAR_M, _OFF_M = 0.004, 0.012
"""Points that lie on the surface stay to the millimetre; those well off it are laid onto it."""
_FARTHEST_M = 0.12


@tensor_struct
class RestSurface(TensorStruct):
    """A double's clothed surface in the rest pose of the body it shares."""

    vertices_rest_m: Float[Tensor, "verts 3"]
    faces: Int[Tensor, "faces 3"]


def laid_onto(points_rest_m: Float[Tensor, "n 3"], surface: RestSurface) -> Float[Tensor, "n 3"]:
    """Points of the bare body's skin, moved to the nearest place of the clothed surface.

    Points within a few millimetres stay where they are (the body knows faces and hands more finely than a grid of
    centimetres does), and so do those that are farther off than any clothes are.

    Args:
        points_rest_m: In the rest frame.
        surface: In the same.
    """
    from bodydouble.evaluate.triangle_tree import nearest_on_surface, triangle_tree

    faces = surface.faces.long()
    tree = triangle_tree(surface.vertices_rest_m.double().numpy(), faces.numpy())
    distance, face = nearest_on_surface(tree, points_rest_m.double().numpy())
    triangles = surface.vertices_rest_m[faces[torch.from_numpy(face).long()]]
    nearest = _nearest_in(points_rest_m, triangles)
    share = np.clip((distance - _NEAR_M) / (_OFF_M - _NEAR_M), 0.0, 1.0) * (distance < _FARTHEST_M)
    return points_rest_m + torch.from_numpy(share).float()[:, None] * (nearest - points_rest_m)


def barycentric(points: Float[Tensor, "n 3"], triangles: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3"]:
    """Weights of the points' projections onto their triangles, those outside drawn to the border."""
    a, b, c = triangles.double().unbind(1)
    u, v, w = b - a, c - a, points.double() - a
    uu, uv, vv, wu, wv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1), (w * u).sum(1), (w * v).sum(1)
    det = (uu * vv - uv * uv).clamp_min(1e-18)
    s, t = (vv * wu - uv * wv) / det, (uu * wv - uv * wu) / det
    weights = torch.stack([1.0 - s - t, s, t], dim=1).clamp(0.0, 1.0)
    return (weights / weights.sum(1, keepdim=True)).float()


def _nearest_in(points: Float[Tensor, "n 3"], triangles: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3"]:
    return (triangles * barycentric(points, triangles)[..., None]).sum(1)
