"""Settings of a whole run, and the three presets: how much time an avatar may take."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bodydouble.core.errors import ConfigError
from bodydouble.fit.track import FitConfig
from bodydouble.perceive.observe import PerceiveConfig
from bodydouble.pipeline.bodies import body_file as model_file
from bodydouble.pipeline.estimate_choices import EstimateChoices
from bodydouble.reconstruct.splats.config import SplatsConfig
from bodydouble.reconstruct.splats.recipes import Recipe
from bodydouble.reconstruct.surface.bake_config import BakeConfig
from bodydouble.reconstruct.surface.config import MaskUse, SurfaceConfig
from bodydouble.reconstruct.surface.world_config import WorldConfig

Method = Literal["splats", "surface", "both"]
"""Splats on the body; the clothed surface of person and world explained together; splats on that surface."""
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class CreateConfig:
    """Everything that decides a result, besides the video."""

    preset: str
    """Which preset the settings started from; a name for people to read."""
    perceive: PerceiveConfig
    fit: FitConfig
    splats: SplatsConfig
    surface: SurfaceConfig = field(default_factory=SurfaceConfig)
    bake: BakeConfig = field(default_factory=BakeConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    """What is behind the person, for the surface of a camera that moves."""
    method: Method = "splats"
    recipe: Recipe = "default"
    """How splats are trained."""
    body: Literal["anny", "smplx"] = "anny"
    body_file: str = ""
    """The user's model file, for smplx: any of the SMPL family."""
    device: Device = "auto"
    seed: int = 0
    threads: int = 0
    """Threads for the kernels; 0 for as many as there are cores. Results are repeated exactly with the same number."""
    turntable_seconds: float = 6.0
    estimate: EstimateChoices | None = None
    """A tracker's result that the fit starts from."""
    register_sweeps: tuple[int, ...] = (1, 1, 1, 0, 0)
    """Photometric sweeps that register held-out frames for the report's second figure (`fit.pose_problem`)."""


DRAFT = CreateConfig(
    preset="draft",
    perceive=PerceiveConfig(),
    fit=FitConfig(),
    splats=SplatsConfig(num_steps=225, num_seeds=10_000, max_splats=14_000, max_frames=80, size_px=384, stretch=1.0),
    surface=replace(SurfaceConfig(), num_steps=800, max_frames=60, size_px=640),
    bake=BakeConfig(texture_frames=40),
    world=WorldConfig(num_steps=600, size_px=540, max_frames=48),
    turntable_seconds=3.0,
    register_sweeps=(1, 1, 1, 0),
)
STANDARD = CreateConfig(preset="standard", perceive=PerceiveConfig(), fit=FitConfig(), splats=SplatsConfig())
FINE = CreateConfig(
    preset="fine",
    perceive=PerceiveConfig(),
    fit=FitConfig(),
    splats=SplatsConfig(num_steps=4000, num_seeds=24_000, max_splats=48_000, max_frames=400, size_px=640, stretch=1.0),
    surface=replace(SurfaceConfig(), num_steps=6000, max_frames=240, size_px=1280),
    bake=BakeConfig(faces=40_000, texture_px=2048, texture_frames=160),
)
PRESETS: tuple[CreateConfig, ...] = (DRAFT, STANDARD, FINE)


def preset(name: str) -> CreateConfig:
    """The preset of this name.

    Raises:
        ConfigError: When there is none.
    """
    for config in PRESETS:
        if config.preset == name:
            return config
    known = ", ".join(config.preset for config in PRESETS)
    raise ConfigError(f"There is no preset named {name!r}; expected one of: {known}.")


def with_choices(
    config: CreateConfig,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    focal_px: float | None = None,
    height_cm: float | None = None,
    seed: int = 0,
    device: Device = "auto",
    threads: int = 0,
    recipe: Recipe = "default",
    method: Method = "splats",
    masks: MaskUse = "soft",
    estimate: EstimateChoices | None = None,
    body: Literal["anny", "smplx"] = "anny",
    body_file: Path | None = None,
) -> CreateConfig:
    """A preset with what the user chose.

    Raises:
        ConfigError: When a choice makes no sense.
        InputError: When the body file is missing.
    """
    if start_s is not None and start_s < 0:
        raise ConfigError(f"--start-s is {start_s:g}; expected seconds from the beginning of the video, 0 or more.")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise ConfigError(f"--end-s is {end_s:g}; expected more than --start-s ({start_s or 0.0:g}).")
    if focal_px is not None and not 10 <= focal_px <= 1e6:
        raise ConfigError(
            f"--focal-px is {focal_px:g}; expected the focal length in pixels of the video, usually 0.7 to 1.5 times its "
            "longer side. Leave it out to have it estimated."
        )
    if height_cm is not None and not 50 <= height_cm <= 260:
        raise ConfigError(f"--height-cm is {height_cm:g}; expected the person's height in centimetres, 50 to 260.")
    if threads < 0:
        raise ConfigError(f"--threads is {threads}; expected 0 (all cores) or a number of threads.")
    if method == "surface" and recipe != "default":
        raise ConfigError(
            f"--recipe {recipe} is a way to train splats; --method surface trains none. Leave one of them out."
        )
    if body == "anny" and body_file is not None:
        raise ConfigError(
            f"--body-file {body_file} is for --body smplx, which was not given. Add it, or leave both out."
        )
    return replace(
        config,
        body=body,
        body_file="" if body == "anny" else model_file(body_file),
        perceive=replace(config.perceive, start_s=start_s, end_s=end_s),
        fit=replace(config.fit, focal_px=focal_px, height_cm=height_cm),
        splats=replace(config.splats, seed=seed),
        seed=seed,
        device=device,
        threads=threads,
        recipe=recipe,
        method=method,
        surface=replace(config.surface, masks=masks, seed=seed),
        estimate=estimate,
    )
