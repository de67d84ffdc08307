"""The truth about a synthetic video, on disk: what is written, and how it is read. See docs/synth-format.md."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from numpy import ndarray
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.core.errors import InputError
from bodydouble.core.files import read_json, read_tensors, write_json, write_tensors
from bodydouble.core.geometry import matrix_to_quat_wxyz, quat_wxyz_to_rotvec, rotvec_to_matrix
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.synth.cameras import CameraPath

FORMAT = "bodydouble-synth"
VERSION = 1
INDEX_NAME = "truth.json"
VALUES_NAME, MESH_NAME, VIEWS_NAME = "truth.safetensors", "mesh.safetensors", "views.safetensors"
VIDEO_NAME = "video.mp4"
MASKS_NAME, DEPTH_NAME, NORMALS_NAME, PARTS_NAME, VIEWS_FOLDER = "masks", "depth", "normals", "parts", "views"
MESH_STEP_M = 1e-4
"""Vertices are stored as whole multiples of this, from the frame's own centre."""


@tensor_struct
class TruthValues(TensorStruct):
    """What is true in every frame, in the middle of its exposure. World: that of a static camera, or of the first frame's
    camera where it moves (right-handed, +Y up, metres); the floor lies at `TruthIndex.floor_m`."""

    shape: Float[Tensor, " shape"]
    rotvecs: Float[Tensor, "frames bones 3"]
    translation_world_m: Float[Tensor, "frames 3"]
    expression: Float[Tensor, "frames actions"]
    joints_world_m: Float[Tensor, "frames bones 3"]
    landmarks_world_m: Float[Tensor, "frames landmarks 3"]
    landmarks_px: Float[Tensor, "frames landmarks 2"]
    landmarks_visible: Bool[Tensor, "frames landmarks"]
    focal_px: Float[Tensor, "frames 2"]
    center_px: Float[Tensor, "frames 2"]
    T_camera_world: Float[Tensor, "frames 4 4"]


@tensor_struct
class TruthMesh(TensorStruct):
    """The dressed performer. Its first `num_body_vertices` vertices are the body model's own, hidden ones included."""

    faces: Int[Tensor, "faces 3"]
    face_material: UInt8[Tensor, " faces"]
    vertex_parts: UInt8[Tensor, " verts"]
    vertices_rest_m: Float[Tensor, "verts 3"]
    frame_indices: Int[Tensor, " chosen"]
    centers_world_m: Float[Tensor, "chosen 3"]
    steps: Int[Tensor, "chosen verts 3"]
    """Vertices as multiples of `MESH_STEP_M` from the centre (16-bit)."""


@tensor_struct
class TruthViews(TensorStruct):
    """Cameras of the extra views."""

    frame_indices: Int[Tensor, " views"]
    numbers: Int[Tensor, " views"]
    """Number of the view within its frame, from 0."""
    focal_px: Float[Tensor, "views 2"]
    center_px: Float[Tensor, "views 2"]
    T_camera_world: Float[Tensor, "views 4 4"]


@dataclass(frozen=True, kw_only=True)
class TruthIndex:
    """What truth.json says."""

    seed: int
    motion: str
    camera: str
    scene: str
    body: str
    width_px: int
    height_px: int
    fps_hz: float
    num_frames: int
    bitrate_bps: int
    shutter: float
    """Share of a frame's time during which it is exposed; the truth holds in the middle of it."""
    grain: float
    floor_m: float
    frames: tuple[int, ...]
    """Frames with depth, normals, parts and a mesh."""
    view_frames: tuple[int, ...]
    num_views: int
    """Extra views of each of `view_frames`."""
    depth_step_m: float
    num_body_vertices: int
    shape_names: tuple[str, ...]
    bone_names: tuple[str, ...]
    action_names: tuple[str, ...]
    landmark_names: tuple[str, ...]
    landmark_vertices: tuple[int, ...]
    """Vertex of the body of the last so many landmarks; those before are joints."""
    part_names: tuple[str, ...]
    material_names: tuple[str, ...]
    generator: str = ""


@dataclass(frozen=True, kw_only=True)
class View:
    """One extra view."""

    frame: int
    number: int
    camera: Camera
    path: Path

    def rgba(self) -> UInt8[ndarray, "height width 4"]:
        """The performer alone: sRGB, not multiplied by the coverage in the last channel."""
        return read_image(self.path, (self.camera.height_px, self.camera.width_px, 4), np.uint8)


