"""COLMAP's sparse model as text: cameras.txt and images.txt (https://colmap.github.io/format.html)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from bodydouble.capture.foreign.files import read_text
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import quat_wxyz_to_matrix

_MODELS = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}


@dataclass(frozen=True, kw_only=True)
class ColmapView:
    """One registered image."""

    name: str
    """Of the image file, as COLMAP saw it."""
    width_px: int
    height_px: int
    K: Float[ndarray, "3 3"]
    """Pixel centres at +0.5, as ours."""
    distortion: Float[ndarray, " 5"]
    T_camera_world: Float[ndarray, "4 4"]


def read_colmap(folder: Path) -> list[ColmapView]:
    """Views of a text model, in the order of the file.

    Raises:
        InputError: When a file is missing or damaged, or a camera model is none of the pinhole family.
    """
    cameras = _cameras(folder / "cameras.txt")
    path = folder / "images.txt"
    # Two lines per image; the second lists its points and may be empty.
    lines = [(n, line.strip()) for n, line in enumerate(read_text(path).splitlines(), 1) if not line.startswith("#")]
    while lines and not lines[-1][1]:
        lines.pop()
    views = []
    for number, line in lines[::2]:
        words = line.split(maxsplit=9)
        if len(words) != 10 or words[8] not in cameras:
            raise InputError(
                f"{path}, line {number}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME with a camera of cameras.txt, "
                f"found {line[:80]!r}. Export the model as text again."
            )
        width, height, K, distortion = cameras[words[8]]
        views.append(
            ColmapView(
                name=words[9],
                width_px=width,
                height_px=height,
                K=K,
                distortion=distortion,
                T_camera_world=_pose(_floats(words[1:8], path, number), path, number),
            )
        )
    if not views:
        raise InputError(f"{path} names no image. Export the model as text again.")
    return views


def _cameras(path: Path) -> dict[str, tuple[int, int, ndarray, ndarray]]:
    found = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) < 5 or words[1] not in _MODELS or len(words) != 4 + len(_MODELS[words[1]]):
            raise InputError(
                f"{path}, line {number}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS with one of {', '.join(_MODELS)}, "
                f"found {line[:80]!r}. Undistort the images with COLMAP, which gives PINHOLE."
            )
        values = _floats(words[2:], path, number)
        p = dict(zip(_MODELS[words[1]], values[2:], strict=True))
        K = np.array([[p.get("fx", p.get("f")), 0, p["cx"]], [0, p.get("fy", p.get("f")), p["cy"]], [0, 0, 1.0]])
        distortion = np.array([p.get(k, 0.0) for k in ("k1", "k2", "p1", "p2", "k3")])
        found[words[0]] = (int(values[0]), int(values[1]), K, distortion)
    return found


def _pose(values: list[float], path: Path, number: int) -> ndarray:
    quat_wxyz = np.array(values[:4])
    if not 0.9 < np.linalg.norm(quat_wxyz) < 1.1:
        raise InputError(
            f"{path}, line {number}: {values[:4]} is no unit quaternion (QW QX QY QZ). Export the model again."
        )
    T = np.eye(4)
    T[:3, :3] = quat_wxyz_to_matrix(torch.from_numpy(quat_wxyz)).numpy()
    T[:3, 3] = values[4:]
    return T


def _floats(words: list[str], path: Path, number: int) -> list[float]:
    try:
        values = [float(w) for w in words]
    except ValueError as error:
        raise InputError(f"{path}, line {number}: {error}. Export the model as text again.") from error
    if not np.isfinite(values).all():
        raise InputError(f"{path}, line {number} holds numbers that are not finite. Export the model as text again.")
    return values
