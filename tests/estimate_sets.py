"""Results of other people's trackers for one performance, written in their real layouts by independent code.

The performer is the doll of `foreign_sets`: SMPL's joints, turned as SMPL turns them. Nothing of the program under test is
used. A writer puts the same truth into the conventions of its tracker.
"""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foreign_sets as sets
import numpy as np
import torch
from scipy.spatial.transform import Rotation

WIDTH, HEIGHT, FOCAL = 640, 480, 700.0
SMPLX_PELVIS = np.array([0.003, -0.351, 0.012])
DOLL_HEIGHT_M = 1.82
TRANSLATIONS = 5000.0  # SMPLer-X's focal length for a crop of 192 x 256
LIMBS = (("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("right_shoulder", "right_elbow"),
         ("right_elbow", "right_wrist"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
         ("right_hip", "right_knee"), ("right_knee", "right_ankle"))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Performance:
    """A person before a camera at rest. Axes: OpenCV, metres, pixels of a 640 x 480 video."""

    poses: np.ndarray
    """frames x 72; the root in camera axes."""
    pelvis: np.ndarray
    """frames x 3."""
    joints: dict[str, np.ndarray]
    """frames x 3 by SMPL's name."""

    @property
    def frames(self) -> int:
        return len(self.poses)

    def pixels(self, name: str) -> np.ndarray:
        p = self.joints[name]
        return FOCAL * p[:, :2] / p[:, 2:] + [WIDTH / 2, HEIGHT / 2]

    def cut(self, rows: Any) -> Performance:
        return Performance(
            poses=self.poses[rows], pelvis=self.pelvis[rows], joints={k: v[rows] for k, v in self.joints.items()}
        )


def perform(frames: int = 24, *, aside: float = 0.0, phase: float = 0.0) -> Performance:
    """Steps, turns, swings the arms; every frame differs."""
    poses, pelvis, points = [], [], []
    to_camera = Rotation.from_euler("x", 180, degrees=True) * Rotation.from_euler("x", 6, degrees=True)
    for i in range(frames):
        t = i / frames + phase
        s, c = np.sin(2 * np.pi * t), np.cos(2 * np.pi * t)
        pose = np.zeros((24, 3))
        pose[0] = (to_camera * Rotation.from_euler("y", 30 * s + 40 * t, degrees=True)).as_rotvec()
        pose[1], pose[2] = [-0.3 - 0.3 * s, 0, 0.05], [-0.1 + 0.3 * s, 0, -0.05]
        pose[4], pose[5] = [0.4 + 0.3 * s, 0, 0], [0.3 - 0.3 * s, 0, 0]
        pose[3], pose[6] = [0.06, 0.1 * s, 0], [0.03, 0.1 * s, 0]
        pose[15] = [0.1, 0.3 * s, 0]
        pose[16], pose[17] = [0, -0.3, -1.1 + 0.4 * c], [0, 0.4, 0.5 - 0.8 * t]
        pose[18], pose[19] = [0, -0.4, 0], [0, 0.7 + 0.4 * s, 0]
        place = np.array([aside + 0.25 * s, 0.1 + 0.02 * c, 3.4 + 0.2 * c])
        poses.append(pose.reshape(72))
        pelvis.append(place)
        points.append(sets.posed_points(pose, place))
    joints = {name: np.array([p[name] for p in points]) for name in points[0]}
    return Performance(poses=np.array(poses), pelvis=np.array(pelvis), joints=joints)


def as_smplx(show: Performance) -> dict[str, np.ndarray]:
    """SMPL-X's arguments; its own origin is higher in the body than SMPL's."""
    n = show.frames
    return {
        "global_orient": show.poses[:, :3],
        "body_pose": show.poses[:, 3:66].reshape(n, 21, 3),
        "transl": show.pelvis - SMPLX_PELVIS,
        "betas": np.zeros((n, 10)),
        "hand": np.tile([[0.1, 0.0, 0.05]], (n, 15, 1)),
    }


def write_gvhmr(path: Path, show: Performance) -> None:
    values = as_smplx(show)
    params = {
        "body_pose": torch.tensor(values["body_pose"].reshape(-1, 63), dtype=torch.float32),
        "betas": torch.zeros(1, 10).expand(show.frames, 10),
        "global_orient": torch.tensor(values["global_orient"], dtype=torch.float32),
        "transl": torch.tensor(values["transl"], dtype=torch.float32),
    }
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]).repeat(show.frames, 1, 1)
    path.mkdir(parents=True, exist_ok=True)
    net = {"static_conf_logits": torch.zeros(1, show.frames, 6).half()}
    world = {**params, "transl": torch.zeros(show.frames, 3)}
    result = {"smpl_params_global": world, "smpl_params_incam": params, "K_fullimg": K, "net_outputs": net}
    torch.save(result, path / "hmr4d_results.pt")


