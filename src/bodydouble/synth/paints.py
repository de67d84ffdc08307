"""Paints: wood, plaster, cloth, stone, leaves, sky. Each is a function of the place in metres; colours are sRGB."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bodydouble.synth.noise import noise_at
from bodydouble.synth.scene import Paint, Vector

Color = Callable[[Float[ndarray, "n 2"]], Float[ndarray, "n 3"]]


def space(p: ndarray, *scale: float | int, shift: float = 0.0) -> Float[ndarray, " n"]:
    """Noise at places of a plane, stretched by a scale for each axis."""
    return noise_at(np.stack([p[:, 0] * scale[0], p[:, 1] * scale[-1], np.full(len(p), shift)], 1))


def _hash(*values: ndarray) -> ndarray:
    """A number in [-1, 1] for each combination of whole numbers."""
    total = np.zeros(np.broadcast_shapes(*(np.shape(v) for v in values)))
    for k, value in enumerate(values):
        total = total + np.asarray(value) * (12.9898 + 65.233 * k)
    part = np.sin(total) * 43758.5453
    return 2 * (part - np.floor(part)) - 1


def seamless(color: Color, size_m: tuple[float, float], band: float = 0.18) -> Color:
    """The same paint, blended near two of its edges so that it can be repeated."""

    def blended(p: ndarray) -> ndarray:
        out = color(p)
        for axis in (0, 1):
            width = band * size_m[axis]
            near = np.flatnonzero(p[:, axis] < width)
            if len(near):
                moved = p[near].copy()
                share = (moved[:, axis] / width)[:, None]
                moved[:, axis] += size_m[axis]
                other = color(moved)
                if axis == 1:  # the other edge's own blending along the first axis
                    left = np.flatnonzero(moved[:, 0] < band * size_m[0])
                    corner = moved[left].copy()
                    corner[:, 0] += size_m[0]
                    t = (moved[left, 0] / (band * size_m[0]))[:, None]
                    other[left] = color(corner) * (1 - t) + other[left] * t
                out[near] = other * (1 - share) + out[near] * share
        return out

    return blended


def plain(rgb: Vector, grain: float = 0.03, scale: float | int = 60) -> Paint:
    """One colour with a little grain."""

    def color(p: ndarray) -> ndarray:
        return np.array(rgb) * (1 + grain * (space(p, scale) + 0.5 * space(p, 4 * scale)))[:, None]

    return Paint(seamless(color, (0.6, 0.6)), (0.6, 0.6))


def planks(rgb: Vector, size_m: tuple[float, float], board_m: float = 0.13) -> Paint:
    """A floor of boards along the second axis."""

    def color(p: ndarray) -> ndarray:
        row = np.floor(p[:, 0] / board_m)
        offset = row * 0.37 - np.floor(row * 0.37)
        board = np.floor(p[:, 1] / 1.1 + offset)
        tone = _hash(row, board)
        grain = space(p, 70, 5, shift=3.0) + 0.5 * space(p, 220, 12, shift=9.0)
        out = np.array(rgb) * (1 + 0.09 * tone + 0.055 * grain)[:, None]
        across = np.abs(p[:, 0] / board_m - np.round(p[:, 0] / board_m)) * board_m
        along = np.abs(p[:, 1] / 1.1 + offset - np.round(p[:, 1] / 1.1 + offset)) * 1.1
        return out * np.where((across < 0.0022) | (along < 0.0025), 0.55, 1.0)[:, None]

    return Paint(color, size_m)


def rug(rgb: Vector, second: Vector, size_m: tuple[float, float]) -> Paint:
    """A woven rug with a border and a field of diamonds."""

    def color(p: ndarray) -> ndarray:
        edge = np.minimum(np.minimum(p[:, 0], size_m[0] - p[:, 0]), np.minimum(p[:, 1], size_m[1] - p[:, 1]))
        a = np.abs((p[:, 0] / 0.32) % 1 - 0.5) + np.abs((p[:, 1] / 0.44) % 1 - 0.5)
        second_ = (np.abs(a - 0.38) < 0.07) | ((edge > 0.07) & (edge < 0.13)) | (a < 0.10)
        out = np.where(second_[:, None], np.array(second), np.array(rgb))
        weave = 0.06 * space(p, 260, 420) + 0.04 * space(p, 40, 60)
        return out * (1 + weave)[:, None]

    return Paint(color, size_m)


def wall(rgb: Vector, size_m: tuple[float, float], *, panelled: bool) -> Paint:
    """Plaster over a skirting board, perhaps with a panelled lower half; the second axis is the height."""

    def color(p: ndarray) -> ndarray:
        height = p[:, 1]
        plaster = 0.016 * space(p, 45) + 0.022 * space(p, 3, shift=1.0) + 0.012 * space(p, 150, shift=5.0)
        out = np.array(rgb) * (1 + plaster)[:, None]
        trim = height < 0.11
        edge = np.abs(height - 0.107) < 0.004
        if panelled:
            stripes = np.where(np.floor(p[:, 0] / 0.055) % 2 == 0, 1.0, 0.94)
            out = np.where((height < 0.92)[:, None], out * 0.88 * stripes[:, None], out)
            trim |= np.abs(height - 0.93) < 0.022
            edge |= np.abs(np.abs(height - 0.93) - 0.020) < 0.003
        return np.where(trim[:, None], np.array([0.86, 0.85, 0.82]) * np.where(edge, 0.8, 1.0)[:, None], out)

    return Paint(color, size_m)


def print_in_frame(rng: np.random.Generator, size_m: tuple[float, float]) -> Paint:
    """An abstract print behind glass, with its frame."""
    half = np.array(size_m) / 2
    shapes = [
        (
            rng.uniform(-0.7, 0.7, 2),
            rng.uniform(0.15, 0.5),
            np.eye(2) if rng.random() < 0.5 else rng.normal(size=(2, 2)),
            rng.random() < 0.5,
            0.5 * rng.uniform(0.1, 0.95, 3) + 0.5 * rng.uniform(0.15, 0.8),
        )
        for _ in range(6)
    ]
    ground, frame = rng.uniform(0.72, 0.92, 3), rng.uniform(0.14, 0.30) * np.array([1.1, 1.0, 0.9])

    def color(p: ndarray) -> ndarray:
        local = (p - half) / half
        out = np.tile(ground, (len(p), 1))
        for middle, radius, skew, is_round, rgb in shapes:
            offset = (local - middle) @ skew
            inside = np.hypot(*offset.T) < radius if is_round else np.abs(offset).max(1) < radius
            out[inside] = rgb
        edge = np.minimum(np.minimum(p[:, 0], size_m[0] - p[:, 0]), np.minimum(p[:, 1], size_m[1] - p[:, 1]))
        out[edge < 0.065] = [0.93, 0.92, 0.89]
        out[edge < 0.022] = frame
        return out

    return Paint(color, size_m)


def books(rng: np.random.Generator, size_m: tuple[float, float], board_rgb: Vector) -> Paint:
    """The open front of a bookcase: boards, and books of many colours."""
    shelves = max(2, round(size_m[1] / 0.33))
    row_m = size_m[1] / shelves
    edges, colors, heights = [], [], []
    for _ in range(shelves):
        at = np.cumsum(rng.uniform(0.018, 0.05, int(size_m[0] / 0.018) + 2))
        edges.append(at)
        hue = rng.uniform(0.15, 0.62, (len(at) + 1, 3))
        colors.append(0.55 * hue + 0.45 * hue.mean(1, keepdims=True) * [1.12, 1.0, 0.86])
        heights.append(np.where(rng.random(len(at) + 1) < 0.12, 0.0, rng.uniform(0.60, 0.90, len(at) + 1)))

    def color(p: ndarray) -> ndarray:
        row = np.clip((p[:, 1] / row_m).astype(int), 0, shelves - 1)
        h = p[:, 1] / row_m - row
        out = np.empty((len(p), 3))
        for k in range(shelves):
            here = row == k
            number = np.searchsorted(edges[k], p[here, 0])
            book = colors[k][number]
            spine = np.abs(h[here] - 0.62) < 0.05
            book = np.where(spine[:, None], 0.75 * book + 0.22, book)
            near = np.abs(p[here, 0] - edges[k][np.minimum(number, len(edges[k]) - 1)]) < 0.003
            book = book * np.where(near, 0.55, 1.0)[:, None]
            out[here] = np.where((h[here] < heights[k][number])[:, None], book, 0.07)
        edge = np.minimum(p[:, 0], size_m[0] - p[:, 0])
        board = (h < 0.07) | (edge < 0.025) | (p[:, 1] > size_m[1] - 0.03)
        grain = 1 + 0.05 * space(p, 30, 200)
        return np.where(board[:, None], np.array(board_rgb) * grain[:, None], out)

    return Paint(color, size_m)


def wood(rgb: Vector, size_m: tuple[float, float] = (1.2, 1.2)) -> Paint:
    """Veneer with its grain along the first axis."""

    def color(p: ndarray) -> ndarray:
        grain = space(p, 4, 60) + 0.6 * space(p, 14, 240, shift=4.0)
        return np.array(rgb) * (1 + 0.08 * grain)[:, None]

    return Paint(seamless(color, size_m), size_m)


def drawers(rgb: Vector, size_m: tuple[float, float], count: int) -> Paint:
    """A front of doors side by side, with knobs."""

    def color(p: ndarray) -> ndarray:
        width = size_m[0] / count
        u, v = p[:, 0] % width, p[:, 1]
        out = np.array(rgb) * (1 + 0.06 * space(p, 5, 70) + 0.03 * space(p, 14, 240))[:, None]
        gap = (np.minimum(u, width - u) < 0.004) | (np.minimum(v, size_m[1] - v) < 0.012)
        knob = np.hypot(u - width / 2, v - 0.72 * size_m[1]) < 0.016
        out = np.where(gap[:, None], out * 0.5, out)
        return np.where(knob[:, None], [0.82, 0.76, 0.62], out)

    return Paint(color, size_m)


def woven(rgb: Vector) -> Paint:
    """Upholstery."""

    def color(p: ndarray) -> ndarray:
        thread = np.where(((p[:, 0] // 0.006) + (p[:, 1] // 0.006)) % 2 == 0, 1.0, 0.90)
        return np.array(rgb) * (thread * (1 + 0.05 * space(p, 25) + 0.05 * space(p, 200)))[:, None]

    return Paint(seamless(color, (0.72, 0.72)), (0.72, 0.72))


def window_view(rng: np.random.Generator, size_m: tuple[float, float]) -> Paint:
    """A bright window: bars, sky, and something green below."""
    ridge = rng.uniform(0, 50)

    def color(p: ndarray) -> ndarray:
        u, v = p[:, 0] / size_m[0], p[:, 1] / size_m[1]
        sky = np.array([0.80, 0.89, 0.97]) + (0.10 * v)[:, None] * np.array([-0.9, -0.3, 0.2])
        cloud = np.clip(space(p, 3, 6, shift=ridge), 0, 1)
        sky = sky + cloud[:, None] * (0.98 - sky) * 0.8
        tree = v < 0.30 + 0.07 * space(np.stack([u * 3, u * 0], 1), 1.0, shift=ridge) + 0.03 * space(p, 22)
        leaf = np.array([0.45, 0.58, 0.36]) * (1 + 0.22 * space(p, 40) + 0.15 * space(p, 110))[:, None]
        out = np.where(tree[:, None], leaf, sky)
        bar = (np.abs(u - 0.5) < 0.028 / size_m[0]) | (np.abs(v - 0.62) < 0.024 / size_m[1])
        edge = np.minimum(np.minimum(p[:, 0], size_m[0] - p[:, 0]), np.minimum(p[:, 1], size_m[1] - p[:, 1])) < 0.055
        return np.where((bar | edge)[:, None], np.array([0.90, 0.90, 0.88]), out)

    return Paint(color, size_m)


def door(rgb: Vector, size_m: tuple[float, float]) -> Paint:
    """A panelled door in its frame."""

    def color(p: ndarray) -> ndarray:
        edge = np.minimum(np.minimum(p[:, 0], size_m[0] - p[:, 0]), size_m[1] - p[:, 1])
        out = np.array(rgb) * (1 + 0.02 * space(p, 8, 90))[:, None]
        u, v = np.abs(p[:, 0] / size_m[0] - 0.5), p[:, 1] / size_m[1]
        for low, high in ((0.08, 0.42), (0.50, 0.90)):
            inset = np.maximum(u - 0.27, np.maximum(low - v, v - high) * size_m[1] / size_m[0])
            out = np.where((np.abs(inset) < 0.012)[:, None], out * 0.78, out)
        knob = np.hypot(p[:, 0] - 0.86 * size_m[0], p[:, 1] - 1.02) < 0.028
        out = np.where(knob[:, None], [0.72, 0.66, 0.50], out)
        return np.where(
            (edge < 0.07)[:, None], np.array([0.88, 0.87, 0.84]) * np.where(edge > 0.062, 0.75, 1.0)[:, None], out
        )

    return Paint(color, size_m)


def paving(rgb: Vector, slab_m: float = 0.40) -> Paint:
    """Stone slabs, eight by eight before they repeat."""
    size = (8 * slab_m, 8 * slab_m)

    def color(p: ndarray) -> ndarray:
        row = np.floor(p[:, 1] / slab_m)
        shifted = p[:, 0] / slab_m + 0.5 * (row % 2)
        column = np.floor(shifted) % 8
        tone = _hash(row % 8, column)
        stone = (
            1 + 0.07 * tone + 0.05 * space(p, 120) + 0.05 * space(p, 420, shift=2.0) + 0.03 * space(p, 14, shift=8.0)
        )
        out = np.array(rgb) * stone[:, None] * (1 + 0.03 * _hash(column, row % 8 + 3.0)[:, None] * [1, 0, -1])
        gap = np.minimum(np.abs(shifted - np.round(shifted)), np.abs(p[:, 1] / slab_m - np.round(p[:, 1] / slab_m)))
        return out * np.where(gap * slab_m < 0.004, 0.55, 1.0)[:, None]

    return Paint(color, size)


def bricks(rgb: Vector) -> Paint:
    """A wall of bricks in stretcher bond."""
    long_m, high_m = 0.225, 0.075
    size = (10 * long_m, 12 * high_m)

    def color(p: ndarray) -> ndarray:
        row = np.floor(p[:, 1] / high_m)
        shifted = p[:, 0] / long_m + 0.5 * (row % 2)
        column = np.floor(shifted) % 10
        tone = _hash(row % 12, column)
        out = np.array(rgb) * (1 + 0.14 * tone + 0.08 * space(p, 90) + 0.06 * space(p, 300))[:, None]
        joint = np.minimum(
            np.abs(shifted - np.round(shifted)) * long_m,
            np.abs(p[:, 1] / high_m - np.round(p[:, 1] / high_m)) * high_m,
        )
        return np.where(
            (joint < 0.005)[:, None], np.array([0.66, 0.63, 0.58]) * (1 + 0.05 * space(p, 200))[:, None], out
        )

    return Paint(color, size)


def grass(rgb: Vector) -> Paint:
    """A lawn."""

    def color(p: ndarray) -> ndarray:
        blades = space(p, 90, 60) + 0.7 * space(p, 240, 170, shift=3.0)
        tufts = space(p, 9, shift=5.0) + 0.6 * space(p, 24, shift=7.0)
        out = np.array(rgb) * (1 + 0.20 * blades + 0.12 * tufts)[:, None]
        return out * (1 + 0.05 * tufts[:, None] * [1.0, 0.2, -0.6])

    return Paint(seamless(color, (2.6, 2.6)), (2.6, 2.6), 0.002)


def leaves(rgb: Vector) -> Paint:
    """Foliage seen from a little way off."""

    def color(p: ndarray) -> ndarray:
        big = space(p, 14) + 0.8 * space(p, 34, shift=3.0)
        small = space(p, 80, shift=6.0)
        tone = 0.72 + 0.34 * big + 0.26 * small
        out = np.array(rgb) * np.clip(tone, 0.18, 1.6)[:, None]
        return out * (1 + 0.10 * np.clip(small, 0, 1)[:, None] * [1.0, 0.6, -0.5])

    return Paint(seamless(color, (1.7, 1.7)), (1.7, 1.7), 0.003)


def bark(rgb: Vector) -> Paint:
    """The bark of a tree."""

    def color(p: ndarray) -> ndarray:
        ridge = space(p, 60, 7) + 0.6 * space(p, 140, 22, shift=2.0)
        return np.array(rgb) * (1 + 0.30 * ridge)[:, None]

    return Paint(seamless(color, (0.9, 1.6)), (0.9, 1.6), 0.003)


def facade(rng: np.random.Generator, rgb: Vector) -> Paint:
    """Four storeys of four windows, before they repeat."""
    bay_m, storey_m = float(rng.uniform(2.2, 3.0)), float(rng.uniform(2.9, 3.4))
    size = (4 * bay_m, 4 * storey_m)
    wide, tall = float(rng.uniform(0.42, 0.60)), float(rng.uniform(0.45, 0.60))

    def color(p: ndarray) -> ndarray:
        column, row = np.floor(p[:, 0] / bay_m), np.floor(p[:, 1] / storey_m)
        u, v = p[:, 0] / bay_m - column - 0.5, p[:, 1] / storey_m - row - 0.52
        out = np.array(rgb) * (1 + 0.05 * space(p, 1.3) + 0.05 * space(p, 9, shift=3.0))[:, None]
        out = np.where((p[:, 1] / storey_m - row < 0.05)[:, None], out * 0.86, out)
        frame = (np.abs(u) < wide / 2 + 0.04) & (np.abs(v) < tall / 2 + 0.03)
        glass = (np.abs(u) < wide / 2) & (np.abs(v) < tall / 2) & (np.abs(u) > 0.012)
        shine = np.clip(
            0.30 + 0.22 * _hash(column, row) + 0.30 * (v / tall) + 0.12 * space(p, 1.1, shift=6.0), 0.05, 0.9
        )
        out = np.where(frame[:, None], np.array([0.86, 0.85, 0.82]), out)
        return np.where(glass[:, None], shine[:, None] * np.array([0.78, 0.92, 1.05]), out)

    return Paint(color, size, 0.01)


def sky(rng: np.random.Generator) -> Paint:
    """The dome: azimuth times elevation, radians, from a little below the horizon up."""
    size = (2 * np.pi, 1.75)
    shift = rng.uniform(0, 90)
    cover = rng.uniform(-0.05, 0.22)

    def color(p: ndarray) -> ndarray:
        up = np.clip((p[:, 1] - 0.15) / 1.5, 0, 1)
        blue = np.array([0.80, 0.88, 0.95]) + np.sqrt(up)[:, None] * (np.array([0.36, 0.58, 0.86]) - [0.80, 0.88, 0.95])
        flat = np.stack([p[:, 0] * 2.2, p[:, 1] * 5.0], 1)
        cloud = (
            space(flat, 1.0, shift=shift)
            + 0.55 * space(flat, 2.3, shift=shift + 3)
            + 0.3 * space(flat, 5.1, shift=shift + 7)
        )
        cloud += 0.16 * space(flat, 11.0, shift=shift + 1)
        share = np.clip((cloud - cover) / 0.75, 0, 1) * np.clip(p[:, 1] / 0.35 - 0.2, 0.25, 1)
        white = 0.985 - 0.10 * np.clip(cloud - 0.7, 0, 1)
        return blue + share[:, None] * (white[:, None] - blue)

    return Paint(seamless(color, size, 0.12), size, 0.003)
