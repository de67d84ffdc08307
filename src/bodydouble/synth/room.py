"""A room: floor, walls and what stands along them. The performer and the camera keep the middle to themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy import ndarray

from bodydouble.synth import paints
from bodydouble.synth.lights import Lights
from bodydouble.synth.plan import Plan, Rectangle
from bodydouble.synth.scene import Surface
from bodydouble.synth.shapes import box, lump, panel, tube

_HEIGHT_M = 2.9
_BACK_M, _SIDE_M, _FRONT_M = 1.15, 2.35, 1.6
"""Free floor around the performer's path."""
_CAMERA_M = 0.55
"""Free floor around the camera's path."""
_TINTS = ([0.80, 0.79, 0.74], [0.70, 0.77, 0.78], [0.82, 0.75, 0.68], [0.72, 0.76, 0.70], [0.78, 0.74, 0.80])
_WOODS = ([0.66, 0.50, 0.36], [0.55, 0.42, 0.33], [0.70, 0.60, 0.48])
_CLOTHS = ([0.36, 0.42, 0.50], [0.55, 0.36, 0.30], [0.42, 0.46, 0.34], [0.62, 0.56, 0.46])


@dataclasses.dataclass(frozen=True)
class _Wall:
    """One wall: where its floor line begins, which way it runs, and its length. The room lies to its left."""

    start: ndarray
    along: ndarray
    length_m: float

    @property
    def inward(self) -> ndarray:
        return np.cross(self.along, [0.0, 1.0, 0.0])

    @property
    def turned_rad(self) -> float:
        return float(np.arctan2(self.inward[0], self.inward[2]))

    def at(self, along_m: float, up_m: float = 0.0, off_m: float = 0.0) -> list[float]:
        return (self.start + along_m * self.along + off_m * self.inward + [0.0, up_m, 0.0]).tolist()


def room_surfaces(rng: np.random.Generator, plan: Plan, lights: Lights) -> list[Surface]:
    """Everything in the room.

    Args:
        rng: Chooses colours and furniture.
        plan: What must stay free.
        lights: A window is put where the lamp's light comes from.
    """
    r = plan.performer.grown(_SIDE_M, _SIDE_M, _BACK_M, _FRONT_M)
    r = r.around(plan.camera.grown(_CAMERA_M, _CAMERA_M, _CAMERA_M, _CAMERA_M))
    y = plan.floor_m
    wood = np.array(_WOODS[rng.integers(len(_WOODS))])
    tint = np.array(_TINTS[rng.integers(len(_TINTS))])
    surfaces = _shell(rng, r, y, wood, tint)
    walls = [
        _Wall(np.array([r.x0, y, r.z0]), np.array([1.0, 0, 0]), r.x1 - r.x0),
        _Wall(np.array([r.x1, y, r.z0]), np.array([0, 0, 1.0]), r.z1 - r.z0),
        _Wall(np.array([r.x1, y, r.z1]), np.array([-1.0, 0, 0]), r.x1 - r.x0),
        _Wall(np.array([r.x0, y, r.z1]), np.array([0, 0, -1.0]), r.z1 - r.z0),
    ]
    x, z = plan.performer.middle
    surfaces += _rug(rng, x, y, z)
    lit = 1 if lights.to_lamp[0] > 0 else 3
    for number, wall in enumerate(walls):
        for piece in _furnished(rng, wall, wood, window=number == lit, doorway=number == (4 - lit)):
            if not any(_in_the_way(surface, plan) for surface in piece):
                surfaces += piece
    return surfaces


def _in_the_way(surface: Surface, plan: Plan) -> bool:
    """Whether something stands where the performer's arms or the camera go, or between them."""
    here = Rectangle.of(surface.points)
    free = plan.performer.grown(0.95, 0.95, 0.75, 0.85).around(plan.camera.grown(0.35, 0.35, 0.35, 0.35))
    return here.x0 < free.x1 and here.x1 > free.x0 and here.z0 < free.z1 and here.z1 > free.z0


