"""Pictures inside a .glb: a mesh's base colour texture, written as PNG, read as PNG or JPEG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from bodydouble.avatar.gltf_buffers import TARGET_VERTICES, BufferBuilder
from bodydouble.avatar.gltf_reader import GlbFile
from bodydouble.avatar.values import Texture

MAX_SIDE_PX = 8192
"""Larger pictures are not unpacked."""
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP = 9729, 9987, 33071
_OVER = 1e-3
"""Coordinates may leave the picture by this much."""


def encode_texture(image: UInt8[Tensor, "height width 3"]) -> bytes:
    """A PNG of the picture."""
    import cv2

    bgr = np.ascontiguousarray(image.detach().cpu().numpy()[..., ::-1])
    done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    assert done  # 8-bit colours always can
    return data.tobytes()


def write_texture(
    buffer: BufferBuilder, texture: Texture, document: dict[str, Any], attributes: dict[str, int]
) -> dict[str, int]:
    """Put a texture into a document and its coordinates into a primitive.

    Args:
        buffer: Takes coordinates and picture.
        texture: What to write.
        document: Gets `images`, `samplers` and `textures`.
        attributes: Of the primitive; gets `TEXCOORD_0`.
    Returns:
        The texture's info for a material's `baseColorTexture`.
    """
    uv = texture.uv.detach().cpu().numpy().astype(np.float32)
    attributes["TEXCOORD_0"] = buffer.add(uv, target=TARGET_VERTICES)
    view = buffer.add_view(np.frombuffer(encode_texture(texture.image), np.uint8))
    document["images"] = [{"name": "baked", "mimeType": "image/png", "bufferView": view}]
    document["samplers"] = [
        {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}
    ]
    document["textures"] = [{"sampler": 0, "source": 0}]
    return {"index": 0}


def read_texture(
    file: GlbFile, primitive: dict[str, Any], attributes: dict[str, Any], count: int
) -> tuple[Texture | None, np.ndarray]:
    """The base colour texture of a primitive, and the material's colour factor (linear light).

    Pictures outside the file, of another kind than PNG and JPEG, with coordinates of their own or transformed are left
    out, as are those that do not unpack: a mesh without its texture is better than none.
    """
    materials = file.objects("materials")
    if "material" not in primitive:
        return None, np.ones(3)
    material = materials[file.index(primitive, "material", len(materials), "a mesh")]
    shading = file.optional(material, "pbrMetallicRoughness")
    factor = file.numbers(shading.get("baseColorFactor", [1.0, 1.0, 1.0, 1.0]), 4, "a base colour")[:3]
    info = file.optional(shading, "baseColorTexture")
    if not info or info.get("texCoord", 0) != 0 or "extensions" in info or "TEXCOORD_0" not in attributes:
        return None, factor
    textures, images = file.objects("textures"), file.objects("images")
    found = textures[file.index(info, "index", len(textures), "a material's texture")]
    if "source" not in found:
        return None, factor
    source = images[file.index(found, "source", len(images), "a texture")]
    accessor = file.index(attributes, "TEXCOORD_0", len(file.objects("accessors")), "a mesh")
    uv = file.array(accessor, width=2, count=count)
    if uv.dtype.kind != "f" or "bufferView" not in source:
        return None, factor
    image = _decode(bytes(file.view_bytes(source["bufferView"], "a picture")))
    if image is None:
        return None, factor
    return Texture(uv=torch.from_numpy(uv.astype(np.float32)), image=image), factor


def within_picture(texture: Texture) -> bool:
    """Whether no coordinate leaves the picture, so that nothing has to be repeated."""
    return bool((texture.uv >= -_OVER).all() and (texture.uv <= 1.0 + _OVER).all())


def _decode(data: bytes) -> UInt8[Tensor, "height width 3"] | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as picture:
            if max(picture.size) > MAX_SIDE_PX:
                return None
            return torch.from_numpy(np.array(picture.convert("RGB")))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
