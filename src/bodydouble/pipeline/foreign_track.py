"""From a foreign body to a `BodyTrack`: the stand-in of all frames, in the camera of the rectified pictures."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import ARKIT_ACTIONS, BodyModel
from bodydouble.capture.foreign.rectify import Rectifier
from bodydouble.capture.foreign.values import ForeignCapture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Progress
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.fit.quality import LIMBS
from bodydouble.pipeline.foreign_body import placed, stand_in
from bodydouble.pipeline.foreign_check import camera_from_source, silhouette_iou, work_camera, work_mask
from bodydouble.pipeline.stages import Emit

_CAMERA_FIT = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
"""R_fit_camera: in the world of a fit the camera is at the origin and looks along -Z, +Y up."""
_WORST_IOU, _BEST_IOU = 0.45, 0.85
"""A frame's quality is 0 and 1 there: a stand-in of another build cannot reach 1 on a clothed person."""


def foreign_track(
    capture: ForeignCapture, body: BodyModel, rectifier: Rectifier, height_m: float, emit: Emit
) -> BodyTrack:
    """Our body in the poses of a capture that passed `foreign_check.check_body`.

    Each frame is brought into its own camera, so a moving camera turns up as a moving person; what the camera sees is
    the same. Where the source's scale differs from frame to frame, the person is moved along the line of sight instead.

    Args:
        capture: With cameras and a body.
        body: Ours.
        rectifier: Of the capture.
        height_m: Of the stand-in, from the check.
        emit: Told the progress.
    Returns:
        The track by place in the capture; `frame_quality` from the overlap with the masks.
    """
    foreign = capture.body
    assert foreign is not None
    index = _filled(foreign.valid)
    standing = stand_in(body, foreign, index)
    shape, translation = placed(body, standing, height_m)
    E = camera_from_source(capture)[index]
    size = torch.linalg.det(E[:, :3, :3]) ** (1 / 3) * foreign.scale[index]
    R = _CAMERA_FIT @ E[:, :3, :3] / (size / foreign.scale[index])[:, None, None]
    t = (E[:, :3, :3] @ foreign.translation[index, :, None])[..., 0] + E[:, :3, 3]
    rotvecs, place = _moved(
        body,
        shape,
        standing.rotvecs.double(),
        translation.double(),
        R,
        (_CAMERA_FIT @ (t / size[:, None])[..., None])[..., 0],
    )
    track = BodyTrack(
        body=body.name,
        frame_indices=torch.arange(capture.num_frames),
        times_s=torch.tensor([f.time_s - capture.frames[0].time_s for f in capture.frames], dtype=torch.float32),
        shape=shape,
        rotvecs=rotvecs.float(),
        translation_world_m=place.float(),
        expression=torch.zeros(capture.num_frames, len(ARKIT_ACTIONS)),
        focal_px=torch.tensor(rectifier.focal_px, dtype=torch.float32),
        focal_source="given",
        height_source="given",
        width_px=rectifier.width_px,
        height_px=rectifier.height_px,
        valid=foreign.valid.clone(),
        limb_names=LIMBS,
        limb_error_px=torch.full((capture.num_frames, len(LIMBS)), torch.nan),
        frame_quality=torch.zeros(capture.num_frames),
    )
    return track.replace(frame_quality=_quality(capture, body, rectifier, track, emit))


def _moved(
    body: BodyModel, shape: Tensor, rotvecs: Tensor, translation: Tensor, R: Tensor, t: Tensor
) -> tuple[Float[Tensor, "frames bones 3"], Float[Tensor, "frames 3"]]:
    """The same poses after a rigid motion of each frame."""
    root = body.bone_parents.index(-1)
    joint = body.with_shape(shape).joints_rest[root].double()
    moved = rotvecs.clone()
    moved[:, root] = matrix_to_rotvec(R @ rotvec_to_matrix(rotvecs[:, root]))
    place = (R @ (joint + translation)[..., None])[..., 0] + t - joint
    return moved, place


def _filled(valid: Tensor) -> Tensor:
    """For each frame the nearest one that has a body."""
    have = torch.nonzero(valid)[:, 0]
    frames = torch.arange(len(valid))
    return have[(frames[:, None] - have).abs().argmin(1)]


def _quality(
    capture: ForeignCapture, body: BodyModel, rectifier: Rectifier, track: BodyTrack, emit: Emit
) -> Float[Tensor, " frames"]:
    camera = work_camera(rectifier)
    shaped = body.with_shape(track.shape)
    quality = np.zeros(capture.num_frames)
    for i in range(capture.num_frames):
        mask = work_mask(capture, rectifier, i) if bool(track.valid[i]) else None
        if mask is not None:
            pose = track.pose(i)
            vertices = shaped.with_pose(pose).vertices().double() @ _CAMERA_FIT
            iou = silhouette_iou(vertices, body.faces, camera, mask)[2]
            quality[i] = np.clip((iou - _WORST_IOU) / (_BEST_IOU - _WORST_IOU), 0.0, 1.0)
        emit(Progress(stage="overlap", done=i + 1, total=capture.num_frames, unit="frames"))
    return torch.from_numpy(quality).float()
