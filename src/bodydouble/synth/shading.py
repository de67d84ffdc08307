"""Light in the room and the finished picture, pixel by pixel, as compiled kernels. Import inside functions."""

from __future__ import annotations

import math

import numpy as np

from bodydouble.core.jit import kernel
from bodydouble.synth.noise_kernels import lattice


@kernel()
def posed_normals(points, faces, out):
    """Unit vertex normals of a posed mesh, weighted by area."""
    out[:] = 0.0
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in range(3):
            v = faces[f, k]
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(len(points)):
        n = math.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if n > 0:
            for k in range(3):
                out[v, k] /= n


@kernel()
def lamp_visibility(point, T_lamp_world, focal, center, depth, bias):
    """How much of the lamp a point sees, by nine comparisons with the depth that the lamp sees."""
    x = (
        T_lamp_world[0, 0] * point[0]
        + T_lamp_world[0, 1] * point[1]
        + T_lamp_world[0, 2] * point[2]
        + T_lamp_world[0, 3]
    )
    y = (
        T_lamp_world[1, 0] * point[0]
        + T_lamp_world[1, 1] * point[1]
        + T_lamp_world[1, 2] * point[2]
        + T_lamp_world[1, 3]
    )
    z = (
        T_lamp_world[2, 0] * point[0]
        + T_lamp_world[2, 1] * point[1]
        + T_lamp_world[2, 2] * point[2]
        + T_lamp_world[2, 3]
    )
    u, v = x / z * focal + center, y / z * focal + center
    size = depth.shape[0]
    seen = 0.0
    for j in range(-1, 2):
        for i in range(-1, 2):
            column, row = math.floor(u + 1.7 * i), math.floor(v + 1.7 * j)
            if column < 0 or row < 0 or column >= size or row >= size or depth[row, column] + bias > z:
                seen += 1.0
    return seen / 9.0


@kernel()
def background_light(plane, cell, seen_lamp, seen_sky, out_lamp, out_sky):
    """Bilinear look-up of how much light reaches each pixel of the room.

    Args:
        plane: (height, width) which grid; negative where the pixel is always lit.
        cell: (height, width, 2) place in the grid, in cells.
        seen_lamp, seen_sky: (planes, rows, columns) shares of light.
    """
    rows, columns = seen_lamp.shape[1:]
    for i in range(plane.shape[0]):
        for j in range(plane.shape[1]):
            g = plane[i, j]
            u, v = cell[i, j, 0], cell[i, j, 1]
            out_lamp[i, j] = 1.0
            out_sky[i, j] = 1.0
            if g < 0 or u < 0 or v < 0 or u >= columns - 1 or v >= rows - 1:
                continue
            a, b = int(u), int(v)
            s, t = u - a, v - b
            for grid, out in ((seen_lamp, out_lamp), (seen_sky, out_sky)):
                top = grid[g, b, a] * (1 - s) + grid[g, b, a + 1] * s
                bottom = grid[g, b + 1, a] * (1 - s) + grid[g, b + 1, a + 1] * s
                out[i, j] = top * (1 - t) + bottom * t


@kernel()
def compose(person, x0, y0, room_lamp, room_sky, lamp, sky, exposure, grain, frame, out):
    """Person over room, tone curve, sRGB, sensor grain: 8-bit picture into `out`.

    Args:
        person: (h, w, 4) colour times coverage and coverage, its corner at (x0, y0).
        room_lamp, room_sky: (height, width, 3) linear light of the room from the lamp and from everywhere else.
        lamp, sky: Shares of it that arrive.
        exposure: Factor before the tone curve.
        grain: Standard deviation of the sensor's noise, in 8-bit steps.
        frame: Number of the frame, for the grain.
    """
    height, width = out.shape[:2]
    curve = np.empty(4097)
    for i in range(4097):
        light = 2.0 * i / 4096.0
        toned = light if light < 0.6 else 0.6 + 0.4 * (1.0 - math.exp(-(light - 0.6) / 0.4))
        curve[i] = 255.0 * (12.92 * toned if toned <= 0.0031308 else 1.055 * toned ** (1 / 2.4) - 0.055)
    for i in range(height):
        for j in range(width):
            a = 0.0
            inside = y0 <= i < y0 + person.shape[0] and x0 <= j < x0 + person.shape[1]
            if inside:
                a = person[i - y0, j - x0, 3]
            # The sum of a few even random numbers is normal enough.
            noise = lattice(i, j, 4 * frame) + lattice(i, j, 4 * frame + 1) + lattice(i, j, 4 * frame + 2) - 1.5
            for k in range(3):
                value = (1.0 - a) * (room_lamp[i, j, k] * lamp[i, j] + room_sky[i, j, k] * sky[i, j])
                if inside:
                    value += person[i - y0, j - x0, k]
                place = min(max(value * exposure * 2048.0, 0.0), 4095.0)
                low = int(place)
                shown = curve[low] + (curve[low + 1] - curve[low]) * (place - low)
                shown += 2.0 * grain * noise + (lattice(i, j, 4 * frame + 3) - 0.5) * (0.5 + 0.5 * k)
                out[i, j, k] = np.uint8(min(max(shown + 0.5, 0.0), 255.0))
