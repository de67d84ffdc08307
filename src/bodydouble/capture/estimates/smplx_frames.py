"""ExAvatar and SMPLer-X: SMPL-X parameters in one file per frame (and person); and plain .npz files of SMPL(-X).

ExAvatar (mks0601/ExAvatar_RELEASE, fitting/main/fit.py): `smplx_optimized/smplx_params/FRAME.json` (or
    `smplx_params_smoothed/`): root_pose (3), body_pose (21, 3), jaw_pose, leye_pose, reye_pose (3), lhand_pose, rhand_pose
    (15, 3), expr (50), trans (3), in camera axes, metres; `cam_params/FRAME.json` in the subject's folder: focal (2),
    princpt (2); else COLMAP's `sparse/cameras.txt`. FRAME counts from 0 as its `frames/FRAME.png` do.
SMPLer-X (caizhongang/SMPLer-X, main/inference.py): `smplx/FRAME_DETECTION.npz`: global_orient (1, 3), body_pose (21, 3),
    left_hand_pose, right_hand_pose (15, 3), jaw_pose (1, 3), betas, expression (1, 10), transl (1, 3); `meta/` of the same
    name with focal (2) and princpt (2). The camera is that of a crop about the person: a long focal length of its own for
    each row, far away. DETECTION counts the boxes of a frame, it is no identity. FRAME is the number of the image file.
Plain .npz: `poses` (n, 66, 72, 156 or 165), `trans`, `betas` as AMASS keeps them, in a world; or `global_orient`, `body_pose`,
    `transl` and so on as the arguments of smplx are called, in a world or in a camera.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodydouble.capture.estimates.values import IN_WORLD, UNKNOWN, ForeignEstimate, make_estimate
from bodydouble.capture.foreign.bodies import smpl_body, smplx_body
from bodydouble.capture.foreign.files import by_number, inside, read_json_value, read_text
from bodydouble.core.arrays import Npz, numbers, rows
from bodydouble.core.errors import InputError

EXAVATAR_FOLDERS = (
    "smplx_optimized/smplx_params_smoothed", "smplx_optimized/smplx_params", "smplx_params_smoothed", "smplx_params", "",
)  # fmt: skip
_EXAVATAR_KEYS = ("root_pose", "body_pose", "lhand_pose", "rhand_pose", "trans")
_SMPLERX_NAME = re.compile(r"(\d+)_(\d+)\.npz")


def exavatar_files(path: Path) -> list[Path]:
    """ExAvatar's files of parameters at a path, those of the first folder that has any."""
    for name in EXAVATAR_FOLDERS if path.is_dir() else ():
        found = [p for p in (path / name).glob("*.json") if p.stem.isdigit()]
        if found and (name or _looks_exavatar(found[0])):
            return [inside(path, p.relative_to(path)) for p in found]
    return []


def read_exavatar(path: Path) -> ForeignEstimate:
    """The folder of a subject, its `smplx_optimized`, or the folder of parameters itself.

    Raises:
        InputError: When the files are missing, damaged or others.
    """
    files = by_number(exavatar_files(path))
    if not files:
        raise InputError(f"{path} holds no smplx_params/FRAME.json. Name the folder of one subject of ExAvatar.")
    frames = sorted(files)
    poses, places, expressions = [], [], []
    for number in frames:
        entry = read_json_value(files[number])
        take = _taker(files[number], entry, _EXAVATAR_KEYS)
        zero = np.zeros(3)
        parts = [
            take("root_pose", 3),
            take("body_pose", 63),
            *(take(key, 3) if key in entry else zero for key in ("jaw_pose", "leye_pose", "reye_pose")),
            take("lhand_pose", 45),
            take("rhand_pose", 45),
        ]
        poses.append(np.concatenate(parts))
        places.append(take("trans", 3))
        expressions.append(np.ravel(entry.get("expr", ())).astype(np.float64))
    if len({len(e) for e in expressions}) > 1:
        raise InputError(f"{path}: expr has different lengths in different frames. The files come from several runs.")
    focal, center = _exavatar_cameras(files[frames[0]].parent, frames)
    return make_estimate(
        "exavatar",
        str(path),
        torch.tensor(frames),
        body=smplx_body(
            np.stack(poses),
            np.zeros((1, 10)),
            np.stack(expressions),
            np.stack(places),
            where=str(path),
            gender="neutral",
            hands="mean",
        ),
        focal_px=torch.from_numpy(focal),
        center_px=torch.from_numpy(center),
        notes=()
        if np.isfinite(focal).all()
        else ("No cam_params/ or sparse/ was found beside the parameters, so the focal length is not known.",),
    )


