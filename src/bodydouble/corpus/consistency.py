"""Does a fitted body lie where the person was seen? Keypoints (PCK) and outlines (SOIOU, SSIOU), frame by frame.

The names are those of WildAvatar (Huang et al., CVPR 2025), whose definitions were not published; ours are stated here:

- PCK: share of the seen landmarks (`PCK_LANDMARKS`, confidence of at least `SEEN`) that the body puts within a radius of
  where they were seen. The radius is a share of the longer side of the person's box in that frame.
- SOIOU: share of the naked body's silhouette, inside the picture, that is outside the person's mask.
- SSIOU: 1 / intersection over union of silhouette and mask, at least 1: a measure of loose clothing, not of quality.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.errors import ConfigError

PCK_LANDMARKS: tuple[str, ...] = tuple(
    f"body/{side}_{joint}"
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)
"""The joints that every body model and every 2D estimator share."""
PCK_RADII: tuple[float, ...] = (0.02, 0.05, 0.10)
"""In longer sides of the person's box."""
SEEN = 0.5
"""Confidence from which a landmark counts as seen."""
_RASTER_PX = 256
"""Longer side of the pictures in which silhouettes are compared."""
_MASK_LEVEL = 128


@dataclass(frozen=True, kw_only=True)
class OutlineFigures:
    """How the body's silhouette lies on the mask in one frame."""

    soiou: float
    """Share of the silhouette outside the mask; 1 where the body is nowhere in the picture."""
    iou: float

    @property
    def ssiou(self) -> float:
        """Inverse of the intersection over union; infinite without any."""
        return 1.0 / self.iou if self.iou > 0.0 else float("inf")


def pck(
    predicted_px: Float[np.ndarray, "frames points 2"],
    seen_px: Float[np.ndarray, "frames points 2"],
    confidence: Float[np.ndarray, "frames points"],
    size_px: Float[np.ndarray, " frames"],
    radius: float,
) -> Float[np.ndarray, " frames"]:
    """Percentage of correct keypoints of each frame, as a share.

    Args:
        predicted_px, seen_px: Of the same landmarks, pixels.
        confidence: Of the seen ones, in [0, 1].
        size_px: What the radius is a share of: the longer side of the person's box.
        radius: In `size_px`; a landmark at exactly that distance is correct.
    Returns:
        In [0, 1]; NaN for frames in which none of the landmarks was seen, or the box is empty.
    Raises:
        ConfigError: When the radius is not positive.
    """
    if not radius > 0.0:
        raise ConfigError(f"pck: the radius must be a positive share of the person's box, got {radius}; 0.05 is usual.")
    counted = (confidence >= SEEN) & (size_px > 0)[:, None]
    distance = np.linalg.norm(predicted_px - seen_px, axis=-1)
    good = counted & (distance <= radius * size_px[:, None])
    number = counted.sum(1)
    return np.where(number > 0, good.sum(1) / np.maximum(number, 1), np.nan)


