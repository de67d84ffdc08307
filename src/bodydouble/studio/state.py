"""What one viewer sees, as a plain value, and how it changes. No server, no pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ConfigError

Layer = Literal["splats", "mesh", "clay", "seen"]
"""Splats; the mesh in its colours; its form alone; splats coloured by how much the video showed of them."""
LAYERS: tuple[str, ...] = get_args(Layer)
View = Literal["stage", "overlay", "wipe"]
"""On the stage, orbited; over the frame of the video, from its camera; beside the frame, with a border to push."""
VIEWS: tuple[str, ...] = get_args(View)

SPEEDS = (0.1, 3.0)
"""Slowest and fastest, times the motion's own."""
TURN_S = 12.0
"""Seconds of one turn of the turntable."""
_FULL_TURN = 2.0 * math.pi


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is shown. Times are of the motion, in seconds from its beginning."""

    motion: str
    time_s: float = 0.0
    playing: bool = True
    speed: float = 1.0
    loop: bool = True
    layer: Layer = "splats"
    view: View = "stage"
    opacity: float = 0.75
    """Of the double over the frame."""
    wipe: float = 0.5
    """Where the frame ends and the double begins, as a share of the width."""
    turning: bool = False
    turn_rad: float = 0.0
    """How far the stage is turned, about the vertical."""
    pose: tuple[tuple[str, float], ...] = ()
    """Pose controls that are not at rest, by name, sorted; degrees."""
    face: tuple[tuple[str, float], ...] = ()
    """Facial actions that are not at rest, by name, sorted; strengths in (0, 1]."""

    def __post_init__(self) -> None:
        _check("layer", self.layer, LAYERS)
        _check("view", self.view, VIEWS)
        if not SPEEDS[0] <= self.speed <= SPEEDS[1]:
            raise ConfigError(f"The speed must lie between {SPEEDS[0]:g} and {SPEEDS[1]:g}, found {self.speed:g}.")
        for name, value in (("opacity", self.opacity), ("wipe", self.wipe)):
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} must lie in [0, 1], found {value:g}.")

    def replace(self, **changes: object) -> Shown:
        """A copy with some fields exchanged."""
        return dataclasses.replace(self, **changes)

    @property
    def moves(self) -> bool:
        """Whether the picture changes by itself."""
        return self.playing or (self.turning and self.view == "stage")


def advanced(shown: Shown, elapsed_s: float, duration_s: float) -> Shown:
    """What is shown some time later.

    Args:
        shown: Now.
        elapsed_s: Seconds that have passed on the clock.
        duration_s: Length of the motion; a motion without length stays at its beginning.
    """
    turn = shown.turn_rad
    if shown.turning and shown.view == "stage":
        turn = (turn + _FULL_TURN * elapsed_s / TURN_S) % _FULL_TURN
    if not shown.playing:
        return shown if turn == shown.turn_rad else shown.replace(turn_rad=turn)
    time_s, playing = shown.time_s + elapsed_s * shown.speed, True
    if duration_s <= 0.0:
        time_s = 0.0
    elif time_s >= duration_s:
        time_s, playing = (time_s % duration_s, True) if shown.loop else (duration_s, False)
    return shown.replace(time_s=time_s, playing=playing, turn_rad=turn)


def with_motion(shown: Shown, name: str) -> Shown:
    """Another motion, from its beginning."""
    return shown.replace(motion=name, time_s=0.0, playing=True)


def toggled(shown: Shown, duration_s: float) -> Shown:
    """Play or pause; at the end of a motion that is not looped, play from the beginning."""
    again = not shown.playing and not shown.loop and shown.time_s >= duration_s
    return shown.replace(playing=not shown.playing, time_s=0.0 if again else shown.time_s)


def with_control(shown: Shown, name: str, degrees: float) -> Shown:
    """A pose control moved; 0 takes it out."""
    return shown.replace(pose=_with(shown.pose, name, degrees))


def with_pose(shown: Shown, controls: Mapping[str, float]) -> Shown:
    """All pose controls anew."""
    return shown.replace(pose=_only_moved(controls))


def with_action(shown: Shown, name: str, strength: float) -> Shown:
    """A facial action moved; 0 takes it out.

    Raises:
        ConfigError: For a name that is no action, or a strength outside [0, 1].
    """
    _check_action(name, strength)
    return shown.replace(face=_with(shown.face, name, strength))


def with_face(shown: Shown, actions: Mapping[str, float]) -> Shown:
    """All facial actions anew. Errors as `with_action`."""
    for name, strength in actions.items():
        _check_action(name, strength)
    return shown.replace(face=_only_moved(actions))


def _with(pairs: tuple[tuple[str, float], ...], name: str, value: float) -> tuple[tuple[str, float], ...]:
    return _only_moved({**dict(pairs), name: value})


def _only_moved(values: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, float(value)) for name, value in values.items() if value != 0.0))


def _check(what: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise ConfigError(f"There is no {what} called {found!r}; known are {', '.join(known)}.")


def _check_action(name: str, strength: float) -> None:
    if name not in ARKIT_ACTIONS:
        raise ConfigError(f"{name!r} is none of the 52 facial actions, such as jawOpen.")
    if not 0.0 <= strength <= 1.0:
        raise ConfigError(f"The strength of {name!r} must lie in [0, 1], found {strength:g}.")