def _shell(rng: np.random.Generator, r: Rectangle, y: float, wood: ndarray, tint: ndarray) -> list[Surface]:
    width, depth = r.x1 - r.x0, r.z1 - r.z0
    panelled = bool(rng.random() < 0.5)
    floor = panel([r.x0, y, r.z1], [width, 0, 0], [0, 0, -depth], paints.planks(wood, (width, depth)), casts=False)
    ceiling = panel(
        [r.x0, y + _HEIGHT_M, r.z0],
        [width, 0, 0],
        [0, 0, depth],
        paints.plain([0.90, 0.90, 0.88], 0.015),
        cell_m=0.25,
        casts=False,
    )
    shell = [floor, ceiling]
    for corner, right, length in (
        ([r.x0, y, r.z0], [width, 0, 0], width),
        ([r.x1, y, r.z0], [0, 0, depth], depth),
        ([r.x1, y, r.z1], [-width, 0, 0], width),
        ([r.x0, y, r.z1], [0, 0, -depth], depth),
    ):
        paint = paints.wall(tint, (length, _HEIGHT_M), panelled=panelled)
        shell.append(panel(corner, right, [0, _HEIGHT_M, 0], paint, casts=False))
    return [_in_corners(surface, r, y) for surface in shell]


def _in_corners(surface: Surface, r: Rectangle, y: float) -> Surface:
    """Ambient light fades towards the edges where two sides of the room meet."""
    p, n = surface.points, surface.normals
    planes = [(0, r.x0), (0, r.x1), (1, y), (1, y + _HEIGHT_M), (2, r.z0), (2, r.z1)]
    shade = np.ones(len(p))
    for axis, place in planes:
        away = np.abs(p[:, axis] - place)
        own = np.abs(n[:, axis]) > 0.5
        shade *= np.where(own, 1.0, 0.68 + 0.32 * np.sqrt(np.clip(away / 0.5, 0, 1)))
    return dataclasses.replace(surface, dimmed=shade)


def _rug(rng: np.random.Generator, x: float, y: float, z: float) -> list[Surface]:
    if rng.random() < 0.4:
        return []
    size = (float(rng.uniform(2.0, 2.6)), float(rng.uniform(1.4, 1.8)))
    colors = rng.uniform(0.25, 0.6, 3), rng.uniform(0.55, 0.85, 3)
    paint = paints.rug(colors[0], colors[1], size)
    # Thin enough for the performer's soles to stand on it.
    return [panel([x - size[0] / 2, y + 0.002, z + size[1] / 2], [size[0], 0, 0], [0, 0, -size[1]], paint, casts=False)]


def _furnished(
    rng: np.random.Generator, wall: _Wall, wood: ndarray, *, window: bool, doorway: bool
) -> list[list[Surface]]:
    """Pieces side by side along a wall, pictures over the low ones."""
    out: list[list[Surface]] = []
    at = float(rng.uniform(0.15, 0.45))
    kinds = ["bookcase", "sideboard", "armchair", "plant", "table"]
    order = list(rng.permutation(len(kinds)))
    if window:
        order.insert(1, -1)
    if doorway:
        order.insert(1, -2)
    for k in order * 3:
        kind = "window" if k == -1 else "door" if k == -2 else kinds[k]
        width = {
            "bookcase": 0.95,
            "sideboard": 1.35,
            "armchair": 0.85,
            "plant": 0.5,
            "table": 0.6,
            "window": 1.5,
            "door": 0.95,
        }[kind]
        if at + width + 0.15 > wall.length_m:
            break
        middle = at + width / 2
        out.append(_piece(kind, rng, wall, middle, width, wood))
        if kind in ("sideboard", "armchair"):
            out.append(_picture(rng, wall, middle))
        at += width + float(rng.uniform(0.18, 0.5))
    return out