def outline_figures(
    silhouette: Bool[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> OutlineFigures:
    """SOIOU and intersection over union of a silhouette and a mask of the same picture."""
    body, both = int(silhouette.sum()), int((silhouette & mask).sum())
    either = body + int(mask.sum()) - both
    return OutlineFigures(soiou=(body - both) / body if body else 1.0, iou=both / either if either else 0.0)


def body_landmarks_px(track: BodyTrack, body: BodyModel) -> Float[np.ndarray, "frames points 2"]:
    """Where a fitted body puts `PCK_LANDMARKS` in the picture.

    The places of landmarks on the body are those learnt once for everybody (`fit.landmarks`); what the fit calibrated for
    the video is not used, so the figure does not flatter itself.

    Args:
        track: The fit.
        body: Its body model.
    Returns:
        Pixels; meaningless behind the camera.
    """
    from bodydouble.fit.landmarks import build_landmarks

    points = build_landmarks(body)
    rows = [points.index(name) for name in PCK_LANDMARKS]
    shaped = body.with_shape(track.shape)
    joints, vertices = shaped.joints_rest.double(), shaped.vertices_rest.double()
    rest = torch.from_numpy(points.joint_weights[rows]).double() @ joints
    rest = rest + torch.from_numpy(points.vertex_weights[rows]).double() @ vertices[torch.as_tensor(points.vertex_ids)]
    rest = rest + torch.from_numpy(points.offsets[rows]).double() * float(body.height_m(track.shape))
    posed = shaped.with_pose(track.pose())
    bones = torch.as_tensor(points.bones[rows])
    R, t = posed.R_world_rest[:, bones].double(), posed.t_world_rest[:, bones].double()
    world = (R @ rest[None, :, :, None])[..., 0] + t
    pixels, _ = video_camera(track.width_px, track.height_px, float(track.focal_px)).project(world.float())
    return pixels.double().numpy()


def seen_landmarks(
    observations: Observations,
) -> tuple[Float[np.ndarray, "frames points 2"], Float[np.ndarray, "frames points"]] | None:
    """Place in pixels and confidence of `PCK_LANDMARKS`; None when the observations lack them (imported captures do)."""
    place = {name: i for i, name in enumerate(observations.landmark_names)}
    if any(name not in place for name in PCK_LANDMARKS):
        return None
    columns = torch.tensor([place[name] for name in PCK_LANDMARKS])
    confidence = observations.confidence[:, columns] * observations.present[:, None]
    return observations.xy_px[:, columns].double().numpy(), confidence.double().numpy()


def box_size_px(boxes_px: Float[Tensor, "frames 4"]) -> Float[np.ndarray, " frames"]:
    """Longer side of each box, pixels."""
    return (boxes_px[:, 2:] - boxes_px[:, :2]).amax(1).double().numpy()


def keypoint_scores(observations: Observations, track: BodyTrack, body: BodyModel) -> dict[float, np.ndarray]:
    """PCK of each frame at each of `PCK_RADII`; empty when the observations have no landmarks."""
    seen = seen_landmarks(observations)
    if seen is None:
        return {}
    predicted, size = body_landmarks_px(track, body), box_size_px(observations.box_px)
    return {radius: pck(predicted, seen[0], seen[1], size, radius) for radius in PCK_RADII}


def outline_scores(
    capture: Capture, track: BodyTrack, body: BodyModel, rows: Int[np.ndarray, " chosen"]
) -> list[OutlineFigures]:
    """Figures of the outlines in some frames of a track; frames without a mask are left out.

    Args:
        capture: With masks.
        track: Of the capture's frames.
        body: Its body model.
        rows: Which frames, by place in the track.
    """
    found = []
    camera = _small_camera(track)
    shaped = body.with_shape(track.shape)
    for row in rows.tolist():
        mask = capture.mask(int(track.frame_indices[row]))
        if mask is None or not bool(track.valid[row]):
            continue
        vertices = shaped.with_pose(track.pose(row)).vertices()
        found.append(outline_figures(silhouette(vertices, body, camera), _shrunk(mask, camera)))
    return found


def silhouette(
    vertices_world: Float[Tensor, "verts 3"], body: BodyModel, camera: Camera
) -> Bool[np.ndarray, "height width"]:
    """Where a camera sees a body."""
    from bodydouble.render.mesh import rasterize_mesh

    return rasterize_mesh(vertices_world, body.faces, camera).mask.numpy()


def _small_camera(track: BodyTrack) -> Camera:
    scale = min(1.0, _RASTER_PX / max(track.width_px, track.height_px))
    size = (max(1, round(track.width_px * scale)), max(1, round(track.height_px * scale)))
    whole = video_camera(track.width_px, track.height_px, float(track.focal_px))
    return whole.cropped(0, 0, (track.width_px, track.height_px), size)


def _shrunk(mask: np.ndarray, camera: Camera) -> np.ndarray:
    import cv2

    return cv2.resize(mask, (camera.width_px, camera.height_px), interpolation=cv2.INTER_AREA) >= _MASK_LEVEL
