"""The hot loops of the CPU rasteriser as plain scalar code: the fallback where the vector type cannot be compiled.

Same instances, same order, same rules as `cpu_simd`; only exp2 is the library's instead of a polynomial.
"""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel
from bodydouble.render.cpu_binning import (
    STRIPS,
    TILE,
    TILE_BLOCKS,
    WORDS,
    fill_background,
    keep_instances,
    read_pixel,
    tile_range,
    write_pixel,
)
from bodydouble.render.protocol import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from bodydouble.render.simd import BLOCK_HEIGHT, BLOCK_WIDTH, LANES

_PIXELS = TILE * TILE
_BLOCKS = STRIPS * TILE_BLOCKS
_ZERO, _ONE, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
_MAX_ALPHA, _MIN_ALPHA, _MIN_T = np.float32(MAX_ALPHA), np.float32(MIN_ALPHA), np.float32(MIN_TRANSMITTANCE)
assert WORDS * 64 == _BLOCKS


@kernel()
def emit(worker, num_workers, records, tiles_bound, width, height, first, count, tile_of, splat_of, masks):
    """As `cpu_simd.emit`."""
    tiles_x = (width + TILE - 1) // TILE
    n = records.shape[0]
    for i in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        count[i] = 0
        if tiles_bound[i] == 0:
            continue
        x0, x1, y0, y1 = tile_range(records[i], width, height)
        e = first[i]
        for tile_y in range(y0, y1 + 1):
            for k in range(x1 - x0 + 1):
                for word in range(WORDS):
                    masks[e + k, word] = np.uint64(0)
            for strip in range(STRIPS):
                low, high = _span(records[i], (tile_y * STRIPS + strip) * BLOCK_HEIGHT, width, height)
                for column in range(max(low, x0 * TILE_BLOCKS), min(high, x1 * TILE_BLOCKS + TILE_BLOCKS - 1) + 1):
                    bit = np.uint64((strip % 8) * TILE_BLOCKS + column % TILE_BLOCKS)
                    masks[e + column // TILE_BLOCKS - x0, strip // 8] |= np.uint64(1) << bit
            e = keep_instances(i, e, tile_y * tiles_x + x0, x1 - x0 + 1, tile_of, splat_of, masks)
        count[i] = e - first[i]


@kernel(cached=False, inline=True)
def _span(record, top, width, height):
    """First and last block that the splat covers in the row of blocks whose upper edge is at `top`."""
    mx, my, half_y, rightmost = record[0], record[1], record[11], record[12]
    slope, half_width = -record[3] / record[2], half_y * record[4] / record[2]
    begin = np.float32(top) + _HALF - my
    end = begin + np.float32(BLOCK_HEIGHT - 1)
    if begin > min(half_y, np.float32(height) - _HALF - my) or end < -half_y:
        return 0, -1
    right, left = max(min(rightmost, end), begin), max(min(-rightmost, end), begin)
    x1 = mx + slope * right + half_width * np.sqrt(max(_ONE - (right / half_y) ** 2, _ZERO))
    x0 = mx + slope * left - half_width * np.sqrt(max(_ONE - (left / half_y) ** 2, _ZERO))
    last_column = (width - 1) // BLOCK_WIDTH
    low = min(max(np.ceil((x0 - BLOCK_WIDTH + 0.5) / BLOCK_WIDTH), 0.0), last_column + 1.0)
    high = max(min(np.floor((x1 - 0.5) / BLOCK_WIDTH), float(last_column)), -1.0)
    return int(low), int(high)


@kernel(cached=False, inline=True)
def _pixel_of(block, lane, origin_x, origin_y):
    """Column and row in the image of one lane of one block of a tile."""
    x = origin_x + (block % TILE_BLOCKS) * BLOCK_WIDTH + lane % BLOCK_WIDTH
    y = origin_y + (block // TILE_BLOCKS) * BLOCK_HEIGHT + lane // BLOCK_WIDTH
    return x, y


@kernel(cached=False, inline=True)
def _u_v(record, x, y):
    """What is squared in the formula of alpha, at pixel (x, y)."""
    dx, dy = np.float32(x) + _HALF - record[0], np.float32(y) + _HALF - record[1]
    return record[2] * dx + record[3] * dy, record[4] * dy


@kernel()
def forward(
    worker, num_workers, records, starts, instances, splat_of, masks, owners, background, width, height, image
):  # fmt: skip
    """As `cpu_simd.forward`."""
    tiles_x = (width + TILE - 1) // TILE
    s = np.empty(5 * _PIXELS, np.float32)
    for owned in range(owners[worker], owners[worker + 1]):
        tile = owners[owned]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        if starts[tile] == starts[tile + 1]:
            fill_background(origin_x, origin_y, width, height, background, image)
            continue
        s[:] = _ZERO
        s[:_PIXELS] = _ONE
        for k in range(starts[tile], starts[tile + 1]):
            e = instances[k]
            record = records[splat_of[e]]
            for block in range(_BLOCKS):
                if (masks[e, block >> 6] >> np.uint64(block & 63)) & np.uint64(1) == np.uint64(0):
                    continue
                for lane in range(LANES):
                    at = block * LANES + lane
                    x, y = _pixel_of(block, lane, origin_x, origin_y)
                    u, v = _u_v(record, x, y)
                    alpha = min(np.exp2(record[5] - (u * u + v * v)), _MAX_ALPHA)
                    if alpha < _MIN_ALPHA or s[at] < _MIN_T:
                        continue
                    weight = alpha * s[at]
                    s[at] -= weight
                    s[at + _PIXELS] += weight * record[6]
                    s[at + 2 * _PIXELS] += weight * record[7]
                    s[at + 3 * _PIXELS] += weight * record[8]
                    s[at + 4 * _PIXELS] += weight * record[9]
        for at in range(_PIXELS):
            x, y = _pixel_of(at // LANES, at % LANES, origin_x, origin_y)
            if x < width and y < height:
                write_pixel(y * width + x, at, _PIXELS, width * height, background, s, image)


@kernel()
def backward(
    worker, num_workers, records, starts, instances, splat_of, masks, owners, background, width, height,
    image, g_rgb, g_alpha, g_depth, grads,
):  # fmt: skip
    """As `cpu_simd.backward`."""
    tiles_x = (width + TILE - 1) // TILE
    s, sums = np.empty(7 * _PIXELS, np.float32), np.empty(10, dtype=np.float32)
    for owned in range(owners[worker], owners[worker + 1]):
        tile = owners[owned]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        s[:] = _ZERO
        for at in range(_PIXELS):
            x, y = _pixel_of(at // LANES, at % LANES, origin_x, origin_y)
            if x < width and y < height:
                to = y * width + x
                read_pixel(to, at, _PIXELS, width * height, background, image, g_rgb, g_alpha, g_depth, s)
        for k in range(starts[tile], starts[tile + 1]):
            e = instances[k]
            record = records[splat_of[e]]
            sums[:] = _ZERO
            for block in range(_BLOCKS):
                if (masks[e, block >> 6] >> np.uint64(block & 63)) & np.uint64(1) == np.uint64(0):
                    continue
                for lane in range(LANES):
                    x, y = _pixel_of(block, lane, origin_x, origin_y)
                    u, v = _u_v(record, x, y)
                    _pixel_gradient(record, u, v, s, block * LANES + lane, sums)
            for k10 in range(10):
                grads[e, k10] = sums[k10]


@kernel(cached=False, inline=True)
def _pixel_gradient(record, u, v, s, at, sums):
    """Take one splat at one pixel into its sums."""
    raw = np.exp2(record[5] - (u * u + v * v))
    alpha = min(raw, _MAX_ALPHA)
    if alpha < _MIN_ALPHA or s[at] < _MIN_T:
        return
    red, green, blue, away = s[at + 2 * _PIXELS], s[at + 3 * _PIXELS], s[at + 4 * _PIXELS], s[at + 6 * _PIXELS]
    weight = alpha * s[at]
    s[at] -= weight
    value = red * record[6] + green * record[7] + blue * record[8] + s[at + 5 * _PIXELS] + away * record[9]
    s[at + _PIXELS] -= weight * value
    if raw <= _MAX_ALPHA:
        q = weight * value - s[at + _PIXELS] * alpha / (_ONE - alpha)
        sums[0] += q
        sums[1] += q * u
        sums[2] += q * v
        sums[3] += q * u * u
        sums[4] += q * u * v
        sums[5] += q * v * v
    sums[6] += weight * red
    sums[7] += weight * green
    sums[8] += weight * blue
    sums[9] += weight * away
