"""Lattices over canonical space: the bare body's signed distance, refinement, and the skinning weights."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.evaluate.triangle_tree import TriangleTree, nearest_on_surface, triangle_tree, winding_numbers
from bodydouble.reconstruct.surface.values import SkinVolume
from bodydouble.render.grid import sample_grid
from bodydouble.render.volume import SkinNodes

_EXACT_M = 0.06
"""Beyond this distance from the body, a fine lattice takes over what a coarser one knows."""
_AROUND_M, _RADII_M = 0.03, (0.007, 0.06)
_SMOOTHING = 2
"""Rounds of averaging skinning weights between neighbouring lattice points."""
_INFLUENCES = 6
_NEAREST = 12


@tensor_struct
class Box(TensorStruct):
    """The part of canonical space that is worth knowing."""

    low_m: Float[Tensor, "3"]
    high_m: Float[Tensor, "3"]

    def shape(self, voxel_m: float) -> tuple[int, int, int]:
        """Samples of a lattice of this spacing whose first lies at `low_m`."""
        x, y, z = (torch.ceil((self.high_m - self.low_m) / voxel_m).long() + 1).tolist()
        return x, y, z

    def points(self, voxel_m: float) -> Float[Tensor, "n 3"]:
        """Its places, the last axis running fastest."""
        axes = [torch.arange(n) * voxel_m for n in self.shape(voxel_m)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3) + self.low_m


def box_around(vertices_canonical: Float[Tensor, "verts 3"], margin_m: float) -> Box:
    """The box that leaves this much room around a body for clothes and hair."""
    return Box(low_m=vertices_canonical.amin(0) - margin_m, high_m=vertices_canonical.amax(0) + margin_m)


class BodyDistance:
    """The signed distance to the bare body in canonical space, on lattices of any spacing.

    Args:
        vertices_canonical: Of the body, metres.
        faces: Its triangles.
        box: Where it is asked for.
        coarse_m: Spacing of the lattice from which finer ones take what is far away.
    """

    def __init__(self, vertices_canonical: Tensor, faces: Tensor, box: Box, coarse_m: float = 0.03) -> None:
        self.tree: TriangleTree = triangle_tree(vertices_canonical.numpy(), faces.long().numpy())
        self.box, self.coarse_m = box, coarse_m
        self._coarse = self._exact_lattice(coarse_m)

    def lattice(self, voxel_m: float) -> Float[Tensor, "x y z"]:
        """Exact within 6 cm of the body, interpolated beyond; negative inside."""
        points, shape = self.box.points(voxel_m), self.box.shape(voxel_m)
        rough = sample_grid(self._coarse[..., None], self.box.low_m, self.coarse_m, points)[0][:, 0].numpy()
        distance = np.abs(rough).astype(np.float64)
        near = np.flatnonzero(distance < _EXACT_M)
        distance[near] = nearest_on_surface(self.tree, points[near].double().numpy())[0]
        return self._signed(distance.reshape(shape), points, voxel_m)

    def _exact_lattice(self, voxel_m: float) -> Float[Tensor, "x y z"]:
        points = self.box.points(voxel_m)
        distance = nearest_on_surface(self.tree, points.double().numpy())[0]
        return self._signed(distance.reshape(self.box.shape(voxel_m)), points, voxel_m)

    def _signed(self, distance: np.ndarray, points: Tensor, voxel_m: float) -> Float[Tensor, "x y z"]:
        """Signs: from winding numbers beside the surface, and one for each connected rest.

        Where the surface crosses between two neighbours, one of them is within half a voxel of it.
        """
        from scipy.ndimage import label

        near = distance < 0.51 * voxel_m
        places = points.double().numpy().reshape(*distance.shape, 3)
        inside = np.zeros(distance.shape, bool)
        if near.any():
            inside[near] = winding_numbers(self.tree, places[near]) > 0.5
        regions = np.zeros(distance.shape, np.int32)
        label(~near, output=regions)
        flat = regions.reshape(-1)
        first = np.full(int(flat.max()) + 1, -1)
        seen = np.flatnonzero(flat)
        first[flat[seen[::-1]]] = seen[::-1]
        answer = winding_numbers(self.tree, places.reshape(-1, 3)[first[1:]]) > 0.5
        inside[~near] = answer[flat[seen] - 1]
        return torch.from_numpy(np.where(inside, -distance, distance)).float()


def limb_radius(body_sdf: Float[Tensor, "x y z"], voxel_m: float) -> Float[Tensor, "x y z"]:
    """Of the limb around each sample, metres: how deep inside the bare body its neighbourhood reaches.

    Between `_RADII_M`, a finger's and a trunk's; the latter, too, where no limb is near, as in a skirt.
    """
    from scipy.ndimage import minimum_filter, uniform_filter

    side = 2 * round(_AROUND_M / voxel_m) + 1
    deepest = minimum_filter(body_sdf.numpy(), size=side, mode="nearest")
    radius = np.where(deepest < 0.0, np.clip(-deepest, *_RADII_M), np.float32(_RADII_M[1]))
    return torch.from_numpy(uniform_filter(radius, size=side, mode="nearest"))


def refined(
    values: Float[Tensor, "x y z channels"],
    body_coarse: Float[Tensor, "x y z"],
    coarse_m: float,
    body_fine: Float[Tensor, "u v w"],
    fine_m: float,
    box: Box,
) -> Float[Tensor, "u v w channels"]:
    """A field on a finer lattice: what was learnt beyond the bare body, on top of that body's finer shape.

    Args:
        values: Signed distance (first channel) and features.
        body_coarse, body_fine: The bare body's distance on both lattices.
        coarse_m, fine_m: Their spacings.
        box: Where they lie.
    """
    learnt = values.clone()
    learnt[..., 0] -= body_coarse
    fine = sample_grid(learnt, box.low_m, coarse_m, box.points(fine_m))[0]
    fine[:, 0] += body_fine.reshape(-1)
    return fine.reshape(*body_fine.shape, values.shape[3]).contiguous()


def skin_volume(
    body: BodyModel, vertices_canonical: Float[Tensor, "verts 3"], box: Box, *, voxel_m: float, band_m: float
) -> SkinVolume:
    """Skinning weights around a body: of the nearest vertices on its surface, ever smoother away from it.

    Args:
        body: Gives the weights of its vertices.
        vertices_canonical: Those vertices, metres.
        box: Where the lattice lies.
        voxel_m: Its spacing.
        band_m: Lattice points farther than this from every vertex get none.
    """
    from scipy.spatial import cKDTree

    vertices = vertices_canonical.double().numpy()
    shape = box.shape(voxel_m)
    places = box.points(voxel_m).double().numpy()
    distance, nearest = cKDTree(vertices).query(places, k=_NEAREST, distance_upper_bound=band_m)
    kept = np.flatnonzero(np.isfinite(distance[:, 0]))
    distance, nearest = distance[kept], nearest[kept]
    spread = 0.008 + 0.15 * distance[:, :1]
    share = np.exp(-((distance - distance[:, :1]) / spread)) * np.isfinite(distance)
    nearest = np.where(np.isfinite(distance), nearest, 0)
    share = torch.from_numpy(share / share.sum(1, keepdims=True)).float()
    dense_vertices = torch.zeros(len(vertices), len(body.bone_names))
    dense_vertices.scatter_add_(1, body.skin_joints.long(), body.skin_weights.float())
    dense = torch.zeros(len(kept), len(body.bone_names))
    index = torch.from_numpy(nearest)
    for k in range(_NEAREST):
        dense += share[:, k, None] * dense_vertices[index[:, k]]
    dense = _smoothed(dense, torch.from_numpy(kept), shape)
    weights, joints = dense.topk(_INFLUENCES, dim=1)
    weights = weights / weights.sum(1, keepdim=True)
    all_joints = torch.zeros(len(places), _INFLUENCES, dtype=torch.int32)
    all_weights = torch.zeros(len(places), _INFLUENCES)
    all_joints[kept], all_weights[kept] = joints.int(), weights
    return SkinVolume(
        origin_canonical_m=box.low_m,
        voxel_m=voxel_m,
        joints=all_joints.reshape(*shape, _INFLUENCES),
        weights=all_weights.reshape(*shape, _INFLUENCES),
    )


def _smoothed(dense: Tensor, kept: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Weights averaged with those of the six neighbours that have any, a few times."""
    row = torch.full((shape[0] + 2, shape[1] + 2, shape[2] + 2), len(kept), dtype=torch.long)
    i, j, k = torch.unravel_index(kept, shape)
    row[i + 1, j + 1, k + 1] = torch.arange(len(kept))
    around = [row[i + 1 + a, j + 1 + b, k + 1 + c] for a, b, c in ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))]  # fmt: skip
    count = 2.0 + torch.stack([index < len(kept) for index in around]).sum(0)
    for _ in range(_SMOOTHING):
        padded = torch.cat([dense, dense.new_zeros(1, dense.shape[1])])
        total = 2.0 * dense
        for index in around:
            total += padded[index]
        dense = total / count[:, None]
    return dense


def skin_nodes(volume: SkinVolume) -> SkinNodes:
    """The lattice points that have weights, for the kernels."""
    there = volume.weights.sum(-1) > 0
    index = torch.full(tuple(there.shape), -1, dtype=torch.int32)
    index[there] = torch.arange(int(there.sum()), dtype=torch.int32)
    return SkinNodes(
        index=index,
        origin_m=volume.origin_canonical_m,
        voxel_m=volume.voxel_m,
        joints=volume.joints[there].int().contiguous(),
        weights=volume.weights[there].contiguous(),
    )
