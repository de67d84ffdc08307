"""What frames would show without the person, whole pictures of it; and where a frame shows just that."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from bodydouble.reconstruct.surface.plate import PlateWorld
from bodydouble.reconstruct.surface.values import World
from bodydouble.reconstruct.surface.world_splats import MovingWorld

CERTAIN = 0.25
"""A place of the world less sure than this (one frame of four that would make it certain) is filled in."""
_ALIKE, _BLUR = 0.05, 0.010
"""A frame shows the world where its colours, smoothed over so much of the longer side, are this near to the world's: the
world is known more coarsely than frames are."""
_BLOB = 0.007
"""Smaller spots, in shares of the longer side, are chance."""


def world_picture(world: World, frame_index: int, width_px: int, height_px: int) -> Float[Tensor, "height width 3"]:
    """What a frame would show without the person, sRGB in [0, 1]; smooth where no frame ever showed the world."""
    rows, columns = torch.meshgrid(torch.arange(height_px), torch.arange(width_px), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2) + 0.5
    with torch.no_grad():
        colors = world.colors_at(frame_index, pixels).reshape(height_px, width_px, 3).clamp(0.0, 1.0)
        seen = world.seen(frame_index, pixels).reshape(height_px, width_px)
    return torch.from_numpy(filled_in(colors.numpy().astype(np.float32), seen.numpy() >= CERTAIN))


def world_pictures(world: World, width_px: int, height_px: int) -> Callable[[int], Float[Tensor, "height width 3"]]:
    """`world_picture` of one frame after another, at the video's size.

    One plate for all is filled in once, for frames differ in exposure alone; splats are drawn, not asked pixel by pixel.
    """
    if isinstance(world, MovingWorld):
        return lambda frame: _drawn_whole(world, frame)
    if not isinstance(world, PlateWorld):
        return lambda frame: world_picture(world, frame, width_px, height_px)
    even = PlateWorld(world.plate, world.seen_map, [0], torch.ones(1, 3), world.scale)
    plate = world_picture(even, 0, width_px, height_px)
    return lambda frame: (plate * world.gain(frame)).clamp(0.0, 1.0)


def _drawn_whole(world: MovingWorld, frame_index: int) -> Float[Tensor, "height width 3"]:
    colors, seen = world.whole(frame_index)
    return torch.from_numpy(filled_in(colors.numpy(), seen.numpy() >= CERTAIN))


def certain_world(world: PlateWorld, width_px: int, height_px: int) -> Bool[ndarray, "height width"]:
    """Where the world before a still camera was seen."""
    rows, columns = torch.meshgrid(torch.arange(height_px), torch.arange(width_px), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2) + 0.5
    return (world.seen(0, pixels) >= CERTAIN).reshape(height_px, width_px).numpy()


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


def shows_world(
    rgb: UInt8[ndarray, "height width 3"],
    world: Float[Tensor, "height width 3"],
    certain: Bool[ndarray, "height width"],
) -> Bool[ndarray, "height width"]:
    """Where a frame looks as it would without the person.

    Args:
        rgb: The frame.
        world: The same without the person, sRGB in [0, 1].
        certain: Where that is known.
    """
    import cv2

    blur, blob = (2 * max(1, round(0.5 * share * max(certain.shape))) + 1 for share in (_BLUR, _BLOB))
    away = cv2.blur(rgb.astype(np.float32) / 255.0 - world.numpy(), (blur, blur))
    alike = (np.abs(away).max(2) < _ALIKE) & certain
    return cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_OPEN, np.ones((blob, blob), np.uint8)) > 0
