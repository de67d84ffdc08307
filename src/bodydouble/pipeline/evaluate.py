"""Scores of a finished run."""

from __future__ import annotations

from pathlib import Path

from bodydouble.capture.folder import Capture
from bodydouble.core.errors import InputError
from bodydouble.evaluate.protocol import protocol_by_name
from bodydouble.evaluate.results import HeldoutResult
from bodydouble.pipeline.finish import score, trained_result
from bodydouble.pipeline.layout import CAPTURE
from bodydouble.pipeline.stages import LEDGER_NAME, Emit


def evaluate_run(folder: Path, protocol: str, device: str, emit: Emit) -> HeldoutResult:
    """Score the avatar of a run on its held-out frames, anew.

    Args:
        folder: Of a finished run.
        protocol: Name of the protocol.
        device: `auto`, `cpu` or `cuda`.
        emit: Told about progress.
    Raises:
        InputError: When the folder is not a finished run.
        ConfigError: When there is no such protocol.
    """
    chosen = protocol_by_name(protocol)
    if not (folder / LEDGER_NAME).is_file():
        raise InputError(
            f"{folder} is not the folder of a run ({LEDGER_NAME} is missing). Name what `create` wrote with -o."
        )
    from bodydouble.pipeline.create import load_body

    capture = Capture.open(folder / CAPTURE)
    avatar, refined_track = trained_result(folder, capture)
    return score(capture, load_body("anny"), avatar, refined_track, device, emit, protocol=chosen)
