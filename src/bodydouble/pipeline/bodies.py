"""The body that a run is made with: our own, or one from the user's own model file."""

from __future__ import annotations

import os
from pathlib import Path

from bodydouble.body.protocol import BodyModel
from bodydouble.core.errors import InputError
from bodydouble.core.events import Progress
from bodydouble.core.files import file_sha256, read_json
from bodydouble.pipeline.stages import LEDGER_NAME, Emit

BODY_FILE_VARIABLE = "BODYDOUBLE_BODY_FILE"
"""Names the model file where none is given, or where the one that a run was made with has moved."""


def load_body(name: str, emit: Emit | None = None, *, file: str = "") -> BodyModel:
    """The body model of this name; the very first time a cache is built, and `emit` is told so.

    Args:
        name: `anny`, or `smplx` for any model of the SMPL family: which one it is, its file says.
        emit: Told when a cache is built.
        file: The user's model file, for `smplx`.
    Raises:
        InputError: When the file is missing or no model of the family.
    """
    from bodydouble.body.anny import load_anny
    from bodydouble.body.anny_cache import cache_file

    if emit is not None and not cache_file().is_file():
        emit(Progress(stage="body", done=0, total=1, unit="models"))
    if name == "anny":
        return load_anny()
    assert name == "smplx", name
    from bodydouble.body.smplx import load_smplx

    return load_smplx(Path(file))


def body_file(given: Path | None) -> str:
    """The absolute path of the model file: the given one, or that which BODYDOUBLE_BODY_FILE names.

    Raises:
        InputError: When neither is there.
    """
    named = given or os.environ.get(BODY_FILE_VARIABLE, "")
    if not named:
        raise InputError(
            "--body smplx needs the model file that SMPL's or SMPL-X's owners gave you on registering (.npz or .pkl). "
            f"Name it with --body-file, or in {BODY_FILE_VARIABLE}."
        )
    path = Path(named).expanduser().resolve()
    if not path.is_file():
        raise InputError(f"The body file {path} does not exist. Check --body-file, or {BODY_FILE_VARIABLE}.")
    return str(path)


def body_key(name: str, file: str) -> dict[str, str]:
    """What tells one body from another in the key of a stage: a model file counts by its content, not by its place."""
    return {"body": name} if name == "anny" else {"body": name, "body_sha256": file_sha256(Path(file))}


def body_of_run(folder: Path) -> BodyModel:
    """The body that a run was made with, as its ledger says.

    Args:
        folder: Of the run. Without a ledger there, as with an imported capture, it is our own body.
    Raises:
        InputError: When the model file is no longer where it was.
    """
    ledger = folder / LEDGER_NAME
    about = read_json(ledger).get("about") if ledger.is_file() else {}
    config = (about.get("config") or {}) if isinstance(about, dict) else None
    if not isinstance(config, dict):
        raise InputError(f"{ledger} is damaged: it does not tell the run's settings. Make the run anew.")
    name, file = str(config.get("body", "anny")), str(config.get("body_file") or "")
    if name == "anny":
        return load_body("anny")
    if not Path(file).is_file():
        file = os.environ.get(BODY_FILE_VARIABLE, "")
        if not Path(file).is_file():
            raise InputError(
                f"{folder} was made with the body file {config.get('body_file')}, which is not there any more. Put it "
                f"back, or name it in {BODY_FILE_VARIABLE}."
            )
    return load_body(name, file=file)
