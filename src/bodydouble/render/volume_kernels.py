"""Kernels of the volume renderer: inverse skinning, and marching rays through a posed field.

A point x of canonical space lies in the world at A(x) x, where the affine map A is interpolated trilinearly between
lattice nodes (each node blends the bones' maps with its own weights). Its Jacobian is

    J = A_linear(x) + sum_axis (dA / dx_axis) [x, 1] e_axis^T,

so Newton's method finds the canonical place of a world point in a few steps, and by the implicit function theorem

    dx = J^-1 (dx_world - dA [x, 1]).
"""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel
from bodydouble.render.composite_kernels import laplace_density

NODE = 16
"""Floats of a node: a 3 x 4 matrix row by row, and padding."""
SCRATCH = 96
_AX, _X, _INV = 16, 64, 67
"""Places in the scratch: where derivatives of the map begin, a canonical place, and J^-1 there."""
_FAR_M = 1e3
"""No signed distance of a body: nothing was found."""
_MISS_M = 1e-3
"""How near to a ray's sample the canonical place's image must have come."""
_FOLLOWED_STEPS = 3.0
"""A limb's place is followed along the ray for so many steps; then it is sought anew."""
_SAFE_SHARE = 0.7
"""Of the distance to the band that a step goes: posed and blended, the field is no exact distance."""


