"""From the training state to the avatar: natural ranges, facial actions, colours for what nobody saw, a coloured mesh."""

from __future__ import annotations

import datetime

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble import __version__
from bodydouble.avatar.values import Avatar, Correctives, Mesh, Morph, Provenance, Rig, Splats
from bodydouble.body.protocol import BodyModel
from bodydouble.fit.features import RestPerson
from bodydouble.reconstruct.inside_head import eye_colors, face_brightness, mouth_vertex_colors
from bodydouble.reconstruct.skin import vertex_skinning
from bodydouble.reconstruct.splats.inner import inner_mouth, joined
from bodydouble.reconstruct.splats.lining import skin_lining
from bodydouble.reconstruct.splats.posing import baked_weights
from bodydouble.reconstruct.splats.prior import fill_unseen, guess_unseen, trust_of
from bodydouble.reconstruct.splats.seed import SplatState, birth_normals
from bodydouble.reconstruct.splats.shell import SUNK_M, OutsideOf, fitting_shell, share_under_shell, under_shell
from bodydouble.reconstruct.splats.sight import Shares
from bodydouble.render.sh import mean_rgb, rgb_to_sh

_FLOATER = 0.1
"""A splat of which the masks support less than this share is none of the person."""
_NEIGHBOURS = 12
"""From so many trusted points a colour is borrowed."""
_MORPH_FLOOR_M = 1e-4


