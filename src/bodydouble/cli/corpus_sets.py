"""`bodydouble corpus`, second half: what is made of a corpus, and corpora with known defects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodydouble.cli.options import Common

_Root = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ROOT")]
_Set = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set", metavar="NAME=VALUE")]
_Out = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class Judged(Common):
    """Options of commands that judge items."""

    filters: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Thresholds, as `corpus filters` prints them; the program's own by default."""
    changes: _Set = ()
    """Other bounds: score=value, score>=value, score<=value, or score=off."""


@dataclass(frozen=True, kw_only=True)
class Filters(Judged):
    """Print the thresholds as a file, to be changed and given to --filters."""


@dataclass(frozen=True, kw_only=True)
class Tune(Judged):
    """Show the funnel for any thresholds, beside the published one. Scores are stored: nothing is computed again."""

    root: _Root


@dataclass(frozen=True, kw_only=True)
class Publish(Judged):
    """Write the kept items as a data set: shards, tables, metadata, datasheet; or in WildAvatar's layout."""

    root: _Root
    out: _Out
    """A new folder."""
    layout: Literal["webdataset", "wildavatar"] = "webdataset"
    links_only: bool = False
    """No pictures, only where they come from; masks and bodies all the same."""
    name: str = "corpus"
    """Of the data set."""
    crop_px: int = 512
    """Longer side of the crops; never enlarged."""
    shard_mb: int = 64
    """Size of a shard, megabytes."""


@dataclass(frozen=True, kw_only=True)
class Bench(Judged):
    """Train avatars of the kept items by several methods, and compare them on frames that none has seen."""

    root: _Root
    out: _Out
    """Runs and results; the same command goes on where it was."""
    methods: tuple[str, ...] = ("splats", "eva-recipe", "surface")
    """Of: splats, eva-recipe, surface, both."""
    split: Literal["wildavatar", "heldout"] = "wildavatar"
    """Ten even frames to train on and ten odd ones to test on, or all frames with every eighth held out."""
    preset: Literal["draft", "standard", "fine"] = "draft"
    subjects: int = 0
    """At most so many; 0 for all."""
    steps: int = 0
    """Training steps of splats and surfaces, instead of the preset's; 0 for those."""
    seed: int = 0
    workers: int = 1
    """Processes on this machine; 0 for this one alone, without Ray."""
    gpus: float = 0.0
    """Share of a GPU for each subject, where there are any."""
    address: Annotated[str, tyro.conf.arg(metavar="HOST:PORT")] = ""
    """Of a running Ray cluster."""


@dataclass(frozen=True, kw_only=True)
class Report(Judged):
    """Write one page: funnel, pictures of what was kept and rejected, distributions, rates."""

    root: _Root
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="OUT.html")] = None
    """By default ROOT/report.html."""


@dataclass(frozen=True, kw_only=True)
class Seed(Common):
    """Make a corpus whose truth is known: synthetic clips, some with defects in known numbers."""

    out: _Out
    """New, or what an interrupted call left."""
    clips: int = 24
    seed: int = 0
    seconds: float = 1.5
    """Of each film."""
    fps: float = 24.0
    """Frames a second of each film."""
    looks: Literal[1, 2] = 1
    """2: each film serves for two clips, the second time mirrored and in other colours. Half as many films are made."""


@dataclass(frozen=True, kw_only=True)
class Judge(Judged):
    """Hold a finished run against the seeded corpus it was planned from: precision and recall of every filter, scores
    against exact truth."""

    root: _Root
    seeded: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SEEDED")]
    """What `corpus seed` wrote."""
