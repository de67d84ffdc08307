"""A lining under the skin of face and neck.

Nothing in a video asks the skin of lips, cheeks and lids to be tight: what shines through where trained splats leave
gaps is the far side of the head, whose colour the training takes into account. But an avatar has eyeballs and a mouth
behind that skin, its lids stretch to many times their open size, and it is looked at from sides that no frame shows,
where gaps along the jaw let one see through. So flat, opaque splats are laid a little below the trained ones, as dense
as the skin is when it is stretched most, in the colours around them. They move as the skin does.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.avatar.values import Splats
from bodydouble.body.protocol import BodyModel
from bodydouble.core.normals import vertex_normals
from bodydouble.core.seeds import numpy_rng
from bodydouble.fit.features import RestPerson
from bodydouble.reconstruct.inside_head import mouth_opening
from bodydouble.reconstruct.skin import blend_skinning
from bodydouble.reconstruct.splats.places import on_faces, quats_along, spread_places
from bodydouble.reconstruct.splats.seed import SplatState
from bodydouble.render.sh import rgb_to_sh

_COUNT = 4000
_REACH_M, _MOUTH_M, _EYE_M = 0.13, 0.036, 0.022
"""How far around the mouth the lining reaches, from the temples to below the collar, and where the mouth's and the eyes' end."""
_BELOW_M, _BELOW_MOUTH_M, _BELOW_EYE_M = 0.005, 0.0025, 0.0008
"""How deep it lies; an eyeball is close behind its lids."""
_STRETCHES = (("jawOpen",), ("eyeBlinkLeft", "eyeBlinkRight"), ("mouthSmileLeft", "mouthSmileRight"), ("mouthFunnel",))
_NEIGHBOURS, _COLORED_BY, _OPACITY = 6, 24, 0.96
"""Splats around that say where the lining lies, and that say its colour: as many as blend to what a pixel shows."""


def skin_lining(
    body: BodyModel, rest: RestPerson, state: SplatState, seen: Float[Tensor, " n"], colors: Float[Tensor, "n 3"]
) -> tuple[Splats, dict[str, Float[Tensor, "m 3"]]] | None:
    """Splats of the lining at rest, and their offset under each facial action; none for a body without a mouth.

    Args:
        body: The body they belong to.
        rest: This person at rest.
        state: Trained splats.
        seen: In [0, 1], how much the video showed of each.
        colors: sRGB of each, as it is baked.
    """
    opening = mouth_opening(body, rest.vertices_rest)
    skin = _skin(body)
    own = torch.nonzero(skin[state.faces])[:, 0]
    if opening is None or len(own) < 50:
        return None
    faces, vertices = body.faces.long(), rest.vertices_rest
    middle = vertices[faces].mean(1)
    eyes = [
        rest.joints_rest[body.bone_names.index(body.humanoid[e])] for e in ("leftEye", "rightEye") if e in body.humanoid
    ]
    at_eye = torch.zeros(len(faces), dtype=torch.bool)
    for eye in eyes:
        at_eye |= (middle - eye).norm(dim=1) < _EYE_M
    lips = opening.middle_m * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.0, 0.0, opening.front_m])
    away_m = (middle - lips).norm(dim=1)
    depth_m = torch.where(away_m < _MOUTH_M, _BELOW_MOUTH_M, _BELOW_M)
    depth_m[at_eye] = _BELOW_EYE_M
    chosen = torch.nonzero(skin & (at_eye | (away_m < _REACH_M)))[:, 0]
    area = _most_stretched(body, vertices, faces[chosen])
    pick, barycentric = spread_places(area, _COUNT, numpy_rng(0, "skin lining"))
    corners = faces[chosen[pick]]
    normal = vertex_normals(vertices, faces)
    away = torch.nn.functional.normalize(on_faces(normal, corners, barycentric), dim=1)
    born = on_faces(vertices, corners, barycentric)
    around = _nearest(state.anchors[own], born)
    near = around[:, :_NEIGHBOURS]
    shift = (state.means - state.anchors)[own][near].mean(1)
    side = float((area.sum() / _COUNT / np.pi) ** 0.5)
    joints, weights = blend_skinning(body, corners, barycentric)
    sh = torch.zeros(_COUNT, 1 + state.sh_rest.shape[1], 3)
    # Splats that hardly show have any colour; alone or in sixes they would shine through the skin as specks.
    shown = torch.sigmoid(state.logit_opacities)[own][around][..., None]
    sh[:, :1] = rgb_to_sh((colors[own][around] * shown).sum(1) / shown.sum(1).clamp_min(1e-6))
    deltas = (body.action_deltas[:, corners] * barycentric[None, ..., None]).sum(2)
    lining = Splats(
        means_rest_m=born + shift - depth_m[chosen[pick]][:, None] * away,
        quats_wxyz=quats_along(vertices, corners, away),
        scales_m=torch.tensor([side, side, 0.2 * side]).repeat(_COUNT, 1),
        opacities=torch.full((_COUNT,), _OPACITY),
        sh=sh,
        joints=joints,
        weights=weights,
        seen=seen[own][near].mean(1),
    )
    return lining, dict(zip(body.action_names, deltas, strict=True))


def _skin(body: BodyModel) -> Bool[Tensor, " faces"]:
    """Face, ears, scalp and neck, but neither eyeballs nor the mouth's inside."""
    if "face" not in body.part_names:
        return torch.zeros(len(body.faces), dtype=torch.bool)
    skin = torch.tensor([name in ("face", "head") for name in body.part_names])
    return skin[body.vertex_parts.long()][body.faces.long()].all(1)


def _most_stretched(body: BodyModel, vertices: Tensor, corners: Tensor) -> Float[Tensor, " faces"]:
    """Area of each face in the expression that stretches it most."""
    most = _areas(vertices, corners)
    for together in _STRETCHES:
        moved = vertices + sum(body.action_deltas[body.action_names.index(name)] for name in together)
        most = torch.maximum(most, _areas(moved, corners))
    return most


def _areas(vertices: Tensor, corners: Tensor) -> Tensor:
    a, b, c = vertices[corners].unbind(1)
    return 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=1)


def _nearest(places: Tensor, wanted: Tensor) -> Tensor:
    from scipy.spatial import cKDTree

    return torch.from_numpy(cKDTree(places.numpy()).query(wanted.numpy(), k=_COLORED_BY)[1])
