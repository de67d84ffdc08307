"""The published recipe of EVA (Hu et al., "Expressive Gaussian Human Avatars from Monocular RGB Video", NeurIPS 2024), in
figures. Steps are absolute, as published: this is for comparison, not for use.

Where paper and released program differ, the program counts, because it made the figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class EvaRates:
    """Adam step sizes."""

    means_m: tuple[float, float] = (1.6e-4, 1.6e-6)
    """First and last, exponential over `decay_steps`: in a run of 2,000 it hardly falls."""
    pose: tuple[float, float] = (5e-6, 1e-7)
    pose_delay_steps: int = 200
    pose_delay_share: float = 0.01
    pose_details_share: float = 0.05
    """Of the body's rate, for hands and face."""
    decay_steps: int = 30_000
    sh: float = 2.5e-3
    sh_rest: float = 1.25e-4
    logit_opacities: float = 0.05
    log_scales: float = 5e-3
    quats: float = 1e-3
    skinning: float = 5e-5
    confidence: float = 1e-3


@dataclass(frozen=True)
class EvaDensity:
    """Density control; gradients in normalised device coordinates, half the image's width being 1."""

    after: int = 400
    every: int = 100
    before: int = 1000
    threshold: float = 2e-4
    lead: float = -9.0
    shares: tuple[float, float, float] = (1.0, 0.5, 0.7)
    """Of threshold and lead, for body, hands and face."""
    small_m: float = 0.01
    """Up to this size splats are cloned, above it split."""
    min_opacity: float = 0.005
    max_distance_m: tuple[float, float, float] = (0.03, 0.05, 0.09)
    """To the nearest vertex of the same part: body, hands, face."""


@dataclass(frozen=True)
class EvaLoss:
    """Weights of the objective; the first term has 1."""

    mask: float = 0.1
    ssim: float = 0.01
    lpips: float = 0.04
    """Counts only where LPIPS weights are on the machine."""
    box_margin_m: float = 0.05
    """The body's box is that much larger; what lies outside its projection does not count."""


@dataclass(frozen=True)
class EvaConfig:
    """One run of the published recipe."""

    num_steps: int = 2000
    sh_degree_from: int = 1000
    """Step from which degree 1 is learnt. Degree 2 comes with the last step and is never trained."""
    opacity: float = 0.004
    """At birth."""
    confidence: bool = True
    nearest_every: int = 10
    """Steps between searches for the nearest vertex of each splat (published: every step; they move 0.2 mm a step)."""
    skinning_every: int = 10
    """Steps over which gradients of the skinning net are gathered, at as many times its rate (published: 1)."""
    max_splats: int = 60_000
    """Published: no limit. Nobody's memory should depend on it."""
    checkpoint_every: int = 200
    size_px: int = 512
    """Side of the person crop; published: whole frames."""
    max_frames: int = 150
    seed: int = 0
    rates: EvaRates = field(default_factory=EvaRates)
    density: EvaDensity = field(default_factory=EvaDensity)
    loss: EvaLoss = field(default_factory=EvaLoss)
