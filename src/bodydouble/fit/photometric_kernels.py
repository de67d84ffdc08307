"""What an image difference says about where the points of a surface should move: gradient times difference, in windows."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel(cached=False)
def _window(u, v, radius, height, width, across, down):
    """Gaussian weights of the pixels around a place, as a row and a column; returns its first and last column and row."""
    reach = int(np.ceil(radius))
    spread = 1.0 / (0.5 * radius * radius)
    x0, x1 = max(1, int(u) - reach), min(width - 1, int(u) + reach + 2)
    y0, y1 = max(1, int(v) - reach), min(height - 1, int(v) + reach + 2)
    for x in range(x0, x1):
        across[x - x0] = np.exp(-spread * (x - u) ** 2)
    for y in range(y0, y1):
        down[y - y0] = np.exp(-spread * (y - v) ** 2)
    return x0, x1, y0, y1


@kernel()
def window_cover(points_px, radius_px, cover_out):
    """Add the weights of all points' windows at each pixel."""
    height, width = cover_out.shape
    across, down = np.empty(2 * int(np.ceil(radius_px)) + 3), np.empty(2 * int(np.ceil(radius_px)) + 3)
    for n in range(points_px.shape[0]):
        x0, x1, y0, y1 = _window(points_px[n, 0] - 0.5, points_px[n, 1] - 0.5, radius_px, height, width, across, down)
        for y in range(y0, y1):
            for x in range(x0, x1):
                cover_out[y, x] += across[x - x0] * down[y - y0]


@kernel()
def image_pulls(worker, num_workers, render, frame, points_px, radius_px, cover, target_px_out, information_out):
    """Local inverse covariance and target of each point (Lucas and Kanade, IJCAI 1981; symmetric gradients).

    The pixels around a point share one displacement d with render(p - d) = frame(p). Every pixel counts once in all:
    where windows overlap, it is divided among them by their weights.

    Args:
        worker, num_workers: This worker takes every num_workers-th point (`render.threads.run_kernel`).
        render, frame: [height, width, 3] float32 in [0, 1] over the same plain background.
        points_px: [points, 2] in the render, pixel centres at +0.5.
        radius_px: Half the window.
        cover: [height, width] from `window_cover`.
        target_px_out: [points, 2] receives the places where the points should lie.
        information_out: [points, 3] receives xx, xy, yy per square pixel and per unit variance of colour.
    """
    height, width = render.shape[0], render.shape[1]
    across, down = np.empty(2 * int(np.ceil(radius_px)) + 3), np.empty(2 * int(np.ceil(radius_px)) + 3)
    for n in range(worker, points_px.shape[0], num_workers):
        x0, x1, y0, y1 = _window(points_px[n, 0] - 0.5, points_px[n, 1] - 0.5, radius_px, height, width, across, down)
        gxx, gxy, gyy, bx, by = 0.0, 0.0, 0.0, 0.0, 0.0
        for y in range(y0, y1):
            for x in range(x0, x1):
                weight = across[x - x0] * down[y - y0] / max(cover[y, x], 0.05)
                for c in range(3):
                    dx = 0.25 * (render[y, x + 1, c] - render[y, x - 1, c] + frame[y, x + 1, c] - frame[y, x - 1, c])
                    dy = 0.25 * (render[y + 1, x, c] - render[y - 1, x, c] + frame[y + 1, x, c] - frame[y - 1, x, c])
                    e = frame[y, x, c] - render[y, x, c]
                    gxx += weight * dx * dx
                    gxy += weight * dx * dy
                    gyy += weight * dy * dy
                    bx -= weight * dx * e
                    by -= weight * dy * e
        # A straight edge tells nothing along itself: a little more on the diagonal, and the target stays beside it.
        ridge = 1e-3 * (gxx + gyy) + 1e-12
        axx, ayy = gxx + ridge, gyy + ridge
        det = axx * ayy - gxy * gxy
        target_px_out[n, 0] = points_px[n, 0] + (ayy * bx - gxy * by) / det
        target_px_out[n, 1] = points_px[n, 1] + (axx * by - gxy * bx) / det
        information_out[n, 0], information_out[n, 1], information_out[n, 2] = gxx, gxy, gyy
