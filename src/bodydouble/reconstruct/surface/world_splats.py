"""The world behind the person as splats, for a camera that moves: seen from any frame of the video, and a file of its own."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bodydouble.capture.camera_motion import CameraMotion
from bodydouble.capture.folder import load_struct, save_struct
from bodydouble.core.cameras import Camera
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.protocol import Rasterizer, SplatCloud
from bodydouble.render.sh import rgb_to_sh

_KEPT_FRAMES = 64
_DIM = 1e-3
_HIDDEN, _SOLID = 0.5, 0.9
"""Opacity up to which nothing is known, and from which the world is: edges of splats let a little through."""


@tensor_struct
class WorldSplats(TensorStruct):
    """Splats of the world behind the person, and how bright each frame shows them."""

    means_world: Float[Tensor, "n 3"]
    """In the world of a `CameraMotion`, in its unit."""
    quats_wxyz: Float[Tensor, "n 4"]
    log_scales: Float[Tensor, "n 3"]
    logit_opacities: Float[Tensor, " n"]
    colors: Float[Tensor, "n 3"]
    """sRGB values; of the middle exposure."""
    log_gains: Float[Tensor, "frames 3"]
    """Logarithm of each frame's gain in each channel."""

    def cloud(self) -> SplatCloud:
        """For a rasteriser."""
        return SplatCloud(
            means_world=self.means_world,
            quats_wxyz=self.quats_wxyz,
            scales_m=self.log_scales.exp(),
            opacities=self.logit_opacities.sigmoid(),
            sh=rgb_to_sh(self.colors),
        )


