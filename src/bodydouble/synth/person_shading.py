"""Colours of the performer's surfaces and how they are lit, pixel by pixel, as compiled kernels. Import inside functions.

A pixel knows its material, its position on the resting body (so patterns stick to the surface), four values that the
material defines (see `wardrobe`), its normal, how open it is to the sky and whether the lamp reaches it.
"""

from __future__ import annotations

import math

import numpy as np

from bodydouble.core.jit import kernel
from bodydouble.synth.cloth_shading import cloth, mix, step
from bodydouble.synth.noise_kernels import noise3
from bodydouble.synth.shading import lamp_visibility

# Columns of a palette row; see `materials`.
_BASE, _SECOND, _THIRD, _FLAGS, _KIND = 0, 3, 6, 9, 12


@kernel(cached=False)
def _skin(p, c, row, eyes, out):
    """Complexion, lips, lids, brows, hairline and nails. Returns the gloss."""
    x, y, z = p[0], p[1], p[2]
    tone = 1.0 + 0.045 * noise3(x * 38, y * 38, z * 38) + 0.05 * noise3(x * 160, y * 160, z * 160)
    red = 1.0 + 0.06 * noise3(x * 22 + 7, y * 22, z * 22)
    out[0], out[1], out[2] = row[0] * tone * red, row[1] * tone, row[2] * tone / red
    gloss = 0.10
    for side in range(2):
        ex, ey = x - eyes[side, 0], y - eyes[side, 1]
        outer = ex if side == 0 else -ex
        if z < eyes[side, 2] - 0.02 or y < eyes[side, 1] - 0.12:
            continue
        # cheeks
        cheek = math.exp(-((outer - 0.012) ** 2 + (ey + 0.042) ** 2) / 0.00030)
        out[0] *= 1.0 + 0.07 * cheek
        out[1] *= 1.0 - 0.07 * cheek
        out[2] *= 1.0 - 0.06 * cheek
        # brow: an arch above the eye, hairs slanting outwards
        arch = (
            0.0215
            + 0.0035 * math.sin(min(max((outer + 0.020) / 0.048, 0.0), 1.0) * 2.4)
            - 0.1 * max(outer - 0.015, 0.0)
        )
        thick = 0.0042 * step(-0.024, -0.010, outer) * (1.0 - 0.75 * step(0.012, 0.030, outer))
        if thick > 0.0004:
            hair = noise3(outer * 420 + ey * 260, ey * 300, 3.0)
            strength = 1.0 - step(thick * 0.55, thick * 1.25, abs(ey - arch) + 0.0010 * hair)
            mix(out, row, _THIRD, 0.86 * strength)
        # shade around the eye, and lashes close to the ball
        around = ex * ex / 0.00042 + ey * ey / 0.00016
        out[0] *= 1.0 - 0.13 * math.exp(-around)
        out[1] *= 1.0 - 0.17 * math.exp(-around)
        out[2] *= 1.0 - 0.17 * math.exp(-around)
    # An upper lid is dark where its lashes are.
    mix(out, row, _THIRD, 0.62 * step(0.35, 0.95, c[1]))
    if row[_FLAGS] > 0 and eyes[0, 1] - 0.16 < y < eyes[0, 1] - 0.035 and z > eyes[0, 2] - 0.09:
        # a beard's shadow: moustache, chin and jaw
        low = step(-0.050, -0.066, y - eyes[0, 1]) * (
            1.0 - step(0.030, 0.052, abs(x)) * step(-0.075, -0.055, y - eyes[0, 1])
        )
        mix(out, row, _THIRD, row[_FLAGS] * low * (0.55 + 0.35 * noise3(x * 700, y * 700, z * 700)))
    lips = step(0.15, 0.7, c[0])
    crease = 1.0 + 0.10 * noise3(x * 420, y * 60, z * 60)
    for k in range(3):
        out[k] += (row[_SECOND + k] * crease - out[k]) * lips
    gloss += 0.18 * lips
    nail = step(0.2, 0.7, c[3])
    out[0] += (min(row[0] * 1.10, 1.0) - out[0]) * nail
    out[1] += (row[1] * 0.98 - out[1]) * nail
    gloss += 0.25 * nail
    streak = noise3(x * 300, y * 40, z * 300) + 0.6 * noise3(x * 700, y * 90, z * 700)
    scalp = step(-0.030, -0.014, c[2] + 0.004 * streak)
    if row[_FLAGS + 1] > 0:  # shaved: the skin shines through its stubble
        scalp = step(-0.004, 0.012, c[2] + 0.003 * streak) * (0.62 + 0.25 * noise3(x * 800, y * 800, z * 800))
    mix(out, row, _THIRD, 0.9 * scalp)
    return gloss


