"""Tracks that were never fitted, for tests of what is done with one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations


def made_up_track(rotvecs: Tensor, translation_world_m: Tensor, shape: Tensor, **facts: Any) -> BodyTrack:
    """A track of Anny that says nothing special: every frame is there and fits, nobody makes a face.

    Args:
        rotvecs: [frames, bones, 3].
        translation_world_m: [frames, 3], or [3] for all frames.
        shape: Of the body.
        facts: Fields of `BodyTrack` that matter to the test.
    """
    frames = len(rotvecs)
    plain: dict[str, Any] = {
        "body": "anny",
        "frame_indices": torch.arange(frames),
        "times_s": torch.arange(frames) / 30.0,
        "expression": torch.zeros(frames, 52),
        "focal_px": torch.tensor(600.0),
        "focal_source": "given",
        "height_source": "given",
        "width_px": 512,
        "height_px": 512,
        "valid": torch.ones(frames, dtype=torch.bool),
        "limb_names": ("torso",),
        "limb_error_px": torch.zeros(frames, 1),
        "frame_quality": torch.ones(frames),
    }
    place = translation_world_m.expand(frames, 3).clone()
    return BodyTrack(rotvecs=rotvecs, translation_world_m=place, shape=shape, **{**plain, **facts})


def save_filmed(
    capture: Capture, body: BodyModel, rotvecs: Tensor, translation_world_m: Tensor, focal_px: float
) -> None:
    """Give a capture the track its film was made from, and observations without landmarks.

    Args:
        capture: Of the film.
        body: Of default shape in the film.
        rotvecs, translation_world_m: [frames, bones, 3] and [frames, 3] of the film.
        focal_px: Of its camera.
    """
    info = capture.info
    track = made_up_track(
        rotvecs,
        translation_world_m,
        body.shape_default.detach().clone(),
        times_s=torch.arange(len(rotvecs)) / info.fps_hz,
        focal_px=torch.tensor(focal_px),
        width_px=info.width_px,
        height_px=info.height_px,
    )
    capture.save_observations(nothing_seen(track))
    capture.save_track(track)


def nothing_seen(track: BodyTrack, box_px: Tensor | None = None) -> Observations:
    """Observations of a person who is there in every frame, none of whose landmarks was found.

    Args:
        track: Whose frames and size they have.
        box_px: [4] the person's in all frames; the whole picture by default.
    """
    frames = len(track.frame_indices)
    box = torch.tensor([0.0, 0.0, track.width_px, track.height_px]) if box_px is None else box_px
    return Observations(
        frame_indices=track.frame_indices,
        times_s=track.times_s,
        width_px=track.width_px,
        height_px=track.height_px,
        landmark_names=("body/nose",),
        xy_px=torch.zeros(frames, 1, 2),
        xyz_camera_m=torch.zeros(frames, 1, 3),
        confidence=torch.zeros(frames, 1),
        present=torch.ones(frames, dtype=torch.bool),
        box_px=box.expand(frames, 4).clone(),
    )
