"""Coordinates that make patterns sit on cloth as on something sewn: sleeves have their own, and hems are known.

A point's texture coordinates are its place in the frame of the limb it covers (across, along, towards the front, metres),
then how far it is from the next hem, whether it is on a limb (1) or the trunk (0), and the radius at which the pattern
runs around. Between sleeve and trunk the flag passes through 1/2: that line is drawn as the seam it is.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from bodydouble.synth.mannequin import Mannequin
from bodydouble.synth.surface import boundary_edges

_TRUNK_RADIUS_M, _ARM_RADIUS_M, _LEG_RADIUS_M = 0.16, 0.055, 0.09


def cloth_coordinates(
    body: Mannequin,
    points: Float[ndarray, "n 3"],
    *,
    on_arm: Float[ndarray, " n"],
    on_leg: Float[ndarray, " n"],
    hem_m: Float[ndarray, " n"],
) -> Float[ndarray, "n 7"]:
    """Texture coordinates of a garment in the rest pose.

    Args:
        on_arm, on_leg: 1 where a sleeve or a trouser leg is, 0 elsewhere.
        hem_m: Distance to the next hem.
    """
    hips = body.joints["hips"]
    out = np.zeros((len(points), 7))
    out[:, :3] = points - [0.0, 0.0, hips[2]]
    out[:, 3], out[:, 5] = hem_m, _TRUNK_RADIUS_M
    for side, here in (("left", points[:, 0] > 0), ("right", points[:, 0] <= 0)):
        arm = here & (on_arm > 0.5)
        chain = [body.joints[f"{side}{name}"] for name in ("UpperArm", "LowerArm", "Hand")]
        out[arm, :3] = along_chain(points[arm], chain)
        leg = here & (on_leg > 0.5) & ~arm
        chain = [body.joints[f"{side}{name}"] for name in ("UpperLeg", "LowerLeg", "Foot")]
        local = along_chain(points[leg], chain)
        out[leg, :3] = np.stack([points[leg, 0] - chain[0][0], -local[:, 1] + chain[0][1], local[:, 2]], 1)
        out[arm, 4], out[arm, 5] = 1.0, _ARM_RADIUS_M
        out[leg, 4], out[leg, 5] = 1.0, _LEG_RADIUS_M
    return out


def along_chain(points: Float[ndarray, "n 3"], chain: list[ndarray]) -> Float[ndarray, "n 3"]:
    """Place of points around a bent limb: up or out of its axis, along it from its first joint, and to the front.

    Args:
        chain: The limb's three joints, from the trunk outwards.
    """
    first, middle, last = chain
    upper, lower = middle - first, last - middle
    length = float(np.linalg.norm(upper))
    beyond = (points - middle) @ (lower / np.linalg.norm(lower)) > 0
    out = np.empty_like(points)
    for here, origin, axis, start in ((~beyond, first, upper, 0.0), (beyond, middle, lower, length)):
        axis = axis / np.linalg.norm(axis)
        front = np.array([0.0, 0.0, 1.0]) - axis * axis[2]
        front /= np.linalg.norm(front)
        away = points[here] - origin
        out[here] = np.stack([away @ np.cross(front, axis), start + away @ axis, away @ front], 1)
    return out


def hem_distance(points: Float[ndarray, "n 3"], faces: Int[ndarray, "f 3"], limit_m: float) -> Float[ndarray, " n"]:
    """Way along the edges to the border of the mesh, metres, at most `limit_m`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    border = np.unique(boundary_edges(faces))
    if not len(border):
        return np.full(len(points), limit_m)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    graph = coo_array((lengths, (edges[:, 0], edges[:, 1])), (len(points), len(points))).tocsr()
    away = dijkstra(graph, directed=False, indices=border, limit=limit_m, min_only=True)
    return np.minimum(away, limit_m)
