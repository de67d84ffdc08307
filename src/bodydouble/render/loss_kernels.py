"""Kernel of the fused loss: L1, squares and SSIM."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel
from bodydouble.render.simd import LANES, fma, horizontal_sum, keep, lane_index, splat
from bodydouble.render.simd_memory import load, store
from bodydouble.render.ssim_window import C1, C2

_TAPS = 11
_HALF = 5
_PAD = 16
"""Zeros before and after each row: at least half a window, and whole vectors may be read past the end."""
_ZERO = np.float32(0.0)
_C1, _C2 = np.float32(C1), np.float32(C2)


@kernel(cached=False, inline=True)
def _filter_row(source, at, window, ring, to, maps, width):
    """Weighted sums over 11 neighbours along a padded row, into a ring whose rows interleave `maps` maps by vectors."""
    w0, w1, w2 = splat(window[0]), splat(window[1]), splat(window[2])
    w3, w4, w5 = splat(window[3]), splat(window[4]), splat(window[5])
    for block in range((width + LANES - 1) // LANES):
        x = at + _PAD + block * LANES
        total = load(source, x) * w5
        total = fma(load(source, x - 1) + load(source, x + 1), w4, total)
        total = fma(load(source, x - 2) + load(source, x + 2), w3, total)
        total = fma(load(source, x - 3) + load(source, x + 3), w2, total)
        total = fma(load(source, x - 4) + load(source, x + 4), w1, total)
        total = fma(load(source, x - 5) + load(source, x + 5), w0, total)
        store(ring, to + block * maps * LANES, total)


@kernel(cached=False, inline=True)
def _rows_around(row, stride, offsets):
    """Where the 11 rows around `row` begin in a ring."""
    for k in range(_TAPS):
        offsets[k] = ((row - _HALF + k) % _TAPS) * stride


@kernel(cached=False, inline=True)
def _filter_3_columns(ring, at, offsets, window):
    """Weighted sums of 11 rows of a ring of at least three maps: a vector of each of the first three."""
    w, y = splat(window[_HALF]), at + offsets[_HALF]
    a, b, c = load(ring, y) * w, load(ring, y + LANES) * w, load(ring, y + 2 * LANES) * w
    for k in range(_HALF):
        w, y, z = splat(window[k]), at + offsets[k], at + offsets[_TAPS - 1 - k]
        a = fma(load(ring, y) + load(ring, z), w, a)
        b = fma(load(ring, y + LANES) + load(ring, z + LANES), w, b)
        c = fma(load(ring, y + 2 * LANES) + load(ring, z + 2 * LANES), w, c)
    return a, b, c


@kernel(cached=False, inline=True)
def _filter_2_columns(ring, at, offsets, window):
    """As `_filter_3_columns`, two maps."""
    w, y = splat(window[_HALF]), at + offsets[_HALF]
    a, b = load(ring, y) * w, load(ring, y + LANES) * w
    for k in range(_HALF):
        w, y, z = splat(window[k]), at + offsets[k], at + offsets[_TAPS - 1 - k]
        a = fma(load(ring, y) + load(ring, z), w, a)
        b = fma(load(ring, y + LANES) + load(ring, z + LANES), w, b)
    return a, b


@kernel(cached=False, inline=True)
def _load_row(image, at, step, row, to, width):
    if step == 1:
        for x in range(width):
            row[to + x] = image[at + x]
    else:
        for x in range(width):
            row[to + x] = image[at + x * step]


@kernel(cached=False, inline=True)
def _similarity(ring, offsets, window, width, scale, maps, map_size):
    """SSIM along a row, summed; and its derivatives by E[x], E[x^2] and E[xy], times scale, into three padded rows."""
    one = splat(np.float32(1.0))
    total = splat(_ZERO)
    for x in range(0, width, LANES):
        mu_x, mu_y, xx = _filter_3_columns(ring, 5 * x, offsets, window)
        yy, xy = _filter_2_columns(ring, 5 * x + 3 * LANES, offsets, window)
        a1 = fma(mu_x * mu_y, np.float32(2.0), _C1)
        a2 = fma(xy - mu_x * mu_y, np.float32(2.0), _C2)
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
        total = total + keep(lane_index() + np.float32(x - width) < _ZERO, value)
    # What was computed past the row's end must not reach into it.
    for m in range(3):
        for x in range(width, width + LANES):
            maps[m * map_size + _PAD + x] = _ZERO
    return float(horizontal_sum(total))


@kernel()
def find_apart(height, width, rendered, rendered_channel, target, target_channel, rows, columns):
    """Sums of squared differences of each row and column, added to what is there, for images of three planes; NaN stays."""
    whole = width // LANES * LANES
    for row in range(height):
        total, rest = splat(_ZERO), _ZERO
        for channel in range(3):
            a, b = channel * rendered_channel + row * width, channel * target_channel + row * width
            for x in range(0, whole, LANES):
                difference = load(rendered, a + x) - load(target, b + x)
                total = fma(difference, difference, total)
                store(columns, x, fma(difference, difference, load(columns, x)))
            for x in range(whole, width):
                apart = rendered[a + x] - target[b + x]
                rest += apart * apart
                columns[x] += apart * apart
        rows[row] += horizontal_sum(total) + rest


@kernel()
def photometric(
    worker, num_workers, height, width, rendered, rendered_channel, rendered_row, rendered_pixel,
    target, target_channel, target_row, target_pixel, weights, window, scales, gradient, sums,
):  # fmt: skip
    """Gradient of the loss into planes [3 * H * W], sums of |difference|, difference^2 and SSIM of each row into [3 * H, 3].

    scales: of these three in the gradient.

    A worker does a band of rows, and the ten rows on each side that its windows reach into.
    """
    whole = (width + LANES - 1) // LANES * LANES
    padded = whole + 2 * _PAD
    # Rings of rows: x and y as they are; five filtered maps, and three filtered derivatives, interleaved by vectors.
    raw = np.zeros(2 * _TAPS * padded, dtype=np.float32)
    ring, ring_maps = np.zeros(5 * _TAPS * whole, dtype=np.float32), np.zeros(3 * _TAPS * whole, dtype=np.float32)
    products, maps = np.zeros(3 * padded, dtype=np.float32), np.zeros(3 * padded, dtype=np.float32)
    offsets, last = np.empty(_TAPS, dtype=np.int64), np.empty(LANES, dtype=np.float32)
    row0, row1 = worker * height // num_workers, (worker + 1) * height // num_workers
    scale = np.float32(-scales[2])
    for channel in range(3):
        for row in range(row0 - 2 * _HALF, row1 + 2 * _HALF):
            # Rows are counted from a multiple of the ring's length, so that the remainder is never negative.
            slot = (row + 2 * _TAPS) % _TAPS
            if 0 <= row < height:
                x_at, y_at = slot * padded, (_TAPS + slot) * padded
                at = channel * rendered_channel + row * rendered_row
                _load_row(rendered, at, rendered_pixel, raw, x_at + _PAD, width)
                at = channel * target_channel + row * target_row
                _load_row(target, at, target_pixel, raw, y_at + _PAD, width)
                _filter_inputs(raw, x_at, y_at, products, padded, window, ring, slot * 5 * whole, width)
            else:
                ring[slot * 5 * whole : (slot + 1) * 5 * whole] = _ZERO
            middle = row - _HALF
            if middle < row0 - _HALF:
                continue
            slot = (middle + 2 * _TAPS) % _TAPS
            if 0 <= middle < height:
                _rows_around(middle + 2 * _TAPS, 5 * whole, offsets)
                value = _similarity(ring, offsets, window, width, scale, maps, padded)
                if row0 <= middle < row1:
                    sums[channel * height + middle, 2] = value
                for m in range(3):
                    _filter_row(maps, m * padded, window, ring_maps, slot * 3 * whole + m * LANES, 3, width)
            else:
                ring_maps[slot * 3 * whole : (slot + 1) * 3 * whole] = _ZERO
            done = middle - _HALF
            if done < row0:
                continue
            _rows_around(done + 2 * _TAPS, 3 * whole, offsets)
            slot = (done + 2 * _TAPS) % _TAPS
            apart, squares = _finish_row(
                channel * height * width + done * width, width, _TAPS * padded, slot * padded + _PAD, offsets, raw,
                ring_maps, window, weights, done * width, np.float32(scales[0]), np.float32(2.0 * scales[1]), last, gradient,
            )  # fmt: skip
            sums[channel * height + done, 0], sums[channel * height + done, 1] = apart, squares


@kernel(cached=False, inline=True)
def _filter_inputs(raw, x_at, y_at, products, padded, window, ring, to, width):
    """Filter x, y, x^2, y^2 and x y along a row into a row of the ring."""
    for x in range(_PAD, _PAD + width, LANES):
        a, b = load(raw, x_at + x), load(raw, y_at + x)
        store(products, x, a * a)
        store(products, padded + x, b * b)
        store(products, 2 * padded + x, a * b)
    _filter_row(raw, x_at, window, ring, to, 5, width)
    _filter_row(raw, y_at, window, ring, to + LANES, 5, width)
    for m in range(3):
        _filter_row(products, m * padded, window, ring, to + (2 + m) * LANES, 5, width)


@kernel(cached=False, inline=True)
def _finish_row(
    to, width, step, slot, offsets, raw, ring_maps, window, weights, weights_at, by_sign, by_difference, last, gradient
):  # fmt: skip
    """Put a row of the gradient together; returns the row's weighted sums of |difference| and of its square."""
    weighted = weights.shape[0] > 0
    total, squares, rest, rest_squares = splat(_ZERO), splat(_ZERO), 0.0, 0.0
    for x in range(0, width, LANES):
        a, b = load(raw, slot + x), load(raw, step + slot + x)
        by_mu, by_xx, by_xy = _filter_3_columns(ring_maps, 3 * x, offsets, window)
        result = fma(a + a, by_xx, fma(b, by_xy, by_mu))
        difference = a - b
        if x + LANES <= width:
            weight = load(weights, weights_at + x) if weighted else splat(np.float32(1.0))
            sign = keep(difference > _ZERO, weight) - keep(difference < _ZERO, weight)
            pull = difference * weight
            total = fma(difference, sign, total)
            squares = fma(difference, pull, squares)
            store(gradient, to + x, fma(pull, by_difference, fma(sign, by_sign, result)))
            continue
        # The last pixels of a row, one by one: behind them lies the next row.
        store(last, 0, result)
        for lane in range(width - x):
            single = weights[weights_at + x + lane] if weighted else np.float32(1.0)
            change = raw[slot + x + lane] - raw[step + slot + x + lane]
            side = single if change > _ZERO else (-single if change < _ZERO else _ZERO)
            rest += float(change * side)
            rest_squares += float(change * change * single)
            gradient[to + x + lane] = last[lane] + by_sign * side + by_difference * change * single
    return float(horizontal_sum(total)) + rest, float(horizontal_sum(squares)) + rest_squares
