"""A shell over what nobody filmed.

Trained skin and cloth are translucent: the chest of one who never turned around is painted by splats of the back, too,
that glimmer through it. Seen from the front they belong there; from behind they are a blotchy mess. So they stay as they
are, and over them lies a shell of flat, opaque splats in the guessed colours (`prior`), on the side that no frame shows.
What of it frames would show beside the person is not on that side: there the guess is withdrawn, rims and ears stay as
they were trained, and what still sticks out is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.avatar.values import Splats
from bodydouble.body.protocol import BodyModel
from bodydouble.core.normals import vertex_normals
from bodydouble.core.seeds import numpy_rng
from bodydouble.reconstruct.skin import blend_skinning
from bodydouble.reconstruct.splats.places import on_faces, quats_along, spread_places
from bodydouble.reconstruct.splats.prior import Guess, ramp, spread_over_rings
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
_OUTSIDE, _MOST_OUTSIDE = (0.01, 0.03), 0.02
"""Share of a splat beside the person from which it is at a rim, a little and surely; and from which it is left out."""
_RINGS, _OFTEN = 1, (0.05, 0.25)
"""So far around a vertex are splats looked at, and so many of them must be at a rim for it to be one."""


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Splats over the unseen side at rest."""

    splats: Splats
    moved_m: dict[str, Float[Tensor, "m 3"]]
    """Offset of each under each facial action."""
    corners: Int[Tensor, "m 3"]
    """Vertices of the face each lies on."""
    barycentric: Float[Tensor, "m 3"]


OutsideOf = Callable[[Splats], Float[Tensor, " m"]]
"""How much of splats that are laid over the trained ones frames would show beside the person, in [0, 1]."""


def fitting_shell(
    guess: Guess,
    body: BodyModel,
    vertices_rest: Float[Tensor, "verts 3"],
    num_harmonics: int,
    outside_of: OutsideOf | None,
) -> tuple[Guess, Shell | None]:
    """The shell that no frame would show beside the person, and the guess withdrawn where it would have.

    Args:
        guess: What to show, and where.
        body: The body they ride on.
        vertices_rest: Its fitted shape in the rest pose, metres.
        num_harmonics: Of the other splats' colours.
        outside_of: Looks at frames; without it the guess is believed.
    """
    shell = unseen_shell(guess, body, vertices_rest, num_harmonics)
    if shell is None or outside_of is None:
        return guess, shell
    believed = 1.0 - _at_rim(shell, outside_of(shell.splats), body)
    guess = replace(guess, doubt=guess.doubt * believed, doubt_shape=guess.doubt_shape * believed)
    shell = unseen_shell(guess, body, vertices_rest, num_harmonics)
    if shell is None:
        return guess, None
    keep = torch.nonzero(outside_of(shell.splats) < _MOST_OUTSIDE)[:, 0]
    return guess, Shell(
        splats=shell.splats.map(lambda tensor: tensor[keep]),
        moved_m={name: moved[keep] for name, moved in shell.moved_m.items()},
        corners=shell.corners[keep],
        barycentric=shell.barycentric[keep],
    )


def _at_rim(shell: Shell, outside: Float[Tensor, " m"], body: BodyModel) -> Float[Tensor, " verts"]:
    """1 at vertices around which much of the shell sticks out, 0 where next to nothing does."""
    mass = shell.barycentric.reshape(-1)
    field = torch.zeros(len(body.vertex_parts), 2)
    field.index_add_(
        0, shell.corners.reshape(-1), torch.stack([mass * ramp(outside, *_OUTSIDE).repeat_interleave(3), mass], 1)
    )
    field = spread_over_rings(field, body.faces.long(), _RINGS)
    return ramp(field[:, 0] / field[:, 1].clamp_min(1e-9), *_OFTEN)


def unseen_shell(
    guess: Guess, body: BodyModel, vertices_rest: Float[Tensor, "verts 3"], num_harmonics: int
) -> Shell | None:
    """Splats over what the guess calls unseen; none where all was seen. Arguments as those of `fitting_shell`."""
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
    moved = dict(zip(body.action_names, deltas, strict=True))
    return Shell(splats=shell, moved_m=moved, corners=corners, barycentric=barycentric)


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