class Truth:
    """A folder of truth, opened by `read_truth`. Pictures are read when they are asked for."""

    def __init__(self, folder: Path, index: TruthIndex, values: TruthValues) -> None:
        self.folder, self.index, self.values = folder, index, values

    @property
    def times_s(self) -> Float[Tensor, " frames"]:
        return torch.arange(self.index.num_frames) / self.index.fps_hz

    @property
    def video(self) -> Path:
        return self.folder / VIDEO_NAME

    @property
    def cameras(self) -> CameraPath:
        """The camera of every frame."""
        v, i = self.values, self.index
        return CameraPath(
            width_px=i.width_px,
            height_px=i.height_px,
            focal_px=v.focal_px,
            center_px=v.center_px,
            T_camera_world=v.T_camera_world,
        )

    def camera(self, frame: int) -> Camera:
        """The camera of a frame."""
        self._check(frame, range(self.index.num_frames), "a frame")
        return self.cameras.camera(frame)

    def pose_in_camera(self) -> tuple[Float[Tensor, "frames bones 3"], Float[Tensor, "frames 3"]]:
        """Rotations and translations of the same body in the world of a fit: each frame's camera at the origin, looking
        along -Z (`core.cameras.video_camera`). For a static camera these are the stored ones."""
        v = self.values
        T = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])) @ v.T_camera_world
        R = T[:, :3, :3]
        root = R @ rotvec_to_matrix(v.rotvecs[:, 0])
        rotvecs = v.rotvecs.clone()
        rotvecs[:, 0] = quat_wxyz_to_rotvec(matrix_to_quat_wxyz(root.double())).float()
        joint = v.joints_world_m[:, 0]
        rest = joint - v.translation_world_m
        return rotvecs, (R @ joint[..., None])[..., 0] + T[:, :3, 3] - rest

    def mask(self, frame: int) -> UInt8[ndarray, "height width"]:
        """How much of each pixel the performer covers while the frame is exposed, 0 to 255."""
        self._check(frame, range(self.index.num_frames), "a mask")
        return self._image(MASKS_NAME, frame, np.uint8)

    def depth_m(self, frame: int) -> Float32[ndarray, "height width"]:
        """Depth of the performer at the pixels' centres along the camera's +Z; infinite where it is not."""
        self._check(frame, self.index.frames, "a depth map")
        steps = self._image(DEPTH_NAME, frame, np.uint16)
        return np.where(steps > 0, steps * np.float32(self.index.depth_step_m), np.float32(np.inf))

    def normals_world(self, frame: int) -> Float32[ndarray, "height width 3"]:
        """Unit normals of the performer at the pixels' centres; 0 where it is not."""
        self._check(frame, self.index.frames, "normals")
        stored = self._image(NORMALS_NAME, frame, np.uint16, channels=3).astype(np.float32)
        return np.where(stored > 0, (stored - 32768.0) / 32767.0, np.float32(0.0))

    def parts(self, frame: int) -> UInt8[ndarray, "height width"]:
        """Part of the body at the pixels' centres: index into `index.part_names` plus 1; 0 where nobody is."""
        self._check(frame, self.index.frames, "part labels")
        return self._image(PARTS_NAME, frame, np.uint8)

    def mesh(self) -> TruthMesh:
        """The dressed performer's mesh and its places in the chosen frames."""
        return _struct(TruthMesh, self.folder / MESH_NAME)

    def vertices_world_m(self, frame: int, mesh: TruthMesh | None = None) -> Float[Tensor, "verts 3"]:
        """Dressed vertices of a chosen frame, exact to half of `MESH_STEP_M`.

        Args:
            frame: One of `index.frames`.
            mesh: From `mesh()`, if it was read already.
        """
        self._check(frame, self.index.frames, "a mesh")
        mesh = self.mesh() if mesh is None else mesh
        row = mesh.frame_indices.tolist().index(frame)
        return mesh.steps[row].float() * MESH_STEP_M + mesh.centers_world_m[row]

    def views(self) -> list[View]:
        """The extra views."""
        if not self.index.num_views:
            return []
        stored = _struct(TruthViews, self.folder / VIEWS_NAME)
        path = CameraPath(
            width_px=self.index.width_px,
            height_px=self.index.height_px,
            focal_px=stored.focal_px,
            center_px=stored.center_px,
            T_camera_world=stored.T_camera_world,
        )
        pairs = zip(stored.frame_indices.tolist(), stored.numbers.tolist(), strict=True)
        return [
            View(frame=f, number=n, camera=path.camera(row), path=self.folder / VIEWS_FOLDER / view_name(f, n))
            for row, (f, n) in enumerate(pairs)
        ]

    def _check(self, frame: int, known: range | tuple[int, ...], what: str) -> None:
        if frame not in known:
            listed = f"0 to {known[-1]}" if isinstance(known, range) else ", ".join(str(f) for f in known)
            raise InputError(f"{self.folder} has no {what.removeprefix('a ')} of frame {frame}; there are: {listed}.")

    def _image(self, name: str, frame: int, dtype: type, channels: int = 1) -> ndarray:
        size = (self.index.height_px, self.index.width_px)
        return read_image(self.folder / name / frame_name(frame), size if channels == 1 else (*size, channels), dtype)


