"""Light and shadow of the performer, and the finished picture, pixel by pixel, as compiled kernels. Import inside functions."""

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


_STEPS = 4096
_BRIGHTEST = 2.0
"""Linear light beyond which the curve is flat."""
_MIDDLE, _READ = 0.2, 0.01
"""Light at which the grain is stated, and the light whose own noise equals that of reading the sensor."""


@kernel(cached=False)
def _tone_curve():
    """8-bit sRGB value by linear light: straight to 0.6, then ever flatter."""
    curve = np.empty(_STEPS + 1)
    for i in range(_STEPS + 1):
        light = _BRIGHTEST * i / _STEPS
        toned = light if light < 0.6 else 0.6 + 0.4 * (1.0 - math.exp(-(light - 0.6) / 0.4))
        curve[i] = 255.0 * (12.92 * toned if toned <= 0.0031308 else 1.055 * toned ** (1 / 2.4) - 0.055)
    return curve


@kernel()
def develop(linear, exposure, out):
    """Tone curve and sRGB without noise: (height, width, 3) linear light into values in [0, 1]."""
    curve = _tone_curve()
    for i in range(linear.shape[0]):
        for j in range(linear.shape[1]):
            for k in range(3):
                place = min(max(linear[i, j, k] * exposure * (_STEPS / _BRIGHTEST), 0.0), _STEPS - 1.0)
                low = int(place)
                out[i, j, k] = (curve[low] + (curve[low + 1] - curve[low]) * (place - low)) / 255.0


@kernel()
def compose(person, x0, y0, scene_lamp, scene_sky, lamp, sky, exposure, grain, frame, out):
    """Person over scene, tone curve, sRGB, sensor noise: 8-bit picture into `out`.

    Args:
        person: (h, w, 4) colour times coverage and coverage, its corner at (x0, y0).
        scene_lamp, scene_sky: (height, width, 3) linear light of the scene from the lamp and from everywhere else.
        lamp, sky: Shares of it that arrive.
        exposure: Factor before the tone curve.
        grain: Standard deviation of the sensor's noise in middle tones, in 8-bit steps. Its variance has a part that
            grows with the light and a part that is always there.
        frame: Number of the frame, for the grain.
    """
    height, width = out.shape[:2]
    curve = _tone_curve()
    noise_of = np.empty(_STEPS)
    middle = int(_MIDDLE * _STEPS / _BRIGHTEST)
    for i in range(_STEPS):
        light = _BRIGHTEST * i / _STEPS
        steepness = (curve[i + 1] - curve[i]) / (curve[middle + 1] - curve[middle])
        noise_of[i] = 2.0 * grain * steepness * math.sqrt((light + _READ) / (_MIDDLE + _READ))
    for i in range(height):
        for j in range(width):
            a = 0.0
            inside = y0 <= i < y0 + person.shape[0] and x0 <= j < x0 + person.shape[1]
            if inside:
                a = person[i - y0, j - x0, 3]
            # The sum of a few even random numbers is normal enough.
            noise = lattice(i, j, 4 * frame) + lattice(i, j, 4 * frame + 1) + lattice(i, j, 4 * frame + 2) - 1.5
            for k in range(3):
                value = (1.0 - a) * (scene_lamp[i, j, k] * lamp[i, j] + scene_sky[i, j, k] * sky[i, j])
                if inside:
                    value += person[i - y0, j - x0, k]
                place = min(max(value * exposure * (_STEPS / _BRIGHTEST), 0.0), _STEPS - 1.0)
                low = int(place)
                shown = curve[low] + (curve[low + 1] - curve[low]) * (place - low)
                shown += noise_of[low] * noise
                shown += (lattice(i, j, 4 * frame + 3) - 0.5) * (0.5 + 0.5 * k) * min(grain, 1.0)
                out[i, j, k] = np.uint8(min(max(shown + 0.5, 0.0), 255.0))
