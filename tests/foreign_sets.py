"""Tiny captures in other people's layouts: a person of capsules, filmed by known cameras, written by independent code.

Nothing of the program under test is used. The person has SMPL's joints and turns them as SMPL does; each writer converts
the one truth (`film`) to the conventions of its layout.

    python tests/foreign_sets.py LAYOUT FOLDER      writes one, to be looked at
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

WIDTH, HEIGHT, FRAMES = 96, 128, 6
# fmt: off
JOINTS = ("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
          "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
          "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand")
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
OFFSETS = np.array([
    [0, -0.228, 0.027], [0.058, -0.083, -0.017], [-0.06, -0.09, -0.013], [0.004, 0.124, -0.038], [0.043, -0.386, 0.008],
    [-0.043, -0.384, -0.005], [0.004, 0.138, 0.027], [-0.015, -0.427, -0.037], [0.019, -0.42, -0.035],
    [-0.002, 0.056, 0.003], [0.041, -0.06, 0.122], [-0.035, -0.062, 0.13], [-0.013, 0.212, -0.033],
    [0.072, 0.114, -0.019], [-0.083, 0.113, -0.024], [0.01, 0.089, 0.05], [0.123, 0.045, -0.019],
    [-0.113, 0.047, -0.008], [0.255, -0.016, -0.023], [-0.26, -0.014, -0.031], [0.266, 0.013, -0.007],
    [-0.269, 0.007, -0.006], [0.087, -0.011, -0.016], [-0.089, -0.008, -0.01],
])
CAPSULES = (  # from joint, to joint, radius at both ends in metres
    ("left_thigh", "left_knee", 0.085, 0.06), ("right_thigh", "right_knee", 0.085, 0.06),
    ("left_knee", "left_ankle", 0.06, 0.045), ("right_knee", "right_ankle", 0.06, 0.045),
    ("left_ankle", "left_foot", 0.045, 0.04), ("right_ankle", "right_foot", 0.045, 0.04),
    ("left_foot", "left_toe", 0.04, 0.03), ("right_foot", "right_toe", 0.04, 0.03), ("head", "crown", 0.1, 0.09),
    ("left_hip", "left_collar", 0.09, 0.08), ("right_hip", "right_collar", 0.09, 0.08),
    ("pelvis", "spine3", 0.12, 0.12), ("spine3", "neck", 0.1, 0.06), ("neck", "head", 0.065, 0.1),
    ("left_collar", "left_shoulder", 0.07, 0.06), ("right_collar", "right_shoulder", 0.07, 0.06),
    ("left_shoulder", "left_elbow", 0.055, 0.045), ("right_shoulder", "right_elbow", 0.055, 0.045),
    ("left_elbow", "left_wrist", 0.045, 0.035), ("right_elbow", "right_wrist", 0.045, 0.035),
    ("left_wrist", "left_hand", 0.04, 0.045), ("right_wrist", "right_hand", 0.04, 0.045),
)
FLESH = {  # a point of the body that is no joint: its joint, and where it is in the zero pose
    "crown": ("head", (0.0, 0.1, 0.02)), "left_toe": ("left_foot", (0.0, 0.0, 0.07)), "right_toe": ("right_foot", (0.0, 0.0, 0.07)),
    "left_thigh": ("left_hip", (0.03, 0.0, 0.0)), "right_thigh": ("right_hip", (-0.03, 0.0, 0.0)),
}
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A filmed person, in a world with +Y up, metres; cameras with OpenCV's axes and pixel centres at +0.5."""

    poses: np.ndarray
    """frames x 24 x 3, axis-angle; the first in the world."""
    pelvis: np.ndarray
    """frames x 3."""
    K: np.ndarray
    T_camera_world: np.ndarray
    """frames x 4 x 4."""
    images: list[np.ndarray]
    """RGB."""
    masks: list[np.ndarray]
    """0 or 255."""
    joints_camera: np.ndarray
    """frames x 24 x 3."""


