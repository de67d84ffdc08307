"""Loose garments, made procedurally: skirts, dresses and coats, whose lower part is a panel that swings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from bodydouble.synth.cloth import grid_faces
from bodydouble.synth.coordinates import cloth_coordinates
from bodydouble.synth.looks import Look, Material, Silhouette
from bodydouble.synth.mannequin import Mannequin, Piece
from bodydouble.synth.noise import noise_at
from bodydouble.synth.surface import Smoother, Surface, reach_around, smoothstep

_ROWS, _COLUMNS = 28, 80
_WAIST_ABOVE_HIP_M = 0.062
LOOSE = (Silhouette.SKIRT, Silhouette.DRESS, Silhouette.COAT)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The swinging part of a garment: a grid of vertices, rows downwards."""

    piece: Piece
    rows: int
    columns: int
    closed: bool
    pinned_rows: int
    clearance_m: float
    """Distance it keeps from the body."""
    colliders: Int[ndarray, " colliders"]
    """Vertices of the body that push it away: hips and legs, and the hands and forearms that brush past."""


def loose_panel(body: Mannequin, look: Look) -> Panel | None:
    """The skirt of a skirt, a dress or a coat; None if the look has no such thing."""
    if look.silhouette not in LOOSE:
        return None
    coat = look.silhouette == Silhouette.COAT
    clearance = 0.022 if coat else 0.010
    hip, ankle = body.joints["leftUpperLeg"], body.joints["leftFoot"]
    waist = hip[1] + _WAIST_ABOVE_HIP_M
    hem = body.crotch_m + look.loose_length * (ankle[1] - body.crotch_m)
    heights = np.linspace(waist, hem, _ROWS)
    # Open in front and lapped at the waist, or closed all around.
    open_rad = 0.16 * smoothstep(0.25, 1.0, np.linspace(0, 1, _ROWS)) if coat else np.zeros(_ROWS)
    turn = np.linspace(0.0, 2 * np.pi, _COLUMNS, endpoint=coat)
    azimuth = np.stack([open_rad[k] + turn * (1 - open_rad[k] / np.pi) for k in range(_ROWS)])
    # The waistband lies close, under the hem of what is worn above.
    radius = _radii(body, heights, azimuth, hip[2]) + 0.006
    radius = radius + (clearance - 0.002) * smoothstep(0.015, 0.06, waist - heights)[:, None]
    below = (waist - heights)[:, None]
    flare = (0.10 if coat else 0.22) * look.looseness
    rng_turns = 5 if coat else 8 + int(look.loose.phase * 6)
    folds = np.cos(rng_turns * azimuth + 6.28 * look.loose.phase) + 0.5 * noise_at(
        np.stack([np.cos(azimuth) * 3, np.sin(azimuth) * 3, np.broadcast_to(below * 2, azimuth.shape)], -1).reshape(
            -1, 3
        )
    ).reshape(azimuth.shape)
    radius = (
        radius
        + flare * below * smoothstep(0.0, 0.25, below)
        + (0.010 if coat else 0.026) * folds * smoothstep(0.02, 0.40, below)
    )
    if coat:  # the left front lies over the right one
        radius = radius + 0.007 * smoothstep(np.pi, 2 * np.pi, azimuth)
    points = np.stack(
        [radius * np.sin(azimuth), np.broadcast_to(heights[:, None], azimuth.shape), hip[2] + radius * np.cos(azimuth)],
        -1,
    )
    flat = points.reshape(-1, 3)
    faces = grid_faces(_ROWS, _COLUMNS, closed=not coat)
    hem_m = np.broadcast_to(np.minimum(heights - hem, 0.03)[:, None], azimuth.shape).ravel().copy()
    if coat:
        edge = np.minimum(turn, 2 * np.pi - turn)[None] * radius
        hem_m = np.minimum(hem_m, edge.ravel())
    none = np.zeros(len(flat))
    coordinates = cloth_coordinates(body, flat, on_arm=none, on_leg=none, hem_m=hem_m)
    attributes = np.concatenate([_weights(body, flat, faces), coordinates], axis=1)
    piece = Piece(
        surface=Surface(points=flat, faces=faces, attributes=attributes),
        material=np.full(len(faces), Material.LOOSE),
        covers=np.full(len(body.points), -1.0),
    )
    return Panel(
        piece=piece,
        rows=_ROWS,
        columns=_COLUMNS,
        closed=not coat,
        pinned_rows=3,
        clearance_m=clearance,
        colliders=_colliders(body, waist + 0.03, ankle[1]),
    )


def _colliders(body: Mannequin, top_m: float, bottom_m: float) -> Int[ndarray, " colliders"]:
    p = body.points[body.skin]
    below = (body.arm_share[body.skin] < 0.02) & (p[:, 1] < top_m) & (p[:, 1] > bottom_m)
    forearms = (body.arm_share[body.skin] > 0.5) & (np.abs(p[:, 0]) > abs(body.joints["leftLowerArm"][0]))
    return body.skin[below | forearms]


def _radii(body: Mannequin, heights: ndarray, azimuth: ndarray, z: float) -> Float[ndarray, "rows columns"]:
    """Reach of the body around an upright axis at each height: convex there, and never narrower further down."""
    skin = body.points[body.skin]
    skin = skin[body.arm_share[body.skin] < 0.02]
    rows = []
    for height, angles in zip(heights, azimuth, strict=True):
        near = skin[np.abs(skin[:, 1] - height) < 0.015][:, [0, 2]] - [0.0, z]
        here = reach_around(near, angles)
        rows.append(np.maximum(here, 0.992 * rows[-1]) if rows else here)
    radius = np.stack(rows)
    for _ in range(4):
        radius[1:-1] = (radius[:-2] + 2 * radius[1:-1] + radius[2:]) / 4
    return radius


def _weights(body: Mannequin, points: ndarray, faces: ndarray) -> Float[ndarray, "n bones"]:
    """Of the nearest skin, evened out: a skirt follows each thigh a little and gathers them."""
    from scipy.spatial import cKDTree

    own = body.skin[body.arm_share[body.skin] < 0.02]
    _, nearest = cKDTree(body.points[own]).query(points)
    weights = body.weights[own[nearest]]
    return Smoother(faces, len(points))(weights, 90, 0.6)
