"""Colours of a scene's surfaces, as compiled kernels. Import inside functions.

A face names a texture. Textures are 8-bit square roots of linear light, with power-of-two sides and all their coarser
levels one after the other; they repeat beyond their sides.
"""

from __future__ import annotations

import math

import numpy as np

from bodydouble.core.jit import kernel

_LEVEL_EVERY = 6
"""The level of detail is found anew after so many pixels of one face."""


@kernel(fastmath={"contract"})
def shade_scene(face_index, edges, det, uv, light, texture, table, texels, lamp_rgb, dither, weight, lamp, sky, depth):
    """Add the light that each pixel gets from the scene, times `weight`.

    Args:
        face_index: (height, width) which face each pixel shows; negative for none.
        edges: (faces, 3, 3) a, b, c with a x + b y + c the weight of a corner at a place of the picture.
        det: (faces) depth is this over the sum of the weights.
        uv: (faces, 3, 2) place of the corners in the finest level, texels.
        light: (faces, 3, 4) share of the lamp, and ambient light (linear RGB), at the corners.
        texture: (faces) which texture.
        table: (textures, 2 + levels) log2 of width and height, then where each level starts in `texels`.
        texels: (n, 3) 8-bit square roots of linear light.
        lamp_rgb: (3) the lamp's colour.
        dither: Added to the level of detail; several pictures with different values blend the levels.
        lamp, sky: (height, width, 3) added to: light from the lamp, and from everywhere else.
        depth: (height, width) metres, overwritten; infinite where nothing is seen.
    """
    height, width = face_index.shape
    scale = weight / (255.0 * 255.0)
    last, level, since = -1, 0, 0
    e, t, g = edges[0], uv[0], light[0]
    ax, ay, log_w, log_h, start, wide, high = 0.0, 0.0, 0, 0, 0, 1, 1
    shrink_u, shrink_v = 1.0, 1.0
    for y in range(height):
        for x in range(width):
            f = face_index[y, x]
            if f < 0:
                depth[y, x] = np.inf
                continue
            if f != last:
                e, t, g = edges[f], uv[f], light[f]
                ax, ay = e[0, 0] + e[1, 0] + e[2, 0], e[0, 1] + e[1, 1] + e[2, 1]
                log_w, log_h = table[texture[f], 0], table[texture[f], 1]
            px, py = x + 0.5, y + 0.5
            w0 = e[0, 0] * px + e[0, 1] * py + e[0, 2]
            w1 = e[1, 0] * px + e[1, 1] * py + e[1, 2]
            w2 = e[2, 0] * px + e[2, 1] * py + e[2, 2]
            inv = 1.0 / (w0 + w1 + w2)
            depth[y, x] = det[f] * inv
            w0, w1, w2 = w0 * inv, w1 * inv, w2 * inv
            u = w0 * t[0, 0] + w1 * t[1, 0] + w2 * t[2, 0]
            v = w0 * t[0, 1] + w1 * t[1, 1] + w2 * t[2, 1]
            since += 1
            if f != last or since > _LEVEL_EVERY:
                last, since = f, 0
                ux = (e[0, 0] * t[0, 0] + e[1, 0] * t[1, 0] + e[2, 0] * t[2, 0] - u * ax) * inv
                vx = (e[0, 0] * t[0, 1] + e[1, 0] * t[1, 1] + e[2, 0] * t[2, 1] - v * ax) * inv
                uy = (e[0, 1] * t[0, 0] + e[1, 1] * t[1, 0] + e[2, 1] * t[2, 0] - u * ay) * inv
                vy = (e[0, 1] * t[0, 1] + e[1, 1] * t[1, 1] + e[2, 1] * t[2, 1] - v * ay) * inv
                along, across = ux * ux + vx * vx, uy * uy + vy * vy
                # Grazing surfaces: the finer direction counts, unless the other would be much too coarse for it.
                footprint = max(min(along, across), max(along, across) / 7.0)
                level = int(max(0.5 * math.log2(footprint + 1e-12) - 1.0 + dither, 0.0))
                level = min(level, max(log_w, log_h))
                wide, high = 1 << max(log_w - level, 0), 1 << max(log_h - level, 0)
                shrink_u, shrink_v = 1.0 / (1 << min(level, log_w)), 1.0 / (1 << min(level, log_h))
                start = table[texture[f], 2 + level]
            su, sv = u * shrink_u - 0.5, v * shrink_v - 0.5
            iu, iv = math.floor(su), math.floor(sv)
            fu, fv = su - iu, sv - iv
            i0, i1 = int(iu) & (wide - 1), (int(iu) + 1) & (wide - 1)
            r0 = start + (int(iv) & (high - 1)) * wide
            r1 = start + ((int(iv) + 1) & (high - 1)) * wide
            w00, w01, w10, w11 = (1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv
            direct = w0 * g[0, 0] + w1 * g[1, 0] + w2 * g[2, 0]
            for c in range(3):
                root = texels[r0 + i0, c] * w00 + texels[r0 + i1, c] * w01
                root += texels[r1 + i0, c] * w10 + texels[r1 + i1, c] * w11
                color = root * root * scale
                lamp[y, x, c] += color * direct * lamp_rgb[c]
                sky[y, x, c] += color * (w0 * g[0, 1 + c] + w1 * g[1, 1 + c] + w2 * g[2, 1 + c])


@kernel(inline=True, cached=False)
def _bilinear(grid, u, v):
    a, b = int(u), int(v)
    s, t = u - a, v - b
    top = grid[b, a] * (1 - s) + grid[b, a + 1] * s
    low = grid[b + 1, a] * (1 - s) + grid[b + 1, a + 1] * s
    return top * (1 - t) + low * t


@kernel(fastmath={"contract"})
def person_shade(depth, camera, lamp, covers, behind, grid, place, out_lamp, out_sky):
    """How much of the lamp's and of the other light the performer leaves to each pixel of the scene.

    Args:
        depth: (height, width) of the scene.
        camera: T_world_camera (3 x 4, flattened), focal lengths, centre.
        lamp: T_lamp_world (3 x 4, flattened), focal length, centre, cells of `covers` per pixel, metres per cell,
            how fast shadows grow softer (metres per metre).
        covers: (levels, n, n) share of the lamp that the performer takes, seen from the lamp; each level is twice and
            a half as blurred as the one before, from one cell on.
        behind: (n, n) distance of the performer from the lamp.
        grid: (rows, columns) share of the sky that places on the floor see.
        place: x and z of the grid's first point, its cell, the floor's height.
        out_lamp, out_sky: (height, width) shares, overwritten.
    """
    height, width = depth.shape
    levels, cells = covers.shape[0], covers.shape[1]
    rows, columns = grid.shape
    last = cells - 1.001
    for y in range(height):
        for x in range(width):
            out_lamp[y, x] = 1.0
            out_sky[y, x] = 1.0
            z = depth[y, x]
            if not z < 60.0:
                continue
            cx, cy = (x + 0.5 - camera[14]) / camera[12] * z, (y + 0.5 - camera[15]) / camera[13] * z
            qx = camera[0] * cx + camera[1] * cy + camera[2] * z + camera[3]
            qy = camera[4] * cx + camera[5] * cy + camera[6] * z + camera[7]
            qz = camera[8] * cx + camera[9] * cy + camera[10] * z + camera[11]
            if abs(qy - place[3]) < 0.03:
                gu, gv = (qx - place[0]) / place[2], (qz - place[1]) / place[2]
                if gu >= 0 and gv >= 0 and gu < columns - 1.001 and gv < rows - 1.001:
                    out_sky[y, x] = _bilinear(grid, gu, gv)
            away = lamp[8] * qx + lamp[9] * qy + lamp[10] * qz + lamp[11]
            u = ((lamp[0] * qx + lamp[1] * qy + lamp[2] * qz + lamp[3]) / away * lamp[12] + lamp[13]) * lamp[14] - 0.5
            v = ((lamp[4] * qx + lamp[5] * qy + lamp[6] * qz + lamp[7]) / away * lamp[12] + lamp[13]) * lamp[14] - 0.5
            if u < 0 or v < 0 or u >= last or v >= last:
                continue
            far = away - _bilinear(behind, u, v)
            if far < -0.12:
                continue
            soft = max(far, 0.0) * lamp[16] / lamp[15]
            step = max(math.log(max(soft, 1.0)) / 0.9163, 0.0)
            low = min(int(step), levels - 1)
            high = min(low + 1, levels - 1)
            share = min(step - low, 1.0)
            taken = _bilinear(covers[low], u, v) * (1 - share) + _bilinear(covers[high], u, v) * share
            out_lamp[y, x] = 1.0 - taken * min((far + 0.12) / 0.08, 1.0)
