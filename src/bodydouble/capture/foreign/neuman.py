"""NeuMan: a handheld camera solved by COLMAP, masks, SMPL per frame.

images/00000.png
sparse/cameras.txt, images.txt              COLMAP's text model; frames it could not place are left out
segmentations/00000.png                     black = person (so is the background where a mask is all one colour)
4d_humans/sam_segmentations/mask_0000.png   white = person; taken before the ones above, as HUGS does
4d_humans/smpl_optimized_aligned_scale.npz  global_orient, body_pose, betas, transl, scale: SMPL to the scene
smpl_output_optimized.npz                   or smpl_output_romp.npz: the same names without `scale`; together with
alignments.npy or alignments.npz            by image name a 4x3 matrix A: p_scene = (p_smpl, 1) A
train_split.txt, val_split.txt, test_split.txt
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bodydouble.capture.foreign.bodies import common_frames
from bodydouble.capture.foreign.colmap import ColmapView, read_colmap
from bodydouble.capture.foreign.files import by_number, existing, frames_of, inside, pictures, read_text
from bodydouble.capture.foreign.peoplesnapshot import smpl_from_npz
from bodydouble.capture.foreign.pictures import common_size
from bodydouble.capture.foreign.values import ForeignBody, ForeignCameras, ForeignCapture, ForeignFrame
from bodydouble.capture.foreign.worlds import make_cameras
from bodydouble.core.arrays import Npz, numbers
from bodydouble.core.errors import InputError
from bodydouble.core.pickles import read_object_npy

_ALIGNED = ("4d_humans/smpl_optimized_aligned_scale.npz", "smpl_optimized_aligned_scale.npz")
_RAW = ("smpl_output_optimized.npz", "smpl_output_romp.npz")
_SAM = "4d_humans/sam_segmentations"


def read_neuman(folder: Path, *, sequence: str, fps_hz: float | None) -> ForeignCapture:
    """Read the layout above.

    Raises:
        InputError: When a file is missing, damaged or does not go with the others.
    """
    notes: list[str] = []
    images = by_number(pictures(inside(folder, "images")))
    views = _views(folder, images, notes)
    sam = inside(folder, _SAM)
    masks = by_number(pictures(sam if sam.is_dir() else inside(folder, "segmentations")))
    rate = fps_hz or 30.0
    frames = frames_of({n: images[n] for n in views}, masks, fps_hz=rate, splits=_splits(folder))
    size = common_size([frame.image for frame in frames])
    for frame in frames:
        view = views[frame.number]
        if (view.width_px, view.height_px) != size:
            raise InputError(
                f"{folder / 'sparse/cameras.txt'}: the camera of {view.name} has {view.width_px}x{view.height_px} pixels, the "
                f"images have {size[0]}x{size[1]}. Take images and model of one size."
            )
    body, A = _body(folder, sorted(images), frames, notes)
    unit = _metres_per_unit(body, A)
    ordered = [views[frame.number] for frame in frames]
    if any(not np.allclose(v.distortion, ordered[0].distortion) for v in ordered):
        raise InputError(
            f"{folder / 'sparse'}: the frames have different lenses; one camera filmed by one lens is expected."
        )
    cameras = make_cameras(
        np.stack([v.K for v in ordered]),
        np.stack([v.T_camera_world for v in ordered]),
        pixel_offset=0.0,
        size_px=size,
        distortion=ordered[0].distortion,
        metres_per_unit=unit,
        where=str(folder / "sparse"),
    )
    return ForeignCapture(
        layout="neuman",
        folder=folder,
        sequence="",
        frames=frames,
        width_px=size[0],
        height_px=size[1],
        fps_hz=rate,
        fps_known=fps_hz is not None,
        mask_meaning="bright" if sam.is_dir() else "dark",
        cameras=_with_alignment(cameras, A),
        body=body,
        notes=tuple(notes),
    )


def _views(folder: Path, images: dict[int, Path], notes: list[str]) -> dict[int, ColmapView]:
    """COLMAP's views by frame number, for images that exist."""
    by_name = {path.name: number for number, path in images.items()}
    views = {}
    for view in read_colmap(inside(folder, "sparse")):
        name = inside(folder / "images", view.name).name
        if name not in by_name:
            raise InputError(
                f"{folder / 'sparse/images.txt'} names {view.name!r}, which is not in {folder / 'images'}."
            )
        views[by_name[name]] = view
    if len(views) < len(images):
        notes.append(
            f"{len(images) - len(views)} of {len(images)} images have no camera (COLMAP could not place them)."
        )
    return views


