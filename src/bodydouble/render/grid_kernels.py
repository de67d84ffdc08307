"""Kernels of the trilinear grid: values of all channels and the gradient of the first from the same eight corners.

With corner weights w_k(x), rows v_k and s_k = v_k[0], the value is sum w_k v_k and the gradient of the first channel
sum s_k grad w_k. For incoming gradients a (to the value) and b (to the gradient)

    d v_k     += w_k a,      d s_k += b . grad w_k
    d x       += sum_k (a . v_k) grad w_k + sum_k s_k Hess(w_k) b

where the Hessian of a trilinear weight has zeros on its diagonal. Points beyond the lattice are moved onto its border,
where nothing depends on the clamped coordinate.
"""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel
from bodydouble.render.simd import LANES, fma, horizontal_sum, splat
from bodydouble.render.simd_memory import load, store


@kernel(cached=False, inline=True)
def place(points, p, axis, origin, inverse, count):
    """Cell, share within it and slope (inverse voxel size; 0 where clamped) of one coordinate of a point."""
    number = points.dtype.type  # a plain 0.0 would turn float32 into float64
    x = (points[p, axis] - origin[axis]) * inverse
    slope = inverse
    if not x >= number(0):  # written so that NaN is caught too: it must not become a place in memory
        x = number(0)
        slope = number(0)
    elif x > number(count - 1):
        x = number(count - 1)
        slope = number(0)
    cell = min(int(x), count - 2)
    return cell, x - number(cell), slope


@kernel()
def forward_plain(worker, num_workers, values, origin, inverse, points, out, gradient):
    """values [X, Y, Z, C], points [n, 3]; fills out [n, C] and gradient [n, 3]. Any floating type."""
    nx, ny, nz, channels = values.shape
    n = points.shape[0]
    for p in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        i, fx, sx = place(points, p, 0, origin, inverse, nx)
        j, fy, sy = place(points, p, 1, origin, inverse, ny)
        k, fz, sz = place(points, p, 2, origin, inverse, nz)
        for c in range(channels):
            out[p, c] = 0.0
        for axis in range(3):
            gradient[p, axis] = 0.0
        for corner in range(8):
            a, b, d = corner >> 2, corner >> 1 & 1, corner & 1
            wx, wy, wz = fx if a else 1 - fx, fy if b else 1 - fy, fz if d else 1 - fz
            w = wx * wy * wz
            for c in range(channels):
                out[p, c] += w * values[i + a, j + b, k + d, c]
            s = values[i + a, j + b, k + d, 0]
            gradient[p, 0] += (sx if a else -sx) * wy * wz * s
            gradient[p, 1] += (sy if b else -sy) * wx * wz * s
            gradient[p, 2] += (sz if d else -sz) * wx * wy * s


@kernel()
def forward_simd(worker, num_workers, values, shape, origin, inverse, points, out, gradient):
    """As `forward_plain` for float32; values flat, out [n * C], channels a multiple of LANES."""
    nx, ny, nz, channels = shape
    n = points.shape[0]
    for p in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        i, fx, sx = place(points, p, 0, origin, inverse, nx)
        j, fy, sy = place(points, p, 1, origin, inverse, ny)
        k, fz, sz = place(points, p, 2, origin, inverse, nz)
        one = np.float32(1.0)
        y1, y0, z1, z0 = fy, one - fy, fz, one - fz
        row_z = channels
        row_y = nz * row_z
        row_x = ny * row_y
        r = i * row_x + j * row_y + k * row_z
        r00, r01, r10, r11 = r, r + row_y, r + row_x, r + row_x + row_y
        for c in range(0, channels, LANES):
            low = load(values, r00 + c) * (y0 * z0)
            low = fma(load(values, r00 + row_z + c), splat(y0 * z1), low)
            low = fma(load(values, r01 + c), splat(y1 * z0), low)
            low = fma(load(values, r01 + row_z + c), splat(y1 * z1), low)
            high = load(values, r10 + c) * (y0 * z0)
            high = fma(load(values, r10 + row_z + c), splat(y0 * z1), high)
            high = fma(load(values, r11 + c), splat(y1 * z0), high)
            high = fma(load(values, r11 + row_z + c), splat(y1 * z1), high)
            store(out, p * channels + c, fma(high, splat(fx), low * (one - fx)))
        s000, s001, s010, s011 = values[r00], values[r00 + row_z], values[r01], values[r01 + row_z]
        s100, s101, s110, s111 = values[r10], values[r10 + row_z], values[r11], values[r11 + row_z]
        x0 = one - fx
        gradient[p, 0] = sx * (
            y0 * (z0 * (s100 - s000) + z1 * (s101 - s001)) + y1 * (z0 * (s110 - s010) + z1 * (s111 - s011))
        )
        gradient[p, 1] = sy * (
            x0 * (z0 * (s010 - s000) + z1 * (s011 - s001)) + fx * (z0 * (s110 - s100) + z1 * (s111 - s101))
        )
        gradient[p, 2] = sz * (
            x0 * (y0 * (s001 - s000) + y1 * (s011 - s010)) + fx * (y0 * (s101 - s100) + y1 * (s111 - s110))
        )