def film(*, moving: bool = False, focal: float = 190.0, cx: float = WIDTH / 2, cy: float = HEIGHT / 2) -> Truth:
    """A person who steps, turns and lifts the right arm, from one camera (or one that walks past)."""
    poses, pelvis, cameras = [], [], []
    for i in range(FRAMES):
        s = np.sin(2 * np.pi * i / FRAMES)
        pose = np.zeros((24, 3))
        pose[0] = (
            Rotation.from_euler("y", 25 + 10 * i, degrees=True) * Rotation.from_euler("x", 4, degrees=True)
        ).as_rotvec()
        pose[1], pose[2] = [-0.35 - 0.3 * s, 0, 0.05], [-0.1 + 0.3 * s, 0, -0.05]
        pose[4], pose[5] = [0.5 + 0.4 * s, 0, 0], [0.3 - 0.3 * s, 0, 0]
        pose[3], pose[6] = [0.06, 0.1 * s, 0], [0.03, 0.1 * s, 0]
        pose[15] = [0.1, 0.3 * s, 0]
        pose[16] = [0.0, -0.3, -1.15]
        pose[17] = [0.0, 0.4, 0.5 - 0.9 * i / FRAMES]
        pose[18], pose[19] = [0, -0.4, 0], [0, 0.7 + 0.4 * s, 0]
        poses.append(pose)
        pelvis.append([0.3 + 0.03 * i, 0.93, -0.2 + 0.02 * i])
        eye = np.array([0.5 + (0.25 * i if moving else 0.0), 1.35, 3.1])
        cameras.append(look_at(eye, np.array([0.36, 0.9, -0.15])))
    K = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])
    images, masks, seen = [], [], []
    for pose, place, T in zip(poses, pelvis, cameras, strict=True):
        points = posed_points(pose, np.array(place))
        in_camera = {name: T[:3, :3] @ point + T[:3, 3] for name, point in points.items()}
        seen.append([in_camera[name] for name in JOINTS])
        mask = drawn(in_camera, K)
        masks.append(mask)
        images.append(picture(mask))
    return Truth(
        poses=np.array(poses),
        pelvis=np.array(pelvis),
        K=K,
        T_camera_world=np.array(cameras),
        images=images,
        masks=masks,
        joints_camera=np.array(seen),
    )


def posed_points(pose: np.ndarray, pelvis: np.ndarray) -> dict[str, np.ndarray]:
    """Forward kinematics, joint by joint; joints and flesh by name."""
    R, p = [], []
    for j, parent in enumerate(PARENTS):
        local = Rotation.from_rotvec(pose[j])
        R.append(local if parent < 0 else R[parent] * local)
        p.append(pelvis if parent < 0 else p[parent] + R[parent].apply(OFFSETS[j]))
    flesh = {name: p[JOINTS.index(j)] + R[JOINTS.index(j)].apply(place) for name, (j, place) in FLESH.items()}
    return dict(zip(JOINTS, p, strict=True)) | flesh


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0.0, 1.0, 0.0])
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, -R @ eye
    return T


def drawn(points_camera: dict[str, np.ndarray], K: np.ndarray) -> np.ndarray:
    """The capsules' outline, four times finer and then shrunk."""
    fine = np.zeros((HEIGHT * 4, WIDTH * 4), np.uint8)
    for a, b, ra, rb in CAPSULES:
        for t in np.linspace(0, 1, 24):
            x, y, z = points_camera[a] * (1 - t) + points_camera[b] * t
            u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
            r = K[0, 0] * (ra * (1 - t) + rb * t) / z
            cv2.circle(fine, (round(4 * u - 0.5), round(4 * v - 0.5)), round(4 * r), 255, -1)
    small = cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.where(small > 127, 255, 0).astype(np.uint8)


