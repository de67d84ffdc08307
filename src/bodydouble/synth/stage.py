"""What to film: a choice, and the performer, motion, scene and camera that belong to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.core.errors import ConfigError
from bodydouble.core.events import Event
from bodydouble.synth.actor import Actor
from bodydouble.synth.cameras import CAMERA_HEIGHT_M, CAMERA_KINDS, CameraKind, CameraPath, Framing, camera_path
from bodydouble.synth.choreography import DEFAULT_MOTION, Choreography, choreograph
from bodydouble.synth.film import Film, Sensor
from bodydouble.synth.looks import draw_look
from bodydouble.synth.outfit import read_wardrobe
from bodydouble.synth.performer import make_performer
from bodydouble.synth.places import PLACE_KINDS, PlaceKind, draw_scene
from bodydouble.synth.plan import Plan, Rectangle

_PERSON_HEIGHT_SHARE = 0.71
"""Of the picture's height, for a person of 1.75 m: raised hands stay inside."""
_FOCAL_PER_HEIGHT = 1.25
_FLESH_M = 0.2
"""How far the body may reach beyond its joints."""
_BITS_PER_PIXEL = 0.25
"""Default bit rate, for each pixel of each frame: about what phones choose."""
_MAX_FRAMES, _MAX_SIDE_PX = 20_000, 4096


