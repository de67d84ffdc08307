"""Kernels that take splats to the image, and gradients back. One splat after the other, in float64 inside.

A projected splat is a record of `RECORD` float32:
    0, 1    centre in pixels
    2, 3, 4 P, Q, S and 5 L with log2(alpha) = L - (P dx + Q dy)^2 - (S dy)^2: squares lose less than the
            expanded form for splats that are long, thin and oblique
    6, 7, 8 colour
    9       depth, metres; 0 marks a splat that is not drawn
    10, 11  half width and half height of the ellipse alpha >= 1/255, pixels
    12      dy at the ellipse's rightmost point
"""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel
from bodydouble.render import sh as _sh
from bodydouble.render.cpu_binning import tile_range
from bodydouble.render.protocol import COVARIANCE_BLUR_PX2, MIN_ALPHA, NEAR_M

RECORD = 16
CAMERA = 22
"""Length of the camera's array: R_camera_world row by row, t, focal, centre, width, height, and the bounds of x / z and
of y / z within which the projection is linearised at the centre itself."""

_C0, _C1 = _sh.C0, _sh.C1
_C2_A, _C2_B, _C2_C = _sh.C2_A, _sh.C2_B, _sh.C2_C
_C3_A, _C3_B, _C3_C, _C3_D, _C3_E = _sh.C3_A, _sh.C3_B, _sh.C3_C, _sh.C3_D, _sh.C3_E
_LOG2_E = float(np.log2(np.e))
_BLUR, _MIN_ALPHA, _NEAR = COVARIANCE_BLUR_PX2, MIN_ALPHA, NEAR_M
_LOG2_MIN_ALPHA = float(np.log2(MIN_ALPHA))
_HUGE = 1e30
"""Beyond this float32 cannot follow; nothing that could be seen comes near it."""
# The ellipse that decides which pixels are looked at is a little too large: the exact test is made at the pixel.
_REACH_SLACK = 1e-3


@kernel(cached=False, inline=True)
def _rotation(qw, qx, qy, qz, R):
    """Rotation matrix of a quaternion of any length into R; returns 1 / length (0 for a zero quaternion)."""
    length = np.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
    inverse = 1.0 / length if length > 1e-12 else 0.0
    w, x, y, z = qw * inverse, qx * inverse, qy * inverse, qz * inverse
    R[0, 0] = 1.0 - 2.0 * (y * y + z * z)
    R[0, 1] = 2.0 * (x * y - w * z)
    R[0, 2] = 2.0 * (x * z + w * y)
    R[1, 0] = 2.0 * (x * y + w * z)
    R[1, 1] = 1.0 - 2.0 * (x * x + z * z)
    R[1, 2] = 2.0 * (y * z - w * x)
    R[2, 0] = 2.0 * (x * z - w * y)
    R[2, 1] = 2.0 * (y * z + w * x)
    R[2, 2] = 1.0 - 2.0 * (x * x + y * y)
    return inverse


@kernel(cached=False, inline=True)
def _geometry(i, means, quats, scales, cam, R, N, G, p):
    """Camera point p, R_world_splat, N = R_camera_splat diag(scales), G = J N. Returns covariance, slopes and 1/|q|."""
    X, Y, Z = means[i, 0], means[i, 1], means[i, 2]
    x = cam[0] * X + cam[1] * Y + cam[2] * Z + cam[9]
    y = cam[3] * X + cam[4] * Y + cam[5] * Z + cam[10]
    z = cam[6] * X + cam[7] * Y + cam[8] * Z + cam[11]
    p[0], p[1], p[2] = x, y, z
    inverse_length = _rotation(quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3], R)
    for j in range(3):
        s = scales[i, j]
        for r in range(3):
            N[r, j] = (cam[3 * r] * R[0, j] + cam[3 * r + 1] * R[1, j] + cam[3 * r + 2] * R[2, j]) * s
    fx, fy = cam[12], cam[13]
    iz = 1.0 / z
    u = min(max(x * iz, cam[18]), cam[19])
    v = min(max(y * iz, cam[20]), cam[21])
    a, b, c = _BLUR, 0.0, _BLUR
    for j in range(3):
        G[0, j] = fx * iz * (N[0, j] - u * N[2, j])
        G[1, j] = fy * iz * (N[1, j] - v * N[2, j])
        a += G[0, j] * G[0, j]
        b += G[0, j] * G[1, j]
        c += G[1, j] * G[1, j]
    return a, b, c, u, v, inverse_length


