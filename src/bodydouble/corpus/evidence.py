"""What a clip shows: is somebody there, how surely, how much of the body, how large, how varied in view and pose?

All figures are of the whole clip and come from what is stored in a capture; no picture is looked at again.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.corpus.consistency import SEEN, box_size_px, seen_landmarks

_MOTION_WINDOW_S = 0.2
_EDGE_PX = 1.0
_NEAREST_M = 0.1
"""Nobody is nearer to the camera; keeps a failed fit from dividing by zero."""
_RANGE_FRAMES = 48
"""Frames between which ranges are measured, evenly spread."""
_POSE_BONES = tuple(
    f"{side}{bone}"
    for side in ("left", "right")
    for bone in ("UpperArm", "LowerArm", "UpperLeg", "LowerLeg")
)  # fmt: skip


def observation_scores(observations: Observations) -> dict[str, float]:
    """Figures of the detection: names and meanings in `measure.SCORES`."""
    present = observations.present
    scores = {
        "frames": float(len(present)),
        "seconds": float(observations.times_s[-1] - observations.times_s[0]) if len(present) else 0.0,
        "presence": float(present.double().mean()) if len(present) else 0.0,
        "shorter_side_px": float(min(observations.width_px, observations.height_px)),
    }
    if not bool(present.any()):
        return scores
    box = observations.box_px[present]
    height = (box[:, 3] - box[:, 1]).double()
    scores["person_px"] = float(height.median())
    scores["person_share"] = float(height.median()) / observations.height_px
    scores["uncut"] = float((~_cut_off(box, observations.width_px, observations.height_px)).double().mean())
    seen = seen_landmarks(observations)
    if seen is not None:
        xy, confidence = seen
        here = present.numpy()
        scores["confidence"] = float(confidence[here].mean())
        scores["visible"] = float((confidence[here] >= SEEN).mean())
        scores["motion"] = motion_per_s(xy, confidence, box_size_px(observations.box_px), observations.times_s.numpy())
    return scores


def motion_per_s(
    xy_px: Float[np.ndarray, "frames points 2"],
    confidence: Float[np.ndarray, "frames points"],
    size_px: Float[np.ndarray, " frames"],
    times_s: Float[np.ndarray, " frames"],
) -> float:
    """How fast the seen landmarks move in the picture, in sizes of the person a second.

    Places are averaged over windows of 0.2 s, which takes out the jitter of estimators; the distance from one window's
    mean to the next's is a speed for each landmark. The figure is the 75th percentile over windows of the mean over
    landmarks: a clip in which somebody moves for a quarter of the time moves. NaN where no landmark is seen in two windows
    that follow each other: nothing can be said of it.
    """
    if not len(times_s):
        return float("nan")
    window = np.floor((times_s - times_s[0]) / _MOTION_WINDOW_S + 1e-6).astype(int)
    weight = (confidence >= SEEN).astype(float)
    count = window.max() + 1
    total, mass, size, number = (np.zeros((count, *s)) for s in ((xy_px.shape[1], 2), (xy_px.shape[1],), (), ()))
    np.add.at(total, window, xy_px * weight[..., None])
    np.add.at(mass, window, weight)
    np.add.at(size, window, size_px)
    np.add.at(number, window, size_px > 0)
    mean = total / np.maximum(mass, 1e-9)[..., None]
    both = (mass[1:] > 0) & (mass[:-1] > 0) & (number[1:] > 0)[:, None] & (number[:-1] > 0)[:, None]
    if not both.any():
        return float("nan")
    step = np.linalg.norm(np.diff(mean, axis=0), axis=-1)
    body = 0.5 * ((size / np.maximum(number, 1))[1:] + (size / np.maximum(number, 1))[:-1])
    rows = both.any(1)
    moved = np.where(both, step, 0.0).sum(1)[rows] / both.sum(1)[rows] / np.maximum(body[rows], 1.0)
    return float(np.percentile(moved, 75) / _MOTION_WINDOW_S)


def body_scores(track: BodyTrack, body: BodyModel) -> dict[str, float]:
    """Figures of the fit: its quality and its variety of views and poses."""
    valid = track.valid
    if not bool(valid.any()):
        return {}
    return {
        "fit_quality": float(track.frame_quality[valid].mean()),
        "view_range_rad": view_range_rad(track, body),
        "pose_range_rad": pose_range_rad(track, body),
        "height_m": float(body.height_m(track.shape)),
        "stature_px": stature_px(track, body),
    }


def view_directions(track: BodyTrack, body: BodyModel) -> Float[Tensor, "frames 3"]:
    """Direction from the hips to the camera in the axes of the hips at rest (+Z is seen from the front), unit length, of
    the valid frames."""
    root = body.bone_parents.index(-1)
    R = rotvec_to_matrix(track.rotvecs[track.valid, root].double())
    to_camera = -_hips_world_m(track, body)  # the camera is at the origin
    return torch.nn.functional.normalize((R.transpose(1, 2) @ to_camera[..., None])[..., 0], dim=1)


def view_range_rad(track: BodyTrack, body: BodyModel) -> float:
    """Largest angle between any two directions from which the person's hips are seen: pi for front and back."""
    directions = view_directions(track, body)
    chosen = directions[_spread(len(directions))]
    return float(torch.arccos((chosen @ chosen.T).clamp(-1.0, 1.0)).max())


def stature_px(track: BodyTrack, body: BodyModel) -> float:
    """How tall the body would stand upright in the picture where its hips are: focal length x height / depth, median over
    the valid frames. Unlike the height of a box it does not shrink with what is hidden, cut off or crouching."""
    depth_m = -_hips_world_m(track, body)[:, 2]
    tall_m = float(body.height_m(track.shape))
    return float(track.focal_px) * tall_m / max(float(depth_m.median()), _NEAREST_M)


def _hips_world_m(track: BodyTrack, body: BodyModel) -> Float[Tensor, "frames 3"]:
    """Place of the hips in the valid frames; the camera is at the origin and looks along -Z."""
    root = body.bone_parents.index(-1)
    rest = body.with_shape(track.shape).joints_rest[root].double()
    return rest + track.translation_world_m[track.valid].double()


def pose_range_rad(track: BodyTrack, body: BodyModel) -> float:
    """Largest difference between any two poses: mean over upper and lower arms and legs of the angle of their turns."""
    bones = [body.bone_names.index(body.humanoid[name]) for name in _POSE_BONES]
    rotvecs = track.rotvecs[track.valid][:, bones].double()
    R = rotvec_to_matrix(rotvecs[_spread(len(rotvecs))])
    trace = torch.einsum("abij,cbij->acb", R, R)
    angle = torch.arccos(((trace - 1.0) / 2.0).clamp(-1.0, 1.0))
    return float(angle.mean(-1).max())


def _spread(count: int) -> Tensor:
    return torch.linspace(0, max(count - 1, 0), min(count, _RANGE_FRAMES)).round().long()


def _cut_off(box: Tensor, width_px: int, height_px: int) -> Tensor:
    """Whether a person's box touches the picture's edge."""
    low = (box[:, :2] <= _EDGE_PX).any(1)
    return low | (box[:, 2] >= width_px - _EDGE_PX) | (box[:, 3] >= height_px - _EDGE_PX)
