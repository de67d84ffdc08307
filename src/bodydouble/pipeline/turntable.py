"""turntable.mp4: the double on a studio floor, breathing and swaying a little while the camera goes once around."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from bodydouble.avatar.builtin import BUILTIN_MOTIONS, builtin_motion
from bodydouble.avatar.drive import PosedAvatar, pose_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.picture import picture_of
from bodydouble.avatar.values import Avatar, Rig
from bodydouble.body.protocol import ARKIT_ACTIONS, Pose
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.core.errors import InputError
from bodydouble.core.events import Event, Progress
from bodydouble.render.protocol import Rasterizer

WIDTH_PX, HEIGHT_PX, FPS_HZ = 480, 640, 24.0
_CRF = 20
_BODY_SHARE = 0.82
"""Height of the body in the picture."""
_DISTANCE_HEIGHTS = 3.2
_ELEVATION_RAD = 0.14
_WALL_TOP, _WALL_LOW = np.array([0.235, 0.245, 0.265]), np.array([0.40, 0.41, 0.43])
_FLOOR_NEAR, _FLOOR_FAR = np.array([0.36, 0.36, 0.375]), np.array([0.42, 0.43, 0.445])
_SHADOW_RADIUS_HEIGHTS = 0.20
_FLOOR_RADIUS_HEIGHTS = 1.6


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """Where the body stands: metres, in the avatar's own frame."""

    floor_m: float
    height_m: float
    centre: tuple[float, float]
    """x and z of the middle of the feet."""


def write_turntable(
    avatar: Avatar,
    path: Path,
    *,
    rasterizer: Rasterizer,
    seconds: float,
    emit: Callable[[Event], None],
) -> None:
    """Write an H.264 video that ends where it begins; meanwhile the avatar stands and breathes (`idle`).

    Args:
        avatar: With splats, or else with a mesh.
        path: Where to; whole or not at all.
        rasterizer: Renders the splats.
        seconds: Duration of one turn.
        emit: Told about progress.
    Raises:
        InputError: When the avatar holds nothing that can be drawn.
    """
    if avatar.splats is None and avatar.mesh is None:
        raise InputError("The avatar holds neither splats nor a mesh, so there is nothing to draw. Create it again.")
    drawn = Avatar(
        rig=avatar.rig,
        mesh=avatar.mesh if avatar.splats is None else None,
        splats=avatar.splats,
        provenance=avatar.provenance,
    )
    frames = max(2, round(seconds * FPS_HZ))
    motion = _standing(avatar.rig, frames)
    stage = _stage_of(drawn, motion.pose(0))
    ground = _studio(stage)
    with VideoWriter(path, FPS_HZ, WIDTH_PX, HEIGHT_PX, crf=_CRF) as video, torch.no_grad():
        for k in range(frames):
            at = k % motion.num_frames
            posed = pose_avatar(drawn, motion.pose(at), motion.expression[at])
            video.write(_draw(posed, drawn, _camera(stage, 2.0 * math.pi * k / frames), rasterizer, ground))
            emit(Progress(stage="turntable", done=k + 1, total=frames, unit="frames"))


def _standing(rig: Rig, frames: int) -> Motion:
    """The built-in `idle`, paced so that it ends with the turn; the rest pose where the rig is not that of a human."""
    idle_seconds, _ = BUILTIN_MOTIONS["idle"]
    try:
        times = max(1, round(frames / FPS_HZ / idle_seconds))
        return builtin_motion("idle", rig, fps_hz=max(1.0, frames / times / idle_seconds))
    except InputError:
        bones = len(rig.bone_names)
        return Motion(
            name="rest",
            fps_hz=FPS_HZ,
            rotvecs=torch.zeros(1, bones, 3),
            translation_world_m=torch.zeros(1, 3),
            expression=torch.zeros(1, len(ARKIT_ACTIONS)),
        )


