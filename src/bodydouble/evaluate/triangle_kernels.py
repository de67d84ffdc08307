"""Kernels over a tree of triangles: nearest point on the surface, and winding numbers.

The tree is complete: node i has the children 2 i + 1 and 2 i + 2, and the last row holds the leaves, each with the same
number of triangles (some of them repeated to fill up, with no area).
"""

from __future__ import annotations

import math

import numpy as np

from bodydouble.core.jit import kernel

_STACK = 64


@kernel(cached=False, inline=True)
def _box_distance_2(p, low, high):
    total = 0.0
    for k in range(3):
        d = max(low[k] - p[k], p[k] - high[k], 0.0)
        total += d * d
    return total


@kernel(cached=False)
def _triangle_distance_2(p, a, b, c):
    """Squared distance to a triangle (Ericson, "Real-time collision detection", 2004, section 5.1.5)."""
    abx, aby, abz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    acx, acy, acz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    apx, apy, apz = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    d1 = abx * apx + aby * apy + abz * apz
    d2 = acx * apx + acy * apy + acz * apz
    d3 = d1 - (abx * abx + aby * aby + abz * abz)
    d4 = d2 - (abx * acx + aby * acy + abz * acz)
    d5 = d1 - (abx * acx + aby * acy + abz * acz)
    d6 = d2 - (acx * acx + acy * acy + acz * acz)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    u, v = 0.0, 0.0  # the nearest point is a + u ab + v ac
    if d1 <= 0.0 and d2 <= 0.0:
        pass
    elif d3 >= 0.0 and d4 <= d3:
        u = 1.0
    elif d6 >= 0.0 and d5 <= d6:
        v = 1.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        u = d1 / (d1 - d3) if d1 > d3 else 0.0
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        v = d2 / (d2 - d6) if d2 > d6 else 0.0
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        v = (d4 - d3) / ((d4 - d3) + (d5 - d6)) if (d4 - d3) + (d5 - d6) > 0.0 else 0.0
        u = 1.0 - v
    else:
        u, v = vb / (va + vb + vc), vc / (va + vb + vc)
    dx = apx - u * abx - v * acx
    dy = apy - u * aby - v * acy
    dz = apz - u * abz - v * acz
    return dx * dx + dy * dy + dz * dz


@kernel()
def nearest_kernel(worker, num_workers, points, corners, low, high, per_leaf, distance_2, slot):
    """For each point the squared distance to the nearest triangle, and that triangle's place in the tree."""
    first_leaf = len(low) // 2
    stack = np.empty(_STACK, np.int64)
    for i in range(len(points) * worker // num_workers, len(points) * (worker + 1) // num_workers):
        p = points[i]
        best, found = np.inf, -1
        stack[0] = 0
        size = 1
        while size > 0:
            size -= 1
            node = stack[size]
            if _box_distance_2(p, low[node], high[node]) >= best:
                continue
            if node >= first_leaf:
                for k in range((node - first_leaf) * per_leaf, (node - first_leaf + 1) * per_leaf):
                    d = _triangle_distance_2(p, corners[k, 0], corners[k, 1], corners[k, 2])
                    if d < best:
                        best, found = d, k
                continue
            left, right = 2 * node + 1, 2 * node + 2
            near_first = _box_distance_2(p, low[left], high[left]) <= _box_distance_2(p, low[right], high[right])
            stack[size] = right if near_first else left
            stack[size + 1] = left if near_first else right
            size += 2
        distance_2[i] = best
        slot[i] = found


@kernel(cached=False)
def _solid_angle(p, a, b, c):
    """Of a triangle as seen from p (van Oosterom and Strackee, "The solid angle of a plane triangle", 1983)."""
    ax, ay, az = a[0] - p[0], a[1] - p[1], a[2] - p[2]
    bx, by, bz = b[0] - p[0], b[1] - p[1], b[2] - p[2]
    cx, cy, cz = c[0] - p[0], c[1] - p[1], c[2] - p[2]
    la = math.sqrt(ax * ax + ay * ay + az * az)
    lb = math.sqrt(bx * bx + by * by + bz * bz)
    lc = math.sqrt(cx * cx + cy * cy + cz * cz)
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    ab = ax * bx + ay * by + az * bz
    bc = bx * cx + by * cy + bz * cz
    ca = cx * ax + cy * ay + cz * az
    return 2.0 * math.atan2(volume, la * lb * lc + ab * lc + bc * la + ca * lb)


@kernel()
def winding_kernel(worker, num_workers, points, corners, area_vector, centre, radius, per_leaf, far, winding):
    """How often the surface winds around each point; far parts of the tree act as one area vector at their centre.

    Barill, Dickson, Schmidt, Levin, Jacobson, "Fast winding numbers for soups and clouds", 2018, first order.
    """
    first_leaf = len(radius) // 2
    stack = np.empty(_STACK, np.int64)
    for i in range(len(points) * worker // num_workers, len(points) * (worker + 1) // num_workers):
        p = points[i]
        total = 0.0
        stack[0] = 0
        size = 1
        while size > 0:
            size -= 1
            node = stack[size]
            dx, dy, dz = centre[node, 0] - p[0], centre[node, 1] - p[1], centre[node, 2] - p[2]
            distance = math.sqrt(dx * dx + dy * dy + dz * dz)
            if distance > far * radius[node] and distance > 0.0:
                n = area_vector[node]
                total += (n[0] * dx + n[1] * dy + n[2] * dz) / (distance * distance * distance)
            elif node >= first_leaf:
                for k in range((node - first_leaf) * per_leaf, (node - first_leaf + 1) * per_leaf):
                    total += _solid_angle(p, corners[k, 0], corners[k, 1], corners[k, 2])
            else:
                stack[size] = 2 * node + 1
                stack[size + 1] = 2 * node + 2
                size += 2
        winding[i] = total / (4.0 * math.pi)
