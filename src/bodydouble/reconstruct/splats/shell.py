"""A shell over what nobody filmed.

Trained skin and cloth are translucent: the chest of one who never turned around is painted by splats of the back, too,
that glimmer through it. Seen from the front they belong there; from behind they are a blotchy mess. So they stay as they
are, and over them lies a shell of flat, opaque splats in the guessed colours (`prior`), on the side that no frame shows.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.avatar.values import Splats
from bodydouble.body.protocol import BodyModel
from bodydouble.core.normals import vertex_normals
from bodydouble.core.seeds import numpy_rng
from bodydouble.reconstruct.skin import blend_skinning
from bodydouble.reconstruct.splats.places import on_faces, quats_along, spread_places
from bodydouble.reconstruct.splats.prior import Guess, ramp
from bodydouble.render.sh import C0

_PARTS = ("body", "head")
"""Faces and hands are too fine for it, and of soles frames show the rim."""
_SPACING_M, _SIZE_M, _FLATNESS = 0.011, 0.011, 0.2
SUNK_M, _ABOVE_M = 0.010, 0.002
"""How deep splats under the shell lie below where it would be without them, and how far above it lies: an outline that
frames do show must not grow by it."""
_OPACITY, _LEAST_DOUBT = 0.99, 0.02
_HEAD_DOUBT = 0.8
"""A head is covered only above this much doubt: what shows of its rim from in front are single hairs, not a hull."""


def unseen_shell(
    guess: Guess, body: BodyModel, vertices_rest: Float[Tensor, "verts 3"], num_harmonics: int
) -> tuple[Splats, dict[str, Float[Tensor, "m 3"]]] | None:
    """Splats over the unseen side at rest, and their offset under each facial action; none where all was seen.

    Args:
        guess: What to show, and where.
        body: The body they ride on.
        vertices_rest: Its fitted shape in the rest pose, metres.
        num_harmonics: Of the other splats' colours.
    """
    faces = body.faces.long()
    cover = _cover(guess, body)
    chosen = torch.nonzero(under_shell(body) & (cover[faces].amax(1) > _LEAST_DOUBT))[:, 0]
    if len(chosen) == 0:
        return None
    a, b, c = vertices_rest[faces[chosen]].unbind(1)
    area_m2 = 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=1)
    count = max(1, round(float(area_m2.sum()) / _SPACING_M**2))
    pick, barycentric = spread_places(area_m2, count, numpy_rng(0, "unseen shell"))
    corners = faces[chosen[pick]]

    def here(field: Tensor) -> Tensor:
        return on_faces(field, corners, barycentric)

    normal = torch.nn.functional.normalize(here(vertex_normals(vertices_rest, faces)), dim=1)
    joints, weights = blend_skinning(body, corners, barycentric)
    sh = torch.zeros(count, num_harmonics, 3)
    sh[:, 0] = here(guess.sh).clamp(-0.5 / C0, 0.5 / C0)
    shell = Splats(
        means_rest_m=here(vertices_rest) + (here(guess.height_m) + _ABOVE_M)[:, None] * normal,
        quats_wxyz=quats_along(vertices_rest, corners, normal),
        scales_m=torch.tensor([_SIZE_M, _SIZE_M, _FLATNESS * _SIZE_M]).repeat(count, 1),
        opacities=_OPACITY * here(cover),
        sh=sh,
        joints=joints,
        weights=weights,
        seen=torch.zeros(count),
    )
    deltas = (body.action_deltas[:, corners] * barycentric[None, ..., None]).sum(2)
    return shell, dict(zip(body.action_names, deltas, strict=True))


def share_under_shell(
    guess: Guess, body: BodyModel, faces: Int[Tensor, " n"], barycentric: Float[Tensor, "n 3"]
) -> Float[Tensor, " n"]:
    """How far places on the body are covered by the shell, in [0, 1]."""
    return on_faces(_cover(guess, body), body.faces.long()[faces], barycentric) * under_shell(body)[faces]


def under_shell(body: BodyModel) -> Bool[Tensor, " faces"]:
    """Faces of the parts that get a shell where they are unseen."""
    shelled = torch.tensor([name in _PARTS for name in body.part_names])[body.vertex_parts.long()]
    return shelled[body.faces.long()].all(1)


def _cover(guess: Guess, body: BodyModel) -> Float[Tensor, " verts"]:
    """How opaque the shell is at each vertex of the parts that get one."""
    head = torch.tensor([name == "head" for name in body.part_names])[body.vertex_parts.long()]
    return torch.where(head, ramp(guess.doubt, _HEAD_DOUBT, 1.0), guess.doubt)