def _body(
    folder: Path, numbers_of_images: list[int], frames: tuple[ForeignFrame, ...], notes: list[str]
) -> tuple[ForeignBody | None, np.ndarray | None]:
    """The body of the frames and, if it is not in the scene yet, the matrices that bring it there."""
    aligned = next((p for p in (inside(folder, name) for name in _ALIGNED) if p.exists()), None)
    raw = next((p for p in (inside(folder, name) for name in _RAW) if p.exists()), None)
    if aligned is None and raw is None:
        if list(folder.glob("smpl_output_*.pkl")):
            raise InputError(
                f"{folder} has its body only as smpl_output_*.pkl, a joblib pickle, which is a program and not opened. Save "
                f"its arrays as {_RAW[0]} (global_orient, body_pose, betas, transl), or bring {_ALIGNED[0]}."
            )
        existing(folder, (*_ALIGNED, *_RAW), "body")
    source = aligned or raw
    assert source is not None, "`existing` raises where there is neither"
    body = smpl_from_npz(Npz(source))
    # Poses are by place in the whole video; a file with just as many as COLMAP could place is by place among those.
    among = numbers_of_images if len(body.rotvecs) != len(frames) else [frame.number for frame in frames]
    count = common_frames(len(among), len(body.rotvecs), str(source), notes)
    place = {n: i for i, n in enumerate(among)}
    chosen = [place[frame.number] for frame in frames]
    if max(chosen) >= count:
        raise InputError(f"{source} ends after frame {count - 1}; {frames[-1].name} has no pose.")
    index = torch.tensor(chosen)
    body = body.map(lambda t: t[index])
    if aligned is not None:
        return body, None
    # The original aligns the model's own output, so its translation is no part of it.
    body = body.replace(translation=torch.zeros_like(body.translation))
    return body, _alignments(folder, frames)


def _alignments(folder: Path, frames: tuple[ForeignFrame, ...]) -> np.ndarray:
    path = existing(folder, ("alignments.npz", "alignments.npy"), "alignments of the body to the scene")
    table = Npz(path) if path.suffix == ".npz" else read_object_npy(path)
    if not isinstance(table, dict | Npz):
        raise InputError(f"{path} must hold a matrix per image name, found {type(table).__name__}.")
    matrices = []
    for frame in frames:
        if frame.image.name not in table:
            raise InputError(f"{path} has no matrix for {frame.image.name}.")
        A = numbers(table[frame.image.name], (4, 3), f"{path}: {frame.image.name}").T
        size = np.cbrt(np.linalg.det(A[:, :3]))
        R = A[:, :3] / size if size > 0 else A[:, :3]
        if not size > 0 or np.abs(R @ R.T - np.eye(3)).max() > 2e-2:
            raise InputError(
                f"{path}: the matrix of {frame.image.name} is no rotation with a scale; expected 4x3 with p_scene = (p, 1) A."
            )
        matrices.append(np.concatenate([A, [[0.0, 0.0, 0.0, 1.0]]]))
    return np.stack(matrices)


def _metres_per_unit(body: ForeignBody | None, A: np.ndarray | None) -> float:
    """The scene's unit in metres: a body model is in metres, so it is one over the body's scale in the scene."""
    if A is not None:
        return float(1.0 / np.median(np.cbrt(np.linalg.det(A[:, :3, :3]))))
    return 1.0 if body is None else float(1.0 / body.scale.median())


def _with_alignment(cameras: ForeignCameras, A: np.ndarray | None) -> ForeignCameras:
    if A is None:
        return cameras
    return cameras.replace(T_world_source=cameras.T_world_source @ torch.from_numpy(A))


def _splits(folder: Path) -> dict[str, str]:
    splits = {}
    for split in ("train", "val", "test"):
        path = inside(folder, f"{split}_split.txt")
        if path.exists():
            splits.update({line.strip(): split for line in read_text(path).splitlines() if line.strip()})
    return splits
