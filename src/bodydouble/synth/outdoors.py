"""A square in a park: paving, lawn, walls and benches near by, trees and houses around, hills and sky far away."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy import ndarray

from bodydouble.synth import paints
from bodydouble.synth.lights import Lights
from bodydouble.synth.noise import noise_at
from bodydouble.synth.plan import Plan, Rectangle
from bodydouble.synth.scene import Paint, Surface
from bodydouble.synth.shapes import box, grid_faces, lump, panel, tube

_LAWN_M = -0.05
_FAR_M, _HILLS_M, _SKY_M = 170.0, 150.0, 400.0
_STONES = ([0.68, 0.65, 0.60], [0.62, 0.60, 0.58], [0.72, 0.64, 0.54])
_HOUSES = ([0.72, 0.66, 0.56], [0.64, 0.42, 0.34], [0.74, 0.74, 0.72], [0.70, 0.58, 0.44])
_LEAVES = ([0.36, 0.50, 0.22], [0.28, 0.42, 0.20], [0.46, 0.52, 0.22], [0.55, 0.45, 0.20])


def outdoor_surfaces(rng: np.random.Generator, plan: Plan, _lights: Lights) -> list[Surface]:
    """Everything outside.

    Args:
        rng: Chooses what stands where.
        plan: What must stay free.
        _lights: Not needed here; all places are built from the same arguments.
    """
    free = plan.performer.around(plan.camera)
    square = free.grown(2.4, 2.4, 2.2, 1.6)
    y = plan.floor_m
    stone = paints.paving(np.array(_STONES[rng.integers(len(_STONES))]) * rng.uniform(0.92, 1.05))
    surfaces = _ground(rng, square, y, stone)
    surfaces += _border(rng, square, y)
    surfaces += _trees(rng, square, y)
    surfaces += _houses(rng, plan, y)
    surfaces += [_hills(rng, plan, y), _dome(rng, plan, y)]
    return surfaces


def _ground(rng: np.random.Generator, square: Rectangle, y: float, stone: Paint) -> list[Surface]:
    width, depth = square.x1 - square.x0, square.z1 - square.z0
    paving = panel([square.x0, y, square.z1], [width, 0, 0], [0, 0, -depth], stone, cell_m=0.14, casts=False)
    lines = []
    for low, high in ((square.x0, square.x1), (-square.z1, -square.z0)):
        near = np.arange(low - 12, high + 12, 0.5)
        far = np.array([low - 60, low - 35, low - 20, high + 20, high + 35, high + 60])
        at = np.sort(np.concatenate([near, far, [low - _FAR_M, high + _FAR_M]]))
        lines.append((at - at[0]) / (at[-1] - at[0]))
    rgb = np.array([0.40, 0.50, 0.24]) * rng.uniform(0.9, 1.1, 3)
    lawn = panel(
        [square.x0 - _FAR_M, y + _LAWN_M, square.z1 + _FAR_M],
        [width + 2 * _FAR_M, 0, 0],
        [0, 0, -depth - 2 * _FAR_M],
        paints.grass(rgb),
        lines=(lines[0], lines[1]),
        casts=False,
    )
    kerb = paints.plain([0.60, 0.59, 0.57], 0.06, 120)
    edges = []
    for x0, z0, dx, dz in (
        (square.x0, square.z0, width, 0.0),
        (square.x1, square.z0, 0.0, depth),
        (square.x1, square.z1, -width, 0.0),
        (square.x0, square.z1, 0.0, -depth),
    ):
        # Seen from outside the square, from its own height down to the lawn.
        edges.append(panel([x0 + dx, y + _LAWN_M, z0 + dz], [-dx, 0, -dz], [0, -_LAWN_M, 0], kerb, casts=False))
    return [_varied(paving, 0.05, 0.35), _varied(lawn, 0.13, 0.22), *edges]


def _varied(surface: Surface, amount: float, scale: float) -> Surface:
    p = surface.points
    tone = 1 + amount * (noise_at(p * scale) + 0.6 * noise_at(p * 2.7 * scale + 5.0))
    return dataclasses.replace(surface, tone=tone)


def _sides(square: Rectangle) -> list[tuple[ndarray, ndarray, float, float]]:
    """For each side of the square: its middle, the direction outwards, its half length and its turn about +Y."""
    x, z = square.middle
    half_w, half_d = (square.x1 - square.x0) / 2, (square.z1 - square.z0) / 2
    return [
        (np.array([x, 0, square.z0]), np.array([0, 0, -1.0]), half_w, 0.0),
        (np.array([square.x1, 0, z]), np.array([1.0, 0, 0]), half_d, -np.pi / 2),
        (np.array([x, 0, square.z1]), np.array([0, 0, 1.0]), half_w, np.pi),
        (np.array([square.x0, 0, z]), np.array([-1.0, 0, 0]), half_d, np.pi / 2),
    ]


def _border(rng: np.random.Generator, square: Rectangle, y: float) -> list[Surface]:
    """Along each side a low wall, a hedge or benches."""
    out: list[Surface] = []
    brick = paints.bricks([[0.62, 0.36, 0.28], [0.55, 0.44, 0.36], [0.66, 0.50, 0.38]][rng.integers(3)])
    leaf = paints.leaves(_LEAVES[rng.integers(2)])
    board = paints.wood([0.52, 0.36, 0.22])
    cap = paints.plain([0.70, 0.68, 0.64], 0.05, 90)
    iron = paints.plain([0.16, 0.17, 0.18], 0.05)
    kinds = rng.permutation(["wall", "hedge", "benches", "hedge"])
    for (middle, outward, half, turned), kind in zip(_sides(square), kinds, strict=True):
        along = np.cross([0.0, 1.0, 0.0], outward)
        foot = middle + np.array([0, y + _LAWN_M, 0])
        if kind == "wall":
            height = float(rng.uniform(0.75, 1.05))
            place = foot + 0.5 * outward
            out += box(place.tolist(), (2 * half + 1.2, height, 0.24), brick, turned_rad=turned)
            out += box(
                (place + np.array([0, height, 0])).tolist(), (2 * half + 1.24, 0.06, 0.32), cap, turned_rad=turned
            )
        elif kind == "hedge":
            height = float(rng.uniform(0.7, 1.2))
            for at in np.arange(-half - 0.6, half + 0.7, 0.55):
                spot = foot + 0.6 * outward + at * along + [0, 0.42 * height, 0]
                size = np.array([0.46, 0.62 * height, 0.40]) * rng.uniform(0.92, 1.08, 3)
                out.append(
                    lump(spot.tolist(), size.tolist(), leaf, rough=0.12, rows=11, seed=float(rng.uniform(0, 60)))
                )
        else:
            for at in (-0.45 * half, 0.5 * half):
                out += _bench(foot + 0.1 * outward + at * along - [0, _LAWN_M, 0], turned, board, iron)
    lamp = _beyond_a_corner(square, rng) + np.array([0, y + _LAWN_M, 0])
    out.append(tube(lamp.tolist(), [(0, 0.10), (0.25, 0.09), (0.3, 0.045), (3.6, 0.035), (3.6, 0.0)], iron))
    globe = lump(
        (lamp + np.array([0, 3.75, 0])).tolist(), [0.17, 0.19, 0.17], paints.plain([0.95, 0.94, 0.90], 0.01), rough=0.0
    )
    out.append(globe)
    return out


def _beyond_a_corner(square: Rectangle, rng: np.random.Generator) -> ndarray:
    """A place a little outside one of the two far corners of the square."""
    x = square.x0 - 0.5 if rng.random() < 0.5 else square.x1 + 0.5
    return np.array([x, 0.0, square.z0 - 0.7])


def _bench(foot: ndarray, turned: float, board: Paint, iron: Paint) -> list[Surface]:
    c, s = np.cos(turned), np.sin(turned)
    R = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    out: list[Surface] = []
    for k in range(3):
        out += box((foot + R @ [0, 0.41, -0.14 + 0.145 * k]).tolist(), (1.5, 0.035, 0.13), board, turned_rad=turned)
    for k in range(2):
        out += box(
            (foot + R @ [0, 0.56 + 0.16 * k, -0.26 - 0.02 * k]).tolist(), (1.5, 0.12, 0.03), board, turned_rad=turned
        )
    for x in (-0.62, 0.62):
        out += box((foot + R @ [x, 0, 0.0]).tolist(), (0.05, 0.41, 0.38), iron, turned_rad=turned)
        out += box((foot + R @ [x, 0, -0.26]).tolist(), (0.05, 0.84, 0.04), iron, turned_rad=turned)
    return out


def _trees(rng: np.random.Generator, square: Rectangle, y: float) -> list[Surface]:
    out: list[Surface] = []
    bark = paints.bark([0.40, 0.32, 0.25])
    x, z = square.middle
    reach = 0.5 * float(np.hypot(square.x1 - square.x0, square.z1 - square.z0))
    foliage = [paints.leaves(rgb) for rgb in _LEAVES]
    count = 15
    for k in range(count):
        angle = 2 * np.pi * (k + rng.uniform(-0.35, 0.35)) / count
        away = reach + rng.uniform(1.5, 18.0)
        foot = np.array([x + away * np.sin(angle), y + _LAWN_M, z + away * np.cos(angle)])
        size, leaf = float(rng.uniform(0.75, 1.35)), foliage[rng.integers(len(foliage))]
        trunk = 2.4 * size
        out.append(
            tube(foot.tolist(), [(0, 0.24 * size), (0.3, 0.16 * size), (trunk, 0.11 * size), (trunk + 1.2, 0.04)], bark)
        )
        rows = 11 if away < reach + 8 else 8
        for _ in range(9 if rows == 11 else 6):
            spread = rng.normal(size=3) * [0.75, 0.5, 0.75] * size
            spot = foot + np.array([0, trunk + 1.25 * size, 0]) + spread
            radii = rng.uniform([0.7, 0.55, 0.7], [1.15, 0.9, 1.15]) * size
            out.append(lump(spot.tolist(), radii.tolist(), leaf, rough=0.22, rows=rows, seed=float(rng.uniform(0, 90))))
    return out


def _houses(rng: np.random.Generator, plan: Plan, y: float) -> list[Surface]:
    out: list[Surface] = []
    x, z = plan.performer.middle
    roof = paints.plain([0.36, 0.28, 0.26], 0.08, 8)
    fronts = [paints.facade(rng, rgb) for rgb in _HOUSES]
    count = 10
    for k in range(count):
        angle = 2 * np.pi * (k + rng.uniform(-0.3, 0.3)) / count
        away = rng.uniform(38.0, 70.0)
        middle = [x + away * np.sin(angle), y + _LAWN_M, z + away * np.cos(angle)]
        front = fronts[rng.integers(len(fronts))]
        size = (float(rng.uniform(10, 24)), float(rng.uniform(6.0, 15.0)), float(rng.uniform(9, 14)))
        out += box(middle, size, front, top=roof, turned_rad=float(angle + np.pi + rng.uniform(-0.4, 0.4)), cell_m=4.0)
    return out


def _hills(rng: np.random.Generator, plan: Plan, y: float) -> Surface:
    """A ring of wooded hills, pale with distance."""
    x, z = plan.performer.middle
    angle, rows = np.linspace(0, 2 * np.pi, 181), 5
    flat = np.stack([np.cos(angle) * 2.2, np.sin(angle) * 2.2, np.full_like(angle, rng.uniform(0, 50))], 1)
    height = 15 + 8 * noise_at(flat) + 3.5 * noise_at(flat * 3.1) + 0.6 * noise_at(flat * 15)
    share = np.linspace(0, 1, rows)[:, None]
    radius = _HILLS_M + 60 * share
    points = np.stack(
        [x + radius * np.sin(angle), y - 1 + np.sqrt(share) * height, z + radius * np.cos(angle)], -1
    ).reshape(-1, 3)
    rgb = np.array([0.52, 0.60, 0.56])

    def color(p: ndarray) -> ndarray:
        tone = 1 + 0.09 * paints.space(p, 0.35, 0.7) + 0.06 * paints.space(p, 1.2, 1.6, shift=3.0)
        return rgb * tone[:, None]

    paint = Paint(paints.seamless(color, (60.0, 30.0)), (60.0, 30.0), 0.2)
    inward = np.stack([-np.sin(angle), np.full_like(angle, 0.4), -np.cos(angle)], 1)
    return Surface(
        points=points,
        normals=np.tile(inward / np.linalg.norm(inward, axis=1, keepdims=True), (rows, 1)),
        faces=grid_faces(rows, len(angle))[:, ::-1].copy(),
        uv_m=np.stack(np.broadcast_arrays(angle * _HILLS_M, share * 30), -1).reshape(-1, 2),
        paint=paint,
        casts=False,
        glow=0.95,
    )


def _dome(rng: np.random.Generator, plan: Plan, y: float) -> Surface:
    x, z = plan.performer.middle
    angle, up = np.linspace(0, 2 * np.pi, 73), np.linspace(-0.1, np.pi / 2, 22)[:, None]
    points = np.stack(
        np.broadcast_arrays(
            x + _SKY_M * np.cos(up) * np.sin(angle), y + _SKY_M * np.sin(up), z + _SKY_M * np.cos(up) * np.cos(angle)
        ),
        -1,
    ).reshape(-1, 3)
    inward = np.array([x, y, z]) - points
    return Surface(
        points=points,
        normals=inward / np.linalg.norm(inward, axis=1, keepdims=True),
        faces=grid_faces(len(up), len(angle))[:, ::-1].copy(),
        uv_m=np.stack(np.broadcast_arrays(angle, up + 0.1), -1).reshape(-1, 2),
        paint=paints.sky(rng),
        casts=False,
        glow=1.0,
    )
