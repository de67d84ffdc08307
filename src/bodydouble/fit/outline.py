"""Poses from landmarks and outline alone, once an avatar exists: its outline is laid on the mask of each frame.

Before training only the bare body is known, whose outline is not that of a clothed person. The avatar has clothes and
hair, so that its outline may be held against the mask; what landmarks place better (wrists, fingers, head) stays where
the fit has it. No colour of the frame is looked at: the avatar is drawn all white, and so is the person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bodydouble.avatar.values import Rig, Splats
from bodydouble.capture.crops import person_crops
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.events import Event
from bodydouble.fit.held import landmark_trust
from bodydouble.fit.looks import FrameLooks
from bodydouble.fit.photometric import align_photometrically
from bodydouble.fit.pose_problem import PoseProblem, RegisterConfig, frames_counted, rows_of_crops
from bodydouble.render.protocol import Rasterizer
from bodydouble.render.sh import rgb_to_sh

DEFAULT_OUTLINE = RegisterConfig(
    rounds=0, sweeps=(0, 0), rotation_sigma_rad=0.1, translation_sigma_m=0.03, neighbour_sigma_rad=10.0, color_sigma=0.5
)
"""At full size only, and each frame for itself: small crops pull thin limbs astray, and smoothing with neighbours gains
nothing. White against gray differs more than cloth does, so that a pixel counts less."""


def outline_frames(
    capture: Capture,
    rig: Rig,
    splats: Splats,
    track: BodyTrack,
    frame_indices: Sequence[int],
    rasterizer: Rasterizer,
    config: RegisterConfig,
    emit: Callable[[Event], None],
) -> BodyTrack:
    """Lay the outline of a finished avatar on the masks of source frames.

    Args:
        capture: Masks, and where the person is.
        rig, splats: Of the avatar, which stays as it is. They are splats that training shaped: those that stand in for a
            mesh have an outline of their own, and poses would follow that.
        track: Poses of the fit; its bones are the avatar's.
        frame_indices: Source frames; those without a mask keep their pose.
        rasterizer: Renders the splats.
        config: Of its photometric sweeps, without rounds of flow and looks.
    Returns:
        The track with the poses of `frame_indices` replaced.
    """
    crops = [
        replace(crop, rgb=np.full_like(crop.rgb, 255))
        for crop in person_crops(capture, frame_indices, size_px=config.size_px, focal_px=float(track.focal_px))
    ]
    if not crops:
        return track
    rows = rows_of_crops(track, crops)
    looks = FrameLooks(rig, splats, track.expression[rows])
    white = torch.zeros_like(splats.sh)
    white[:, :1] = rgb_to_sh(torch.ones(3))

    def dress(at_rest: Splats, R_world_rest: Tensor, frame: int) -> Splats:
        return looks.dress(at_rest, R_world_rest, frame).replace(sh=white)

    problem = PoseProblem(
        rig, crops, track.times_s[rows].double().numpy(), track.rotvecs[rows],
        track.translation_world_m[rows], config, dress=dress, held=landmark_trust(rig, track, rows),
    )  # fmt: skip
    align_photometrically(problem, splats, rasterizer, frames_counted(emit, len(crops) * config.renders()))
    return problem.into(track, rows)