@kernel(cached=False, inline=True)
def _basis(x, y, z, coeffs, Y):
    """Spherical harmonics at a unit direction (see `sh.py`)."""
    Y[0] = _C0
    if coeffs > 1:
        Y[1], Y[2], Y[3] = -_C1 * y, _C1 * z, -_C1 * x
    if coeffs > 4:
        xx, yy, zz = x * x, y * y, z * z
        Y[4], Y[5], Y[6] = _C2_A * x * y, -_C2_A * y * z, _C2_B * (2 * zz - xx - yy)
        Y[7], Y[8] = -_C2_A * x * z, _C2_C * (xx - yy)
        if coeffs > 9:
            Y[9], Y[10] = -_C3_A * y * (3 * xx - yy), _C3_B * x * y * z
            Y[11], Y[12] = -_C3_C * y * (4 * zz - xx - yy), _C3_D * z * (2 * zz - 3 * xx - 3 * yy)
            Y[13], Y[14] = -_C3_C * x * (4 * zz - xx - yy), _C3_E * z * (xx - yy)
            Y[15] = -_C3_A * x * (xx - 3 * yy)


@kernel(cached=False, inline=True)
def _basis_gradient(x, y, z, coeffs, g, out):
    """Add to out the gradient at the direction, for gradients g of the basis functions of degree 1 and more."""
    out[0] += -_C1 * g[3]
    out[1] += -_C1 * g[1]
    out[2] += _C1 * g[2]
    if coeffs > 4:
        out[0] += _C2_A * (y * g[4] - z * g[7]) - 2 * x * (_C2_B * g[6] - _C2_C * g[8])
        out[1] += _C2_A * (x * g[4] - z * g[5]) - 2 * y * (_C2_B * g[6] + _C2_C * g[8])
        out[2] += -_C2_A * (y * g[5] + x * g[7]) + 4 * z * _C2_B * g[6]
    if coeffs > 9:
        xx, yy, zz = x * x, y * y, z * z
        out[0] += -6 * _C3_A * x * y * g[9] + _C3_B * y * z * g[10] + 2 * _C3_C * x * y * g[11]
        out[0] += -6 * _C3_D * x * z * g[12] - _C3_C * (4 * zz - 3 * xx - yy) * g[13]
        out[0] += 2 * _C3_E * x * z * g[14] - 3 * _C3_A * (xx - yy) * g[15]
        out[1] += -3 * _C3_A * (xx - yy) * g[9] + _C3_B * x * z * g[10] - _C3_C * (4 * zz - xx - 3 * yy) * g[11]
        out[1] += -6 * _C3_D * y * z * g[12] + 2 * _C3_C * x * y * g[13]
        out[1] += -2 * _C3_E * y * z * g[14] + 6 * _C3_A * x * y * g[15]
        out[2] += _C3_B * x * y * g[10] - 8 * _C3_C * y * z * g[11] + _C3_D * (6 * zz - 3 * xx - 3 * yy) * g[12]
        out[2] += -8 * _C3_C * x * z * g[13] + _C3_E * (xx - yy) * g[14]


@kernel(cached=False, inline=True)
def _direction(i, means, cam, d):
    """Unit direction from the eye to the splat into d; returns 1 / distance."""
    for k in range(3):
        eye = -(cam[k] * cam[9] + cam[3 + k] * cam[10] + cam[6 + k] * cam[11])
        d[k] = means[i, k] - eye
    inverse = 1.0 / max(np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]), 1e-12)
    d[0] *= inverse
    d[1] *= inverse
    d[2] *= inverse
    return inverse


