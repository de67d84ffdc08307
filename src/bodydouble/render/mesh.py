"""A plain z-buffer for triangle meshes: which face each pixel shows, where on it, and how far away.

Exact at pixel centres (+0.5), perspective-correct, no OpenGL. Not differentiable in the geometry; what is interpolated
over the image is differentiable in the vertex attributes.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from bodydouble.core.cameras import Camera
from bodydouble.core.errors import ShapeError
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.threads import kernel_threads, run_kernel

NEAR_M = 0.01
"""What is nearer to the camera's plane than this is not drawn, metres."""


@tensor_struct
class MeshImage(TensorStruct):
    """What a camera sees of a mesh."""

    face_index: Int[Tensor, "height width"]
    """Face shown by each pixel, int32; -1 where there is none."""
    barycentric: Float[Tensor, "height width 3"]
    """Perspective-correct weights of the face's three corners; 0 where there is no face."""
    depth: Float[Tensor, "height width"]
    """Depth along the camera's +Z, metres; infinite where there is no face."""
    rgb: Float[Tensor, "height width 3"] | None = None
    """Interpolated vertex colours over the background, if colours were given."""

    @property
    def mask(self) -> Bool[Tensor, "height width"]:
        """Where the mesh is seen."""
        return self.face_index >= 0


def rasterize_mesh(
    vertices_world: Float[Tensor, "verts 3"],
    faces: Int[Tensor, "faces 3"],
    camera: Camera,
    *,
    colors: Float[Tensor, "verts 3"] | None = None,
    background: Float[Tensor, " 3"] | None = None,
) -> MeshImage:
    """Draw a mesh with a z-buffer, its faces from both sides; parts nearer to the camera's plane than `NEAR_M` are left out.

    Args:
        vertices_world: Vertices, metres. Faces with a vertex that is not finite are not drawn.
        faces: Corners of each face, counter-clockwise seen from outside.
        camera: Where to look from and how large the image is.
        colors: Vertex colours to interpolate, any range.
        background: Colour where no face is seen; black by default.
    Returns:
        Face, weights and depth of every pixel (float32); `rgb` if colours were given (differentiable in them).
    Raises:
        ShapeError: When a face names a vertex that does not exist.
    """
    from bodydouble.render import mesh_kernels as kernels

    height, width = camera.height_px, camera.width_px
    triangles = np.ascontiguousarray(faces.detach().cpu().numpy(), dtype=np.int32)
    num_verts = vertices_world.shape[0]
    if triangles.size and (triangles.min() < 0 or triangles.max() >= num_verts):
        raise ShapeError(
            f"rasterize_mesh: faces must name vertices 0..{num_verts - 1}, "
            f"found {triangles.min()}..{triangles.max()}; are these the faces of another mesh?"
        )
    T_camera_world = camera.T_camera_world.detach().cpu().double().numpy()
    points = vertices_world.detach().cpu().double().numpy() @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
    finite = np.isfinite(points).all(1)
    # A point behind the camera at no finite distance takes its faces out of the drawing; they get a corner each.
    keep = finite[triangles].all(1) if triangles.size else np.ones(0, dtype=bool)
    drawn = np.where(keep[:, None], triangles, 0) if not keep.all() else triangles
    points = np.where(finite[:, None], points, -1.0)
    fx, fy = (float(v) for v in camera.focal_px)
    cx, cy = (float(v) for v in camera.center_px)

    workers = kernel_threads()
    rows = np.full(height, 0.25)
    kernels.count_rows(points, drawn, fy, cy, NEAR_M, rows)
    share = np.cumsum(rows) / rows.sum()
    bands = np.concatenate([[0], np.searchsorted(share, np.arange(1, workers) / workers), [height]]).astype(np.int64)
    face_index = np.full((height, width), -1, dtype=np.int32)
    inverse_depth = np.zeros((height, width))
    run_kernel(
        kernels.rasterize_band,
        workers,
        bands,
        points,
        drawn,
        fx,
        fy,
        cx,
        cy,
        NEAR_M,
        face_index,
        inverse_depth,
    )
    barycentric = np.zeros((height, width, 3), dtype=np.float32)
    depth = np.full((height, width), np.inf, dtype=np.float32)
    run_kernel(kernels.shade_band, workers, points, drawn, fx, fy, cx, cy, face_index, barycentric, depth)

    image = MeshImage(
        face_index=torch.from_numpy(face_index),
        barycentric=torch.from_numpy(barycentric),
        depth=torch.from_numpy(depth),
    )
    if colors is None:
        return image
    return image.replace(rgb=interpolate(image, faces, colors, background=background))


