"""Kernels that skin splats, and carry gradients back to splats and bones."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel(cached=False)
def _quaternion(m, c):
    """Unnormalised quaternion wxyz of a rotation matrix, from its largest component; returns which that is.

    The same four candidates and the same choice as `core.geometry.matrix_to_quat_wxyz`.
    """
    diagonal = (m[0, 0] + m[1, 1] + m[2, 2], m[0, 0] - m[1, 1] - m[2, 2], m[1, 1] - m[0, 0] - m[2, 2],
                m[2, 2] - m[0, 0] - m[1, 1])  # fmt: skip
    lead = 0
    for k in range(1, 4):
        if diagonal[k] > diagonal[lead]:
            lead = k
    c[lead] = 1.0 + diagonal[lead]
    # Differences belong to w, sums to two vector components.
    if lead == 0:
        c[1], c[2], c[3] = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    elif lead == 1:
        c[0], c[2], c[3] = m[2, 1] - m[1, 2], m[1, 0] + m[0, 1], m[0, 2] + m[2, 0]
    elif lead == 2:
        c[0], c[1], c[3] = m[0, 2] - m[2, 0], m[1, 0] + m[0, 1], m[2, 1] + m[1, 2]
    else:
        c[0], c[1], c[2] = m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2]
    return lead


@kernel()
def bone_quaternions(R, quats):
    """Unit quaternions with w >= 0 of rotation matrices."""
    c = np.empty(4)
    for b in range(R.shape[0]):
        _quaternion(R[b], c)
        inverse = 1.0 / np.sqrt(c[0] * c[0] + c[1] * c[1] + c[2] * c[2] + c[3] * c[3])
        if c[0] < 0.0:
            inverse = -inverse
        for k in range(4):
            quats[b, k] = c[k] * inverse


@kernel(cached=False, inline=True)
def _blend(i, weights, joints, bone_quats, signs, q):
    """Weighted sum of the bones' quaternions into q and its sign for each influence; returns 1 / length."""
    lead = 0
    for k in range(1, weights.shape[1]):
        if weights[i, k] > weights[i, lead]:
            lead = k
    a = bone_quats[joints[i, lead]]
    q[:] = 0.0
    for k in range(weights.shape[1]):
        b = bone_quats[joints[i, k]]
        signs[k] = -1.0 if a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3] < 0.0 else 1.0
        factor = signs[k] * weights[i, k]
        for c in range(4):
            q[c] += factor * b[c]
    return 1.0 / max(np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]), 1e-12)


@kernel(fastmath={"contract"})
def skin(worker, num_workers, means, quats, R, t, weights, joints, bone_quats, out_means, out_quats):
    """Means and quaternions in the world for the worker's share of the splats."""
    n = means.shape[0]
    signs, q = np.empty(weights.shape[1]), np.empty(4)
    for i in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        x, y, z = means[i, 0], means[i, 1], means[i, 2]
        px, py, pz = 0.0, 0.0, 0.0
        for k in range(weights.shape[1]):
            w, j = weights[i, k], joints[i, k]
            px += w * (R[j, 0, 0] * x + R[j, 0, 1] * y + R[j, 0, 2] * z + t[j, 0])
            py += w * (R[j, 1, 0] * x + R[j, 1, 1] * y + R[j, 1, 2] * z + t[j, 1])
            pz += w * (R[j, 2, 0] * x + R[j, 2, 1] * y + R[j, 2, 2] * z + t[j, 2])
        out_means[i, 0], out_means[i, 1], out_means[i, 2] = px, py, pz
        inverse = _blend(i, weights, joints, bone_quats, signs, q)
        aw, ax, ay, az = q[0] * inverse, q[1] * inverse, q[2] * inverse, q[3] * inverse
        bw, bx, by, bz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        out_quats[i, 0] = aw * bw - ax * bx - ay * by - az * bz
        out_quats[i, 1] = aw * bx + ax * bw + ay * bz - az * by
        out_quats[i, 2] = aw * by - ax * bz + ay * bw + az * bx
        out_quats[i, 3] = aw * bz + ax * by - ay * bx + az * bw