def picture(mask: np.ndarray) -> np.ndarray:
    """A striped person before a plain wall."""
    rows = np.arange(HEIGHT)[:, None, None]
    wall = np.broadcast_to(np.array([150, 165, 175]), (HEIGHT, WIDTH, 3)) - rows // 4
    person = np.broadcast_to(np.where(rows // 6 % 2 == 0, [180, 60, 50], [60, 40, 60]), (HEIGHT, WIDTH, 3))
    return np.where(mask[..., None] > 0, person, wall).astype(np.uint8)


def save_image(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = rgb if rgb.ndim == 2 else np.ascontiguousarray(rgb[..., ::-1])
    assert cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, 97])


# --- one writer per layout -----------------------------------------------------------------------------------------------


def turned(truth: Truth, T_new_world: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses [n, 72], pelvis and world-to-camera in another world; one 4x4, or one per frame."""
    T = np.broadcast_to(T_new_world, (FRAMES, 4, 4))
    poses = truth.poses.copy()
    for i in range(FRAMES):
        poses[i, 0] = (Rotation.from_matrix(T[i, :3, :3]) * Rotation.from_rotvec(poses[i, 0])).as_rotvec()
    pelvis = np.einsum("nij,nj->ni", T[:, :3, :3], truth.pelvis) + T[:, :3, 3]
    return poses.reshape(FRAMES, 72), pelvis, truth.T_camera_world @ np.linalg.inv(T)


def opencv_pixels(K: np.ndarray) -> np.ndarray:
    """Intrinsics where the first pixel's centre is (0, 0)."""
    return K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def write_peoplesnapshot(folder: Path) -> Truth:
    truth = film()
    poses, pelvis, T = turned(truth, truth.T_camera_world[0])  # the world is the camera's
    for i in range(FRAMES):
        save_image(folder / f"images/image_{i:04d}.png", truth.images[i])
        (folder / "masks").mkdir(exist_ok=True)
        np.save(folder / f"masks/mask_{i:04d}.npy", (truth.masks[i] // 255).astype(np.uint8))
    np.savez(folder / "cameras.npz", intrinsic=opencv_pixels(truth.K), extrinsic=T[0], height=HEIGHT, width=WIDTH)
    np.savez(
        folder / "poses.npz",
        thetas=poses.astype(np.float32),
        betas=np.zeros(10, np.float32),
        transl=(pelvis - OFFSETS[0]).astype(np.float32),
    )
    return truth


def write_neuman(folder: Path, *, original: bool = False) -> Truth:
    """In HUGS's form (`4d_humans`), or in the original with alignments and dark persons."""
    truth = film(moving=True)
    unit = 0.4  # of COLMAP, per metre
    T_scene = np.eye(4)
    T_scene[:3, :3] = Rotation.from_euler("xyz", [100, 20, -35], degrees=True).as_matrix()
    T_scene[:3, 3] = [1.0, -2.0, 0.5]
    poses, pelvis, T = turned(truth, T_scene)
    T = T.copy()
    T[:, :3, 3] *= unit
    for i in range(FRAMES):
        save_image(folder / f"images/{i:05d}.png", truth.images[i])
        if original:
            save_image(folder / f"segmentations/{i:05d}.png", 255 - truth.masks[i])
        else:
            save_image(folder / f"4d_humans/sam_segmentations/mask_{i:04d}.png", truth.masks[i])
    (folder / "sparse").mkdir(exist_ok=True)
    K = truth.K
    (folder / "sparse/cameras.txt").write_text(
        "# Camera list with one line of data per camera:\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n"
        f"# Number of cameras: 1\n1 PINHOLE {WIDTH} {HEIGHT} {K[0, 0]} {K[1, 1]} {K[0, 2]} {K[1, 2]}\n"
    )
    lines = [
        "# Image list with two lines of data per image:",
        "#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME",
    ]
    for i in reversed(range(FRAMES)):  # COLMAP keeps no order
        x, y, z, w = Rotation.from_matrix(T[i, :3, :3]).as_quat()
        lines += [
            " ".join(map(str, (i + 1, w, x, y, z, *T[i, :3, 3], 1, f"{i:05d}.png"))),
            "" if i % 2 else "1.0 2.0 -1",
        ]
    (folder / "sparse/images.txt").write_text("\n".join(lines) + "\n")
    (folder / "train_split.txt").write_text("\n".join(f"{i:05d}.png" for i in range(0, FRAMES, 2)) + "\n")
    (folder / "test_split.txt").write_text("\n".join(f"{i:05d}.png" for i in range(1, FRAMES, 2)) + "\n")
    values = {"global_orient": poses[:, :3], "body_pose": poses[:, 3:], "betas": np.zeros((FRAMES, 10))}
    if original:  # p_scene = (p_smpl, 1) A, with the pose as the camera saw it
        in_camera, in_camera_pelvis, _ = turned(truth, truth.T_camera_world)
        values |= {"global_orient": in_camera[:, :3], "transl": in_camera_pelvis}
        np.savez(folder / "smpl_output_romp.npz", **values)
        table = {}
        for i in range(FRAMES):
            back = np.linalg.inv(T[i])  # scene from camera, in scene units
            move = in_camera_pelvis[i] - OFFSETS[0]
            A = np.concatenate([unit * back[:3, :3], (unit * back[:3, :3] @ move + back[:3, 3])[:, None]], axis=1)
            table[f"{i:05d}.png"] = A.T
        np.save(folder / "alignments.npy", np.array(table, dtype=object), allow_pickle=True)
    else:
        transl = unit * (pelvis - OFFSETS[0])
        path = folder / "4d_humans/smpl_optimized_aligned_scale.npz"
        np.savez(path, **values, transl=transl, scale=np.full(FRAMES, unit))
    return truth


def write_xhumans(folder: Path) -> Truth:
    truth = film(moving=True)
    poses, pelvis, T = turned(truth, np.eye(4))
    take = folder / "train/Take3"
    (take / "SMPLX").mkdir(parents=True)
    for i in range(FRAMES):
        save_image(take / f"render/image/color_{i + 1:06d}.png", truth.images[i])
        depth = np.where(truth.masks[i] > 0, 3.2, 100.0).astype(np.float32)
        (take / "render/depth").mkdir(exist_ok=True)
        assert cv2.imwrite(str(take / f"render/depth/depth_{i + 1:06d}.tiff"), depth)
        record = {
            "global_orient": poses[i, :3].astype(np.float32),
            "body_pose": poses[i, 3:66].astype(np.float32),
            "left_hand_pose": np.zeros(45, np.float32),
            "right_hand_pose": np.zeros(45, np.float32),
            "jaw_pose": np.array([0.1, 0, 0], np.float32),
            "expression": np.linspace(-1, 1, 10).astype(np.float32),
            # SMPL-X's own origin is higher in the body.
            "transl": (pelvis[i] - np.array([0.003, -0.351, 0.012])).astype(np.float32),
        }
        with (take / f"SMPLX/mesh-f{i + 1:05d}_smplx.pkl").open("wb") as file:
            pickle.dump(record, file, protocol=2)
        (take / f"SMPLX/mesh-f{i + 1:05d}_smplx.ply").write_text("ply\n")
    np.savez(take / "render/cameras.npz", intrinsic=truth.K, extrinsic=T)
    (folder / "gender.txt").write_text("female\n")
    np.save(folder / "mean_shape_smplx.npy", np.zeros(10))
    return truth


def write_zju(folder: Path, *, with_annots: bool = True) -> Truth:
    """Two cameras, +Z up; the second is the one that filmed."""
    truth = film(focal=185.0, cx=50.0, cy=61.0)
    z_up = np.eye(4)
    z_up[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    poses, pelvis, T = turned(truth, z_up)
    other = look_at(np.array([3.0, 1.4, 0.0]), np.array([0.3, 0.9, 0.0])) @ np.linalg.inv(z_up)
    K = opencv_pixels(truth.K)
    cameras = {"Camera_B1": (K, other), "Camera_B2": (K, T[0])}
    root = folder if with_annots else folder / "images"
    for i in range(FRAMES):
        for name in cameras:
            save_image(root / f"{name}/{i:06d}.jpg", truth.images[i])
            save_image(folder / f"mask_cihp/{name}/{i:06d}.png", truth.masks[i] // 255 * 13)
        R = Rotation.from_rotvec(poses[i, :3])
        record: dict[str, Any] = {
            "poses": np.concatenate([np.zeros(3), poses[i, 3:]])[None],
            "Rh": poses[i, None, :3],
            "Th": (pelvis[i] - R.apply(OFFSETS[0]))[None],  # turns about the origin
            "shapes": np.zeros((1, 10)),
        }
        if with_annots:
            (folder / "new_params").mkdir(exist_ok=True)
            np.save(folder / f"new_params/{i}.npy", np.array(record, dtype=object), allow_pickle=True)
        else:
            (folder / "output-smpl-3d/smpl").mkdir(parents=True, exist_ok=True)
            text = {"annots": [{"id": 0, **{key: np.round(value, 6).tolist() for key, value in record.items()}}]}
            (folder / f"output-smpl-3d/smpl/{i:06d}.json").write_text(json.dumps(text))
    if with_annots:
        annots = {
            "cams": {
                "K": [k for k, _ in cameras.values()],
                "D": [np.zeros((5, 1)) for _ in cameras],
                "R": [E[:3, :3] for _, E in cameras.values()],
                "T": [E[:3, 3:] * 1000.0 for _, E in cameras.values()],
            },
            "ims": [{"ims": [f"{name}/{i:06d}.jpg" for name in cameras]} for i in range(FRAMES)],
        }
        np.save(folder / "annots.npy", np.array(annots, dtype=object), allow_pickle=True)
    else:
        intri, extri = cv2.FileStorage(str(folder / "intri.yml"), 1), cv2.FileStorage(str(folder / "extri.yml"), 1)
        for name, (k, E) in cameras.items():
            intri.write(f"K_{name}", k)
            intri.write(f"dist_{name}", np.zeros((1, 5)))
            extri.write(f"R_{name}", cv2.Rodrigues(E[:3, :3])[0])
            extri.write(f"Rot_{name}", np.ascontiguousarray(E[:3, :3]))
            extri.write(f"T_{name}", np.ascontiguousarray(E[:3, 3:]))
        intri.release()
        extri.release()
    return truth


def write_wildavatar(folder: Path, *, image_scale: int = 1) -> Truth:
    """Frames 3, 40, 77, ... of a clip; `start` in the midst of them; the world is SMPL's own in each frame."""
    truth = film(moving=True)
    to_smpl = np.tile(np.eye(4), (FRAMES, 1, 1))
    to_smpl[:, :3, 3] = OFFSETS[0] - truth.pelvis
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("xz", [25, 14], degrees=True).as_matrix()
    tilt[:3, 3] = OFFSETS[0] - tilt[:3, :3] @ OFFSETS[0]
    poses, _, T = turned(truth, tilt @ to_smpl)
    table: dict[str, Any] = {}
    for i in range(FRAMES):
        number = 3 + 37 * i
        image = truth.images[i]
        if image_scale != 1:
            image = cv2.resize(image, None, fx=1 / image_scale, fy=1 / image_scale, interpolation=cv2.INTER_AREA)
        save_image(folder / f"images/{number:06d}.jpg", image)
        save_image(folder / f"masks/{number:06d}.png", np.repeat(truth.masks[i][..., None] // 255 * 255, 3, 2))
        table[f"{number:06d}"] = {
            "imgname": f"a/b/subject/{number:06d}.png",
            "poses": poses[i].tolist(),
            "betas": [[0.0] * 10],
            "cam_intrinsics": truth.K.tolist(),
            "cam_extrinsics": T[i].tolist(),
        }
        if i == 2:
            table["start"] = 7
    (folder / "metadata.json").write_text(json.dumps(table))
    return truth


def write_synwild(folder: Path) -> Truth:
    """The person's middle at the origin of each frame's world, whose axes are the camera's in OpenGL's manner."""
    truth = film()
    worlds = []
    for i in range(FRAMES):
        T = np.diag([1.0, -1.0, -1.0, 1.0]) @ truth.T_camera_world[i]
        place = T[:3, :3] @ truth.pelvis[i] + T[:3, 3]
        T[:3, 3] -= place - np.array([0.02, -0.05, 0.01])
        worlds.append(T)
    poses, pelvis, T = turned(truth, np.array(worlds))
    K = np.eye(4)
    K[:3, :3] = opencv_pixels(truth.K)
    size = 1.1 * max(np.linalg.norm(np.linalg.inv(t)[:3, 3]) for t in T) / 3.0
    cameras = {}
    for i in range(FRAMES):
        save_image(folder / f"image/{i:04d}.png", truth.images[i])
        save_image(folder / f"mask/{i:04d}.png", cv2.dilate(truth.masks[i], np.ones((5, 5), np.uint8)))
        cameras[f"world_mat_{i}"] = (K @ T[i]).astype(np.float32)
        cameras[f"scale_mat_{i}"] = np.diag([size, size, size, 1.0]).astype(np.float32)
    np.savez(folder / "cameras_normalize.npz", **cameras)
    np.save(folder / "poses.npy", poses)
    np.save(folder / "normalize_trans.npy", pelvis - OFFSETS[0])
    np.save(folder / "mean_shape.npy", np.zeros(10))
    return truth


def write_plain(folder: Path) -> Truth:
    truth = film()
    for i in range(FRAMES):
        save_image(folder / f"frames/{i + 1}.png", truth.images[i])
        save_image(folder / f"masks/{i + 1}.png", truth.masks[i])
    return truth


WRITERS: dict[str, Callable[[Path], Truth]] = {
    "peoplesnapshot": write_peoplesnapshot,
    "neuman": write_neuman,
    "xhumans": write_xhumans,
    "zju": write_zju,
    "wildavatar": write_wildavatar,
    "synwild": write_synwild,
    "plain": write_plain,
}


if __name__ == "__main__":
    WRITERS[sys.argv[1]](Path(sys.argv[2]))