@kernel()
def sort_by_slab(points, origin, inverse, count, starts, order):
    """Counting sort of points by their cell along x: starts [count] (of cells, and the end), order [n]."""
    n = points.shape[0]
    for s in range(count):
        starts[s] = 0
    for p in range(n):
        i, _, _ = place(points, p, 0, origin, inverse, count)
        starts[i + 1] += 1
    for s in range(1, count):
        starts[s] += starts[s - 1]
    cursor = starts.copy()
    for p in range(n):
        i, _, _ = place(points, p, 0, origin, inverse, count)
        order[cursor[i]] = p
        cursor[i] += 1


@kernel(cached=False, inline=True)
def _touch(row, worker, flags, lists, counts):
    if flags[row] == 0:
        flags[row] = 1
        lists[worker, counts[worker]] = row
        counts[worker] += 1


@kernel(cached=False, inline=True)
def _share_of(worker, bounds, starts, phase):
    """Range of the sorted points that a worker visits in a phase: its slabs but the last, then the last."""
    last = bounds[worker + 1] - 1
    if bounds[worker + 1] <= bounds[worker]:
        return 0, 0
    if phase == 0:
        return starts[bounds[worker]], starts[last]
    return starts[last], starts[last + 1]


@kernel()
def backward_plain(
    worker, num_workers, phase, bounds, starts, order, values, origin, inverse, points,
    g_out, g_gradient, g_values, g_points, flags, lists, counts,
):  # fmt: skip
    """Adds to g_values [rows, C] and fills g_points; remembers which rows were touched."""
    nx, ny, nz, channels = values.shape
    first, last = _share_of(worker, bounds, starts, phase)
    for place_in_order in range(first, last):
        p = order[place_in_order]
        i, fx, sx = place(points, p, 0, origin, inverse, nx)
        j, fy, sy = place(points, p, 1, origin, inverse, ny)
        k, fz, sz = place(points, p, 2, origin, inverse, nz)
        b0, b1, b2 = g_gradient[p, 0], g_gradient[p, 1], g_gradient[p, 2]
        p0, p1, p2 = 0.0 * b0, 0.0 * b0, 0.0 * b0
        for corner in range(8):
            a, b, d = corner >> 2, corner >> 1 & 1, corner & 1
            wx, wy, wz = fx if a else 1 - fx, fy if b else 1 - fy, fz if d else 1 - fz
            dx, dy, dz = (sx if a else -sx), (sy if b else -sy), (sz if d else -sz)
            row = ((i + a) * ny + j + b) * nz + k + d
            _touch(row, worker, flags, lists, counts)
            w = wx * wy * wz
            q = 0.0 * b0
            for c in range(channels):
                g = g_out[p, c]
                g_values[row, c] += w * g
                q += g * values[i + a, j + b, k + d, c]
            g_values[row, 0] += b0 * dx * wy * wz + b1 * dy * wx * wz + b2 * dz * wx * wy
            s = values[i + a, j + b, k + d, 0]
            p0 += q * dx * wy * wz + s * dx * (b1 * dy * wz + b2 * dz * wy)
            p1 += q * dy * wx * wz + s * dy * (b0 * dx * wz + b2 * dz * wx)
            p2 += q * dz * wx * wy + s * dz * (b0 * dx * wy + b1 * dy * wx)
        g_points[p, 0], g_points[p, 1], g_points[p, 2] = p0, p1, p2


