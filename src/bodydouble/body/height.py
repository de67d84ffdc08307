"""Bodies of a wanted height."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel

_HALVINGS = 30


def shape_of_height(
    body: BodyModel, height_m: float, shape: Float[Tensor, " shape"] | None = None
) -> Float[Tensor, " shape"]:
    """A shape (the default one if none is given) with its `height` value moved so that the body is this tall (bisection; the nearest there is).

    Args:
        body: With a shape value named `height`.
        height_m: From sole to crown, metres.
        shape: Whose other values are kept.
    """
    shape = (body.shape_default if shape is None else shape).clone()
    place = body.shape_names.index("height")
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        shape[place] = (low + high) / 2
        if float(body.height_m(shape)) < height_m:
            low = float(shape[place])
        else:
            high = float(shape[place])
    return shape
