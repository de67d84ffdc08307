"""Motions that GVHMR and WHAM found in a video, in the world that they set the person in.

GVHMR: `hmr4d_results.pt` with `smpl_params_global` (`global_orient`, `body_pose` of SMPL-X, `transl`), upright, at the 30
frames a second to which it brings every video. WHAM: `wham_output.pkl` with `pose_world` (SMPL) and `trans_world` for each
person and the `frame_ids` in which it was seen, at the video's rate, which is not written. Where a file holds no world,
the camera's axes are taken, as after `--estimate` (`capture.estimates.smpl_trackers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.smpl_motion import DEFAULT_FPS_HZ, MAX_FRAMES, motion_of_poses
from bodydouble.capture.foreign.tensor_files import read_joblib, read_torch
from bodydouble.core.arrays import rows
from bodydouble.core.errors import InputError

_SMPL_VALUES = 72


def read_gvhmr_motion(path: Path) -> SourceMotion:
    """The motion in GVHMR's `hmr4d_results.pt`. No code in the file is run.

    Raises:
        InputError: When the file is missing, damaged, too long, or another one.
    """
    values = read_torch(path)
    found = values if isinstance(values, Mapping) else {}
    params = found.get("smpl_params_global", found.get("smpl_params_incam"))
    if not isinstance(params, Mapping):
        raise InputError(f"{path} holds no smpl_params_global; expected hmr4d_results.pt as GVHMR writes it.")
    root = rows(_of(params, "global_orient", path), 3, f"{path}: global_orient")
    body = rows(_of(params, "body_pose", path), 63, f"{path}: body_pose")
    place = rows(_of(params, "transl", path), 3, f"{path}: transl")
    if not len(root) == len(body) == len(place):
        raise InputError(f"{path}: its arrays have different numbers of frames. The file is damaged.")
    return _motion(path, np.concatenate([root, body], axis=1), place)


def read_wham_motion(path: Path) -> SourceMotion:
    """The motion of the person who is longest in WHAM's `wham_output.pkl`; frames in between that it lacks are blended.

    Raises:
        InputError: As `read_gvhmr_motion`.
    """
    people = read_joblib(path)
    seen = [person for person in people.values() if isinstance(person, Mapping)] if isinstance(people, Mapping) else []
    if not seen:
        raise InputError(f"{path} holds nobody; expected wham_output.pkl as WHAM writes it.")
    person = max(seen, key=lambda one: np.size(one.get("frame_ids", ())))
    world = "pose_world" in person and "trans_world" in person
    poses = rows(_of(person, "pose_world" if world else "pose", path), _SMPL_VALUES, f"{path}: pose")
    place = rows(_of(person, "trans_world" if world else "trans", path), 3, f"{path}: trans")
    numbers = np.ravel(_of(person, "frame_ids", path))
    if not (len(poses) == len(place) == len(numbers) > 0) or numbers.dtype.kind not in "iu":
        raise InputError(f"{path}: pose, trans and frame_ids do not belong together. The file is damaged.")
    if (np.diff(numbers) <= 0).any() or numbers[-1] - numbers[0] >= MAX_FRAMES:
        raise InputError(f"{path}: frame_ids must ascend and span at most {MAX_FRAMES} frames.")
    return _motion(path, *_without_gaps(poses, place, numbers))


def _motion(path: Path, poses: Float[ndarray, "frames values"], place: Float[ndarray, "frames 3"]) -> SourceMotion:
    if not 1 <= len(poses) <= MAX_FRAMES:
        raise InputError(f"{path}: {len(poses)} frames; between 1 and {MAX_FRAMES} can be read. Cut the motion.")
    return motion_of_poses(path.stem, poses.reshape(len(poses), -1, 3), place, DEFAULT_FPS_HZ)


def _of(values: Mapping[Any, Any], key: str, path: Path) -> Any:
    if key not in values:
        raise InputError(f"{path} has no {key}. Is it a result of this tracker?")
    return values[key]


def _without_gaps(
    poses: Float[ndarray, "seen values"], place: Float[ndarray, "seen 3"], numbers: Int[ndarray, " seen"]
) -> tuple[Float[ndarray, "frames values"], Float[ndarray, "frames 3"]]:
    """Every frame from the first to the last: turns along short arcs, places along lines."""
    from scipy.spatial.transform import Rotation, Slerp

    if len(numbers) == 1 or numbers[-1] - numbers[0] == len(numbers) - 1:
        return poses, place
    every = np.arange(numbers[0], numbers[-1] + 1)
    turns = [
        Slerp(numbers, Rotation.from_rotvec(poses[:, at : at + 3]))(every).as_rotvec()
        for at in range(0, poses.shape[1], 3)
    ]
    places = np.stack([np.interp(every, numbers, place[:, axis]) for axis in range(3)], axis=1)
    return np.concatenate(turns, axis=1), places
