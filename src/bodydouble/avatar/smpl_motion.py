"""Reading motions of the SMPL family from .npz files: poses (and a path) of joints in SMPL's order, as AMASS keeps them.

Neither SMPL nor its template is needed: the order of the joints and the zero pose (a T, facing +Z, +Y up) are enough to
retarget from. Proportions only matter for the height of the path, so the skeleton here is of plain round numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.humanoid import guess_humanoid
from bodydouble.avatar.values import Rig
from bodydouble.core.arrays import Npz
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import rotvec_to_matrix

MAX_FRAMES = 100_000
DEFAULT_FPS_HZ = 30.0
_MOST_RAD, _MOST_M = 1e4, 1e6
"""Nobody turns so often or walks so far: what is beyond comes from a damaged file."""
_RATE_KEYS = ("mocap_framerate", "mocap_frame_rate", "fps")

# Name, parent, and offset from the parent in metres (left side; the right side is its mirror image).
_SPINE: tuple[tuple[str, str, tuple[float, float, float]], ...] = (
    ("pelvis", "", (0.0, 0.0, 0.0)), ("left_hip", "pelvis", (0.07, -0.09, 0.0)), ("right_hip", "pelvis", (-0.07, -0.09, 0.0)),
    ("spine1", "pelvis", (0.0, 0.11, -0.02)), ("left_knee", "left_hip", (0.03, -0.38, 0.0)),
    ("right_knee", "right_hip", (-0.03, -0.38, 0.0)), ("spine2", "spine1", (0.0, 0.13, 0.0)),
    ("left_ankle", "left_knee", (-0.01, -0.40, -0.04)), ("right_ankle", "right_knee", (0.01, -0.40, -0.04)),
    ("spine3", "spine2", (0.0, 0.06, 0.02)), ("left_foot", "left_ankle", (0.03, -0.05, 0.12)),
    ("right_foot", "right_ankle", (-0.03, -0.05, 0.12)), ("neck", "spine3", (0.0, 0.21, -0.04)),
    ("left_collar", "spine3", (0.08, 0.12, -0.03)), ("right_collar", "spine3", (-0.08, 0.12, -0.03)),
    ("head", "neck", (0.0, 0.07, 0.05)), ("left_shoulder", "left_collar", (0.09, 0.03, 0.0)),
    ("right_shoulder", "right_collar", (-0.09, 0.03, 0.0)), ("left_elbow", "left_shoulder", (0.26, 0.0, -0.02)),
    ("right_elbow", "right_shoulder", (-0.26, 0.0, -0.02)), ("left_wrist", "left_elbow", (0.25, 0.0, 0.0)),
    ("right_wrist", "right_elbow", (-0.25, 0.0, 0.0)),
)  # fmt: skip
_HAND_ROOTS: dict[str, tuple[float, float, float]] = {
    "index": (0.10, 0.0, 0.025), "middle": (0.105, 0.0, 0.0), "pinky": (0.085, -0.01, -0.045),
    "ring": (0.095, 0.0, -0.025), "thumb": (0.03, -0.01, 0.03),
}  # fmt: skip
"""Fingers in the order of SMPL-H and SMPL-X, three joints each."""
_SEGMENT_M = {"thumb": (0.03, 0.0, 0.025)}
_COUNTS = {22: "body", 24: "SMPL", 52: "SMPL-H", 55: "SMPL-X"}


def read_smpl_motion(path: Path) -> SourceMotion:
    """Read an .npz file with `poses` (frames, 3 x joints) of SMPL, SMPL-H or SMPL-X, and perhaps `trans` and a rate.

    Args:
        path: The file. Pickled objects in it are never loaded. Without a rate (`mocap_framerate`) it is taken to have
            30 frames per second.
    Returns:
        The motion on a skeleton of average proportions; jaw and eyes are left out.
    Raises:
        InputError: When the file is missing, damaged, too large, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a motion (.npz). Check the path.")
    archive = Npz(path)
    poses = _numbers(archive, "poses", _MOST_RAD)
    joints = poses.shape[1] // 3 if poses.ndim == 2 and poses.shape[1] % 3 == 0 else 0
    if joints not in _COUNTS:
        raise InputError(
            f"{path}: `poses` must be (frames, 66, 72, 156 or 165), found {poses.shape}; expected rotation vectors of "
            "SMPL, SMPL-H or SMPL-X."
        )
    if not 1 <= len(poses) <= MAX_FRAMES:
        raise InputError(f"{path}: {len(poses)} frames; between 1 and {MAX_FRAMES} can be read. Cut the motion.")
    trans = _numbers(archive, "trans", _MOST_M) if "trans" in archive else np.zeros((len(poses), 3))
    if trans.shape != (len(poses), 3):
        raise InputError(f"{path}: `trans` must be ({len(poses)}, 3) like `poses`, found {trans.shape}.")
    return motion_of_poses(path.stem, poses.reshape(len(poses), -1, 3), trans, _rate(archive))


