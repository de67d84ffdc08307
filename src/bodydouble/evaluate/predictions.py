"""Where predicted pictures come from: an avatar of ours in several poses, or a folder that anybody filled."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.picture import picture_of
from bodydouble.avatar.values import Avatar
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.errors import InputError
from bodydouble.render.protocol import Rasterizer

_NAME = re.compile(r"frame_(\d{6})\.png")
PREDICTIONS = "predictions"
"""Name of the one column of figures that a folder of pictures gives."""


@runtime_checkable
class PictureSource(Protocol):
    """Something that shows a person as a video's camera saw it, frame by frame."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its alternatives, such as poses."""
        ...

    def has(self, frame_index: int) -> bool:
        """Whether there is a picture of this source frame."""
        ...

    def rgba(self, column: str, frame_index: int) -> UInt8[np.ndarray, "height width 4"]:
        """The picture: 8-bit sRGB with straight alpha, at the video's size."""
        ...


@dataclass(frozen=True, kw_only=True)
class AvatarPictures:
    """An avatar in the poses of one or several tracks of the same video."""

    avatar: Avatar
    columns: tuple[str, ...]
    tracks: tuple[BodyTrack, ...]
    """One for each column."""
    rasterizer: Rasterizer

    def has(self, frame_index: int) -> bool:
        return bool((self.tracks[0].frame_indices == frame_index).any())

    def rgba(self, column: str, frame_index: int) -> UInt8[np.ndarray, "height width 4"]:
        track = self.tracks[self.columns.index(column)]
        row = int((track.frame_indices == frame_index).nonzero()[0, 0])
        camera = video_camera(track.width_px, track.height_px, track.focal_px)
        return rgba_of_row(self.avatar, track, row, camera, self.rasterizer)


class FolderPictures:
    """A folder of pictures frame_%06d.png by source frame index: RGBA, 8 bits, straight alpha, at the video's size."""

    columns = (PREDICTIONS,)

    def __init__(
        self,
        folder: Path,
        *,
        width_px: int,
        height_px: int,
        required: Sequence[int],
        allowed: Collection[int],
    ) -> None:
        """Look through a folder before anything is scored.

        Args:
            required: Frames that must be there.
            allowed: Frames that may be there besides; anything else is an error (hidden files are not looked at).
        Raises:
            InputError: When pictures are missing, too many, of another size or kind, or not readable.
        """
        self._folder, self._size = folder, (width_px, height_px)
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not a folder. Name one with pictures frame_000007.png, ... as `bodydouble render --like` writes."
            )
        names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
        foreign = [name for name in names if _NAME.fullmatch(name) is None]
        if foreign:
            raise InputError(
                f"{folder} must hold nothing but pictures named frame_%06d.png by source frame index, found {foreign[0]}"
                f"{_and_more(foreign)}. Move it away."
            )
        self._frames = {int(name[6:12]) for name in names}
        missing = [frame for frame in required if frame not in self._frames]
        if missing:
            raise InputError(
                f"{folder} lacks {len(missing)} of {len(required)} pictures, the first is {_file_name(missing[0])}. "
                f"Expected are the frames {_listed(required)}."
            )
        extra = sorted(self._frames - set(required) - set(allowed))
        if extra:
            raise InputError(
                f"{folder} holds {len(extra)} pictures of frames that are not scored, the first is {_file_name(extra[0])}. "
                f"Expected are the frames {_listed(required)}, and for flicker the one before each. Move the others away."
            )
        for frame in sorted(self._frames):
            self._check(frame)

    def has(self, frame_index: int) -> bool:
        return frame_index in self._frames

    def rgba(self, column: str, frame_index: int) -> UInt8[np.ndarray, "height width 4"]:
        from PIL import Image

        path = self._folder / _file_name(frame_index)
        try:
            with Image.open(path) as image:
                return np.array(image, dtype=np.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path} cannot be decoded ({error}). Write it again.") from error

    def _check(self, frame_index: int) -> None:
        """Size and kind from the header alone: nothing is decoded that is not of the video's size."""
        from PIL import Image

        path = self._folder / _file_name(frame_index)
        try:
            with Image.open(path, formats=["PNG"]) as image:
                size, mode = image.size, image.mode
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is not a PNG picture ({error}). Write it again.") from error
        if size != self._size:
            raise InputError(
                f"{path} is {size[0]}x{size[1]}; the video is {self._size[0]}x{self._size[1]}. Render at the video's size, "
                "from the video's camera."
            )
        if mode != "RGBA":
            raise InputError(
                f"{path} must be RGBA with 8 bits and straight alpha, found mode {mode}. Without alpha the person cannot "
                "be laid over the protocol's background; write the picture with its alpha."
            )


def rgba_of_row(
    avatar: Avatar, track: BodyTrack, row: int, camera: Camera, rasterizer: Rasterizer
) -> UInt8[np.ndarray, "height width 4"]:
    """One picture of an avatar, with straight (not premultiplied) alpha."""
    pose = track.pose(row)
    with torch.no_grad():
        extra = None if track.looks is None else track.looks[row]
        posed = pose_avatar(avatar, pose, track.expression[row], extra=extra)
        image = picture_of(avatar, posed, camera, rasterizer)
    return straight_rgba(image.rgb, image.alpha)


def straight_rgba(
    rgb_on_black: Float[Tensor, "height width 3"], alpha: Float[Tensor, "height width"]
) -> UInt8[np.ndarray, "height width 4"]:
    """8-bit RGBA from colours composited over black."""
    color = rgb_on_black / alpha.clamp_min(1e-4)[..., None]
    rgba = torch.cat([color, alpha[..., None]], dim=-1).clamp(0.0, 1.0)
    return (rgba * 255.0).round().to(torch.uint8).cpu().numpy()


def _file_name(frame_index: int) -> str:
    return f"frame_{frame_index:06d}.png"


def _listed(frames: Sequence[int]) -> str:
    shown = ", ".join(str(f) for f in frames[:4])
    return shown if len(frames) <= 4 else f"{shown}, ... {frames[-1]} ({len(frames)} of them)"


def _and_more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
