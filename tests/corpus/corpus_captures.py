"""A capture of a body whose pose is known: real video, masks and landmarks from the body itself, no network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from tracks import made_up_track

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.capture.video import probe
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.cameras import video_camera
from bodydouble.corpus.consistency import PCK_LANDMARKS, body_landmarks_px, silhouette

WIDTH, HEIGHT, FOCAL, FPS = 128, 192, 210.0, 12.0


def track_of(body: BodyModel, frames: int) -> BodyTrack:
    """Somebody 3.2 m away who turns by 1.5 rad while the left arm comes down."""
    s = torch.linspace(0.0, 1.0, frames)
    rotvecs = torch.zeros(frames, len(body.bone_names), 3)
    rotvecs[:, 0, 1] = 1.5 * s
    rotvecs[:, body.bone_names.index(body.humanoid["leftUpperArm"]), 2] = -0.7 * s
    rotvecs[:, body.bone_names.index(body.humanoid["rightLowerLeg"]), 0] = 0.5 * s
    root = body.with_shape(body.shape_default).joints_rest[0]
    place = torch.stack([0.1 * s - 0.05, 0.0 * s, -3.2 + 0.2 * s], 1)
    return made_up_track(
        rotvecs,
        place - root,
        body.shape_default,
        body=body.name,
        times_s=torch.arange(frames) / FPS,
        focal_px=torch.tensor(FOCAL),
        width_px=WIDTH,
        height_px=HEIGHT,
    )


def make_capture(folder: Path, body: BodyModel, frames: int = 24) -> Capture:
    """A capture folder with its video: an orange person on a grey gradient."""
    track = track_of(body, frames)
    camera = video_camera(WIDTH, HEIGHT, FOCAL)
    shaped = body.with_shape(track.shape)
    masks, boxes = [], np.zeros((frames, 4))
    ramp = np.linspace(60, 140, WIDTH)[None, :, None] * np.ones((HEIGHT, 1, 3))
    folder.mkdir(parents=True, exist_ok=True)
    with VideoWriter(folder / "video.mp4", FPS, WIDTH, HEIGHT, lossless=True) as video:
        for i in range(frames):
            pose = track.pose(i)
            mask = silhouette(shaped.with_pose(pose).vertices(), body, camera)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            masks.append(mask)
            video.write(np.where(mask[..., None], [220, 130, 60], ramp).astype(np.uint8))
    info = dataclasses.replace(probe(folder / "video.mp4"), focal_px=FOCAL)
    capture = Capture.create(folder / "capture", info)
    capture.set_span(0, frames)
    for i, mask in enumerate(masks):
        capture.save_mask(i, mask.astype(np.uint8) * 255)
    capture.save_observations(
        Observations(
            frame_indices=torch.arange(frames),
            times_s=track.times_s,
            width_px=WIDTH,
            height_px=HEIGHT,
            landmark_names=PCK_LANDMARKS,
            xy_px=torch.from_numpy(body_landmarks_px(track, body)).float(),
            xyz_camera_m=torch.zeros(frames, 12, 3),
            confidence=torch.ones(frames, 12),
            present=torch.ones(frames, dtype=torch.bool),
            box_px=torch.from_numpy(boxes).float(),
        )
    )
    capture.save_track(track)
    return capture