@kernel(fastmath={"contract"})
def project(worker, num_workers, means, quats, scales, opacities, sh, cam, tile, records, tiles_bound):
    """Fill the splats' records, and tiles_bound with how many tiles of `tile` pixels the ellipse's box touches."""
    n, coeffs = means.shape[0], sh.shape[1]
    R, N, G = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    p, d, Y = np.empty(3), np.empty(3), np.empty(16)
    width, height = cam[16], cam[17]
    for i in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        tiles_bound[i] = 0
        records[i, 9] = 0.0
        depth = cam[6] * means[i, 0] + cam[7] * means[i, 1] + cam[8] * means[i, 2] + cam[11]
        # Written so that NaN is refused too.
        if not (depth >= _NEAR and opacities[i] >= _MIN_ALPHA):
            continue
        a, b, c, _, _, _ = _geometry(i, means, quats, scales, cam, R, N, G, p)
        det = a * c - b * b
        peak = np.log2(float(opacities[i]))
        reach = peak - _LOG2_MIN_ALPHA
        iz = 1.0 / p[2]
        mx = p[0] * iz * cam[12] + cam[14]
        my = p[1] * iz * cam[13] + cam[15]
        # Half width where 0.5 d^T cov^-1 d = reach / log2(e).
        slack = 2.0 * (reach * (1.0 + _REACH_SLACK) + _REACH_SLACK) / _LOG2_E
        half_x, half_y = np.sqrt(slack * a), np.sqrt(slack * c)
        if coeffs > 1:
            _direction(i, means, cam, d)
        _basis(d[0], d[1], d[2], coeffs, Y)
        total = 0.0
        for k in range(3):
            value = 0.5
            for m in range(coeffs):
                value += Y[m] * sh[i, m, k]
            total += value
            records[i, 6 + k] = max(value, 0.0)
        x0, x1, y0, y1 = mx - half_x, mx + half_x, my - half_y, my + half_y
        if not (x1 > 0.5 and y1 > 0.5 and x0 < width - 0.5 and y0 < height - 0.5):
            continue
        if not (det > 0.0 and a < _HUGE and c < _HUGE and np.isfinite(total) and depth < _HUGE and reach < _HUGE):
            continue
        records[i, 0], records[i, 1] = mx, my
        P = np.sqrt(0.5 * _LOG2_E * c / det)
        records[i, 2] = P
        records[i, 3] = -P * b / c
        records[i, 4] = np.sqrt(0.5 * _LOG2_E / c)
        records[i, 5] = peak
        records[i, 9] = depth
        records[i, 10], records[i, 11] = half_x, half_y
        records[i, 12] = b / a * half_x
        # The same float32 arithmetic as where instances are written: a tile more there would be written out of bounds.
        column0, column1, row0, row1 = tile_range(records[i], width, height)
        tiles_bound[i] = (column1 - column0 + 1) * (row1 - row0 + 1)


