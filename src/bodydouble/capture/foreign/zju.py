"""ZJU-MoCap and other captures in EasyMocap's layouts. A sequence is one camera of the several that filmed.

    annots.npy                        a dict: cams {K, D, R, T in millimetres}, ims [{ims: one path per camera}, ...]
    or intri.yml and extri.yml        K_NAME, dist_NAME, Rot_NAME, T_NAME in metres, with images/NAME/000000.jpg
    mask_cihp/..., or mask/...        as the images' paths, .png; anything but 0 = person
    new_params/0.npy, or params/...   a dict: poses [1, 72], Rh, Th, shapes
    or output-smpl-3d/smpl/000000.json, smpl/..., output/smpl/...

The body turns about the origin: p_world = R(Rh) p_smpl + Th, with the first three of `poses` zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bodydouble.capture.foreign.bodies import smpl_body
from bodydouble.capture.foreign.files import (
    MAX_FRAMES,
    by_number,
    existing,
    frames_of,
    inside,
    number_in,
    pictures,
    read_json_value,
    read_text,
)
from bodydouble.capture.foreign.pictures import common_size
from bodydouble.capture.foreign.values import ForeignBody, ForeignCapture
from bodydouble.capture.foreign.worlds import OPENCV_PIXELS, make_cameras
from bodydouble.core.arrays import numbers, rows
from bodydouble.core.errors import InputError
from bodydouble.core.pickles import read_object_npy

_MASKS = ("mask_cihp", "mask", "masks")
_PARAMS = ("new_params", "params")
_JSON = ("output-smpl-3d/smpl", "output/smpl", "smpl")


@dataclass(frozen=True, kw_only=True)
class _Rig:
    """All cameras, and the images of each by frame number."""

    names: tuple[str, ...]
    K: Float[ndarray, "cameras 3 3"]
    distortion: Float[ndarray, "cameras 5"]
    T_camera_world: Float[ndarray, "cameras 4 4"]
    images: tuple[dict[int, Path], ...]


def read_zju(folder: Path, *, sequence: str, fps_hz: float | None) -> ForeignCapture:
    """Read one camera of the layout above; the first unless another is named.

    Raises:
        InputError: When a file is missing, damaged or does not go with the others.
    """
    rig = _from_annots(folder) if inside(folder, "annots.npy").exists() else _from_yaml(folder)
    if sequence and sequence not in rig.names:
        raise InputError(
            f"{folder} has no camera {sequence!r}; found: {', '.join(rig.names)}. Name one with --sequence."
        )
    camera = rig.names.index(sequence) if sequence else 0
    notes = [] if sequence or len(rig.names) == 1 else [f"{len(rig.names)} cameras; {rig.names[camera]} was read."]
    files, body = _body(folder, rig.images[camera], notes)
    size = common_size(list(files.values()))
    rate = fps_hz or 30.0
    frames = frames_of(files, _masks(folder, files), fps_hz=rate)
    cameras = make_cameras(
        np.tile(rig.K[camera], (len(frames), 1, 1)),
        np.tile(rig.T_camera_world[camera], (len(frames), 1, 1)),
        pixel_offset=OPENCV_PIXELS,
        size_px=size,
        distortion=rig.distortion[camera],
        up_source=_up(rig.T_camera_world),
        where=f"{folder} (camera {rig.names[camera]})",
    )
    return ForeignCapture(
        layout="zju",
        folder=folder,
        sequence=rig.names[camera],
        frames=frames,
        width_px=size[0],
        height_px=size[1],
        fps_hz=rate,
        fps_known=fps_hz is not None,
        mask_meaning="nonzero",
        cameras=cameras,
        body=body,
        notes=tuple(notes),
    )


def _from_annots(folder: Path) -> _Rig:
    path = folder / "annots.npy"
    table = read_object_npy(path)
    try:
        cams, ims = table["cams"], table["ims"]
        count, steps = len(cams["K"]), [step["ims"] for step in ims]
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path} must hold a dict with cams (K, D, R, T) and ims; {error!r} is missing.") from error
    if not steps or len(steps) > MAX_FRAMES or any(len(step) != count for step in steps):
        raise InputError(
            f"{path} must list one image per camera ({count}) and frame; found {len(steps)} frames of other lengths."
        )
    images = []
    for camera in range(count):
        paths = [inside(folder, str(step[camera])) for step in steps]
        present = [p for p in paths if p.exists()]
        images.append({_frame_number(p): p for p in present})
    names = [str(PurePosixPath(str(p)).parent) for p in steps[0]]
    T = [numbers(np.ravel(t), (3,), f"{path}: T") / 1000.0 for t in cams["T"]]
    return _Rig(
        names=tuple(names),
        K=np.stack([numbers(k, (3, 3), f"{path}: K") for k in cams["K"]]),
        distortion=np.stack([_five(d, f"{path}: D") for d in cams["D"]]),
        T_camera_world=np.stack([_rigid(r, t, str(path)) for r, t in zip(cams["R"], T, strict=True)]),
        images=tuple(images),
    )


def _from_yaml(folder: Path) -> _Rig:
    intri = read_opencv_yaml(existing(folder, ("intri.yml",), "cameras (nor annots.npy)"))
    extri = read_opencv_yaml(existing(folder, ("extri.yml",), "camera places"))
    names = [key.removeprefix("K_") for key in intri if key.startswith("K_")]
    if not names:
        raise InputError(f"{folder / 'intri.yml'} has no camera (K_NAME); found {', '.join(intri)[:100] or 'nothing'}.")
    images, K, D, T = [], [], [], []
    for name in names:
        where = f"{folder} (camera {name})"
        turn = extri.get(f"Rot_{name}")
        if turn is None and f"R_{name}" in extri:
            turn = _rodrigues(numbers(extri[f"R_{name}"].ravel(), (3,), f"{where}: R"))
        if turn is None or f"T_{name}" not in extri:
            raise InputError(
                f"{folder / 'extri.yml'} has no Rot_{name} and T_{name}. Calibrate the camera, or remove it."
            )
        K.append(numbers(intri[f"K_{name}"], (3, 3), f"{where}: K"))
        D.append(_five(intri.get(f"dist_{name}", intri.get(f"D_{name}", np.zeros(5))), f"{where}: dist"))
        T.append(_rigid(turn, numbers(extri[f"T_{name}"].ravel(), (3,), f"{where}: T"), where))
        place = next((p for p in (inside(folder, f"images/{name}"), inside(folder, name)) if p.is_dir()), None)
        images.append(by_number(pictures(place)) if place is not None else {})
    if not any(images):
        raise InputError(f"{folder / 'images'} has no folder named after a camera ({', '.join(names)[:100]}).")
    return _Rig(
        names=tuple(names),
        K=np.stack(K),
        distortion=np.stack(D),
        T_camera_world=np.stack(T),
        images=tuple(images),
    )


def read_opencv_yaml(path: Path) -> dict[str, ndarray]:
    """The matrices of a file that OpenCV's FileStorage wrote, by name; other entries are passed over.

    Raises:
        InputError: When a matrix has another number of values than it says.
    """
    entry = re.compile(
        r"^([\w.\-]+):\s*!!opencv-matrix\s+rows:\s*(\d+)\s+cols:\s*(\d+)\s+dt:\s*\w+\s+data:\s*\[([^\]]*)\]",
        re.MULTILINE,
    )
    found = {}
    for name, num_rows, num_cols, text in entry.findall(read_text(path)):
        try:
            values = np.array([float(word) for word in text.replace(",", " ").split()])
        except ValueError as error:
            raise InputError(f"{path}: {name} holds {error}. Calibrate again.") from error
        if values.size != int(num_rows) * int(num_cols):
            raise InputError(
                f"{path}: {name} says {num_rows}x{num_cols} but has {values.size} values. Calibrate again."
            )
        found[name] = values.reshape(int(num_rows), int(num_cols))
    return found


def _body(folder: Path, images: dict[int, Path], notes: list[str]) -> tuple[dict[int, Path], ForeignBody]:
    """Images that have a body, and the body."""
    arrays = next((p for p in (inside(folder, name) for name in _PARAMS) if p.is_dir()), None)
    texts = next((p for p in (inside(folder, name) for name in _JSON) if p.is_dir()), None)
    if arrays is not None:
        files = by_number(pictures(arrays, (".npy",)))
    elif texts is not None:
        files = by_number(pictures(texts, (".json",)))
    else:
        raise InputError(
            f"{folder} has no body: expected one of the folders {', '.join((*_PARAMS, *_JSON))}. Fit SMPL with EasyMocap first."
        )
    both = sorted(set(images) & set(files))
    if not both:
        raise InputError(
            f"{arrays or texts} has no body for any of the {len(images)} images; are the frame numbers others?"
        )
    if len(both) < len(images):
        notes.append(f"{len(images) - len(both)} of {len(images)} images have no body and were left out.")
    poses, betas, places = [], [], []
    for n in both:
        record = _record(files[n])
        where = str(files[n])
        given = np.ravel(record["poses"])
        pose = rows(given, 69 if given.size == 69 else 72, f"{where}: poses")
        if given.size == 69:  # newer versions leave the global orientation out
            pose = np.concatenate([np.zeros((1, 3)), pose], axis=1)
        if np.abs(pose[0, :3]).max() > 1e-3:
            raise InputError(
                f"{where}: the first three values of poses must be 0 beside Rh; found {pose[0, :3].round(3).tolist()}."
            )
        pose = pose.copy()
        pose[0, :3] = rows(record["Rh"], 3, f"{where}: Rh")[0]
        poses.append(pose[0])
        places.append(rows(record["Th"], 3, f"{where}: Th")[0])
        betas.append(rows(record["shapes"], 10, f"{where}: shapes")[0])
    body = smpl_body(
        np.stack(poses), np.stack(betas), np.stack(places), where=str(arrays or texts), pivot="origin", gender="neutral"
    )
    return {n: images[n] for n in both}, body


def _record(path: Path) -> Mapping[str, Any]:
    value = read_object_npy(path) if path.suffix == ".npy" else read_json_value(path)
    if isinstance(value, dict) and "annots" in value:
        value = value["annots"]
    if isinstance(value, list):
        if len(value) > 1:
            raise InputError(f"{path} has {len(value)} bodies; exactly one person is expected. Remove the others.")
        value = value[0] if value else {}
    if not isinstance(value, dict) or not {"poses", "Rh", "Th", "shapes"} <= set(value):
        raise InputError(f"{path} must hold poses, Rh, Th and shapes of one person.")
    return value


def _masks(folder: Path, images: dict[int, Path]) -> dict[int, Path]:
    found = {}
    for name in _MASKS:
        root = inside(folder, name)
        for n, image in images.items():
            relative = image.relative_to(folder)
            shorter = relative.relative_to("images") if relative.parts[0] == "images" else relative
            for suffix in (".png", ".jpg"):
                path = root / shorter.with_suffix(suffix)
                if n not in found and path.exists():
                    found[n] = inside(folder, path.relative_to(folder))
    return found


def _frame_number(path: Path) -> int:
    """000012.jpg is frame 12; Camera_B1_1_0012_2019-08-23_... is too (subjects 313 and 315)."""
    parts = path.stem.split("_")
    if len(parts) > 4 and parts[0] == "Camera" and parts[3].isdigit() and parts[4].isdigit():
        return int(parts[4])
    if len(parts) > 3 and parts[0] == "Camera" and parts[3].isdigit():
        return int(parts[3])
    return number_in(path.stem, 0)


def _up(T_camera_world: Float[ndarray, "cameras 4 4"]) -> tuple[float, float, float] | None:
    """Mean upward direction of the cameras, snapped to an axis it is near: calibrations follow the floor."""
    mean = -T_camera_world[:, 1, :3].mean(0)
    if np.linalg.norm(mean) < 0.3:
        return None
    mean = mean / np.linalg.norm(mean)
    axis = int(np.abs(mean).argmax())
    if abs(mean[axis]) > np.cos(np.radians(25.0)):
        mean = np.eye(3)[axis] * np.sign(mean[axis])
    return float(mean[0]), float(mean[1]), float(mean[2])


def _five(values: Any, what: str) -> ndarray:
    flat = numbers(np.ravel(values), (None,), what)
    if len(flat) not in (4, 5) and np.abs(flat[5:]).max(initial=0.0) > 0:
        raise InputError(f"{what} has {len(flat)} values; k1, k2, p1, p2, k3 are read.")
    return np.pad(flat[:5], (0, max(0, 5 - len(flat))))


def _rigid(R: Any, t: ndarray, where: str) -> ndarray:
    T = np.eye(4)
    T[:3, :3] = numbers(R, (3, 3), f"{where}: R")
    T[:3, 3] = t
    return T


def _rodrigues(rotvec: ndarray) -> ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(rotvec).as_matrix()
