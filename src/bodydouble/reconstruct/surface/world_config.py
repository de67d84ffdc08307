"""How a moving camera's world is learnt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """How the world is learnt."""

    num_steps: int = 1500
    max_frames: int = 72
    """Frames trained on, evenly spread."""
    size_px: int = 720
    """Longer side of the pictures that are trained on."""
    seed_step_px: float = 4.0
    """Distance of the first splats in those pictures."""
    most_seeds: int = 30_000
    most_splats: int = 60_000
    cover_margin: float = 0.05
    """By how much the person's outline is widened, in parts of its height."""
    split_at: tuple[float, ...] = (0.15, 0.3, 0.45, 0.6)
    """Shares of the run at which splats are split."""
    split_share: float = 0.15
    """Of the splats, each time: those whose places are pulled most."""
    rate_means: float = 2e-4
    """In parts of the scene's median distance from the cameras; sinks to a hundredth."""
    rate_scales: float = 7e-3
    rate_quats: float = 2e-3
    rate_opacities: float = 3e-2
    rate_colors: float = 4e-3
    seed: int = 0
