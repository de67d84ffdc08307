"""Pictures of a posed avatar: where the camera stands, and what it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.drive import PosedAvatar
from bodydouble.avatar.picture import picture_of
from bodydouble.avatar.values import Avatar
from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.render.select import make_rasterizer

if TYPE_CHECKING:
    from PIL.Image import Image

Focus = Literal["body", "face"]
_FOCAL_HEIGHTS = 1.6
"""Focal length in image heights: a mild telephoto, as in portraits."""
_FILL = 0.92
"""Share of the picture's width or height that the body takes up."""
_FACE_HALF_M = 0.16
_FACE_ABOVE_HEAD_JOINT_M = 0.10
_MAX_SIDE_PX = 8192


@dataclass(frozen=True, kw_only=True)
class View:
    """How one picture is taken."""

    width_px: int = 480
    height_px: int = 640
    azimuth_rad: float = 0.0
    """0 in front of the avatar's start, positive towards its left."""
    elevation_rad: float = 0.1
    """Of the camera over the horizon."""
    focus: Focus = "body"
    background: str = "white"
    """A colour's name or #rrggbb; `transparent` gives a picture with an alpha channel."""
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, side in (("width_px", self.width_px), ("height_px", self.height_px)):
            if not 16 <= side <= _MAX_SIDE_PX:
                raise ConfigError(f"{name} is {side}; expected 16 to {_MAX_SIDE_PX} pixels.")
        if not -1.5 <= self.elevation_rad <= 1.5:
            raise ConfigError(f"elevation_rad is {self.elevation_rad:g}; expected -1.5 to 1.5 (radians).")
        if self.focus not in ("body", "face"):
            raise ConfigError(f"focus is {self.focus!r}; expected body or face.")


def take_picture(avatar: Avatar, posed: PosedAvatar, view: View) -> Image:
    """A picture of a posed avatar, its splats where it has them, else its mesh.

    Args:
        avatar: Whose pose it is.
        posed: From `avatar.drive.pose_avatar`.
        view: Camera, size and background.
    Raises:
        ConfigError: For a background that is no colour.
        InputError: When the avatar has nothing to show.
    """
    from PIL import Image

    camera = camera_for(avatar, posed, view)
    transparent = view.background == "transparent"
    color = torch.zeros(3) if transparent else torch.tensor(_color(view.background))
    with torch.no_grad():
        rgb, alpha = _rendered(avatar, posed, camera, color, view.device)
    if transparent:
        rgb = rgb / alpha.clamp_min(1e-6)[..., None]  # composited over black: undo it where the avatar is
        rgb = torch.cat([rgb, alpha[..., None]], -1)
    pixels = (rgb.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(pixels))


def camera_for(avatar: Avatar, posed: PosedAvatar, view: View) -> Camera:
    """The camera from which all that `view.focus` names fills the picture."""
    toward = torch.tensor(
        [
            math.sin(view.azimuth_rad) * math.cos(view.elevation_rad),
            math.sin(view.elevation_rad),
            math.cos(view.azimuth_rad) * math.cos(view.elevation_rad),
        ]
    )
    right = torch.tensor([math.cos(view.azimuth_rad), 0.0, -math.sin(view.azimuth_rad)])
    up = torch.linalg.cross(toward, right)
    axes = torch.stack([right, up, toward])
    places = _places(avatar, posed, view.focus) @ axes.T
    middle = (places.amin(0) + places.amax(0)) / 2
    focal_px = _FOCAL_HEIGHTS * view.height_px
    half = torch.tensor([view.width_px, view.height_px]) / 2 * _FILL
    off = places - middle
    # A point is inside the picture when |x| / (distance - z) * focal stays within half of it.
    distance = float((off[:, 2] + (off[:, :2].abs() * focal_px / half).amax(1)).max())
    target = axes.T @ middle
    return look_at_camera(
        target + distance * toward, target, width_px=view.width_px, height_px=view.height_px, focal_px=focal_px
    )


def _places(avatar: Avatar, posed: PosedAvatar, focus: Focus) -> Float[Tensor, "n 3"]:
    """Points that must be in the picture, in the world, metres."""
    if focus == "face":
        head = avatar.rig.humanoid.get("head")
        if head is None:
            raise InputError("The avatar's rig names no head, so there is no face to focus on; take focus='body'.")
        middle = posed.joints_world_m[avatar.rig.bone_names.index(head)] + torch.tensor(
            [0.0, _FACE_ABOVE_HEAD_JOINT_M, 0.0]
        )
        corners = [[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-0.5, 0.5)]
        return middle + _FACE_HALF_M * torch.tensor(corners)
    if posed.vertices_world_m is not None:
        return posed.vertices_world_m.float()
    if posed.splats is not None:
        return posed.splats.means_world.float()
    raise InputError("The avatar holds neither splats nor a mesh: there is nothing to show.")


def _rendered(
    avatar: Avatar, posed: PosedAvatar, camera: Camera, background: Float[Tensor, " 3"], device: str
) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
    image = picture_of(avatar, posed, camera, make_rasterizer(device), background)
    return image.rgb, image.alpha


def _color(text: str) -> tuple[float, float, float]:
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise ConfigError(
            f"background is {text!r}; expected a colour such as white, gray or '#20242c', or 'transparent'."
        ) from error
    return red / 255.0, green / 255.0, blue / 255.0
