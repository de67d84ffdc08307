"""The room behind the performer, seen by a camera that does not move: wall, floor, skirting, pictures, a rug.

The world is the camera's: it stands at the origin and looks along -Z. Light of the lamp and of everything else is kept
apart, so that shadows can be laid over the picture frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from bodydouble.core.seeds import numpy_rng
from bodydouble.synth.noise import noise_at

GRID_CELL_M = 0.03
GRID_CELLS = 112
"""The shadow grids of floor and wall: this many cells square, centred on the performer."""


@dataclass(frozen=True, kw_only=True)
class Lights:
    """A soft lamp, the open room, and light thrown back by the floor; linear colours."""

    to_lamp: Float[ndarray, "3"]
    lamp: Float[ndarray, "3"]
    sky: Float[ndarray, "3"]
    bounce: Float[ndarray, "3"]

    def rows(self) -> Float[ndarray, "4 3"]:
        return np.stack([self.to_lamp, self.lamp, self.sky, self.bounce])


@dataclass(frozen=True, kw_only=True)
class Room:
    """The empty room as the camera sees it."""

    lamp_rgb: Float[ndarray, "height width 3"]
    """Linear light from the lamp, unshadowed."""
    sky_rgb: Float[ndarray, "height width 3"]
    plane: Int[ndarray, "height width"]
    """0 floor, 1 wall."""
    cell: Float[ndarray, "height width 2"]
    """Place of each pixel in its plane's shadow grid, in cells."""
    grid_points: Float[ndarray, "2 cells cells 3"]
    """World positions of the grids' points."""
    grid_normals: Float[ndarray, "2 3"]


def draw_lights(seed: int) -> Lights:
    """Daylight from one side, above and before the performer."""
    rng = numpy_rng(seed, "synth/lights")
    side = -1.0 if rng.random() < 0.5 else 1.0
    to_lamp = np.array([side * rng.uniform(0.35, 0.6), rng.uniform(0.75, 0.95), rng.uniform(0.65, 0.9)])
    warmth = rng.uniform(-0.05, 0.07)
    return Lights(
        to_lamp=to_lamp / np.linalg.norm(to_lamp),
        lamp=rng.uniform(0.68, 0.82) * np.array([1 + warmth, 1.0, 1 - warmth]),
        sky=0.44 * np.array([0.97, 1.0, 1.04]),
        bounce=0.25 * np.array([1.05, 0.98, 0.9]),
    )


def draw_room(
    seed: int, lights: Lights, *, width_px: int, height_px: int, focal_px: float, floor_m: float, person_m: float
) -> Room:
    """Paint the room that belongs to a seed.

    Args:
        floor_m: Height of the floor in the camera's world (negative).
        person_m: Where the performer stands, along Z (negative).
    """
    wall_m = person_m - 1.15
    hit, plane = _trace(_rays(2 * width_px, 2 * height_px, 2 * focal_px), floor_m, wall_m)
    color = _paint(numpy_rng(seed, "synth/room"), hit, plane, floor_m, wall_m)
    corner = np.minimum(np.where(plane == 0, hit[..., 2] - wall_m, hit[..., 1] - floor_m), 1.0)
    closeness = 0.62 + 0.38 * np.sqrt(np.clip(corner / 0.45, 0, 1))
    normals = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    facing = np.maximum(normals @ lights.to_lamp, 0.0)[plane]
    falloff = 1.0 / (1.0 + 0.05 * ((hit - np.array([0, 0, person_m])) ** 2).sum(-1))
    lamp_rgb = color * lights.lamp * (facing * falloff)[..., None]
    sky_rgb = color * lights.sky * (closeness * np.where(plane == 0, 1.0, 0.85))[..., None]
    coarse_hit, coarse_plane = _trace(_rays(width_px, height_px, focal_px), floor_m, wall_m)
    return Room(
        lamp_rgb=_halve(lamp_rgb),
        sky_rgb=_halve(sky_rgb),
        plane=coarse_plane.astype(np.int64),
        cell=_cells(coarse_hit, coarse_plane, floor_m, person_m),
        grid_points=_grids(floor_m, wall_m, person_m),
        grid_normals=normals,
    )


def _rays(width_px: int, height_px: int, focal_px: float) -> ndarray:
    x, y = np.meshgrid(np.arange(width_px) + 0.5, np.arange(height_px) + 0.5)
    return np.stack([(x - width_px / 2) / focal_px, -(y - height_px / 2) / focal_px, -np.ones_like(x)], -1)


def _trace(rays: ndarray, floor_m: float, wall_m: float) -> tuple[ndarray, ndarray]:
    """Where rays from the origin hit, and which plane: 0 floor, 1 wall."""
    to_wall = -wall_m
    to_floor = np.where(rays[..., 1] < -1e-6, floor_m / np.minimum(rays[..., 1], -1e-6), np.inf)
    plane = (to_wall <= to_floor).astype(np.int64)
    return rays * np.minimum(to_wall, to_floor)[..., None], plane


def _paint(rng: np.random.Generator, hit: ndarray, plane: ndarray, floor_m: float, wall_m: float) -> ndarray:
    """Linear colours of floor and wall."""
    shape = hit.shape
    flat, where = hit.reshape(-1, 3), plane.reshape(-1)
    color = np.zeros_like(flat)
    on_floor = where == 0
    color[on_floor] = _floor(rng, flat[on_floor], wall_m)
    color[~on_floor] = _wall(rng, flat[~on_floor], floor_m)
    return (color.clip(0, 1) ** 2.2).reshape(shape)