def motion_of_poses(
    name: str, rotvecs: Float[ndarray, "frames joints 3"], trans: Float[ndarray, "frames 3"], fps_hz: float
) -> SourceMotion:
    """A motion from rotations of SMPL's joints, stood upright.

    Args:
        name: Of the motion.
        rotvecs: Of 22 joints (the body), 24 (SMPL), 52 (SMPL-H) or 55 (SMPL-X), in their order, about their parents' axes.
        trans: The path, metres, in any world whose up is one of its axes.
        fps_hz: Frame rate.
    """
    names, parents, offsets, columns = _skeleton({52: 22, 55: 25}.get(rotvecs.shape[1]))
    R = rotvec_to_matrix(torch.from_numpy(np.ascontiguousarray(rotvecs[:, columns])))
    R_up = _upright(R[:, 0])
    R[:, 0] = R_up @ R[:, 0]
    places = torch.tensor(offsets, dtype=torch.float32)
    return SourceMotion(
        name=name,
        fps_hz=fps_hz,
        joint_names=tuple(names),
        joint_parents=tuple(parents),
        offsets=places,
        tips=torch.zeros_like(places),
        R_parent_joint=R.float(),
        root_position=(torch.from_numpy(trans) @ R_up.T).float(),
    )


def smplx_rig() -> tuple[Rig, list[int]]:
    """The skeleton of average proportions (22 joints and 30 of the hands) as a rig in a T-pose, and their places among
    SMPL-X's 55 joints."""
    names, parents, offsets, columns = _skeleton(25)
    joints: list[torch.Tensor] = []
    for offset, parent in zip(torch.tensor(offsets, dtype=torch.float32), parents, strict=True):
        joints.append(offset * 0 if parent < 0 else joints[parent] + offset)
    places = torch.stack(joints)
    places[:, 1] -= places[:, 1].min() - 0.02  # soles on y = 0
    rig = Rig(
        bone_names=tuple(names),
        bone_parents=tuple(parents),
        joints_rest_m=places,
        humanoid=guess_humanoid(names, parents),
    )
    return rig, columns


def _numbers(archive: Npz, key: str, most: float) -> Float[ndarray, "..."]:
    if key not in archive:
        raise InputError(f"{archive.path} holds no array called `{key}`; expected a motion in the manner of AMASS.")
    found = archive[key]
    if found.dtype.kind not in "fiu":
        raise InputError(
            f"{archive.path}: `{key}` holds {found.dtype}, no numbers; expected a motion in AMASS's manner."
        )
    values = found.astype(np.float64)
    if not np.isfinite(values).all() or np.abs(values).max(initial=0.0) > most:
        raise InputError(
            f"{archive.path}: `{key}` holds values that are not finite or beyond all bounds. The file may be damaged."
        )
    return values


def _rate(archive: Npz) -> float:
    key = next((key for key in _RATE_KEYS if key in archive), None)
    if key is None:
        return DEFAULT_FPS_HZ
    values = _numbers(archive, key, np.inf).reshape(-1)
    value = float(values[0]) if len(values) else 0.0
    if not 1.0 <= value <= 1000.0:
        raise InputError(f"{archive.path}: `{key}` is {value}; a rate between 1 and 1000 frames per second is needed.")
    return value


def _skeleton(first_finger: int | None) -> tuple[list[str], list[int], list[tuple[float, float, float]], list[int]]:
    """Names, parents, offsets and places in the pose of the joints used; without fingers if these have no first place."""
    names = [n for n, _, _ in _SPINE]
    parents = [names.index(p) if p else -1 for _, p, _ in _SPINE]
    offsets = [o for _, _, o in _SPINE]
    columns = list(range(22))
    if first_finger is not None:
        for side, sign in (("left", 1.0), ("right", -1.0)):
            for finger, root in _HAND_ROOTS.items():
                for k in range(3):
                    parents.append(names.index(f"{side}_wrist") if k == 0 else len(names) - 1)
                    x, y, z = root if k == 0 else _SEGMENT_M.get(finger, (0.03, 0.0, 0.0))
                    offsets.append((sign * x, y, z))
                    names.append(f"{side}_{finger}{k + 1}")
                    columns.append(first_finger + len(columns) - 22)
    return names, parents, offsets, columns


def _upright(R_world_pelvis: Float[torch.Tensor, "frames 3 3"]) -> Float[torch.Tensor, "3 3"]:
    """The quarter or half turn that brings the axis along which people stand (of six) to +Y.

    Motions come with +Y up, +Z up (AMASS) or, if they were estimated from video, -Y up.
    """
    up = R_world_pelvis[:, :, 1].mean(0)
    axis = int(up.abs().argmax())
    if axis == 1:
        return torch.diag(torch.tensor([1.0, 1.0, 1.0] if up[1] > 0 else [1.0, -1.0, -1.0], dtype=up.dtype))
    turn = torch.linalg.cross(
        torch.eye(3, dtype=up.dtype)[axis] * up[axis].sign(), torch.tensor([0.0, 1.0, 0.0]).to(up)
    )
    return rotvec_to_matrix(turn * (np.pi / 2))
