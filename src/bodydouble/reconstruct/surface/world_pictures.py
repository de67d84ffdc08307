"""What frames would show without the person, whole pictures of it; and where a frame shows just that."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from bodydouble.perceive.telling import Window
from bodydouble.reconstruct.surface.plate import PlateWorld
from bodydouble.reconstruct.surface.values import World
from bodydouble.reconstruct.surface.world_splats import MovingWorld

CERTAIN = 0.25
"""A place of the world less sure than this (one frame of four that would make it certain) is filled in."""


class WorldPictures:
    """What frames would show without the person, sRGB in [0, 1]; smooth where no frame ever showed the world.

    One plate for all is filled in once, for frames differ in exposure alone; splats are drawn, and only the part that is
    asked for.

    Args:
        world: What is behind the person.
        video_px: Width and height of the video.
        size_px: Those of the pictures; by default the video's.
    """

    def __init__(self, world: World, video_px: tuple[int, int], size_px: tuple[int, int] | None = None) -> None:
        self._world, self._video_px, self._size_px = world, video_px, size_px or video_px
        self._plate: tuple[Tensor, Bool[ndarray, "height width"]] | None = None
        if isinstance(world, PlateWorld):
            even = PlateWorld(world.plate, world.seen_map, [0], torch.ones(1, 3), world.scale)
            self._plate = self._asked(even, 0)

    def __call__(
        self, frame_index: int, part: Window | None = None
    ) -> tuple[Float[Tensor, "height width 3"], Bool[ndarray, "height width"]]:
        """The picture of a frame, or a part of it, and where the world was seen there and nothing filled in."""
        part = part or (slice(0, self._size_px[1]), slice(0, self._size_px[0]))
        if isinstance(self._world, MovingWorld):
            return self._drawn(self._world, frame_index, part)
        picture, certain = self._asked(self._world, frame_index) if self._plate is None else self._plate
        if self._plate is not None and isinstance(self._world, PlateWorld):
            return (picture[part] * self._world.gain(frame_index)).clamp(0.0, 1.0), certain[part]
        return picture[part], certain[part]

    def _drawn(
        self, world: MovingWorld, frame_index: int, part: Window
    ) -> tuple[Tensor, Bool[ndarray, "height width"]]:
        rows, columns = part
        x, y = self._video_px[0] / self._size_px[0], self._video_px[1] / self._size_px[1]
        size = columns.stop - columns.start, rows.stop - rows.start
        camera = world.camera(frame_index).cropped(columns.start * x, rows.start * y, (size[0] * x, size[1] * y), size)
        colors, seen = world.shown(frame_index, camera)
        certain = seen.numpy() >= CERTAIN
        return torch.from_numpy(filled_in(colors.numpy(), certain)), certain

    def _asked(self, world: World, frame_index: int) -> tuple[Tensor, Bool[ndarray, "height width"]]:
        import cv2

        (width, height), pixels = self._video_px, pixel_centres(*self._video_px)
        with torch.no_grad():
            colors = world.colors_at(frame_index, pixels).reshape(height, width, 3).clamp(0.0, 1.0)
            certain = (world.seen(frame_index, pixels) >= CERTAIN).reshape(height, width).numpy()
        picture = filled_in(colors.numpy().astype(np.float32), certain)
        if self._size_px != self._video_px:
            picture = cv2.resize(picture, self._size_px, interpolation=cv2.INTER_AREA)
            certain = cv2.resize(certain.view(np.uint8), self._size_px, interpolation=cv2.INTER_NEAREST) > 0
        return torch.from_numpy(picture), certain


def pixel_centres(width_px: int, height_px: int) -> Float[Tensor, "n 2"]:
    """Of all pixels, row by row."""
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
