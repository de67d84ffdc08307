"""What long work tells whoever listens. Producers yield these; progress bars, reports and viewers only read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Work of a named stage has advanced to `done` of `total` units."""

    stage: str
    done: int
    total: int
    unit: str = "steps"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training step is over."""

    step: int
    num_steps: int
    loss: float
    terms: dict[str, float] = field(default_factory=dict)


PREVIEW_SHARE = 0.005
"""Share of a training's steps after which whoever watches may look."""


@dataclass(frozen=True, kw_only=True)
class Previewed:
    """The state of a training can be looked at. Whoever wants to see it takes it before the listener returns."""

    step: int
    num_steps: int
    take: Callable[[], Any]
    """Gives an `avatar.values.Avatar` of the present state, with tensors of its own. It costs nothing until it is called."""


@dataclass(frozen=True, kw_only=True)
class PartDensity:
    """What happened to the splats of one group of the body's parts."""

    part: str
    gradient: float
    """Mean screen-space gradient since the last event, per width of the image; NaN where nothing was seen."""
    threshold: float
    """Gradient from which splats were added."""
    cloned: int
    split: int
    pruned: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Densified:
    """The set of splats has changed."""

    step: int
    cloned: int
    split: int
    pruned: int
    total: int
    parts: tuple[PartDensity, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Quality figures were measured during the work."""

    step: int
    figures: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something the user should know; `advice` says what would help."""

    code: str
    message: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Checkpointed:
    """The work can be resumed from here."""

    step: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """The stage is over."""

    stage: str
    seconds: float


Event = Progress | Step | Previewed | Densified | Evaluated | Warned | Checkpointed | Done
