"""Kernels that add up samples along rays through a Laplace density, and carry gradients back."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel


@kernel(cached=False)
def laplace_density(s, beta):
    """Density of a signed distance (Yariv et al. 2021, equation 2, with alpha = 1 / beta), 1 / metre."""
    half = 0.5 * np.exp(-abs(s) / beta)
    return (half if s > 0 else 1 - half) / beta


@kernel()
def composite_forward(worker, num_workers, starts, sdf, rgb, step, beta, out_rgb, out_alpha, weights):
    """Front to back over each ray's samples starts[r] .. starts[r + 1], all of length `step`."""
    rays = out_alpha.shape[0]
    for ray in range(worker * rays // num_workers, (worker + 1) * rays // num_workers):
        light = 1.0
        red, green, blue = 0.0, 0.0, 0.0
        for p in range(starts[ray], starts[ray + 1]):
            through = np.exp(-laplace_density(sdf[p], beta) * step)
            w = light * (1.0 - through)
            weights[p] = w
            red += w * rgb[p, 0]
            green += w * rgb[p, 1]
            blue += w * rgb[p, 2]
            light *= through
        out_rgb[ray, 0], out_rgb[ray, 1], out_rgb[ray, 2] = red, green, blue
        out_alpha[ray] = 1.0 - light


@kernel()
def composite_backward(
    worker, num_workers, starts, sdf, rgb, step, beta, weights, g_rgb, g_alpha, g_sdf, g_samples, g_beta
):  # fmt: skip
    """With q_i the gradient to weight i and tau_i the optical depth: d tau_i = T_(i+1) q_i - sum_(j > i) w_j q_j."""
    rays = g_alpha.shape[0]
    total = 0.0
    for ray in range(worker * rays // num_workers, (worker + 1) * rays // num_workers):
        first, last = starts[ray], starts[ray + 1]
        light = 1.0
        for p in range(first, last):
            light -= weights[p]
        behind = 0.0
        for p in range(last - 1, first - 1, -1):
            w = weights[p]
            q = g_alpha[ray] + g_rgb[ray, 0] * rgb[p, 0] + g_rgb[ray, 1] * rgb[p, 1] + g_rgb[ray, 2] * rgb[p, 2]
            for a in range(3):
                g_samples[p, a] = w * g_rgb[ray, a]
            s = sdf[p]
            half = 0.5 * np.exp(-abs(s) / beta)
            density = (half if s > 0 else 1.0 - half) / beta
            g_density = step * (max(light, 0.0) * q - behind)
            g_sdf[p] = -g_density * half / (beta * beta)
            total += g_density * (half * s / (beta * beta * beta) - density / beta)
            behind += w * q
            light += w
    g_beta[worker] = total
