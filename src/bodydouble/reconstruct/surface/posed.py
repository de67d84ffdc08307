"""A body in one pose, as the ray marcher wants it: cells around it that know which body vertices are near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.threads import kernel_threads, run_kernel
from bodydouble.render.volume import SkinNodes, blend_bones

_CELL_M = 0.04
_THIN_M = 0.015
_SECOND_M = 0.10
"""How much farther than the nearest limb another one may be and still be asked."""
_LIMBS = ("leftUpperArm", "rightUpperArm", "leftUpperLeg", "rightUpperLeg")


@tensor_struct
class PosedCells(TensorStruct):
    """Cells of the world around a posed body."""

    seeds: Int[Tensor, "x y z 2"]
    """A near vertex of the nearest limb and of the next one (int32); -1 where there is none within the band."""
    origin_world_m: Float[Tensor, "3"]
    voxel_m: float


@tensor_struct
class Rays(TensorStruct):
    """Samples along rays that start at one point."""

    starts: Int[Tensor, " rays_and_end"]
    """First sample of each ray, and the number of all."""
    depths_m: Float[Tensor, " samples"]
    """Distance from the rays' origin."""
    points_canonical: Float[Tensor, "samples 3"]
    inverse_jacobian: Float[Tensor, "samples 9"]
    """d canonical / d world."""
    sunk_m: Float[Tensor, " samples"]
    """The density is that of a surface so much further in; see `sunk_m`."""
    least_m: Float[Tensor, " rays"]
    """Least known distance to the surface that a ray comes to; a large number where it misses the band."""
    nearest_canonical: Float[Tensor, "rays 3"]
    """Where on each ray the field is least; NaN where the ray misses the band."""
    step_m: float

    @property
    def ray_of_sample(self) -> Int[Tensor, " samples"]:
        """Which ray each sample is on."""
        counts = self.starts.diff()
        return torch.repeat_interleave(torch.arange(len(counts)), counts)


@dataclass(frozen=True, kw_only=True)
class March:
    """How rays are walked along."""

    step_m: float
    max_samples: int = 64
    end: float = 1e-3
    """A ray ends when less of its light is left."""


def sunk_m(beta_m: float, radius_m: float) -> float:
    """How far inside of the surface the density has to be, so that outlines are seen where the surface is.

    A ray that passes a limb of radius R at distance d goes through so much thin fog that its opacity is one half where
    sqrt(2 pi R beta) exp(-d / beta) / (2 beta) = ln 2, well outside of the zero of a Laplace density. By that d the
    density is sunk into the surface, whose zero set then is what silhouettes, evidence and the mesh have in common.

    Args:
        beta_m: Scale of the density.
        radius_m: Of the limb; `lattice.limb_radius` knows it everywhere.
    """
    return beta_m * max(0.0, float(np.log(np.sqrt(2.0 * np.pi * radius_m / beta_m) / (2.0 * np.log(2.0)))))


