"""What nobody filmed: the back of one who never turned, the far arm. Guessed from what was filmed, along the surface.

Every property that needs a guess (colour, distance from the body, opacity, size) is a field on the body's mesh. Trusted
splats are its data; where there are none, those of the other side of the body step in (people and their clothes are
nearly symmetric), less trusted; the rest is filled in by the smoothest surface between them: one sparse linear system,

    (L + diag(w + m)) x = w d + m d_mirrored,

L the cotangent Laplacian, w and m the weights of a vertex's own and its mirror image's data (harmonic inpainting). The
colours of trunk and limbs are also lent from front to back, and the scalp's by the hair that was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.core.normals import vertex_normals
from bodydouble.reconstruct.harmonic import fill_fields, through_vertices
from bodydouble.reconstruct.splats.places import on_faces
from bodydouble.reconstruct.splats.seed import SplatState, birth_normals
from bodydouble.render.sh import C0

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
_HAIR_DOUBT = 2.0
"""So many times as much must be seen of hair: at its rim it lets the background through, and is trained to look like it."""
_UNLIKE_SKIN, _MOSTLY_HAIR = 0.2, 0.3
"""Distance in sRGB from which a colour of the scalp is not the face's skin, and the share of such that speaks for hair."""
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


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What a body without gaps would look like: fields on the vertices of its mesh."""

    sh: Float[Tensor, "verts 3"]
    height_m: Float[Tensor, " verts"]
    """Of splats above the bare body."""
    logit_opacities: Float[Tensor, " verts"]
    log_scales: Float[Tensor, " verts"]
    doubt: Float[Tensor, " verts"]
    """1 where the video shows nothing around, 0 where it tells colours itself."""
    doubt_shape: Float[Tensor, " verts"]
    """The same for shapes."""


def region_seen(
    seen: Float[Tensor, " n"], corners: Int[Tensor, "n 3"], barycentric: Float[Tensor, "n 3"], body: BodyModel
) -> Float[Tensor, " verts"]:
    """How much the video shows of the surface around each vertex, in [0, 1]; 1 where there are no splats to look at.

    A splat under others is hardly seen itself, and yet part of what the video shows: its surroundings decide.

    Args:
        seen: How much the video showed of each splat.
        corners: Vertices of the face it was born on.
        barycentric: Where on that face.
    """
    mean, weight = _on_vertices(seen[:, None], torch.ones_like(seen), corners, barycentric, body)
    field = torch.cat([mean * weight[:, None], weight[:, None]], dim=1)
    field = spread_over_rings(field, body.faces.long(), _RINGS)
    return torch.where(field[:, 1] > 0, field[:, 0] / field[:, 1].clamp_min(1e-9), 1.0)


def spread_over_rings(
    field: Float[Tensor, "verts channels"], faces: Int[Tensor, "faces 3"], rings: int
) -> Float[Tensor, "verts channels"]:
    """Sums over the vertices around each, as many rings of them; scaled so that the last channel's largest is 1."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = torch.cat([edges, edges.flip(1)])
    for _ in range(rings):
        field = field.index_add(0, edges[:, 0], field[edges[:, 1]])
        field = field / field[:, -1:].amax().clamp_min(1e-9)
    return field


def guess_unseen(
    state: SplatState, seen: Float[Tensor, " n"], body: BodyModel, vertices_rest: Float[Tensor, "verts 3"]
) -> Guess:
    """What the video tells, carried on to where it tells nothing.

    Args:
        state: Trained splats.
        seen: In [0, 1], how much the video ever showed of each.
        body: The body they ride on.
        vertices_rest: Its fitted shape in the rest pose, metres.
    """
    corners = body.faces.long()[state.faces]
    around = region_seen(seen, corners, state.barycentric, body)
    around = around / torch.where(_scalp(body, vertices_rest) > 0, _HAIR_DOUBT, 1.0)
    height = _heights_m(state, body, vertices_rest)[0]
    believed = trust_of(seen) * torch.sigmoid(state.logit_opacities)
    shapes = torch.stack([height, state.logit_opacities.clamp(-4.0, 4.0), state.log_scales.amax(1)], dim=1)
    data, weight = _on_vertices(torch.cat([state.sh[:, 0], shapes], dim=1), believed, corners, state.barycentric, body)
    filled = fill_fields(data[:, 3:], weight, vertices_rest, body.faces)
    return Guess(
        sh=_filled_colors(data[:, :3], weight, body, vertices_rest),
        height_m=filled[:, 0].clamp(*_FARTHEST_M),
        logit_opacities=filled[:, 1],
        log_scales=filled[:, 2],
        doubt=1.0 - ramp(around, _DARK_REGION, _LIT_REGION),
        doubt_shape=1.0 - ramp(around, _DARK_SHAPE, _LIT_SHAPE),
    )


