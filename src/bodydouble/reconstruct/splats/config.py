"""Hyper-parameters of the splat avatar. Schedules are shares of `num_steps`, never absolute steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from bodydouble.fit.pose_problem import RegisterConfig
from bodydouble.reconstruct.splats.correctives import CorrectiveConfig
from bodydouble.reconstruct.splats.exposure import ExposureConfig


@dataclass(frozen=True)
class Rates:
    """Adam step sizes, each decaying exponentially to `final_share` of itself."""

    means_m: float = 1.2e-3
    log_scales: float = 2.4e-2
    quats: float = 8e-3
    logit_opacities: float = 8e-2
    sh: float = 4.8e-2
    sh_rest: float = 4.8e-3
    skin_deltas: float = 0.0
    """0 leaves the body's skinning weights as they are."""
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
    smooth: float = 1000.0
    """Squared difference of neighbours' heights above the body, per square metre: one view cannot tell depth, and what
    is free in depth turns into spikes from the side."""
    step_m: float = 0.002
    """Under clothes larger differences count in proportion (Huber): hems and collars are steps and may stay so."""
    thin: float = 0.05
    """Hinge on splats thicker than `thickness_m` along the body's normal, in log units: the same."""
    thickness_m: float = 0.006
    head_thickness_m: float = 0.003
    """The same of head and face, which have little that hangs, and profiles that everybody knows."""
    reach: float = 1e5
    """Squared distance beyond a part's reach (`reach`), per square metre."""
    face_reach_m: float = 0.005
    hair_reach_m: tuple[float, float] = (0.02, 0.16)
    """Least and most; between them, as far as outlines show."""
    hands: float = 1.0
    face: float = 1.0
    """Weight of a pixel that shows a hand, or the face, in the photometric terms but SSIM: the two are some 2 % of all."""
    lpips: float = 0.0
    """Of LPIPS (AlexNet) over the crop; counts only where its weights are on the machine, and takes several times as
    long as everything else."""
    skin: float = 0.05
    """Mean square of the skinning residual, and of its difference between neighbours."""
    pose: float = 0.15
    """Half the squared rotation of each bone away from the fit, per square radian: what pixels cannot tell stays put."""


@dataclass(frozen=True)
class PartRule:
    """Density control of one group of the body's parts (`parts.GROUPS`)."""

    threshold: float
    """Gradient from which splats are added while gradients are steady, per width of the image."""
    lead: float
    """By how much a rise of the group's mean gradient since the last event lowers the threshold."""
    max_distance_m: float
    """How far from the group's own surface a splat may be."""


@dataclass(frozen=True)
class DensityConfig:
    """Where splats are added and removed.

    `context` is EVA's control (Hu et al. 2024, section 3.3) made safe: a threshold for each group of parts that falls
    while the group's gradients rise, begins with a history, stays positive, and whose growth is capped. `share` adds
    splats where the largest gradients are, wherever that is.
    """

    rule: Literal["context", "share"] = "share"
    start: float = 0.15
    stop: float = 0.65
    every: float = 0.05
    grow_share: float = 0.06
    """Of all splats, how many at most are added to at one event; with `share` exactly so many."""
    split_scale_m: float = 0.012
    min_opacity: float = 0.03
    max_drift_m: float = 0.18
    """From where a splat was born, in any group."""
    max_scale_m: float = 0.03
    max_outside: float = 0.8
    """A splat outside the mask in more of its sightings than this share is removed."""
    tau_range: tuple[float, float] = (0.25, 4.0)
    """A group's threshold stays within these multiples of its steady value."""
    body: PartRule = PartRule(threshold=4e-4, lead=9.0, max_distance_m=0.16)
    head: PartRule = PartRule(threshold=4e-4, lead=9.0, max_distance_m=0.16)
    face: PartRule = PartRule(threshold=2.8e-4, lead=6.3, max_distance_m=0.06)
    hands: PartRule = PartRule(threshold=2e-4, lead=4.5, max_distance_m=0.05)
    feet: PartRule = PartRule(threshold=4e-4, lead=9.0, max_distance_m=0.08)


@dataclass(frozen=True)
class ConfidenceConfig:
    """Weights by pixel from a learnt noise level (`confidence`)."""

    use: bool = False
    start: float = 0.25
    """Share of the run after which the weights are used; the noise is learnt from the beginning."""
    rate: float = 1e-2
    floor: float = 0.02
    """Noise that every pixel has, in units of colour: errors below it do not count as certainty."""
    weight_range: tuple[float, float] = (0.4, 2.5)


@dataclass(frozen=True)
class SplatsConfig:
    """One training run."""

    num_steps: int = 700
    pictures_per_step: int = 2
    """Frames that are looked at side by side for each step: one thread each is faster than one frame on all threads."""
    num_seeds: int = 14000
    max_splats: int = 24000
    max_frames: int = 150
    """Training frames, spread evenly over the track; held-out frames are never among them."""
    size_px: int = 512
    """Side of the person crop."""
    stretch: float = 1.65
    """A longer video gets up to so many times the steps and the frames."""
    stretch_from: int = 240
    """Training frames from which a video counts as longer."""
    coarse_share: float = 0.4
    """Share of the steps, the first ones, taken at half that size."""
    register_at: tuple[float, ...] = (0.3, 0.75)
    """Shares of the run after which every training frame is registered to the avatar as it then is."""
    checkpoint_every: float = 0.1
    seed: int = 0
    sh_degree: int = 0
    """Of the harmonics: 1 lets colour depend on the direction of view."""
    sh_from: float = 0.4
    """Share of the steps after which it may."""
    rates: Rates = field(default_factory=Rates)
    loss: LossWeights = field(default_factory=LossWeights)
    density: DensityConfig = field(default_factory=DensityConfig)
    confidence: ConfidenceConfig = field(default_factory=ConfidenceConfig)
    correctives: CorrectiveConfig = field(default_factory=CorrectiveConfig)
    exposure: ExposureConfig = field(default_factory=ExposureConfig)
    register: RegisterConfig = field(
        default_factory=lambda: RegisterConfig(rounds=1, rotation_sigma_rad=0.07, sweeps=(0, 0))
    )
    """Of training frames, at half the size of their crops."""

    def for_video(self, num_frames: int) -> SplatsConfig:
        """The settings for a video of so many training frames: more to see takes more steps, to a limit."""
        factor = min(max(num_frames / self.stretch_from, 1.0), self.stretch)
        return replace(
            self, num_steps=round(factor * self.num_steps), max_frames=round(factor * self.max_frames), stretch=1.0
        )
