"""Normal equations of points and segments that a skeleton carries, frame by frame."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel()
def add_points_and_segments(
    worker, num_workers, turn, moment, slots, world, depth, focal_px, metres_per_px, image, image_weight, pairs,
    direction, direction_weight, columns, shared_rows, blocks, gradient, border,
):  # fmt: skip
    """Add J^T W J and J^T W r of a group's image and direction residuals to every frame's normal equations.

    Args:
        worker, num_workers: This worker takes every num_workers-th frame (`render.threads.run_kernel`).
        turn, moment: [frames, nodes, 3, unknowns] (`kinematics.Screws`).
        slots: [points] which of these nodes carries each point.
        world, depth: [frames, points, 3] metres, [frames, points] metres in front of the camera.
        focal_px, metres_per_px: Of the camera; [frames] at the person's distance.
        image, image_weight: [frames, points, 2] residuals, metres at that distance, and [frames, points] their weights.
        pairs, direction, direction_weight: [segments, 2] points, [frames, segments, 3] residuals, [frames, segments].
        columns: [unknowns] where these unknowns stand among the frame's.
        shared_rows: [frames, 2 points, shared] weighted derivatives by what all frames share; of size 0 for none.
        blocks, gradient, border: Of `terms.Normal`; added to.
    """
    size, points, segments, num_shared = turn.shape[3], slots.shape[0], pairs.shape[0], shared_rows.shape[2]
    J = np.empty((points, 3, size))
    row, turned, along = np.empty(size), np.empty((3, size)), np.empty(3)
    H, g = np.empty((size, size)), np.empty(size)
    for f in range(worker, turn.shape[0], num_workers):
        H[:], g[:] = 0.0, 0.0
        for p in range(points):
            x, y, z = world[f, p, 0], world[f, p, 1], world[f, p, 2]
            w, m = turn[f, slots[p]], moment[f, slots[p]]
            for c in range(size):
                J[p, 0, c] = w[1, c] * z - w[2, c] * y - m[0, c]
                J[p, 1, c] = w[2, c] * x - w[0, c] * z - m[1, c]
                J[p, 2, c] = w[0, c] * y - w[1, c] * x - m[2, c]
            root = np.sqrt(image_weight[f, p])
            if root == 0.0:
                continue
            gain = root * focal_px * metres_per_px[f] / depth[f, p]
            for axis in range(2):
                sign = gain if axis == 0 else -gain  # images count y downwards
                slope = world[f, p, axis] / depth[f, p]
                for c in range(size):
                    row[c] = sign * (J[p, axis, c] + slope * J[p, 2, c])
                _add_row(row, root * image[f, p, axis], H, g)
                if num_shared:
                    for c in range(size):
                        for s in range(num_shared):
                            border[f, columns[c], s] += row[c] * shared_rows[f, 2 * p + axis, s]
        for s in range(segments):
            root = np.sqrt(direction_weight[f, s])
            if root == 0.0:
                continue
            start, end = pairs[s, 0], pairs[s, 1]
            for i in range(3):
                along[i] = world[f, end, i] - world[f, start, i]
            length = max(np.sqrt(along[0] ** 2 + along[1] ** 2 + along[2] ** 2), 1e-9)
            along /= length
            for c in range(size):
                dx, dy, dz = (
                    J[end, 0, c] - J[start, 0, c], J[end, 1, c] - J[start, 1, c], J[end, 2, c] - J[start, 2, c]
                )  # fmt: skip
                stretch = along[0] * dx + along[1] * dy + along[2] * dz
                turned[0, c] = root / length * (dx - along[0] * stretch)
                turned[1, c] = root / length * (dy - along[1] * stretch)
                turned[2, c] = root / length * (dz - along[2] * stretch)
            for axis in range(3):
                _add_row(turned[axis], root * direction[f, s, axis], H, g)
        for i in range(size):
            gradient[f, columns[i]] += g[i]
            for j in range(i + 1):
                blocks[f, columns[i], columns[j]] += H[i, j]
                if i != j:
                    blocks[f, columns[j], columns[i]] += H[i, j]


@kernel(cached=False)
def _add_row(row, value, H, g):
    """Add one weighted residual to the lower triangle; a point moves with few of the unknowns, the others cost nothing."""
    for i in range(row.shape[0]):
        slope = row[i]
        if slope != 0.0:
            g[i] += slope * value
            for j in range(i + 1):
                H[i, j] += slope * row[j]
