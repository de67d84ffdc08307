"""The motion of a new video laid upon a double of the same person: its outline and its colours say what landmarks miss."""

from __future__ import annotations

from pathlib import Path

import torch

from bodydouble.avatar.glb import load_avatar
from bodydouble.avatar.values import Avatar, Rig
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import ConfigError
from bodydouble.evaluate.heldout import DEFAULT_REGISTER
from bodydouble.fit.outline import DEFAULT_OUTLINE, outline_frames
from bodydouble.fit.register import register_frames
from bodydouble.pipeline.layout import avatar_file
from bodydouble.pipeline.stages import Emit
from bodydouble.render.select import make_rasterizer
from bodydouble.render.warm_up import warm_up


def load_double(given: Path, body: BodyModel) -> Avatar:
    """The avatar of a run or a file, if `body` can be laid upon it.

    Raises:
        InputError: When it cannot be read.
        ConfigError: When it has other bones.
    """
    avatar = load_avatar(avatar_file(given))
    if avatar.rig.bone_names != body.bone_names:
        raise ConfigError(
            f"{given} has {len(avatar.rig.bone_names)} bones and the body that is fitted to videos (anny) "
            f"{len(body.bone_names)}; expected a double that `bodydouble create` made with that body. Leave --avatar out, "
            "and retarget the motion instead: bodydouble motion convert IN OUT --avatar AVATAR."
        )
    return avatar


def aligned_track(avatar: Avatar, capture: Capture, track: BodyTrack, body: BodyModel, emit: Emit) -> BodyTrack:
    """A fitted track in the avatar's own proportions, every frame with a mask aligned to its picture.

    Args:
        avatar: Of the same person, in the same clothes.
        capture, body: The new video, and what was fitted to it.
        track: The fit.
    """
    warm_up(emit)
    rasterizer = make_rasterizer("auto")
    on_avatar = _in_proportion(track, body, avatar.rig)
    frames = track.frame_indices[track.valid].tolist()
    if avatar.splats is not None:
        on_avatar = outline_frames(
            capture, avatar.rig, avatar.splats, on_avatar, frames, rasterizer, DEFAULT_OUTLINE, emit
        )
    return register_frames(capture, avatar, on_avatar, frames, rasterizer, DEFAULT_REGISTER, emit)


def _in_proportion(track: BodyTrack, body: BodyModel, rig: Rig) -> BodyTrack:
    """The track for the avatar's bones: it stands so much farther away as it is larger, and looks as large."""
    joints = body.with_shape(track.shape).joints_rest.double()
    theirs = rig.joints_rest_m.double()
    scale = _length_m(theirs, rig.bone_parents) / _length_m(joints, rig.bone_parents)
    place = scale * (joints[0] + track.translation_world_m.double()) - theirs[0]
    return track.replace(translation_world_m=place.to(track.translation_world_m.dtype))


def _length_m(joints: torch.Tensor, parents: tuple[int, ...]) -> float:
    """Of all bones together."""
    child = [k for k, parent in enumerate(parents) if parent >= 0]
    return float((joints[child] - joints[[parents[k] for k in child]]).norm(dim=1).sum())
