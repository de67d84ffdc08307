"""WildAvatar: one subject's folder with metadata.json, masks, and the images that its user downloaded.

    metadata.json       {"000012": {poses 72, betas 10, cam_intrinsics 3x3, cam_extrinsics 4x4, imgname}, ..., "start": 7}
    masks/000012.png    anything but 0 = person; 1 or 3 channels; .png or .jpg
    images/000012.jpg   .jpg or .png

Each frame has a world of its own: that of SMPL with zero translation. What the published set and its download are known
to get wrong is read as follows: keys that are no frames (`start`, wherever it stands) are passed over, frames are ordered
by number, suffixes are free, frames without an image are left out and counted, images of another resolution than the
annotation's (2 cx by 2 cy) are used with cameras and masks scaled to them if the proportions are the same, else refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from bodydouble.capture.foreign.bodies import smpl_body
from bodydouble.capture.foreign.files import by_number, frames_of, inside, pictures, read_json_value
from bodydouble.capture.foreign.pictures import common_size, same_shape
from bodydouble.capture.foreign.values import ForeignCapture
from bodydouble.capture.foreign.worlds import make_cameras
from bodydouble.core.arrays import numbers, rows
from bodydouble.core.errors import InputError


def read_wildavatar(folder: Path, *, sequence: str, fps_hz: float | None) -> ForeignCapture:
    """Read the layout above. Even places of the frames are `train`, odd ones `test`, as in its benchmark.

    Raises:
        InputError: When a file is missing, damaged or does not go with the others.
    """
    path = folder / "metadata.json"
    table = read_json_value(path)
    if not isinstance(table, dict):
        raise InputError(f"{path} must hold an object with an entry per frame, found {type(table).__name__}.")
    entries = {int(key): value for key, value in table.items() if isinstance(value, dict) and key.isdigit()}
    if not entries:
        raise InputError(f"{path} has no frames (six digits as keys). Is it the metadata of one subject?")
    if not inside(folder, "images").is_dir():
        raise InputError(
            f"{folder} has annotations but no images/: WildAvatar ships none. Download the clip, cut it by time (start + "
            "number / frame rate) and save its frames as images/NUMBER.png."
        )
    images = by_number(pictures(inside(folder, "images")))
    notes: list[str] = []
    present = sorted(set(images) & set(entries))
    if not present:
        raise InputError(
            f"{folder / 'images'} has no image for any of the {len(entries)} annotated frames of {path.name}."
        )
    if len(present) < len(entries):
        notes.append(
            f"{len(entries) - len(present)} of {len(entries)} annotated frames have no image and were left out."
        )
    size = common_size([images[n] for n in present])
    K, T, poses, betas = (stacked(entries, present, path, *what) for what in _FIELDS)
    K = _scaled_to_images(K, size, path, notes)
    masks_folder = inside(folder, "masks")
    masks = by_number(pictures(masks_folder)) if masks_folder.is_dir() else {}
    place = {n: i for i, n in enumerate(sorted(entries))}
    splits = {images[n].name: ("train", "test")[place[n] % 2] for n in present}
    rate = fps_hz or 30.0
    return ForeignCapture(
        layout="wildavatar",
        folder=folder,
        sequence="",
        frames=frames_of({n: images[n] for n in present}, masks, fps_hz=rate, splits=splits),
        width_px=size[0],
        height_px=size[1],
        fps_hz=rate,
        fps_known=fps_hz is not None,
        mask_meaning="nonzero",
        cameras=make_cameras(K, T, pixel_offset=0.0, size_px=size, shared_world=False, where=str(path)),
        body=smpl_body(poses, betas, np.zeros((len(present), 3)), where=str(path), gender="neutral"),
        notes=tuple(notes),
    )


_FIELDS = (
    ("cam_intrinsics", (3, 3)),
    ("cam_extrinsics", (4, 4)),
    ("poses", (72,)),
    ("betas", (10,)),
)


def stacked(
    entries: dict[int, dict], frames: list[int], path: Path, key: str, shape: tuple[int, ...]
) -> Float[np.ndarray, "frames ..."]:
    """One field of the metadata as an array with a row for each frame.

    Raises:
        InputError: Where a frame lacks it, or it has another shape.
    """
    values = []
    for n in frames:
        what = f"{path}: {key} of frame {n:06d}"
        if key not in entries[n]:
            raise InputError(f"{what} is missing.")
        value = entries[n][key]
        values.append(rows(np.ravel(value), shape[0], what)[0] if len(shape) == 1 else numbers(value, shape, what))
    return np.stack(values)


def _scaled_to_images(K: np.ndarray, size: tuple[int, int], path: Path, notes: list[str]) -> np.ndarray:
    """The principal point is the middle, so it tells the resolution that was annotated."""
    cx, cy = np.median(K[:, :2, 2], axis=0)
    annotated = (round(2 * float(cx)), round(2 * float(cy)))
    if annotated == size:
        return K
    if not same_shape(annotated, size):
        raise InputError(
            f"{path} annotates images of {annotated[0]}x{annotated[1]}, those in images/ have {size[0]}x{size[1]}: another "
            "format of the clip was downloaded. Choose the format by that size, and its frame rate by the masks."
        )
    notes.append(
        f"The images have {size[0]}x{size[1]} pixels, {annotated[0]}x{annotated[1]} were annotated: cameras and masks were "
        "scaled to them. Details are lost against a download in the annotated size."
    )
    scaled = K.copy()
    scaled[:, 0] *= size[0] / annotated[0]
    scaled[:, 1] *= size[1] / annotated[1]
    return scaled