def spread_colors(
    colors: Float[Tensor, "n 3"], trust: Float[Tensor, " n"], places: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3"]:
    """Colours in which those without trust are taken from the nearest trusted ones, by inverse squared distance.

    Args:
        colors: Colour of each point.
        trust: In [0, 1]; the result blends own and borrowed colour by it.
        places: Rest positions, metres.
    """
    from scipy.spatial import cKDTree

    known = torch.nonzero(trust > 0.5)[:, 0]
    if len(known) == 0:
        return colors
    distance, index = cKDTree(places[known].numpy()).query(places.numpy(), k=min(_NEIGHBOURS, len(known)))
    distance, index = np.reshape(distance, (len(places), -1)), np.reshape(index, (len(places), -1))
    weight = torch.from_numpy(1.0 / (distance**2 + 1e-4)).float()
    borrowed = (colors[known][torch.from_numpy(index)] * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
    own = (trust * 2.0).clamp(max=1.0)[:, None]
    return own * colors + (1.0 - own) * borrowed


def sparse_morphs(names: tuple[str, ...], deltas: Float[Tensor, "actions n 3"]) -> tuple[Morph, ...]:
    """Facial actions as sparse offsets; those below a tenth of a millimetre are dropped."""
    morphs = []
    for name, delta in zip(names, deltas, strict=True):
        index = torch.nonzero(delta.norm(dim=1) > _MORPH_FLOOR_M)[:, 0]
        morphs.append(Morph(name=name, indices=index, deltas_m=delta[index]))
    return tuple(morphs)


def splat_action_deltas(
    body: BodyModel, faces: Int[Tensor, " n"], barycentric: Float[Tensor, "n 3"]
) -> Float[Tensor, "actions n 3"]:
    """Offset of each splat under each facial action: the body's, where the splat was born."""
    corners = body.faces.long()[faces]
    return (body.action_deltas[:, corners] * barycentric[None, ..., None]).sum(2)


def bake(
    state: SplatState,
    shares: Shares,
    body: BodyModel,
    rest: RestPerson,
    source_sha256: str,
    correctives: tuple[Correctives, Correctives] | None = None,
    outside_of: OutsideOf | None = None,
) -> Avatar:
    """The finished avatar.

    Args:
        state: Trained splats.
        shares: What the video showed of each.
        body: The body they ride on.
        rest: This person at rest.
        source_sha256: Of the video, for the provenance.
        correctives: Of these splats and of the body's mesh, if there are any.
        outside_of: Says how much of splats that are laid over the trained ones frames would show beside the person.
    """
    of_splats, of_mesh = correctives or (None, None)
    vertices_rest = rest.vertices_rest
    keep = torch.nonzero((torch.sigmoid(state.logit_opacities) > 0.02) & (shares.supported > _FLOATER))[:, 0]
    state, shares = state.map(lambda t: t[keep]), shares.chosen(keep)
    # What no shell can cover stays as it glimmers.
    seen = torch.where(under_shell(body)[state.faces], shares.seen, shares.shown)
    if of_splats is not None:
        of_splats = of_splats.replace(nodes=of_splats.nodes[keep], weights=of_splats.weights[keep])
    more_rest = state.sh_rest.shape[1]
    guess = guess_unseen(state, seen, body, vertices_rest)
    guess, shell = fitting_shell(guess, body, vertices_rest, 1 + more_rest, outside_of)
    trained = torch.cat([rgb_to_sh(mean_rgb(state.sh).clamp(0.0, 1.0)), state.sh_rest], dim=1)
    state = fill_unseen(state, shares.shown, guess, body, vertices_rest)
    opacities = torch.sigmoid(state.logit_opacities)
    colors, brightness = _with_eyes(mean_rgb(state.sh).clamp(0.0, 1.0), state, seen, body, rest)
    under = share_under_shell(guess, body, state.faces, state.barycentric)[:, None]
    sh = torch.cat([rgb_to_sh(colors), state.sh_rest], dim=1)
    splats = Splats(
        means_rest_m=state.means - SUNK_M * under * birth_normals(state, vertices_rest, body.faces),
        quats_wxyz=torch.nn.functional.normalize(state.quats, dim=1),
        scales_m=state.log_scales.exp(),
        opacities=opacities,
        sh=sh + under[..., None] * (trained - sh),
        joints=state.joints,
        weights=baked_weights(state),
        seen=seen,
        morphs=sparse_morphs(body.action_names, splat_action_deltas(body, state.faces, state.barycentric)),
        correctives=of_splats,
    )
    besides = (
        skin_lining(body, rest, state, seen, colors),
        inner_mouth(body, rest, brightness, more_rest),
        None if shell is None else (shell.splats, shell.moved_m),
    )
    for more in besides:
        if more is not None:
            splats = joined(splats, more, _MORPH_FLOOR_M)
    rig = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=rest.joints_rest,
        humanoid=dict(body.humanoid),
    )
    return Avatar(
        rig=rig,
        mesh=_with_inner_colors(
            _colored_mesh(body, vertices_rest, state.means, colors, opacities), body, brightness
        ).replace(correctives=of_mesh),
        splats=splats,
        provenance=Provenance(
            generator=f"bodydouble {__version__}",
            source_sha256=source_sha256,
            method="splats",
            body=body.name,
            created=datetime.date.today().isoformat(),
        ),
    )


def _with_eyes(
    colors: Float[Tensor, "n 3"], state: SplatState, seen: Float[Tensor, " n"], body: BodyModel, rest: RestPerson
) -> tuple[Float[Tensor, "n 3"], float]:
    """Colours in which what lids cover of the eyeballs is white, iris or pupil; and how bright the face is."""
    trust = trust_of(seen)
    brightness = face_brightness(colors, (trust > 0.9) & _born_on(body, state.faces, "face"))
    on_ball, eye = eye_colors(body, rest, state.anchors, brightness)
    on_ball &= _born_on(body, state.faces, "eyes")
    mixed = trust[:, None] * colors + (1.0 - trust[:, None]) * eye
    return torch.where(on_ball[:, None], mixed, colors), brightness


def _born_on(body: BodyModel, faces: Int[Tensor, " n"], part: str) -> Bool[Tensor, " n"]:
    """Whether all corners of the faces belong to a part of the body."""
    if part not in body.part_names:
        return torch.zeros(len(faces), dtype=torch.bool)
    return (body.vertex_parts[body.faces.long()[faces]] == body.part_names.index(part)).all(1)


def _with_inner_colors(mesh: Mesh, body: BodyModel, brightness: float) -> Mesh:
    """The mesh with the inside of its mouth in the colours of a mouth."""
    if "mouth" not in body.part_names:
        return mesh
    inside = (body.vertex_parts == body.part_names.index("mouth"))[:, None]
    colors = mouth_vertex_colors(body, mesh.vertices_rest_m, brightness)
    return mesh.replace(colors=torch.where(inside, colors, mesh.colors))


def _colored_mesh(
    body: BodyModel,
    vertices: Float[Tensor, "verts 3"],
    means: Float[Tensor, "n 3"],
    colors: Float[Tensor, "n 3"],
    trust: Float[Tensor, " n"],
) -> Mesh:
    """The body's mesh, each vertex in the colour of the trusted splats around it."""
    from scipy.spatial import cKDTree

    known = torch.nonzero(trust > 0.3)[:, 0]
    known = known if len(known) else torch.arange(len(means))
    distance, index = cKDTree(means[known].numpy()).query(vertices.numpy(), k=min(6, len(known)))
    distance, index = np.reshape(distance, (len(vertices), -1)), np.reshape(index, (len(vertices), -1))
    weight = torch.from_numpy(np.exp(-distance / 0.01) + 1e-6).float()
    vertex_colors = (colors[known][torch.from_numpy(index)] * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
    joints, weights = vertex_skinning(body, torch.arange(len(vertices)))
    return Mesh(
        vertices_rest_m=vertices,
        faces=body.faces,
        colors=vertex_colors.clamp(0.0, 1.0),
        joints=joints,
        weights=weights,
        morphs=sparse_morphs(body.action_names, body.action_deltas),
    )
