"""How near the truth a surface double is: its masks, its surface, and the world behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.folder import Capture, read_mask
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.evaluate.alignment import body_alignment
from bodydouble.evaluate.masks import mask_iou
from bodydouble.evaluate.surfaces import Surface, compare_surfaces
from bodydouble.reconstruct.surface.extract import extract_mesh
from bodydouble.reconstruct.surface.field import skin_at
from bodydouble.reconstruct.surface.render import SurfaceRenderer, render_frame
from bodydouble.reconstruct.surface.silhouettes import write_silhouettes
from bodydouble.reconstruct.surface.values import SurfaceField, SurfaceResult, World
from bodydouble.synth.truth import Truth

_MASK_SIDE_PX = 480
"""Longer side of the pictures on which masks are compared."""
_NEAR_PX = 6
"""Pixels so near the person are neither's: the true mask is soft there."""
_SAMPLES, _GRID_M = 30_000, 0.02


@dataclass(frozen=True, kw_only=True)
class SurfaceScores:
    """Figures of one double."""

    mask_iou: float
    """Of masks told from the field's outline (`reconstruct.surface.silhouettes`), on trained frames, poses as training left
    them."""
    outline_iou: float
    """Of that outline itself."""
    chamfer_cm: float
    normal_consistency: float
    volume_iou: float
    """Body-aligned: after the rigid motion that brings the fitted body's posed vertices onto the true body's."""
    background_psnr: float
    """dB, on trained frames where they show the world."""
    seconds: float
    """Camera, world and training; landmarks and fit were there."""
    peak_mb: float


def outline_iou(result: SurfaceResult, body: BodyModel, truth: Truth, frames: Sequence[int]) -> float:
    """Mean IoU of the field's outlines with the true masks."""
    import cv2

    renderer = SurfaceRenderer(result.field, body)
    scale = min(1.0, _MASK_SIDE_PX / max(result.track.width_px, result.track.height_px))
    found = []
    for frame in frames:
        alpha = render_frame(result, renderer, frame, scale).alpha.numpy()
        true = cv2.resize(truth.mask(frame), alpha.shape[::-1], interpolation=cv2.INTER_AREA)
        found.append(mask_iou(alpha > 0.5, true > 127))
    return float(np.mean(found))


def told_iou(
    result: SurfaceResult, capture: Capture, body: BodyModel, truth: Truth, frames: Sequence[int], folder: Path
) -> float:
    """Mean IoU of masks told from the field's outlines with the true ones.

    Args:
        result, capture, body: The training, its video and its body.
        truth: About the performer.
        frames: Source frames to compare.
        folder: Where masks go.
    """
    renderer, track = SurfaceRenderer(result.field, body), result.track

    def outline(row: int, camera: Camera) -> np.ndarray:
        return renderer.draw(track.rotvecs[row], track.translation_world_m[row], camera).alpha.numpy()

    write_silhouettes(track, result.world, capture, body, outline, folder, lambda event: None, frames)
    found = []
    for frame in frames:
        true = truth.mask(frame) > 127
        mask = read_mask(folder, frame, true.shape)
        assert mask is not None, "it was just written"
        found.append(mask_iou(mask > 127, true))
    return float(np.mean(found))


def background_psnr(world: World, capture: Capture, truth: Truth, frames: Sequence[int]) -> float:
    """Mean PSNR of the world where the true masks say that frames show it, and the world knows."""
    import cv2

    found = []
    kernel = np.ones((2 * _NEAR_PX + 1,) * 2, np.uint8)
    for frame in capture.frames(sorted(frames)):
        open_ = cv2.dilate(truth.mask(frame.index), kernel) < 1
        lines, columns = np.nonzero(open_)
        keep = slice(None, None, max(1, len(lines) // 60_000))
        pixels = torch.from_numpy(np.stack([columns[keep], lines[keep]], axis=1).astype(np.float32) + 0.5)
        shown = world.colors_at(frame.index, pixels).detach().numpy()
        error = (shown - frame.rgb[lines[keep], columns[keep]].astype(np.float32) / 255.0) ** 2
        found.append(-10.0 * np.log10(max(float(error.mean()), 1e-10)))
    return float(np.mean(found)) if found else float("nan")


def surface_of(result: SurfaceResult, body: BodyModel, truth: Truth, *, most_frames: int = 4) -> dict[str, float]:
    """Chamfer distance, normal consistency and shared volume, mean over frames with a true mesh.

    Those frames are held out of training; their poses follow the frames around (`SurfaceTrainer.refined_track`).
    """
    field, track = result.field, result.track
    mesh = extract_mesh(field.sdf.values[..., 0], field.sdf.origin_canonical_m, field.sdf.voxel_m)
    rows = {int(index): row for row, index in enumerate(track.frame_indices.tolist())}
    known = [f for f in truth.index.frames if f in rows and bool(track.valid[rows[f]])]
    known = [known[k] for k in np.unique(np.linspace(0, len(known) - 1, min(len(known), most_frames)).astype(int))]
    true_mesh, true_faces = truth.mesh(), truth.mesh().faces.numpy().astype(np.int64)
    weights = skin_at(field.skin, mesh.vertices_m.float(), len(body.bone_names))
    found: dict[str, list[float]] = {"chamfer_cm": [], "normal_consistency": [], "volume_iou": []}
    for frame in known:
        row = rows[frame]
        posed, body_vertices = _posed(field, body, track, row, mesh.vertices_m.float(), weights)
        T = torch.linalg.inv(video_camera(1, 1, 1.0).T_camera_world) @ truth.values.T_camera_world[frame]
        true = (truth.vertices_world_m(frame, true_mesh) @ T[:3, :3].T + T[:3, 3]).numpy()
        true_body = (_true_body(body, truth, frame) @ T[:3, :3].T + T[:3, 3]).numpy()
        alignment = body_alignment(body_vertices.numpy(), true_body, body.faces.numpy(), scaled=False)
        aligned = alignment.apply(posed.numpy())
        agreement = compare_surfaces(
            Surface(vertices_m=aligned, faces=mesh.faces.numpy().astype(np.int64)),
            Surface(vertices_m=true, faces=true_faces),
            samples=_SAMPLES,
            grid_m=_GRID_M,
        )
        for name, values in found.items():
            values.append(getattr(agreement, name))
    return {name: float(np.mean(values)) if values else float("nan") for name, values in found.items()}


def _posed(
    field: SurfaceField,
    body: BodyModel,
    track: BodyTrack,
    row: int,
    vertices_canonical: Float[Tensor, "verts 3"],
    weights: Float[Tensor, "verts bones"],
) -> tuple[Tensor, Tensor]:
    """The clothed surface and the bare body in a row's pose, in the world of the fit."""
    with torch.no_grad():
        pose = Pose(rotvecs=track.rotvecs[row].float(), translation_world_m=track.translation_world_m[row].float())
        posed = body.with_shape(track.shape.float()).with_pose(pose)
        R = posed.R_world_rest @ field.R_canonical_rest.transpose(1, 2)
        t = posed.t_world_rest - (R @ field.t_canonical_rest[..., None])[..., 0]
        A = torch.einsum("vb,bij->vij", weights, R)
        return (A @ vertices_canonical[..., None])[..., 0] + weights @ t, posed.vertices()


def _true_body(body: BodyModel, truth: Truth, frame: int) -> Float[Tensor, "verts 3"]:
    values = truth.values
    with torch.no_grad():
        pose = Pose(rotvecs=values.rotvecs[frame], translation_world_m=values.translation_world_m[frame])
        return body.with_shape(values.shape).with_pose(pose).vertices()
