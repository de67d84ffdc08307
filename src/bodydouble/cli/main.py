"""The `bodydouble` command. The one place where errors become words and exit codes.

Exit codes: 0 done, 1 failed with a reason that the message names, 2 wrong usage (130 when interrupted from the keyboard).
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from bodydouble import __version__
from bodydouble.cli.voice import hushed, interrupted
from bodydouble.core.errors import BodydoubleError

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's own) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--version"], ["-V"]):
        print(f"bodydouble {__version__}")
        return 0
    _prepare_process()
    command = _parsed(words or ["--help"])
    if isinstance(command, int):
        return command if words else _USAGE
    try:
        with hushed(command.quiet):
            return _run(command)
    except BodydoubleError as error:
        return _fail(str(error), as_json=command.json)
    except KeyboardInterrupt:
        print(f"\n{interrupted(command, words)}", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except Exception as error:  # noqa: BLE001  (the last resort: a traceback is never the message)
        return _fail(_unexpected(error, words), as_json=command.json)


def _parsed(words: list[str]) -> Any:
    """The command's options, or the exit code if the parser has already said everything."""
    import tyro

    from bodydouble.cli import completion, corpus, gallery, motion, options, studio

    try:
        return tyro.cli(
            options.Command | motion.Command | corpus.Command | completion.Command | studio.Command | gallery.Command,
            prog="bodydouble",
            description="One ordinary video of a person in, that person's animatable double out.",
            args=words,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else (0 if stop.code is None else _USAGE)


def _run(command: Any) -> int:
    from bodydouble.cli import bench, commands, completion, corpus, export, filming, gallery, motion, options, studio

    table = {
        options.Create: commands.create,
        options.Capture: commands.capture,
        options.Import: commands.import_,
        options.Demo: commands.demo,
        options.Render: filming.render,
        options.Export: export.export,
        options.Evaluate: commands.evaluate,
        options.Bench: bench.bench,
        options.Synth: filming.synth,
        options.Doctor: commands.doctor,
        motion.Motion: motion.run,
        corpus.Corpus: corpus.run,
        completion.Completion: lambda command: completion.run(command, _parsed),
        studio.View: studio.run,
        gallery.Gallery: gallery.run,
    }
    return table[type(command)](command)


def _prepare_process() -> None:
    """Set what must be set before heavy packages are loaded."""
    # Threads that wait by spinning take the cores away from the kernels' own threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    if "BODYDOUBLE_DEBUG" not in os.environ:
        warnings.simplefilter("ignore")  # of other packages, about themselves; ours are events
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show must not end the program
            stream.reconfigure(errors="backslashreplace")
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, _terminated)


def _unread() -> int:
    """Whoever read our output has gone (`bodydouble --help | head`): end without a word, at exit, too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _FAILED


def _terminated(number: int, frame: object) -> NoReturn:
    """Leave through `finally` blocks, so that child processes are stopped and locks released."""
    raise SystemExit(128 + number)


def _fail(message: str, *, as_json: bool) -> int:
    if as_json:
        import json

        print(json.dumps({"error": message}))
    print(f"Error: {message}", file=sys.stderr)
    return _FAILED


def _unexpected(error: Exception, words: list[str]) -> str:
    """A message for an error that nobody foresaw; its traceback goes to a file."""
    if isinstance(error, MemoryError):
        return "There is not enough memory. Try --preset draft, a shorter part (--start-s, --end-s), or close other programs."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full. Free some space and run the same command again (a run goes on with --resume)."
    text = f"bodydouble {__version__}, {' '.join(words)}\n\n{''.join(traceback.format_exception(error))}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="bodydouble-error-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError:
        return f"Something went wrong that should not: {_first_line(error)}\n{text}"
    return f"Something went wrong that should not: {_first_line(error)}\nDetails are in {file.name}; please report it with that file."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
