"""`bodydouble completion`: what makes a shell complete our commands and options."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from bodydouble.cli.options import Common

_HOW = {
    "bash": "bodydouble completion bash > ~/.local/share/bash-completion/completions/bodydouble",
    "zsh": "bodydouble completion zsh > ~/.zfunc/_bodydouble    (with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc)",
    "fish": "bodydouble completion fish > ~/.config/fish/completions/bodydouble.fish",
}


@dataclass(frozen=True, kw_only=True)
class Completion(Common):
    """Print what makes the Tab key complete commands and options, for your shell to read."""

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """Which shell. Write the output to: ~/.local/share/bash-completion/completions/bodydouble (bash), a file _bodydouble in
    your fpath (zsh), ~/.config/fish/completions/bodydouble.fish (fish)."""


Command = Annotated[Completion, tyro.conf.subcommand("completion")]


def run(command: Completion, parse: Callable[[list[str]], Any]) -> int:
    """`bodydouble completion`.

    Args:
        command: Which shell.
        parse: The program's own parser, which knows all commands.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = parse(["--tyro-write-completion", command.shell, "-"])
    if code != 0:
        return 1
    script = said.getvalue().rstrip("\n")
    if command.json:
        print(json.dumps({"shell": command.shell, "script": script, "install": _HOW[command.shell]}, indent=2))
    else:
        print(script)
    return 0
