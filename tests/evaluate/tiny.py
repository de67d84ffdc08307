"""A tiny performer made of splats on four bones, filmed with known poses: truth for the evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tracks import made_up_track

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.values import Avatar, Provenance, Rig, Splats
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.capture.video import probe
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.cameras import video_camera
from bodydouble.render.reference import rasterize_reference

WIDTH, HEIGHT, FOCAL, FPS = 96, 128, 140.0, 30.0
HAND = tuple(f"left_hand/{k}" for k in range(21))
BODY = tuple(f"body/{k}" for k in range(12))
NAMES = (*BODY, *HAND)


def tiny_avatar(seed: int = 0) -> Avatar:
    """A torso, a head and two arms of coloured blobs; about 1.4 m high, standing on the origin."""
    rng = np.random.default_rng(seed)
    blocks = (
        (0, (0.0, 0.5, 0.0), (0.14, 0.40, 0.05), 34, (0.9, 0.2, 0.2)),
        (1, (0.0, 1.2, 0.0), (0.08, 0.10, 0.06), 8, (0.9, 0.8, 0.3)),
        (2, (0.35, 0.75, 0.0), (0.16, 0.04, 0.04), 14, (0.2, 0.7, 0.9)),
        (3, (-0.35, 0.75, 0.0), (0.16, 0.04, 0.04), 14, (0.3, 0.9, 0.3)),
    )
    means, colors, joints = [], [], []
    for bone, centre, half, count, color in blocks:
        means.append(np.asarray(centre) + rng.uniform(-1, 1, (count, 3)) * half)
        colors.append(np.clip(np.asarray(color) + rng.normal(0, 0.12, (count, 3)), 0.05, 0.95))
        joints += [bone] * count
    count = len(joints)
    sh = (torch.tensor(np.concatenate(colors), dtype=torch.float32) - 0.5) / 0.28209479177387814
    index = torch.tensor(joints)[:, None].repeat(1, 4)
    weights = torch.zeros(count, 4)
    weights[:, 0] = 1.0
    return Avatar(
        rig=Rig(
            bone_names=("hips", "head", "arm.L", "arm.R"),
            bone_parents=(-1, 0, 0, 0),
            joints_rest_m=torch.tensor([[0.0, 0.5, 0.0], [0.0, 1.05, 0.0], [0.2, 0.75, 0.0], [-0.2, 0.75, 0.0]]),
            humanoid={"hips": "hips", "head": "head", "leftUpperArm": "arm.L", "rightUpperArm": "arm.R"},
        ),
        mesh=None,
        splats=Splats(
            means_rest_m=torch.tensor(np.concatenate(means), dtype=torch.float32),
            quats_wxyz=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
            scales_m=torch.full((count, 3), 0.05),
            opacities=torch.full((count,), 0.95),
            sh=sh[:, None, :],
            joints=index,
            weights=weights,
            seen=torch.ones(count),
        ),
        provenance=Provenance(generator="test"),
    )


def true_track(frames: int) -> BodyTrack:
    """Still in the first half, waving both arms in the second."""
    turn = torch.zeros(frames, 4, 3)
    for f in range(frames // 2, frames):
        angle = 0.9 * math.sin((f - frames // 2) / 3 + 0.4)
        turn[f, 2, 2], turn[f, 3, 2] = angle, -angle
    return made_up_track(
        turn,
        torch.tensor([0.0, -0.65, -2.2]),
        torch.zeros(1),
        body="test",
        times_s=torch.arange(frames) / FPS,
        focal_px=torch.tensor(FOCAL),
        width_px=WIDTH,
        height_px=HEIGHT,
        limb_names=("torso", "left_leg"),
        limb_error_px=torch.stack([torch.full((frames,), 2.0), torch.full((frames,), float("nan"))], dim=1),
        frame_quality=torch.full((frames,), 0.9),
    )


@dataclass(frozen=True)
class TinyCapture:
    capture: Capture
    avatar: Avatar
    truth: BodyTrack


def film(folder: Path, frames: int = 32, *, absent: tuple[int, ...] = ()) -> TinyCapture:
    """Film the performer before a green wall; frames in `absent` have an empty mask."""
    avatar, truth = tiny_avatar(), true_track(frames)
    camera = video_camera(WIDTH, HEIGHT, FOCAL)
    green = torch.tensor([0.1, 0.5, 0.2])
    masks: list[np.ndarray] = []
    xy = torch.zeros(frames, len(NAMES), 2)
    image = None
    video = folder / "tiny.mp4"
    with VideoWriter(video, FPS, WIDTH, HEIGHT, crf=1) as out:
        for f in range(frames):
            pose = truth.pose(f)
            posed = pose_avatar(avatar, pose)
            assert posed.splats is not None
            if f == 0 or not torch.equal(truth.rotvecs[f], truth.rotvecs[f - 1]):
                image = rasterize_reference(posed.splats, camera, green)
            assert image is not None
            out.write((image.rgb.clamp(0, 1) * 255).round().byte().numpy())
            masks.append((image.alpha.clamp(0, 1) * 255).round().byte().numpy())
            pixels = camera.project(posed.splats.means_world)[0]
            xy[f, : len(BODY)] = pixels[42 : 42 + len(BODY)]  # on the left arm: it waves
            xy[f, len(BODY) :] = pixels[42:56].repeat(2, 1)[: len(HAND)]
    capture = Capture.create(folder / "capture", probe(video))
    present = torch.ones(frames, dtype=torch.bool)
    for f in range(frames):
        if f in absent:
            capture.save_mask(f, np.zeros((HEIGHT, WIDTH), np.uint8))
        else:
            capture.save_mask(f, masks[f])
    confidence = torch.ones(frames, len(NAMES))
    confidence[frames // 2 :, len(BODY) :] = 0.2  # the hand is lost in the second half
    capture.save_observations(
        Observations(
            frame_indices=torch.arange(frames),
            times_s=torch.arange(frames) / FPS,
            width_px=WIDTH,
            height_px=HEIGHT,
            landmark_names=NAMES,
            xy_px=xy,
            xyz_camera_m=torch.zeros(frames, len(NAMES), 3),
            confidence=confidence,
            present=present,
            box_px=torch.tensor([10.0, 10.0, 86.0, 118.0]).repeat(frames, 1),
        )
    )
    return TinyCapture(capture=capture, avatar=avatar, truth=truth)
