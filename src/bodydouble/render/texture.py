"""Textured meshes: looking colours up in a texture, and drawing a mesh with it."""

from __future__ import annotations

from functools import reduce

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.mesh import interpolate, rasterize_mesh

_SAMPLES = 2
"""Each pixel of a drawn mesh is the mean of so many by so many samples."""


@tensor_struct
class DrawnMesh(TensorStruct):
    """A picture of a mesh with soft edges."""

    rgb: Float[Tensor, "height width 3"]
    """sRGB over the background."""
    alpha: Float[Tensor, "height width"]
    """Share of the pixel that the mesh covers."""
    depth: Float[Tensor, "height width"]
    """Mean depth of the covered part along the camera's +Z, metres; 0 where there is none."""


def sample_texture(image: UInt8[Tensor, "height width 3"], uv: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
    """Colours in [0, 1] at texture coordinates, bilinear, clamped at the border.

    Args:
        image: 8-bit colours; the centre of the top left texel is at (0.5 / width, 0.5 / height).
        uv: (0, 0) is the top left corner, (1, 1) the bottom right one (glTF's convention).
    """
    height, width = image.shape[:2]
    x = (uv[..., 0] * width - 0.5).clamp(0.0, width - 1.0)
    y = (uv[..., 1] * height - 0.5).clamp(0.0, height - 1.0)
    x0, y0 = x.floor().long(), y.floor().long()
    x1, y1 = (x0 + 1).clamp(max=width - 1), (y0 + 1).clamp(max=height - 1)
    tx, ty = (x - x0)[..., None], (y - y0)[..., None]
    flat = image.reshape(-1, 3)
    top = flat[y0 * width + x0] * (1 - tx) + flat[y0 * width + x1] * tx
    bottom = flat[y1 * width + x0] * (1 - tx) + flat[y1 * width + x1] * tx
    return (top * (1 - ty) + bottom * ty) / 255.0


def draw_mesh(
    vertices_world: Float[Tensor, "verts 3"],
    faces: Int[Tensor, "faces 3"],
    camera: Camera,
    *,
    colors: Float[Tensor, "verts 3"],
    uv: Float[Tensor, "verts 2"] | None = None,
    texture: UInt8[Tensor, "height width 3"] | None = None,
    background: Float[Tensor, " 3"] | None = None,
) -> DrawnMesh:
    """Draw a mesh with its texture, or with its vertex colours where it has none.

    Args:
        vertices_world, faces, camera: As for `render.mesh.rasterize_mesh`.
        colors: sRGB per vertex; not looked at where there is a texture.
        uv, texture: Both or neither.
        background: Black by default.
    """
    fine = camera.cropped(
        0.0, 0.0, (float(camera.width_px), float(camera.height_px)), (_SAMPLES * camera.width_px, _SAMPLES * camera.height_px)
    )  # fmt: skip
    image = rasterize_mesh(vertices_world, faces, fine)
    if uv is not None and texture is not None:
        rgb = torch.zeros(*image.mask.shape, 3)
        rgb[image.mask] = sample_texture(texture, interpolate(image, faces, uv)[image.mask])
    else:
        rgb = interpolate(image, faces, colors)
    covered = image.mask.float()
    depth = torch.where(image.mask, image.depth, torch.zeros(()))

    def pooled(values: Tensor) -> Tensor:
        height, width = camera.height_px, camera.width_px
        parts = values.reshape(height, _SAMPLES, width, _SAMPLES, -1)
        # A sum of slices takes a fraction of the time of the mean over two axes.
        samples = (parts[:, a, :, b] for a in range(_SAMPLES) for b in range(_SAMPLES))
        return reduce(torch.add, samples) / _SAMPLES**2

    alpha = pooled(covered)
    mean_depth = pooled(depth) / alpha.clamp_min(1e-6)
    rgb = pooled(rgb)
    if background is not None:
        rgb = rgb + (1.0 - alpha) * background
    return DrawnMesh(rgb=rgb, alpha=alpha[..., 0], depth=mean_depth[..., 0])
