"""Motions as a contact sheet: the avatar at eight moments of each, on a floor that shows where its feet are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar
from bodydouble.core.cameras import look_at_camera
from bodydouble.core.errors import InputError
from bodydouble.core.files import atomic_path
from bodydouble.render.mesh import rasterize_mesh

_MOMENTS = 8
_WIDTH_PX, _HEIGHT_PX, _TITLE_PX = 150, 200, 18
_FLOOR_M, _TILES = 1.0, 8


def write_sheet(path: Path, avatar: Avatar, motions: Sequence[tuple[str, Motion]]) -> None:
    """Draw a line of pictures for each motion.

    Args:
        path: The PNG.
        avatar: With a mesh.
        motions: Titles and motions on the avatar's rig.
    Raises:
        InputError: When the avatar has no mesh.
    """
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (_WIDTH_PX * _MOMENTS, (_HEIGHT_PX + _TITLE_PX) * max(len(motions), 1)), "white")
    draw = ImageDraw.Draw(picture)
    for row, (title, motion) in enumerate(motions):
        top = row * (_HEIGHT_PX + _TITLE_PX)
        draw.text((4, top + 3), title, fill="black")
        image = (strip(avatar, motion).clamp(0, 1) * 255).round().byte().numpy()
        picture.paste(Image.fromarray(image), (0, top + _TITLE_PX))
    with atomic_path(path) as partial:
        picture.save(partial, format="PNG")


def strip(avatar: Avatar, motion: Motion) -> Float[Tensor, "height width 3"]:
    """Evenly spaced moments of a motion side by side."""
    if avatar.mesh is None:
        raise InputError("The avatar has no mesh to draw motions with. Take one that `bodydouble create` wrote.")
    tiles, tile_faces, tile_colors = _floor()
    pictures = []
    for moment in range(_MOMENTS):
        frame = min(int((moment + 0.5) / _MOMENTS * motion.num_frames), motion.num_frames - 1)
        posed = pose_avatar(avatar, motion.pose(frame), motion.expression[frame])
        assert posed.vertices_world_m is not None and posed.vertex_colors is not None
        hips = posed.joints_world_m[0]
        at = torch.stack([hips[0], torch.tensor(0.9), hips[2]])
        camera = look_at_camera(
            at + torch.tensor([1.2, 0.5, 3.6]), at, focal_px=1.45 * _HEIGHT_PX, width_px=_WIDTH_PX, height_px=_HEIGHT_PX
        )
        # The tiles stay where they are in the world, so that sliding shows from picture to picture.
        shift = (at / (2 * _FLOOR_M / _TILES * 2)).round() * (2 * _FLOOR_M / _TILES * 2) * torch.tensor([1.0, 0.0, 1.0])
        vertices = torch.cat([posed.vertices_world_m, tiles + shift])
        faces = torch.cat([avatar.mesh.faces, tile_faces + len(posed.vertices_world_m)])
        colors = torch.cat([posed.vertex_colors, tile_colors])
        image = rasterize_mesh(vertices, faces, camera, colors=colors, background=torch.ones(3))
        assert image.rgb is not None
        pictures.append(image.rgb)
    return torch.cat(pictures, 1)


def _floor() -> tuple[Tensor, Tensor, Tensor]:
    """A chequered square at y = 0."""
    step = 2 * _FLOOR_M / _TILES
    corners = torch.tensor([[0.0, 0.0, 0.0], [step, 0.0, 0.0], [0.0, 0.0, step], [step, 0.0, step]])
    places = [(i, k) for i in range(_TILES) for k in range(_TILES)]
    vertices = torch.cat([corners + torch.tensor([i * step - _FLOOR_M, 0.0, k * step - _FLOOR_M]) for i, k in places])
    faces = torch.cat([torch.tensor([[0, 2, 1], [1, 2, 3]]) + 4 * n for n in range(len(places))])
    colors = torch.cat([torch.full((4, 3), 0.86 if (i + k) % 2 else 0.76) for i, k in places])
    return vertices, faces.to(torch.int64), colors
