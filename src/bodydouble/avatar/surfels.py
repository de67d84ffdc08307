"""A mesh seen as splats: flat Gaussians spread evenly over its surface, in its colours and on its skin.

What needs splats (registration to pictures, formats of splats) thereby takes doubles that are a mesh alone.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.values import Avatar, Correctives, Mesh, Morph, Splats
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import matrix_to_quat_wxyz
from bodydouble.render.sh import rgb_to_sh
from bodydouble.render.texture import sample_texture

DEFAULT_COUNT = 30_000
_SPREAD = 0.55
"""Standard deviation in the surface, in distances between neighbours: holes close, and edges stay."""
_FLATNESS = 0.25
_OPACITY = 0.98


def with_splats(avatar: Avatar, count: int = DEFAULT_COUNT) -> Avatar:
    """The avatar, with splats of its mesh where it has none of its own.

    Raises:
        InputError: When it has no mesh either.
    """
    if avatar.splats is not None:
        return avatar
    if avatar.mesh is None:
        raise InputError("The avatar holds neither splats nor a mesh, so there is nothing to draw. Create it again.")
    return dataclasses.replace(avatar, splats=surface_splats(avatar.mesh, count))


def surface_splats(mesh: Mesh, count: int = DEFAULT_COUNT) -> Splats:
    """Splats on a mesh in the rest pose.

    Args:
        mesh: With a texture or colours per vertex.
        count: How many; evenly by area.
    """
    corners_of = mesh.faces.long()
    triangles = mesh.vertices_rest_m[corners_of]
    normal = torch.linalg.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    area = 0.5 * normal.norm(dim=1).double()
    face, barycentric = _spread_evenly(area, count)
    corners = corners_of[face]
    shares = barycentric[..., None]
    if mesh.texture is None:
        colors = (mesh.colors[corners] * shares).sum(1)
    else:
        colors = sample_texture(mesh.texture.image, (mesh.texture.uv[corners] * shares).sum(1))
    joints, weights = _blended_skin(mesh, corners, barycentric)
    across = _SPREAD * math.sqrt(float(area.sum()) / count)
    z = torch.nn.functional.normalize(normal[face], dim=1)
    x = torch.nn.functional.normalize(triangles[face, 1] - triangles[face, 0], dim=1)
    return Splats(
        means_rest_m=(mesh.vertices_rest_m[corners] * shares).sum(1),
        quats_wxyz=matrix_to_quat_wxyz(torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)),
        scales_m=torch.tensor([across, across, _FLATNESS * across]).expand(count, 3).clone(),
        opacities=torch.full((count,), _OPACITY),
        sh=rgb_to_sh(colors),
        joints=joints,
        weights=weights,
        seen=torch.ones(count),
        morphs=tuple(_blended_morph(m, len(mesh.vertices_rest_m), corners, barycentric) for m in mesh.morphs),
        correctives=_nearest_correctives(mesh.correctives, corners, barycentric),
    )


def _spread_evenly(area: Float[Tensor, " faces"], count: int) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Faces and barycentric coordinates by systematic sampling; places in a face by the R2 sequence (Roberts 2018)."""
    total = torch.cumsum(area, 0)
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count * total[-1]
    face = torch.searchsorted(total, places).clamp(max=len(area) - 1)
    k = np.arange(count)
    u, v = np.sqrt((0.7548776662466927 * k) % 1.0), (0.5698402909980532 * k) % 1.0
    barycentric = torch.from_numpy(np.stack([1 - u, u * (1 - v), u * v], axis=1).astype(np.float32))
    return face, barycentric


def _blended_skin(
    mesh: Mesh, corners: Int[Tensor, "n 3"], barycentric: Float[Tensor, "n 3"]
) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    dense = torch.zeros(len(corners), int(mesh.joints.max()) + 1)
    for corner in range(3):
        vertices = corners[:, corner]
        dense.scatter_add_(1, mesh.joints[vertices].long(), mesh.weights[vertices] * barycentric[:, corner, None])
    if dense.shape[1] < 4:
        dense = torch.nn.functional.pad(dense, (0, 4 - dense.shape[1]))
    weights, joints = dense.topk(4, dim=1)
    joints = torch.where(weights > 0, joints, torch.zeros_like(joints))
    return joints, weights / weights.sum(1, keepdim=True)


def _blended_morph(morph: Morph, count: int, corners: Tensor, barycentric: Tensor) -> Morph:
    dense = torch.zeros(count, 3).index_add_(0, morph.indices, morph.deltas_m)
    deltas = (dense[corners] * barycentric[..., None]).sum(1)
    moved = torch.nonzero(deltas.abs().amax(1) > 1e-6)[:, 0]
    return morph.replace(indices=moved, deltas_m=deltas[moved])


def _nearest_correctives(correctives: Correctives | None, corners: Tensor, barycentric: Tensor) -> Correctives | None:
    """Those of the nearest corner: they hardly change within a triangle."""
    if correctives is None:
        return None
    nearest = corners.gather(1, barycentric.argmax(1, keepdim=True))[:, 0]
    return correctives.replace(nodes=correctives.nodes[nearest], weights=correctives.weights[nearest])
