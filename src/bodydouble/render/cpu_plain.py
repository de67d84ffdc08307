"""The hot loops of the CPU rasteriser as plain scalar code: the fallback where the vector type cannot be compiled.

Same instances, same order, same rules as `cpu_simd`; only exp2 is the library's instead of a polynomial.
"""

from __future__ import annotations

import numpy as np

from bodydouble.render.cpu_binning import (
    STRIPS,
    TILE,
    TILE_BLOCKS,
    WORDS,
    emit_splat,
    read_pixel,
    strip_range,
    write_pixel,
)
from bodydouble.render.jit import kernel
from bodydouble.render.protocol import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from bodydouble.render.simd import BLOCK_HEIGHT, BLOCK_WIDTH, LANES

_PIXELS = TILE * TILE
_BLOCKS = STRIPS * TILE_BLOCKS
_ZERO, _ONE, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
_MAX_ALPHA, _MIN_ALPHA, _MIN_T = np.float32(MAX_ALPHA), np.float32(MIN_ALPHA), np.float32(MIN_TRANSMITTANCE)
assert WORDS * 64 == _BLOCKS


@kernel()
def emit(worker, num_workers, records, tiles_bound, width, height, first, count, tile_of, splat_of, masks):
    """Find the instances of the worker's share of the splats (see `cpu_simd._spans` for the geometry)."""
    n = records.shape[0]
    tiles_x = (width + TILE - 1) // TILE
    last_column = (width - 1) // BLOCK_WIDTH
    low = np.empty(height // BLOCK_HEIGHT + 2, dtype=np.int32)
    high = np.empty(height // BLOCK_HEIGHT + 2, dtype=np.int32)
    for i in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        count[i] = 0
        if tiles_bound[i] == 0:
            continue
        record = records[i]
        s0, s1 = strip_range(record, height)
        mx, my, half_y, rightmost = record[0], record[1], record[11], record[12]
        slope, half_width = -record[3] / record[2], half_y * record[4] / record[2]
        for k in range(s1 - s0 + 1):
            begin = np.float32((s0 + k) * BLOCK_HEIGHT) + _HALF - my
            end = begin + np.float32(BLOCK_HEIGHT - 1)
            right, left = max(min(rightmost, end), begin), max(min(-rightmost, end), begin)
            x1 = mx + slope * right + half_width * np.sqrt(max(_ONE - (right / half_y) ** 2, _ZERO))
            x0 = mx + slope * left - half_width * np.sqrt(max(_ONE - (left / half_y) ** 2, _ZERO))
            low[k] = int(min(max(np.ceil((x0 - BLOCK_WIDTH + 0.5) / BLOCK_WIDTH), 0.0), last_column + 1.0))
            high[k] = int(max(min(np.floor((x1 - 0.5) / BLOCK_WIDTH), float(last_column)), -1.0))
        emit_splat(i, s0, s1, low, high, tiles_x, first, count, tile_of, splat_of, masks)


@kernel(cached=False, inline=True)
def _pixel_of(block, lane, origin_x, origin_y):
    """Column and row in the image of one lane of one block of a tile."""
    x = origin_x + (block % TILE_BLOCKS) * BLOCK_WIDTH + lane % BLOCK_WIDTH
    y = origin_y + (block // TILE_BLOCKS) * BLOCK_HEIGHT + lane // BLOCK_WIDTH
    return x, y


@kernel(cached=False, inline=True)
def _log2_alpha(record, dx, dy):
    u, v = record[2] * dx + record[3] * dy, record[4] * dy
    return record[5] - (u * u + v * v)


@kernel()
def forward(
    worker, num_workers, records, starts, instances, splat_of, masks, owners, background, width, height, image
):  # fmt: skip
    """As `cpu_simd.forward`."""
    tiles_x = (width + TILE - 1) // TILE
    T, red, green = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    blue, depth = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    for owned in range(owners[worker], owners[worker + 1]):
        tile = owners[owned]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        T[:] = _ONE
        red[:] = _ZERO
        green[:] = _ZERO
        blue[:] = _ZERO
        depth[:] = _ZERO
        for k in range(starts[tile], starts[tile + 1]):
            e = instances[k]
            record = records[splat_of[e]]
            for block in range(_BLOCKS):
                if (masks[e, block >> 6] >> np.uint64(block & 63)) & np.uint64(1) == np.uint64(0):
                    continue
                for lane in range(LANES):
                    at = block * LANES + lane
                    x, y = _pixel_of(block, lane, origin_x, origin_y)
                    power = _log2_alpha(record, np.float32(x) + _HALF - record[0], np.float32(y) + _HALF - record[1])
                    alpha = min(np.exp2(power), _MAX_ALPHA)
                    if alpha < _MIN_ALPHA or T[at] < _MIN_T:
                        continue
                    weight = alpha * T[at]
                    T[at] *= _ONE - alpha
                    red[at] += weight * record[6]
                    green[at] += weight * record[7]
                    blue[at] += weight * record[8]
                    depth[at] += weight * record[9]
        for at in range(_PIXELS):
            x, y = _pixel_of(at // LANES, at % LANES, origin_x, origin_y)
            if x < width and y < height:
                write_pixel(y * width + x, at, width * height, background, T, red, green, blue, depth, image)


@kernel()
def backward(
    worker, num_workers, records, starts, instances, splat_of, masks, owners, background, width, height,
    image, g_rgb, g_alpha, g_depth, grads,
):  # fmt: skip
    """As `cpu_simd.backward`."""
    tiles_x = (width + TILE - 1) // TILE
    T, left, g = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32), np.empty(5 * _PIXELS, np.float32)
    s = np.empty(10, dtype=np.float32)
    for owned in range(owners[worker], owners[worker + 1]):
        tile = owners[owned]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        T[:] = _ONE
        left[:] = _ZERO
        for at in range(_PIXELS):
            x, y = _pixel_of(at // LANES, at % LANES, origin_x, origin_y)
            if x < width and y < height:
                to = y * width + x
                read_pixel(to, at, width * height, background, image, g_rgb, g_alpha, g_depth, g, left)
            else:
                T[at] = _ZERO
        for k in range(starts[tile], starts[tile + 1]):
            e = instances[k]
            record = records[splat_of[e]]
            s[:] = _ZERO
            for block in range(_BLOCKS):
                if (masks[e, block >> 6] >> np.uint64(block & 63)) & np.uint64(1) == np.uint64(0):
                    continue
                for lane in range(LANES):
                    at = block * LANES + lane
                    x, y = _pixel_of(block, lane, origin_x, origin_y)
                    dx, dy = np.float32(x) + _HALF - record[0], np.float32(y) + _HALF - record[1]
                    raw = np.exp2(_log2_alpha(record, dx, dy))
                    alpha = min(raw, _MAX_ALPHA)
                    if alpha < _MIN_ALPHA or T[at] < _MIN_T:
                        continue
                    weight = alpha * T[at]
                    T[at] *= _ONE - alpha
                    value = g[at] * record[6] + g[at + _PIXELS] * record[7] + g[at + 2 * _PIXELS] * record[8]
                    value += g[at + 3 * _PIXELS] + g[at + 4 * _PIXELS] * record[9]
                    left[at] -= weight * value
                    if raw <= _MAX_ALPHA:
                        q = weight * value - left[at] * alpha / (_ONE - alpha)
                        s[0] += q
                        s[1] += q * dx
                        s[2] += q * dy
                        s[3] += q * dx * dx
                        s[4] += q * dx * dy
                        s[5] += q * dy * dy
                    s[6] += weight * g[at]
                    s[7] += weight * g[at + _PIXELS]
                    s[8] += weight * g[at + 2 * _PIXELS]
                    s[9] += weight * g[at + 4 * _PIXELS]
            for k10 in range(10):
                grads[e, k10] = s[k10]
