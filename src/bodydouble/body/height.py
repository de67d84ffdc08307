"""Bodies of a wanted height."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel

PRIOR_HEIGHT_M = 1.70
"""Of the default shape of every body."""
_HALVINGS = 30
_STEPS = 10


def shape_of_height(
    body: BodyModel, height_m: float, shape: Float[Tensor, " shape"] | None = None
) -> Float[Tensor, " shape"]:
    """A shape (the default one if none is given), changed so that the body is this tall: the nearest height there is.

    Where a shape value is named `height`, it alone moves (bisection); else all values move together by as little as they
    can (Newton along the height's gradient).

    Args:
        body: Any body.
        height_m: From sole to crown, metres.
        shape: What to change.
    """
    shape = (body.shape_default if shape is None else shape).clone()
    if "height" not in body.shape_names:
        return _nearest_shape(body, height_m, shape)
    place = body.shape_names.index("height")
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        shape[place] = (low + high) / 2
        if float(body.height_m(shape)) < height_m:
            low = float(shape[place])
        else:
            high = float(shape[place])
    return shape


def _nearest_shape(body: BodyModel, height_m: float, shape: Tensor) -> Tensor:
    for _ in range(_STEPS):
        values = shape.clone().requires_grad_()
        height = body.height_m(values)
        (slope,) = torch.autograd.grad(height, values)
        gain = float(slope @ slope)
        if gain < 1e-8:
            break
        shape = (shape + slope * (height_m - float(height.detach())) / gain).clamp(0.0, 1.0)
    return shape
