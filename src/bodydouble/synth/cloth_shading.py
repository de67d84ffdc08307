"""Woven and printed cloth, point by point, as compiled kernels. Import inside functions.

Patterns live on the coordinates of `coordinates.cloth_coordinates`: they run around trunk, sleeve or leg, a whole number
of times, so that stripes close and checks hang straight.
"""

from __future__ import annotations

import math

from bodydouble.core.jit import kernel
from bodydouble.synth.noise_kernels import lattice, noise3

# Columns of a palette row; see `materials`.
_BASE, _SECOND, _THIRD, _PATTERN, _SIZE, _PRINT_Y, _WEAVE, _PHASE, _BUTTONS = 0, 3, 6, 9, 10, 11, 13, 14, 15


@kernel(inline=True, cached=False)
def step(low, high, x):
    """0 below low, 1 above high, smooth in between."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@kernel(inline=True, cached=False)
def mix(out, row, column, share):
    """Move the three numbers of `out` by a share of the way to those of `row` from `column` on."""
    for k in range(3):
        out[k] += (row[column + k] - out[k]) * share


@kernel(inline=True, cached=False)
def _band(x, low, high, soft):
    """1 between low and high of the unit period, with soft edges."""
    t = x - math.floor(x)
    return step(low - soft, low + soft, t) * (1.0 - step(high - soft, high + soft, t))


@kernel(cached=False)
def _emblem(x, y, phase, back):
    """A printed badge with a line of letters in front, a large number behind. Returns the share of ink."""
    if back:
        share = 0.0
        for place in range(2):
            digit = int(lattice(int(phase * 1000), place, 5) * 8)
            u, v = (x + 0.055 - 0.11 * place) / 0.042, y / 0.075
            if abs(u) > 1.0 or abs(v) > 1.0:
                continue
            # Seven segments, as on a jersey: each digit lights some of them.
            lit = 0
            if abs(v) > 0.80 or abs(v) < 0.12:
                lit = (digit + (1 if v > 0.5 else 0 if v > -0.5 else 2)) % 4 != 0
            if abs(u) > 0.66:
                lit = lit or (digit + (2 if u > 0 else 0) + (1 if v > 0 else 0)) % 3 != 0
            share = max(share, 1.0 if lit else 0.0)
        return share
    r = math.sqrt(x * x + y * y)
    ring = step(0.066, 0.068, r) * (1.0 - step(0.078, 0.080, r))
    shape = 0.0
    style = int(phase * 3.999)
    if style == 0:  # a mountain
        h = y + 0.032
        shape = 1.0 if (0 < h < 0.085 - 1.5 * abs(x)) or (0 < h < 0.055 - 1.4 * abs(x - 0.028)) else 0.0
    elif style == 1:  # a star
        angle = math.atan2(x, y)
        shape = 1.0 if r < 0.042 + 0.018 * math.cos(5 * angle) else 0.0
    elif style == 2:  # waves
        shape = 1.0 if abs(y - 0.012 * math.sin(x * 90) + 0.02) < 0.007 else 0.0
        if abs(y - 0.012 * math.sin(x * 90 + 1) - 0.012) < 0.007:
            shape = 1.0
    else:  # a sun
        shape = 1.0 if r < 0.026 or (0.034 < r < 0.056 and math.sin(12 * math.atan2(x, y)) > 0.2) else 0.0
    share = max(ring, shape if r < 0.066 else 0.0)
    line = y + 0.115
    if 0 < line < 0.020 and abs(x) < 0.10:
        letter = math.floor((x + 0.10) / 0.0145)
        u, v = (x + 0.10) / 0.0145 - letter, line / 0.020
        form = int(lattice(letter, int(phase * 977), 3) * 5)
        stem = 0.12 < u < 0.36
        bar = u < 0.86 and (v < 0.2 or v > 0.8) if form < 3 else u < 0.86 and 0.4 < v < 0.6
        right = 0.62 < u < 0.86 and form % 2 == 0
        if form != 4 and (stem or bar or right) and u > 0.12:
            share = 1.0
    return share


@kernel(cached=False)
def _pattern(around, y, x, front, on_limb, row, out):
    """Colour of the print into `out`, which holds the base colour."""
    pattern, size, phase = int(row[_PATTERN]), row[_SIZE], row[_PHASE]
    u, v = around / size, y / size
    if pattern == 1:
        mix(out, row, _SECOND, _band(v + phase, 0.30, 0.62, 0.015))
        mix(out, row, _THIRD, _band(v + phase, 0.74, 0.80, 0.012))
    elif pattern == 2:
        across, down = _band(u, 0.22, 0.60, 0.012), _band(v + phase, 0.22, 0.60, 0.012)
        mix(out, row, _SECOND, 0.48 * across)
        mix(out, row, _SECOND, 0.48 * down)
        mix(out, row, _THIRD, 0.85 * max(_band(u, 0.80, 0.85, 0.008), _band(v + phase, 0.80, 0.85, 0.008)))
    elif pattern == 3:
        mix(out, row, _SECOND, 0.8 * _band(u, 0.42, 0.55, 0.02))
    elif pattern == 4:
        odd = math.floor(v) % 2
        a, b = u + 0.5 * odd, v
        a, b = a - math.floor(a) - 0.5, b - math.floor(b) - 0.5
        mix(out, row, _SECOND, 1.0 - step(0.25, 0.28, math.sqrt(a * a + b * b)))
    elif pattern == 5:
        # Petals around scattered centres; every cell of a grid holds one flower at a random place.
        i, j = math.floor(u), math.floor(v)
        du = u - i - 0.3 - 0.4 * lattice(int(i), int(j), 17)
        dv = v - j - 0.3 - 0.4 * lattice(int(i), int(j), 29)
        r, angle = math.sqrt(du * du + dv * dv), math.atan2(du, dv) + 6.28 * lattice(int(i), int(j), 41)
        petal = 1.0 - step(0.0, 0.03, r - 0.22 - 0.08 * math.cos(5 * angle))
        mix(out, row, _SECOND, petal)
        mix(out, row, _THIRD, 1.0 - step(0.09, 0.11, r))
    elif pattern == 6:
        saw = abs((u - math.floor(u)) - 0.5)
        mix(out, row, _SECOND, _band(v + saw, 0.30, 0.62, 0.02))
        mix(out, row, _THIRD, _band(v + saw, 0.72, 0.82, 0.02))
    elif pattern == 7 and on_limb < 0.5:
        mix(out, row, _SECOND, _emblem(x if front else -x, y - row[_PRINT_Y], phase, not front))
    elif pattern == 7:
        mix(out, row, _THIRD, _band(v * 0.5 + phase, 0.40, 0.46, 0.01))


@kernel(cached=False)
def cloth(p, c, row, out):
    """Printed cloth with its weave, seams and hems. Returns the gloss."""
    x, y, z = p[0], p[1], p[2]
    hem, on_limb, radius = c[0], c[1], max(c[2], 0.02)
    weave, size = int(row[_WEAVE]), row[_SIZE]
    turns = max(math.floor(2 * math.pi * radius / size + 0.5), 1.0)
    around = math.atan2(x, z) / (2 * math.pi) * turns * size
    out[0], out[1], out[2] = row[0], row[1], row[2]
    _pattern(around, y, x, z > 0, on_limb, row, out)
    arc = math.atan2(x, z) * radius
    tone, gloss = 1.0 + 0.05 * noise3(x * 25, y * 25, z * 25), 0.02
    if weave == 0:  # jersey
        tone += 0.06 * noise3(arc * 280, y * 400, 1.0)
    elif weave == 1:  # denim: a twill of dark and pale threads, worn where it bends
        tone += 0.10 * noise3(arc * 330 + y * 330, y * 60 - arc * 60, 2.0) + 0.07 * noise3(arc * 500, y * 30, 5.0)
        worn = step(0.1, 0.9, noise3(x * 9 + 3, y * 6, z * 9)) * (0.6 if z > 0 else 0.25)
        for k in range(3):
            out[k] += (0.5 * (0.45 + out[k]) - out[k]) * 0.5 * worn
    elif weave == 2:  # knit: columns of slanting stitches
        a, b = arc / 0.0075, y / 0.0065
        side = a - math.floor(a) - 0.5
        stitch = b + 0.9 * abs(side) * 2
        tone += 0.14 * math.sin(2 * math.pi * stitch) - 0.16 * step(0.36, 0.5, abs(side))
    elif weave == 3:  # leather
        grain = noise3(arc * 190, y * 190, 3.0)
        tone += 0.08 * grain + 0.05 * noise3(arc * 420, y * 420, 4.0)
        gloss = 0.22 + 0.05 * grain
    elif weave == 4:  # tweed: flecks of other colours
        fleck = noise3(arc * 260, y * 260, 6.0) + 0.5 * noise3(arc * 620, y * 620, 7.0)
        mix(out, row, _THIRD, 0.45 * step(0.35, 0.8, fleck))
        tone += 0.10 * noise3(arc * 160 + y * 160, y * 150 - arc * 150, 8.0)
    else:  # felt
        tone += 0.04 * noise3(x * 420, y * 420, z * 420)
    if hem < 0.020:
        tone *= 0.93
        if 0.014 < hem < 0.017:
            tone *= 0.80
    if 0.35 < on_limb < 0.65:  # the seam between trunk and limb
        tone *= 0.78
    if on_limb < 0.35 and abs(abs(math.atan2(x, z)) - 1.62) < 0.010:  # side seams
        tone *= 0.84
    if row[_BUTTONS] > 0 and on_limb < 0.35 and z > 0:
        if abs(x) < 0.0022:  # one front lies over the other
            tone *= 0.62
        v = y / row[_BUTTONS]
        v = (v - math.floor(v) - 0.5) * row[_BUTTONS]
        r = math.sqrt((x - 0.018) ** 2 + v * v)
        if r < 0.011:
            mix(out, row, _THIRD, 0.9)
            tone = 0.7 if r > 0.009 or (r < 0.004 and abs(x - 0.018) > 0.001) else 1.15
            gloss = 0.3
    for k in range(3):
        out[k] *= tone
    return gloss
