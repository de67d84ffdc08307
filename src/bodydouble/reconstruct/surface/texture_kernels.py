"""Gathering what frames show of each texel: visibility, weight, colour; and the robust mean of it."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel()
def gather(
    worker, num_workers, face_of, bary, faces, points, normals, focal, centre, image, depth, trust, gain, best_w, best_rgb
):  # fmt: skip
    """Offer one frame's colour to every texel that it shows; the texel keeps those with the largest weights.

    points, normals: [V, 3] of this frame in the camera's axes. depth: [H, W], infinite where nothing is. trust: [H, W] in
    [0, 1], 0 near the person's outline. best_w [T, K] in falling order, best_rgb [T, K, 3] 8-bit.
    """
    texels, keep = best_w.shape
    height, width = depth.shape
    p = np.empty(3)
    n = np.empty(3)
    for t in range(worker * texels // num_workers, (worker + 1) * texels // num_workers):
        f = face_of[t]
        for c in range(3):
            p[c] = 0.0
            n[c] = 0.0
            for k in range(3):
                p[c] += bary[t, k] * points[faces[f, k], c]
                n[c] += bary[t, k] * normals[faces[f, k], c]
        if p[2] < 0.05:
            continue
        distance = np.sqrt(p[0] * p[0] + p[1] * p[1] + p[2] * p[2])
        length = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12
        cosine = -(p[0] * n[0] + p[1] * n[1] + p[2] * n[2]) / (distance * length)
        if cosine < 0.15:
            continue
        x = p[0] / p[2] * focal[0] + centre[0] - 0.5
        y = p[1] / p[2] * focal[1] + centre[1] - 0.5
        ix, iy = int(np.floor(x)), int(np.floor(y))
        if ix < 1 or iy < 1 or ix >= width - 2 or iy >= height - 2:
            continue
        # One pixel covers so much more depth the more the surface is seen from the side.
        pixel = p[2] / focal[0]
        tolerance = 0.004 + 1.5 * pixel * np.sqrt(max(0.0, 1.0 - cosine * cosine)) / cosine
        hidden = depth[iy + (y - iy > 0.5), ix + (x - ix > 0.5)] < p[2] - tolerance
        near_edge = False
        for j in range(-1, 3):
            for i in range(-1, 3):
                # In front of another part, next to it: with the pose a little off, its colour would land here.
                if depth[iy + j, ix + i] < p[2] - tolerance - 0.02:
                    near_edge = True
        if hidden or near_edge:
            continue
        fx, fy = x - ix, y - iy
        inside = trust[iy, ix] * (1 - fx) * (1 - fy) + trust[iy, ix + 1] * fx * (1 - fy)
        inside += trust[iy + 1, ix] * (1 - fx) * fy + trust[iy + 1, ix + 1] * fx * fy
        if inside < 0.05:
            continue
        # Pixels for each area of the surface, times how squarely they look at it.
        weight = inside * cosine * cosine * cosine / (pixel * pixel) * 1e-6
        if weight <= best_w[t, keep - 1]:
            continue
        slot = keep - 1
        while slot > 0 and best_w[t, slot - 1] < weight:
            best_w[t, slot] = best_w[t, slot - 1]
            for c in range(3):
                best_rgb[t, slot, c] = best_rgb[t, slot - 1, c]
            slot -= 1
        best_w[t, slot] = weight
        for c in range(3):
            top = image[iy, ix, c] * (1 - fx) + image[iy, ix + 1, c] * fx
            low = image[iy + 1, ix, c] * (1 - fx) + image[iy + 1, ix + 1, c] * fx
            value = (top * (1 - fy) + low * fy) / gain[c] + 0.5
            best_rgb[t, slot, c] = int(min(max(value, 0.0), 255.0))


@kernel()
def blend(worker, num_workers, best_w, best_rgb, rgb, total):
    """Robust mean of what each texel kept: samples far from the weighted median count little.

    rgb: [T, 3] float32 in [0, 255]; total: [T] sum of the weights of the samples that agree.
    """
    texels, keep = best_w.shape
    middle = np.empty(3)
    for t in range(worker * texels // num_workers, (worker + 1) * texels // num_workers):
        whole = 0.0
        for k in range(keep):
            whole += best_w[t, k]
        if whole <= 0.0:
            continue
        for c in range(3):
            # The sample with as much weight above as below: the one that is nearest to all others.
            least = np.inf
            for k in range(keep):
                if best_w[t, k] <= 0.0:
                    break
                cost = 0.0
                for j in range(keep):
                    cost += best_w[t, j] * abs(float(best_rgb[t, k, c]) - float(best_rgb[t, j, c]))
                if cost < least:
                    least = cost
                    middle[c] = best_rgb[t, k, c]
        r = 0.0
        g = 0.0
        b = 0.0
        sum_w = 0.0
        agreed = 0.0
        for k in range(keep):
            w = best_w[t, k]
            if w <= 0.0:
                break
            off = 0.0
            for c in range(3):
                d = float(best_rgb[t, k, c]) - middle[c]
                off += d * d
            agree = 1.0 / (1.0 + (off / 900.0) ** 2)
            agreed += w * agree
            # Squared: the sharpest view leads, and hands over smoothly to the next one.
            s = w * w * agree
            r += s * best_rgb[t, k, 0]
            g += s * best_rgb[t, k, 1]
            b += s * best_rgb[t, k, 2]
            sum_w += s
        rgb[t, 0], rgb[t, 1], rgb[t, 2] = r / sum_w, g / sum_w, b / sum_w
        total[t] = agreed