@kernel(fastmath={"contract"})
def project_backward(
    worker, num_workers, means, quats, scales, opacities, sh, cam, records, first, count, grads,
    g_means, g_quats, g_scales, g_opacities, g_sh,
):  # fmt: skip
    """Sum each splat's rows of grads and carry them to the splat. Writes every gradient.

    A row holds the sums over a tile's pixels of q, q u, q v, q u^2, q u v, q v^2 (q: gradient of log alpha; u, v: what is
    squared in the record's formula), and the gradients of colour and depth. Splat i has the count[i] rows from first[i] on.
    """
    n, coeffs = means.shape[0], sh.shape[1]
    R, N, G, gG = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3)), np.empty((2, 3))
    gR, s = np.empty((3, 3)), np.empty(10)
    p, d, Y, gY, gd = np.empty(3), np.empty(3), np.empty(16), np.empty(16), np.empty(3)
    for i in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        if count[i] == 0:
            g_means[i, :] = 0.0
            g_quats[i, :] = 0.0
            g_scales[i, :] = 0.0
            g_opacities[i] = 0.0
            g_sh[i, :, :] = 0.0
            continue
        s[:] = 0.0
        for e in range(first[i], first[i] + count[i]):
            for k in range(10):
                s[k] += grads[e, k]
        _moments(records[i], s)
        g_opacities[i] = s[0] / opacities[i]
        a, b, c, u, v, inverse_length = _geometry(i, means, quats, scales, cam, R, N, G, p)
        g_x, g_y, g_z = _place_gradient(a, b, c, u, v, p, cam, s, N, G, gG)
        _shape_gradient(i, u, v, 1.0 / p[2], cam, scales, R, gG, gR, g_scales)
        _quat_gradient(i, quats, inverse_length, gR, g_quats)
        _color_gradient(i, coeffs, means, sh, cam, records, s, d, Y, gY, gd, g_sh)
        for k in range(3):
            g_means[i, k] = cam[k] * g_x + cam[3 + k] * g_y + cam[6 + k] * g_z + gd[k]


@kernel(cached=False, inline=True, fastmath={"contract"})
def _place_gradient(a, b, c, u, v, p, cam, s, N, G, gG):
    """Gradient at the camera point from the moments s; fills gG, that at G = J N."""
    fx, fy = cam[12], cam[13]
    iz = 1.0 / p[2]
    det = a * c - b * b
    # Inverse covariance, and the gradient of the covariance: the sums are the second moments of q.
    inverse_det = 1.0 / det
    xx, xy, yy = c * inverse_det, -b * inverse_det, a * inverse_det
    m_xx, m_xy, m_yy = -0.5 * s[3], -0.5 * s[4], -0.5 * s[5]
    t00, t01 = xx * m_xx + xy * m_xy, xx * m_xy + xy * m_yy
    t10, t11 = xy * m_xx + yy * m_xy, xy * m_xy + yy * m_yy
    c_xx = -(t00 * xx + t01 * xy)
    c_xy = -(t00 * xy + t01 * yy)
    c_yy = -(t10 * xy + t11 * yy)
    g_mx, g_my = xx * s[1] + xy * s[2], xy * s[1] + yy * s[2]

    g_u, g_v, g_z = 0.0, 0.0, s[9]
    for j in range(3):
        gG[0, j] = 2.0 * (c_xx * G[0, j] + c_xy * G[1, j])
        gG[1, j] = 2.0 * (c_xy * G[0, j] + c_yy * G[1, j])
        # G0 = fx / z (N0 - u N2), G1 = fy / z (N1 - v N2)
        g_z -= (gG[0, j] * G[0, j] + gG[1, j] * G[1, j]) * iz
        g_u -= gG[0, j] * fx * iz * N[2, j]
        g_v -= gG[1, j] * fy * iz * N[2, j]
    x_over_z, y_over_z = p[0] * iz, p[1] * iz
    g_x, g_y = g_mx * fx * iz, g_my * fy * iz
    g_z -= g_mx * fx * iz * x_over_z + g_my * fy * iz * y_over_z
    # Beyond its bounds a slope does not move with the point.
    if u == x_over_z:
        g_x += g_u * iz
        g_z -= g_u * iz * x_over_z
    if v == y_over_z:
        g_y += g_v * iz
        g_z -= g_v * iz * y_over_z
    return g_x, g_y, g_z


