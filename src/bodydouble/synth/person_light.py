"""Light on a performer: what the lamp and the sky leave of it on the body itself and on the floor around."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.render.mesh import MeshImage, rasterize_mesh, visible_vertices
from bodydouble.synth.performer import Performer
from bodydouble.synth.scene import Scene, sphere_directions
from bodydouble.synth.surface import Smoother

REACH_M = 1.35
"""Radius of a sphere around the performer's middle that holds all of it."""
FLOOR_CELL_M, FLOOR_CELLS = 0.03, 112
"""The performer's soft shadow on the floor: this many cells square."""
_SKY_DIRECTIONS = 14
_SKY_MAP_PX = 176
_LAMP_MAP_PX = 640
_SKY_AWAY_M, _LAMP_AWAY_M = 14.0, 9.0
"""How far away the observers stand whose pictures tell what is in shadow."""
_SHADOW_LEVELS = 5


@dataclass(frozen=True, kw_only=True)
class Lit:
    """The performer at one moment, with the lamp's view of it."""

    points: Float[ndarray, "verts 3"]
    """World, metres."""
    normals: Float[ndarray, "verts 3"]
    lamp_image: MeshImage
    lamp_camera: Camera


@dataclass(frozen=True, kw_only=True)
class Openness:
    """How much of its surroundings each vertex sees, and each place of the floor around: 0 to 1."""

    vertices: Float[ndarray, " verts"]
    floor: Float[ndarray, "cells cells"]

    def towards(self, other: Openness, share: float) -> Openness:
        """Between this and another moment."""
        return Openness(
            vertices=self.vertices + (other.vertices - self.vertices) * share,
            floor=self.floor + (other.floor - self.floor) * share,
        )


class PersonLight:
    """Finds shadows by looking at the performer from where the light comes.

    Args:
        performer: Whose surface it is.
        scene: Its lamp and its floor.
    """

    def __init__(self, performer: Performer, scene: Scene) -> None:
        self._scene, self._faces = scene, performer.faces
        self._directions = sphere_directions(_SKY_DIRECTIONS)
        self._smoother = Smoother(performer.faces.numpy(), len(performer.coordinates))

    def middle(self, root_world: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
        """The middle of a performer whose root is there, metres: at half of its height above the floor."""
        return torch.stack([root_world[0], torch.tensor(self._scene.floor_m + 0.95), root_world[2]]).float()

    def lit(self, world: Float[Tensor, "verts 3"], middle: Float[Tensor, "3"], under: Lit | None = None) -> Lit:
        """The performer with these vertices; `under` gives the shadow map of another moment close by."""
        from bodydouble.synth import shading

        points = world.double().numpy()
        normals = np.empty(points.shape)
        shading.posed_normals(points, self._faces.numpy(), normals)
        if under is not None:
            return dataclasses.replace(under, points=points, normals=normals)
        image, camera = self._seen_from(world, middle, self._scene.lights.to_lamp, _LAMP_MAP_PX, _LAMP_AWAY_M)
        return Lit(points=points, normals=normals, lamp_image=image, lamp_camera=camera)

    def openness(self, world: Float[Tensor, "verts 3"], middle: Float[Tensor, "3"]) -> Openness:
        """How open the performer with these vertices and the floor around lie, by the directions of a sphere."""
        from scipy.ndimage import gaussian_filter

        from bodydouble.synth.shading import posed_normals

        normals = np.empty(world.shape)
        posed_normals(world.double().numpy(), self._faces.numpy(), normals)
        seen, most = np.zeros(len(world)), np.full(len(world), 1e-6)
        grid = self.floor_grid(middle)
        grid_seen, grid_most = np.zeros(len(grid)), 1e-6
        for direction in self._directions:
            image, camera = self._seen_from(world, middle, direction, _SKY_MAP_PX, _SKY_AWAY_M)
            cosine = np.maximum(normals @ direction, 0.0)
            visible = visible_vertices(image, world, camera, tolerance_m=0.02).numpy()
            seen, most = seen + cosine * visible, most + cosine
            if direction[1] > 0:
                grid_seen += direction[1] * unshadowed(image, grid, camera)
                grid_most += direction[1]
        openness = self._smoother((seen / most)[:, None], 2)[:, 0]
        # A few directions stand for the whole sky: blur away their separate shadows.
        floor = gaussian_filter((grid_seen / grid_most).reshape(FLOOR_CELLS, FLOOR_CELLS), 1.5)
        return Openness(vertices=openness, floor=floor)

    def floor_grid(self, middle: Float[Tensor, "3"]) -> Float[Tensor, "cells 3"]:
        """Centres of the floor's cells around a performer, metres, row by row along +X."""
        half = FLOOR_CELL_M * (FLOOR_CELLS - 1) / 2
        across = torch.linspace(-half, half, FLOOR_CELLS)
        x, z = torch.meshgrid(across + middle[0], across + middle[2], indexing="xy")
        return torch.stack([x, torch.full_like(x, self._scene.floor_m), z], -1).reshape(-1, 3)

    def _seen_from(
        self, world: Tensor, middle: Tensor, direction: ndarray, size_px: int, away_m: float
    ) -> tuple[MeshImage, Camera]:
        """What a distant observer sees of the performer."""
        camera = look_at_camera(
            middle + away_m * torch.from_numpy(direction).float(),
            middle,
            width_px=size_px,
            height_px=size_px,
            focal_px=size_px * away_m / (2 * REACH_M),
        )
        return rasterize_mesh(world, self._faces, camera), camera


def shadow_maps(image: MeshImage) -> tuple[Float[ndarray, "levels n n"], Float[ndarray, "n n"]]:
    """The performer's outline seen from the lamp, ever more blurred, and how far it is away there."""
    from scipy.ndimage import gaussian_filter

    size = image.depth.shape[0] // 2
    mask = image.mask.numpy().astype(np.float32)
    depth = np.where(mask > 0, image.depth.numpy(), 0.0).astype(np.float32)
    mask, depth = (v.reshape(size, 2, size, 2).mean((1, 3)) for v in (mask, depth))
    sigma = 2.5 ** np.arange(_SHADOW_LEVELS)
    levels, blurred, done = [], mask, 0.0
    for s in sigma:
        blurred = gaussian_filter(blurred, np.sqrt(s * s - done * done), truncate=2.5, mode="constant")
        done = s
        levels.append(blurred)
    near = [gaussian_filter(v, 5.0, truncate=3.0, mode="constant") for v in (mask, depth)]
    wide = [gaussian_filter(v, 25.0, truncate=2.0, mode="constant") for v in near]
    # Where the outline is far, the distance is that of its nearest parts, more and more averaged.
    cover, total = near[0] + 1e-3 * wide[0] + 1e-9, near[1] + 1e-3 * wide[1] + 1e-9 * 9.0
    return np.stack(levels).astype(np.float64), (total / cover).astype(np.float64)


def unshadowed(image: MeshImage, points: Float[Tensor, "n 3"], camera: Camera) -> Bool[ndarray, " n"]:
    """Points that an observer sees; those outside its picture are taken as seen."""
    pixels, depth = camera.project(points)
    column, row = pixels[:, 0].floor().long(), pixels[:, 1].floor().long()
    size = camera.width_px
    inside = (column >= 0) & (row >= 0) & (column < size) & (row < size)
    nearest = image.depth[row.clamp(0, size - 1), column.clamp(0, size - 1)]
    return (~inside | (depth <= nearest + 0.02)).numpy()