class Puppet:
    """Some of the body's vertices in canonical space with their skinning, for finding first guesses."""

    def __init__(self, body: BodyModel, vertices_canonical: Float[Tensor, "verts 3"], skin: SkinNodes) -> None:
        self.skin = skin
        kept = _thinned(vertices_canonical)
        self.vertices = vertices_canonical[kept]
        self._vertex_skin = SkinNodes(
            index=torch.zeros(0, 0, 0, dtype=torch.int32),
            origin_m=torch.zeros(3),
            voxel_m=1.0,
            joints=body.skin_joints[kept].int().contiguous(),
            weights=body.skin_weights[kept].float().contiguous(),
        )
        leading = body.skin_joints.gather(1, body.skin_weights.argmax(1, keepdim=True))[kept, 0].long()
        self.limbs = _limb_of_bone(body)[leading].int()

    def maps(self, bones: Float[Tensor, "bones 12"]) -> tuple[Float[Tensor, "nodes 16"], Float[Tensor, "verts 16"]]:
        """The affine maps from canonical space to the world of every lattice node, and of every vertex."""
        return blend_bones(self.skin, bones), blend_bones(self._vertex_skin, bones)

    def vertices_world(self, vertex_maps: Float[Tensor, "verts 16"]) -> Float[Tensor, "verts 3"]:
        """The posed vertices, metres."""
        m = vertex_maps[:, :12].reshape(-1, 3, 4)
        return (m[:, :, :3] @ self.vertices[:, :, None])[:, :, 0] + m[:, :, 3]

    def cells(self, vertices_world: Float[Tensor, "verts 3"], band_m: float) -> PosedCells:
        """Find the near vertices of every cell within `band_m` of the body."""
        from bodydouble.render.volume_kernels import near_vertices

        points, limbs = vertices_world.double().numpy(), self.limbs.numpy()
        reach_m = band_m + 0.5 * np.sqrt(3.0) * _CELL_M
        low = points.min(0) - reach_m
        shape = tuple(int(n) for n in np.ceil((points.max(0) + reach_m - low) / _CELL_M))
        squared = np.full((*shape, int(limbs.max()) + 1), np.inf)
        nearest, seeds = np.full(squared.shape, -1, np.int32), np.full((*shape, 2), -1, np.int32)
        run_kernel(
            near_vertices, kernel_threads(),
            points, limbs, low, _CELL_M, reach_m, _SECOND_M, squared, nearest, seeds,
        )  # fmt: skip
        return PosedCells(seeds=torch.from_numpy(seeds), origin_world_m=torch.from_numpy(low).float(), voxel_m=_CELL_M)

    def march(
        self,
        eye_world: Float[Tensor, "3"],
        directions_world: Float[Tensor, "rays 3"],
        jitter: Float[Tensor, " rays"],
        cells: PosedCells,
        maps: tuple[Float[Tensor, "nodes 16"], Float[Tensor, "verts 16"]],
        values: Float[Tensor, "x y z channels"],
        lattice: tuple[Float[Tensor, "3"], float],
        known_sdf: Float[Tensor, "x y z"],
        limb_radius_m: Float[Tensor, "x y z"],
        beta_m: float,
        plan: March,
    ) -> Rays:
        """Samples along rays through the posed field. Nothing here is differentiable.

        Args:
            eye_world: Where all rays start.
            directions_world: Unit vectors.
            jitter: In [0, 1), by how much of a step each ray's samples are shifted.
            cells, maps: Of this pose.
            values: The field's lattice, signed distance first.
            lattice: Its origin and spacing.
            known_sdf: Signed distance, on the same lattice, by which rays are told apart (`Rays.least_m`).
            limb_radius_m: On the same lattice, too: says how far the density is sunk.
            beta_m: Scale of the density.
            plan: Steps.
        """
        from bodydouble.render.volume_kernels import march

        rays = len(directions_world)
        t = np.empty((rays, plan.max_samples), np.float32)
        x = np.empty((rays, plan.max_samples, 3), np.float32)
        inverse = np.empty((rays, plan.max_samples, 9), np.float32)
        sunk = np.empty((rays, plan.max_samples), np.float32)
        count, least = np.empty(rays, np.int64), np.empty(rays, np.float32)
        nearest = np.empty((rays, 3), np.float32)
        number = np.float32
        origin, voxel = lattice
        run_kernel(
            march, kernel_threads(), eye_world.numpy(), np.ascontiguousarray(directions_world.numpy()), jitter.numpy(),
            cells.seeds.numpy(), cells.origin_world_m.numpy(), number(cells.voxel_m), maps[1].numpy(),
            self.limbs.numpy(), self.skin.index.numpy(), self.skin.origin_m.numpy(),
            number(1.0 / self.skin.voxel_m), maps[0].numpy(),
            values.detach().reshape(-1).numpy(), tuple(values.shape), origin.numpy(), number(1.0 / voxel),
            known_sdf.reshape(-1).numpy(), limb_radius_m.reshape(-1).numpy(),
            number(plan.step_m), number(beta_m), number(plan.end),
            t, x, inverse, sunk, count, least, nearest,
        )  # fmt: skip
        there = np.arange(plan.max_samples)[None] < count[:, None]
        return Rays(
            starts=torch.from_numpy(np.concatenate([[0], np.cumsum(count)])),
            depths_m=torch.from_numpy(t[there]),
            points_canonical=torch.from_numpy(x[there]),
            inverse_jacobian=torch.from_numpy(inverse[there]),
            sunk_m=torch.from_numpy(sunk[there]),
            least_m=torch.from_numpy(least),
            nearest_canonical=torch.from_numpy(nearest),
            step_m=plan.step_m,
        )


def bone_maps(
    R_world_rest: Float[Tensor, "bones 3 3"],
    t_world_rest: Float[Tensor, "bones 3"],
    R_canonical_rest: Float[Tensor, "bones 3 3"],
    t_canonical_rest: Float[Tensor, "bones 3"],
) -> Float[Tensor, "bones 12"]:
    """Each bone's map from canonical space to the world, 3 x 4 row by row. Differentiable in the first two."""
    R = (R_world_rest[..., :, :, None] * R_canonical_rest.mT[..., None, :, :]).sum(-2)
    t = t_world_rest - (R * t_canonical_rest[..., None, :]).sum(-1)
    return torch.cat([R, t[..., None]], dim=-1).reshape(*R.shape[:-2], 12)


def _thinned(vertices: Float[Tensor, "verts 3"]) -> Int[Tensor, " kept"]:
    """One vertex for each small cell of space: as first guesses, fingers and faces need no more than the rest."""
    cells = torch.floor(vertices / _THIN_M).long()
    _, first = np.unique(cells.numpy(), axis=0, return_index=True)
    return torch.from_numpy(np.sort(first))


def _limb_of_bone(body: BodyModel) -> Int[Tensor, " bones"]:
    """0 for trunk and head, 1 to 4 for the bones of either arm and leg."""
    limb = torch.zeros(len(body.bone_names), dtype=torch.long)
    roots = {body.bone_names.index(body.humanoid[name]): 1 + n for n, name in enumerate(_LIMBS)}
    for bone, parent in enumerate(body.bone_parents):
        limb[bone] = roots.get(bone, int(limb[parent]) if parent >= 0 else 0)
    return limb