@kernel(cached=False)
def _eye(p, row, eyes, out):
    """Sclera, iris and pupil around the eye's resting axis. Returns the gloss."""
    side = 0 if p[0] > 0 else 1
    dx, dy, dz = p[0] - eyes[side, 0], p[1] - eyes[side, 1], p[2] - eyes[side, 2]
    r = math.sqrt(dx * dx + dy * dy)
    vein = 0.04 * noise3(dx * 900, dy * 900, 1.0) * step(0.006, 0.014, r)
    out[0], out[1], out[2] = 0.78 + vein, 0.74 - vein, 0.72 - vein
    if dz > 0:
        spoke = noise3(math.atan2(dy, dx) * 7, r * 500, 2.0)
        iris = 1.0 - step(0.0056, 0.0063, r)
        ring = 0.75 + 0.45 * spoke - 0.55 * step(0.0044, 0.0060, r)
        for k in range(3):
            out[k] += (row[k] * ring * 1.3 - out[k]) * iris
            out[k] *= 1.0 - 0.97 * (1.0 - step(0.0022, 0.0028, r))
    return 0.9


@kernel(cached=False)
def _trousers(p, c, row, out):
    """Denim or cotton with seams, pockets and a belt. Returns the gloss."""
    x, y, z = p[0], p[1], p[2]
    below_waist, across = c[0], c[1]
    denim = row[_FLAGS] > 0
    grain = noise3(x * 330 + y * 330, y * 60, z * 330) + 0.6 * noise3(x * 120, y * 90, z * 120)
    out[0], out[1], out[2] = row[0], row[1], row[2]
    if denim:
        fade = math.exp(-(across**2) / 0.0016) * step(0.10, 0.25, below_waist) * (1.0 - step(0.42, 0.60, below_waist))
        fade = fade * (0.8 + 0.4 * noise3(x * 12, y * 9, z * 12)) if z > 0 else 0.3 * fade
        mix(out, row, _SECOND, 0.55 * max(fade, 0.0))
        for k in range(3):
            out[k] *= 1.0 + 0.13 * grain
    else:
        for k in range(3):
            out[k] *= 1.0 + 0.05 * grain
    outer = across if x > 0 else -across
    seam = abs(z - row[_FLAGS + 1]) < 0.0035 and abs(outer) > 0.02
    pocket = z > 0 and abs(below_waist - 0.045 - 1.4 * (abs(x) - 0.10)) < 0.0035 and 0.085 < abs(x) < 0.16
    patch = (
        z < 0
        and 0.085 < below_waist < 0.215
        and (abs(abs(abs(x) - 0.082) - 0.055) < 0.003 or abs(abs(below_waist - 0.15) - 0.063) < 0.003)
        and abs(abs(x) - 0.082) < 0.058
        and abs(below_waist - 0.15) < 0.066
    )
    fly = z > 0 and abs(x - 0.001) < 0.0025 and below_waist < 0.16
    if seam or pocket or patch or fly:
        if denim:
            dash = 0.75 if noise3(x * 200, y * 200, z * 200) > -0.3 else 0.2
            mix(out, row, _THIRD, dash)
        else:
            for k in range(3):
                out[k] *= 0.72
    if below_waist < 0.034:
        out[0], out[1], out[2] = 0.030, 0.022, 0.018
        if abs(x) < 0.022 and z > 0:
            out[0], out[1], out[2] = 0.55, 0.52, 0.45
        return 0.25
    return 0.02


@kernel(cached=False)
def _shoe(p, c, row, is_sole, out):
    """A sneaker with laces, a toe cap and a ribbed sole. Returns the gloss."""
    x, y, z = p[0], p[1], p[2]
    height, across, along = c[0], c[1], c[2]
    out[0], out[1], out[2] = row[0], row[1], row[2]
    grain = 1.0 + 0.06 * noise3(x * 300, y * 300, z * 300)
    if is_sole:
        grain *= 0.93 if math.floor(z * 110) % 2 else 1.0
        if height > 0.004:
            grain *= 0.86
    else:
        tongue = abs(across) < 0.016 and 0.015 < along < 0.105
        if tongue:
            bar = along * 62 - math.floor(along * 62)
            if bar < 0.42:
                mix(out, row, _SECOND, 0.9)
            else:
                grain *= 0.6
        elif along > 0.125 or (along < -0.035 and height < 0.05):
            mix(out, row, _SECOND, 0.55)
        elif abs(height - 0.028 - 0.35 * (0.10 - along)) < 0.0055 and abs(across) > 0.02:
            mix(out, row, _SECOND, 0.9)
    for k in range(3):
        out[k] *= grain
    return 0.14


