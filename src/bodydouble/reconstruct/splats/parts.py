"""Groups of the body's parts that training treats alike, and where they are: on splats, on faces, in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.crops import PersonCrop
from bodydouble.capture.values import BodyTrack
from bodydouble.render.mesh import rasterize_mesh

GROUPS: tuple[str, ...] = ("body", "head", "face", "hands", "feet")
"""`head` is scalp, ears and neck: where hair is. Eyes and mouth belong to the face."""
CLOTHED: tuple[int, ...] = (GROUPS.index("body"), GROUPS.index("feet"))
_GROUP_OF = {
    "head": "head", "face": "face", "eyes": "face", "mouth": "face", "left_hand": "hands", "right_hand": "hands",
    "left_foot": "feet", "right_foot": "feet",
}  # fmt: skip
MAP_SHRINK = 4
"""Pixels of a crop for each pixel of a map of groups."""


def vertex_groups(body: BodyModel) -> Int[Tensor, " verts"]:
    """Index into `GROUPS` of each vertex."""
    table = torch.tensor([GROUPS.index(_GROUP_OF.get(name, "body")) for name in body.part_names])
    return table[body.vertex_parts.long()]


def face_groups(body: BodyModel) -> Int[Tensor, " faces"]:
    """Index into `GROUPS` of each face: that of at least two of its corners, where two agree."""
    return vertex_groups(body)[body.faces.long()].median(1).values


class PartSurfaces:
    """The surface of each group in the rest pose, to measure distances from."""

    def __init__(self, vertices_rest: Float[Tensor, "verts 3"], groups: Int[Tensor, " verts"]) -> None:
        from scipy.spatial import cKDTree

        self._trees = {k: cKDTree(vertices_rest[groups == k].double().numpy()) for k in groups.unique().tolist()}

    def distance_m(self, means_rest: Float[Tensor, "n 3"], groups: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Distance of each point to the nearest vertex of its own group, metres; 0 where there is none.

        Args:
            means_rest: Points in the rest frame.
            groups: Of each, in the numbers that the vertices have.
        """
        distance = torch.zeros(len(means_rest))
        for k, tree in self._trees.items():
            chosen = torch.nonzero(groups == k)[:, 0]
            if len(chosen):
                found, _ = tree.query(means_rest[chosen].numpy(), workers=-1)
                distance[chosen] = torch.from_numpy(np.asarray(found)).float()
        return distance


def group_maps(
    body: BodyModel, track: BodyTrack, rows: Int[Tensor, " frames"], crops: Sequence[PersonCrop]
) -> UInt8[Tensor, "frames height width"]:
    """Which group each part of each crop shows, by the body's z-buffer at a quarter of the crop's size.

    Hands and faces are made wider by a pixel of the map, at the cost of what is beside them: the fit is not exact.

    Args:
        body: The body of the track.
        track: Poses.
        rows: Row of each crop in the track.
        crops: All of one size.
    Returns:
        Index into `GROUPS`, uint8; 255 where the body is not seen.
    """
    of, shaped = face_groups(body), body.with_shape(track.shape)
    maps = []
    for row, crop in zip(rows.tolist(), crops, strict=True):
        pose = track.pose(row)
        vertices = shaped.with_pose(pose).vertices().detach()
        size = crop.camera.width_px
        small = max(1, size // MAP_SHRINK)
        camera = crop.camera.cropped(0.0, 0.0, (float(size), float(size)), (small, small))
        seen = rasterize_mesh(vertices, body.faces, camera).face_index
        found = torch.where(seen >= 0, of[seen.long().clamp_min(0)], 255)
        for group in ("face", "hands"):
            here = (found == GROUPS.index(group)).float()[None, None]
            wider = torch.nn.functional.max_pool2d(here, 3, stride=1, padding=1)[0, 0] > 0
            found = torch.where(wider, GROUPS.index(group), found)
        maps.append(found.to(torch.uint8))
    return torch.stack(maps)
