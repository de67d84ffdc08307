"""The scene that belongs to a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from bodydouble.core.cameras import Camera
from bodydouble.core.errors import ConfigError
from bodydouble.core.seeds import numpy_rng
from bodydouble.synth.lights import draw_lights
from bodydouble.synth.outdoors import outdoor_surfaces
from bodydouble.synth.plan import Plan
from bodydouble.synth.room import room_surfaces
from bodydouble.synth.scene import Scene, build_scene

PlaceKind = Literal["auto", "room", "outdoors"]
PLACE_KINDS: tuple[PlaceKind, ...] = get_args(PlaceKind)


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
