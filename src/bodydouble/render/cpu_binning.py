"""Which splats touch which tiles, and which blocks of pixels in them; shared by the SIMD and the plain kernels.

The image is divided into tiles of TILE x TILE pixels and these into blocks of one SIMD vector. Where a splat touches a
tile, that is one *instance*: the splat, the tile, and a bit for each block that the ellipse alpha >= 1/255 reaches.
The instances of a splat lie together, from first[i] on, so its gradients need no atomics and no order of threads.
"""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel
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
def tile_range(record, width, height):
    """First and last tile column and row that the box of a drawn splat touches."""
    x0 = int(max(record[0] - record[10], np.float32(0.0))) // TILE
    x1 = int(min(record[0] + record[10], np.float32(width - 0.5))) // TILE
    y0 = int(max(record[1] - record[11], np.float32(0.0))) // TILE
    y1 = int(min(record[1] + record[11], np.float32(height - 0.5))) // TILE
    return x0, x1, y0, y1


@kernel(cached=False, inline=True)
def keep_instances(i, begin, first_tile, num_tiles, tile_of, splat_of, masks):
    """Turn the masks begin .. begin + num_tiles of a row of tiles into instances, leaving out the empty ones.

    Returns the next free place.
    """
    place = begin
    for k in range(num_tiles):
        some = masks[begin + k, 0]
        masks[place, 0] = some
        for word in range(1, WORDS):
            some |= masks[begin + k, word]
            masks[place, word] = masks[begin + k, word]
        tile_of[place] = first_tile + k
        splat_of[place] = i
        if some != np.uint64(0):
            place += 1
    return place


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
    for i in range(first.shape[0]):
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
            tile = tile_of[e]
            instances[cursor[tile]] = e
            cursor[tile] += 1


@kernel()
def share_tiles(load, by_load, owners, num_workers):
    """The heaviest tile goes to the worker with the least load so far, and so on.

    by_load: tiles from the heaviest to the lightest. owners [tiles + workers + 1]: first the workers + 1 starts into
    the list of tiles that follows them.
    """
    worker_of = np.empty(load.shape[0], dtype=np.int32)
    loads = np.zeros(num_workers, dtype=np.int64)
    sizes = np.zeros(num_workers, dtype=np.int64)
    for k in range(by_load.shape[0]):
        tile = by_load[k]
        least = 0
        for worker in range(1, num_workers):
            if loads[worker] < loads[least]:
                least = worker
        worker_of[tile] = least
        # A tile costs something by itself: clearing it, writing it out.
        loads[least] += load[tile] + (100 if load[tile] > 0 else 10)
        sizes[least] += 1
    owners[0] = num_workers + 1
    for worker in range(num_workers):
        owners[worker + 1] = owners[worker] + sizes[worker]
    cursor = owners[:num_workers].copy()
    for tile in range(load.shape[0]):
        worker = worker_of[tile]
        owners[cursor[worker]] = tile
        cursor[worker] += 1


@kernel(cached=False, inline=True)
def fill_background(origin_x, origin_y, width, height, background, image):
    """What a tile without splats looks like, into the image's planes."""
    plane = width * height
    x1 = min(origin_x + TILE, width)
    for y in range(origin_y, min(origin_y + TILE, height)):
        for channel in range(5):
            value = background[channel] if channel < 3 else np.float32(0.0)
            at = channel * plane + y * width
            for x in range(origin_x, x1):
                image[at + x] = value


@kernel(cached=False, inline=True)
def write_pixel(to, at, step, plane, background, state, image):
    """One pixel of a tile over the background into the image's planes at `to`.

    state: Transmittance at `at`, then red, green, blue and depth, each `step` further.
    """
    through = state[at]
    image[to] = state[at + step] + through * background[0]
    image[to + plane] = state[at + 2 * step] + through * background[1]
    image[to + 2 * plane] = state[at + 3 * step] + through * background[2]
    image[to + 3 * plane] = np.float32(1.0) - through
    image[to + 4 * plane] = state[at + 4 * step]


@kernel(cached=False, inline=True)
def read_pixel(to, at, step, plane, background, image, g_rgb, g_alpha, g_depth, state):
    """What the backward pass needs of a pixel, into `state` from `at` on, `step` floats apart.

    First transmittance (1); then what all splats together contribute to the loss; then the gradients of red, green,
    blue, alpha and depth. The gradient of alpha takes up that of the background. An empty array stands for zeros.
    """
    over, total = np.float32(0.0), np.float32(0.0)
    for channel in range(3):
        value = g_rgb[to + channel * plane]
        over += value * background[channel]
        total += value * image[to + channel * plane]
        state[at + (2 + channel) * step] = value
    through = (g_alpha[to] if g_alpha.shape[0] > 0 else np.float32(0.0)) - over
    away = g_depth[to] if g_depth.shape[0] > 0 else np.float32(0.0)
    total += through * image[to + 3 * plane] + away * image[to + 4 * plane]
    state[at] = np.float32(1.0)
    state[at + step] = total - over * (np.float32(1.0) - image[to + 3 * plane])
    state[at + 5 * step] = through
    state[at + 6 * step] = away