def _stage_of(avatar: Avatar, pose: Pose) -> _Stage:
    posed = pose_avatar(avatar, pose)
    if posed.splats is not None:
        solid = posed.splats.means_world[posed.splats.opacities > 0.3]
        points = solid if len(solid) else posed.splats.means_world
    else:
        assert posed.vertices_world_m is not None
        points = posed.vertices_world_m
    low, high = torch.quantile(points[:: max(1, len(points) // 20_000), 1], torch.tensor([0.002, 0.998])).tolist()
    joints = posed.joints_world_m
    height = max(high - low, 0.3)
    return _Stage(floor_m=low, height_m=height, centre=(float(joints[0, 0]), float(joints[0, 2])))


def _camera(stage: _Stage, angle_rad: float) -> Camera:
    """On a circle around the body, a little above its middle; angle 0 looks it in the face."""
    distance = _DISTANCE_HEIGHTS * stage.height_m
    x, z = stage.centre
    middle = stage.floor_m + 0.5 * stage.height_m
    across = distance * math.cos(_ELEVATION_RAD)
    eye = torch.tensor([
        x + across * math.sin(angle_rad),
        middle + distance * math.sin(_ELEVATION_RAD),
        z + across * math.cos(angle_rad),
    ])  # fmt: skip
    return look_at_camera(
        eye,
        torch.tensor([x, middle - 0.02 * stage.height_m, z]),
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
        focal_px=_BODY_SHARE * HEIGHT_PX * _DISTANCE_HEIGHTS,
    )


def _studio(stage: _Stage) -> Float[np.ndarray, "height width 3"]:
    """A floor that fades into a wall, and a soft shadow under the body. The same from every side."""
    camera = _camera(stage, 0.0)
    column, row = np.meshgrid(np.arange(WIDTH_PX) + 0.5, np.arange(HEIGHT_PX) + 0.5)
    fx, cx, cy = float(camera.focal_px[0]), float(camera.center_px[0]), float(camera.center_px[1])
    rays_camera = np.stack([(column - cx) / fx, (row - cy) / fx, np.ones_like(row)], axis=-1)
    T = camera.T_camera_world.numpy().astype(np.float64)
    rays = rays_camera @ T[:3, :3]
    eye = -T[:3, :3].T @ T[:3, 3]
    down = np.minimum(rays[..., 1], -1e-6)
    reach = (stage.floor_m - eye[1]) / down
    x = eye[0] + reach * rays[..., 0] - stage.centre[0]
    z = eye[2] + reach * rays[..., 2] - stage.centre[1]
    radius = np.hypot(x, z) / stage.height_m
    floor_share = np.where(rays[..., 1] < 0, 1.0 - _smoothstep(radius, 0.5, _FLOOR_RADIUS_HEIGHTS), 0.0)[..., None]
    height_share = (row / HEIGHT_PX)[..., None]
    wall = _WALL_TOP * (1.0 - height_share) + _WALL_LOW * height_share
    floor_tone = _smoothstep(radius, 0.0, _FLOOR_RADIUS_HEIGHTS)[..., None]
    floor = _FLOOR_NEAR * (1.0 - floor_tone) + _FLOOR_FAR * floor_tone
    shadow = 1.0 - 0.55 * np.exp(-0.5 * (radius / (_SHADOW_RADIUS_HEIGHTS * 0.6)) ** 2)[..., None]
    ground = (wall * (1.0 - floor_share) + floor * floor_share) * shadow
    # A little noise keeps 8-bit video from drawing the gradients as bands.
    return (ground + np.random.default_rng(0).normal(0.0, 0.003, (HEIGHT_PX, WIDTH_PX, 1))).astype(np.float32)


def _draw(
    posed: PosedAvatar,
    avatar: Avatar,
    camera: Camera,
    rasterizer: Rasterizer,
    ground: Float[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    image = picture_of(avatar, posed, camera, rasterizer)
    rgb, alpha = image.rgb.cpu().numpy(), image.alpha.cpu().numpy()
    return ((rgb + ground * (1.0 - alpha[..., None])).clip(0.0, 1.0) * np.float32(255.0) + np.float32(0.5)).astype(
        np.uint8
    )


def _smoothstep(value: np.ndarray, low: float, high: float) -> np.ndarray:
    share = np.clip((value - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
