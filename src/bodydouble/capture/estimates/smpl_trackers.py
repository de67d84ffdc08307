"""GVHMR, WHAM and TRAM: trackers that pose SMPL(-X) over a whole video, in the camera's own axes.

GVHMR (zju3dv/GVHMR, tools/demo/demo.py): `hmr4d_results.pt`, saved by torch: `smpl_params_incam` with global_orient (n, 3),
    body_pose (n, 63: SMPL-X), betas (n, 10), transl (n, 3) in camera axes, metres; `K_fullimg` (n, 3, 3). One person, every
    frame; its focal length is the image's diagonal unless the user changed it.
WHAM (yohanshin/WHAM, demo.py): `wham_output.pkl`, saved by joblib: by person, `pose` (n, 72: SMPL, the root in camera axes),
    `trans` (n, 3), `betas`, `frame_ids` (n); no camera: the focal length is the image's diagonal unless calibrated.
TRAM (yufu-wang/tram, scripts/estimate_humans.py): `hps/hps_track_K.npy`, a dict of tensors: `pred_rotmat` (n, 24, 3, 3: SMPL,
    the root in camera axes), `pred_trans` (n, 1, 3), `pred_shape` (n, 10), `frame` (n); `camera.npy` beside `hps/` with
    `img_focal` and `img_center`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodydouble.capture.estimates.values import ForeignEstimate, make_estimate
from bodydouble.capture.foreign.bodies import smpl_body, smplx_body
from bodydouble.capture.foreign.files import by_number, inside
from bodydouble.capture.foreign.tensor_files import TensorNumbers, read_joblib, read_torch
from bodydouble.core.arrays import numbers, rows
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import matrix_to_rotvec
from bodydouble.core.pickles import read_object_npy


def read_gvhmr(path: Path) -> ForeignEstimate:
    """`hmr4d_results.pt`, or the folder that holds it.

    Raises:
        InputError: When the file is missing, damaged or another one.
    """
    path = path / "hmr4d_results.pt" if path.is_dir() else path
    values = _dict(read_torch(path), path, "smpl_params_incam", "K_fullimg")
    params = _dict(values["smpl_params_incam"], path, "global_orient", "body_pose", "transl")
    root = rows(params["global_orient"], 3, f"{path}: global_orient")
    pose = rows(params["body_pose"], 63, f"{path}: body_pose")
    _same_length(path, global_orient=root, body_pose=pose)
    K = numbers(np.asarray(values["K_fullimg"]).reshape(-1, 3, 3), (None, 3, 3), f"{path}: K_fullimg")
    K = np.repeat(K, len(root), 0) if len(K) == 1 else K
    _same_length(path, global_orient=root, K_fullimg=K)
    diagonal = np.hypot(2 * K[0, 0, 2], 2 * K[0, 1, 2])
    return make_estimate(
        "gvhmr",
        str(path),
        torch.arange(len(root)),
        body=smplx_body(
            np.concatenate([root, pose, np.zeros((len(root), 99))], axis=1),
            _betas(params.get("betas"), path),
            np.zeros((len(root), 0)),
            rows(params["transl"], 3, f"{path}: transl"),
            where=str(path),
            gender="neutral",
            hands="none",
        ),
        focal_px=torch.from_numpy(K[:, 0, 0].copy()),
        center_px=torch.from_numpy(K[:, :2, 2].copy()),
        size_px=(round(2 * float(K[0, 0, 2])), round(2 * float(K[0, 1, 2]))),
        total_frames=len(root),
        guessed_focal=bool(abs(K[0, 0, 0] - diagonal) < 1e-3 * diagonal),
    )


def read_wham(path: Path) -> ForeignEstimate:
    """`wham_output.pkl`, or the folder that holds it.

    Raises:
        InputError: As `read_gvhmr`.
    """
    path = path / "wham_output.pkl" if path.is_dir() else path
    people = read_joblib(path)
    if not isinstance(people, dict) or not people or not all(isinstance(v, dict) for v in people.values()):
        raise InputError(f"{path} must hold a dict with an entry for each person; found {_kind_of(people)}.")
    poses, betas, places, frames, persons = [], [], [], [], []
    for key, person in people.items():
        entry = _dict(person, path, "pose", "trans", "betas", "frame_ids")
        pose = rows(entry["pose"], 72, f"{path}: pose of person {key}")
        number = numbers(np.ravel(entry["frame_ids"]), (None,), f"{path}: frame_ids of person {key}").astype(np.int64)
        place = rows(np.asarray(entry["trans"]).reshape(-1, 3), 3, f"{path}: trans of person {key}")
        shape = _betas(entry["betas"], path)
        _same_length(path, pose=pose, frame_ids=number, trans=place)
        poses.append(pose)
        places.append(place)
        frames.append(number)
        betas.append(np.repeat(shape, len(pose), 0) if len(shape) == 1 else shape)
        persons.append(np.full(len(pose), int(key)))
    return make_estimate(
        "wham",
        str(path),
        torch.from_numpy(np.concatenate(frames)),
        person=torch.from_numpy(np.concatenate(persons)),
        body=smpl_body(
            np.concatenate(poses), np.concatenate(betas), np.concatenate(places), where=str(path), gender="neutral"
        ),
        guessed_focal=True,
        notes=("WHAM does not write its camera: the diagonal of the image was taken as focal length, as it does.",),
    )


def read_tram(path: Path) -> ForeignEstimate:
    """The folder of a sequence (`camera.npy`, `hps/hps_track_*.npy`), its `hps` folder, or one track.

    Raises:
        InputError: As `read_gvhmr`.
    """
    files = tram_tracks(path)
    if not files:
        raise InputError(f"{path} holds no hps/hps_track_*.npy. Name the folder of one sequence of TRAM's results.")
    poses, betas, places, frames, persons = [], [], [], [], []
    for number, file in sorted(by_number(files).items()):
        entry = _dict(read_object_npy(file, TensorNumbers), file, "pred_rotmat", "pred_trans", "pred_shape", "frame")
        R = numbers(entry["pred_rotmat"], (None, 24, 3, 3), f"{file}: pred_rotmat")
        place = rows(np.asarray(entry["pred_trans"]).reshape(-1, 3), 3, f"{file}: pred_trans")
        frame = numbers(np.ravel(entry["frame"]), (None,), f"{file}: frame").astype(np.int64)
        shape = _betas(entry["pred_shape"], file)
        _same_length(file, pred_rotmat=R, pred_trans=place, frame=frame, pred_shape=shape)
        if np.abs(R @ R.transpose(0, 1, 3, 2) - np.eye(3)).max(initial=0.0) > 0.02:
            raise InputError(f"{file}: pred_rotmat holds matrices that are no rotations. The file may be damaged.")
        poses.append(matrix_to_rotvec(torch.from_numpy(R)).reshape(len(R), 72).numpy())
        places.append(place)
        frames.append(frame)
        betas.append(shape)
        persons.append(np.full(len(R), number))
    focal, center = _tram_camera(files[0].parent.parent / "camera.npy")
    count = sum(map(len, frames))
    return make_estimate(
        "tram",
        str(path),
        torch.from_numpy(np.concatenate(frames)),
        person=torch.from_numpy(np.concatenate(persons)),
        body=smpl_body(
            np.concatenate(poses), np.concatenate(betas), np.concatenate(places), where=str(path), gender="neutral"
        ),
        focal_px=torch.full((count,), focal, dtype=torch.float64),
        center_px=torch.tensor(center, dtype=torch.float64).repeat(count, 1),
        size_px=(0, 0) if np.isnan(center[0]) else (round(2 * center[0]), round(2 * center[1])),
        notes=() if not np.isnan(focal) else ("There is no camera.npy beside hps/, so the focal length is not known.",),
    )


def tram_tracks(path: Path) -> list[Path]:
    """TRAM's track files at a path."""
    if path.is_file():
        return [path] if path.name.startswith("hps_track_") and path.suffix == ".npy" else []
    found = [*path.glob("hps/hps_track_*.npy"), *path.glob("hps_track_*.npy")]
    return [inside(path, p.relative_to(path)) for p in found]


