"""`bodydouble view`: an avatar in a browser on this machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bodydouble.cli.options import Compute, Create

if TYPE_CHECKING:
    from bodydouble.core.events import Event


@dataclass(frozen=True, kw_only=True)
class View(Compute):
    """The studio: see the double move, pose it, compare it with its video, export it. In a browser, on this machine only."""

    avatar: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR|AVATAR")]
    """The folder of a run (with its video to compare), or an avatar.glb."""
    port: int = 0
    """Port to listen on, on loopback; any free one if not said."""
    open: bool = True
    """Open the browser; with --no-open only the address is printed."""


Command = Annotated[View, tyro.conf.subcommand("view")]


def run(command: View) -> int:
    """`bodydouble view`."""
    import json

    from bodydouble.cli.progress import ProgressPrinter
    from bodydouble.core.errors import ConfigError
    from bodydouble.pipeline.create import use_threads
    from bodydouble.render.select import make_rasterizer
    from bodydouble.render.warm_up import warm_up
    from bodydouble.studio.server import Studio, closing
    from bodydouble.studio.show import open_show

    if not 0 <= command.port <= 65535:
        raise ConfigError(f"--port is {command.port}; expected 1 to 65535, or 0 for any free one.")
    use_threads(command.threads)
    show = open_show(
        command.avatar, make_rasterizer(command.device)
    )  # before the kernels: what is wrong is said at once
    with ProgressPrinter(()) as emit:
        warm_up(emit)
    studio = Studio(port=command.port, title=show.title)
    with closing(studio), contextlib.suppress(KeyboardInterrupt):  # from here on Ctrl-C is how one leaves
        studio.open(show)
        if command.json:
            print(json.dumps({"url": studio.url}), flush=True)
        else:
            print(f"The studio is open at {studio.url}\nCtrl-C ends it.", flush=True)
        if command.open:
            open_browser(studio.url)
        studio.wait()
    return 0


@contextlib.contextmanager
def watched(command: Create, out: Path) -> Iterator[Callable[[Callable[[Event], None]], Callable[[Event], None]]]:
    """Around the work of `create`: with `--studio`, whoever listens to its events shares them with the studio.

    Args:
        command: The options.
        out: Where the run is made. When the block ends, its avatar is shown until Ctrl-C.
    """
    if not command.studio:
        yield lambda emit: emit
        return
    from bodydouble.render.select import make_rasterizer
    from bodydouble.studio.live import LiveShow
    from bodydouble.studio.server import Studio, closing, until_interrupted

    with closing(Studio(title=out.resolve().name)) as studio:
        live = LiveShow(studio, make_rasterizer(command.device))
        print(f"The studio is open at {studio.url}", file=sys.stderr, flush=True)
        open_browser(studio.url)
        yield live.between
        live.finish(out)
        print("The studio stays open; Ctrl-C ends it.", file=sys.stderr, flush=True)
        until_interrupted(studio)


def open_browser(url: str) -> None:
    """Open the address, if there is a browser to open it."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
