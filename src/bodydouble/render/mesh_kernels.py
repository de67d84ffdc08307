"""Kernels of the z-buffer mesh rasteriser.

Coverage uses homogeneous edge functions (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates",
1997): for the ray d through a pixel and the corners p0, p1, p2 in the camera's frame, d . (p1 x p2) and its two
siblings are the perspective-correct barycentric weights up to scale, whether or not the triangle crosses the plane
of the camera. So nothing has to be clipped; only the box of pixels to look at needs care near the camera.
"""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel(cached=False)
def _bounds(points, face, fx, fy, cx, cy, near, box):
    """Box of the part of the triangle beyond `near` in pixels: x0, x1, y0, y1. False if nothing is beyond."""
    box[0] = np.inf
    box[1] = -np.inf
    box[2] = np.inf
    box[3] = -np.inf
    seen = False
    for k in range(3):
        a = points[face[k]]
        b = points[face[(k + 1) % 3]]
        if a[2] >= near:
            seen = True
            x = a[0] / a[2] * fx + cx
            y = a[1] / a[2] * fy + cy
            box[0] = min(box[0], x)
            box[1] = max(box[1], x)
            box[2] = min(box[2], y)
            box[3] = max(box[3], y)
        if (a[2] >= near) != (b[2] >= near):
            t = (near - a[2]) / (b[2] - a[2])
            x = (a[0] + t * (b[0] - a[0])) / near * fx + cx
            y = (a[1] + t * (b[1] - a[1])) / near * fy + cy
            box[0] = min(box[0], x)
            box[1] = max(box[1], x)
            box[2] = min(box[2], y)
            box[3] = max(box[3], y)
    return seen


@kernel(cached=False)
def _edges(p0, p1, p2, fx, fy, cx, cy, e):
    """Fill e[k] = (a, b, c) so that a x + b y + c is the weight of corner k at pixel position (x, y). Returns det."""
    q = ((p1, p2), (p2, p0), (p0, p1))
    for k in range(3):
        u, v = q[k]
        nx = u[1] * v[2] - u[2] * v[1]
        ny = u[2] * v[0] - u[0] * v[2]
        nz = u[0] * v[1] - u[1] * v[0]
        e[k, 0] = nx / fx
        e[k, 1] = ny / fy
        e[k, 2] = nz - nx / fx * cx - ny / fy * cy
        if k == 0:
            det = nx * p0[0] + ny * p0[1] + nz * p0[2]
    return det


@kernel(fastmath={"contract"})
def rasterize_band(worker, num_workers, bands, points, faces, fx, fy, cx, cy, near, face_index, inverse_depth):
    """Draw all faces into rows bands[worker] .. bands[worker + 1].

    points: [V, 3] float64 in the camera's frame. face_index [H, W] starts at -1 and inverse_depth [H, W] at 0; the
    nearest face wins, of equals the one with the lowest index.
    """
    row0, row1 = bands[worker], bands[worker + 1]
    width = face_index.shape[1]
    box = np.empty(4)
    e = np.empty((3, 3))
    for f in range(faces.shape[0]):
        face = faces[f]
        if not _bounds(points, face, fx, fy, cx, cy, near, box):
            continue
        # Pixel centres lie at +0.5.
        x0 = int(max(0.0, np.ceil(box[0] - 0.5)))
        x1 = int(min(width - 1.0, np.floor(box[1] - 0.5)))
        y0 = int(max(float(row0), np.ceil(box[2] - 0.5)))
        y1 = int(min(row1 - 1.0, np.floor(box[3] - 0.5)))
        if x0 > x1 or y0 > y1:
            continue
        det = _edges(points[face[0]], points[face[1]], points[face[2]], fx, fy, cx, cy, e)
        if det == 0.0:
            continue
        s = 1.0 if det > 0.0 else -1.0
        a0, b0, c0 = s * e[0, 0], s * e[0, 1], s * e[0, 2]
        a1, b1, c1 = s * e[1, 0], s * e[1, 1], s * e[1, 2]
        a2, b2, c2 = s * e[2, 0], s * e[2, 1], s * e[2, 2]
        scale = 1.0 / abs(det)
        for y in range(y0, y1 + 1):
            py = y + 0.5
            r0, r1, r2 = b0 * py + c0, b1 * py + c1, b2 * py + c2
            for x in range(x0, x1 + 1):
                px = x + 0.5
                w0, w1, w2 = a0 * px + r0, a1 * px + r1, a2 * px + r2
                if w0 >= 0.0 and w1 >= 0.0 and w2 >= 0.0:
                    inv = (w0 + w1 + w2) * scale
                    if inv > inverse_depth[y, x] and inv * near <= 1.0:
                        inverse_depth[y, x] = inv
                        face_index[y, x] = f


@kernel(fastmath={"contract"})
def shade_band(worker, num_workers, points, faces, fx, fy, cx, cy, face_index, barycentric, depth):
    """Barycentric weights and depth of every covered pixel, exactly, from the face it shows."""
    height, width = face_index.shape
    e = np.empty((3, 3))
    last = -1
    det = 0.0
    for y in range(worker * height // num_workers, (worker + 1) * height // num_workers):
        for x in range(width):
            f = face_index[y, x]
            if f < 0:
                continue
            if f != last:
                det = _edges(points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]], fx, fy, cx, cy, e)
                last = f
            px, py = x + 0.5, y + 0.5
            w0 = e[0, 0] * px + e[0, 1] * py + e[0, 2]
            w1 = e[1, 0] * px + e[1, 1] * py + e[1, 2]
            w2 = e[2, 0] * px + e[2, 1] * py + e[2, 2]
            total = w0 + w1 + w2
            barycentric[y, x, 0] = w0 / total
            barycentric[y, x, 1] = w1 / total
            barycentric[y, x, 2] = w2 / total
            depth[y, x] = det / total


@kernel()
def count_rows(points, faces, fy, cy, near, rows):
    """Add to rows[y] a measure of the work that faces cause there."""
    height = rows.shape[0]
    for f in range(faces.shape[0]):
        y = 0.0
        seen = 0
        for k in range(3):
            p = points[faces[f, k]]
            if p[2] >= near:
                y += p[1] / p[2] * fy + cy
                seen += 1
        if seen > 0:
            rows[int(min(height - 1.0, max(0.0, y / seen)))] += 1.0
