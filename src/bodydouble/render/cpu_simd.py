"""The hot loops of the CPU rasteriser, with an explicit vector type: one block of pixels at a time."""

from __future__ import annotations

import numpy as np

from bodydouble.render.cpu_binning import (
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
from bodydouble.render.simd import (
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    LANES,
    any_set,
    exp2,
    floor,
    fma,
    horizontal_sum,
    keep,
    lane_index,
    lane_x,
    lane_y,
    load,
    load_block,
    lowest_bit,
    maximum,
    minimum,
    splat,
    sqrt,
    store,
    store_block,
)

_PIXELS = TILE * TILE
_ZERO, _ONE, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
_MAX_ALPHA, _MIN_ALPHA, _MIN_T = np.float32(MAX_ALPHA), np.float32(MIN_ALPHA), np.float32(MIN_TRANSMITTANCE)
_EIGHT_BITS, _ALL_BITS, _NO_BITS = np.uint64(7), np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(0)


@kernel(cached=False, inline=True)
def _spans(record, s0, s1, last_column, low, high):
    """Blocks low[k] .. high[k] that the ellipse covers in block row s0 + k, a vector of rows at a time.

    In a strip of rows the ellipse reaches furthest right at its rightmost point, or else at the strip's edge nearest
    to it; on the left likewise. So the span is exact.
    """
    mx, my = record[0], record[1]
    slope = -record[3] / record[2]
    half_y = record[11]
    width = half_y * record[4] / record[2]
    inverse = _ONE / half_y
    rightmost = record[12]
    step = np.float32(BLOCK_HEIGHT)
    quarter = np.float32(1.0 / BLOCK_WIDTH)
    reach = np.float32(BLOCK_WIDTH - 0.5) - mx
    for k in range(0, s1 - s0 + 1, LANES):
        begin = lane_index() * step + (np.float32((s0 + k) * BLOCK_HEIGHT) + _HALF - my)
        end = begin + np.float32(BLOCK_HEIGHT - 1)
        right = maximum(minimum(splat(rightmost), end), begin)
        left = maximum(minimum(splat(-rightmost), end), begin)
        r, t = right * inverse, left * inverse
        x1 = fma(right, slope, sqrt(maximum(_ONE - r * r, _ZERO)) * width)
        x0 = fma(left, slope, sqrt(maximum(_ONE - t * t, _ZERO)) * (-width))
        # Block c holds the centres 4c + 0.5 .. 4c + 3.5.
        first = _ZERO - floor((reach - x0) * quarter)
        last = floor((x1 + (mx - _HALF)) * quarter)
        store(low, k, minimum(maximum(first, _ZERO), last_column + _ONE))
        store(high, k, maximum(minimum(last, last_column), -_ONE))


@kernel()
def emit(worker, num_workers, records, tiles_bound, width, height, first, count, tile_of, splat_of, masks):
    """Find the instances of the worker's share of the splats."""
    n = records.shape[0]
    tiles_x = (width + TILE - 1) // TILE
    last_column = np.float32((width - 1) // BLOCK_WIDTH)
    room = (height // BLOCK_HEIGHT + 2 + LANES) // LANES * LANES + LANES
    low_f, high_f = np.empty(room, dtype=np.float32), np.empty(room, dtype=np.float32)
    low, high = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int32)
    for i in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        count[i] = 0
        if tiles_bound[i] == 0:
            continue
        record = records[i]
        s0, s1 = strip_range(record, height)
        _spans(record, s0, s1, last_column, low_f, high_f)
        for k in range(s1 - s0 + 1):
            low[k] = np.int32(low_f[k])
            high[k] = np.int32(high_f[k])
        emit_splat(i, s0, s1, low, high, tiles_x, first, count, tile_of, splat_of, masks)


@kernel(cached=False, inline=True)
def _open_blocks(open_words, tile_pixels):
    """All blocks of a tile are open, their transmittance is 1."""
    for word in range(WORDS):
        open_words[word] = _ALL_BITS
    tile_pixels[:_PIXELS] = _ONE


@kernel()
def forward(
    worker, num_workers, records, starts, instances, splat_of, masks, owners, background, width, height, image
):  # fmt: skip
    """Composite the worker's tiles into image, planes of H * W: red, green, blue, alpha, depth.

    Pixels of tiles without splats are not touched.
    """
    tiles_x = (width + TILE - 1) // TILE
    T, red, green = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    blue, depth = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    open_words = np.empty(WORDS, dtype=np.uint64)
    one = splat(_ONE)
    for owned in range(owners[worker], owners[worker + 1]):
        tile = owners[owned]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        _open_blocks(open_words, T)
        red[:] = _ZERO
        green[:] = _ZERO
        blue[:] = _ZERO
        depth[:] = _ZERO
        for k in range(starts[tile], starts[tile + 1]):
            e = instances[k]
            record = records[splat_of[e]]
            offset_x, offset_y = np.float32(origin_x) - record[0], np.float32(origin_y) - record[1]
            P, Q, S, L = splat(record[2]), splat(record[3]), splat(record[4]), splat(record[5])
            r, g, b, z = splat(record[6]), splat(record[7]), splat(record[8]), splat(record[9])
            for word in range(WORDS):
                bits = masks[e, word] & open_words[word]
                while bits != _NO_BITS:
                    bit = lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    block_x = np.float32(np.int32(bit & _EIGHT_BITS) * BLOCK_WIDTH)
                    block_y = np.float32((np.int32(bit >> np.uint64(3)) + word * 8) * BLOCK_HEIGHT)
                    at = (np.int64(bit) + word * 64) * LANES
                    dx = lane_x() + (offset_x + block_x)
                    dy = lane_y() + (offset_y + block_y)
                    u, v = fma(P, dx, Q * dy), S * dy
                    alpha = minimum(exp2(L - fma(u, u, v * v)), _MAX_ALPHA)
                    before = load(T, at)
                    alpha = keep((alpha >= _MIN_ALPHA) & (before >= _MIN_T), alpha)
                    weight = alpha * before
                    after = before * (one - alpha)
                    store(T, at, after)
                    store(red, at, fma(weight, r, load(red, at)))
                    store(green, at, fma(weight, g, load(green, at)))
                    store(blue, at, fma(weight, b, load(blue, at)))
                    store(depth, at, fma(weight, z, load(depth, at)))
                    if not any_set(after >= _MIN_T):
                        open_words[word] &= ~(np.uint64(1) << bit)
        _write_tile(origin_x, origin_y, width, height, background, T, red, green, blue, depth, image)


@kernel(cached=False)
def _write_tile(origin_x, origin_y, width, height, background, T, red, green, blue, depth, image):
    """From the blocks of a tile to rows of the image, over the background."""
    plane = width * height
    for block in range(_PIXELS // LANES):
        x = origin_x + (block % TILE_BLOCKS) * BLOCK_WIDTH
        y = origin_y + (block // TILE_BLOCKS) * BLOCK_HEIGHT
        if x >= width or y >= height:
            continue
        at = block * LANES
        if x + BLOCK_WIDTH <= width and y + BLOCK_HEIGHT <= height:
            to = y * width + x
            through = load(T, at)
            store_block(image, to, width, fma(through, background[0], load(red, at)))
            store_block(image, to + plane, width, fma(through, background[1], load(green, at)))
            store_block(image, to + 2 * plane, width, fma(through, background[2], load(blue, at)))
            store_block(image, to + 3 * plane, width, splat(_ONE) - through)
            store_block(image, to + 4 * plane, width, load(depth, at))
            continue
        for lane in range(LANES):
            column, row = x + lane % BLOCK_WIDTH, y + lane // BLOCK_WIDTH
            if column < width and row < height:
                write_pixel(row * width + column, at + lane, plane, background, T, red, green, blue, depth, image)


@kernel(cached=False)
def _read_tile(origin_x, origin_y, width, height, background, image, g_rgb, g_alpha, g_depth, g, left):
    """Gradients of a tile's pixels into g [5, pixels], block by block, and what all splats together contribute to the
    loss into `left`. The gradient of alpha takes up that of the background. An empty array stands for zeros.
    """
    plane = width * height
    has_alpha, has_depth = g_alpha.shape[0] > 0, g_depth.shape[0] > 0
    for block in range(_PIXELS // LANES):
        x = origin_x + (block % TILE_BLOCKS) * BLOCK_WIDTH
        y = origin_y + (block // TILE_BLOCKS) * BLOCK_HEIGHT
        at = block * LANES
        if x >= width or y >= height:
            continue
        if x + BLOCK_WIDTH <= width and y + BLOCK_HEIGHT <= height:
            to = y * width + x
            red, green = load_block(g_rgb, to, width), load_block(g_rgb, to + plane, width)
            blue = load_block(g_rgb, to + 2 * plane, width)
            over = fma(red, background[0], fma(green, background[1], blue * background[2]))
            through = load_block(g_alpha, to, width) - over if has_alpha else splat(_ZERO) - over
            away = load_block(g_depth, to, width) if has_depth else splat(_ZERO)
            alpha = load_block(image, to + 3 * plane, width)
            total = fma(red, load_block(image, to, width), through * alpha)
            total = fma(green, load_block(image, to + plane, width), total)
            total = fma(blue, load_block(image, to + 2 * plane, width), total)
            total = fma(away, load_block(image, to + 4 * plane, width), total)
            store(left, at, total - over * (splat(_ONE) - alpha))
            store(g, at, red)
            store(g, at + _PIXELS, green)
            store(g, at + 2 * _PIXELS, blue)
            store(g, at + 3 * _PIXELS, through)
            store(g, at + 4 * _PIXELS, away)
            continue
        for lane in range(LANES):
            column, row = x + lane % BLOCK_WIDTH, y + lane // BLOCK_WIDTH
            left[at + lane] = _ZERO
            for channel in range(5):
                g[at + lane + channel * _PIXELS] = _ZERO
            if column < width and row < height:
                read_pixel(row * width + column, at + lane, plane, background, image, g_rgb, g_alpha, g_depth, g, left)


@kernel()
def backward(
    worker, num_workers, records, starts, instances, splat_of, masks, owners, background, width, height,
    image, g_rgb, g_alpha, g_depth, grads,
):  # fmt: skip
    """Gradients of every instance in the worker's tiles: rows of sums over pixels (see `project_backward`).

    Front to back like the forward pass, and with the same arithmetic, so both stop at the same splat. `left` is what
    the splats behind contribute to the loss: the whole minus what came before.
    """
    tiles_x = (width + TILE - 1) // TILE
    T, left, g = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32), np.empty(5 * _PIXELS, np.float32)
    open_words = np.empty(WORDS, dtype=np.uint64)
    one = splat(_ONE)
    for owned in range(owners[worker], owners[worker + 1]):
        tile = owners[owned]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        _open_blocks(open_words, T)
        _read_tile(origin_x, origin_y, width, height, background, image, g_rgb, g_alpha, g_depth, g, left)
        for k in range(starts[tile], starts[tile + 1]):
            e = instances[k]
            record = records[splat_of[e]]
            offset_x, offset_y = np.float32(origin_x) - record[0], np.float32(origin_y) - record[1]
            P, Q, S, L = splat(record[2]), splat(record[3]), splat(record[4]), splat(record[5])
            cr, cg, cb, cz = splat(record[6]), splat(record[7]), splat(record[8]), splat(record[9])
            s0, s1, s2, s3, s4 = splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO)
            s5, s6, s7, s8, s9 = splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO)
            for word in range(WORDS):
                bits = masks[e, word] & open_words[word]
                while bits != _NO_BITS:
                    bit = lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    block_x = np.float32(np.int32(bit & _EIGHT_BITS) * BLOCK_WIDTH)
                    block_y = np.float32((np.int32(bit >> np.uint64(3)) + word * 8) * BLOCK_HEIGHT)
                    at = (np.int64(bit) + word * 64) * LANES
                    dx = lane_x() + (offset_x + block_x)
                    dy = lane_y() + (offset_y + block_y)
                    u, v = fma(P, dx, Q * dy), S * dy
                    raw = exp2(L - fma(u, u, v * v))
                    alpha = minimum(raw, _MAX_ALPHA)
                    before = load(T, at)
                    alpha = keep((alpha >= _MIN_ALPHA) & (before >= _MIN_T), alpha)
                    weight = alpha * before
                    through = one - alpha
                    after = before * through
                    store(T, at, after)
                    red, green, blue = load(g, at), load(g, at + _PIXELS), load(g, at + 2 * _PIXELS)
                    away = load(g, at + 4 * _PIXELS)
                    value = fma(red, cr, fma(green, cg, load(g, at + 3 * _PIXELS)))
                    value = fma(blue, cb, fma(away, cz, value))
                    rest = load(left, at) - weight * value
                    store(left, at, rest)
                    # Gradient of log alpha; none where alpha is clipped.
                    q = keep(raw <= _MAX_ALPHA, weight * value - rest * (alpha / through))
                    qx, qy = q * dx, q * dy
                    s0 = s0 + q
                    s1 = s1 + qx
                    s2 = s2 + qy
                    s3 = fma(qx, dx, s3)
                    s4 = fma(qx, dy, s4)
                    s5 = fma(qy, dy, s5)
                    s6 = fma(weight, red, s6)
                    s7 = fma(weight, green, s7)
                    s8 = fma(weight, blue, s8)
                    s9 = fma(weight, away, s9)
                    if not any_set(after >= _MIN_T):
                        open_words[word] &= ~(np.uint64(1) << bit)
            row = grads[e]
            row[0], row[1], row[2] = horizontal_sum(s0), horizontal_sum(s1), horizontal_sum(s2)
            row[3], row[4], row[5] = horizontal_sum(s3), horizontal_sum(s4), horizontal_sum(s5)
            row[6], row[7], row[8] = horizontal_sum(s6), horizontal_sum(s7), horizontal_sum(s8)
            row[9] = horizontal_sum(s9)
