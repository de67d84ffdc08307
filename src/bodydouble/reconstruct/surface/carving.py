"""Carving: what many frames surely see the world through is no part of the person, whatever the training made of it.

A place inside of the person lies inside of its outline in every frame (the visual hull: Laurentini, 1994). Training knows
this as a pull at the nearest place of each ray only; smooth gradients fill narrow gaps, as between thighs, and colours
then take the scene in them for cloth. So places beyond the bare body are raised that lie on surely the world's pixels in a
good share of the frames: not in one, because poses and evidence err.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.reconstruct.surface.evidence import Evidence
from bodydouble.render.volume import SkinNodes, skin_canonical

_SURE, _WORLD = 0.5, 0.3
"""Confidence from which a pixel counts, and below which share of the person it is the world's."""
_BEYOND_BODY_M = 0.004
_NEAREST_M = 0.1
"""To the camera; what is nearer is behind it or no person."""


def carvable(sdf: Float[Tensor, "x y z"], body_sdf: Float[Tensor, "x y z"], voxel_m: float) -> Bool[Tensor, "x y z"]:
    """Samples of the lattice within the surface, or next to it, and beyond the bare body."""
    return (sdf < 0.5 * voxel_m) & (body_sdf > _BEYOND_BODY_M)


def world_shares(
    points_canonical: Float[Tensor, "n 3"],
    skin: SkinNodes,
    nodes_of: Callable[[int], Float[Tensor, "nodes 16"]],
    evidence: Evidence,
    focal_px: float,
) -> Float[Tensor, " n"]:
    """In which share of the frames each place lies on a pixel that is surely the world's.

    Args:
        points_canonical: Metres.
        skin: The lattice of maps.
        nodes_of: Its maps in a training frame, by place.
        evidence: Of the training frames.
        focal_px: Of the evidence's pixels; the centre of the image is the camera's.
    """
    world, counted = np.zeros(len(points_canonical)), np.zeros(len(points_canonical))
    height, width = evidence.person.shape[1:]
    surely_world = (evidence.confidence > _SURE) & (evidence.person < _WORLD)
    for place in range(len(evidence.person)):
        points, found = (t.numpy() for t in skin_canonical(points_canonical, skin, nodes_of(place)))
        depth = np.maximum(-points[:, 2], _NEAREST_M)
        column = 0.5 * width + focal_px * points[:, 0] / depth
        row = 0.5 * height - focal_px * points[:, 1] / depth
        there = found & (-points[:, 2] > _NEAREST_M)
        there &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
        counted[there] += 1
        world[there] += surely_world[place, row[there].astype(int), column[there].astype(int)]
    return torch.from_numpy(world / np.maximum(counted, 1)).float()


def carved(
    sdf: Float[Tensor, " n"], shares: Float[Tensor, " n"], share_range: tuple[float, float], voxel_m: float
) -> Float[Tensor, " n"]:
    """Signed distances, raised to between a voxel inside and one outside where shares are above the range's beginning."""
    low, high = share_range
    level = voxel_m * ((shares - low) / (high - low) * 2.0 - 1.0).clamp(-1.0, 1.0)
    return torch.where(shares > low, torch.maximum(sdf, level), sdf)
