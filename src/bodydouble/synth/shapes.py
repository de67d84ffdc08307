"""The pieces that scenes are built from: panels, boxes, tubes and lumps, in cells small enough to be lit by vertex."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from bodydouble.synth.noise import noise_at
from bodydouble.synth.scene import Paint, Surface, Vector


def panel(
    corner: Vector,
    right: Vector,
    up: Vector,
    paint: Paint,
    *,
    cell_m: float = 0.1,
    lines: tuple[ndarray, ndarray] | None = None,
    casts: bool = True,
    glow: float = 0.0,
) -> Surface:
    """A parallelogram, seen from the side where `right` x `up` points.

    Args:
        corner: Where it begins.
        right, up: Its two edges, metres; the paint's axes run along them.
        paint: What is on it.
        cell_m: Size of the cells it is divided into.
        lines: Where to divide it instead, as shares of the two edges, 0 to 1.
        casts, glow: As `Surface` says.
    """
    corner_, right_, up_ = (np.asarray(v, float) for v in (corner, right, up))
    lengths = float(np.linalg.norm(right_)), float(np.linalg.norm(up_))
    s, t = lines if lines is not None else tuple(_even(length, cell_m) for length in lengths)
    u, v = np.meshgrid(s, t)
    points = corner_ + u[..., None] * right_ + v[..., None] * up_
    normal = np.cross(right_, up_)
    flat = points.reshape(-1, 3)
    return Surface(
        points=flat,
        normals=np.tile(normal / np.linalg.norm(normal), (len(flat), 1)),
        faces=grid_faces(len(t), len(s)),
        uv_m=np.stack([u * lengths[0], v * lengths[1]], -1).reshape(-1, 2),
        paint=paint,
        casts=casts,
        glow=glow,
    )


def _even(length: float, cell_m: float) -> ndarray:
    return np.linspace(0.0, 1.0, max(2, int(np.ceil(length / cell_m)) + 1))


def grid_faces(rows: int, columns: int) -> Int[ndarray, "faces 3"]:
    """Triangles of a grid of vertices, counter-clockwise where columns run right and rows run up."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a, b = (i * columns + j).ravel(), (i * columns + j + 1).ravel()
    c, d = ((i + 1) * columns + j + 1).ravel(), ((i + 1) * columns + j).ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def box(
    middle: Vector,
    size: Vector,
    paint: Paint,
    *,
    turned_rad: float = 0.0,
    front: Paint | None = None,
    top: Paint | None = None,
    cell_m: float = 0.12,
) -> list[Surface]:
    """A box on its bottom, which is left out.

    Args:
        middle: Centre of the bottom.
        size: Along x, y and z before it is turned.
        paint: Of the sides.
        turned_rad: About +Y, counter-clockwise seen from above.
        front, top: Other paints for the side that faces +Z before turning, and for the top.
        cell_m: As for `panel`.
    """
    w, h, d = size
    c, s = np.cos(turned_rad), np.sin(turned_rad)
    R = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    base = np.asarray(middle, float)

    def side(corner: Vector, right: Vector, up: Vector, paint: Paint) -> Surface:
        return panel((base + R @ corner).tolist(), (R @ right).tolist(), (R @ up).tolist(), paint, cell_m=cell_m)

    return [
        side([-w / 2, 0, d / 2], [w, 0, 0], [0, h, 0], front or paint),
        side([w / 2, 0, -d / 2], [-w, 0, 0], [0, h, 0], paint),
        side([w / 2, 0, d / 2], [0, 0, -d], [0, h, 0], paint),
        side([-w / 2, 0, -d / 2], [0, 0, d], [0, h, 0], paint),
        side([-w / 2, h, d / 2], [w, 0, 0], [0, 0, -d], top or paint),
    ]


def tube(
    foot: Vector,
    rings: Sequence[tuple[float | int, float | int]],
    paint: Paint,
    *,
    around: int = 14,
    cell_m: float = 0.25,
) -> Surface:
    """A body of revolution about a vertical axis.

    Args:
        foot: Where the axis begins.
        rings: Height over the foot and radius of its outline, from below upwards.
        paint: Of its side; the paint's width runs around.
        around: Corners of each ring.
        cell_m: Longer pieces are divided.
    """
    heights, radii = np.array([r[0] for r in rings]), np.array([r[1] for r in rings])
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(heights), np.diff(radii)))])
    at = np.unique(np.concatenate([length, np.arange(0, length[-1], cell_m)]))
    h, r = np.interp(at, length, heights), np.interp(at, length, radii)
    angle = np.linspace(0, 2 * np.pi, around + 1)
    outward = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], 1)
    points = np.asarray(foot, float) + r[:, None, None] * outward + h[:, None, None] * [0.0, 1.0, 0.0]
    slope = np.gradient(r, at) if len(at) > 1 else np.zeros_like(r)
    normals = outward - slope[:, None, None] * [0.0, 1.0, 0.0]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    u = np.broadcast_to(angle / (2 * np.pi) * 2 * np.pi * max(float(r.max()), 0.02), (len(at), around + 1))
    v = np.broadcast_to(at[:, None], u.shape)
    return Surface(
        points=points.reshape(-1, 3),
        normals=normals.reshape(-1, 3),
        faces=grid_faces(len(at), around + 1),
        uv_m=np.stack([u, v], -1).reshape(-1, 2),
        paint=paint,
    )


def lump(
    middle: Vector,
    radii: Vector,
    paint: Paint,
    *,
    rough: float = 0.25,
    rows: int = 13,
    seed: float = 0.0,
) -> Surface:
    """A bumpy ellipsoid: a bush, the crown of a tree, a cushion.

    Args:
        middle: Its centre.
        radii: Along x, y and z.
        paint: Wrapped around it.
        rough: Height of the bumps as a share of the radius.
        rows: Rings from pole to pole.
        seed: Another number gives other bumps.
    """
    columns = 2 * rows
    polar, angle = np.linspace(np.pi - 0.02, 0.02, rows), np.linspace(0, 2 * np.pi, columns + 1)
    ball = np.stack(
        [
            np.sin(polar)[:, None] * np.sin(angle),
            np.broadcast_to(np.cos(polar)[:, None], (rows, columns + 1)),
            np.sin(polar)[:, None] * np.cos(angle),
        ],
        -1,
    )
    ball[:, -1] = ball[:, 0]
    flat = ball.reshape(-1, 3)
    bumps = noise_at(flat * 2.3 + seed) + 0.6 * noise_at(flat * 5.1 + seed + 7.0)
    scale = np.asarray(radii, float)
    points = np.asarray(middle, float) + flat * scale * (1 + rough * bumps)[:, None]
    faces = grid_faces(rows, columns + 1)
    reach = float(scale.mean())
    uv = np.stack(np.broadcast_arrays(angle[None] * reach, (np.pi - polar)[:, None] * reach), -1)
    from bodydouble.core.normals import vertex_normals_array

    normals = vertex_normals_array(points, faces).reshape(rows, columns + 1, 3)
    seam = normals[:, 0] + normals[:, -1]
    normals[:, 0] = normals[:, -1] = seam / np.linalg.norm(seam, axis=1, keepdims=True)
    return Surface(points=points, normals=normals.reshape(-1, 3), faces=faces, uv_m=uv.reshape(-1, 2), paint=paint)
