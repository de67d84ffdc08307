"""What the pictures tell before any training: whose each pixel is, what is behind the person, how far cloth reaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from bodydouble.reconstruct.surface.config import SurfaceConfig
from bodydouble.reconstruct.surface.evidence import Evidence, compare_with_world, gather_evidence
from bodydouble.reconstruct.surface.frames import VideoFrames, believe_masks
from bodydouble.reconstruct.surface.plate import plain_share, plate_from_frames
from bodydouble.reconstruct.surface.values import World

_AROUND_M = 0.3
"""Whose plainness is judged."""
_BELIEVED = 0.6
"""What colours tell of cloth counts, too, where frames agree on it."""


@dataclass(frozen=True, kw_only=True)
class FirstLook:
    """What a training starts from, besides the bare body."""

    evidence: Evidence
    world: World
    plain: float
    """Share of the world around the person that has no texture; 0 for a world that was given."""
    band_m: float
    """How far from the bare body rays look for the person."""


def first_look(
    frames: VideoFrames,
    bare: Bool[np.ndarray, "frames height width"],
    away_m: Float[np.ndarray, "frames height width"],
    config: SurfaceConfig,
    world: World | None,
) -> FirstLook:
    """Read evidence, world and the reach of cloth from the frames.

    Args:
        frames: The pictures.
        bare, away_m: Silhouettes of the bare body at half the working size, and distances from them, metres.
        config: How far masks are believed, and between what the band lies.
        world: What is behind the person; a clean plate if none is given.
    """
    plain = 0.0
    if world is None:
        evidence = gather_evidence(frames.half, bare, away_m)
        world = plate = plate_from_frames(frames.full, evidence, frames.frame_indices, frames.scale)
        plain = plain_share(plate, (away_m < _AROUND_M).any(0).repeat(2, 0).repeat(2, 1))
    else:
        evidence = _beside_a_given_world(frames, bare, away_m, world)
    believe_masks(evidence, frames, config.masks)
    cloth = (evidence.person > 0.5) & (evidence.confidence > _BELIEVED) & ~bare
    low, high = config.band_m
    # Far-off specks are no cloth: what counts is how far most of the frames' farthest cloth is.
    reach = [float(np.quantile(a[c], 0.98)) for a, c in zip(away_m, cloth, strict=True) if c.sum() > 20]
    band_m = min(high, max(low, 0.04 + float(np.quantile(reach, 0.8)))) if reach else low
    return FirstLook(evidence=evidence, world=world, plain=plain, band_m=band_m)


def _beside_a_given_world(frames: VideoFrames, bare: np.ndarray, away_m: np.ndarray, world: World) -> Evidence:
    height, width = bare.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    at = frames.video_pixels(np.stack([columns, rows], axis=-1).reshape(-1, 2), half=True)

    def shown(place: int) -> tuple[np.ndarray, np.ndarray]:
        index = frames.frame_indices[place]
        colors, seen = world.colors_at(index, at).detach(), world.seen(index, at).detach()
        return colors.numpy().reshape(height, width, 3), seen.numpy().reshape(height, width)

    return compare_with_world(frames.half, bare, away_m, shown)
