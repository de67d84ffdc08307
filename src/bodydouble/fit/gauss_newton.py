"""Poses from 2D targets of surface points: one damped Gauss-Newton step per frame, exact Jacobians of the skinned body.

Unknowns of a frame: a small rotation `phi` of every active bone, applied on the left of its local rotation (so in axes of
the parent bone), and a translation of the root in the world. A rotation of bone b by omega (world axes) moves a skinned
point by omega x sum_k w_k (p_k - j_b), the sum running over the point's influences k below b, p_k being where bone k alone
would put the point. That is the whole Jacobian, and it is cheap.
"""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel

_NEAR_M = 0.1
"""Points nearer to the camera's plane have no say."""


@kernel(cached=False, inline=True)
def _place(n, points, joints, weights, R, t, bone_world, parents, slot_of_bone, levers, touched):
    """Place of point n in the world; returns x, y, z and how many active bones move it.

    touched lists those bones, levers [bones, 3] (all 0 before) their weighted lever arms.
    """
    x, y, z = 0.0, 0.0, 0.0
    count = 0
    for k in range(joints.shape[1]):
        w = weights[n, k]
        if w <= 0.0:
            continue
        bone = joints[n, k]
        px = R[bone, 0, 0] * points[n, 0] + R[bone, 0, 1] * points[n, 1] + R[bone, 0, 2] * points[n, 2] + t[bone, 0]
        py = R[bone, 1, 0] * points[n, 0] + R[bone, 1, 1] * points[n, 1] + R[bone, 1, 2] * points[n, 2] + t[bone, 1]
        pz = R[bone, 2, 0] * points[n, 0] + R[bone, 2, 1] * points[n, 1] + R[bone, 2, 2] * points[n, 2] + t[bone, 2]
        x += w * px
        y += w * py
        z += w * pz
        b = bone
        while b >= 0:
            if slot_of_bone[b] >= 0:
                if levers[b, 0] == 0.0 and levers[b, 1] == 0.0 and levers[b, 2] == 0.0:
                    known = False
                    for i in range(count):
                        if touched[i] == b:
                            known = True
                    if not known:
                        touched[count] = b
                        count += 1
                levers[b, 0] += w * (px - bone_world[b, 0])
                levers[b, 1] += w * (py - bone_world[b, 1])
                levers[b, 2] += w * (pz - bone_world[b, 2])
            b = parents[b]
    return x, y, z, count


@kernel(cached=False, inline=True)
def _differentiate(P, levers, touched, count, R, parents, slot_of_bone, size, columns, J):
    """Derivatives of a pixel [2] to the unknowns that move its point, into J; returns how many, columns says which.

    P [2, 3] is the pixel's derivative to the point. A bone turns about the axes of its parent, the root about the world's.
    """
    width = 0
    for i in range(count):
        b = touched[i]
        q = parents[b]
        base = 3 * slot_of_bone[b]
        for axis in range(3):
            if q < 0:
                wx = 1.0 if axis == 0 else 0.0
                wy = 1.0 if axis == 1 else 0.0
                wz = 1.0 if axis == 2 else 0.0
            else:
                wx, wy, wz = R[q, 0, axis], R[q, 1, axis], R[q, 2, axis]
            dx = wy * levers[b, 2] - wz * levers[b, 1]
            dy = wz * levers[b, 0] - wx * levers[b, 2]
            dz = wx * levers[b, 1] - wy * levers[b, 0]
            columns[width] = base + axis
            J[0, width] = P[0, 0] * dx + P[0, 1] * dy + P[0, 2] * dz
            J[1, width] = P[1, 0] * dx + P[1, 1] * dy + P[1, 2] * dz
            width += 1
    for axis in range(3):
        columns[width] = size - 3 + axis
        J[0, width] = P[0, axis]
        J[1, width] = P[1, axis]
        width += 1
    return width


@kernel(cached=False, inline=True)
def _add_equations(ru, rv, weight, ixx, ixy, iyy, columns, J, width, H, g):
    """H += weight J^T I J and g += weight J^T I (ru, rv) in the listed rows and columns, I the residual's information."""
    for i in range(width):
        a0 = weight * (ixx * J[0, i] + ixy * J[1, i])
        a1 = weight * (ixy * J[0, i] + iyy * J[1, i])
        row = columns[i]
        g[row] += a0 * ru + a1 * rv
        for j in range(width):
            H[row, columns[j]] += a0 * J[0, j] + a1 * J[1, j]


