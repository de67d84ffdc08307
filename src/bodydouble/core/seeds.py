"""Randomness that can be repeated: every consumer derives its own generator from the run's seed and a name."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derived_seed(seed: int, name: str) -> int:
    """A 63-bit seed that depends on the run's seed and on who asks."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_rng(seed: int, name: str) -> np.random.Generator:
    """A NumPy generator for one named consumer."""
    return np.random.default_rng(derived_seed(seed, name))


def torch_rng(seed: int, name: str) -> torch.Generator:
    """A CPU torch generator for one named consumer."""
    return torch.Generator().manual_seed(derived_seed(seed, name))