@kernel()
def backward_simd(
    worker, num_workers, phase, bounds, starts, order, values, shape, origin, inverse, points,
    g_out, g_gradient, g_values, g_points, flags, lists, counts,
):  # fmt: skip
    """As `backward_plain` for float32; values, g_out and g_values flat, channels a multiple of LANES."""
    nx, ny, nz, channels = shape
    first, last = _share_of(worker, bounds, starts, phase)
    one = np.float32(1.0)
    for place_in_order in range(first, last):
        p = order[place_in_order]
        i, fx, sx = place(points, p, 0, origin, inverse, nx)
        j, fy, sy = place(points, p, 1, origin, inverse, ny)
        k, fz, sz = place(points, p, 2, origin, inverse, nz)
        b0, b1, b2 = g_gradient[p, 0], g_gradient[p, 1], g_gradient[p, 2]
        p0, p1, p2 = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        q0, q1, q2 = splat(p0), splat(p0), splat(p0)
        at = p * channels
        for a in range(2):
            wx, dx = (fx, sx) if a else (one - fx, -sx)
            for b in range(2):
                wy, dy = (fy, sy) if b else (one - fy, -sy)
                line = ((i + a) * ny + j + b) * nz + k
                for d in range(2):
                    wz, dz = (fz, sz) if d else (one - fz, -sz)
                    _touch(line + d, worker, flags, lists, counts)
                    row = (line + d) * channels
                    w, ux, uy, uz = wx * wy * wz, dx * wy * wz, dy * wx * wz, dz * wx * wy
                    for c in range(0, channels, LANES):
                        g = load(g_out, at + c)
                        gv = g * load(values, row + c)
                        q0 = fma(gv, splat(ux), q0)
                        q1 = fma(gv, splat(uy), q1)
                        q2 = fma(gv, splat(uz), q2)
                        store(g_values, row + c, fma(g, splat(w), load(g_values, row + c)))
                    g_values[row] += b0 * ux + b1 * uy + b2 * uz
                    s = values[row]
                    p0 += s * dx * (b1 * dy * wz + b2 * dz * wy)
                    p1 += s * dy * (b0 * dx * wz + b2 * dz * wx)
                    p2 += s * dz * (b0 * dx * wy + b1 * dy * wx)
        g_points[p, 0] = p0 + horizontal_sum(q0)
        g_points[p, 1] = p1 + horizontal_sum(q1)
        g_points[p, 2] = p2 + horizontal_sum(q2)


@kernel()
def adam_rows(worker, num_workers, rows, values, gradient, first, second, rates, beta1, beta2, eps, flags):
    """Adam on the listed rows of [rows, C] arrays with a rate per channel; clears their gradients and flags.

    A row's moments stand still while nobody looks at it, and their ratio is right from its first step on without a
    correction if (1 - beta1)^2 = 1 - beta2.
    """
    n = rows.shape[0]
    channels = values.shape[1]
    for k in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        r = rows[k]
        flags[r] = 0
        for c in range(channels):
            g = gradient[r, c]
            gradient[r, c] = 0.0
            m = beta1 * first[r, c] + (1 - beta1) * g
            v = beta2 * second[r, c] + (1 - beta2) * g * g
            first[r, c] = m
            second[r, c] = v
            values[r, c] -= rates[c] * m / (np.sqrt(v) + eps)