def fill_unseen(
    state: SplatState,
    shown: Float[Tensor, " n"],
    guess: Guess,
    body: BodyModel,
    vertices_rest: Float[Tensor, "verts 3"],
) -> SplatState:
    """Splats with colours, distance from the body, opacities and sizes guessed in proportion to how little the video
    shows of the surface around them, or of a splat itself.

    Args:
        state: Trained splats.
        shown: In [0, 1], how much the video ever showed of each, and be it through others.
        guess: Made from them.
        body: The body they ride on.
        vertices_rest: Its fitted shape in the rest pose, metres.
    """
    corners = body.faces.long()[state.faces]

    def here(field: Tensor) -> Tensor:
        return on_faces(field, corners, state.barycentric)

    hidden = 1.0 - ramp(shown, *_HIDDEN)
    doubt, doubt_shape = torch.maximum(here(guess.doubt), hidden), here(guess.doubt_shape)
    height, normal = _heights_m(state, body, vertices_rest)
    lift = (here(guess.height_m) - height) * doubt_shape
    largest = state.log_scales.amax(1)
    shrink = (here(guess.log_scales) + float(np.log(_GROWTH)) - largest).clamp(max=0.0) * doubt_shape
    opaquer = (here(guess.logit_opacities) - state.logit_opacities).clamp_min(0.0) * doubt_shape
    return state.replace(
        sh=state.sh + doubt[:, None, None] * (here(guess.sh)[:, None] - state.sh),
        sh_rest=state.sh_rest * (1.0 - doubt)[:, None, None],
        means=state.means + lift[:, None] * normal,
        logit_opacities=state.logit_opacities + opaquer,
        log_scales=state.log_scales + shrink[:, None],
    )


def _heights_m(
    state: SplatState, body: BodyModel, vertices_rest: Float[Tensor, "verts 3"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]:
    """How far each splat lies above the place on the body where it was born, and the normal there."""
    corners = body.faces.long()[state.faces]
    normal = birth_normals(state, vertices_rest, body.faces)
    born = on_faces(vertices_rest, corners, state.barycentric)
    return ((state.means - born) * normal).sum(1), normal


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
        hair = _hair_color(data, seen, (parts == place["face"]) * weight)
        lent = _HAIR * scalp * (1.0 - weight)
        data = torch.where(scalp[:, None] > 0, (data * weight[:, None] + hair * lent[:, None])
                           / (weight + lent).clamp_min(1e-9)[:, None], data)  # fmt: skip
        weight = torch.where(scalp > 0, weight + lent, weight)
    return fill_fields(data, weight, vertices_rest, body.faces, through=(other, squarely))


def _hair_color(
    data: Float[Tensor, "verts 3"], scalp_seen: Float[Tensor, " verts"], face_seen: Float[Tensor, " verts"]
) -> Float[Tensor, "3"]:
    """The typical colour of what was seen of the scalp, not its mean: glimpses of ears and forehead are no hair. Where
    most of it differs from the skin of the face, only what differs counts: foreheads are high and hair is thin."""
    colors = data[scalp_seen > 0.3 * scalp_seen.max()]
    if bool((face_seen > 0.3).any()):
        skin = data[face_seen > 0.3].median(0).values
        unlike = (colors - skin).norm(dim=1) * C0 > _UNLIKE_SKIN
        if bool(unlike.float().mean() > _MOSTLY_HAIR):
            colors = colors[unlike]
    return colors.median(0).values


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