@dataclass(frozen=True, kw_only=True)
class SynthConfig:
    """What to film, and how."""

    seed: int = 0
    """Chooses body, clothes, scene, light and the details of motion and camera."""
    motion: str = DEFAULT_MOTION
    """`performance`, a built-in motion, or a .bvh or .npz file."""
    camera: CameraKind = "static"
    orbit_deg: float = 90.0
    """How far an orbiting camera goes around."""
    scene: PlaceKind = "auto"
    seconds: float = 10.0
    fps: float = 24.0
    size: tuple[int, int] = (1280, 720)
    """Width and height, pixels; even, as H.264 wants."""
    bitrate_mbps: float | None = None
    """Of the video, megabits per second; by default 0.25 bit for each pixel of each frame."""
    wardrobe: Path | None = None
    """A folder of MakeHuman clothes and hair to dress from."""
    truth_every: int = 8
    """Depth, normals, parts and meshes are written for the last of every so many frames."""
    extra_views: int = 0
    """Views from elsewhere, of up to six of those frames."""
    sensor: Sensor = field(default_factory=Sensor)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything that is needed to film, and what is known about it."""

    config: SynthConfig
    body: AnnyBody
    film: Film
    choreography: Choreography

    @property
    def bitrate_bps(self) -> int:
        """Of the video."""
        width, height = self.config.size
        wanted = self.config.bitrate_mbps
        return round(1e6 * wanted) if wanted else round(_BITS_PER_PIXEL * width * height * self.config.fps)


def check_config(config: SynthConfig) -> None:
    """Refuse what cannot be filmed.

    Raises:
        ConfigError: With what is wrong.
    """
    width, height = config.size
    if not (math.isfinite(config.seconds) and math.isfinite(config.fps)) or not 1 <= config.fps <= 240:
        raise ConfigError(f"synth: {config.seconds} s at {config.fps} frames/s; a rate from 1 to 240 is needed.")
    frames = num_frames(config)
    if not 2 <= frames <= _MAX_FRAMES:
        raise ConfigError(
            f"synth: {config.seconds} s at {config.fps} frames/s are {frames} frames; at least 2 and at most "
            f"{_MAX_FRAMES} are needed."
        )
    if min(width, height) < 64 or max(width, height) > _MAX_SIDE_PX or width % 2 or height % 2:
        raise ConfigError(
            f"synth: size must be even, at least 64 x 64 and at most {_MAX_SIDE_PX} x {_MAX_SIDE_PX} pixels, got "
            f"{width} x {height}."
        )
    if config.camera not in CAMERA_KINDS or config.scene not in PLACE_KINDS:
        raise ConfigError(
            f"synth: the camera is one of {', '.join(CAMERA_KINDS)} and the scene one of {', '.join(PLACE_KINDS)}, got "
            f"{config.camera!r} and {config.scene!r}."
        )
    if not 1.0 <= abs(config.orbit_deg) <= 720.0:
        raise ConfigError(f"synth: an orbit goes around by 1 to 720 degrees, got {config.orbit_deg}.")
    if config.truth_every < 1 or not 0 <= config.extra_views <= 32:
        raise ConfigError(
            f"synth: truth-every must be at least 1 and extra-views 0 to 32, got {config.truth_every} and "
            f"{config.extra_views}."
        )
    if config.bitrate_mbps is not None and not 0.05 <= config.bitrate_mbps <= 500:
        raise ConfigError(f"synth: bitrate must be 0.05 to 500 Mbit/s, got {config.bitrate_mbps}.")


def num_frames(config: SynthConfig) -> int:
    """Frames of the video."""
    return round(config.seconds * config.fps)


def set_stage(config: SynthConfig, emit: Callable[[Event], None] = lambda event: None) -> Stage:
    """Performer, motion, scene and camera of a choice, ready to be filmed."""
    body = load_anny()
    wardrobe = None if config.wardrobe is None else read_wardrobe(config.wardrobe)
    performer = make_performer(body, draw_look(config.seed), wardrobe)
    choreography = choreograph(
        config.motion,
        body,
        performer,
        seed=config.seed,
        num_frames=num_frames(config),
        fps_hz=config.fps,
        emit=emit,
    )
    framing = _framing(config, performer.shaped.joints_rest, choreography)
    place = torch.tensor([0.0, -CAMERA_HEIGHT_M, -framing.distance_m])
    actor = Actor(performer, choreography.performance, choreography.translations_m + place, fps_hz=float(config.fps))
    roots = actor.translations_world_m + performer.shaped.joints_rest[0]
    path = camera_path(
        config.camera,
        framing,
        roots,
        seed=config.seed,
        fps_hz=config.fps,
        orbit_rad=math.radians(config.orbit_deg),
    )
    plan = Plan(
        floor_m=-CAMERA_HEIGHT_M,
        performer=Rectangle.of(roots.double().numpy()),
        camera=Rectangle.of(path.eyes_world().double().numpy()),
    )
    scene = draw_scene(config.scene, config.seed, plan, _some_cameras(path))
    return Stage(config=config, body=body, film=Film(actor, scene, path, config.sensor), choreography=choreography)


def _some_cameras(path: CameraPath) -> list:
    count = len(path.T_camera_world)
    rows = np.unique(np.linspace(0, count - 1, 25 if path.moves else 1).round().astype(int))
    return [path.camera(int(row)) for row in rows]


def _framing(config: SynthConfig, joints_rest_m: Float[Tensor, "bones 3"], choreography: Choreography) -> Framing:
    """A distance from which everything that the performer does is seen."""
    width, height = config.size
    # A landscape picture must hold the spread arms as well.
    reference_px = min(height, 1.34 * width)
    focal = _FOCAL_PER_HEIGHT * reference_px
    distance = focal * 1.75 / (_PERSON_HEIGHT_SHARE * reference_px)
    if choreography.name != DEFAULT_MOTION:
        distance = max(distance, _needed_distance_m(config, focal, joints_rest_m, choreography))
    if config.camera == "handheld":
        distance *= 1.06
    return Framing(width_px=width, height_px=height, focal_px=focal, distance_m=distance)


def _needed_distance_m(config: SynthConfig, focal: float, joints_rest_m: Tensor, choreography: Choreography) -> float:
    from bodydouble.core.skinning import bone_transforms

    performance = choreography.performance
    parents = load_anny().bone_parents
    R, t = bone_transforms(performance.rotvecs, joints_rest_m, choreography.translations_m, parents)
    p = (R @ joints_rest_m[..., None])[..., 0] + t
    if config.camera != "static":  # the camera follows, from any side
        p = p - p[:, :1] * torch.tensor([1.0, 0.0, 1.0])
        across = nearer = p[..., [0, 2]].norm(dim=-1)
    else:
        across, nearer = p[..., 0].abs(), p[..., 2]
    slope_x, slope_y = config.size[0] / 2 / focal, config.size[1] / 2 / focal
    vertical = (p[..., 1] - CAMERA_HEIGHT_M).abs()
    wide = nearer + (across + _FLESH_M) / slope_x
    tall = nearer + (vertical + _FLESH_M / 2) / slope_y
    return float(torch.maximum(wide, tall).max())
