"""Values over time."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def smoothed(values: Float[Tensor, " frames"], sigma_frames: float) -> Float[Tensor, " frames"]:
    """A Gaussian mean over time, the ends repeated."""
    reach = min(math.ceil(3 * sigma_frames), len(values) - 1)
    if reach < 1:
        return values
    offsets = torch.arange(-reach, reach + 1, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma_frames) ** 2)
    padded = torch.cat([values[:1].expand(reach), values, values[-1:].expand(reach)])
    return torch.nn.functional.conv1d(padded[None, None], (kernel / kernel.sum())[None, None])[0, 0]
