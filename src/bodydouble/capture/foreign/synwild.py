"""SynWild and other videos as Vid2Avatar prepares them.

    image/0000.png, mask/0000.png     masks are coarse: the projected body, dilated; white = person
    cameras_normalize.npz             world_mat_0 = K [R | t] in metres (4x4), scale_mat_0 (a uniform scale), ...
    or cameras.npz                    cam_0 = the same as world_mat_0
    poses.npy [n, 72], normalize_trans.npy [n, 3], mean_shape.npy [10]
    gender.txt                        where there is one

Each frame has a world of its own, with the person's middle at the origin.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodydouble.capture.foreign.bodies import common_frames, smpl_body
from bodydouble.capture.foreign.files import by_number, existing, frames_of, inside, pictures, read_text
from bodydouble.capture.foreign.pictures import common_size
from bodydouble.capture.foreign.values import ForeignCapture
from bodydouble.capture.foreign.worlds import OPENCV_PIXELS, make_cameras, split_projection
from bodydouble.core.arrays import Npz, numbers, read_npy, rows
from bodydouble.core.errors import InputError


def read_synwild(folder: Path, *, sequence: str, fps_hz: float | None) -> ForeignCapture:
    """Read the layout above.

    Raises:
        InputError: When a file is missing, damaged or does not go with the others.
    """
    notes: list[str] = []
    images = by_number(pictures(inside(folder, "image")))
    poses = rows(read_npy(existing(folder, ("poses.npy",), "poses")), 72, f"{folder / 'poses.npy'}")
    count = common_frames(len(images), len(poses), str(folder), notes)
    keep = sorted(images)[:count]
    size = common_size([images[n] for n in keep])
    masks_folder = inside(folder, "mask")
    masks = by_number(pictures(masks_folder)) if masks_folder.is_dir() else {}
    trans = rows(
        read_npy(existing(folder, ("normalize_trans.npy",), "translations")), 3, f"{folder / 'normalize_trans.npy'}"
    )
    betas = rows(read_npy(existing(folder, ("mean_shape.npy",), "shape")), 10, f"{folder / 'mean_shape.npy'}")
    if len(trans) < count:
        raise InputError(f"{folder / 'normalize_trans.npy'} has {len(trans)} translations for {count} poses.")
    K, T, where = _projections(folder, count)
    gender = inside(folder, "gender.txt")
    rate = fps_hz or 30.0
    return ForeignCapture(
        layout="synwild",
        folder=folder,
        sequence="",
        frames=frames_of({n: images[n] for n in keep}, masks, fps_hz=rate),
        width_px=size[0],
        height_px=size[1],
        fps_hz=rate,
        fps_known=fps_hz is not None,
        mask_meaning="bright",
        cameras=make_cameras(K, T, pixel_offset=OPENCV_PIXELS, size_px=size, shared_world=False, where=where),
        body=smpl_body(
            poses[:count],
            betas,
            trans[:count],
            where=str(folder),
            gender=read_text(gender).strip().lower() if gender.exists() else "unknown",
        ),
        coarse_masks=True,
        notes=(*notes, "The masks are the projected body, widened: they are no outline of the person."),
    )


def _projections(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray, str]:
    file = Npz(existing(folder, ("cameras_normalize.npz", "cameras.npz"), "cameras"))
    where = str(file.path)
    Ks, Ts = [], []
    for i in range(count):
        P = np.asarray(file.first_of(f"world_mat_{i}", f"cam_{i}"))
        if P.ndim != 2 or P.shape[0] not in (3, 4):
            raise InputError(f"{where}: the matrix of frame {i} has shape {P.shape}, expected 3x4 or 4x4.")
        P = numbers(P[:3], (3, 4), f"{where}: matrix of frame {i}")
        if f"scale_mat_{i}" in file:
            S = numbers(file[f"scale_mat_{i}"], (4, 4), f"{where}: scale_mat_{i}")
            if np.abs(S - np.diag([S[0, 0], S[0, 0], S[0, 0], S[3, 3]])).max() > 1e-5 or S[0, 0] <= 0:
                raise InputError(
                    f"{where}: scale_mat_{i} is no plain scale; Vid2Avatar's has no translation. Normalise the cameras again."
                )
        K, T = split_projection(P, f"{where}, frame {i}")
        K[0, 1] = 0.0 if abs(K[0, 1]) < 1e-3 * K[0, 0] else K[0, 1]
        Ks.append(K)
        Ts.append(T)
    return np.stack(Ks), np.stack(Ts), where