@kernel(cached=False)
def _accumulate_frame(
    points, joints, weights, targets_px, information, rho_px, R, t, bone_world, parents, slot_of_bone, camera, H, g
):
    """Add the normal equations of one frame's reprojection residuals; returns the robust mean residual in pixels.

    camera: fx, fy, cx, cy, then R_camera_world row by row, then t_camera_world.
    """
    fx, fy, cx, cy = camera[0], camera[1], camera[2], camera[3]
    size = g.shape[0]
    bones = R.shape[0]
    levers = np.zeros((bones, 3))
    touched = np.empty(bones, np.int64)
    columns = np.empty(3 * bones + 3, np.int64)
    J = np.empty((2, 3 * bones + 3))
    P = np.empty((2, 3))
    total, total_weight = 0.0, 0.0
    for n in range(points.shape[0]):
        ixx, ixy, iyy = information[n, 0], information[n, 1], information[n, 2]
        trust = 0.5 * (ixx + iyy)
        if trust <= 0.0:
            continue
        x, y, z, count = _place(
            n, points, joints, weights, R, t, bone_world, parents, slot_of_bone, levers, touched
        )  # fmt: skip
        xc = camera[4] * x + camera[5] * y + camera[6] * z + camera[13]
        yc = camera[7] * x + camera[8] * y + camera[9] * z + camera[14]
        zc = camera[10] * x + camera[11] * y + camera[12] * z + camera[15]
        if zc > _NEAR_M:
            ru = targets_px[n, 0] - (fx * xc / zc + cx)
            rv = targets_px[n, 1] - (fy * yc / zc + cy)
            error_sq = ru * ru + rv * rv
            robust = 1.0 / (1.0 + error_sq / (rho_px * rho_px))
            total += trust * robust * np.sqrt(error_sq)
            total_weight += trust * robust
            for i in range(3):
                P[0, i] = fx / zc * (camera[4 + i] - xc / zc * camera[10 + i])
                P[1, i] = fy / zc * (camera[7 + i] - yc / zc * camera[10 + i])
            width = _differentiate(P, levers, touched, count, R, parents, slot_of_bone, size, columns, J)
            _add_equations(ru, rv, robust * robust, ixx, ixy, iyy, columns, J, width, H, g)
        for i in range(count):
            b = touched[i]
            levers[b, 0], levers[b, 1], levers[b, 2] = 0.0, 0.0, 0.0
    return total / max(total_weight, 1e-9)


@kernel()
def gauss_newton_step(
    worker, num_workers, points, joints, weights, targets_px, information, rho_px, R, t, bone_world, parents, slot_of_bone, cameras,
    deviation, neighbour_deviation, neighbour_weight, prior_precision, smooth_precision, damping, step_out, residual_px_out,
):  # fmt: skip
    """Solve one step for every frame on its own.

    Args:
        worker, num_workers: This worker takes every num_workers-th frame (`render.threads.run_kernel`).
        points: [frames, points, 3] rest positions (each frame has its own visible points).
        joints, weights: [frames, points, k] skinning.
        targets_px: [frames, points, 2].
        information: [frames, points, 3] xx, xy, yy of each target's inverse covariance, 1 / px^2; 0 is no target.
        rho_px: [frames] scale of the Geman-McClure loss.
        R, t: [frames, bones, 3, 3] and [frames, bones, 3] bone transforms; bone_world: [frames, bones, 3] joints.
        parents: [bones]; slot_of_bone: [bones] index among the active bones, or -1.
        cameras: [frames, 16] as `_accumulate_frame` wants it.
        deviation: [frames, 3 active + 3] where each unknown stands, measured from its prior.
        neighbour_deviation: the same, smoothed over neighbouring frames.
        neighbour_weight: [frames] how much the neighbours count; it fades with the time between frames.
        prior_precision, smooth_precision: [3 active + 3] 1 / sigma^2 of the pull to 0 and to the neighbours.
        damping: [frames] share of the diagonal that is added to it (Levenberg, Marquardt); 0 for a full step.
        step_out: [frames, 3 active + 3] receives the step; residual_px_out: [frames] the residual before it.
    """
    size = prior_precision.shape[0]
    for f in range(worker, points.shape[0], num_workers):
        H = np.zeros((size, size))
        g = np.zeros(size)
        residual_px_out[f] = _accumulate_frame(
            points[f], joints[f], weights[f], targets_px[f], information[f], rho_px[f], R[f], t[f], bone_world[f],
            parents, slot_of_bone, cameras[f], H, g,
        )  # fmt: skip
        for i in range(size):
            smooth = smooth_precision[i] * neighbour_weight[f]
            H[i, i] = (H[i, i] + prior_precision[i] + smooth) * (1.0 + damping[f]) + 1e-9
            g[i] -= prior_precision[i] * deviation[f, i]
            g[i] += smooth * (neighbour_deviation[f, i] - deviation[f, i])
        step_out[f] = np.linalg.solve(H, g)
