"""Kernels of Adam."""

from __future__ import annotations

import numpy as np

from bodydouble.core.jit import kernel
from bodydouble.render.simd import LANES, fma, splat, sqrt
from bodydouble.render.simd_memory import load, store


@kernel(cached=False, inline=True)
def _one(i, parameter, gradient, first, second, step_size, inverse_root, beta1, beta2, eps):
    g = gradient[i]
    m = beta1 * first[i] + (np.float32(1.0) - beta1) * g
    v = beta2 * second[i] + (np.float32(1.0) - beta2) * g * g
    first[i] = m
    second[i] = v
    parameter[i] -= step_size * m / (np.sqrt(v) * inverse_root + eps)


@kernel()
def adam_plain(
    worker, num_workers, parameter, gradient, first, second, step_size, inverse_root, beta1, beta2, eps
):  # fmt: skip
    """One step on the worker's share of flat float32 arrays; `inverse_root` is 1 / sqrt(1 - beta2^step)."""
    n = parameter.shape[0]
    for i in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        _one(i, parameter, gradient, first, second, step_size, inverse_root, beta1, beta2, eps)


@kernel()
def adam(worker, num_workers, parameter, gradient, first, second, step_size, inverse_root, beta1, beta2, eps):
    """As `adam_plain`, a vector at a time."""
    n = parameter.shape[0]
    begin, end = worker * n // num_workers, (worker + 1) * n // num_workers
    whole = begin + (end - begin) // LANES * LANES
    rest1, rest2 = np.float32(1.0) - beta1, np.float32(1.0) - beta2
    for i in range(begin, whole, LANES):
        g = load(gradient, i)
        m = fma(load(first, i), beta1, g * rest1)
        v = fma(load(second, i), beta2, g * g * rest2)
        store(first, i, m)
        store(second, i, v)
        change = m / fma(sqrt(v), splat(inverse_root), eps)
        store(parameter, i, load(parameter, i) - change * step_size)
    for i in range(whole, end):
        _one(i, parameter, gradient, first, second, step_size, inverse_root, beta1, beta2, eps)
