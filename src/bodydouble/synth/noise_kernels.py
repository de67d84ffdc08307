"""Value noise in space, as compiled kernels: the grain of cloth, skin, wood and hair. Import inside functions."""

from __future__ import annotations

import math

from bodydouble.core.jit import kernel


@kernel(inline=True, cached=False)
def lattice(x, y, z):
    """A repeatable number in [0, 1) for each lattice point."""
    h = (x * 374761393 + y * 668265263 + z * 1440662683) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@kernel(cached=False)
def noise3(x, y, z):
    """Smooth noise in [-1, 1] with features of unit size."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    a = lattice(i, j, k) * (1 - u) + lattice(i + 1, j, k) * u
    b = lattice(i, j + 1, k) * (1 - u) + lattice(i + 1, j + 1, k) * u
    c = lattice(i, j, k + 1) * (1 - u) + lattice(i + 1, j, k + 1) * u
    d = lattice(i, j + 1, k + 1) * (1 - u) + lattice(i + 1, j + 1, k + 1) * u
    return 2 * ((a * (1 - v) + b * v) * (1 - w) + (c * (1 - v) + d * v) * w) - 1


@kernel()
def fill(points, out):
    """`noise3` at each of `points` (n, 3), into `out` (n)."""
    for n in range(len(points)):
        out[n] = noise3(points[n, 0], points[n, 1], points[n, 2])
