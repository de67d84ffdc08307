"""X-Humans as published, and as EVA and ExAvatar read it. The folder is a subject's; a sequence is one of its takes.

gender.txt, mean_shape_smplx.npy
train/Take1/render/image/color_000001.png
train/Take1/render/mask/mask_000001.png      or render/depth/depth_000001.tiff, where the largest depth is nobody
train/Take1/render/cameras.npz               intrinsic 3x3, extrinsic n x 4x4 (world to camera, +Y up, metres)
train/Take1/SMPLX/mesh-f00001_smplx.pkl      a dict of arrays: global_orient, body_pose, left_hand_pose, ..., transl
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodydouble.capture.foreign.bodies import smplx_body
from bodydouble.capture.foreign.files import by_number, existing, frames_of, inside, pictures, read_text
from bodydouble.capture.foreign.pictures import common_size
from bodydouble.capture.foreign.values import ForeignBody, ForeignCapture
from bodydouble.capture.foreign.worlds import make_cameras, rigid_rows
from bodydouble.core.arrays import Npz, numbers, read_npy, rows
from bodydouble.core.errors import InputError
from bodydouble.core.pickles import read_pickle

_PARTS = (
    ("global_orient", 3),
    ("body_pose", 63),
    ("jaw_pose", 3),
    ("leye_pose", 3),
    ("reye_pose", 3),
    ("left_hand_pose", 45),
    ("right_hand_pose", 45),
)
_MAY_MISS = ("jaw_pose", "leye_pose", "reye_pose")


def read_xhumans(folder: Path, *, sequence: str, fps_hz: float | None) -> ForeignCapture:
    """Read one take of the layout above; the first training take unless another is named.

    Raises:
        InputError: When a file is missing, damaged or does not go with the others.
    """
    takes = sorted(
        (p.parent.parent.relative_to(folder).as_posix() for p in folder.glob("t*/*/render/cameras.npz")),
        key=lambda name: (not name.startswith("train"), len(name), name),
    )
    if not takes or (sequence and sequence not in takes):
        raise InputError(
            f"{folder} has no take {sequence or 'train/*/render/cameras.npz'}; found: {', '.join(takes) or 'none'}. "
            "Name the folder of a subject, and one of its takes with --sequence."
        )
    chosen = sequence or takes[0]
    notes = [] if sequence or len(takes) == 1 else [f"{len(takes)} takes are there; {chosen} was read."]
    take = inside(folder, chosen)
    images = by_number(pictures(inside(take, "render/image")))
    size = common_size(list(images.values()))
    has_masks = inside(take, "render/mask").is_dir()
    masks = pictures(take / "render/mask") if has_masks else pictures(inside(take, "render/depth"), (".tiff", ".tif"))
    camera = Npz(existing(take, ("render/cameras.npz",), "cameras"))
    where = str(camera.path)
    K = numbers(camera.first_of("intrinsic"), (3, 3), f"{where}: intrinsic")
    T = numbers(camera.first_of("extrinsic"), (None, None, 4), f"{where}: extrinsic")
    if T.shape[0] != len(images) or T.shape[1] not in (3, 4):
        raise InputError(
            f"{where} has extrinsics of shape {T.shape}; expected one 3x4 or 4x4 for each of {len(images)} images."
        )
    rate = fps_hz or 30.0
    split = chosen.split("/")[0]
    frames = frames_of(images, by_number(masks), fps_hz=rate, splits={p.name: split for p in images.values()})
    return ForeignCapture(
        layout="xhumans",
        folder=folder,
        sequence=chosen,
        frames=frames,
        width_px=size[0],
        height_px=size[1],
        fps_hz=rate,
        fps_known=True,
        mask_meaning="bright" if has_masks else "nearer",
        cameras=make_cameras(
            np.tile(K, (len(frames), 1, 1)),
            rigid_rows(T),
            pixel_offset=0.0,
            size_px=size,
            up_source=(0.0, 1.0, 0.0),
            where=where,
        ),
        body=_body(folder, take, sorted(images)),
        notes=tuple(notes),
    )


def _body(folder: Path, take: Path, wanted: list[int]) -> ForeignBody:
    files = by_number([p for p in pictures(inside(take, "SMPLX"), (".pkl",)) if p.stem.endswith("_smplx")])
    missing = [n for n in wanted if n not in files]
    if missing:
        raise InputError(f"{take / 'SMPLX'} has no body for frame {missing[0]} (nor for {len(missing) - 1} others).")
    poses, expressions, translations, betas = [], [], [], []
    for n in wanted:
        record = read_pickle(files[n])
        if not isinstance(record, dict):
            raise InputError(f"{files[n]} must hold a dict of arrays, found {type(record).__name__}.")
        poses.append(np.concatenate([_part(record, key, width, files[n]) for key, width in _PARTS]))
        expressions.append(
            numbers(np.ravel(record.get("expression", np.zeros(10))), (None,), f"{files[n]}: expression")
        )
        translations.append(_part(record, "transl", 3, files[n]))
        betas.append(numbers(np.ravel(record.get("betas", ())), (None,), f"{files[n]}: betas"))
    shape = inside(folder, "mean_shape_smplx.npy")
    if shape.exists():
        betas = [numbers(read_npy(shape).ravel(), (None,), str(shape))]
    gender = inside(folder, "gender.txt")
    return smplx_body(
        np.stack(poses),
        np.stack(betas),
        np.stack(expressions),
        np.stack(translations),
        where=str(take / "SMPLX"),
        gender=read_text(gender).strip().lower() if gender.exists() else "unknown",
        hands="mean",
    )


def _part(record: dict, key: str, width: int, path: Path) -> np.ndarray:
    if key not in record:
        if key in _MAY_MISS:
            return np.zeros(width)
        raise InputError(
            f"{path} has no {key}; expected the parameters of SMPL-X (found: {', '.join(map(str, record))[:120]})."
        )
    values = rows(np.ravel(record[key]), width, f"{path}: {key}")
    return values[0]
