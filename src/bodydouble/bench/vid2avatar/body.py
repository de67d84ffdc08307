"""The body in the recipe: nearest-vertex inverse skinning, and the signed distance of the naked canonical body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.skinning import bone_transforms
from bodydouble.evaluate.triangle_tree import nearest_on_surface, triangle_tree, winding_numbers
from bodydouble.reconstruct.surface.field import canonical_bones, canonical_vertices

_VOXEL_M, _MARGIN_M = 0.03, 0.25


@dataclass(frozen=True)
class Skinned:
    """One frame's body: from canonical space to the world, vertex by vertex."""

    A: Float[Tensor, "verts 3 3"]
    b: Float[Tensor, "verts 3"]
    vertices_world: Float[Tensor, "verts 3"]

    def nearest(self, points_world: Float[Tensor, "n 3"]) -> Int[Tensor, " n"]:
        """The vertex that lends a point its skinning."""
        from scipy.spatial import cKDTree

        tree = cKDTree(self.vertices_world.detach().numpy())
        return torch.from_numpy(tree.query(points_world.detach().numpy(), workers=-1)[1])

    def canonical(self, points_world: Float[Tensor, "n 3"], at: Int[Tensor, " n"]) -> Float[Tensor, "n 3"]:
        """Places in canonical space, by the skinning of these vertices; differentiable in the pose."""
        inverse = torch.linalg.inv(self.A)[at]
        return (inverse @ (points_world - self.b[at])[..., None])[..., 0]

    def normals_world(self, gradient: Float[Tensor, "n 3"], at: Int[Tensor, " n"]) -> Float[Tensor, "n 3"]:
        """Unit normals from gradients of a canonical field."""
        inverse = torch.linalg.inv(self.A)[at]
        return torch.nn.functional.normalize((inverse.transpose(1, 2) @ gradient[..., None])[..., 0], dim=-1)


class CanonicalBody:
    """The body of a fit in the canonical pose; its transforms keep the shape it was made with, as published."""

    def __init__(self, body: BodyModel, shape: Float[Tensor, " shape"]) -> None:
        self.body = body
        with torch.no_grad():
            shaped = body.with_shape(shape.float())
            _, self._R, self._t = canonical_bones(body, shaped)
            self.vertices = canonical_vertices(body, shaped).float()
        self._joints, self._weights = body.skin_joints.long(), body.skin_weights.float()
        self.low, self.distance = self._lattice()

    def skinned(
        self, rotvecs: Float[Tensor, "bones 3"], translation_m: Float[Tensor, "3"], shape: Float[Tensor, " shape"]
    ) -> Skinned:
        """The body of a frame; differentiable in the pose, and in the shape by its joints."""
        joints = self.body.with_shape(shape).joints_rest
        R, t = bone_transforms(rotvecs, joints, translation_m, self.body.bone_parents)
        back = self._R.transpose(1, 2)
        R = R @ back
        t = t - (R @ self._t[..., None])[..., 0]
        A = (R[self._joints] * self._weights[..., None, None]).sum(1)
        b = (t[self._joints] * self._weights[..., None]).sum(1)
        world = (A @ self.vertices[..., None])[..., 0] + b
        return Skinned(A, b, world.detach())

    def signed_distance(self, points_canonical: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Distance to the naked body, negative inside: a lattice of 3 cm, linear between; beyond it that of its border."""
        size = torch.tensor(self.distance.shape)
        at = 2.0 * (points_canonical.detach() - self.low) / (_VOXEL_M * (size - 1)) - 1.0
        field = self.distance.permute(2, 1, 0)[None, None]
        grid = at[None, None, None]
        return torch.nn.functional.grid_sample(field, grid, align_corners=True, padding_mode="border")[0, 0, 0, 0]

    def _lattice(self) -> tuple[Tensor, Tensor]:
        low = self.vertices.min(0).values - _MARGIN_M
        high = self.vertices.max(0).values + _MARGIN_M
        counts = ((high - low) / _VOXEL_M).ceil().long() + 1
        axes = [low[k] + _VOXEL_M * torch.arange(int(counts[k])) for k in range(3)]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3).double().numpy()
        tree = triangle_tree(self.vertices.double().numpy(), self.body.faces.numpy())
        distance, _ = nearest_on_surface(tree, points)
        inside = np.zeros(len(points), bool)
        near = distance < 0.25  # nobody is thicker
        inside[near] = winding_numbers(tree, points[near]) > 0.5
        return low, torch.from_numpy(np.where(inside, -distance, distance)).float().reshape(*counts.tolist())