def _piece(
    kind: str, rng: np.random.Generator, wall: _Wall, middle: float, width: float, wood: ndarray
) -> list[Surface]:
    turned = wall.turned_rad
    dark = wood * rng.uniform(0.55, 0.95)
    if kind == "bookcase":
        height = float(rng.uniform(1.6, 2.05))
        front = paints.books(rng, (width, height), dark)
        return box(wall.at(middle, 0.0, 0.15), (width, height, 0.28), paints.wood(dark), turned_rad=turned, front=front)
    if kind == "sideboard":
        height = float(rng.uniform(0.62, 0.80))
        front = paints.drawers(dark, (width, height), int(rng.integers(2, 4)))
        out = box(wall.at(middle, 0.0, 0.19), (width, height, 0.36), paints.wood(dark), turned_rad=turned, front=front)
        glaze = paints.plain(0.5 * rng.uniform(0.25, 0.8, 3) + 0.3, 0.05)
        rings = [(0.0, 0.05), (0.10, 0.085), (0.20, 0.06), (0.27, 0.035), (0.30, 0.045)]
        out.append(tube(wall.at(middle - 0.38, height, 0.19), rings, glaze, cell_m=0.04))
        out += box(
            wall.at(middle + 0.25, height, 0.18),
            (0.26, 0.05, 0.19),
            paints.plain(rng.uniform(0.2, 0.7, 3)),
            turned_rad=turned + 0.3,
        )
        return out
    if kind == "armchair":
        cloth = paints.woven(_CLOTHS[rng.integers(len(_CLOTHS))])
        out = box(wall.at(middle, 0.08, 0.42), (0.60, 0.36, 0.62), cloth, turned_rad=turned)
        out += box(wall.at(middle, 0.08, 0.14), (0.82, 0.80, 0.18), cloth, turned_rad=turned)
        for side in (-0.355, 0.355):
            out += box(wall.at(middle + side, 0.08, 0.40), (0.12, 0.52, 0.70), cloth, turned_rad=turned)
        return out
    if kind == "plant":
        pot = paints.plain([0.66, 0.40, 0.30], 0.06)
        foot = wall.at(middle, 0.0, 0.27)
        out = [tube(foot, [(0, 0.11), (0.26, 0.16), (0.30, 0.16), (0.30, 0.14), (0.27, 0.0)], pot)]
        leaf = paints.leaves(np.array([0.30, 0.46, 0.22]) * rng.uniform(0.8, 1.2))
        out.append(tube(foot, [(0.22, 0.018), (0.95, 0.010)], paints.bark([0.34, 0.28, 0.18]), around=8))
        for _ in range(int(rng.integers(4, 7))):
            away = rng.uniform(-0.10, 0.10, 2)
            up = rng.uniform(0.45, 1.05)
            spot = wall.at(middle + away[0], float(up), 0.27 + away[1])
            out.append(
                lump(
                    spot,
                    rng.uniform([0.12, 0.14, 0.12], [0.19, 0.26, 0.19]),
                    leaf,
                    rough=0.4,
                    rows=9,
                    seed=float(rng.uniform(0, 50)),
                )
            )
        return out
    if kind == "table":
        leg = paints.plain([0.20, 0.19, 0.18], 0.04)
        out = [
            tube(wall.at(middle, 0.0, 0.26), [(0, 0.15), (0.02, 0.15), (0.03, 0.022), (1.40, 0.018), (1.40, 0.0)], leg)
        ]
        shade = tube(wall.at(middle, 1.38, 0.26), [(0.0, 0.19), (0.28, 0.13)], paints.plain([0.93, 0.88, 0.76], 0.02))
        return [*out, dataclasses.replace(shade, tone=1.25)]
    if kind == "window":
        size = (width, 1.35)
        return [_hung(wall, middle, 0.85, size, paints.window_view(rng, size), 0.03, glow=1.02)]
    size = (width, 2.08)
    rgb = np.array([[0.84, 0.83, 0.80], [0.52, 0.36, 0.24], [0.35, 0.44, 0.48]])[rng.integers(3)]
    return [_hung(wall, middle, 0.0, size, paints.door(rgb, size), 0.02)]


def _hung(
    wall: _Wall,
    middle: float,
    low_m: float,
    size: tuple[float, float],
    paint: paints.Paint,
    off_m: float,
    glow: float = 0.0,
) -> Surface:
    corner = wall.at(middle - size[0] / 2, low_m, off_m)
    return panel(corner, (wall.along * size[0]).tolist(), [0, size[1], 0], paint, glow=glow)


def _picture(rng: np.random.Generator, wall: _Wall, middle: float) -> list[Surface]:
    size = (float(rng.uniform(0.42, 0.58)), float(rng.uniform(0.5, 0.7)))
    low = float(rng.uniform(1.28, 1.40))
    front = paints.print_in_frame(rng, size)
    frame = box(
        wall.at(middle, low, 0.015),
        (size[0], size[1], 0.026),
        paints.plain([0.25, 0.22, 0.20]),
        turned_rad=wall.turned_rad,
        front=front,
    )
    return frame
