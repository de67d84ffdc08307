"""Splats are born on the surface of the fitted body, flat, coloured by what the video shows there."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.normals import vertex_normals
from bodydouble.core.seeds import numpy_rng
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.reconstruct.skin import blend_skinning
from bodydouble.reconstruct.splats.places import on_faces, quats_along, spread_places

_PART_DENSITY = {"face": 2.5, "left_hand": 2.0, "right_hand": 2.0, "head": 1.2, "eyes": 5.0, "mouth": 0.0}


@tensor_struct
class SplatState(TensorStruct):
    """Everything that is kept per splat while training. Density control indexes all fields alike."""

    means: Float[Tensor, "n 3"]
    """Rest position, metres."""
    log_scales: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    """Orientation wxyz, not normalised."""
    logit_opacities: Float[Tensor, " n"]
    sh: Float[Tensor, "n 1 3"]
    sh_rest: Float[Tensor, "n more 3"]
    """Colour that depends on the direction of view, seen in the rest frame: coefficients from degree 1 up, or none."""
    skin_deltas: Float[Tensor, "n 4"]
    """Learnt residual of the logarithm of `weights` (`posing.skin_weights`)."""
    anchors: Float[Tensor, "n 3"]
    """Where on the body's surface the splat (or its ancestor) was born."""
    faces: Int[Tensor, " n"]
    """Face of the body it was born on."""
    barycentric: Float[Tensor, "n 3"]
    joints: Int[Tensor, "n 4"]
    weights: Float[Tensor, "n 4"]
    """The body's, where the splat was born."""


LEARNT = ("means", "log_scales", "quats", "logit_opacities", "sh", "sh_rest", "skin_deltas")
"""Fields of `SplatState` that are trained."""


def seed_splats(body: BodyModel, vertices_rest: Float[Tensor, "verts 3"], num_seeds: int, seed: int) -> SplatState:
    """Spread splats over the rest surface by area, denser on face and hands, none inside the mouth.

    Args:
        vertices_rest: Vertices of the fitted shape in the rest pose, metres.
        num_seeds: How many.
    """
    faces = body.faces.long()
    triangle = vertices_rest[faces]
    normal = torch.linalg.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])
    area = 0.5 * normal.norm(dim=1)
    density = torch.tensor([_PART_DENSITY.get(name, 1.0) for name in body.part_names])
    face_density = density[body.vertex_parts.long()[faces]].amin(1)
    mass = area * face_density
    chosen, barycentric = spread_places(mass, num_seeds, numpy_rng(seed, "seed_splats"))

    corners = faces[chosen]
    means = on_faces(vertices_rest, corners, barycentric)
    joints, weights = blend_skinning(body, corners, barycentric)
    spacing = (area * mass.sum() / mass.clamp_min(1e-12) / num_seeds)[chosen].clamp(max=4e-4)
    tangential = (spacing / np.pi).sqrt()
    scales = torch.stack([tangential, tangential, 0.35 * tangential], dim=1)

    return SplatState(
        means=means,
        log_scales=scales.log(),
        quats=quats_along(vertices_rest, corners, torch.nn.functional.normalize(normal[chosen], dim=1)),
        logit_opacities=torch.full((num_seeds,), 1.5),
        sh=torch.zeros(num_seeds, 1, 3),
        sh_rest=torch.zeros(num_seeds, 0, 3),
        skin_deltas=torch.zeros(num_seeds, 4),
        anchors=means.clone(),
        faces=chosen,
        barycentric=barycentric,
        joints=joints,
        weights=weights,
    )


def birth_normals(
    state: SplatState, vertices_rest: Float[Tensor, "verts 3"], faces: Int[Tensor, "faces 3"]
) -> Float[Tensor, "n 3"]:
    """The surface's unit normal where each splat was born, at rest.

    Args:
        vertices_rest: Vertices of the fitted shape in the rest pose, metres.
        faces: Of the body.
    """
    corners = faces.long()[state.faces]
    normals = on_faces(vertex_normals(vertices_rest, faces.long()), corners, state.barycentric)
    return torch.nn.functional.normalize(normals, dim=1)