def interpolate(
    image: MeshImage,
    faces: Int[Tensor, "faces 3"],
    attributes: Float[Tensor, "corners channels"],
    *,
    background: Float[Tensor, " channels"] | None = None,
) -> Float[Tensor, "height width channels"]:
    """Values at the corners of faces, interpolated over the image.

    For values that belong to vertices, `faces` are the mesh's own. For texture coordinates, which have their own
    indices, pass the matching face list (`uv_faces` with `uv`): a row for each face of the drawn mesh, in its order.

    Args:
        image: From `rasterize_mesh`.
        faces: Which rows of `attributes` the corners of each drawn face have.
        attributes: Values to interpolate.
        background: Value where no face is seen; 0 by default.
    Returns:
        Interpolated values. Differentiable in `attributes`.
    """
    covered, values = interpolate_covered(image, faces, attributes)
    height, width = image.face_index.shape
    out = values.new_zeros(height * width, attributes.shape[1])
    if background is not None:
        out = out + background.to(out)
    return out.index_put((covered,), values).reshape(height, width, -1)


def interpolate_covered(
    image: MeshImage, faces: Int[Tensor, "faces 3"], attributes: Float[Tensor, "corners channels"]
) -> tuple[Int[Tensor, " covered"], Float[Tensor, "covered channels"]]:
    """`interpolate` of the pixels with a face alone: their places, row after row, and their values."""
    face = image.face_index.reshape(-1)
    covered = torch.nonzero(face >= 0)[:, 0]
    corners = faces.index_select(0, face.index_select(0, covered).long()).long()
    weights = image.barycentric.reshape(-1, 3).index_select(0, covered).to(attributes.dtype)
    return covered, embedding_bag(corners, attributes, per_sample_weights=weights, mode="sum")


def visible_vertices(
    image: MeshImage,
    vertices_world: Float[Tensor, "verts 3"],
    camera: Camera,
    *,
    tolerance_m: float = 0.01,
) -> Bool[Tensor, " verts"]:
    """Which points the camera sees: inside the image and not behind the drawn mesh by more than `tolerance_m`.

    The surface is followed from the pixel's centre to the point itself, so oblique surfaces do not hide their points.
    """
    pixels, depth = camera.project(vertices_world)
    column, row = pixels[:, 0].floor(), pixels[:, 1].floor()
    inside = (depth > NEAR_M) & (column >= 0) & (row >= 0) & (column < camera.width_px) & (row < camera.height_px)
    columns = column.nan_to_num().clamp(0, camera.width_px - 1).long()
    rows = row.nan_to_num().clamp(0, camera.height_px - 1).long()
    surface = image.depth[rows, columns].to(depth)
    for axis, offset in ((1, pixels[:, 0] - column - 0.5), (0, pixels[:, 1] - row - 0.5)):
        surface = surface + _slope(image.depth, axis)[rows, columns].to(depth) * offset
    return inside & (depth <= surface + tolerance_m)


def _slope(depth: Float[Tensor, "height width"], axis: int) -> Float[Tensor, "height width"]:
    """Change of depth per pixel: of the differences to both neighbours the smaller one, which crosses no edge."""
    step = depth.diff(dim=axis).nan_to_num(posinf=torch.inf, neginf=-torch.inf, nan=torch.inf)
    edge = torch.full_like(depth.narrow(axis, 0, 1), torch.inf)
    before, after = torch.cat([edge, step], dim=axis), torch.cat([step, edge], dim=axis)
    smaller = torch.where(before.abs() < after.abs(), before, after)
    return torch.where(smaller.isfinite(), smaller, torch.zeros_like(smaller))
