"""The stage behind the double, and what is drawn over it, as one pass over the pixels."""

from __future__ import annotations

import math

import numpy as np

from bodydouble.core.jit import kernel

FLOOR_FADE_M = 7.0
"""Where the floor has become wall, metres from the middle of the stage."""
_PER_GRID_M = 2.0
"""Lines of the floor in a metre."""
_LINE_CELLS = 0.008
"""Half the width of a line, in cells of the grid."""
_WALL_HIGH, _WALL_LOW = (0.125, 0.135, 0.158), (0.275, 0.287, 0.315)
_FLOOR_NEAR = (0.345, 0.355, 0.378)
_LINE = (0.460, 0.480, 0.515)
_HEADING = (0.200, 0.640, 0.600)


@kernel(cached=False, inline=True)
def _line(distance, per_width):
    """How much of a pixel a line covers: its distance, and one over half the pixel's footprint, in one unit."""
    return max(0.0, min(1.0, 1.1 - abs(distance) * per_width))


@kernel(cached=False, inline=True)
def _fraction(x):
    """What is left over whole numbers; the remainder operator does the same ten times slower."""
    return x - np.floor(x)


@kernel(cached=False, inline=True)
def _dither(row, col):
    """A value in [-0.5, 0.5) that differs from pixel to pixel without pattern (interleaved gradient noise)."""
    x = 52.9829189 * _fraction(0.06711056 * col + 0.00583715 * row)
    return x - np.floor(x) - 0.5


@kernel(fastmath={"contract"})
def compose(worker, num_workers, planes, alpha, camera, spot, picture):
    """Draw stage and double.

    Args:
        worker, num_workers: Share of the rows.
        planes: Red, green, blue of the double, multiplied by its opacity, [3, height, width], float32.
        alpha: Its opacity, [height, width], float32.
        camera: R_camera_world (9, row by row), the eye in the world (3), focal lengths (2), principal point (2), float64.
        spot: Where the double stands (x, z), radius of its shadow, and its turn about the vertical, radians.
        picture: Result, [height, width, 3], uint8.
    """
    height, width = alpha.shape
    eye_x, eye_y, eye_z = camera[9], camera[10], camera[11]
    cos_turn, sin_turn = math.cos(spot[3]), math.sin(spot[3])
    # Divisions cost more than all else here: what can be multiplied by is worked out once.
    per_focal_x, per_focal_y, per_shadow = 1.0 / camera[12], 1.0 / camera[13], 1.0 / (spot[2] * spot[2])
    for row in range(worker, height, num_workers):
        v = (row + 0.5 - camera[15]) * per_focal_y
        for col in range(width):
            see_through = 1.0 - alpha[row, col]
            red, green, blue = 0.0, 0.0, 0.0
            if see_through > 0.002:
                u = (col + 0.5 - camera[14]) * per_focal_x
                dx = camera[0] * u + camera[3] * v + camera[6]
                dy = camera[1] * u + camera[4] * v + camera[7]
                dz = camera[2] * u + camera[5] * v + camera[8]
                length = math.sqrt(dx * dx + dy * dy + dz * dz)
                up = dy / length
                lift = min(max(0.5 + 0.9 * up, 0.0), 1.0)
                red = _WALL_LOW[0] + (_WALL_HIGH[0] - _WALL_LOW[0]) * lift
                green = _WALL_LOW[1] + (_WALL_HIGH[1] - _WALL_LOW[1]) * lift
                blue = _WALL_LOW[2] + (_WALL_HIGH[2] - _WALL_LOW[2]) * lift
                if up * eye_y < 0.0:  # the ray meets the floor
                    per_dy = 1.0 / dy
                    reach = -eye_y * per_dy
                    floor_x, floor_z = eye_x + reach * dx, eye_z + reach * dz
                    # The stage turns with the double: lines and shadow are in its own axes.
                    x = cos_turn * floor_x - sin_turn * floor_z
                    z = sin_turn * floor_x + cos_turn * floor_z
                    apart2 = x * x + z * z
                    if apart2 < FLOOR_FADE_M * FLOOR_FADE_M:
                        fade = 1.0 - math.sqrt(apart2) * (1.0 / FLOOR_FADE_M)
                        fade = fade * fade * (3.0 - 2.0 * fade)
                        red += (_FLOOR_NEAR[0] - red) * fade
                        green += (_FLOOR_NEAR[1] - green) * fade
                        blue += (_FLOOR_NEAR[2] - blue) * fade
                        # Half of what a pixel covers on the floor along x and along z: the change of the floor's point
                        # with row and column.
                        per_col, per_row = reach * per_focal_x, reach * per_focal_y
                        slope_x, slope_z = dx * per_dy, dz * per_dy
                        col_x = camera[0] - slope_x * camera[1]
                        col_z = camera[2] - slope_z * camera[1]
                        row_x = camera[3] - slope_x * camera[4]
                        row_z = camera[5] - slope_z * camera[4]
                        across_x = abs(cos_turn * col_x - sin_turn * col_z) * per_col
                        across_x += abs(cos_turn * row_x - sin_turn * row_z) * per_row
                        across_z = abs(sin_turn * col_x + cos_turn * col_z) * per_col
                        across_z += abs(sin_turn * row_x + cos_turn * row_z) * per_row
                        per_x = 1.0 / max(0.6 * _PER_GRID_M * across_x, _LINE_CELLS)
                        per_z = 1.0 / max(0.6 * _PER_GRID_M * across_z, _LINE_CELLS)
                        line_x = _line(_fraction(x * _PER_GRID_M + 0.5) - 0.5, per_x)
                        line_z = _line(_fraction(z * _PER_GRID_M + 0.5) - 0.5, per_z)
                        # Lines much narrower than a pixel pale instead of becoming a pattern.
                        line_x *= min(1.0, 4.0 * _LINE_CELLS * per_x)
                        line_z *= min(1.0, 4.0 * _LINE_CELLS * per_z)
                        lines = max(line_x, line_z) * fade
                        red += (_LINE[0] - red) * lines
                        green += (_LINE[1] - green) * lines
                        blue += (_LINE[2] - blue) * lines
                        if z > 0.0 and z < 1.5 and abs(x) < 0.1:  # a stroke towards where a motion begins to face
                            ahead = _line(x, 1.0 / max(0.8 * across_x, 0.008)) * fade * max(0.0, 1.0 - z / 1.5)
                            red += (_HEADING[0] - red) * ahead
                            green += (_HEADING[1] - green) * ahead
                            blue += (_HEADING[2] - blue) * ahead
                        away = ((x - spot[0]) * (x - spot[0]) + (z - spot[1]) * (z - spot[1])) * per_shadow
                        if away < 4.0:
                            shade = 1.0 - 0.55 * math.exp(-1.5 * away)
                            red, green, blue = red * shade, green * shade, blue * shade
            noise = _dither(row, col)
            red = (planes[0, row, col] + see_through * red) * 255.0 + 0.5 + noise
            green = (planes[1, row, col] + see_through * green) * 255.0 + 0.5 + noise
            blue = (planes[2, row, col] + see_through * blue) * 255.0 + 0.5 + noise
            picture[row, col, 0] = min(max(red, 0.0), 255.0)
            picture[row, col, 1] = min(max(green, 0.0), 255.0)
            picture[row, col, 2] = min(max(blue, 0.0), 255.0)