@kernel()
def blend_nodes(worker, num_workers, joints, weights, bones, nodes):
    """nodes [m, NODE] = weights [m, k] times bones [b, 12]."""
    m, influences = joints.shape
    for n in range(worker * m // num_workers, (worker + 1) * m // num_workers):
        for e in range(NODE):
            nodes[n, e] = 0.0
        for k in range(influences):
            w = weights[n, k]
            if w != 0.0:
                b = joints[n, k]
                for e in range(12):
                    nodes[n, e] += w * bones[b, e]


@kernel()
def gather_bones(rows, joints, weights, g_nodes, g_bones):
    """The transpose of `blend_nodes` for the listed nodes; clears their gradients."""
    influences = joints.shape[1]
    for r in range(rows.shape[0]):
        n = rows[r]
        for k in range(influences):
            w = weights[n, k]
            if w != 0.0:
                b = joints[n, k]
                for e in range(12):
                    g_bones[b, e] += w * g_nodes[n, e]
        for e in range(NODE):
            g_nodes[n, e] = 0.0


@kernel()
def near_vertices(worker, num_workers, points, limbs, origin, cell_m, reach_m, second_m, squared, nearest, seeds):
    """Of every cell the vertex nearest to its centre and that of the next limb, unless it is `second_m` farther.

    Each worker fills some planes of seeds [x, y, z, 2], which begins as -1; squared and nearest [x, y, z, limbs] begin
    as infinity and -1.
    """
    nx, ny, nz, count = squared.shape
    first, stop = worker * nx // num_workers, (worker + 1) * nx // num_workers
    for v in range(points.shape[0]):
        x, y, z, limb = points[v, 0] - origin[0], points[v, 1] - origin[1], points[v, 2] - origin[2], limbs[v]
        i0, i1 = max(first, int((x - reach_m) / cell_m)), min(stop, int((x + reach_m) / cell_m) + 1)
        j0, j1 = max(0, int((y - reach_m) / cell_m)), min(ny, int((y + reach_m) / cell_m) + 1)
        k0, k1 = max(0, int((z - reach_m) / cell_m)), min(nz, int((z + reach_m) / cell_m) + 1)
        for i in range(i0, i1):
            for j in range(j0, j1):
                across = ((i + 0.5) * cell_m - x) ** 2 + ((j + 0.5) * cell_m - y) ** 2
                for k in range(k0, k1):
                    away = across + ((k + 0.5) * cell_m - z) ** 2
                    if away < reach_m * reach_m and away < squared[i, j, k, limb]:
                        squared[i, j, k, limb] = away
                        nearest[i, j, k, limb] = v
    for i in range(first, stop):
        for j in range(ny):
            for k in range(nz):
                best, second = np.inf, np.inf
                for limb in range(count):
                    away = squared[i, j, k, limb]
                    if away < best:
                        second, seeds[i, j, k, 1] = best, seeds[i, j, k, 0]
                        best, seeds[i, j, k, 0] = away, nearest[i, j, k, limb]
                    elif away < second:
                        second, seeds[i, j, k, 1] = away, nearest[i, j, k, limb]
                if np.sqrt(second) >= np.sqrt(best) + second_m:
                    seeds[i, j, k, 1] = -1


@kernel(cached=False)
def affine_at(x, y, z, index, origin, inverse, nodes, scratch):
    """Fill scratch with A (0:12) and its derivatives along x, y, z per metre (16:28, 32:44, 48:60); False off the band."""
    number = nodes.dtype.type
    nx, ny, nz = index.shape
    fx, fy, fz = (x - origin[0]) * inverse, (y - origin[1]) * inverse, (z - origin[2]) * inverse
    if fx < number(0) or fy < number(0) or fz < number(0):
        return False
    i, j, k = int(fx), int(fy), int(fz)
    if i >= nx - 1 or j >= ny - 1 or k >= nz - 1:
        return False
    fx, fy, fz = fx - number(i), fy - number(j), fz - number(k)
    n000, n001, n010, n011 = index[i, j, k], index[i, j, k + 1], index[i, j + 1, k], index[i, j + 1, k + 1]
    i += 1
    n100, n101, n110, n111 = index[i, j, k], index[i, j, k + 1], index[i, j + 1, k], index[i, j + 1, k + 1]
    if min(min(n000, n001), min(n010, n011)) < 0 or min(min(n100, n101), min(n110, n111)) < 0:
        return False
    # Along z, then y, then x: each edge of the cell is looked at once. An element at a time stays in registers.
    for e in range(12):
        v00, v01, v10, v11 = nodes[n000, e], nodes[n010, e], nodes[n100, e], nodes[n110, e]
        z00, z01, z10, z11 = nodes[n001, e] - v00, nodes[n011, e] - v01, nodes[n101, e] - v10, nodes[n111, e] - v11
        v00, v01, v10, v11 = v00 + fz * z00, v01 + fz * z01, v10 + fz * z10, v11 + fz * z11
        y0, y1 = v01 - v00, v11 - v10
        v0, v1 = v00 + fy * y0, v10 + fy * y1
        z0, z1 = z00 + fy * (z01 - z00), z10 + fy * (z11 - z10)
        scratch[e] = v0 + fx * (v1 - v0)
        scratch[16 + e] = inverse * (v1 - v0)
        scratch[32 + e] = inverse * (y0 + fx * (y1 - y0))
        scratch[48 + e] = inverse * (z0 + fx * (z1 - z0))
    return True


@kernel(cached=False)
def invert3(m, inv, at):
    """Closed-form inverse of the 3 x 3 matrix m [9] into inv[at : at + 9]; False where it is (nearly) singular."""
    c00 = m[4] * m[8] - m[5] * m[7]
    c01 = m[5] * m[6] - m[3] * m[8]
    c02 = m[3] * m[7] - m[4] * m[6]
    det = m[0] * c00 + m[1] * c01 + m[2] * c02
    # A map that shrinks space a thousandfold, or turns it inside out, is no place that a surface can have come from.
    if det < 1e-3:
        return False
    r = 1 / det
    inv[at] = c00 * r
    inv[at + 1] = (m[2] * m[7] - m[1] * m[8]) * r
    inv[at + 2] = (m[1] * m[5] - m[2] * m[4]) * r
    inv[at + 3] = c01 * r
    inv[at + 4] = (m[0] * m[8] - m[2] * m[6]) * r
    inv[at + 5] = (m[2] * m[3] - m[0] * m[5]) * r
    inv[at + 6] = c02 * r
    inv[at + 7] = (m[1] * m[6] - m[0] * m[7]) * r
    inv[at + 8] = (m[0] * m[4] - m[1] * m[3]) * r
    return True


@kernel(cached=False)
def unskin(target, index, origin, inverse, nodes, rounds, tolerance, scratch, J):
    """Newton from scratch[64:67], which becomes the canonical place of a world point; J^-1 in scratch[67:76]."""
    for _ in range(rounds):
        x, y, z = scratch[_X], scratch[_X + 1], scratch[_X + 2]
        if not affine_at(x, y, z, index, origin, inverse, nodes, scratch):
            return False
        miss = x - x
        for r in range(3):
            o = 4 * r
            value = scratch[o] * x + scratch[o + 1] * y + scratch[o + 2] * z + scratch[o + 3] - target[r]
            J[9 + r] = value
            miss += value * value
            for a in range(3):
                d = _AX * (a + 1) + o
                J[3 * r + a] = (
                    scratch[o + a]
                    + scratch[d] * x + scratch[d + 1] * y + scratch[d + 2] * z + scratch[d + 3]
                )  # fmt: skip
        if not invert3(J, scratch, _INV):
            return False
        for r in range(3):
            o = _INV + 3 * r
            scratch[_X + r] -= scratch[o] * J[9] + scratch[o + 1] * J[10] + scratch[o + 2] * J[11]
        if miss < tolerance * tolerance:
            return True
    return False


@kernel(cached=False)
def value_at(x, y, z, values, stride, nx, ny, nz, origin, inverse):
    """Trilinear value of the first channel of a flat lattice, clamped to it."""
    number = values.dtype.type
    fx = min(max((x - origin[0]) * inverse, number(0)), number(nx - 1))
    fy = min(max((y - origin[1]) * inverse, number(0)), number(ny - 1))
    fz = min(max((z - origin[2]) * inverse, number(0)), number(nz - 1))
    i, j, k = min(int(fx), nx - 2), min(int(fy), ny - 2), min(int(fz), nz - 2)
    fx, fy, fz = fx - number(i), fy - number(j), fz - number(k)
    one = number(1)
    r = ((i * ny + j) * nz + k) * stride
    ry, rx = nz * stride, ny * nz * stride
    v00 = values[r] * (one - fz) + values[r + stride] * fz
    v01 = values[r + ry] * (one - fz) + values[r + ry + stride] * fz
    v10 = values[r + rx] * (one - fz) + values[r + rx + stride] * fz
    v11 = values[r + rx + ry] * (one - fz) + values[r + rx + ry + stride] * fz
    return (v00 * (one - fy) + v01 * fy) * (one - fx) + (v10 * (one - fy) + v11 * fy) * fx


@kernel(cached=False, inline=True)
def _span(ray, eye, directions, corner, cell_m, cells):
    """Where along a ray the box of cells begins and ends, metres; it ends before it begins where the ray misses."""
    number = eye.dtype.type
    t, stop = number(0), number(1e9)
    for a in range(3):
        d = directions[ray, a]
        low, high = corner[a] - eye[a], corner[a] + cell_m * number(cells[a]) - eye[a]
        if abs(d) < number(1e-9):
            if low > number(0) or high < number(0):
                stop = number(-1)
        else:
            t0, t1 = low / d, high / d
            t, stop = max(t, min(t0, t1)), min(stop, max(t0, t1))
    return t, stop


@kernel(cached=False, inline=True)
def _guess_from_last(ray, directions, along_m, last_x, last_inv, slot, scratch):
    """Start Newton where the limb's last canonical place moves to, along_m further on the ray."""
    number = last_x.dtype.type
    for r in range(3):
        along = number(0)
        for a in range(3):
            along += last_inv[slot, 3 * r + a] * directions[ray, a]
        scratch[_X + r] = last_x[slot, r] + along * along_m


@kernel(cached=False, inline=True)
def _guess_from_vertex(v, target, vertex_maps, J, inv, scratch):
    """Start Newton where the map at a body vertex takes the target; False where that map cannot be undone."""
    number = target.dtype.type
    for r in range(3):
        for a in range(3):
            J[3 * r + a] = vertex_maps[v, 4 * r + a]
    if not invert3(J, inv, 0):
        return False
    for r in range(3):
        value = number(0)
        for a in range(3):
            value += inv[3 * r + a] * (target[a] - vertex_maps[v, 4 * a + 3])
        scratch[_X + r] = value
    return True


@kernel(cached=False)
def sunk_in(radius, beta):
    """How far inside of the surface of a limb the density has to be; see `reconstruct.surface.posed.sunk_m`."""
    number = type(beta)
    asked = number(np.log(np.sqrt(number(2.0 * np.pi) * radius / beta) / number(2.0 * np.log(2.0))))
    return beta * max(number(0), asked)


@kernel()
def march(
    worker, num_workers, eye, directions, jitter,
    seeds, cell_origin, cell_m, vertex_maps, vertex_limbs,
    index, node_origin, node_inverse, nodes,
    values, shape, origin, inverse, classes, radii,
    step_m, beta, end,
    t_out, x_out, inv_out, sunk_out, count_out, least_out, nearest_out,
):  # fmt: skip
    """Walk along rays through the band around a posed body and note the samples that matter.

    Samples are kept where there is density, every step_m, until less than `end` of the light is left; farther from the
    surface steps grow with the distance. Density is that of the distance to a surface so much further in as the limb
    around asks (`sunk_in`). Where two limbs claim a place, the one with the lesser signed distance has it.

    Args:
        worker, num_workers: This worker takes every num_workers-th ray.
        eye, directions, jitter: [3], [rays, 3] unit vectors, [rays] in [0, 1): by how much of a step samples are shifted.
        seeds: [cx, cy, cz, 2] body vertices near each cell, of different limbs; -1 for none. Cells of cell_m at cell_origin.
        vertex_maps, vertex_limbs: [v, 12] canonical to world at each vertex; the limb it belongs to.
        index, node_origin, node_inverse, nodes: The lattice of maps (`volume.SkinNodes`), 1 / its spacing, its rows.
        values, shape, origin, inverse: The field, flat, signed distance first; its shape with channels, corner, 1 / spacing.
        classes: Another signed distance on the field's lattice, by which rays are told apart.
        radii: On the same lattice, the radius of the limb around, metres.
        step_m, beta, end: As said above; beta is the density's scale.
        t_out, x_out, inv_out, sunk_out: [rays, samples], [.., 3], [.., 9], [rays, samples] depth, canonical place, its J^-1
            of each sample, and how far the density is sunk there.
        count_out: [rays] how many samples a ray has. least_out: [rays] least value of `classes` that was met.
        nearest_out: [rays, 3] canonical place where the field itself was least; NaN where the band was missed.
    """
    number = nodes.dtype.type
    nx, ny, nz, stride = shape
    cx, cy, cz = seeds.shape[:3]
    cells = (cx, cy, cz)
    rays, most = t_out.shape
    scratch, J = np.empty(SCRATCH, nodes.dtype), np.empty(12, nodes.dtype)
    target = np.empty(3, nodes.dtype)
    # The two limbs met last, so that their places can be followed instead of sought.
    last_x, last_inv = np.empty((2, 3), nodes.dtype), np.empty((2, 9), nodes.dtype)
    last_t, last_limb = np.empty(2, nodes.dtype), np.empty(2, np.int64)
    best_x, best_inv = np.empty(3, nodes.dtype), np.empty(9, nodes.dtype)
    inv = np.empty(9, nodes.dtype)
    for ray in range(worker, rays, num_workers):
        count = 0
        least = number(_FAR_M)
        closest = number(_FAR_M)
        for a in range(3):
            nearest_out[ray, a] = np.nan
        t, stop = _span(ray, eye, directions, cell_origin, cell_m, cells)
        t += jitter[ray] * step_m
        light = number(1)
        last_limb[0] = -1
        last_limb[1] = -1
        while t < stop and count < most and light > end:
            for a in range(3):
                target[a] = eye[a] + t * directions[ray, a]
            i = int((target[0] - cell_origin[0]) / cell_m)
            j = int((target[1] - cell_origin[1]) / cell_m)
            k = int((target[2] - cell_origin[2]) / cell_m)
            if i < 0 or j < 0 or k < 0 or i >= cx or j >= cy or k >= cz or seeds[i, j, k, 0] < 0:
                t += number(0.5) * cell_m
                continue
            best = number(_FAR_M)
            for c in range(2):
                v = seeds[i, j, k, c]
                if v < 0:
                    break
                limb = vertex_limbs[v]
                slot = -1
                if last_limb[0] == limb:
                    slot = 0
                elif last_limb[1] == limb:
                    slot = 1
                found = False
                if slot >= 0 and t - last_t[slot] < number(_FOLLOWED_STEPS) * step_m:
                    _guess_from_last(ray, directions, t - last_t[slot], last_x, last_inv, slot, scratch)
                    found = unskin(target, index, node_origin, node_inverse, nodes, 3, number(_MISS_M), scratch, J)
                if not found:
                    if not _guess_from_vertex(v, target, vertex_maps, J, inv, scratch):
                        continue
                    found = unskin(target, index, node_origin, node_inverse, nodes, 6, number(_MISS_M), scratch, J)
                if not found:
                    continue
                if slot < 0:
                    slot = 0 if last_limb[0] < 0 or (last_limb[1] >= 0 and last_t[0] < last_t[1]) else 1
                last_limb[slot] = limb
                last_t[slot] = t
                for r in range(3):
                    last_x[slot, r] = scratch[_X + r]
                for r in range(9):
                    last_inv[slot, r] = scratch[_INV + r]
                s = value_at(scratch[_X], scratch[_X + 1], scratch[_X + 2], values, stride, nx, ny, nz, origin, inverse)
                if s < best:
                    best = s
                    for r in range(3):
                        best_x[r] = scratch[_X + r]
                    for r in range(9):
                        best_inv[r] = scratch[_INV + r]
            if best >= number(_FAR_M):
                t += number(2) * step_m
                continue
            known = value_at(best_x[0], best_x[1], best_x[2], classes, 1, nx, ny, nz, origin, inverse)
            least = min(least, known)
            if best < closest:
                closest = best
                for r in range(3):
                    nearest_out[ray, r] = best_x[r]
            radius = value_at(best_x[0], best_x[1], best_x[2], radii, 1, nx, ny, nz, origin, inverse)
            sunk = sunk_in(radius, beta)
            keep_m = max(number(4) * beta - sunk, number(2) * step_m)
            if best > keep_m:
                t += step_m + number(_SAFE_SHARE) * (best - keep_m)
                continue
            t_out[ray, count] = t
            for r in range(3):
                x_out[ray, count, r] = best_x[r]
            for r in range(9):
                inv_out[ray, count, r] = best_inv[r]
            sunk_out[ray, count] = sunk
            count += 1
            light *= number(np.exp(-laplace_density(best + sunk, beta) * step_m))
            t += step_m
        count_out[ray] = count
        least_out[ray] = least


@kernel()
def unskin_points(
    worker, num_workers, points, guesses, index, origin, inverse, nodes, rounds, tolerance, out, inv_out, found
):  # fmt: skip
    """Canonical places of world points [n, 3] from guesses, with J^-1 [n, 9]; found [n] says where that worked."""
    n = points.shape[0]
    scratch, J = np.empty(SCRATCH, nodes.dtype), np.empty(12, nodes.dtype)
    for p in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        for r in range(3):
            scratch[_X + r] = guesses[p, r]
        found[p] = unskin(points[p], index, origin, inverse, nodes, rounds, tolerance, scratch, J)
        for r in range(3):
            out[p, r] = scratch[_X + r]
        for r in range(9):
            inv_out[p, r] = scratch[_INV + r]


@kernel()
def skin_nodes_points(worker, num_workers, points, index, origin, inverse, nodes, out, found):
    """World places of canonical points [n, 3]."""
    n = points.shape[0]
    scratch = np.empty(SCRATCH, nodes.dtype)
    for p in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        found[p] = affine_at(x, y, z, index, origin, inverse, nodes, scratch)
        for r in range(3):
            o = 4 * r
            out[p, r] = scratch[o] * x + scratch[o + 1] * y + scratch[o + 2] * z + scratch[o + 3]


@kernel()
def unskin_backward(
    worker, num_workers, x, inv, g_x, index, origin, inverse, g_nodes, flags, lists, counts, g_world
):  # fmt: skip
    """Gradient of canonical places [n, 3] to world points (g_world) and to this worker's nodes g_nodes [workers, m, NODE]."""
    number = x.dtype.type
    n = x.shape[0]
    y = np.empty(3, x.dtype)
    row = np.empty(12, x.dtype)
    for p in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        for a in range(3):
            y[a] = inv[p, a] * g_x[p, 0] + inv[p, 3 + a] * g_x[p, 1] + inv[p, 6 + a] * g_x[p, 2]
            g_world[p, a] = y[a]
        for r in range(3):
            for a in range(3):
                row[4 * r + a] = -y[r] * x[p, a]
            row[4 * r + 3] = -y[r]
        fx, fy, fz = (x[p, 0] - origin[0]) * inverse, (x[p, 1] - origin[1]) * inverse, (x[p, 2] - origin[2]) * inverse
        i, j, k = int(fx), int(fy), int(fz)
        fx, fy, fz = fx - number(i), fy - number(j), fz - number(k)
        one = number(1)
        for corner in range(8):
            a, b, c = corner >> 2, corner >> 1 & 1, corner & 1
            w = (fx if a else one - fx) * (fy if b else one - fy) * (fz if c else one - fz)
            node = index[i + a, j + b, k + c]
            if flags[worker, node] == 0:
                flags[worker, node] = 1
                lists[worker, counts[worker]] = node
                counts[worker] += 1
            for e in range(12):
                g_nodes[worker, node, e] += w * row[e]
