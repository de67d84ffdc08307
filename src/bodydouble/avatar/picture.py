"""One picture of a posed avatar: of its splats, or of its mesh where it has none."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.drive import PosedAvatar
from bodydouble.avatar.values import Avatar, Mesh
from bodydouble.core.cameras import Camera
from bodydouble.core.errors import InputError
from bodydouble.render.protocol import Rasterizer, RenderedSplats
from bodydouble.render.texture import draw_mesh


def picture_of(
    avatar: Avatar,
    posed: PosedAvatar,
    camera: Camera,
    rasterizer: Rasterizer,
    background: Float[Tensor, " 3"] | None = None,
) -> RenderedSplats:
    """What a camera sees of an avatar.

    Args:
        avatar, posed: The avatar, and the same in a pose (`avatar.drive.pose_avatar`).
        camera: Where from.
        rasterizer: Draws splats.
        background: Black by default.
    Raises:
        InputError: When the avatar has neither splats nor a mesh.
    """
    if posed.splats is not None:
        return rasterizer(posed.splats, camera, background)
    if avatar.mesh is None or posed.vertices_world_m is None or posed.vertex_colors is None:
        raise InputError("The avatar holds neither splats nor a mesh, so there is nothing to draw. Create it again.")
    return mesh_picture(avatar.mesh.replace(colors=posed.vertex_colors), posed.vertices_world_m, camera, background)


def mesh_picture(
    mesh: Mesh,
    vertices_world_m: Float[Tensor, "verts 3"],
    camera: Camera,
    background: Float[Tensor, " 3"] | None = None,
) -> RenderedSplats:
    """A mesh in its own colours, as it is where light is baked in; edges are soft, as those of splats."""
    texture = mesh.texture
    with torch.no_grad():
        drawn = draw_mesh(
            vertices_world_m,
            mesh.faces,
            camera,
            colors=mesh.colors,
            uv=None if texture is None else texture.uv,
            texture=None if texture is None else texture.image,
            background=background,
        )
    return RenderedSplats(rgb=drawn.rgb, alpha=drawn.alpha, depth=drawn.depth * drawn.alpha)