def read_truth(folder: Path) -> Truth:
    """Open the truth about a synthetic video.

    Args:
        folder: What `synthesise` wrote.
    Raises:
        InputError: When it is missing, damaged or of another version.
    """
    index = _index(folder / INDEX_NAME)
    values = _struct(TruthValues, folder / VALUES_NAME)
    frames, bones = values.rotvecs.shape[:2]
    if frames != index.num_frames or bones != len(index.bone_names):
        raise InputError(
            f"{folder / VALUES_NAME} holds {frames} frames of {bones} bones; {INDEX_NAME} announces {index.num_frames} of "
            f"{len(index.bone_names)}. The files belong to different videos: make them again."
        )
    return Truth(folder, index, values)


def write_index(folder: Path, index: TruthIndex) -> None:
    """Write truth.json."""
    write_json(folder / INDEX_NAME, {"format": FORMAT, "version": VERSION, **dataclasses.asdict(index)})


def write_struct(path: Path, value: TensorStruct) -> None:
    """Write tensors by the names of their fields."""
    write_tensors(path, {k: v for k, v in vars(value).items() if isinstance(v, Tensor)})


def frame_name(frame: int) -> str:
    """File name of a frame's picture."""
    return f"frame_{frame:06d}.png"


def view_name(frame: int, number: int) -> str:
    """File name of an extra view."""
    return f"frame_{frame:06d}_view_{number:02d}.png"


def write_image(path: Path, image: ndarray) -> None:
    """Write an 8- or 16-bit PNG with 1, 3 or 4 channels (RGB order)."""
    import cv2

    if image.ndim == 3:
        image = image[..., [2, 1, 0, 3][: image.shape[2]]]
    done, data = cv2.imencode(".png", np.ascontiguousarray(image), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    assert done  # only wrong types make it fail
    path.write_bytes(data.tobytes())


def read_image(path: Path, shape: tuple[int, ...], dtype: type) -> ndarray:
    """Read a PNG that must have this shape and type.

    Raises:
        InputError: When it is missing or different.
    """
    import cv2

    if not path.is_file():
        raise InputError(f"{path} is missing; was the folder copied in part? Make the video again.")
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.shape != shape or image.dtype != dtype:
        found = "no picture" if image is None else f"{image.dtype} {image.shape}"
        raise InputError(f"{path} must be a PNG of {np.dtype(dtype)} {shape}, found {found}. Make the video again.")
    return image[..., [2, 1, 0, 3][: shape[2]]] if len(shape) == 3 else image


def _index(path: Path) -> TruthIndex:
    document = read_json(path)
    if document.get("format") != FORMAT or document.get("version") != VERSION:
        raise InputError(
            f"{path} must be {FORMAT} version {VERSION}, found {document.get('format')!r} version "
            f"{document.get('version')!r}. Make the video again with this program, or read it with the one that made it."
        )
    known = {f.name: f for f in dataclasses.fields(TruthIndex)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items() if k in known}
    missing = [k for k, f in known.items() if k not in values and f.default is dataclasses.MISSING]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; it may be damaged. Make the video again.")
    for key, field in known.items():
        if field.type == "float" and isinstance(values.get(key), int):
            values[key] = float(values[key])
    try:
        index = TruthIndex(**values)
        _plausible(index)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({json.dumps(str(error))}). Make the video again.") from error
    return index


def _plausible(index: TruthIndex) -> None:
    """Raise ValueError for values that cannot be."""
    if not (0 < index.width_px <= 1 << 14 and 0 < index.height_px <= 1 << 14 and 0 < index.num_frames < 1 << 24):
        raise ValueError(f"{index.num_frames} frames of {index.width_px} x {index.height_px} pixels")
    if not all(isinstance(f, int) and 0 <= f < index.num_frames for f in (*index.frames, *index.view_frames)):
        raise ValueError("frames beyond the end")
    if not (index.fps_hz > 0 and index.depth_step_m > 0):
        raise ValueError(f"{index.fps_hz} frames/s, depth in steps of {index.depth_step_m} m")


def _struct(kind: type, path: Path) -> Any:
    tensors, _ = read_tensors(path)
    names = {f.name for f in dataclasses.fields(kind)}
    if names - tensors.keys():
        raise InputError(f"{path} lacks {', '.join(sorted(names - tensors.keys()))}. Make the video again.")
    chosen: Mapping[str, Tensor] = {k: v for k, v in tensors.items() if k in names}
    return kind(**chosen)
