"""WildAvatar's metadata.json as a start for the clip that it annotates; the format is told in `capture.foreign.wildavatar`.

Frames are named by their place in the 20 s clip; each has a world of its own and a camera (OpenCV axes) that looks at it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bodydouble.capture.estimates.values import ForeignEstimate, make_estimate
from bodydouble.capture.foreign.bodies import smpl_body
from bodydouble.capture.foreign.files import read_json_value
from bodydouble.capture.foreign.wildavatar import stacked
from bodydouble.core.errors import InputError


def wildavatar_file(path: Path) -> Path:
    """The metadata at a path."""
    return path / "metadata.json" if path.is_dir() else path


def read_wildavatar_estimate(path: Path) -> ForeignEstimate:
    """`metadata.json`, or the folder of a subject.

    Raises:
        InputError: When the file is missing, damaged or another one.
    """
    path = wildavatar_file(path)
    table = read_json_value(path)
    entries = (
        {int(k): v for k, v in table.items() if isinstance(v, dict) and k.isdigit()} if isinstance(table, dict) else {}
    )
    if not entries:
        raise InputError(f"{path} has no frames (six digits as keys). Is it the metadata of one subject of WildAvatar?")
    frames = sorted(entries)

    K = stacked(entries, frames, path, "cam_intrinsics", (3, 3))
    cx, cy = np.median(K[:, :2, 2], axis=0)
    return make_estimate(
        "wildavatar",
        str(path),
        torch.tensor(frames),
        body=smpl_body(
            stacked(entries, frames, path, "poses", (72,)),
            stacked(entries, frames, path, "betas", (10,)),
            np.zeros((len(frames), 3)),
            where=str(path),
            gender="neutral",
        ),
        T_camera_source=torch.from_numpy(stacked(entries, frames, path, "cam_extrinsics", (4, 4))),
        focal_px=torch.from_numpy(K[:, 0, 0].copy()),
        center_px=torch.from_numpy(K[:, :2, 2].copy()),
        size_px=(round(2 * float(cx)), round(2 * float(cy))),
    )
