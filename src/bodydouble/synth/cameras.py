"""Where the camera is in every frame: on a tripod, on its way around the performer, or in somebody's hands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from bodydouble.core.cameras import Camera, look_at_camera, video_camera
from bodydouble.core.errors import ConfigError
from bodydouble.core.geometry import matrix_to_quat_wxyz, quat_wxyz_to_rotvec, rotvec_to_matrix
from bodydouble.core.seeds import numpy_rng
from bodydouble.core.struct import TensorStruct, tensor_struct

CameraKind = Literal["static", "orbit", "handheld"]
CAMERA_KINDS: tuple[CameraKind, ...] = get_args(CameraKind)
CAMERA_HEIGHT_M = 1.05
"""The camera's height over the floor; the floor is that far below the world's origin."""
_FOLLOW_S = 0.5
"""An operator lags behind a walking performer by about this long."""
_SWAY_M, _SWAY_HZ = 0.045, 0.45
_TURN_RAD, _TURN_HZ = 0.017, 0.6
_TREMOR_RAD, _TREMOR_HZ = 0.0009, 5.0


@tensor_struct
class CameraPath(TensorStruct):
    """One pinhole camera for each frame, at the middle of the frame's exposure."""

    width_px: int
    height_px: int
    focal_px: Float[Tensor, "frames 2"]
    center_px: Float[Tensor, "frames 2"]
    T_camera_world: Float[Tensor, "frames 4 4"]

    @property
    def moves(self) -> bool:
        """Whether any frame is seen from elsewhere than the first."""
        return bool((self.T_camera_world != self.T_camera_world[:1]).any())

    def eyes_world(self) -> Float[Tensor, "frames 3"]:
        """Where the camera is, metres."""
        R, t = self.T_camera_world[:, :3, :3], self.T_camera_world[:, :3, 3]
        return -(R.transpose(1, 2) @ t[..., None])[..., 0]

    def camera(self, frame: int) -> Camera:
        """The camera of a frame."""
        return Camera(
            width_px=self.width_px,
            height_px=self.height_px,
            focal_px=self.focal_px[frame],
            center_px=self.center_px[frame],
            T_camera_world=self.T_camera_world[frame],
        )

    def camera_at(self, frame: int, later: float) -> Camera:
        """The camera a part of a frame's time later (or earlier, if negative): between the frame and its neighbour.

        Args:
            frame: Number of the frame.
            later: In frames, between -1 and 1.
        """
        other = min(max(frame + (1 if later > 0 else -1), 0), len(self.T_camera_world) - 1)
        if later == 0 or other == frame:
            return self.camera(frame)
        share = abs(later)
        here, there = self.T_camera_world[frame].double(), self.T_camera_world[other].double()
        turn = quat_wxyz_to_rotvec(matrix_to_quat_wxyz(there[:3, :3] @ here[:3, :3].T))
        R = rotvec_to_matrix(share * turn) @ here[:3, :3]
        eye_here, eye_there = -here[:3, :3].T @ here[:3, 3], -there[:3, :3].T @ there[:3, 3]
        T = torch.eye(4, dtype=torch.float64)
        T[:3, :3] = R
        T[:3, 3] = -R @ (eye_here + share * (eye_there - eye_here))
        return self.camera(frame).replace(T_camera_world=T.float())


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How the performer is framed."""

    width_px: int
    height_px: int
    focal_px: float
    distance_m: float
    """From the camera's first place to the performer's, along -Z."""


def camera_path(
    kind: CameraKind,
    framing: Framing,
    hips_world: Float[Tensor, "frames 3"],
    *,
    seed: int,
    fps_hz: float,
    orbit_rad: float = math.pi / 2,
) -> CameraPath:
    """The camera of every frame.

    A static camera stands at the world's origin and looks along -Z. One that moves begins there (an orbit) or stays
    near (a hand), and follows a performer who walks.

    Args:
        kind: Which of `CAMERA_KINDS`.
        framing: Size, focal length and distance.
        hips_world: Where the performer is.
        seed: Of the hand's tremor.
        fps_hz: Frame rate.
        orbit_rad: How far an orbit goes around, counter-clockwise seen from above.
    Raises:
        ConfigError: When there is no such kind of camera.
    """
    num_frames = len(hips_world)
    still = video_camera(framing.width_px, framing.height_px, framing.focal_px)
    if kind == "static":
        T = still.T_camera_world.repeat(num_frames, 1, 1)
    elif kind == "orbit":
        T = _orbit(framing, _followed(hips_world, fps_hz), orbit_rad)
    elif kind == "handheld":
        T = _handheld(framing, _followed(hips_world, fps_hz), seed, fps_hz)
    else:
        raise ConfigError(f"There is no camera {kind!r}; known are {', '.join(CAMERA_KINDS)}.")
    return CameraPath(
        width_px=framing.width_px,
        height_px=framing.height_px,
        focal_px=still.focal_px.repeat(num_frames, 1),
        center_px=still.center_px.repeat(num_frames, 1),
        T_camera_world=T,
    )


def _followed(hips_world: Tensor, fps_hz: float) -> Float[ndarray, "frames 2"]:
    """Where over the floor (x, z) the operator aims: the performer's path, smoothed; a sway in place is ignored."""
    from scipy.ndimage import gaussian_filter1d

    path = hips_world[:, [0, 2]].double().numpy()
    middle = np.median(path, axis=0)
    if np.abs(path - middle).max() < 0.25:
        return np.broadcast_to(middle, path.shape)
    return gaussian_filter1d(path, _FOLLOW_S * fps_hz, axis=0, mode="nearest")


