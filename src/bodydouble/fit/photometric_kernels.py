"""What an image difference says about where the points of a surface should move: gradient times difference, in windows."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel()
def image_pulls(render, frame, points_px, radius_px, target_px_out, information_out):
    """Local inverse covariance and target of each point (Lucas and Kanade, IJCAI 1981; symmetric gradients).

    The pixels around a point share one displacement d with render(p - d) = frame(p). Every pixel counts once in all:
    where windows overlap, it is divided among them by their weights.

    Args:
        render, frame: [height, width, 3] float32 in [0, 1] over the same plain background.
        points_px: [points, 2] in the render, pixel centres at +0.5.
        radius_px: Half the window.
        target_px_out: [points, 2] receives the places where the points should lie.
        information_out: [points, 3] receives xx, xy, yy per square pixel and per unit variance of colour.
    """
    height, width = render.shape[0], render.shape[1]
    reach = int(np.ceil(radius_px))
    spread = 1.0 / (0.5 * radius_px * radius_px)
    cover = np.zeros((height, width), np.float32)
    for n in range(points_px.shape[0]):
        u, v = points_px[n, 0] - 0.5, points_px[n, 1] - 0.5
        for y in range(max(1, int(v) - reach), min(height - 1, int(v) + reach + 2)):
            for x in range(max(1, int(u) - reach), min(width - 1, int(u) + reach + 2)):
                cover[y, x] += np.exp(-spread * ((x - u) ** 2 + (y - v) ** 2))
    for n in range(points_px.shape[0]):
        u, v = points_px[n, 0] - 0.5, points_px[n, 1] - 0.5
        gxx, gxy, gyy, bx, by = 0.0, 0.0, 0.0, 0.0, 0.0
        for y in range(max(1, int(v) - reach), min(height - 1, int(v) + reach + 2)):
            for x in range(max(1, int(u) - reach), min(width - 1, int(u) + reach + 2)):
                weight = np.exp(-spread * ((x - u) ** 2 + (y - v) ** 2)) / max(cover[y, x], 0.05)
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
