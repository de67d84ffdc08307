"""Forward kinematics of the restricted skeleton for all frames at once, with exact derivatives of its points.

NumPy in double precision: the solver needs normal equations, not a tape. World frame: +Y up, camera at the origin
looking along -Z (core.cameras.video_camera).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from bodydouble.fit.controls import Controls


def exp_so3(rotvec: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Rotation matrices by Rodrigues' formula."""
    angle_sq = (rotvec * rotvec).sum(-1)
    small = angle_sq < 1e-10
    angle = np.sqrt(np.where(small, 1.0, angle_sq))
    s = np.where(small, 1.0 - angle_sq / 6.0, np.sin(angle) / angle)[..., None, None]
    c = np.where(small, 0.5 - angle_sq / 24.0, (1.0 - np.cos(angle)) / angle**2)[..., None, None]
    K = hat(rotvec)
    return np.eye(3) + s * K + c * (K @ K)


def left_jacobian(rotvec: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """J with exp(r + d) ~ exp(J d) exp(r)."""
    angle_sq = (rotvec * rotvec).sum(-1)
    small = angle_sq < 1e-8
    angle = np.sqrt(np.where(small, 1.0, angle_sq))
    b = np.where(small, 0.5 - angle_sq / 24.0, (1.0 - np.cos(angle)) / angle**2)[..., None, None]
    c = np.where(small, 1.0 / 6.0 - angle_sq / 120.0, (angle - np.sin(angle)) / angle**3)[..., None, None]
    K = hat(rotvec)
    return np.eye(3) + b * K + c * (K @ K)


def hat(v: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Cross-product matrices."""
    zero = np.zeros_like(v[..., 0])
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape[:-1], 3, 3)


def log_so3(R: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Rotation vectors of at most pi."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(R.reshape(-1, 3, 3)).as_rotvec().reshape(*R.shape[:-2], 3)


def unwrap_rotvecs(rotvecs: Float[np.ndarray, "frames *rest 3"]) -> Float[np.ndarray, "frames *rest 3"]:
    """The same rotations, each written as the rotation vector that is nearest to the one of the frame before."""
    out = np.array(rotvecs, dtype=np.float64)
    for f in range(1, len(out)):
        r, previous = out[f], out[f - 1]
        angle = np.linalg.norm(r, axis=-1, keepdims=True)
        axis = np.where(angle > 1e-9, r / np.maximum(angle, 1e-9), 0.0)
        along = (previous * axis).sum(-1, keepdims=True)
        turns = np.round((along - angle) / (2.0 * np.pi))
        out[f] = r + np.where(angle > 1e-9, turns * 2.0 * np.pi, 0.0) * axis
    return out


@dataclass(frozen=True)
class Rest:
    """Rest geometry of one shape: what the skeleton and its points are before posing."""

    joints: Float[np.ndarray, "nodes 3"]
    points: Float[np.ndarray, "points 3"]
    joints_by_shape: Float[np.ndarray, "nodes 3 shape"]
    points_by_shape: Float[np.ndarray, "points 3 shape"]


@dataclass(frozen=True)
class Posed:
    """All nodes of all frames: rotation since rest, joint position, and the rotation vectors that made them."""

    R: Float[np.ndarray, "frames nodes 3 3"]
    joints: Float[np.ndarray, "frames nodes 3"]
    rotvecs: Float[np.ndarray, "frames nodes 3"]


def pose_nodes(
    controls: Controls,
    rest_joints: Float[np.ndarray, "nodes 3"],
    R_root: Float[np.ndarray, "frames 3 3"],
    translation: Float[np.ndarray, "frames 3"],
    theta: Float[np.ndarray, "frames controls"],
) -> Posed:
    """Pose the skeleton's nodes.

    Returns:
        Rotations and joint positions in the world, metres.
    """
    frames, nodes = len(theta), len(controls.node_bones)
    rotvecs = np.einsum("nik,fk->fni", controls.axes, theta)
    local = exp_so3(rotvecs)
    R = np.empty((frames, nodes, 3, 3))
    joints = np.empty((frames, nodes, 3))
    R[:, 0] = R_root
    joints[:, 0] = rest_joints[0] + translation
    for n in range(1, nodes):
        q = controls.node_parents[n]
        R[:, n] = R[:, q] @ local[:, n]
        joints[:, n] = joints[:, q] + R[:, q] @ (rest_joints[n] - rest_joints[q])
    return Posed(R, joints, rotvecs)


def place_points(
    posed: Posed, rest: Rest, nodes: Int[np.ndarray, " points"], points: Int[np.ndarray, " points"]
) -> Float[np.ndarray, "frames points 3"]:
    """World positions of rest points, each carried by one node."""
    lever = rest.points[points] - rest.joints[nodes]
    return posed.joints[:, nodes] + np.einsum("fpij,pj->fpi", posed.R[:, nodes], lever)


@dataclass(frozen=True)
class Screws:
    """How every node moves with every unknown of a group: velocity of a point p is turn x p - moment."""

    turn: Float[np.ndarray, "frames nodes 3 unknowns"]
    moment: Float[np.ndarray, "frames nodes 3 unknowns"]


def node_screws(
    controls: Controls, posed: Posed, nodes: Int[np.ndarray, " nodes"], dofs: Int[np.ndarray, " dofs"]
) -> Screws:
    """Derivatives of the given nodes' motion by root rotation (3), root translation (3) and the given controls."""
    frames, size = len(posed.R), 6 + len(dofs)
    turn = np.zeros((frames, len(nodes), 3, size))
    moment = np.zeros_like(turn)
    turn[:, :, :, :3] = np.eye(3)
    # moment of the root's axes about its joint: e x j, columns of -hat(j)
    moment[:, :, :, :3] = -hat(posed.joints[:, 0])[:, None]
    moment[:, :, :, 3:6] = -np.eye(3)
    # Every pair of a control and a node that it turns; a control of several nodes adds up along the chain.
    columns, turned = np.nonzero(np.abs(controls.axes[:, :, dofs]).sum(1).T)
    local = left_jacobian(posed.rotvecs)[:, turned] @ controls.axes[turned, :, dofs[columns]][..., None]
    axes = (posed.R[:, controls.node_parents[turned]] @ local)[..., 0]
    levers = np.cross(axes, posed.joints[:, turned])
    for entry, (column, node) in enumerate(zip(columns, turned, strict=True)):
        carried = controls.below[nodes, node]
        # A mask beside an index puts the carried nodes first: [carried, frames, 3].
        turn[:, carried, :, 6 + column] += axes[None, :, entry]
        moment[:, carried, :, 6 + column] += levers[None, :, entry]
    return Screws(turn, moment)


def point_derivatives(
    screws: Screws, slots: Int[np.ndarray, " points"], points_world: Float[np.ndarray, "frames points 3"]
) -> Float[np.ndarray, "frames points 3 unknowns"]:
    """Derivatives of world points by the unknowns of the screws; `slots` says which of the screws' nodes carries each."""
    turn, moment = screws.turn[:, slots], screws.moment[:, slots]
    x, y, z = (points_world[:, :, i, None] for i in range(3))
    wx, wy, wz = (turn[:, :, i] for i in range(3))
    out = np.empty_like(turn)
    np.subtract(wy * z, wz * y, out=out[:, :, 0])
    np.subtract(wz * x, wx * z, out=out[:, :, 1])
    np.subtract(wx * y, wy * x, out=out[:, :, 2])
    out -= moment
    return out


def shape_derivatives(
    controls: Controls,
    posed: Posed,
    rest: Rest,
    nodes: Int[np.ndarray, " points"],
    points: Int[np.ndarray, " points"],
) -> Float[np.ndarray, "frames points 3 shape"]:
    """Derivatives of world points by the body's shape, pose kept."""
    dj = rest.joints_by_shape
    moved = np.empty((len(posed.R), len(dj), 3, dj.shape[-1]))
    moved[:, 0] = dj[0]
    for n in range(1, len(dj)):
        q = controls.node_parents[n]
        moved[:, n] = moved[:, q] + posed.R[:, q] @ (dj[n] - dj[q])
    lever = rest.points_by_shape[points] - dj[nodes]
    return moved[:, nodes] + posed.R[:, nodes] @ lever
