"""A texture from the video: every frame is projected onto the mesh where it sees it, and the views are blended.

Weights follow how squarely and how closely a frame looks at a texel (after Lempitsky and Ivanov, "Seamless mosaicing of
image-based texture maps", 2007, as blending instead of labelling). Each texel keeps its best few views; a median decides
what the others must agree with. What no frame shows is taken from the other side of the body where that was seen, and
grows smoothly in between.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.core.normals import vertex_normals
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.render.mesh import rasterize_mesh
from bodydouble.render.threads import kernel_threads, run_kernel

VIEWS_KEPT = 8
_OUTLINE_PX = 3.0
"""Within so many pixels of the person's outline a frame is not trusted."""
_FULL_TRUST = 0.02
"""Weight (views, squarely seen, of 7 mm a pixel) from which a texel is the video's alone."""


@tensor_struct
class TexturedFrame(TensorStruct):
    """One frame, and where the mesh is in it."""

    rgb: UInt8[Tensor, "height width 3"]
    camera: Camera
    vertices_world: Float[Tensor, "verts 3"]
    gain: Float[Tensor, " 3"]
    """Exposure: the frame's colours are the texture's times this."""
    mask: Float[Tensor, "height width"] | None = None
    """How much of each pixel the person covers, if that is known; else the mesh's own outline is believed."""


@tensor_struct
class Texels(TensorStruct):
    """The texels that triangles cover."""

    row: Int[Tensor, " texels"]
    column: Int[Tensor, " texels"]
    face: Int[Tensor, " texels"]
    barycentric: Float[Tensor, "texels 3"]
    size_px: int


@tensor_struct
class Gathered(TensorStruct):
    """What the frames show of each texel."""

    rgb: Float[Tensor, "texels 3"]
    """sRGB in [0, 1]; 0 where nothing was seen."""
    trust: Float[Tensor, " texels"]
    """In [0, 1]: 0 never seen, 1 seen well."""


def texels_of(uv: Float[Tensor, "verts 2"], faces: Int[Tensor, "faces 3"], size_px: int) -> Texels:
    """Which triangle the centre of each texel lies in."""
    flat = torch.cat([uv * size_px, torch.ones(len(uv), 1)], dim=1)
    # Texture space as a picture: a camera at the origin without focal length, looking along +Z.
    camera = Camera(
        width_px=size_px,
        height_px=size_px,
        focal_px=torch.ones(2),
        center_px=torch.zeros(2),
        T_camera_world=torch.eye(4),
    )
    image = rasterize_mesh(flat, faces, camera)
    row, column = torch.nonzero(image.face_index >= 0, as_tuple=True)
    return Texels(
        row=row,
        column=column,
        face=image.face_index[row, column].long(),
        barycentric=image.barycentric[row, column],
        size_px=size_px,
    )


def gather_colors(
    texels: Texels, faces: Int[Tensor, "faces 3"], owner: Int[Tensor, " verts"], frames: Iterable[TexturedFrame]
) -> Gathered:
    """Project frames onto the texels that they see, and blend.

    Args:
        texels: Of the mesh whose vertices the frames place.
        faces: Its triangles.
        owner: Vertex of the closed mesh below that each vertex is a copy of.
        frames: In any order.
    """
    from bodydouble.reconstruct.surface import texture_kernels as kernels

    count = len(texels.face)
    best_w = np.zeros((count, VIEWS_KEPT), np.float32)
    best_rgb = np.zeros((count, VIEWS_KEPT, 3), np.uint8)
    face_of, bary = texels.face.int().numpy(), texels.barycentric.float().numpy()
    corners = faces.int().numpy()
    workers = kernel_threads()
    for frame in frames:
        T = frame.camera.T_camera_world
        points = frame.vertices_world @ T[:3, :3].T + T[:3, 3]
        # Of the closed mesh: on its own, a chart's border faces elsewhere, and its seam would show.
        whole = torch.zeros(int(owner.max()) + 1, 3).index_copy_(0, owner, points)
        normals = vertex_normals(whole, owner[faces.long()])[owner]
        depth = rasterize_mesh(frame.vertices_world, faces, frame.camera).depth.numpy()
        covered = np.isfinite(depth)
        if frame.mask is not None:
            covered &= frame.mask.numpy() > 0.5
        run_kernel(
            kernels.gather, workers, face_of, bary, corners, points.double().numpy(), normals.double().numpy(),
            frame.camera.focal_px.double().numpy(), frame.camera.center_px.double().numpy(), frame.rgb.numpy(), depth,
            _inside(covered), frame.gain.double().numpy(), best_w, best_rgb,
        )  # fmt: skip
    rgb, total = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
    run_kernel(kernels.blend, workers, best_w, best_rgb, rgb, total)
    return Gathered(
        rgb=torch.from_numpy(rgb / np.float32(255.0)), trust=torch.from_numpy(total / _FULL_TRUST).clamp(0.0, 1.0)
    )


def compose(
    texels: Texels, colors: Float[Tensor, "texels 3"], *, gutter_px: int = 8
) -> UInt8[Tensor, "height width 3"]:
    """The texture as a picture. Texels near a chart repeat its nearest one; the rest has the mean colour.

    Args:
        colors: sRGB in [0, 1].
        gutter_px: How far charts reach beyond their borders.
    """
    from scipy.ndimage import distance_transform_edt

    size = texels.size_px
    row, column = texels.row.numpy(), texels.column.numpy()
    image = np.empty((size, size, 3), np.float32)
    image[:] = colors.mean(0).numpy()
    covered = np.zeros((size, size), bool)
    covered[row, column] = True
    image[row, column] = colors.numpy()
    found = distance_transform_edt(~covered, return_indices=True)
    assert found is not None  # it is, unless arrays to write to are handed in
    distance, nearest = found
    gutter = (distance > 0) & (distance <= gutter_px)
    image[gutter] = image[nearest[0][gutter], nearest[1][gutter]]
    return torch.from_numpy((image.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))


def _inside(covered: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """How far inside the person a pixel is: 0 at the outline and beyond, 1 from `_OUTLINE_PX` and as much again."""
    import cv2

    # Beyond the picture's border nobody is covered.
    far = cv2.distanceTransform(np.pad(covered, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return ((far - _OUTLINE_PX) / _OUTLINE_PX).clip(0.0, 1.0).astype(np.float32)
