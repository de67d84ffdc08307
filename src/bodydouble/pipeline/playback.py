"""An avatar in motion, as a video or as pictures."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bodydouble.avatar.drive import PosedAvatar, pose_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.picture import picture_of
from bodydouble.avatar.values import Avatar
from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.core.errors import ConfigError, InputError, OutputError
from bodydouble.core.events import Progress
from bodydouble.core.files import atomic_path
from bodydouble.evaluate.predictions import straight_rgba
from bodydouble.pipeline.stages import Emit
from bodydouble.render.protocol import Rasterizer

CameraMove = Literal["orbit", "fixed", "follow"]
_FLESH_M = 0.14
"""How far the surface may lie beyond the outermost joints (head, hands, feet)."""
_FOCAL_HEIGHTS = 1.6
"""Focal length in image heights: a mild telephoto, as in portraits."""
_ELEVATION_RAD = math.radians(6.0)
_FOLLOW_SIGMA_S = 0.5
_TURN_S = 6.0
_MAX_SIDE_PX = 8192


@dataclass(frozen=True, kw_only=True)
class Playback:
    """How an avatar is shown."""

    camera: CameraMove = "orbit"
    width_px: int = 720
    height_px: int = 960
    fps_hz: float = 30.0
    seconds: float | None = None
    """None for the length of the motion, or for one turn of the camera if that is longer."""
    background: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    """sRGB in [0, 1]; none leaves it transparent."""
    start_azimuth_rad: float = 0.0
    """Where the camera starts: 0 in front, positive towards the avatar's left."""

    def __post_init__(self) -> None:
        if not (16 <= self.width_px <= _MAX_SIDE_PX and 16 <= self.height_px <= _MAX_SIDE_PX):
            raise ConfigError(
                f"A picture of {self.width_px}x{self.height_px} px cannot be made; expected 16 to {_MAX_SIDE_PX} px a side."
            )
        if not 1.0 <= self.fps_hz <= 240.0:
            raise ConfigError(f"--fps is {self.fps_hz:g}; expected 1 to 240 frames a second.")
        if self.seconds is not None and not 0.0 < self.seconds <= 3600.0:
            raise ConfigError(f"--seconds is {self.seconds:g}; expected more than 0 and at most 3600.")


def render_video(
    avatar: Avatar,
    motion: Motion,
    out: Path,
    playback: Playback,
    rasterizer: Rasterizer,
    emit: Emit,
    *,
    expression: Float[Tensor, " actions"] | None = None,
) -> int:
    """Write an avatar that performs a motion, over and over if it is shorter than the video.

    Args:
        avatar: With splats, or with a mesh alone.
        motion: On the avatar's rig.
        out: An .mp4 (H.264), a .webm (VP9, which may be transparent), or a new folder for pictures frame_%06d.png. It appears
            only when it is whole.
        playback: Camera, size, rate, length, background.
        rasterizer: Renders the splats.
        emit: Told about progress.
        expression: Strength of the 52 ARKit actions, on top of the motion's own; none adds nothing.
    Returns:
        The number of frames.
    Raises:
        ConfigError: When the ending is another, or a video is to be transparent that cannot be.
        OutputError: When the folder holds something already.
    """
    count = frame_count(motion, playback)
    with _writer(out, playback) as write:
        for done, image in enumerate(rendered_frames(avatar, motion, playback, rasterizer, expression), start=1):
            write(image)
            emit(Progress(stage="render", done=done, total=count, unit="frames"))
    return count


@contextlib.contextmanager
def _writer(out: Path, playback: Playback) -> Iterator[Callable[[np.ndarray], object]]:
    """What takes the frames, one after the other."""
    from bodydouble.capture.video_alpha import AlphaVideoWriter
    from bodydouble.capture.video_write import VideoWriter

    suffix = out.suffix.lower()
    facts = (out, playback.fps_hz, playback.width_px, playback.height_px)
    if suffix not in ("", ".mp4", ".webm"):
        raise ConfigError(
            f"{out.name} must end in .mp4 (H.264) or .webm (VP9), or be a folder for pictures (.png). Rename it with -o."
        )
    if suffix == ".mp4" and playback.background is None:
        raise ConfigError(
            f"{out.name} cannot be transparent: H.264 has no alpha. Name a .webm or a folder for pictures."
        )
    if suffix == ".mp4":
        with VideoWriter(*facts) as video:
            yield video.write
    elif suffix == ".webm":
        with AlphaVideoWriter(*facts) as video:
            yield lambda image: video.write(_with_alpha(image))
    else:
        with _pictures(out) as write:
            yield write


@contextlib.contextmanager
def _pictures(out: Path) -> Iterator[Callable[[np.ndarray], object]]:
    """A new folder of pictures, numbered from 0."""
    from PIL import Image

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is not an empty folder: nothing there is touched. Choose a new one with -o.")
    numbers = itertools.count()
    with atomic_path(out) as partial:
        partial.mkdir(parents=True)
        yield lambda image: Image.fromarray(image).save(partial / f"frame_{next(numbers):06d}.png", compress_level=4)


