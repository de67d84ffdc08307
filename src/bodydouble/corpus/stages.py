"""The stages of a corpus, as data: what each works on, what it needs, and what its result depends on.

    source:  probe -> shots -> tracks          (then, over the whole corpus: alike)
    item:    perceive -> coarse -> consistency -> refine -> ready

A stage's key is a digest of its settings, its version and the keys before it. A record counts only with today's key, so
another setting makes a stage and what follows it run again. The code is not part of the key, other than in `create`: a
corpus of a million items is not thrown away because a comment changed; whoever changes what a stage finds raises its version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bodydouble.core.errors import ConfigError
from bodydouble.corpus.alike import AlikeConfig
from bodydouble.corpus.people import PeopleConfig
from bodydouble.corpus.ranges import check_range

OPEN_LICENCES: tuple[str, ...] = ("CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "PDM-1.0", "own", "synthetic")
"""Licences under which a video may be worked on without asking: no condition but naming the author."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Settings of a corpus, kept in corpus.json."""

    licences: tuple[str, ...] = OPEN_LICENCES
    """Sources under other licences are not worked on, unless a run is told otherwise."""
    fps_tolerance: float = 0.01
    """Relative difference between the frame rate that was planned and the one found."""
    people: PeopleConfig = field(default_factory=PeopleConfig)
    alike: AlikeConfig = field(default_factory=AlikeConfig)
    body: str = "anny"
    looks: bool = True
    """Whether the landmark network looks at some frames again, for the agreement of several looks."""

    def __post_init__(self) -> None:
        check_range("fps_tolerance", self.fps_tolerance, 0.0, 1.0)
        if not all(isinstance(name, str) for name in self.licences):
            raise ConfigError(f"licences must be a list of names such as CC-BY-4.0, found {self.licences!r}.")

    def to_json(self) -> dict[str, Any]:
        """As in corpus.json."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CorpusConfig:
        """From corpus.json; what it does not say is as by default.

        Raises:
            ConfigError: When it names something unknown, or a value makes no sense.
        """
        nested = {"people": PeopleConfig, "alike": AlikeConfig}
        try:
            values: dict[str, Any] = {k: nested[k](**v) if k in nested else v for k, v in document.items()}
            if "licences" in values:
                if not isinstance(values["licences"], list | tuple):
                    raise TypeError(f"licences must be a list, found {values['licences']!r}")
                values["licences"] = tuple(values["licences"])
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"The settings in corpus.json cannot be used: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage."""

    name: str
    scope: Literal["source", "item"]
    version: int
    settings: tuple[str, ...]
    """Names of the fields of `CorpusConfig` that decide its result."""
    batch: int
    """Units in one task: many where a task's own cost is more than the work's."""
    cpus: float = 1.0
    memory_mb: float = 0.0


STAGES: tuple[StageSpec, ...] = (
    StageSpec(name="probe", scope="source", version=1, settings=("fps_tolerance",), batch=16),
    StageSpec(name="shots", scope="source", version=2, settings=("people",), batch=8),
    StageSpec(name="tracks", scope="source", version=2, settings=("people",), batch=4),
    StageSpec(name="perceive", scope="item", version=2, settings=("looks",), batch=1),
    StageSpec(name="coarse", scope="item", version=1, settings=("body",), batch=2),
    StageSpec(name="consistency", scope="item", version=2, settings=(), batch=4),
    StageSpec(name="refine", scope="item", version=2, settings=("body",), batch=1),
    StageSpec(name="ready", scope="item", version=1, settings=(), batch=16),
)
ALIKE = "alike"
"""Stage between sources and items that looks at all of them at once."""


def stages_of(scope: Literal["source", "item"], until: str = "") -> tuple[StageSpec, ...]:
    """Stages of one scope, in order, up to and including one.

    Raises:
        ConfigError: When there is no stage of that name.
    """
    names = [s.name for s in STAGES]
    if until and until not in (*names, ALIKE):
        raise ConfigError(
            f"There is no stage {until!r}; expected one of: {', '.join((*names[:3], ALIKE, *names[3:]))}."
        )
    last = len(names) if not until else 3 if until == ALIKE else names.index(until) + 1
    return tuple(s for s in STAGES[:last] if s.scope == scope)


def stage_keys(config: CorpusConfig) -> dict[str, str]:
    """The key of every stage, `alike` included."""
    keys: dict[str, str] = {}
    settings = config.to_json()
    before = ""
    for stage in STAGES:
        parts = [before, stage.name, stage.version, {name: settings[name] for name in stage.settings}]
        before = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
        keys[stage.name] = before
    keys[ALIKE] = hashlib.sha256(json.dumps([keys["tracks"], settings["alike"]]).encode()).hexdigest()[:16]
    return keys
