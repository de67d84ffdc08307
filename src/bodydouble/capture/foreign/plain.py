"""Plain folders: frames and masks with the same numbers, nothing else known.

images/ or frames/ or image/ or rgb/      0001.png, ... (.png, .jpg)
masks/ or mask/ or segmentations/         the same numbers; white (or 1) = person
"""

from __future__ import annotations

from pathlib import Path

from bodydouble.capture.foreign.files import IMAGE_SUFFIXES, by_number, frames_of, inside, pictures
from bodydouble.capture.foreign.pictures import common_size, image_size, same_shape
from bodydouble.capture.foreign.values import ForeignCapture
from bodydouble.core.errors import InputError

IMAGE_FOLDERS = ("images", "frames", "image", "rgb")
MASK_FOLDERS = ("masks", "mask", "segmentations", "segmentation")


def read_plain(folder: Path, *, sequence: str, fps_hz: float | None) -> ForeignCapture:
    """Read the layout above.

    Raises:
        InputError: When a folder is missing, numbers do not match or a mask has other proportions than its image.
    """
    where = [
        next((inside(folder, n) for n in names if (folder / n).is_dir()), None)
        for names in (IMAGE_FOLDERS, MASK_FOLDERS)
    ]
    if where[0] is None or where[1] is None:
        raise InputError(
            f"{folder} needs a folder of frames ({', '.join(IMAGE_FOLDERS)}) and one of masks ({', '.join(MASK_FOLDERS)})."
        )
    images = by_number(pictures(where[0]))
    masks = by_number(pictures(where[1], (*IMAGE_SUFFIXES, ".npy")))
    if not set(images) & set(masks):
        raise InputError(
            f"No mask of {where[1]} has the number of an image of {where[0]} ({len(masks)} and {len(images)} files). "
            "Number both alike, such as 0001.png and 0001.png."
        )
    size = common_size([images[n] for n in sorted(images)])
    for n, path in masks.items():
        if n in images and not same_shape(image_size(path), size):
            w, h = image_size(path)
            raise InputError(f"{path} is {w}x{h}, its image {size[0]}x{size[1]}: a mask must show the same picture.")
    without = len(set(images) - set(masks))
    rate = fps_hz or 30.0
    return ForeignCapture(
        layout="plain",
        folder=folder,
        sequence="",
        frames=frames_of(images, masks, fps_hz=rate),
        width_px=size[0],
        height_px=size[1],
        fps_hz=rate,
        fps_known=fps_hz is not None,
        mask_meaning="bright",
        cameras=None,
        body=None,
        notes=(f"{without} of {len(images)} frames have no mask.",) if without else (),
    )
