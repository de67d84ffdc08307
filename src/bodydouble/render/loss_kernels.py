"""Kernel of the fused L1 + SSIM loss."""

from __future__ import annotations

import numpy as np

from bodydouble.render.jit import kernel
from bodydouble.render.simd import LANES, fma, load, splat, store

_TAPS = 11
_HALF = 5
_PAD = 16
"""Zeros before and after each row: at least half a window, and whole vectors may be read past the end."""
_ZERO = np.float32(0.0)
_C1, _C2 = np.float32(0.01**2), np.float32(0.03**2)


@kernel(cached=False, inline=True)
def _filter_row(source, at, window, target, to, width):
    """Weighted sums over 11 neighbours along a padded row: source[at + PAD + x] -> target[to + x]."""
    for x in range(0, width, LANES):
        total = load(source, at + _PAD + x) * window[_HALF]
        for k in range(_HALF):
            pair = load(source, at + _PAD + x - _HALF + k) + load(source, at + _PAD + x + _HALF - k)
            total = fma(pair, window[k], total)
        store(target, to + x, total)


@kernel(cached=False, inline=True)
def _filter_column(ring, at, step, row, window, x):
    """Weighted sum of the 11 rows of a ring around `row`, a vector at x."""
    total = load(ring, at + (row % _TAPS) * step + x) * window[_HALF]
    for k in range(1, _HALF + 1):
        pair = load(ring, at + ((row - k + _TAPS) % _TAPS) * step + x) + load(ring, at + ((row + k) % _TAPS) * step + x)
        total = fma(pair, window[_HALF - k], total)
    return total


@kernel(cached=False, inline=True)
def _load_row(image, at, step, row, to, width):
    if step == 1:
        for x in range(width):
            row[to + x] = image[at + x]
    else:
        for x in range(width):
            row[to + x] = image[at + x * step]


@kernel(cached=False, inline=True)
def _similarity(ring, step, stride, row, window, width, scale, maps, map_size):
    """SSIM along a row, summed; and its derivatives by E[x], E[x^2] and E[xy], times scale, into three padded rows."""
    total = 0.0
    one = splat(np.float32(1.0))
    for x in range(0, width, LANES):
        mu_x = _filter_column(ring, 0, stride, row, window, x)
        mu_y = _filter_column(ring, step, stride, row, window, x)
        xx = _filter_column(ring, 2 * step, stride, row, window, x)
        yy = _filter_column(ring, 3 * step, stride, row, window, x)
        xy = _filter_column(ring, 4 * step, stride, row, window, x)
        a1 = fma(mu_x * mu_y, np.float32(2.0), _C1)
        a2 = (xy - mu_x * mu_y) * np.float32(2.0) + _C2
        squares = fma(mu_x, mu_x, mu_y * mu_y)
        b1 = squares + _C1
        b2 = xx + yy - squares + _C2
        inverse = one / (b1 * b2)
        value = a1 * a2 * inverse
        by_xx = _ZERO - value * b1 * inverse
        by_xy = a1 * inverse * np.float32(2.0)
        by_mu = mu_y * (a2 - a1) * inverse + value * mu_x * (b1 - b2) * inverse
        store(maps, _PAD + x, by_mu * (scale + scale))
        store(maps, map_size + _PAD + x, by_xx * scale)
        store(maps, 2 * map_size + _PAD + x, by_xy * scale)
        for lane in range(min(LANES, width - x)):
            total += float(_lane(value, lane, maps, 3 * map_size))
    # What was computed past the row's end must not reach into it.
    for m in range(3):
        for x in range(width, width + LANES):
            maps[m * map_size + _PAD + x] = _ZERO
    return total


@kernel(cached=False, inline=True)
def _lane(value, lane, scratch, at):
    """One lane of a vector, through memory."""
    if lane == 0:
        store(scratch, at, value)
    return scratch[at + lane]


