"""Where things are in a run folder."""

from pathlib import Path

from bodydouble.core.errors import InputError

AVATAR = "avatar.glb"
CAPTURE = "capture"
REPORT_HTML = "report.html"
REPORT_JSON = "report.json"
TURNTABLE = "turntable.mp4"
SURFACE_CHECKPOINT = "checkpoints/surface"
SURFACE_FOLDER = "surface"
MASKS = "masks"
"""Of a surface, in its folder."""
SPLATS_CHECKPOINT = "checkpoints/splats"
HELDOUT = "checkpoints/heldout"


def avatar_file(given: Path) -> Path:
    """The avatar of a run's folder, or the file that was named.

    Raises:
        InputError: When the folder holds none.
    """
    if not given.is_dir():
        return given
    if not (given / AVATAR).exists():
        raise InputError(
            f"{given} holds no {AVATAR}. Name an avatar, or the folder of a finished run: bodydouble create VIDEO -o {given}."
        )
    return given / AVATAR


def capture_folder(given: Path) -> Path:
    """The capture in a run's folder, or the folder that was named."""
    return given / CAPTURE if (given / CAPTURE).is_dir() else given