def write_wham(path: Path, people: dict[int, Performance], first: int = 0) -> None:
    """WHAM's focal length is the diagonal of the image, whatever the truth is; 640 x 480 has one of 800."""
    results: dict[int, dict] = defaultdict(dict)
    for key, show in people.items():
        scale = 800.0 / FOCAL
        results[key]["pose"] = show.poses.astype(np.float32)
        results[key]["trans"] = (show.pelvis * [1, 1, scale] - sets.OFFSETS[0]).astype(np.float32)
        results[key]["betas"] = np.zeros((show.frames, 10), np.float32)
        results[key]["verts"] = np.zeros((show.frames, 8, 3), np.float32)
        results[key]["frame_ids"] = np.arange(first, first + show.frames)
    path.mkdir(parents=True, exist_ok=True)
    (path / "wham_output.pkl").write_bytes(joblib_bytes(results))


def write_tram(path: Path, people: dict[int, Performance]) -> None:
    (path / "hps").mkdir(parents=True)
    for key, show in people.items():
        R = Rotation.from_rotvec(show.poses.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
        track = {
            "pred_cam": torch.zeros(show.frames, 3),
            "pred_pose": torch.zeros(show.frames, 144),
            "pred_shape": torch.zeros(show.frames, 10),
            "pred_rotmat": torch.tensor(R, dtype=torch.float32),
            "pred_trans": torch.tensor((show.pelvis - sets.OFFSETS[0])[:, None], dtype=torch.float32),
            "frame": torch.arange(show.frames),
        }
        np.save(path / f"hps/hps_track_{key}.npy", track, allow_pickle=True)  # type: ignore[arg-type]
    camera = {
        "pred_cam_R": np.tile(np.eye(3), (show.frames, 1, 1)),
        "pred_cam_T": np.zeros((show.frames, 3)),
        "img_focal": np.float64(FOCAL),
        "img_center": np.array([WIDTH / 2, HEIGHT / 2]),
    }
    np.save(path / "camera.npy", camera, allow_pickle=True)  # type: ignore[arg-type]


def write_exavatar(path: Path, show: Performance) -> None:
    values = as_smplx(show)
    folder, cameras = path / "smplx_optimized/smplx_params", path / "cam_params"
    folder.mkdir(parents=True)
    cameras.mkdir()
    for i in range(show.frames):
        entry = {
            "root_pose": values["global_orient"][i].tolist(),
            "body_pose": values["body_pose"][i].tolist(),
            **{key: [0.0, 0.0, 0.0] for key in ("jaw_pose", "leye_pose", "reye_pose")},
            "lhand_pose": values["hand"][i].tolist(),
            "rhand_pose": values["hand"][i].tolist(),
            "expr": [0.0] * 50,
            "trans": values["transl"][i].tolist(),
        }
        (folder / f"{i}.json").write_text(json.dumps(entry))
        camera = {"R": np.eye(3).tolist(), "t": [0.0] * 3, "focal": [FOCAL] * 2, "princpt": [WIDTH / 2, HEIGHT / 2]}
        (cameras / f"{i}.json").write_text(json.dumps(camera))
    (path / "smplx_optimized/shape_param.json").write_text(json.dumps([0.0] * 100))
    (path / "frame_list_all.txt").write_text("\n".join(map(str, range(show.frames))))


def write_smplerx(path: Path, people: list[Performance]) -> None:
    """Files count from 1; detections of a frame change places; each has the camera of its own crop."""
    (path / "smplx").mkdir(parents=True)
    (path / "meta").mkdir()
    for i in range(people[0].frames):
        order = people if i % 2 else people[::-1]
        for detection, show in enumerate(order):
            values = as_smplx(show)
            xy = np.array([show.pixels(name)[i] for name in show.joints])
            low, high = xy.min(0) - 10, xy.max(0) + 10
            w = max(high[0] - low[0], (high[1] - low[1]) * 192 / 256)
            box = np.array([*((low + high) / 2 - [w / 2, w * 256 / 384]), w, w * 256 / 192])
            focal = TRANSLATIONS / 192 * box[2]
            center = box[:2] + box[2:] / 2
            pixel = show.pixels("pelvis")[i]
            z = show.pelvis[i, 2] * focal / FOCAL
            place = np.array([*((pixel - center) / focal * z), z])
            # The crop's camera looks along the line of sight: what it sees is turned by the angle between the two.
            ray, own = show.pelvis[i] / np.linalg.norm(show.pelvis[i]), place / np.linalg.norm(place)
            turn = Rotation.align_vectors(own[None], ray[None])[0]
            root = (turn * Rotation.from_rotvec(values["global_orient"][i])).as_rotvec()
            arrays = {
                "global_orient": root[None], "body_pose": values["body_pose"][i], "left_hand_pose": values["hand"][i],
                "right_hand_pose": values["hand"][i], "jaw_pose": np.zeros((1, 3)), "leye_pose": np.zeros((1, 3)),
                "reye_pose": np.zeros((1, 3)), "betas": np.zeros((1, 10)), "expression": np.zeros((1, 10)),
                "transl": (place - SMPLX_PELVIS)[None],
            }  # fmt: skip
            name = f"{i + 1:05}_{detection}"
            np.savez(path / f"smplx/{name}.npz", **{k: v.astype(np.float32) for k, v in arrays.items()})
            meta = {
                "focal": [focal, focal], "princpt": center.tolist(), "bbox": box.tolist(), "bbox_id": detection,
                "bbox_mmdet": box.tolist(), "img_path": f"images/{i + 1:06d}.jpg",
            }  # fmt: skip
            (path / f"meta/{name}.json").write_text(json.dumps(meta, indent=4))


def write_wildavatar(path: Path, show: Performance) -> None:
    """Each frame has a world of its own, tilted against the camera."""
    tilt = Rotation.from_euler("xz", [25, 14], degrees=True)
    E = np.eye(4)
    E[:3, :3] = tilt.inv().as_matrix()
    table: dict[str, Any] = {}
    for i in range(show.frames):
        root = (tilt * Rotation.from_rotvec(show.poses[i, :3])).as_rotvec()
        T = E.copy()
        T[:3, 3] = show.pelvis[i] - T[:3, :3] @ sets.OFFSETS[0]
        table[f"{i:06d}"] = {
            "imgname": f"a/b/subject/{i:06d}.png",
            "poses": [*root.tolist(), *show.poses[i, 3:].tolist()],
            "betas": [[0.0] * 10],
            "cam_intrinsics": [[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]],
            "cam_extrinsics": T.tolist(),
        }
    path.mkdir(parents=True, exist_ok=True)
    (path / "metadata.json").write_text(json.dumps(table | {"start": 7}))


def write_amass(path: Path, show: Performance) -> None:
    """A world with +Z up, whose camera is not known; SMPL-H."""
    world = Rotation.from_euler("x", -96, degrees=True)
    poses = np.zeros((show.frames, 156))
    poses[:, :66] = show.poses[:, :66]
    poses[:, :3] = (world * Rotation.from_rotvec(show.poses[:, :3])).as_rotvec()
    np.savez(path, poses=poses, trans=world.apply(show.pelvis), betas=np.zeros(16), mocap_framerate=30.0)


def write_smplx_arguments(path: Path, show: Performance) -> None:
    values = as_smplx(show)
    np.savez(
        path,
        global_orient=values["global_orient"],
        body_pose=values["body_pose"].reshape(show.frames, 63),
        transl=values["transl"],
        betas=np.zeros((1, 10)),
    )


def mhr_person(points: np.ndarray, focal: float = FOCAL) -> dict[str, Any]:
    """One person as SAM 3D Body's estimator gives it; points are its 70 keypoints in the camera."""
    place = points.mean(0) + np.array([0.01, 0.02, 0.0])
    pixels = focal * points[:, :2] / points[:, 2:] + [WIDTH / 2, HEIGHT / 2]
    return {
        "bbox": np.concatenate([pixels.min(0), pixels.max(0)]),
        "focal_length": np.float32(focal),
        "pred_keypoints_3d": (points - place).astype(np.float32),
        "pred_keypoints_2d": pixels.astype(np.float32),
        "pred_vertices": np.zeros((12, 3), np.float32),
        "pred_cam_t": place.astype(np.float32),
        "global_rot": np.zeros(3, np.float32),
        "mhr_model_params": np.zeros(204, np.float32),
        "mask": None,
    }


def write_sam3d_video(path: Path, points: np.ndarray) -> None:
    """One document of a whole video."""
    frames = []
    for i, frame in enumerate(points):
        person = mhr_person(frame)
        skeleton = {
            "keypoints_3d": person["pred_keypoints_3d"].tolist(),
            "keypoints_2d": person["pred_keypoints_2d"].tolist(),
        }
        camera = {"translation": person["pred_cam_t"].tolist(), "focal_length": float(person["focal_length"])}
        persons = [{"person_id": 0, "skeleton": skeleton, "camera": camera, "mesh": {}, "pose": {}, "shape": {}}]
        frames.append({"frame_number": i, "timestamp": i / 30, "num_persons": 1, "persons": persons})
    info = {"resolution": {"width": WIDTH, "height": HEIGHT}, "fps": 30.0, "total_frames": len(points), "frame_skip": 1}
    path.write_text(json.dumps({"video_info": info, "frames": frames}))


def write_sam3d_frames(path: Path, points: np.ndarray) -> None:
    """A .npy per frame with the estimator's list of people."""
    path.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(points):
        np.save(path / f"{i:05d}.npy", np.array([mhr_person(frame)], dtype=object), allow_pickle=True)


# --- joblib's format -------------------------------------------------------------------------------------------------------


class NumpyArrayWrapper:
    """What joblib writes in place of an array; the array's bytes follow it in the file."""

    def __init__(self, array: np.ndarray) -> None:
        self.subclass, self.shape = np.ndarray, array.shape
        self.order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        self.dtype = array.dtype
        self.allow_mmap, self.numpy_array_alignment_bytes = True, 16


NumpyArrayWrapper.__module__ = "joblib.numpy_pickle"
NumpyArrayWrapper.__qualname__ = "NumpyArrayWrapper"


class _JoblibPickler(pickle._Pickler):
    """joblib's way: frames end before an array's bytes, which are padded to 16 after a byte that says how far."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=4)
        self.file = file

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if type(obj) is not np.ndarray:
            super().save(obj, save_persistent_id)
            return
        super().save(NumpyArrayWrapper(obj), save_persistent_id)
        self.framer.commit_frame(force=True)
        padding = 16 - (self.file.tell() + 1) % 16
        self.file.write(bytes([padding]) + b"\xff" * padding)
        self.file.write(obj.tobytes("F" if np.isfortran(obj) else "C"))

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is NumpyArrayWrapper:
            self.save("joblib.numpy_pickle")
            self.save("NumpyArrayWrapper")
            self.write(pickle.STACK_GLOBAL)
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    dispatch = {**pickle._Pickler.dispatch, type: save_global}  # type: ignore[attr-defined]  # noqa: RUF012


def joblib_bytes(value: Any) -> bytes:
    """What `joblib.dump` (1.3 to 1.6) writes; compared with it byte by byte when this was written."""
    import io

    file = io.BytesIO()
    _JoblibPickler(file).dump(value)
    return file.getvalue()
