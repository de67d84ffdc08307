"""SAM 3D Body: keypoints and mesh of Meta's MHR body, each frame on its own.

Its estimator (facebookresearch/sam-3d-body, sam_3d_body/sam_3d_body_estimator.py) gives, for each person of a picture, a
dict with `pred_keypoints_3d` (70, 3), `pred_vertices` (18439, 3), `pred_cam_t` (3), `focal_length`, `pred_keypoints_2d`
(70, 2), `bbox` (x0, y0, x1, y1) and MHR's parameters; the camera looks at the whole picture, its principal point in the
middle. A point's place in the camera (OpenCV axes, metres) is `pred_keypoints_3d + pred_cam_t`. The names of the 70 points
are public (sam_3d_body/metadata/mhr70.py); they are what is used here: a mesh of another topology says no more about
joints, and MHR's parameters need its model. The estimator writes no files itself; these forms are in use and read:

    FOLDER/NUMBER.npz                   the dict of one person
    FOLDER/NUMBER.npy or .pkl, .json    a list of such dicts, or one
    one .npz                            the same keys with a leading axis for frames
    one .json                           {"video_info": {...}, "frames": [{"frame_number": 0, "persons": [{"skeleton":
                                        {"keypoints_3d": ...}, "camera": {"translation": ..., "focal_length": ...}, ...}]}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodydouble.capture.estimates.values import ForeignEstimate, make_estimate
from bodydouble.capture.foreign.files import by_number, inside, read_json_value
from bodydouble.capture.foreign.tensor_files import TensorNumbers, read_joblib
from bodydouble.core.arrays import Npz, numbers
from bodydouble.core.errors import InputError
from bodydouble.core.pickles import read_object_npy

SUFFIXES = (".npz", ".npy", ".json", ".pkl")
KEYS = ("pred_keypoints_3d", "pred_cam_t", "focal_length")
_USED = (*KEYS, "pred_keypoints_2d", "bbox")
_COUNT = 70


def point_names() -> tuple[str, ...]:
    """The 70 keypoints as landmarks are named here; points that no landmark stands at begin with `mhr/`."""
    names = [f"body/{n}" for n in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
    for joint in ("shoulder", "elbow", "hip", "knee", "ankle"):
        names += [f"body/left_{joint}", f"body/right_{joint}"]
    for side in ("left", "right"):
        names += [f"mhr/{side}_big_toe_tip", f"mhr/{side}_small_toe_tip", f"body/{side}_heel"]
    for side in ("right", "left"):
        for finger in ("thumb", "index", "middle", "ring", "pinky"):
            joints = ("tip", "ip", "mcp", "cmc") if finger == "thumb" else ("tip", "dip", "pip", "mcp")
            names += [f"{side}_hand/{finger}_{joint}" for joint in joints]
        names.append(f"{side}_hand/wrist")
    for name in ("olecranon", "cubital_fossa", "acromion"):
        names += [f"mhr/left_{name}", f"mhr/right_{name}"]
    return (*names, "mhr/neck")


@dataclass(frozen=True)
class _Row:
    frame: int
    person: int
    points: np.ndarray
    focal: float


def sam3d_files(path: Path) -> list[Path]:
    """Files of results at a path: all of one suffix, the first that has any with the keys of SAM 3D Body."""
    if path.is_file():
        return [path] if path.suffix in SUFFIXES and _looks_sam3d(path) else []
    for suffix in SUFFIXES:
        found = [p for p in path.glob(f"*{suffix}") if any(c.isdigit() for c in p.stem)]
        if found and _looks_sam3d(found[0]):
            return [inside(path, p.name) for p in found]
    return []


def read_sam3d(path: Path) -> ForeignEstimate:
    """One of the forms above.

    Raises:
        InputError: When the files are missing, damaged or others.
    """
    files = sam3d_files(path)
    if not files:
        raise InputError(
            f"{path} holds no results of SAM 3D Body: expected {', '.join(KEYS)} in {', '.join(SUFFIXES)}."
        )
    size, total, found = (0, 0), 0, []
    if path.is_file():
        if path.suffix == ".json":
            found, size, total = _of_video(path, read_json_value(path))
        else:
            found = _of_frames(path, _values(path))
            total = len(found)
    else:
        for number, file in sorted(by_number(files).items()):
            found += _of_picture(file, number, _values(file))
    if not found:
        raise InputError(f"{path} shows nobody in any frame.")
    return make_estimate(
        "sam3d",
        str(path),
        torch.tensor([row.frame for row in found]),
        person=torch.tensor([row.person for row in found]),
        tracked=False,
        point_names=point_names(),
        points_source_m=torch.from_numpy(np.stack([row.points for row in found])),
        focal_px=torch.tensor([row.focal for row in found], dtype=torch.float64),
        size_px=size,
        total_frames=total,
    )


def _looks_sam3d(path: Path) -> bool:
    if path.suffix == ".npz":
        archive = Npz(path)
        return all(key in archive for key in KEYS)
    values = _values(path)
    if isinstance(values, Mapping) and isinstance(values.get("frames"), list):
        return any(isinstance(f, Mapping) and "persons" in f for f in values["frames"][:10])
    first = values[0] if isinstance(values, list) and values else values
    return isinstance(first, Mapping) and all(key in first for key in KEYS)


def _values(path: Path) -> Any:
    if path.suffix == ".npz":
        archive = Npz(path)
        return {key: archive[key] for key in _USED if key in archive}
    if path.suffix == ".json":
        return read_json_value(path)
    return read_object_npy(path, TensorNumbers) if path.suffix == ".npy" else read_joblib(path)


def _of_picture(path: Path, number: int, values: Any) -> list[_Row]:
    """The people of one picture."""
    people = values if isinstance(values, list) else [values]
    return [_row(person, number, i, f"{path}, person {i}") for i, person in enumerate(people)]


def _of_frames(path: Path, values: Any) -> list[_Row]:
    """One person, a leading axis for frames; or a list of pictures."""
    if isinstance(values, list):
        return [row for number, picture in enumerate(values) for row in _of_picture(path, number, picture)]
    points = np.asarray(values["pred_keypoints_3d"])
    if points.ndim == 2:
        return _of_picture(path, 0, values)
    count = len(points)
    cut = {key: np.asarray(value) for key, value in values.items()}
    rows = []
    for i in range(count):
        one = {key: v[i] if v.ndim and len(v) == count else v for key, v in cut.items()}
        rows.append(_row(one, i, 0, f"{path}, frame {i}"))
    return rows


def _of_video(path: Path, values: Any) -> tuple[list[_Row], tuple[int, int], int]:
    """A document of a whole video; also gives the size of its pictures and their number."""
    if not isinstance(values, Mapping) or "frames" not in values:
        return _of_frames(path, values), (0, 0), 0
    info = values.get("video_info", {})
    resolution = info.get("resolution", {}) if isinstance(info, Mapping) else {}
    rows = []
    for place, frame in enumerate(values["frames"]):
        number = int(frame.get("frame_number", place))
        for i, person in enumerate(frame.get("persons", ())):
            skeleton, camera = person.get("skeleton", {}), person.get("camera", {})
            one = {
                "pred_keypoints_3d": skeleton.get("keypoints_3d"),
                "pred_keypoints_2d": skeleton.get("keypoints_2d"),
                "pred_cam_t": camera.get("translation"),
                "focal_length": camera.get("focal_length"),
            }
            rows.append(_row(one, number, int(person.get("person_id", i)), f"{path}, frame {number}, person {i}"))
    size = (int(resolution.get("width", 0)), int(resolution.get("height", 0)))
    return rows, size, int(info.get("total_frames", 0)) if isinstance(info, Mapping) else 0


def _row(person: Any, frame: int, number: int, where: str) -> _Row:
    if not isinstance(person, Mapping) or any(person.get(key) is None for key in KEYS):
        found = ", ".join(map(str, person)) if isinstance(person, Mapping) else f"a {type(person).__name__}"
        raise InputError(f"{where}: expected {', '.join(KEYS)}, found {found[:120] or 'nothing'}.")
    points = numbers(person["pred_keypoints_3d"], (None, 3), f"{where}: pred_keypoints_3d")
    if len(points) < _COUNT:
        raise InputError(f"{where}: pred_keypoints_3d has {len(points)} points, expected {_COUNT}.")
    place = numbers(np.ravel(person["pred_cam_t"]), (3,), f"{where}: pred_cam_t")
    focal = float(numbers(np.ravel(person["focal_length"])[:1], (1,), f"{where}: focal_length")[0])
    if not 1 < focal < 1e6:
        raise InputError(f"{where}: a focal length of {focal:g} px is none.")
    points = points[:_COUNT]
    if np.abs(points.mean(0)).max() < 3.0 and place[2] > 0:  # about the body's own origin, as the estimator gives them
        points = points + place
    if points[:, 2].min() <= 0:
        raise InputError(f"{where}: points lie behind the camera. Are they in its axes (x right, y down, z forward)?")
    return _Row(frame, number, points, focal)