@kernel(cached=False)
def _hair(p, c, row, out):
    """Strands that run from the crown. Returns the gloss."""
    if row[_FLAGS] > 0:  # curls
        strand = noise3(p[0] * 120, p[1] * 120, p[2] * 120) + 0.7 * noise3(p[0] * 300, p[1] * 300, p[2] * 300)
    else:
        strand = noise3(c[0] * 38, c[1] * 38, c[2] * 9) + 0.7 * noise3(c[0] * 95, c[1] * 95, c[2] * 16)
    tone = 1.0 + 0.38 * strand + 0.12 * noise3(p[0] * 14, p[1] * 14, p[2] * 14)
    for k in range(3):
        out[k] = row[k] * max(tone, 0.25)
    mix(out, row, _SECOND, 0.22 * step(0.5, 1.3, strand))
    return 0.10 + 0.10 * max(strand, 0.0)


@kernel(cached=False)
def albedo(material, p, c, row, eyes, out):
    """Linear colour of a surface point into `out`; returns its gloss."""
    if material == 0:
        return _skin(p, c, row, eyes, out)
    if material == 1:
        return _eye(p, row, eyes, out)
    if material == 2:
        depth = 1.0 + 0.3 * noise3(p[0] * 150, p[1] * 150, p[2] * 150)
        out[0], out[1], out[2] = row[0] * depth, row[1] * depth, row[2] * depth
        return 0.3
    if material == 3 or material >= 8:
        return cloth(p, c, row, out)
    if material == 4:
        return _trousers(p, c, row, out)
    if material == 5 or material == 6:
        return _shoe(p, c, row, material == 6, out)
    return _hair(p, c, row, out)


@kernel(fastmath={"contract"})
def shade_person(face_index, barycentric, faces, materials, vertices, palette, eyes, lights, lamp, depth, out):
    """Light every pixel of a doubly fine picture and average 2 x 2 of them.

    Args:
        face_index, barycentric: Of the fine picture.
        materials: Row of `palette` for each face.
        vertices: Columns: position in the world (3), normal (3), openness to the sky (1), texture coordinates (7).
        lights: Rows: direction to the lamp, lamp colour, sky colour, colour from the floor.
        lamp: Flattened 4 x 4 T_lamp_world, focal length and centre in pixels of `depth`.
        depth: What the lamp sees.
        out: (height, width, 4) linear colour times coverage, and coverage; added to.
    """
    height, width = face_index.shape
    T = lamp[:16].reshape(4, 4)
    focal, center = lamp[16], lamp[17]
    p, here, color = np.empty(3), np.empty(14), np.empty(3)
    q, n, rest = here[:3], here[3:6], here[7:]
    for row in range(height):
        for column in range(width):
            f = face_index[row, column]
            if f < 0:
                continue
            here[:] = 0.0
            for k in range(3):
                v, w = faces[f, k], barycentric[row, column, k]
                for i in range(14):
                    here[i] += w * vertices[v, i]
            openness = here[6]
            length = math.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12
            away = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
            towards = 0.0
            for i in range(3):
                n[i] /= length
                towards -= n[i] * q[i] / away  # the camera is the world's origin
            if towards < 0:  # the inside of a sleeve or a hem
                for i in range(3):
                    n[i] = -n[i]
                towards = -towards
                openness *= 0.35
            settings = palette[materials[f]]
            kind = int(settings[_KIND])
            gloss = albedo(kind, rest[:3], rest[3:], settings, eyes, color)
            facing = n[0] * lights[0, 0] + n[1] * lights[0, 1] + n[2] * lights[0, 2]
            wrap = 0.18 if kind == 0 else 0.06  # light bleeds a little around skin
            direct = max((facing + wrap) / (1 + wrap), 0.0)
            half_sq, half_n = 0.0, 0.0
            for i in range(3):
                p[i] = lights[0, i] - q[i] / away
                half_sq += p[i] * p[i]
                half_n += p[i] * n[i]
            if direct > 0:
                for i in range(3):
                    p[i] = q[i] + 0.006 * n[i]
                direct *= lamp_visibility(p, T, focal, center, depth, 0.008)
            shine = gloss * max(half_n / math.sqrt(half_sq), 0.0) ** 40 * (1.0 if direct > 0 else 0.0)
            rim = 0.25 * gloss * (1.0 - towards) ** 4
            up = 0.5 + 0.5 * n[1]
            for i in range(3):
                ambient = openness * (lights[2, i] * up + lights[3, i] * (1.0 - up))
                value = color[i] * (direct * lights[1, i] + ambient) + (shine * direct + rim * openness) * lights[1, i]
                out[row // 2, column // 2, i] += 0.25 * value
            out[row // 2, column // 2, 3] += 0.25
