"""The hot loops of the CPU rasteriser, with an explicit vector type: one block of pixels at a time."""

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
from bodydouble.render.simd import (
    BLOCK_HEIGHT,
    BLOCK_WIDTH,
    EXP2,
    LANES,
    any_set,
    byte_rows,
    floor,
    fma,
    fnma,
    horizontal_sum,
    keep,
    lane_index,
    lane_x,
    lane_y,
    lowest_bit,
    maximum,
    minimum,
    rint,
    splat,
    sqrt,
    times_power_of_2,
)
from bodydouble.render.simd_memory import load, load_block, store, store_block

_BLOCKS = WORDS * 64
_FORWARD, _BACKWARD = 5 * LANES, 7 * LANES
_ZERO, _ONE, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
_CONSTANTS = np.array([*EXP2, MIN_ALPHA, MAX_ALPHA, MIN_TRANSMITTANCE], dtype=np.float32)
_ALL_BITS, _NO_BITS, _ONE_BIT = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(0), np.uint64(1)


@kernel()
def emit(worker, num_workers, records, tiles_bound, width, height, first, count, tile_of, splat_of, masks):
    """Find the instances of the worker's share of the splats: eight rows of blocks at a time.

    In a strip of rows the ellipse reaches furthest right at its rightmost point, or else at the strip's edge nearest
    to it; on the left likewise. So the span of blocks that it covers in the strip is exact.
    """
    tiles_x = (width + TILE - 1) // TILE
    last_column, edge = np.float32((width - 1) // BLOCK_WIDTH), np.float32(height)
    quarter, tall = np.float32(1.0 / BLOCK_WIDTH), np.float32(BLOCK_HEIGHT - 1)
    strip_tops = lane_index() * np.float32(BLOCK_HEIGHT) + _HALF
    n = records.shape[0]
    for i in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        count[i] = 0
        if tiles_bound[i] == 0:
            continue
        record = records[i]
        mx, my, half_y, rightmost = record[0], record[1], record[11], record[12]
        slope, half_width, inverse = -record[3] / record[2], half_y * record[4] / record[2], _ONE / half_y
        # The picture's edge, not the centres of its last row: rounded otherwise than `begin`, they could leave that row out.
        bottom = min(half_y, edge - my)
        x0, x1, y0, y1 = tile_range(record, width, height)
        e = first[i]
        for tile_y in range(y0, y1 + 1):
            for word in range(WORDS):
                begin = strip_tops + (np.float32((tile_y * STRIPS + word * 8) * BLOCK_HEIGHT) - my)
                end = begin + tall
                right = maximum(minimum(splat(rightmost), end), begin)
                left = maximum(minimum(splat(-rightmost), end), begin)
                r, t = right * inverse, left * inverse
                high = fma(right, slope, sqrt(maximum(_ONE - r * r, _ZERO)) * half_width)
                low = fma(left, slope, sqrt(maximum(_ONE - t * t, _ZERO)) * (-half_width))
                # Block c holds the centres 4c + 0.5 .. 4c + 3.5.
                first_block = _ZERO - floor((np.float32(BLOCK_WIDTH - 0.5) - mx - low) * quarter)
                last_block = minimum(floor((high + (mx - _HALF)) * quarter), last_column)
                inside = (begin <= bottom) & (end >= -half_y)
                last_block = keep(inside, last_block + _ONE) - _ONE
                for tile_x in range(x0, x1 + 1):
                    origin = np.float32(tile_x * TILE_BLOCKS)
                    masks[e + tile_x - x0, word] = byte_rows(first_block - origin, last_block - origin)
            e = keep_instances(i, e, tile_y * tiles_x + x0, x1 - x0 + 1, tile_of, splat_of, masks)
        count[i] = e - first[i]


@kernel(cached=False, inline=True)
def _block_corners(corners):
    """Left edge and top edge of each block in its tile, pixels."""
    for block in range(_BLOCKS):
        corners[block] = np.float32((block % TILE_BLOCKS) * BLOCK_WIDTH)
        corners[_BLOCKS + block] = np.float32((block // TILE_BLOCKS) * BLOCK_HEIGHT)


@kernel(cached=False, inline=True)
def _fill_constants(constants):
    """What the inner loops need in every lane. From memory they cost nothing; as literals LLVM loads them twice over."""
    for k in range(8):
        store(constants, k * LANES, splat(_CONSTANTS[k]))


@kernel(cached=False, inline=True)
def _exp2(x, constants):
    """2^x for x in [-126, 127], relative error below 3e-6."""
    whole = rint(x)
    rest = x - whole
    y = fma(load(constants, 0), rest, load(constants, LANES))
    y = fma(y, rest, load(constants, 2 * LANES))
    y = fma(y, rest, load(constants, 3 * LANES))
    return times_power_of_2(fma(y, rest, load(constants, 4 * LANES)), whole)


@kernel(cached=False, inline=True)
def _clear(state, per_block, open_words):
    """All blocks of a tile are open; transmittance is 1, everything else 0."""
    state[:] = _ZERO
    for block in range(_BLOCKS):
        store(state, block * per_block, splat(_ONE))
    for word in range(WORDS):
        open_words[word] = _ALL_BITS


@kernel()
def forward(
    worker, num_workers, records, starts, instances, splat_of, masks, owners, background, width, height, image
):  # fmt: skip
    """Composite the worker's tiles into image, planes of H * W: red, green, blue, alpha, depth.

    A tile's state lies block by block: transmittance, red, green, blue, depth of a block's pixels side by side.
    """
    tiles_x = (width + TILE - 1) // TILE
    state, corners = np.empty(_BLOCKS * _FORWARD, np.float32), np.empty(2 * _BLOCKS, np.float32)
    open_words, constants = np.empty(WORDS, dtype=np.uint64), np.empty(8 * LANES, np.float32)
    _block_corners(corners)
    _fill_constants(constants)
    for owned in range(owners[worker], owners[worker + 1]):
        tile = owners[owned]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        if starts[tile] == starts[tile + 1]:
            fill_background(origin_x, origin_y, width, height, background, image)
            continue
        _clear(state, _FORWARD, open_words)
        for k in range(starts[tile], starts[tile + 1]):
            e = instances[k]
            record = records[splat_of[e]]
            left = lane_x() + (np.float32(origin_x) - record[0])
            top = lane_y() + (np.float32(origin_y) - record[1])
            P, Q, S, L = splat(record[2]), splat(record[3]), splat(record[4]), splat(record[5])
            u_tile, v_tile = fma(P, left, Q * top), S * top
            r, g, b, z = splat(record[6]), splat(record[7]), splat(record[8]), splat(record[9])
            for word in range(WORDS):
                bits = masks[e, word] & open_words[word]
                while bits != _NO_BITS:
                    block = np.int64(lowest_bit(bits)) + word * 64
                    bits &= bits - _ONE_BIT
                    at = block * _FORWARD
                    x, y = splat(corners[block]), splat(corners[block + _BLOCKS])
                    u, v = fma(P, x, fma(Q, y, u_tile)), fma(S, y, v_tile)
                    # Within a block of the ellipse the exponent stays above -100: the blur bounds P and S.
                    alpha = minimum(_exp2(fnma(u, u, fnma(v, v, L)), constants), load(constants, 6 * LANES))
                    before = load(state, at)
                    live = before >= load(constants, 7 * LANES)
                    alpha = keep((alpha >= load(constants, 5 * LANES)) & live, alpha)
                    weight = alpha * before
                    store(state, at, before - weight)
                    store(state, at + LANES, fma(weight, r, load(state, at + LANES)))
                    store(state, at + 2 * LANES, fma(weight, g, load(state, at + 2 * LANES)))
                    store(state, at + 3 * LANES, fma(weight, b, load(state, at + 3 * LANES)))
                    store(state, at + 4 * LANES, fma(weight, z, load(state, at + 4 * LANES)))
                    if not any_set(live):
                        open_words[word] &= ~(_ONE_BIT << np.uint64(block & 63))
        _write_tile(origin_x, origin_y, width, height, background, state, image)


@kernel(cached=False)
def _write_tile(origin_x, origin_y, width, height, background, state, image):
    """From the blocks of a tile to rows of the image, over the background."""
    plane = width * height
    for block in range(_BLOCKS):
        x = origin_x + (block % TILE_BLOCKS) * BLOCK_WIDTH
        y = origin_y + (block // TILE_BLOCKS) * BLOCK_HEIGHT
        at = block * _FORWARD
        to = y * width + x
        if x + BLOCK_WIDTH <= width and y + BLOCK_HEIGHT <= height:
            through = load(state, at)
            for channel in range(3):
                color = fma(through, background[channel], load(state, at + (1 + channel) * LANES))
                store_block(image, to + channel * plane, width, color)
            store_block(image, to + 3 * plane, width, splat(_ONE) - through)
            store_block(image, to + 4 * plane, width, load(state, at + 4 * LANES))
            continue
        for lane in range(LANES):
            column, row = lane % BLOCK_WIDTH, lane // BLOCK_WIDTH
            if x + column < width and y + row < height:
                write_pixel(to + row * width + column, at + lane, LANES, plane, background, state, image)


@kernel(cached=False)
def _read_tile(origin_x, origin_y, width, height, background, image, g_rgb, g_alpha, g_depth, state):
    """Fill the state of a tile's pixels for the backward pass (see `read_pixel`); transmittance is there already."""
    plane = width * height
    has_alpha, has_depth = g_alpha.shape[0] > 0, g_depth.shape[0] > 0
    for block in range(_BLOCKS):
        x = origin_x + (block % TILE_BLOCKS) * BLOCK_WIDTH
        y = origin_y + (block // TILE_BLOCKS) * BLOCK_HEIGHT
        at = block * _BACKWARD
        to = y * width + x
        if x + BLOCK_WIDTH <= width and y + BLOCK_HEIGHT <= height:
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
            store(state, at + LANES, total - over * (splat(_ONE) - alpha))
            store(state, at + 2 * LANES, red)
            store(state, at + 3 * LANES, green)
            store(state, at + 4 * LANES, blue)
            store(state, at + 5 * LANES, through)
            store(state, at + 6 * LANES, away)
            continue
        for lane in range(LANES):
            column, row = lane % BLOCK_WIDTH, lane // BLOCK_WIDTH
            if x + column < width and y + row < height:
                pixel = to + row * width + column
                read_pixel(pixel, at + lane, LANES, plane, background, image, g_rgb, g_alpha, g_depth, state)


@kernel()
def backward(
    worker, num_workers, records, starts, instances, splat_of, masks, owners, background, width, height,
    image, g_rgb, g_alpha, g_depth, grads,
):  # fmt: skip
    """Gradients of every instance in the worker's tiles: rows of sums over pixels (see `project_backward`).

    Front to back like the forward pass, and with the same arithmetic, so both stop at the same splat. `rest` is what
    the splats behind contribute to the loss: the whole minus what came before.
    """
    tiles_x = (width + TILE - 1) // TILE
    state, corners = np.empty(_BLOCKS * _BACKWARD, np.float32), np.empty(2 * _BLOCKS, np.float32)
    open_words, constants = np.empty(WORDS, dtype=np.uint64), np.empty(8 * LANES, np.float32)
    _block_corners(corners)
    _fill_constants(constants)
    for owned in range(owners[worker], owners[worker + 1]):
        tile = owners[owned]
        origin_x, origin_y = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        if starts[tile] == starts[tile + 1]:
            continue
        _clear(state, _BACKWARD, open_words)
        _read_tile(origin_x, origin_y, width, height, background, image, g_rgb, g_alpha, g_depth, state)
        for k in range(starts[tile], starts[tile + 1]):
            e = instances[k]
            record = records[splat_of[e]]
            left = lane_x() + (np.float32(origin_x) - record[0])
            top = lane_y() + (np.float32(origin_y) - record[1])
            P, Q, S, L = splat(record[2]), splat(record[3]), splat(record[4]), splat(record[5])
            u_tile, v_tile = fma(P, left, Q * top), S * top
            cr, cg, cb, cz = splat(record[6]), splat(record[7]), splat(record[8]), splat(record[9])
            s0, s1, s2, s3, s4 = splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO)
            s5, s6, s7, s8, s9 = splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO)
            for word in range(WORDS):
                bits = masks[e, word] & open_words[word]
                while bits != _NO_BITS:
                    block = np.int64(lowest_bit(bits)) + word * 64
                    bits &= bits - _ONE_BIT
                    at = block * _BACKWARD
                    x, y = splat(corners[block]), splat(corners[block + _BLOCKS])
                    u, v = fma(P, x, fma(Q, y, u_tile)), fma(S, y, v_tile)
                    raw = _exp2(fnma(u, u, fnma(v, v, L)), constants)
                    alpha = minimum(raw, load(constants, 6 * LANES))
                    before = load(state, at)
                    live = before >= load(constants, 7 * LANES)
                    alpha = keep((alpha >= load(constants, 5 * LANES)) & live, alpha)
                    weight = alpha * before
                    store(state, at, before - weight)
                    red, green = load(state, at + 2 * LANES), load(state, at + 3 * LANES)
                    blue, away = load(state, at + 4 * LANES), load(state, at + 6 * LANES)
                    value = fma(red, cr, fma(green, cg, load(state, at + 5 * LANES)))
                    value = fma(blue, cb, fma(away, cz, value)) * weight
                    rest = load(state, at + LANES) - value
                    store(state, at + LANES, rest)
                    # Gradient of log alpha; none where alpha is clipped.
                    q = keep(raw <= load(constants, 6 * LANES), fnma(rest, alpha / (splat(_ONE) - alpha), value))
                    qu, qv = q * u, q * v
                    s0, s1, s2 = s0 + q, s1 + qu, s2 + qv
                    s3, s4, s5 = fma(qu, u, s3), fma(qu, v, s4), fma(qv, v, s5)
                    s6, s7 = fma(weight, red, s6), fma(weight, green, s7)
                    s8, s9 = fma(weight, blue, s8), fma(weight, away, s9)
                    if not any_set(live):
                        open_words[word] &= ~(_ONE_BIT << np.uint64(block & 63))
            row = grads[e]
            row[0], row[1], row[2] = horizontal_sum(s0), horizontal_sum(s1), horizontal_sum(s2)
            row[3], row[4], row[5] = horizontal_sum(s3), horizontal_sum(s4), horizontal_sum(s5)
            row[6], row[7], row[8] = horizontal_sum(s6), horizontal_sum(s7), horizontal_sum(s8)
            row[9] = horizontal_sum(s9)