def _with_alpha(image: UInt8[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "height width 4"]:
    return image if image.shape[2] == 4 else np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])


def frame_count(motion: Motion, playback: Playback) -> int:
    """How many frames the video has."""
    seconds = playback.seconds
    if seconds is None:
        seconds = max(motion.duration_s, _TURN_S) if playback.camera == "orbit" else motion.duration_s
    return max(1, round(seconds * playback.fps_hz))


def rendered_frames(
    avatar: Avatar,
    motion: Motion,
    playback: Playback,
    rasterizer: Rasterizer,
    expression: Float[Tensor, " actions"] | None = None,
) -> Iterator[UInt8[np.ndarray, "height width channels"]]:
    """The frames of `render_video`, one at a time: RGB, or RGBA (not multiplied) where the background is transparent."""
    if avatar.splats is None and avatar.mesh is None:
        raise InputError("The avatar holds neither splats nor a mesh: there is nothing to show.")
    motion = motion.resampled(playback.fps_hz)
    cameras = camera_path(avatar, motion, playback)
    with torch.no_grad():
        for i, camera in enumerate(cameras):
            frame = i % motion.num_frames
            actions = motion.expression[frame]
            if expression is not None:
                actions = (actions + expression).clamp(0.0, 1.0)
            posed = pose_avatar(avatar, motion.pose(frame), actions)
            yield _picture(avatar, posed, camera, playback.background, rasterizer)


def camera_path(avatar: Avatar, motion: Motion, playback: Playback) -> list[Camera]:
    """One camera for each frame of the video; the whole motion stays in view.

    `orbit` goes once around during the video and `follow` stays in front, both of the hips wherever they go; `fixed`
    stays where it is.
    """
    count = frame_count(motion, playback)
    joints = _joint_path(avatar, motion)[:count]
    hips = _smoothed(joints[:, 0], _FOLLOW_SIGMA_S * motion.fps_hz)
    seen = joints if playback.camera == "fixed" else joints - hips[:, None]
    middle = (seen.amin((0, 1)) + seen.amax((0, 1))) / 2
    focal_px = _FOCAL_HEIGHTS * playback.height_px
    half_px = torch.tensor([playback.width_px, playback.height_px]) / 2
    places = [i % len(joints) for i in range(count)]
    axes = [_camera_axes(playback, i / count) for i in range(count)]
    # A point is inside the picture when |x| / (distance - z) * focal stays within half of it.
    distance = max(
        float((off[:, 2] + _FLESH_M + ((off[:, :2].abs() + _FLESH_M) * focal_px / half_px).amax(1)).max())
        for off in ((seen[place] - middle) @ turned.T for place, turned in zip(places, axes, strict=True))
    )
    cameras = []
    for place, turned in zip(places, axes, strict=True):
        target = middle if playback.camera == "fixed" else middle + hips[place]
        cameras.append(
            look_at_camera(
                target + distance * turned[2],
                target,
                width_px=playback.width_px,
                height_px=playback.height_px,
                focal_px=focal_px,
            )
        )
    return cameras


def _camera_axes(playback: Playback, share: float) -> Float[Tensor, "3 3"]:
    """Right, up and towards the camera after a share of the video, as rows."""
    azimuth = playback.start_azimuth_rad + (2.0 * math.pi * share if playback.camera == "orbit" else 0.0)
    level = math.cos(_ELEVATION_RAD)
    toward = torch.tensor([math.sin(azimuth) * level, math.sin(_ELEVATION_RAD), math.cos(azimuth) * level])
    right = torch.tensor([math.cos(azimuth), 0.0, -math.sin(azimuth)])
    return torch.stack([right, torch.linalg.cross(toward, right), toward])


def _joint_path(avatar: Avatar, motion: Motion) -> Float[Tensor, "frames bones 3"]:
    from bodydouble.core.skinning import bone_transforms

    rig = avatar.rig
    R, t = bone_transforms(motion.rotvecs, rig.joints_rest_m, motion.translation_world_m, rig.bone_parents)
    return (R @ rig.joints_rest_m[:, :, None])[..., 0] + t


def _smoothed(path: Float[Tensor, "frames 3"], sigma_frames: float) -> Float[Tensor, "frames 3"]:
    """A Gaussian mean over time, the ends repeated."""
    from scipy.ndimage import gaussian_filter1d

    return torch.from_numpy(gaussian_filter1d(path.numpy(), max(sigma_frames, 1e-3), axis=0, mode="nearest"))


def _picture(
    avatar: Avatar,
    posed: PosedAvatar,
    camera: Camera,
    background: tuple[float, float, float] | None,
    rasterizer: Rasterizer,
) -> UInt8[np.ndarray, "height width channels"]:
    if background is None:
        image = picture_of(avatar, posed, camera, rasterizer)
        return straight_rgba(image.rgb, image.alpha)
    rgb = picture_of(avatar, posed, camera, rasterizer, torch.tensor(background)).rgb
    return (rgb.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