@kernel(fastmath={"contract"})
def skin_backward(
    worker, num_workers, means, quats, R, t, weights, joints, bone_quats, g_out_means, g_out_quats,
    g_means, g_quats, g_weights, sums,
):  # fmt: skip
    """Gradients of splats, and sums over each piece of the splats for the bones.

    sums [pieces, bones, 16]: gradient of R row by row (9), of t (3), of the bone's quaternion (4).
    """
    n, pieces = means.shape[0], sums.shape[0]
    signs, q, a, gq = np.empty(weights.shape[1]), np.empty(4), np.empty(4), np.empty(4)
    for piece in range(worker, pieces, num_workers):
        out = sums[piece]
        for i in range(piece * n // pieces, (piece + 1) * n // pieces):
            g0, g1, g2 = g_out_means[i, 0], g_out_means[i, 1], g_out_means[i, 2]
            x, y, z = means[i, 0], means[i, 1], means[i, 2]
            inverse = _blend(i, weights, joints, bone_quats, signs, q)
            for c in range(4):
                a[c] = q[c] * inverse
            bw, bx, by, bz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
            hw, hx, hy, hz = g_out_quats[i, 0], g_out_quats[i, 1], g_out_quats[i, 2], g_out_quats[i, 3]
            g_quats[i, 0] = a[0] * hw + a[1] * hx + a[2] * hy + a[3] * hz
            g_quats[i, 1] = -a[1] * hw + a[0] * hx + a[3] * hy - a[2] * hz
            g_quats[i, 2] = -a[2] * hw - a[3] * hx + a[0] * hy + a[1] * hz
            g_quats[i, 3] = -a[3] * hw + a[2] * hx - a[1] * hy + a[0] * hz
            gq[0] = bw * hw + bx * hx + by * hy + bz * hz
            gq[1] = -bx * hw + bw * hx - bz * hy + by * hz
            gq[2] = -by * hw + bz * hx + bw * hy - bx * hz
            gq[3] = -bz * hw - by * hx + bx * hy + bw * hz
            along = gq[0] * a[0] + gq[1] * a[1] + gq[2] * a[2] + gq[3] * a[3]
            for c in range(4):
                gq[c] = (gq[c] - along * a[c]) * inverse
            gx, gy, gz = 0.0, 0.0, 0.0
            for k in range(weights.shape[1]):
                w, j = weights[i, k], joints[i, k]
                b = bone_quats[j]
                gx += w * (R[j, 0, 0] * g0 + R[j, 1, 0] * g1 + R[j, 2, 0] * g2)
                gy += w * (R[j, 0, 1] * g0 + R[j, 1, 1] * g1 + R[j, 2, 1] * g2)
                gz += w * (R[j, 0, 2] * g0 + R[j, 1, 2] * g1 + R[j, 2, 2] * g2)
                by_weight = g0 * (R[j, 0, 0] * x + R[j, 0, 1] * y + R[j, 0, 2] * z + t[j, 0])
                by_weight += g1 * (R[j, 1, 0] * x + R[j, 1, 1] * y + R[j, 1, 2] * z + t[j, 1])
                by_weight += g2 * (R[j, 2, 0] * x + R[j, 2, 1] * y + R[j, 2, 2] * z + t[j, 2])
                by_blend = b[0] * gq[0] + b[1] * gq[1] + b[2] * gq[2] + b[3] * gq[3]
                g_weights[i, k] = by_weight + signs[k] * by_blend
                if w == 0.0:
                    continue
                w0, w1, w2 = w * g0, w * g1, w * g2
                out[j, 0] += w0 * x
                out[j, 1] += w0 * y
                out[j, 2] += w0 * z
                out[j, 3] += w1 * x
                out[j, 4] += w1 * y
                out[j, 5] += w1 * z
                out[j, 6] += w2 * x
                out[j, 7] += w2 * y
                out[j, 8] += w2 * z
                out[j, 9] += w0
                out[j, 10] += w1
                out[j, 11] += w2
                for c in range(4):
                    out[j, 12 + c] += signs[k] * w * gq[c]
            g_means[i, 0], g_means[i, 1], g_means[i, 2] = gx, gy, gz


@kernel()
def bones_backward(R, bone_quats, sums, g_R, g_t):
    """Gradients of the bones' matrices and translations from the sums of `skin_backward`."""
    c, g = np.empty(4), np.empty(4)
    for b in range(R.shape[0]):
        for k in range(9):
            g_R[b, k // 3, k % 3] = sums[b, k]
        for k in range(3):
            g_t[b, k] = sums[b, 9 + k]
        lead = _quaternion(R[b], c)
        inverse = 1.0 / np.sqrt(c[0] * c[0] + c[1] * c[1] + c[2] * c[2] + c[3] * c[3])
        if c[0] < 0.0:
            inverse = -inverse
        along = 0.0
        for k in range(4):
            along += sums[b, 12 + k] * bone_quats[b, k]
        for k in range(4):
            g[k] = (sums[b, 12 + k] - along * bone_quats[b, k]) * inverse
        _quaternion_backward(lead, g, g_R[b])


@kernel(cached=False)
def _quaternion_backward(lead, g, m):
    """Add to m the gradient of the matrix, for gradients g of the unnormalised quaternion."""
    for k in range(3):
        m[k, k] += g[lead] if lead == 0 or lead == k + 1 else -g[lead]
    # (row, column) pairs of the vector components x, y, z; entry (row, column) has the plus sign in the difference.
    for axis in range(3):
        row, column = (axis + 2) % 3, (axis + 1) % 3
        if lead == 0:
            m[row, column] += g[axis + 1]
            m[column, row] -= g[axis + 1]
        elif lead == axis + 1:
            m[row, column] += g[0]
            m[column, row] -= g[0]
        else:
            # This pair's sum belongs to the component that is neither this axis nor the leading one.
            other = 6 - lead - (axis + 1)
            m[row, column] += g[other]
            m[column, row] += g[other]
