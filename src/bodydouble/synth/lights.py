"""The light that everything in a scene shares: a soft lamp, light from all around, light thrown back by the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bodydouble.core.seeds import numpy_rng


@dataclass(frozen=True, kw_only=True)
class Lights:
    """A soft lamp (or the sun), everything around (or the sky), and what the ground throws back; linear colours."""

    to_lamp: Float[ndarray, "3"]
    lamp: Float[ndarray, "3"]
    sky: Float[ndarray, "3"]
    bounce: Float[ndarray, "3"]

    def rows(self) -> Float[ndarray, "4 3"]:
        """Direction to the lamp and the three colours, as the shading kernels read them."""
        return np.stack([self.to_lamp, self.lamp, self.sky, self.bounce])


def draw_lights(seed: int, *, outdoors: bool = False) -> Lights:
    """Light from one side, above and before the performer: daylight in a room, or a mild sun.

    Args:
        seed: Of the scene.
        outdoors: Whether the scene is under the sky.
    """
    rng = numpy_rng(seed, "synth/lights")
    side = -1.0 if rng.random() < 0.5 else 1.0
    to_lamp = np.array([side * rng.uniform(0.35, 0.6), rng.uniform(0.75, 0.95), rng.uniform(0.65, 0.9)])
    warmth = rng.uniform(-0.05, 0.07)
    strength = rng.uniform(0.68, 0.82)
    if outdoors:
        return Lights(
            to_lamp=to_lamp / np.linalg.norm(to_lamp),
            lamp=(strength + 0.10) * np.array([1.06, 1.0, 0.92]),
            sky=0.40 * np.array([0.90, 1.0, 1.14]),
            bounce=0.21 * np.array([1.0, 1.0, 0.94]),
        )
    return Lights(
        to_lamp=to_lamp / np.linalg.norm(to_lamp),
        lamp=strength * np.array([1 + warmth, 1.0, 1 - warmth]),
        sky=0.44 * np.array([0.97, 1.0, 1.04]),
        bounce=0.25 * np.array([1.05, 0.98, 0.9]),
    )