def _orbit(framing: Framing, aim: ndarray, orbit_rad: float) -> Float[Tensor, "frames 4 4"]:
    share = np.linspace(0.0, 1.0, len(aim)) if len(aim) > 1 else np.zeros(1)
    # Starts and stops softly, even speed in between.
    eased = share - np.sin(2 * np.pi * share) / (2 * np.pi) * 0.6
    poses = []
    for (x, z), angle in zip(aim, orbit_rad * eased, strict=True):
        eye = [x + framing.distance_m * math.sin(angle), 0.0, z + framing.distance_m * math.cos(angle)]
        poses.append(_looking(framing, eye, [x, 0.0, z]))
    return torch.stack(poses)


def _handheld(framing: Framing, aim: ndarray, seed: int, fps_hz: float) -> Float[Tensor, "frames 4 4"]:
    rng = numpy_rng(seed, "synth/handheld")
    frames = len(aim)
    sway = _SWAY_M * _wander(rng, frames, 3, _SWAY_HZ, fps_hz) * [1.0, 0.6, 1.0]
    turn = _TURN_RAD * _wander(rng, frames, 3, _TURN_HZ, fps_hz) * [0.8, 1.0, 0.5]
    turn += _TREMOR_RAD * _wander(rng, frames, 3, min(_TREMOR_HZ, fps_hz / 4), fps_hz)
    poses = []
    for (x, z), moved, turned in zip(aim, sway, turn, strict=True):
        eye = np.array([0.6 * x, 0.0, z + framing.distance_m]) + moved
        T = _looking(framing, eye.tolist(), [x, 0.0, z]).double()
        R = torch.eye(4, dtype=torch.float64)
        R[:3, :3] = rotvec_to_matrix(torch.from_numpy(turned))
        poses.append((R @ T).float())
    return torch.stack(poses)


def _looking(framing: Framing, eye: list[float], target: list[float]) -> Float[Tensor, "4 4"]:
    return look_at_camera(
        torch.tensor(eye, dtype=torch.float64),
        torch.tensor(target, dtype=torch.float64),
        width_px=framing.width_px,
        height_px=framing.height_px,
        focal_px=framing.focal_px,
    ).T_camera_world.float()


def _wander(rng: np.random.Generator, frames: int, channels: int, hz: float, fps_hz: float) -> ndarray:
    """A smooth random walk of unit size around 0 that does not go much faster than `hz`: a sum of slow waves."""
    t = np.arange(frames)[:, None] / fps_hz
    total = np.zeros((frames, channels))
    for octave in (0.31, 0.55, 0.83, 1.27, 1.9):
        phase, jitter = rng.uniform(0, 2 * np.pi, channels), rng.uniform(0.85, 1.15, channels)
        total += np.sin(2 * np.pi * hz * octave * jitter * t + phase) / (0.5 + octave)
    return total / 1.45