def smplerx_files(path: Path) -> list[Path]:
    """SMPLer-X's files at a path."""
    if not path.is_dir():
        return []
    found = [p for name in ("smplx", ".") for p in (path / name).glob("*.npz") if _SMPLERX_NAME.fullmatch(p.name)]
    return [inside(path, p.relative_to(path)) for p in found]


def read_smplerx(path: Path) -> ForeignEstimate:
    """The output folder (`smplx/` and `meta/`), or its `smplx`.

    Raises:
        InputError: As `read_exavatar`.
    """
    files = smplerx_files(path)
    if not files:
        raise InputError(f"{path} holds no smplx/FRAME_DETECTION.npz. Name an output folder of SMPLer-X.")
    keyed = {}
    for file in files:
        match = _SMPLERX_NAME.fullmatch(file.name)
        assert match is not None
        keyed[int(match[1]), int(match[2])] = file
    poses, betas, expressions, places, focal, center = [], [], [], [], [], []
    for key in sorted(keyed):
        file = keyed[key]
        pose, shape, expression, place = _smplx_arrays(Npz(file))
        if len(pose) != 1:
            raise InputError(f"{file} holds {len(pose)} poses; SMPLer-X writes one for each file.")
        poses.append(pose[0])
        betas.append(shape[0])
        expressions.append(expression[0])
        places.append(place[0])
        f, c = _smplerx_camera(file.parent.parent / "meta" / f"{file.stem}.json")
        focal.append(f)
        center.append(c)
    return make_estimate(
        "smplerx",
        str(path),
        torch.tensor([frame for frame, _ in sorted(keyed)]),
        person=torch.tensor([detection for _, detection in sorted(keyed)]),
        tracked=False,
        body=smplx_body(
            np.stack(poses),
            np.stack(betas),
            np.stack(expressions),
            np.stack(places),
            where=str(path),
            gender="neutral",
            hands="mean",
        ),
        focal_px=torch.tensor(focal, dtype=torch.float64),
        center_px=torch.tensor(center, dtype=torch.float64),
    )


def read_plain(path: Path) -> ForeignEstimate:
    """A .npz file of one person over a whole video; row i is frame i.

    Raises:
        InputError: As `read_exavatar`.
    """
    archive = Npz(path)
    if "poses" in archive:
        poses = numbers(archive["poses"], (None, None), f"{path}: poses")
        width = poses.shape[1]
        if width not in (66, 72, 156, 165):
            raise InputError(f"{path}: poses must have 66, 72, 156 or 165 columns, found {width}.")
        place = archive["trans"] if "trans" in archive else np.zeros((len(poses), 3))
        betas = _flat_betas(archive)
        body = _from_amass(poses, betas, place, str(path))
        frame = IN_WORLD
    else:
        pose, betas, expression, place = _smplx_arrays(archive)
        body = (
            smpl_body(pose, betas, place, where=str(path))
            if pose.shape[1] == 72
            else smplx_body(pose, betas, expression, place, where=str(path))
        )
        frame = UNKNOWN
    count = len(body.rotvecs)
    return make_estimate("smplx", str(path), torch.arange(count), body=body, frame=frame, total_frames=count)


def _from_amass(poses: np.ndarray, betas: np.ndarray, place: np.ndarray, where: str):
    """AMASS's order: root, 21 body joints, then hands (SMPL-H), or jaw, eyes and hands (SMPL-X)."""
    count, width = poses.shape
    if width in (66, 72):
        padded = np.concatenate([poses, np.zeros((count, 72 - width))], axis=1)
        return smpl_body(padded, betas, place, where=where)
    if width == 156:
        poses = np.concatenate([poses[:, :66], np.zeros((count, 9)), poses[:, 66:]], axis=1)
    return smplx_body(poses, betas, np.zeros((count, 0)), place, where=where)


