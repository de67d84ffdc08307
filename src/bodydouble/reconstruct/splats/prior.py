"""What nobody filmed: the back of one who never turned, the far arm. Guessed from what was filmed, along the surface.

Every property that needs a guess (colour, distance from the body, opacity, size) is a field on the body's mesh. Trusted
splats are its data; where there are none, those of the other side of the body step in (people and their clothes are
nearly symmetric), less trusted; the rest is filled in by the smoothest surface between them: one sparse linear system,

    (L + diag(w + m)) x = w d + m d_mirrored,

L the cotangent Laplacian, w and m the weights of a vertex's own and its mirror image's data (harmonic inpainting). The
colours of trunk and limbs are also lent from front to back, and the scalp's by the hair that was seen.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.normals import vertex_normals
from bodydouble.reconstruct.harmonic import fill_fields, through_vertices
from bodydouble.reconstruct.splats.seed import SplatState, birth_normals

_UNSURE, _SURE = 0.08, 0.35
"""Share of a splat that the video showed from which it is believed when others are guessed, a little and fully."""
_DARK_REGION, _LIT_REGION = 0.01, 0.03
"""Mean of these shares around a splat below which it is a guess, and above which it stays as it is."""
_DARK_SHAPE, _LIT_SHAPE = 0.002, 0.01
"""The same for what gives the outline (place, opacity, size): at the rim of what was filmed, pixels know it better."""
_HIDDEN = (0.01, 0.05)
"""Share of a splat itself below which its colour is a guess wherever it is, and above which its surroundings decide."""
_RINGS = 3
"""Around a splat means so many rings of vertices."""
_HAIR, _HAIR_SEEN = 0.05, 3.0
"""How much of seen hair a vertex of the scalp is lent, and how many vertices must have been seen for that."""
_FARTHEST_M = (-0.02, 0.08)
"""How deep under the body and how far above it a guessed splat may lie."""
_GROWTH = 1.5
"""A guessed splat is larger than those around by this factor at most."""


def ramp(values: Float[Tensor, " n"], low: float, high: float) -> Float[Tensor, " n"]:
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((values - low) / (high - low)).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def trust_of(seen: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """How far the video itself tells the colour of each splat, from what it showed of that splat alone."""
    return ramp(seen, _UNSURE, _SURE)


def region_seen(
    seen: Float[Tensor, " n"], corners: Int[Tensor, "n 3"], barycentric: Float[Tensor, "n 3"], body: BodyModel
) -> Float[Tensor, " n"]:
    """How much the video shows of the surface around each splat, in [0, 1].

    A splat under others is hardly seen itself, and yet part of what the video shows: its surroundings decide.

    Args:
        seen: How much the video showed of each splat.
        corners: Vertices of the face it was born on.
        barycentric: Where on that face.
    """
    mean, weight = _on_vertices(seen[:, None], torch.ones_like(seen), corners, barycentric, body)
    field = torch.cat([mean * weight[:, None], weight[:, None]], dim=1)
    edges = torch.cat([body.faces.long()[:, [0, 1]], body.faces.long()[:, [1, 2]], body.faces.long()[:, [2, 0]]])
    edges = torch.cat([edges, edges.flip(1)])
    for _ in range(_RINGS):
        field = field.index_add(0, edges[:, 0], field[edges[:, 1]])
        field = field / field[:, 1:].amax().clamp_min(1e-9)
    around = field[:, 0] / field[:, 1].clamp_min(1e-9)
    return (around[corners] * barycentric).sum(1)


def fill_unseen(
    state: SplatState, seen: Float[Tensor, " n"], body: BodyModel, vertices_rest: Float[Tensor, "verts 3"]
) -> SplatState:
    """Splats in which those that the video hardly showed are guessed from the others.

    Args:
        state: Trained splats.
        seen: In [0, 1], how much the video ever showed of each.
        body: The body they ride on.
        vertices_rest: Its fitted shape in the rest pose, metres.
    Returns:
        The splats with colours, distance from the body, opacities and sizes filled in, in proportion to how little the
        video shows of the surface around them.
    """
    corners = body.faces.long()[state.faces]
    around = region_seen(seen, corners, state.barycentric, body)
    doubt, doubt_shape = 1.0 - ramp(around, _DARK_REGION, _LIT_REGION), 1.0 - ramp(around, _DARK_SHAPE, _LIT_SHAPE)
    doubt = torch.maximum(doubt, 1.0 - ramp(seen, *_HIDDEN))
    normal = birth_normals(state, vertices_rest, body.faces)
    born = (vertices_rest[corners] * state.barycentric[..., None]).sum(1)
    height = ((state.means - born) * normal).sum(1)
    largest = state.log_scales.amax(1)
    believed = trust_of(seen) * torch.sigmoid(state.logit_opacities)
    shapes = torch.stack([height, state.logit_opacities.clamp(-4.0, 4.0), largest], dim=1)
    data, weight = _on_vertices(torch.cat([state.sh[:, 0], shapes], dim=1), believed, corners, state.barycentric, body)
    colors = _filled_colors(data[:, :3], weight, body, vertices_rest)
    fields = torch.cat([colors, fill_fields(data[:, 3:], weight, vertices_rest, body.faces)], dim=1)
    here = (fields[corners] * state.barycentric[..., None]).sum(1)
    lift = (here[:, 3].clamp(*_FARTHEST_M) - height) * doubt_shape
    shrink = (here[:, 5] + float(np.log(_GROWTH)) - largest).clamp(max=0.0) * doubt_shape
    return state.replace(
        sh=state.sh + doubt[:, None, None] * (here[:, None, :3] - state.sh),
        sh_rest=state.sh_rest * (1.0 - doubt)[:, None, None],
        means=state.means + lift[:, None] * normal,
        logit_opacities=state.logit_opacities + doubt_shape * (here[:, 4] - state.logit_opacities).clamp_min(0.0),
        log_scales=state.log_scales + shrink[:, None],
    )


def _filled_colors(
    data: Float[Tensor, "verts 3"],
    weight: Float[Tensor, " verts"],
    body: BodyModel,
    vertices_rest: Float[Tensor, "verts 3"],
) -> Float[Tensor, "verts 3"]:
    """Colours over the whole body: clothes run on from front to back, and the scalp is covered by hair."""
    place = {name: k for k, name in enumerate(body.part_names)}
    parts = body.vertex_parts
    other, squarely = through_vertices(vertices_rest, vertex_normals(vertices_rest, body.faces.long()))
    squarely = squarely * (parts == place["body"]) * (parts[other] == place["body"])
    scalp = _scalp(body, vertices_rest)
    seen = scalp * weight
    if bool(seen.sum() > _HAIR_SEEN):
        # The typical colour, not the mean: glimpses of ears and forehead are no hair.
        hair = data[seen > 0.3 * seen.max()].median(0).values
        lent = _HAIR * scalp * (1.0 - weight)
        data = torch.where(scalp[:, None] > 0, (data * weight[:, None] + hair * lent[:, None])
                           / (weight + lent).clamp_min(1e-9)[:, None], data)  # fmt: skip
        weight = torch.where(scalp > 0, weight + lent, weight)
    return fill_fields(data, weight, vertices_rest, body.faces, through=(other, squarely))


def _scalp(body: BodyModel, vertices_rest: Float[Tensor, "verts 3"]) -> Float[Tensor, " verts"]:
    """1 where hair grows on most people: the head above the mouth but the face and what is level with it in front."""
    place = {name: k for k, name in enumerate(body.part_names)}
    head, face = body.vertex_parts == place["head"], body.vertex_parts == place["face"]
    if not bool(head.any() and face.any()):
        return torch.zeros(len(vertices_rest))
    low, high = vertices_rest[face, 1].quantile(0.1), vertices_rest[head, 1].amax()
    middle = vertices_rest[head & (vertices_rest[:, 1] > low), 2].mean()
    above, behind = vertices_rest[:, 1] > low + 0.75 * (high - low), vertices_rest[:, 2] < middle
    return (head & (above | (behind & (vertices_rest[:, 1] > low)))).float()


def _on_vertices(
    values: Float[Tensor, "n channels"],
    weights: Float[Tensor, " n"],
    corners: Int[Tensor, "n 3"],
    barycentric: Float[Tensor, "n 3"],
    body: BodyModel,
) -> tuple[Float[Tensor, "verts channels"], Float[Tensor, " verts"]]:
    """Weighted mean of the splats around each vertex, and how much there is of them, in [0, 1]."""
    count = len(body.vertex_parts)
    share = (barycentric * weights[:, None]).reshape(-1)
    index = corners.reshape(-1)
    total = torch.zeros(count, values.shape[1]).index_add_(0, index, values.repeat_interleave(3, 0) * share[:, None])
    mass = torch.zeros(count).index_add_(0, index, share)
    return total / mass.clamp_min(1e-6)[:, None], (2.0 * mass).clamp(max=1.0)
