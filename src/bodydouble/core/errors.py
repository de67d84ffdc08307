"""Errors that a user can act on.

Every message says what was wrong, what was expected, what was found and what to do next. The command line prints the
message alone and exits with 1; a traceback is never the message.
"""


class BodydoubleError(Exception):
    """Base of all errors whose text is meant for the user."""


class InputError(BodydoubleError):
    """A file or folder that was handed in cannot be used."""


class ShapeError(BodydoubleError, ValueError):
    """A tensor has the wrong shape or type."""


class ConfigError(BodydoubleError, ValueError):
    """An option has a value that makes no sense."""


class MissingDependencyError(BodydoubleError, ImportError):
    """An optional package is needed for what was asked; the message names the extra that brings it."""


class OutputError(BodydoubleError):
    """A result cannot be written (permissions, full disk, folder already in use)."""


class NoSubjectError(InputError):
    """No usable person was found in the video."""
