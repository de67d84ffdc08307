"""Edge collapses that keep a closed mesh closed, in passes over edges that do not touch each other."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel()
def face_quadrics(points, faces, quadrics):
    """Add to each vertex's quadric (A as xx xy xz yy yz zz, b, c of |n.x + d|^2, area-weighted) those of its faces."""
    for f in range(faces.shape[0]):
        p, q, r = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        ux, uy, uz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
        vx, vy, vz = r[0] - p[0], r[1] - p[1], r[2] - p[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length < 1e-18:
            continue
        nx, ny, nz = nx / length, ny / length, nz / length
        d = -(nx * p[0] + ny * p[1] + nz * p[2])
        w = length / 6.0
        for c in range(3):
            m = quadrics[faces[f, c]]
            m[0] += w * nx * nx
            m[1] += w * nx * ny
            m[2] += w * nx * nz
            m[3] += w * ny * ny
            m[4] += w * ny * nz
            m[5] += w * nz * nz
            m[6] += w * nx * d
            m[7] += w * ny * d
            m[8] += w * nz * d
            m[9] += w * d * d


@kernel()
def edge_costs(points, quadrics, edges, places, costs):
    """Where each edge would collapse to, and what that costs: squared distance to the planes, and a little of its length."""
    for e in range(edges.shape[0]):
        u, v = edges[e, 0], edges[e, 1]
        m = quadrics[u] + quadrics[v]
        mx = 0.5 * (points[u, 0] + points[v, 0])
        my = 0.5 * (points[u, 1] + points[v, 1])
        mz = 0.5 * (points[u, 2] + points[v, 2])
        # A pull to the middle: where the planes leave a direction open, it decides.
        pull = 1e-2 * (m[0] + m[3] + m[5]) + 1e-20
        a, b, c, d, f, g = m[0] + pull, m[1], m[2], m[3] + pull, m[4], m[5] + pull
        rx, ry, rz = pull * mx - m[6], pull * my - m[7], pull * mz - m[8]
        c00, c01, c02 = d * g - f * f, c * f - b * g, b * f - c * d
        det = a * c00 + b * c01 + c * c02
        x = (c00 * rx + c01 * ry + c02 * rz) / det
        y = (c01 * rx + (a * g - c * c) * ry + (b * c - a * f) * rz) / det
        z = (c02 * rx + (b * c - a * f) * ry + (a * d - b * b) * rz) / det
        places[e, 0], places[e, 1], places[e, 2] = x, y, z
        error = x * (m[0] * x + 2.0 * (m[1] * y + m[2] * z + m[6]))
        error += y * (m[3] * y + 2.0 * (m[4] * z + m[7])) + z * (m[5] * z + 2.0 * m[8]) + m[9]
        dx, dy, dz = points[u, 0] - points[v, 0], points[u, 1] - points[v, 1], points[u, 2] - points[v, 2]
        length2 = dx * dx + dy * dy + dz * dz
        costs[e] = max(error, 0.0) + 1e-3 * length2 * (m[0] + m[3] + m[5])


@kernel(cached=False)
def _turns(points, faces, f, moved, x, y, z):
    """Whether the face turns by more than 60 degrees, or is left without area, when its corner `moved` goes to x, y, z."""
    c = 0
    while faces[f, c] != moved:
        c += 1
    q, r, p = points[faces[f, (c + 1) % 3]], points[faces[f, (c + 2) % 3]], points[moved]
    ex, ey, ez = r[0] - q[0], r[1] - q[1], r[2] - q[2]
    ax, ay, az = p[0] - q[0], p[1] - q[1], p[2] - q[2]
    bx, by, bz = x - q[0], y - q[1], z - q[2]
    nx, ny, nz = ey * az - ez * ay, ez * ax - ex * az, ex * ay - ey * ax
    kx, ky, kz = ey * bz - ez * by, ez * bx - ex * bz, ex * by - ey * bx
    before, after = np.sqrt(nx * nx + ny * ny + nz * nz), np.sqrt(kx * kx + ky * ky + kz * kz)
    longest = max(ex * ex + ey * ey + ez * ez, bx * bx + by * by + bz * bz)
    if after < 1e-2 * longest:
        # A needle is no reason to refuse if it was one before.
        return before > 1e-2 * longest or after < 1e-18
    return nx * kx + ny * ky + nz * kz < 0.5 * before * after and before > 1e-4 * longest


@kernel()
def collapse_pass(points, faces, starts, faces_of, quadrics, edges, places, order, budget, target, locked, stamp):
    """Collapse edges in the given order; each takes both of its ends' neighbourhoods out of this pass.

    starts, faces_of: which faces each vertex has. target[v] becomes the vertex that v is now. Returns the number of
    collapses. A collapse is allowed where exactly two vertices neighbour both ends (the link condition: the surface
    stays a closed manifold of the same genus) and no face turns over.
    """
    done = 0
    for k in range(order.shape[0]):
        if done >= budget:
            break
        e = order[k]
        u, v = edges[e, 0], edges[e, 1]
        if locked[u] or locked[v]:
            continue
        free = True
        common = 0
        around = 0
        for i in range(starts[u], starts[u + 1]):
            for c in range(3):
                stamp[faces[faces_of[i], c]] = e
        for i in range(starts[v], starts[v + 1]):
            for c in range(3):
                n = faces[faces_of[i], c]
                if n != u and n != v and stamp[n] == e:
                    stamp[n] = -1
                    common += 1
        around = starts[u + 1] - starts[u] + starts[v + 1] - starts[v] - 4
        if common != 2 or around < 3 or around > 12:
            continue
        x, y, z = places[e, 0], places[e, 1], places[e, 2]
        for side in range(2):
            here, other = (u, v) if side == 0 else (v, u)
            for i in range(starts[here], starts[here + 1]):
                f = faces_of[i]
                gone = False
                for c in range(3):
                    n = faces[f, c]
                    if n == other:
                        gone = True
                    elif n != here and locked[n]:
                        free = False
                if free and not gone and _turns(points, faces, f, here, x, y, z):
                    free = False
                if not free:
                    break
            if not free:
                break
        if not free:
            continue
        for side in range(2):
            here = u if side == 0 else v
            for i in range(starts[here], starts[here + 1]):
                for c in range(3):
                    locked[faces[faces_of[i], c]] = True
        points[u, 0], points[u, 1], points[u, 2] = x, y, z
        quadrics[u] += quadrics[v]
        target[v] = u
        done += 1
    return done
