"""Hyper-parameters of the surface double. Schedules are shares of `num_steps`, never absolute steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MaskUse = Literal["none", "soft", "trust"]


@dataclass(frozen=True)
class Level:
    """A stretch of the training."""

    voxel_m: float
    until: float
    """Share of all steps at which it ends."""
    half: bool = False
    """Whether frames are taken at half their working size."""


@dataclass(frozen=True)
class SurfaceRates:
    """Adam step sizes; those of the field decay exponentially to `final_share` of themselves."""

    sdf_voxels: float = 0.04
    """Of the signed distance, in voxels."""
    features: float = 0.04
    decoder: float = 3e-3
    beta: float = 5e-3
    """Of the logarithm of the density's scale."""
    world: float = 0.01
    rotvecs_rad: float = 0.003
    translation_m: float = 1.5e-3
    focal: float = 0.0
    """Of the logarithm of the focal length; 0 leaves it as it is."""
    final_share: float = 0.15


@dataclass(frozen=True)
class SurfaceLoss:
    """Weights of the objective, means over rays or points."""

    eikonal: float = 0.1
    smooth: float = 0.02
    """Squared difference of the gradient between places a voxel apart."""
    entropy: float = 0.01
    """Of each ray's opacity: it is the person's or the world's."""
    sparse: float = 0.1
    """Opacity of rays that pass the known surface at a distance, at the end; it grows with the square of progress."""
    inside: float = 0.01
    """Transparency of rays through the known surface, at the beginning; it falls to 0."""
    motion: tuple[float, float] = (0.05, 0.015)
    """Of what motion tells about each ray, at the start and at the end."""
    mask: float = 0.1
    """Cross entropy of opacity and mask with `masks soft`; ten times that with `trust`."""
    pose: float = 0.05
    """Half the squared rotation of each bone away from the fit, per square radian."""
    temporal: float = 0.05
    """Half the squared difference of that correction to the frames before and after, per square radian and per
    decimetre of the root."""


@dataclass(frozen=True)
class SurfaceConfig:
    """One training run."""

    num_steps: int = 2400
    num_rays: int = 2048
    max_frames: int = 120
    size_px: int = 960
    """Longer side of the frames as they are trained on, at most."""
    levels: tuple[Level, ...] = (
        Level(voxel_m=0.04, until=0.25, half=True),
        Level(voxel_m=0.02, until=0.6, half=True),
        Level(voxel_m=0.01, until=1.0),
    )
    features: int = 15
    """Channels beside the signed distance; with it a whole number of vectors of the processor is fastest."""
    hidden: int = 16
    masks: MaskUse = "soft"
    color_first: float = 0.04
    """Share of the steps in which only colours are learnt."""
    pose_from: float = 0.05
    """Share of the steps after which poses are refined."""
    beta_m: tuple[float, float] = (0.015, 0.004)
    """Ceiling of the density's scale, at the start and at the end; below it, it is learnt."""
    margin_m: float = 0.25
    """Room around the body in canonical space."""
    band_m: tuple[float, float] = (0.08, 0.25)
    """How far from the bare body, as it is posed, rays look for the person: at least, and where cloth was found."""
    off_surface_m: float = 0.05
    """Rays that come no closer to the known surface are off it."""
    refresh: float = 0.1
    """Every so many steps the known surface and the cells around posed bodies are taken from the present ones."""
    carve: tuple[float, float] = (0.45, 0.65)
    """Share of the frames that see the world through a place from which it may be taken from the person, and from which it
    is; (1, 2) takes nothing."""
    seed: int = 0
    rates: SurfaceRates = field(default_factory=SurfaceRates)
    loss: SurfaceLoss = field(default_factory=SurfaceLoss)
