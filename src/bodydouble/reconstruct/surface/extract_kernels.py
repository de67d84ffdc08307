"""Marching tetrahedra: every cube of the grid is cut into six tetrahedra around its main diagonal (Kuhn's subdivision).

Neighbouring cubes cut their shared face alike and a tetrahedron has no ambiguous case (Payne and Toga, "Surface mapping
brain function on 3D models", 1990), so the surface is closed and two-manifold whatever the values are. All edges run from a
node to a node further along in x, y and z; such an edge is named by its first node and the seven ways to go from it.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from bodydouble.core.jit import kernel


def _tetrahedra() -> np.ndarray:
    """[6, 4] corners of the tetrahedra as bits x + 2 y + 4 z, each positively oriented."""
    rows = []
    for order in permutations(range(3)):
        corners = [0]
        for axis in order:
            corners.append(corners[-1] | 1 << axis)
        places = np.array([[c >> axis & 1 for axis in range(3)] for c in corners])
        if np.linalg.det((places[1:] - places[0]).astype(float)) < 0:
            corners[2], corners[3] = corners[3], corners[2]
        rows.append(corners)
    return np.array(rows, dtype=np.int64)


def _orders() -> np.ndarray:
    """[16, 4]: for each set of inside corners (bits) an even permutation of the corners with the inside ones first."""
    rows = np.zeros((16, 4), dtype=np.int64)
    for case in range(16):
        inside = [i for i in range(4) if case >> i & 1]
        outside = [i for i in range(4) if not case >> i & 1]
        order = inside + outside
        swaps = sum(order[a] > order[b] for a in range(4) for b in range(a + 1, 4))
        if swaps % 2:
            # Two corners of the same kind change places, so that the inside ones stay first.
            a = 2 if len(outside) >= 2 else 0
            order[a], order[a + 1] = order[a + 1], order[a]
        rows[case] = order
    return rows


TETRAHEDRA, ORDERS = _tetrahedra(), _orders()


@kernel()
def mark_edges(values, masks):
    """Set bit k - 1 of masks[node] where the edge from the node to its neighbour k (bits x + 2 y + 4 z) is crossed."""
    nx, ny, nz = values.shape
    total = 0
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                inside = values[x, y, z] < 0.0
                mask = 0
                for k in range(1, 8):
                    i, j, l = x + (k & 1), y + (k >> 1 & 1), z + (k >> 2)
                    if i < nx and j < ny and l < nz and (values[i, j, l] < 0.0) != inside:
                        mask |= 1 << (k - 1)
                        total += 1
                masks[x, y, z] = mask
    return total


@kernel()
def place_vertices(values, masks, first, points):
    """Number the crossed edges and put a vertex where the linear interpolant is zero, in grid units.

    first[node] becomes the number of the node's first crossed edge. Vertices keep a little off the nodes: there, several
    edges would meet in one point and leave triangles without area.
    """
    nx, ny, nz = values.shape
    done = 0
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                first[x, y, z] = done
                mask = masks[x, y, z]
                if mask == 0:
                    continue
                a = values[x, y, z]
                for k in range(1, 8):
                    if mask >> (k - 1) & 1:
                        dx, dy, dz = k & 1, k >> 1 & 1, k >> 2
                        b = values[x + dx, y + dy, z + dz]
                        t = min(max(a / (a - b), 0.002), 0.998)
                        points[done, 0] = x + t * dx
                        points[done, 1] = y + t * dy
                        points[done, 2] = z + t * dz
                        done += 1


@kernel(cached=False)
def _edge(masks, first, x, y, z, a, b):
    """Number of the vertex on the edge between the corners a and b of the cube at (x, y, z)."""
    low = a & b
    k = a ^ b
    i, j, l = x + (low & 1), y + (low >> 1 & 1), z + (low >> 2)
    before = masks[i, j, l] & ((1 << (k - 1)) - 1)
    number = first[i, j, l]
    while before:
        number += before & 1
        before >>= 1
    return number


@kernel()
def fill_faces(values, masks, first, tetrahedra, orders, faces):
    """Write the triangles, counter-clockwise seen from outside (values >= 0); returns how many there are.

    With `faces` of no rows they are only counted.
    """
    nx, ny, nz = values.shape
    write = faces.shape[0] > 0
    done = 0
    sign = np.empty(8, dtype=np.bool_)
    q = np.empty(4, dtype=np.int64)
    for x in range(nx - 1):
        for y in range(ny - 1):
            for z in range(nz - 1):
                count = 0
                for c in range(8):
                    sign[c] = values[x + (c & 1), y + (c >> 1 & 1), z + (c >> 2)] < 0.0
                    count += sign[c]
                if count == 0 or count == 8:
                    continue
                for t in range(6):
                    case = 0
                    inside = 0
                    for c in range(4):
                        if sign[tetrahedra[t, c]]:
                            case |= 1 << c
                            inside += 1
                    if inside == 0 or inside == 4:
                        continue
                    if not write:
                        done += 2 if inside == 2 else 1
                        continue
                    for c in range(4):
                        q[c] = tetrahedra[t, orders[case, c]]
                    if inside == 2:
                        ac = _edge(masks, first, x, y, z, q[0], q[2])
                        ad = _edge(masks, first, x, y, z, q[0], q[3])
                        bd = _edge(masks, first, x, y, z, q[1], q[3])
                        bc = _edge(masks, first, x, y, z, q[1], q[2])
                        faces[done, 0], faces[done, 1], faces[done, 2] = ac, ad, bd
                        faces[done + 1, 0], faces[done + 1, 1], faces[done + 1, 2] = ac, bd, bc
                        done += 2
                    elif inside == 1:
                        faces[done, 0] = _edge(masks, first, x, y, z, q[0], q[1])
                        faces[done, 1] = _edge(masks, first, x, y, z, q[0], q[2])
                        faces[done, 2] = _edge(masks, first, x, y, z, q[0], q[3])
                        done += 1
                    else:
                        faces[done, 0] = _edge(masks, first, x, y, z, q[3], q[0])
                        faces[done, 1] = _edge(masks, first, x, y, z, q[3], q[1])
                        faces[done, 2] = _edge(masks, first, x, y, z, q[3], q[2])
                        done += 1
    return done
