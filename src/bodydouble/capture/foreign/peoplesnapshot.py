"""PeopleSnapshot as InstantAvatar and Anim-NeRF prepare it; also InstantAvatar's layout for videos of one's own.

images/image_0000.png     undistorted frames
masks/mask_0000.npy       0 and 1; or masks/*.png, white = person
cameras.npz               intrinsic 3x3, extrinsic 4x4 (world to camera), height, width: one camera for all frames
poses_optimized.npz       or poses.npz: thetas [n, 72] (or global_orient [n, 3] and body_pose [n, 69]), betas, transl
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodydouble.capture.foreign.bodies import common_frames, smpl_body
from bodydouble.capture.foreign.files import IMAGE_SUFFIXES, by_number, existing, frames_of, inside, pictures
from bodydouble.capture.foreign.pictures import common_size
from bodydouble.capture.foreign.values import ForeignBody, ForeignCapture
from bodydouble.capture.foreign.worlds import OPENCV_PIXELS, make_cameras
from bodydouble.core.arrays import Npz, numbers, rows
from bodydouble.core.errors import InputError


def read_peoplesnapshot(folder: Path, *, sequence: str, fps_hz: float | None) -> ForeignCapture:
    """Read the layout above.

    Raises:
        InputError: When a file is missing, damaged or does not go with the others.
    """
    notes: list[str] = []
    images = by_number(pictures(inside(folder, "images")))
    masks = by_number(pictures(inside(folder, "masks"), (*IMAGE_SUFFIXES, ".npy")))
    poses = existing(folder, ("poses_optimized.npz", "poses.npz"), "poses")
    body = smpl_from_npz(Npz(poses))
    count = common_frames(len(images), len(body.rotvecs), str(folder), notes)
    keep = sorted(images)[:count]
    size = common_size([images[n] for n in keep])
    camera = Npz(existing(folder, ("cameras.npz",), "camera"))
    K = numbers(camera.first_of("intrinsic"), (3, 3), f"{camera.path}: intrinsic")
    T = numbers(camera.first_of("extrinsic"), (4, 4), f"{camera.path}: extrinsic")
    announced = tuple(int(numbers(camera.first_of(key), (), f"{camera.path}: {key}")) for key in ("width", "height"))
    if announced != size:
        raise InputError(
            f"{camera.path} is of a camera with {announced[0]}x{announced[1]} pixels, the images have {size[0]}x{size[1]}. "
            "Get the images in the camera's size, or scale the camera with them."
        )
    rate = fps_hz or 30.0
    return ForeignCapture(
        layout="peoplesnapshot",
        folder=folder,
        sequence="",
        frames=frames_of({n: images[n] for n in keep}, masks, fps_hz=rate),
        width_px=size[0],
        height_px=size[1],
        fps_hz=rate,
        fps_known=fps_hz is not None,
        mask_meaning="bright",
        cameras=make_cameras(
            np.tile(K, (count, 1, 1)),
            np.tile(T, (count, 1, 1)),
            pixel_offset=OPENCV_PIXELS,
            size_px=size,
            where=str(camera.path),
        ),
        body=body.map(lambda t: t[:count]),
        notes=tuple(notes),
    )


def smpl_from_npz(file: Npz) -> ForeignBody:
    """SMPL parameters under the names that smplx gives them, or with a joint pose under `thetas` or `poses`.

    Raises:
        InputError: When parts are missing or do not go together.
    """
    where = str(file.path)
    if "global_orient" in file:
        parts = (("global_orient", 3), ("body_pose", 69))
        pose = np.concatenate([rows(file.first_of(key), width, f"{where}: {key}") for key, width in parts], axis=1)
    else:
        pose = rows(file.first_of("thetas", "poses", "pose"), 72, f"{where}: poses")
    betas = rows(file.first_of("betas", "shapes"), 10, f"{where}: betas")
    scale = file["scale"].astype(np.float64).reshape(-1) if "scale" in file else None
    if scale is not None and (len(scale) not in (1, len(pose)) or not (np.isfinite(scale) & (scale > 0)).all()):
        raise InputError(f"{where}: scale must be {len(pose)} positive numbers, found {len(scale)}.")
    return smpl_body(
        pose,
        betas,
        rows(file.first_of("transl", "trans"), 3, f"{where}: transl"),
        where=where,
        scale=None if scale is None else np.broadcast_to(scale, (len(pose),)).copy(),
    )