def _tram_camera(path: Path) -> tuple[float, tuple[float, float]]:
    if not path.is_file():
        return np.nan, (np.nan, np.nan)
    values = _dict(read_object_npy(path, TensorNumbers), path, "img_focal", "img_center")
    focal = float(numbers(np.ravel(values["img_focal"])[:1], (1,), f"{path}: img_focal")[0])
    x, y = numbers(np.ravel(values["img_center"]), (2,), f"{path}: img_center")
    if not 1 < focal < 1e6 or not (0 < x < 1e5 and 0 < y < 1e5):
        raise InputError(f"{path}: a focal length of {focal:g} px with the middle at ({x:g}, {y:g}) is no camera.")
    return focal, (float(x), float(y))


def _dict(values: Any, path: Path, *needed: str) -> dict:
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a dict with {', '.join(needed)}; found {_kind_of(values)}.")
    missing = [key for key in needed if key not in values]
    if missing:
        found = ", ".join(sorted(str(key) for key in values)[:12]) or "nothing"
        raise InputError(f"{path} has no {', '.join(missing)} (found: {found}). Is it a result of this tracker?")
    return values


def _kind_of(values: Any) -> str:
    return f"an array of {values.shape}" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"


def _betas(values: Any, path: Path) -> np.ndarray:
    """Shapes as rows of ten, all of them 0 where there are none."""
    if values is None:
        return np.zeros((1, 10))
    array = np.asarray(values, dtype=np.float64)
    return numbers(array.reshape(-1, array.shape[-1] if array.ndim else 1), (None, None), f"{path}: betas")


def _same_length(path: Path, **arrays: np.ndarray) -> None:
    if len({len(a) for a in arrays.values()}) > 1:
        found = ", ".join(f"{name} {len(a)}" for name, a in arrays.items())
        raise InputError(f"{path}: its arrays have different numbers of frames ({found}). The file is damaged.")
