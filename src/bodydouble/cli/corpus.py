"""`bodydouble corpus`: many videos, from plans to captures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from bodydouble.cli import corpus_options as options
from bodydouble.cli import corpus_sets as sets


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Captures from many videos: plan and run, look at them, judge, publish, compare, forget."""

    do: Annotated[
        Annotated[options.Plan, tyro.conf.subcommand("plan")]
        | Annotated[options.Run, tyro.conf.subcommand("run")]
        | Annotated[options.Status, tyro.conf.subcommand("status")]
        | Annotated[options.Verify, tyro.conf.subcommand("verify")]
        | Annotated[options.Query, tyro.conf.subcommand("query")]
        | Annotated[options.Forget, tyro.conf.subcommand("forget")]
        | Annotated[sets.Filters, tyro.conf.subcommand("filters")]
        | Annotated[sets.Tune, tyro.conf.subcommand("tune")]
        | Annotated[sets.Publish, tyro.conf.subcommand("publish")]
        | Annotated[sets.Bench, tyro.conf.subcommand("bench")]
        | Annotated[sets.Report, tyro.conf.subcommand("report")]
        | Annotated[sets.Seed, tyro.conf.subcommand("seed")]
        | Annotated[sets.Judge, tyro.conf.subcommand("judge")],
        tyro.conf.arg(name=""),
    ]

    @property
    def json(self) -> bool:
        """Whether the result is wanted as JSON."""
        return self.do.json

    @property
    def quiet(self) -> bool:
        """Whether progress is unwanted."""
        return self.do.quiet


Command = Annotated[Corpus, tyro.conf.subcommand("corpus")]


def run(command: Corpus) -> int:
    """`bodydouble corpus`."""
    from bodydouble.cli import corpus_commands, corpus_sets_commands

    table = {**corpus_commands.TABLE, **corpus_sets_commands.TABLE}
    return table[type(command.do)](command.do)