def _smplx_arrays(archive: Npz) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Poses (165 columns of SMPL-X, or 72 of SMPL), shapes, expressions and places, by the names of smplx's arguments."""
    where = str(archive.path)
    root = _columns(archive.first_of("global_orient", "root_orient", "root_pose"), 3, f"{where}: global_orient")
    count = len(root)
    body = np.asarray(archive.first_of("body_pose", "pose_body"))
    joints = body.size // max(3 * count, 1)
    if joints not in (21, 23) or body.size != count * joints * 3:
        raise InputError(
            f"{where}: body_pose must hold 21 (SMPL-X) or 23 (SMPL) joints for each of the {count} frames, found {body.shape}."
        )
    body = numbers(body.reshape(count, -1), (count, None), f"{where}: body_pose")

    def part(width: int, *names: str) -> np.ndarray:
        found = [name for name in names if name in archive]
        return _columns(archive[found[0]], width, f"{where}: {found[0]}") if found else np.zeros((count, width))

    place = part(3, "transl", "trans", "cam_trans")
    expression = archive["expression"].reshape(count, -1) if "expression" in archive else np.zeros((count, 10))
    if joints == 23:
        return np.concatenate([root, body], axis=1), _flat_betas(archive), expression, place
    eyes = [part(3, name) for name in ("jaw_pose", "leye_pose", "reye_pose")]
    hands = [part(45, "left_hand_pose"), part(45, "right_hand_pose")]
    return np.concatenate([root, body, *eyes, *hands], axis=1), _flat_betas(archive), expression, place


def _columns(values: np.ndarray, width: int, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.size % width:
        raise InputError(f"{what} must go into rows of {width} numbers, found {array.shape}.")
    return rows(array.reshape(-1, width), width, what)


def _flat_betas(archive: Npz) -> np.ndarray:
    if "betas" not in archive:
        return np.zeros((1, 10))
    betas = np.atleast_2d(np.squeeze(archive["betas"]))
    return numbers(betas, (None, None), f"{archive.path}: betas")


def _taker(path: Path, entry: Any, needed: tuple[str, ...]) -> Callable[[str, int], np.ndarray]:
    """A function that gives the flat numbers of a key, checked."""
    missing = [key for key in needed if key not in entry] if isinstance(entry, dict) else needed
    if missing:
        found = ", ".join(entry) if isinstance(entry, dict) else f"a {type(entry).__name__}"
        raise InputError(f"{path} has no {', '.join(missing)} (found: {found[:120]}). Is it a result of this tracker?")

    def take(key: str, width: int) -> np.ndarray:
        return numbers(np.ravel(entry[key]), (width,), f"{path}: {key}")

    return take


def _looks_exavatar(path: Path) -> bool:
    entry = read_json_value(path)
    return isinstance(entry, Mapping) and all(key in entry for key in _EXAVATAR_KEYS)


def _exavatar_cameras(folder: Path, frames: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Focal length and principal point of each frame; NaN where there are none."""
    for subject in (folder.parent.parent, folder.parent, folder):
        if (subject / "cam_params").is_dir():
            return _camera_files(subject / "cam_params", frames)
        if (subject / "sparse/cameras.txt").is_file():
            fx, fy, cx, cy = _colmap_camera(subject / "sparse/cameras.txt")
            return np.full(len(frames), (fx + fy) / 2), np.tile([cx, cy], (len(frames), 1))
    return np.full(len(frames), np.nan), np.full((len(frames), 2), np.nan)


def _camera_files(folder: Path, frames: list[int]) -> tuple[np.ndarray, np.ndarray]:
    focal, center = np.full(len(frames), np.nan), np.full((len(frames), 2), np.nan)
    for row, number in enumerate(frames):
        path = inside(folder, f"{number}.json")
        if path.is_file():
            take = _taker(path, read_json_value(path), ("focal", "princpt"))
            focal[row], center[row] = take("focal", 2).mean(), take("princpt", 2)
    return focal, center


def _colmap_camera(path: Path) -> tuple[float, float, float, float]:
    lines = [line.split() for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")]
    if not lines or len(lines[0]) != 8:
        raise InputError(f"{path}: expected one PINHOLE camera (id, model, width, height, fx, fy, cx, cy).")
    fx, fy, cx, cy = numbers([float(w) for w in lines[0][4:]], (4,), f"{path}: camera")
    return float(fx), float(fy), float(cx), float(cy)


def _smplerx_camera(path: Path) -> tuple[float, tuple[float, float]]:
    if not path.is_file():
        raise InputError(
            f"{path} is missing: SMPLer-X's camera is that of a crop, so without it nothing is known about where the person "
            "is. Bring the folder meta/ that was written beside smplx/."
        )
    take = _taker(path, read_json_value(path), ("focal", "princpt"))
    x, y = take("princpt", 2)
    return float(take("focal", 2).mean()), (float(x), float(y))
