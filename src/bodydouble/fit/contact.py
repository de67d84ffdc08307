"""Hands do not pass through each other or through the body.

Balls inside the hands are kept out of balls inside the other hand, the head, the trunk, the legs and the other arm. Each
is the largest that fits into the resting body around its place, a little smaller, so that hands may touch and press.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int

from bodydouble.body.humanoid import FINGERS, SIDES
from bodydouble.body.protocol import BodyModel
from bodydouble.fit.controls import Controls
from bodydouble.fit.evidence import controls_above
from bodydouble.fit.kinematics import Posed, node_screws, point_derivatives
from bodydouble.fit.terms import Balls, Normal, Problem, frame_spans

_FULL = 0.9
"""Radius of a ball as a share of the largest that fits: flesh gives way."""
_SIGMA_M = 0.005
_LEAST_RADIUS_M = 0.004
_SHARES = (0.2, 0.5, 0.8)
"""Places along a limb."""
_LIMBS = (("UpperLeg", "LowerLeg"), ("UpperArm", "LowerArm"), ("LowerArm", "Hand"))
_TRUNK = (("hips", "chest"), ("chest", "neck"), ("neck", "head"))


def body_balls(body: BodyModel, controls: Controls, shape: Float[np.ndarray, " shape"]) -> Balls:
    """The balls of a body of some shape. A body without fingers or without hands in its humanoid map has fewer."""
    from scipy.spatial import cKDTree

    shaped = body.with_shape(torch.as_tensor(shape, dtype=body.shape_default.dtype))
    joints = shaped.joints_rest.detach().double().numpy()
    tree = cKDTree(shaped.vertices_rest.detach().double().numpy())
    names = {human: body.bone_names.index(bone) for human, bone in body.humanoid.items() if bone in body.bone_names}
    kinds, nodes, places = [], [], []

    def along(kind: str, start: str, end: str, shares: tuple[float, ...] = _SHARES) -> None:
        if start in names and end in names:
            for share in shares:
                kinds.append(kind)
                nodes.append(controls.node_of_bone[names[start]])
                places.append((1.0 - share) * joints[names[start]] + share * joints[names[end]])

    for side in SIDES:
        for finger in FINGERS:
            segments = [f"{side}{finger}{part}" for part in ("Metacarpal", "Proximal", "Intermediate", "Distal")]
            segments = [name for name in segments if name in names]
            if segments:
                along(f"{side}_hand", f"{side}Hand", segments[0], (0.6,))
            for start, end in pairwise(segments):
                along(f"{side}_hand", start, end, (0.1, 0.6))
        for start, end in _LIMBS:
            along(f"{side}_arm" if "Arm" in start else f"{side}_leg", f"{side}{start}", f"{side}{end}")
    for start, end in _TRUNK:
        along("trunk", start, end)
    head = shaped.vertices_rest.detach().double().numpy()[_of_head(body)]
    if len(head) and "head" in names:
        kinds.append("head")
        nodes.append(controls.node_of_bone[names["head"]])
        places.append(0.5 * (head.min(0) + head.max(0)))

    centres = np.array(places).reshape(-1, 3)
    radii = _FULL * tree.query(centres)[0] if len(centres) else np.zeros(0)
    pairs = [
        (i, j)
        for i, a in enumerate(kinds)
        for j, b in enumerate(kinds)
        if _apart(a, b) and radii[i] > _LEAST_RADIUS_M and radii[j] > _LEAST_RADIUS_M
    ]
    node_joints = joints[controls.node_bones]
    return Balls(
        nodes=np.array(nodes, dtype=np.int64),
        levers=centres - node_joints[np.array(nodes, dtype=np.int64)],
        radii_m=radii,
        pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
    )


def _apart(a: str, b: str) -> bool:
    """Whether balls of kind `a`, a hand, must stay out of those of kind `b`; two hands are named once."""
    if a == "left_hand":
        return b in ("right_hand", "right_arm", "left_leg", "right_leg", "trunk", "head")
    return a == "right_hand" and b in ("left_arm", "left_leg", "right_leg", "trunk", "head")


def _of_head(body: BodyModel) -> np.ndarray:
    wanted = [i for i, name in enumerate(body.part_names) if name in ("head", "face")]
    return np.isin(body.vertex_parts.numpy(), wanted)


def add_contacts(normal: Normal, problem: Problem, balls: Balls, posed: Posed, active: Int[np.ndarray, " a"]) -> None:
    """Push apart what is inside each other: residual is the depth, per time like the priors."""
    centres = balls.centres(posed)
    depths = balls.depths_m(centres)
    touched = np.flatnonzero((depths > 0).any(1))
    if not len(touched):
        return
    pairs = np.flatnonzero((depths > 0).any(0))
    used, ends = np.unique(balls.pairs[pairs], return_inverse=True)
    ends = ends.reshape(-1, 2)
    some = Posed(posed.R[touched], posed.joints[touched], posed.rotvecs[touched])
    unique, slots = np.unique(balls.nodes[used], return_inverse=True)
    dofs = controls_above(problem.controls, unique, active)
    columns = np.concatenate([np.arange(6), 6 + np.searchsorted(active, dofs)])
    J = point_derivatives(node_screws(problem.controls, some, unique, dofs), slots, centres[touched][:, used])
    frame, pair = np.nonzero(depths[np.ix_(touched, pairs)] > 0)
    a, b = ends[pair].T
    away = centres[touched[frame], used[a]] - centres[touched[frame], used[b]]
    away /= np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-9)
    rows = np.einsum("ri,riu->ru", away, J[frame, a] - J[frame, b])
    weight = frame_spans(problem)[touched[frame]] / _SIGMA_M**2
    values = depths[touched[frame], pairs[pair]]
    for f, row, w, value in zip(touched[frame], rows, weight, values, strict=True):
        normal.blocks[f][np.ix_(columns, columns)] += w * np.outer(row, row)
        normal.gradient[f, columns] += w * value * row


def with_balls(problem: Problem, body: BodyModel, shape: Float[np.ndarray, " shape"]) -> Problem:
    """The problem with the contacts of a body of this shape."""
    return replace(problem, balls=body_balls(body, problem.controls, shape))