@kernel(cached=False, inline=True, fastmath={"contract"})
def _shape_gradient(i, u, v, iz, cam, scales, R, gG, gR, g_scales):
    """From the gradient at G to those at the scales and at R_world_splat (into gR)."""
    fx, fy = cam[12], cam[13]
    for j in range(3):
        n0, n1 = gG[0, j] * fx * iz, gG[1, j] * fy * iz
        n2 = -(u * n0 + v * n1)
        scale = scales[i, j]
        g_scale = 0.0
        for r in range(3):
            value = cam[r] * n0 + cam[3 + r] * n1 + cam[6 + r] * n2
            g_scale += value * R[r, j]
            gR[r, j] = value * scale
        g_scales[i, j] = g_scale


@kernel(cached=False, inline=True, fastmath={"contract"})
def _color_gradient(i, coeffs, means, sh, cam, records, s, d, Y, gY, gd, g_sh):
    """From the gradient at the colour to those at the harmonics and, into gd, at the splat's place by its direction."""
    gd[:] = 0.0
    inverse_distance = 0.0
    if coeffs > 1:
        inverse_distance = _direction(i, means, cam, d)
    _basis(d[0], d[1], d[2], coeffs, Y)
    gY[:] = 0.0
    for k in range(3):
        g = s[6 + k] if records[i, 6 + k] > 0.0 else 0.0
        for m in range(coeffs):
            g_sh[i, m, k] = g * Y[m]
            gY[m] += g * sh[i, m, k]
    if coeffs > 1:
        _basis_gradient(d[0], d[1], d[2], coeffs, gY, gd)
        along = gd[0] * d[0] + gd[1] * d[1] + gd[2] * d[2]
        for k in range(3):
            gd[k] = (gd[k] - along * d[k]) * inverse_distance


@kernel(cached=False, inline=True)
def _moments(record, s):
    """Turn sums over q, q u, q v, q u^2, q u v, q v^2 into those over q, q dx, q dy, q dx^2, q dx dy, q dy^2."""
    # u = P dx + Q dy and v = S dy, so dy = k v and dx = h u + m v.
    h, k = 1.0 / record[2], 1.0 / record[4]
    m = -record[3] * h * k
    s1, s2, s3, s4, s5 = s[1], s[2], s[3], s[4], s[5]
    s[1] = h * s1 + m * s2
    s[2] = k * s2
    s[3] = h * h * s3 + 2.0 * h * m * s4 + m * m * s5
    s[4] = k * (h * s4 + m * s5)
    s[5] = k * k * s5


@kernel(cached=False, inline=True)
def _quat_gradient(i, quats, inverse_length, gR, g_quats):
    """From the gradient of the rotation matrix to that of the unnormalised quaternion."""
    w, x = quats[i, 0] * inverse_length, quats[i, 1] * inverse_length
    y, z = quats[i, 2] * inverse_length, quats[i, 3] * inverse_length
    gw = 2.0 * (x * (gR[2, 1] - gR[1, 2]) + y * (gR[0, 2] - gR[2, 0]) + z * (gR[1, 0] - gR[0, 1]))
    gx = 2.0 * (y * (gR[0, 1] + gR[1, 0]) + z * (gR[0, 2] + gR[2, 0]) + w * (gR[2, 1] - gR[1, 2]))
    gx -= 4.0 * x * (gR[1, 1] + gR[2, 2])
    gy = 2.0 * (x * (gR[0, 1] + gR[1, 0]) + z * (gR[1, 2] + gR[2, 1]) + w * (gR[0, 2] - gR[2, 0]))
    gy -= 4.0 * y * (gR[0, 0] + gR[2, 2])
    gz = 2.0 * (x * (gR[0, 2] + gR[2, 0]) + y * (gR[1, 2] + gR[2, 1]) + w * (gR[1, 0] - gR[0, 1]))
    gz -= 4.0 * z * (gR[0, 0] + gR[1, 1])
    along = gw * w + gx * x + gy * y + gz * z
    g_quats[i, 0] = (gw - along * w) * inverse_length
    g_quats[i, 1] = (gx - along * x) * inverse_length
    g_quats[i, 2] = (gy - along * y) * inverse_length
    g_quats[i, 3] = (gz - along * z) * inverse_length
