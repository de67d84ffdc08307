"""The colour that repeats itself, pixel by pixel."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel()
def repeated_colors(worker, num_workers, colors, usable, far, share, stable, least, tolerance, rgb_out, sure_out):
    """See `repeated.repeated_color`.

    Args:
        colors: [frames, height, width, 3].
        usable, far: [frames, height, width].
        share, stable, least, tolerance: Settings.
        rgb_out: [height, width, 3].
        sure_out: [height, width].
    """
    frames, height, width = usable.shape
    light, ordered = np.empty(frames, np.float32), np.empty(frames, np.float32)
    for y in range(worker, height, num_workers):
        for x in range(width):
            num_far = 0
            for k in range(frames):
                num_far += far[k, y, x]
            n = 0
            for k in range(frames):
                light[k] = -1.0
                if far[k, y, x] if num_far >= least else usable[k, y, x]:
                    light[k] = (colors[k, y, x, 0] + colors[k, y, x, 1] + colors[k, y, x, 2]) / np.float32(3.0)
                    ordered[n] = light[k]
                    n += 1
            sure_out[y, x] = 0.0
            for channel in range(3):
                rgb_out[y, x, channel] = 0.0
            if n < 2:
                continue
            ordered[:n].sort()
            window = max(2, int(np.ceil(share * n)))
            best, middle = np.float32(np.inf), np.float32(0.0)
            for start in range(n - window + 1):
                wide = ordered[start + window - 1] - ordered[start]
                if wide < best:
                    best = wide
                    middle = np.float32(0.5) * (ordered[start] + ordered[start + window - 1])
            reach = np.float32(0.5) * best + np.float32(0.25 * tolerance)
            near = 0
            for k in range(frames):
                if light[k] >= 0.0 and abs(light[k] - middle) <= reach:
                    near += 1
                    for channel in range(3):
                        rgb_out[y, x, channel] += colors[k, y, x, channel]
            for channel in range(3):
                rgb_out[y, x, channel] /= max(near, 1)
            agree = 0
            for k in range(frames):
                if light[k] >= 0.0:
                    apart = np.float32(0.0)
                    for channel in range(3):
                        apart = max(apart, abs(colors[k, y, x, channel] - rgb_out[y, x, channel]))
                    agree += apart < tolerance
            support, enough = agree / n, min(1.0, n / least)
            if support >= stable:
                sure_out[y, x] = enough
            else:
                sure_out[y, x] = 0.5 * enough * min(1.0, max(0.0, (support - 0.5 * stable) / (0.5 * stable)))