@kernel()
def l1_ssim(
    worker, num_workers, height, width, rendered, rendered_channel, rendered_row, rendered_pixel,
    target, target_channel, target_row, target_pixel, weights, window, l1_scale, ssim_scale, gradient, sums,
):  # fmt: skip
    """Gradient of the loss into planes [3 * H * W], sums of |difference| and SSIM of each row into [3 * H, 2].

    A worker does a band of rows, and the ten rows on each side that its windows reach into.
    """
    padded = (width + LANES - 1) // LANES * LANES + 2 * _PAD
    stride = padded
    step = _TAPS * stride
    # Rings of rows: x and y as they are, then five filtered maps, then three filtered derivatives.
    raw = np.zeros(2 * step, dtype=np.float32)
    ring, ring_maps = np.zeros(5 * step, dtype=np.float32), np.zeros(3 * step, dtype=np.float32)
    products, maps = np.zeros(3 * padded, dtype=np.float32), np.zeros(3 * padded + LANES, dtype=np.float32)
    row0, row1 = worker * height // num_workers, (worker + 1) * height // num_workers
    scale = np.float32(-ssim_scale)
    for channel in range(3):
        for row in range(row0 - 2 * _HALF, row1 + 2 * _HALF):
            # Rows are counted from a multiple of the ring's length, so that the remainder is never negative.
            slot = ((row + 2 * _TAPS) % _TAPS) * stride
            if 0 <= row < height:
                at = channel * rendered_channel + row * rendered_row
                _load_row(rendered, at, rendered_pixel, raw, slot + _PAD, width)
                at = channel * target_channel + row * target_row
                _load_row(target, at, target_pixel, raw, step + slot + _PAD, width)
                for x in range(_PAD, _PAD + width, LANES):
                    a, b = load(raw, slot + x), load(raw, step + slot + x)
                    store(products, x, a * a)
                    store(products, padded + x, b * b)
                    store(products, 2 * padded + x, a * b)
                _filter_row(raw, slot, window, ring, slot, width)
                _filter_row(raw, step + slot, window, ring, step + slot, width)
                for m in range(3):
                    _filter_row(products, m * padded, window, ring, (2 + m) * step + slot, width)
            else:
                for m in range(5):
                    ring[m * step + slot : m * step + slot + stride] = _ZERO
            middle = row - _HALF
            if middle < row0 - _HALF:
                continue
            slot = ((middle + 2 * _TAPS) % _TAPS) * stride
            if 0 <= middle < height:
                value = _similarity(ring, step, stride, middle + 2 * _TAPS, window, width, scale, maps, padded)
                if row0 <= middle < row1:
                    sums[channel * height + middle, 1] = value
                for m in range(3):
                    _filter_row(maps, m * padded, window, ring_maps, m * step + slot, width)
            else:
                for m in range(3):
                    ring_maps[m * step + slot : m * step + slot + stride] = _ZERO
            done = middle - _HALF
            if done < row0:
                continue
            sums[channel * height + done, 0] = _finish_row(
                done, channel * height * width + done * width, width, step, stride, raw, ring_maps, window,
                weights, done * width, np.float32(l1_scale), products, gradient,
            )  # fmt: skip


@kernel(cached=False, inline=True)
def _finish_row(row, to, width, step, stride, raw, ring_maps, window, weights, weights_at, l1_scale, scratch, gradient):
    """Put a row of the gradient together; returns the row's weighted sum of |difference|."""
    shifted = row + 2 * _TAPS
    slot = (shifted % _TAPS) * stride + _PAD
    two = np.float32(2.0)
    for x in range(0, width, LANES):
        by_mu = _filter_column(ring_maps, 0, stride, shifted, window, x)
        by_xx = _filter_column(ring_maps, step, stride, shifted, window, x)
        by_xy = _filter_column(ring_maps, 2 * step, stride, shifted, window, x)
        a, b = load(raw, slot + x), load(raw, step + slot + x)
        store(scratch, _PAD + x, fma(a * two, by_xx, fma(b, by_xy, by_mu)))
    total = 0.0
    weighted = weights.shape[0] > 0
    for x in range(width):
        difference = raw[slot + x] - raw[step + slot + x]
        weight = weights[weights_at + x] if weighted else np.float32(1.0)
        total += float(abs(difference) * weight)
        sign = np.float32(1.0) if difference > 0 else (np.float32(-1.0) if difference < 0 else _ZERO)
        gradient[to + x] = scratch[_PAD + x] + l1_scale * weight * sign
    return total
