"""What lies inside a head behind lips and lids: where the mouth opens, and the colours of its inside and of eyeballs.

A video hardly ever shows these, so they get colours that people have, toned by how bright the video's face is.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.fit.features import RestPerson

CAVITY, TONGUE, TOOTH = (0.16, 0.05, 0.05), (0.55, 0.27, 0.26), (0.78, 0.74, 0.67)
_SCLERA, _IRIS, _PUPIL = (0.72, 0.68, 0.65), (0.20, 0.13, 0.09), (0.03, 0.025, 0.025)
"""sRGB in even light."""
_BRIGHT_FACE = 0.62
"""Brightness (90th percentile of the face's largest channel) at which these colours are taken as they are."""
_IRIS_M, _PUPIL_M, _EYEBALL_M = 0.0058, 0.0023, 0.018
"""Of an eyeball; the last is its radius and a little more."""


@tensor_struct
class Opening(TensorStruct):
    """Where the lips part, at rest."""

    middle_m: Float[Tensor, "3"]
    front_m: float
    """Furthest forward (+Z)."""
    width_m: float


def mouth_opening(body: BodyModel, vertices_rest: Float[Tensor, "verts 3"]) -> Opening | None:
    """The rim between lips and cavity; none for a body without a cavity."""
    rim = _rim(body)
    if len(rim) < 8:
        return None
    points = vertices_rest[rim]
    low, high = points.amin(0), points.amax(0)
    return Opening(middle_m=0.5 * (low + high), front_m=float(high[2]), width_m=float((high - low)[0]))


def lip_rims(body: BodyModel) -> tuple[Int[Tensor, " upper"], Int[Tensor, " lower"]]:
    """Vertices where lips turn into the cavity: those of the upper lip, and those that the jaw takes along."""
    rim = _rim(body)
    dropped = body.action_deltas[body.action_names.index("jawOpen"), rim].norm(dim=1)
    below = dropped > 0.5 * float(dropped.max())
    return rim[~below], rim[below]


def _rim(body: BodyModel) -> Int[Tensor, " rim"]:
    """Vertices of faces that are neither skin nor cavity alone."""
    corners = part_vertices(body, "mouth")[body.faces.long()]
    return torch.unique(body.faces.long()[corners.any(1) & ~corners.all(1)])


def face_brightness(colors: Float[Tensor, "n 3"], face: Bool[Tensor, " n"]) -> float:
    """Tone of the light on a face, from the colours of its trusted splats; 1 where there are none."""
    if int(face.sum()) < 20:
        return 1.0
    bright = float(torch.quantile(colors[face].amax(1), 0.9))
    return min(max(bright / _BRIGHT_FACE, 0.55), 1.15)


def eye_colors(
    body: BodyModel,
    rest: RestPerson,
    places: Float[Tensor, "n 3"],
    brightness: float,
) -> tuple[Bool[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Which of some places of the rest surface lie on an eyeball, and the colour it has there when nothing shows it."""
    on_ball = torch.zeros(len(places), dtype=torch.bool)
    colors = torch.zeros(len(places), 3)
    for eye in ("leftEye", "rightEye"):
        bone = body.humanoid.get(eye)
        if bone is None:
            continue
        away = places - rest.joints_rest[body.bone_names.index(bone)]
        ball = away.norm(dim=1) < _EYEBALL_M
        across = away[:, :2].norm(dim=1)
        ahead = away[:, 2] > 0
        color = torch.tensor(_SCLERA).repeat(len(places), 1)
        color[ahead & (across < _IRIS_M)] = torch.tensor(_IRIS)
        color[ahead & (across < _PUPIL_M)] = torch.tensor(_PUPIL)
        colors = torch.where(ball[:, None], color * brightness, colors)
        on_ball |= ball
    return on_ball, colors.clamp(0.0, 1.0)


def mouth_vertex_colors(
    body: BodyModel, vertices_rest: Float[Tensor, "verts 3"], brightness: float
) -> Float[Tensor, "verts 3"]:
    """Colours of the mesh's vertices inside the mouth; other rows mean nothing."""
    opening = mouth_opening(body, vertices_rest)
    if opening is None:
        return torch.zeros_like(vertices_rest)
    tongue = tongue_vertices(body)
    shade = depth_shade(vertices_rest, opening)[:, None]
    color = torch.where(tongue[:, None], torch.tensor(TONGUE), torch.tensor(CAVITY))
    return (color * shade * brightness).clamp(0.0, 1.0)


def part_vertices(body: BodyModel, name: str) -> Bool[Tensor, " verts"]:
    """Vertices of a part, none where the body has no such part."""
    if name not in body.part_names:
        return torch.zeros(len(body.vertex_parts), dtype=torch.bool)
    return body.vertex_parts == body.part_names.index(name)


def tongue_vertices(body: BodyModel) -> Bool[Tensor, " verts"]:
    """What putting the tongue out moves."""
    if "tongueOut" not in body.action_names:
        return torch.zeros(len(body.vertex_parts), dtype=torch.bool)
    moved = body.action_deltas[body.action_names.index("tongueOut")].norm(dim=1)
    return part_vertices(body, "mouth") & (moved > 1e-4)


def depth_shade(points: Float[Tensor, "n 3"], opening: Opening) -> Float[Tensor, " n"]:
    """Darker the further behind the lips."""
    behind = (opening.front_m - points[:, 2]).clamp(min=0.0)
    return torch.exp(-behind / 0.045).clamp(0.25, 1.0)
