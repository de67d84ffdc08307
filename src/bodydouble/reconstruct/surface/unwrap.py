"""Texture coordinates by xatlas: charts cut along what bends most, packed into one square."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.core.struct import TensorStruct, tensor_struct

_PADDING_PX = 4
"""Free texels between charts, so that neither bilinear lookups nor the next two smaller mip levels mix them."""
_MAX_CHART_CM2 = 2000.0
"""About a shirt's front. A trunk in one piece is bent more when laid flat, and takes as long as all other charts."""


@tensor_struct
class Unwrapped(TensorStruct):
    """A mesh whose vertices are doubled along the borders of charts."""

    source: Int[Tensor, " corners"]
    """Vertex of the closed mesh that each vertex is a copy of."""
    faces: Int[Tensor, "faces 3"]
    """Same triangles in the same order, by the new vertices."""
    uv: Float[Tensor, "corners 2"]
    """In [0, 1], v down."""
    charts: int


def unwrap(vertices_m: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"], size_px: int) -> Unwrapped:
    """Lay a mesh out flat.

    Args:
        vertices_m, faces: Triangles, metres.
        size_px: Side of the texture it is meant for.
    """
    import numpy as np
    import xatlas

    atlas = xatlas.Atlas()
    # In centimetres: xatlas passes over triangles of less than a ten-millionth of a unit, and lids have some of 0.1 mm2.
    atlas.add_mesh(100.0 * vertices_m.numpy().astype(np.float32), faces.numpy().astype(np.uint32))
    charts = xatlas.ChartOptions()
    charts.max_cost, charts.max_chart_area = 4.0, _MAX_CHART_CM2
    packing = xatlas.PackOptions()
    packing.padding = _PADDING_PX
    packing.resolution = size_px
    packing.bilinear = True
    packing.rotate_charts = True
    atlas.generate(charts, packing)
    source, triangles, uv = atlas[0]
    if len(triangles) != len(faces):
        raise AssertionError("xatlas keeps triangles that have an area, and a closed mesh has no others")
    # Packed charts may fill a rectangle a little off the wanted square: coordinates are relative to it already.
    return Unwrapped(
        source=torch.from_numpy(source.astype(np.int64)),
        faces=torch.from_numpy(triangles.astype(np.int64)),
        uv=torch.from_numpy(uv.astype(np.float32)).clamp(0.0, 1.0),
        charts=int(atlas.chart_count),
    )
