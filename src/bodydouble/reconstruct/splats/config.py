"""Hyper-parameters of the splat avatar. Schedules are shares of `num_steps`, never absolute steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bodydouble.fit.register import RegisterConfig


@dataclass(frozen=True)
class Rates:
    """Adam step sizes, each decaying exponentially to `final_share` of itself."""

    means_m: float = 3e-4
    log_scales: float = 6e-3
    quats: float = 2e-3
    logit_opacities: float = 2e-2
    sh: float = 1.2e-2
    rotvecs_rad: float = 3e-3
    translation_m: float = 2e-3
    final_share: float = 0.08


@dataclass(frozen=True)
class LossWeights:
    """Weights of the objective. Photometric: (1 - ssim) * L1 + ssim * (1 - SSIM) + squared * L2, over the person crop."""

    ssim: float = 0.2
    squared: float = 4.0
    """Mean squared error: what is blurred by moving cloth settles at its mean instead of its median."""
    mask: float = 0.3
    """L1 between alpha and the soft mask."""
    anchor: float = 2.0
    """Squared distance to the seed, per square metre: clothes may leave the body, floaters may not."""
    scale: float = 0.02
    """Hinge on splats larger than `max_scale_m`, in log units."""
    pose: float = 0.15
    """Half the squared rotation of each bone away from the fit, per square radian: what pixels cannot tell stays put."""


@dataclass(frozen=True)
class DensityConfig:
    """Where splats are added and removed: the `grow_share` with the largest screen-space gradient, up to a total."""

    start: float = 0.15
    stop: float = 0.65
    every: float = 0.05
    grow_share: float = 0.06
    split_scale_m: float = 0.012
    min_opacity: float = 0.03
    max_drift_m: float = 0.18
    max_scale_m: float = 0.03


@dataclass(frozen=True)
class SplatsConfig:
    """One training run."""

    num_steps: int = 2200
    num_seeds: int = 14000
    max_splats: int = 24000
    max_frames: int = 150
    """Training frames, spread evenly over the track; held-out frames are never among them."""
    size_px: int = 512
    """Side of the person crop."""
    stretch: float = 1.5
    """A longer video gets up to so many times the steps and the frames."""
    stretch_from: int = 240
    """Training frames from which a video counts as longer."""
    coarse_share: float = 0.4
    """Share of the steps, the first ones, taken at half that size."""
    register_at: tuple[float, ...] = (0.15, 0.45)
    """Shares of the run after which every training frame is registered to the avatar as it then is."""
    checkpoint_every: float = 0.1
    seed: int = 0
    rates: Rates = field(default_factory=Rates)
    loss: LossWeights = field(default_factory=LossWeights)
    density: DensityConfig = field(default_factory=DensityConfig)
    register: RegisterConfig = field(default_factory=lambda: RegisterConfig(rounds=1, rotation_sigma_rad=0.07))

    def for_video(self, num_frames: int) -> SplatsConfig:
        """The settings for a video of so many training frames: more to see takes more steps, to a limit."""
        factor = min(max(num_frames / self.stretch_from, 1.0), self.stretch)
        return replace(
            self, num_steps=round(factor * self.num_steps), max_frames=round(factor * self.max_frames), stretch=1.0
        )
