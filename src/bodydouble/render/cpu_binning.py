"""Which splats touch which tiles, and which blocks of pixels in them; shared by the SIMD and the plain kernels.

The image is divided into tiles of TILE x TILE pixels and these into blocks of one SIMD vector. Where a splat touches a
tile, that is one *instance*: the splat, the tile, and a bit for each block that the ellipse alpha >= 1/255 reaches.
The instances of a splat lie together, from first[i] on, so its gradients need no atomics and no order of threads.
"""

from __future__ import annotations

import numpy as np

from bodydouble.render.jit import kernel
from bodydouble.render.simd import BLOCK_HEIGHT, BLOCK_WIDTH, count_bits

TILE = 32
TILE_BLOCKS = TILE // BLOCK_WIDTH
"""Blocks in a row of a tile; they share a byte of the mask."""
STRIPS = TILE // BLOCK_HEIGHT
"""Rows of blocks in a tile."""
WORDS = STRIPS * TILE_BLOCKS // 64
"""64-bit words in the mask of an instance."""
assert TILE_BLOCKS == 8 and WORDS * 64 == STRIPS * TILE_BLOCKS


@kernel(cached=False, inline=True)
def strip_range(record, height):
    """First and last row of blocks in the image that the splat's box touches."""
    s0 = int(max(record[1] - record[11] - 0.5, np.float32(0.0))) // BLOCK_HEIGHT
    s1 = int(min(record[1] + record[11], np.float32(height - 0.5))) // BLOCK_HEIGHT
    return s0, s1


