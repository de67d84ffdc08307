"""Textured meshes: looking colours up in a texture, and drawing a mesh with it."""

from __future__ import annotations

from functools import reduce

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import embedding_bag

from bodydouble.core.cameras import Camera
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.mesh import NEAR_M, interpolate, interpolate_covered, rasterize_mesh

_SAMPLES = 2
"""Each pixel of a drawn mesh is the mean of so many by so many samples."""
_MARGIN_PX = 2


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
    tx, ty = x - x0, y - y0
    corners = torch.stack([y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1], dim=-1)
    shares = torch.stack([(1 - ty) * (1 - tx), (1 - ty) * tx, ty * (1 - tx), ty * tx], dim=-1)
    colors = image.reshape(-1, 3).to(uv.dtype) / 255.0
    return embedding_bag(corners.reshape(-1, 4), colors, per_sample_weights=shares.reshape(-1, 4), mode="sum").reshape(
        *uv.shape[:-1], 3
    )


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
    left, top, width, height = _window(vertices_world, camera)
    fine = camera.cropped(left, top, (width, height), (_SAMPLES * width, _SAMPLES * height))
    image = rasterize_mesh(vertices_world, faces, fine)
    if uv is not None and texture is not None:
        covered, places = interpolate_covered(image, faces, uv)
        rgb = torch.zeros(image.face_index.numel(), 3)
        rgb[covered] = sample_texture(texture, places)
        rgb = rgb.reshape(*image.face_index.shape, 3)
    else:
        rgb = interpolate(image, faces, colors)
    covered = image.mask.float()
    depth = torch.where(image.mask, image.depth, torch.zeros(()))

    def pooled(values: Tensor) -> Tensor:
        parts = values.reshape(height, _SAMPLES, width, _SAMPLES, -1)
        # A sum of slices takes a fraction of the time of the mean over two axes.
        samples = (parts[:, a, :, b] for a in range(_SAMPLES) for b in range(_SAMPLES))
        return reduce(torch.add, samples) / _SAMPLES**2

    alpha = pooled(covered)
    mean_depth = pooled(depth) / alpha.clamp_min(1e-6)
    rgb = pooled(rgb)
    if (width, height) != (camera.width_px, camera.height_px):
        rgb, alpha, mean_depth = (_placed(part, left, top, camera) for part in (rgb, alpha, mean_depth))
    if background is not None:
        rgb = rgb + (1.0 - alpha) * background
    return DrawnMesh(rgb=rgb, alpha=alpha[..., 0], depth=mean_depth[..., 0])


def mesh_alpha(
    vertices_world: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"], camera: Camera
) -> Float[Tensor, "height width"]:
    """How much of each pixel a mesh covers: `draw_mesh`'s alpha, for a fraction of its time."""
    left, top, width, height = _window(vertices_world, camera)
    fine = camera.cropped(left, top, (width, height), (_SAMPLES * width, _SAMPLES * height))
    covered = rasterize_mesh(vertices_world, faces, fine).mask.to(torch.uint8)
    samples = covered.reshape(height, _SAMPLES, width, _SAMPLES).permute(1, 3, 0, 2).reshape(-1, height, width)
    alpha = torch.zeros(camera.height_px, camera.width_px)
    alpha[top : top + height, left : left + width] = reduce(torch.add, samples).float() / _SAMPLES**2
    return alpha


def _window(vertices_world: Float[Tensor, "verts 3"], camera: Camera) -> tuple[int, int, int, int]:
    """Left, top, width and height of the part of the picture that a mesh may cover; the rest need not be drawn.

    All of it where a corner lies beside or behind the camera: such faces may reach anywhere.
    """
    whole = (0, 0, camera.width_px, camera.height_px)
    pixels, depth = camera.project(vertices_world)
    if not len(pixels) or not bool(((depth > NEAR_M) & pixels.isfinite().all(1)).all()):
        return whole
    low, high = pixels.amin(0), pixels.amax(0)
    left, top = (max(0, int(v) - _MARGIN_PX) for v in low.clamp(0.0, 1e6).tolist())
    right = min(camera.width_px, int(high[0].clamp(0.0, 1e6)) + 1 + _MARGIN_PX)
    bottom = min(camera.height_px, int(high[1].clamp(0.0, 1e6)) + 1 + _MARGIN_PX)
    if right <= left or bottom <= top:
        return 0, 0, 1, 1  # out of the picture: one pixel without it
    return left, top, right - left, bottom - top


def _placed(part: Float[Tensor, "h w channels"], left: int, top: int, camera: Camera) -> Tensor:
    out = part.new_zeros(camera.height_px, camera.width_px, part.shape[2])
    out[top : top + part.shape[0], left : left + part.shape[1]] = part
    return out
