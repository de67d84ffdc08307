"""The floor plan of a scene, and the scene that belongs to a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bodydouble.core.cameras import Camera
from bodydouble.core.errors import ConfigError
from bodydouble.core.seeds import numpy_rng
from bodydouble.synth.lights import draw_lights
from bodydouble.synth.scene import Scene, build_scene

PlaceKind = Literal["auto", "room", "outdoors"]
PLACE_KINDS: tuple[PlaceKind, ...] = get_args(PlaceKind)


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """A rectangle of the floor, metres of the world."""

    x0: float
    x1: float
    z0: float
    z1: float

    def grown(self, left: float, right: float, back: float, front: float) -> Rectangle:
        """Larger by so much on each side; back is towards -Z."""
        return Rectangle(x0=self.x0 - left, x1=self.x1 + right, z0=self.z0 - back, z1=self.z1 + front)

    def around(self, other: Rectangle) -> Rectangle:
        """The smallest rectangle that holds both."""
        return Rectangle(
            x0=min(self.x0, other.x0), x1=max(self.x1, other.x1), z0=min(self.z0, other.z0), z1=max(self.z1, other.z1)
        )

    @property
    def middle(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.z0 + self.z1) / 2

    @staticmethod
    def of(points: Float[ndarray, "n 3"]) -> Rectangle:
        """What points cover, seen from above."""
        low, high = points.min(0), points.max(0)
        return Rectangle(x0=float(low[0]), x1=float(high[0]), z0=float(low[2]), z1=float(high[2]))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a scene has to leave room for."""

    floor_m: float
    """Height of the floor in the world."""
    performer: Rectangle
    """Where the performer's middle goes."""
    camera: Rectangle


def draw_scene(kind: PlaceKind, seed: int, plan: Plan, cameras: Sequence[Camera]) -> Scene:
    """The scene that belongs to a seed.

    Args:
        kind: `room`, `outdoors`, or `auto` to let the seed choose.
        seed: Chooses everything about it.
        plan: What it has to leave room for.
        cameras: From where it will be seen; some of a path.
    Raises:
        ConfigError: When there is no such kind of scene.
    """
    from bodydouble.synth.outdoors import outdoor_surfaces
    from bodydouble.synth.room import room_surfaces

    if kind not in PLACE_KINDS:
        raise ConfigError(f"There is no scene {kind!r}; known are {', '.join(PLACE_KINDS)}.")
    if kind == "auto":
        kind = "outdoors" if numpy_rng(seed, "synth/place").random() < 0.5 else "room"
    lights = draw_lights(seed, outdoors=kind == "outdoors")
    rng = numpy_rng(seed, f"synth/{kind}")
    surfaces = (room_surfaces if kind == "room" else outdoor_surfaces)(rng, plan, lights)
    x, z = plan.performer.middle
    return build_scene(
        surfaces,
        lights,
        kind=kind,
        floor_m=plan.floor_m,
        middle_world=np.array([x, plan.floor_m + 1.0, z]),
        reach_m=5.0 if kind == "room" else 22.0,
        cameras=cameras,
    )
