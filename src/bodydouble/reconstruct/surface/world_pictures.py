"""What frames would show without the person, whole pictures of it; and where a frame shows just that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from bodydouble.reconstruct.surface.plate import PlateWorld
from bodydouble.reconstruct.surface.values import World
from bodydouble.reconstruct.surface.world_splats import MovingWorld

CERTAIN = 0.25
"""A place of the world less sure than this (one frame of four that would make it certain) is filled in."""


def world_picture(world: World, frame_index: int, width_px: int, height_px: int) -> Float[Tensor, "height width 3"]:
    """What a frame would show without the person, sRGB in [0, 1]; smooth where no frame ever showed the world."""
    with torch.no_grad():
        colors = world.colors_at(frame_index, _pixels(width_px, height_px)).reshape(height_px, width_px, 3)
    certain = _certain(world, frame_index, width_px, height_px)
    return torch.from_numpy(filled_in(colors.clamp(0.0, 1.0).numpy().astype(np.float32), certain))


def world_pictures(
    world: World, width_px: int, height_px: int
) -> Callable[[int], tuple[Float[Tensor, "height width 3"], Bool[ndarray, "height width"]]]:
    """`world_picture` of one frame after another, at the video's size, and where the world was seen and not filled in.

    One plate for all is filled in once, for frames differ in exposure alone; splats are drawn, not asked pixel by pixel.
    """
    if isinstance(world, MovingWorld):
        return lambda frame: _drawn_whole(world, frame)
    if not isinstance(world, PlateWorld):
        return lambda frame: (
            world_picture(world, frame, width_px, height_px),
            _certain(world, frame, width_px, height_px),
        )
    even = PlateWorld(world.plate, world.seen_map, [0], torch.ones(1, 3), world.scale)
    plate, certain = world_picture(even, 0, width_px, height_px), _certain(even, 0, width_px, height_px)
    return lambda frame: ((plate * world.gain(frame)).clamp(0.0, 1.0), certain)


def _drawn_whole(world: MovingWorld, frame_index: int) -> tuple[Tensor, Bool[ndarray, "height width"]]:
    colors, seen = world.whole(frame_index)
    certain = seen.numpy() >= CERTAIN
    return torch.from_numpy(filled_in(colors.numpy(), certain)), certain


def _certain(world: World, frame_index: int, width_px: int, height_px: int) -> Bool[ndarray, "height width"]:
    with torch.no_grad():
        seen = world.seen(frame_index, _pixels(width_px, height_px))
    return (seen >= CERTAIN).reshape(height_px, width_px).numpy()


def _pixels(width_px: int, height_px: int) -> Float[Tensor, "n 2"]:
    """Centres of all pixels, row by row."""
    rows, columns = torch.meshgrid(torch.arange(height_px), torch.arange(width_px), indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2) + 0.5


def unseen_world(world: World, frame_index: int, width_px: int, height_px: int) -> float:
    """Share of a frame in which the world was never seen."""
    rows, columns = torch.meshgrid(torch.arange(0, height_px, 2), torch.arange(0, width_px, 2), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2) + 0.5
    with torch.no_grad():
        return float((world.seen(frame_index, pixels) < CERTAIN).float().mean())


def filled_in(
    picture: Float[ndarray, "height width 3"], known: Bool[ndarray, "height width"]
) -> Float[ndarray, "height width 3"]:
    """The picture with what is not known taken from around it, the wider the farther (pull and push over a pyramid)."""
    import cv2

    if known.all() or not known.any():
        return picture
    values, weights = [picture * known[..., None]], [known.astype(np.float32)]
    while min(weights[-1].shape) > 2 and float(weights[-1].min()) < 0.5:
        size = (max(1, weights[-1].shape[1] // 2), max(1, weights[-1].shape[0] // 2))
        values.append(cv2.resize(values[-1], size, interpolation=cv2.INTER_AREA))
        weights.append(cv2.resize(weights[-1], size, interpolation=cv2.INTER_AREA))
    coarse = values[-1] / np.maximum(weights[-1], 1e-6)[..., None]
    for value, weight in zip(reversed(values[:-1]), reversed(weights[:-1]), strict=True):
        coarse = cv2.resize(coarse, (weight.shape[1], weight.shape[0]), interpolation=cv2.INTER_LINEAR)
        share = weight[..., None].clip(0.0, 1.0)
        coarse = value + (1.0 - share) * coarse
    return np.where(known[..., None], picture, coarse)
