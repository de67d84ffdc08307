"""Places on a surface for flat splats that lie on it: spread by area, and turned along it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.geometry import matrix_to_quat_wxyz


def spread_places(
    mass: Float[Tensor, " faces"], count: int, rng: np.random.Generator
) -> tuple[Int[Tensor, " count"], Float[Tensor, "count 3"]]:
    """Faces and barycentric coordinates, spread by the faces' mass. Systematic draws: evener than independent ones.

    Args:
        mass: Of each face, such as its area; none is negative.
        count: How many places.
        rng: Where randomness comes from.
    """
    share = np.cumsum(mass.double().numpy())
    share /= share[-1]
    pick = np.searchsorted(share, (np.arange(count) + rng.random(count)) / count).clip(max=len(share) - 1)
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    barycentric = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    return torch.from_numpy(pick), torch.from_numpy(barycentric.astype(np.float32))


def quats_along(
    vertices: Float[Tensor, "verts 3"], corners: Int[Tensor, "n 3"], normals: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 4"]:
    """Rotations (w, x, y, z) whose third axis is the normal and whose first goes along the face's first edge.

    Args:
        vertices: Of the surface.
        corners: Vertex indices of each place's face.
        normals: Unit vectors.
    """
    x = vertices[corners[:, 1]] - vertices[corners[:, 0]]
    x = torch.nn.functional.normalize(x - (x * normals).sum(1, keepdim=True) * normals, dim=1)
    return matrix_to_quat_wxyz(torch.stack([x, torch.linalg.cross(normals, x), normals], dim=-1))


def on_faces(
    field: Float[Tensor, "verts ..."], corners: Int[Tensor, "n 3"], barycentric: Float[Tensor, "n 3"]
) -> Float[Tensor, "n ..."]:
    """A field on a mesh's vertices (numbers or vectors) at places on its faces.

    Args:
        field: Value at each vertex.
        corners: Vertex indices of each place's face.
        barycentric: Where on that face.
    """
    return (field[corners] * (barycentric if field.ndim == 1 else barycentric[..., None])).sum(1)