class MovingWorld:
    """A `World` of splats: what each frame would show without the person, from where its camera was.

    It is trained beforehand on what is surely background; `learn` moves only a frame's exposure.
    """

    def __init__(self, splats: WorldSplats, motion: CameraMotion, rasterizer: Rasterizer) -> None:
        self.splats, self.motion = splats, motion
        self.log_gains = splats.log_gains.clone()
        self._cloud, self._rasterizer = splats.cloud(), rasterizer
        self._rows = {int(index): row for row, index in enumerate(motion.frame_indices.tolist())}
        self._pictures: OrderedDict[int, UInt8[Tensor, "height width 4"]] = OrderedDict()

    def colors_at(self, frame_index: int, pixels_px: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
        """What a frame would show at these positions if the person were away, exposure of that frame included."""
        sampled = self._sampled(frame_index, pixels_px)[:, :3]
        gain = self.log_gains[self._row(frame_index)].exp().to(sampled)
        return (sampled * gain).clamp(0.0, 1.0)

    def seen(self, frame_index: int, pixels_px: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        """How surely the world there was seen by any frame: by the opacity of its splats, which lie nowhere else."""
        return _sureness(self._sampled(frame_index, pixels_px)[:, 3])

    def camera(self, frame_index: int) -> Camera:
        """A frame's own, in the world of the camera's motion."""
        return self.motion.camera(self._row(frame_index))

    def shown(
        self, frame_index: int, camera: Camera
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        """`colors_at` and `seen` of every pixel of a camera, without the detour over an 8-bit picture."""
        image = self.image(frame_index, camera)
        return image[..., :3], _sureness(image[..., 3])

    def learn(
        self, frame_index: int, pixels_px: Float[Tensor, "n 2"], gradient: Float[Tensor, "n 3"], rate: float
    ) -> None:
        """Move the frame's exposure against a gradient of its colours: at most a hundredth of `rate` a step."""
        slope = (gradient * self.colors_at(frame_index, pixels_px)).sum(0)
        size = (gradient.abs() * self.colors_at(frame_index, pixels_px)).sum(0).clamp_min(_DIM * len(pixels_px) ** -0.5)
        self.log_gains[self._row(frame_index)] -= 0.01 * rate * (slope / size).to(self.log_gains)

    def gain(self, frame_index: int) -> Float[Tensor, "3"]:
        """Exposure of a frame against the mean of all."""
        return self.log_gains[self._row(frame_index)].exp()

    def cloud(self) -> SplatCloud:
        """The splats, in the world of the camera's motion and the mean exposure."""
        return self._cloud

    def image(self, frame_index: int, camera: Camera | None = None) -> Float[Tensor, "height width 4"]:
        """The world from a frame's camera, or another one, with that frame's exposure: sRGB and coverage.

        Args:
            frame_index: Source frame.
            camera: In the world of the camera's motion; by default the frame's own.
        """
        row = self._row(frame_index)
        picture = self._drawn(camera or self.motion.camera(row))
        return torch.cat([(picture[..., :3] * self.log_gains[row].exp()).clamp(0.0, 1.0), picture[..., 3:]], dim=-1)

    def snapshot(self) -> WorldSplats:
        """The splats with the gains as they are now."""
        return self.splats.replace(log_gains=self.log_gains.clone())

    def _row(self, frame_index: int) -> int:
        return self._rows[int(frame_index)]

    def _drawn(self, camera: Camera) -> Float[Tensor, "height width 4"]:
        with torch.no_grad():
            image = self._rasterizer(self._cloud, camera)
            # What nobody saw is a smooth guess from what lies around it, and `seen` says so.
            rgb = filled(image.rgb.contiguous(), image.alpha)
            return torch.cat([rgb.clamp(0.0, 1.0), image.alpha[..., None]], dim=-1)

    def _sampled(self, frame_index: int, pixels_px: Float[Tensor, "n 2"]) -> Float[Tensor, "n 4"]:
        row = self._row(frame_index)
        picture = self._pictures.get(row)
        if picture is None:
            picture = (self._drawn(self.motion.camera(row)) * 255.0).round().to(torch.uint8)
            self._pictures[row] = picture
            if len(self._pictures) > _KEPT_FRAMES:
                self._pictures.popitem(last=False)
        return bilinear(picture, pixels_px)


def _sureness(opacity: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    return ((opacity - _HIDDEN) / (_SOLID - _HIDDEN)).clamp(0.0, 1.0)


def filled(
    rgb_on_black: Float[Tensor, "height width 3"], alpha: Float[Tensor, "height width"]
) -> Float[Tensor, "height width 3"]:
    """A picture that is covered in part, its gaps filled from around them, wide ones more smoothly (pull and push).

    Args:
        rgb_on_black: Colours times coverage.
        alpha: Coverage in [0, 1].
    """
    levels = [torch.cat([rgb_on_black, alpha[..., None]], dim=-1).permute(2, 0, 1)[None]]
    while max(levels[-1].shape[2:]) > 1:
        levels.append(torch.nn.functional.avg_pool2d(levels[-1], 2, ceil_mode=True, count_include_pad=False))
    coarse = levels[-1][:, :3] / levels[-1][:, 3:].clamp_min(1e-6)
    for level in reversed(levels[:-1]):
        size = (level.shape[2], level.shape[3])
        around = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        coarse = level[:, :3] + (1.0 - level[:, 3:]).clamp(0.0, 1.0) * around
    return coarse[0].permute(1, 2, 0)


def bilinear(picture: UInt8[Tensor, "height width channels"], pixels_px: Float[Tensor, "n 2"]) -> Tensor:
    """Values of an 8-bit picture between its pixels (centres at +0.5), in [0, 1]; beyond the edge those at the edge."""
    height, width = picture.shape[:2]
    x = (pixels_px[:, 0].double() - 0.5).clamp(0.0, width - 1.0)
    y = (pixels_px[:, 1].double() - 0.5).clamp(0.0, height - 1.0)
    left, top = x.floor().long().clamp_max(max(width - 2, 0)), y.floor().long().clamp_max(max(height - 2, 0))
    right, below = (left + 1).clamp_max(width - 1), (top + 1).clamp_max(height - 1)
    u, v = (x - left)[:, None].float(), (y - top)[:, None].float()
    upper = picture[top, left].float() * (1.0 - u) + picture[top, right].float() * u
    lower = picture[below, left].float() * (1.0 - u) + picture[below, right].float() * u
    return (upper * (1.0 - v) + lower * v) / 255.0


def save_world(path: Path, world: MovingWorld) -> None:
    """Write the splats (the camera's motion lies in the capture)."""
    save_struct(path, world.snapshot())


def load_world(path: Path, motion: CameraMotion, rasterizer: Rasterizer) -> MovingWorld:
    """What `save_world` wrote.

    Raises:
        InputError: When the file is missing or damaged.
    """
    return MovingWorld(load_struct(WorldSplats, path), motion, rasterizer)
