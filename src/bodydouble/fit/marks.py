"""Marks: points of a body by which a posed one is recognised, each with its place at rest and the bones that carry it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bodydouble.body.protocol import BodyModel
from bodydouble.core.errors import InputError
from bodydouble.fit.controls import Controls
from bodydouble.fit.kinematics import Posed, Rest, Screws, node_screws, point_derivatives
from bodydouble.fit.landmarks import LandmarkModel, build_landmarks

_LEAST_WEIGHT = 0.03
"""Smaller shares of skinning are left out; they move a point by less than they cost."""


@dataclass(frozen=True)
class Marks:
    """Points of a body."""

    model: LandmarkModel
    """Their places at rest."""
    bones: Int[np.ndarray, "points k"]
    weights: Float[np.ndarray, "points k"]
    """Linear blend skinning; rows sum to 1."""


def landmark_marks(body: BodyModel, names: tuple[str, ...]) -> tuple[Marks, Int[np.ndarray, " known"]]:
    """Landmarks of a body by name, each on one bone.

    Args:
        body: The body.
        names: As in `Observations`; names that the body has no landmark for are passed over.
    Returns:
        The marks, and which of `names` they are.
    Raises:
        InputError: When fewer than four names are known.
    """
    full = build_landmarks(body)
    known = np.array([i for i, name in enumerate(names) if name in full.names], dtype=np.int64)
    if len(known) < 4:
        raise InputError(f"Of the points {', '.join(names[:8])} fewer than four are landmarks of a body.")
    rows = np.array([full.names.index(names[i]) for i in known])
    chosen = LandmarkModel(
        tuple(full.names[r] for r in rows), full.bones[rows], full.joint_weights[rows], full.vertex_ids,
        full.vertex_weights[rows], full.offsets[rows],
    )  # fmt: skip
    return Marks(chosen, chosen.bones[:, None], np.ones((len(rows), 1))), known


def surface_marks(
    body: BodyModel, corners: Int[np.ndarray, "points m"], shares: Float[np.ndarray, "points m"] | None = None
) -> Marks:
    """Points of a body's surface.

    Args:
        body: The body.
        corners: Vertices of each point; one for the vertices themselves, three for points within triangles.
        shares: Barycentric coordinates; rows sum to 1. Left out for single vertices.
    """
    shares = np.ones(corners.shape) if shares is None else shares
    ids, place = np.unique(corners, return_inverse=True)
    place = place.reshape(corners.shape)
    points = len(corners)
    vertex_weights = np.zeros((points, len(ids)))
    np.add.at(vertex_weights, (np.arange(points)[:, None], place), shares)
    joints, skin = body.skin_joints.numpy(), body.skin_weights.double().numpy()
    dense = np.zeros((points, len(body.bone_names)))
    for m in range(corners.shape[1]):
        np.add.at(dense, (np.arange(points)[:, None], joints[corners[:, m]]), shares[:, m, None] * skin[corners[:, m]])
    k = max(1, int((dense > _LEAST_WEIGHT).sum(1).max()))
    bones = np.argsort(-dense, axis=1)[:, :k]
    weights = np.take_along_axis(dense, bones, 1)
    weights = np.where(weights > _LEAST_WEIGHT, weights, 0.0)
    model = LandmarkModel(
        tuple(f"surface/{i}" for i in range(points)), bones[:, 0], np.zeros((points, dense.shape[1])), ids,
        vertex_weights, np.zeros((points, 3)),
    )  # fmt: skip
    return Marks(model, bones, weights / weights.sum(1, keepdims=True))


@dataclass(frozen=True)
class Carried:
    """Which node carries which mark by how much, a row for each pair that matters; marks in order."""

    points: Int[np.ndarray, " pairs"]
    nodes: Int[np.ndarray, " pairs"]
    weights: Float[np.ndarray, " pairs"]
    starts: Int[np.ndarray, " points"]

    @staticmethod
    def of(marks: Marks, controls: Controls) -> Carried:
        """By the nodes of a restricted skeleton: bones without controls move with the nearest node above."""
        count, nodes = len(marks.bones), len(controls.node_bones)
        dense = np.zeros((count, nodes))
        np.add.at(dense, (np.arange(count)[:, None], controls.node_of_bone[marks.bones]), marks.weights)
        points, carriers = np.nonzero(dense)
        return Carried(points, carriers, dense[points, carriers], np.searchsorted(points, np.arange(count)))

    def place(self, posed: Posed, rest: Rest) -> tuple[np.ndarray, np.ndarray]:
        """Where each carrier alone would put its mark, and where the marks are: [frames, pairs | points, 3]."""
        lever = rest.points[self.points] - rest.joints[self.nodes]
        alone = posed.joints[:, self.nodes] + np.einsum("fpij,pj->fpi", posed.R[:, self.nodes], lever)
        return alone, self.summed(alone * self.weights[:, None])

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Sums over the carriers of each mark, along axis 1."""
        return np.add.reduceat(values, self.starts, axis=1)

    def derivatives(self, controls: Controls, posed: Posed, alone: np.ndarray, dofs: np.ndarray) -> np.ndarray:
        """Of the marks' places by root rotation, root translation and controls: [frames, points, 3, unknowns]."""
        unique, slots = np.unique(self.nodes, return_inverse=True)
        screws: Screws = node_screws(controls, posed, unique, dofs)
        return self.summed(point_derivatives(screws, slots, alone) * self.weights[:, None, None])

    def shape_derivatives(self, controls: Controls, posed: Posed, rest: Rest) -> np.ndarray:
        """Of the marks' places by the shape, poses kept: [frames, points, 3, shape]."""
        dj = rest.joints_by_shape
        moved = np.empty((len(posed.R), len(dj), 3, dj.shape[-1]))
        moved[:, 0] = dj[0]
        for n in range(1, len(dj)):
            q = controls.node_parents[n]
            moved[:, n] = moved[:, q] + posed.R[:, q] @ (dj[n] - dj[q])
        lever = rest.points_by_shape[self.points] - dj[self.nodes]
        return self.summed((moved[:, self.nodes] + posed.R[:, self.nodes] @ lever) * self.weights[:, None, None])
