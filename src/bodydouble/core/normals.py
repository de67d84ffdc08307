"""Normals of the vertices of a triangle mesh, weighted by the area of the faces around them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def vertex_normals(vertices: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"]) -> Float[Tensor, "verts 3"]:
    """Unit normals, outwards where faces are counter-clockwise seen from outside; zero for a vertex without area around it.

    Args:
        vertices: Of one mesh, in any frame and unit.
        faces: Rows of `vertices`.
    Returns:
        In the frame of the vertices. Differentiable.
    """
    faces = faces.long()
    a, b, c = vertices[faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a)
    summed = torch.zeros_like(vertices).index_add(0, faces.reshape(-1), area.repeat_interleave(3, 0))
    return torch.nn.functional.normalize(summed, dim=1, eps=1e-20)


def vertex_normals_array(
    vertices: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "verts 3"]:
    """`vertex_normals` of arrays, in double precision."""
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    area = np.cross(b - a, c - a)
    summed = np.zeros((len(vertices), 3))
    for corner in range(3):
        for axis in range(3):
            summed[:, axis] += np.bincount(faces[:, corner], area[:, axis], minlength=len(vertices))
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-20)


def unit_normals_array(
    positions: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "verts 3"]:
    """Unit normals [verts, 3] float32, weighted by area; +Y where a vertex has no face, as glTF wants unit length."""
    normals = vertex_normals_array(positions, faces)
    return np.where(np.linalg.norm(normals, axis=1, keepdims=True) > 0.5, normals, [0.0, 1.0, 0.0]).astype(np.float32)
