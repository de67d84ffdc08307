"""Kernel of Adam."""

from __future__ import annotations

import numpy as np

from bodydouble.render.jit import kernel


@kernel(fastmath={"contract"})
def adam(worker, num_workers, parameter, gradient, first, second, step_size, root, beta1, beta2, eps):
    """One step on the worker's share of flat float32 arrays; `root` is sqrt(1 - beta2^step)."""
    n = parameter.shape[0]
    b1, b2, one = np.float32(beta1), np.float32(beta2), np.float32(1.0)
    step_size_f, inverse_root, eps_f = np.float32(step_size), np.float32(1.0 / root), np.float32(eps)
    for i in range(worker * n // num_workers, (worker + 1) * n // num_workers):
        g = gradient[i]
        m = b1 * first[i] + (one - b1) * g
        v = b2 * second[i] + (one - b2) * g * g
        first[i] = m
        second[i] = v
        parameter[i] -= step_size_f * m / (np.sqrt(v) * inverse_root + eps_f)