def _floor(rng: np.random.Generator, p: ndarray, wall_m: float) -> ndarray:
    """Planks, and a rug."""
    plank_m = 0.13
    row = np.floor(p[:, 0] / plank_m)
    offset = row * 0.37 - np.floor(row * 0.37)
    board = np.floor(p[:, 2] / 1.1 + offset)
    tone = noise_at(np.stack([row * 7.3, board * 5.1, np.full(len(p), 2.0)], 1))
    grain = noise_at(p * [70, 1, 6]) + 0.5 * noise_at(p * [220, 1, 14])
    wood = np.array(rng.choice([[0.66, 0.50, 0.36], [0.55, 0.42, 0.33], [0.70, 0.60, 0.48]]))
    color = wood * (1 + 0.13 * tone + 0.06 * grain)[:, None]
    across = np.abs(p[:, 0] / plank_m - np.round(p[:, 0] / plank_m)) * plank_m
    along = np.abs(p[:, 2] / 1.1 + offset - np.round(p[:, 2] / 1.1 + offset)) * 1.1
    color *= np.where((across < 0.0022) | (along < 0.0025), 0.55, 1.0)[:, None]
    color *= np.where(p[:, 2] < wall_m + 0.01, 0.7, 1.0)[:, None]
    return color


def _wall(rng: np.random.Generator, p: ndarray, floor_m: float) -> ndarray:
    """Paint with a little texture, a skirting board, some framed pictures and a shelf."""
    above = p[:, 1] - floor_m
    tint = np.array(rng.choice([[0.80, 0.79, 0.74], [0.70, 0.77, 0.78], [0.82, 0.75, 0.68], [0.72, 0.76, 0.70]]))
    plaster = 0.016 * noise_at(p * [45, 45, 1]) + 0.02 * noise_at(p * [3, 3, 1]) + 0.012 * noise_at(p * [150, 150, 1])
    color = tint * (1 + plaster)[:, None]
    panel = above < 0.92
    stripes = np.where(np.floor(p[:, 0] / 0.055) % 2 == 0, 1.0, 0.93)
    color = np.where(panel[:, None], color * 0.88 * stripes[:, None], color)
    rail = (np.abs(above - 0.93) < 0.022) | (above < 0.11)
    edge = (np.abs(np.abs(above - 0.93) - 0.020) < 0.003) | (np.abs(above - 0.107) < 0.004)
    color = np.where(rail[:, None], np.array([0.86, 0.85, 0.82]) * np.where(edge, 0.8, 1.0)[:, None], color)
    for place in (-0.86, 0.80, 1.9, -1.95):
        center = np.array([place + rng.uniform(-0.06, 0.06), floor_m + rng.uniform(1.48, 1.62)])
        size = rng.uniform([0.22, 0.26], [0.30, 0.36])
        color = _picture(rng, color, p[:, :2], center, size)
    return color


def _picture(rng: np.random.Generator, color: ndarray, p: ndarray, center: ndarray, half_m: ndarray) -> ndarray:
    """An abstract print in a frame."""
    outside_m = np.abs(p - center) - half_m
    near = np.flatnonzero((outside_m < 0.06).all(1))
    local, outside_m = (p[near] - center) / half_m, outside_m[near].max(1)
    inside = outside_m < 0

    def border(width_m: float) -> ndarray:
        return (np.abs(local) > 1 - width_m / half_m).any(1)

    paper = np.tile(rng.uniform(0.55, 0.95, 3), (len(near), 1))
    for _ in range(6):
        middle, radius = rng.uniform(-0.7, 0.7, 2), rng.uniform(0.15, 0.5)
        skew = np.eye(2) if rng.random() < 0.5 else rng.normal(size=(2, 2))
        offset = (local - middle) @ skew
        shape = np.hypot(*offset.T) < radius if rng.random() < 0.5 else np.abs(offset).max(1) < radius
        paper[shape] = rng.uniform(0.1, 0.95, 3)
    paper[border(0.075)] = [0.93, 0.92, 0.89]
    paper[border(0.025)] = rng.uniform(0.1, 0.4, 3)
    shade = 1 - 0.25 * np.exp(-np.maximum(outside_m, 0) / 0.012)
    color[near] = np.where(inside[:, None], paper, color[near] * shade[:, None])
    return color


def _cells(hit: ndarray, plane: ndarray, floor_m: float, person_m: float) -> ndarray:
    half = GRID_CELL_M * (GRID_CELLS - 1) / 2
    u = hit[..., 0] + half
    v = np.where(plane == 0, hit[..., 2] - person_m + half, hit[..., 1] - floor_m)
    return np.stack([u, v], -1) / GRID_CELL_M


def _grids(floor_m: float, wall_m: float, person_m: float) -> ndarray:
    half = GRID_CELL_M * (GRID_CELLS - 1) / 2
    across = np.linspace(-half, half, GRID_CELLS)
    u, v = np.meshgrid(across, across)
    floor = np.stack([u, np.full_like(u, floor_m), v + person_m], -1)
    wall = np.stack([u, v + half + floor_m, np.full_like(u, wall_m)], -1)
    return np.stack([floor, wall])


def _halve(image: ndarray) -> ndarray:
    return np.ascontiguousarray((image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4)