@kernel(cached=False, inline=True)
def emit_splat(i, s0, s1, low, high, tiles_x, first, count, tile_of, splat_of, masks):
    """Write the instances of splat i, which covers blocks low[k] .. high[k] of block row s0 + k."""
    e = first[i]
    for tile_y in range(s0 // STRIPS, s1 // STRIPS + 1):
        begin, end = max(s0, tile_y * STRIPS), min(s1, tile_y * STRIPS + STRIPS - 1)
        c0, c1 = 1 << 30, -1
        for s in range(begin, end + 1):
            if low[s - s0] <= high[s - s0]:
                c0 = min(c0, low[s - s0])
                c1 = max(c1, high[s - s0])
        if c1 < 0:
            continue
        for tile_x in range(c0 // TILE_BLOCKS, c1 // TILE_BLOCKS + 1):
            origin = tile_x * TILE_BLOCKS
            some = np.uint64(0)
            for word in range(WORDS):
                bits = np.uint64(0)
                word_begin = tile_y * STRIPS + word * 8
                for s in range(max(begin, word_begin), min(end, word_begin + 7) + 1):
                    a, b = max(low[s - s0] - origin, 0), min(high[s - s0] - origin, TILE_BLOCKS - 1)
                    if a <= b:
                        row = np.uint64((2 << b) - (1 << a))
                        bits |= row << np.uint64((s - word_begin) * 8)
                masks[e, word] = bits
                some |= bits
            if some != np.uint64(0):
                tile_of[e] = tile_y * tiles_x + tile_x
                splat_of[e] = i
                e += 1
    count[i] = e - first[i]


@kernel()
def order_by_depth(records, tiles_bound, order, first):
    """Drawn splats by depth, nearest first, ties by index, into `order`; first instance of each splat into `first`.

    Returns how many splats are drawn and how many instances there may be.
    """
    n = records.shape[0]
    depth = np.empty(n, dtype=np.float32)
    m, total = 0, 0
    for i in range(n):
        first[i] = total
        total += tiles_bound[i]
        if tiles_bound[i] > 0:
            depth[m] = records[i, 9]
            order[m] = i
            m += 1
    # Positive floats sort like their bits: a radix sort with three digits of 11 bits, lowest first.
    keys = depth.view(np.uint32)
    keys_next, order_next = np.empty(m, dtype=np.uint32), np.empty(m, dtype=np.int32)
    starts = np.empty(2049, dtype=np.int64)
    for shift in (0, 11, 22):
        starts[:] = 0
        for k in range(m):
            starts[((keys[k] >> np.uint32(shift)) & np.uint32(2047)) + 1] += 1
        if m == 0 or starts[((keys[0] >> np.uint32(shift)) & np.uint32(2047)) + 1] == m:
            continue
        for digit in range(2048):
            starts[digit + 1] += starts[digit]
        for k in range(m):
            digit = (keys[k] >> np.uint32(shift)) & np.uint32(2047)
            place = starts[digit]
            starts[digit] = place + 1
            keys_next[place] = keys[k]
            order_next[place] = order[k]
        for k in range(m):
            keys[k] = keys_next[k]
            order[k] = order_next[k]
    return m, total


@kernel()
def fill_tiles(order, num_drawn, first, count, tile_of, masks, starts, instances, load):
    """Instances of each tile in order of depth.

    starts [tiles + 1]: where each tile's instances begin in `instances`. load [tiles]: blocks to be composited.
    """
    num_tiles = starts.shape[0] - 1
    starts[:] = 0
    load[:] = 0
    for k in range(num_drawn):
        i = order[k]
        for e in range(first[i], first[i] + count[i]):
            tile = tile_of[e]
            starts[tile + 1] += 1
            for word in range(WORDS):
                load[tile] += np.int64(count_bits(masks[e, word]))
    cursor = np.empty(num_tiles, dtype=np.int64)
    for tile in range(num_tiles):
        starts[tile + 1] += starts[tile]
        cursor[tile] = starts[tile]
    for k in range(num_drawn):
        i = order[k]
        for e in range(first[i], first[i] + count[i]):
            instances[cursor[tile_of[e]]] = e
            cursor[tile_of[e]] += 1


@kernel()
def share_tiles(load, by_load, owners, num_workers):
    """The heaviest tile goes to the worker with the least load so far, and so on; empty tiles go to nobody.

    by_load: tiles from the heaviest to the lightest. owners [tiles + workers + 1]: first the workers + 1 starts into
    the list of tiles that follows them.
    """
    worker_of = np.full(load.shape[0], -1, dtype=np.int32)
    loads = np.zeros(num_workers, dtype=np.int64)
    sizes = np.zeros(num_workers, dtype=np.int64)
    for k in range(by_load.shape[0]):
        tile = by_load[k]
        if load[tile] == 0:
            break
        least = 0
        for worker in range(1, num_workers):
            if loads[worker] < loads[least]:
                least = worker
        worker_of[tile] = least
        # A tile costs something by itself: clearing it, writing it out.
        loads[least] += load[tile] + 100
        sizes[least] += 1
    owners[0] = num_workers + 1
    for worker in range(num_workers):
        owners[worker + 1] = owners[worker] + sizes[worker]
    cursor = owners[:num_workers].copy()
    for tile in range(load.shape[0]):
        worker = worker_of[tile]
        if worker >= 0:
            owners[cursor[worker]] = tile
            cursor[worker] += 1


@kernel(cached=False, inline=True)
def write_pixel(to, at, plane, background, T, red, green, blue, depth, image):
    """One pixel of a tile, at `at`, over the background into the image's planes at `to`."""
    image[to] = red[at] + T[at] * background[0]
    image[to + plane] = green[at] + T[at] * background[1]
    image[to + 2 * plane] = blue[at] + T[at] * background[2]
    image[to + 3 * plane] = np.float32(1.0) - T[at]
    image[to + 4 * plane] = depth[at]


@kernel(cached=False, inline=True)
def read_pixel(to, at, plane, background, image, g_rgb, g_alpha, g_depth, g, left):
    """One pixel's gradients into g [5, pixels] at `at`, and what all splats together contribute to the loss into left.

    The gradient of alpha takes up that of the background. An empty array stands for zeros.
    """
    size = left.shape[0]
    over, total = np.float32(0.0), np.float32(0.0)
    for channel in range(3):
        value = g_rgb[to + channel * plane]
        over += value * background[channel]
        total += value * image[to + channel * plane]
        g[at + channel * size] = value
    through = (g_alpha[to] if g_alpha.shape[0] > 0 else np.float32(0.0)) - over
    away = g_depth[to] if g_depth.shape[0] > 0 else np.float32(0.0)
    g[at + 3 * size] = through
    g[at + 4 * size] = away
    total += through * image[to + 3 * plane] + away * image[to + 4 * plane]
    left[at] = total - over * (np.float32(1.0) - image[to + 3 * plane])
