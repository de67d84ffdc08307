"""A fitted track as a motion that can be played and written: upright, at an even frame rate, on the fitted body's rig."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Rig
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack

if TYPE_CHECKING:
    from bodydouble.fit.level import Level


def motion_of_track(track: BodyTrack, body: BodyModel, name: str) -> tuple[Motion, Rig]:
    """A fitted track as a clip at an even frame rate, on the fitted body's rig, upright however the camera was held."""
    from bodydouble.fit.level import find_level

    shaped = body.with_shape(track.shape)
    rig = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=shaped.joints_rest.detach(),
        humanoid=dict(body.humanoid),
    )
    return motion_on_rig(track, rig, find_level(track, body), name), rig


def motion_on_rig(track: BodyTrack, rig: Rig, level: Level, name: str) -> Motion:
    """A track of a rig as a clip at an even frame rate, upright by `level`."""
    from bodydouble.fit.level import leveled

    return even_motion(leveled(track, rig.joints_rest_m[0], level), name)


def even_motion(track: BodyTrack, name: str) -> Motion:
    """A fitted track at an even frame rate: where it lacks frames, those nearest in time are repeated."""
    times = track.times_s.double()
    steps = torch.diff(times)
    # Some containers round frame times to milliseconds: the whole length tells the rate better than one step.
    fps_hz = float((steps / steps.median()).round().sum() / steps.sum()) if len(steps) else 30.0
    count = round(float(times[-1] - times[0]) * fps_hz) + 1
    even = times[0] + torch.arange(count, dtype=torch.float64) / fps_hz
    rows = (even[:, None] - times[None]).abs().argmin(1)
    return Motion(
        name=name,
        fps_hz=fps_hz,
        rotvecs=track.rotvecs[rows],
        translation_world_m=track.translation_world_m[rows],
        expression=track.expression[rows],
    )
