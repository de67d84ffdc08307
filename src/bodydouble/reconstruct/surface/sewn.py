"""A clothed surface in which some parts are the body's own, sewn in so that it stays closed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.avatar.values import Mesh, Morph
from bodydouble.body.protocol import BodyModel
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.fit.features import RestPerson
from bodydouble.reconstruct.inside_head import eye_colors, mouth_vertex_colors, part_vertices
from bodydouble.reconstruct.skin import vertex_skinning
from bodydouble.reconstruct.surface.sewing import ring, strip
from bodydouble.reconstruct.surface.textured import BodyTexels
from bodydouble.reconstruct.teeth import Teeth

_MORPH_FLOOR_M = 1e-4


@tensor_struct
class Sewn(TensorStruct):
    """A clothed surface with parts of the body."""

    mesh: Mesh
    """Closed, in the rest pose; metres."""
    body_vertex: Int[Tensor, " verts"]
    """Vertex of the body that each vertex is; -1 of the clothed surface and of teeth."""
    inside: Bool[Tensor, " verts"]
    """In mouth and eye sockets."""
    inner_colors: Float[Tensor, "verts 3"]
    """Of what is inside, but for eyeballs; sRGB in even light."""
    person: RestPerson
    """The body as it lies in the mesh."""


def unsewn(mesh: Mesh, person: RestPerson) -> Sewn:
    """A clothed surface in which nothing is the body's yet.

    Args:
        mesh: Closed, in the rest pose.
        person: The body at rest, in this person's shape and with their features.
    """
    count = len(mesh.vertices_rest_m)
    return Sewn(
        mesh=mesh,
        body_vertex=torch.full((count,), -1),
        inside=torch.zeros(count, dtype=torch.bool),
        inner_colors=mesh.colors,
        person=person,
    )


def sew(
    sewn: Sewn,
    body: BodyModel,
    inner: Int[Tensor, "inner 3"],
    hole: Bool[Tensor, " faces"],
    around_rad: Callable[[Float[Tensor, "verts 3"]], Float[Tensor, " verts"]],
    *,
    more: Teeth | None = None,
) -> Sewn:
    """Cut a hole and sew a part of the body into it.

    Args:
        sewn: The surface so far.
        body: Whose part it gets.
        inner: Faces of the body: a disc (`sewing.disc`), and closed pieces behind it.
        hole: Faces of the surface that make room: a disc.
        around_rad: How far around the middle of both discs places lie, radians.
        more: Closed pieces that the body lacks; they hang on the head.
    """
    mesh, places = sewn.mesh, sewn.person.vertices_rest
    outer, first = mesh.faces.long()[~hole], len(mesh.vertices_rest_m)
    used = torch.unique(inner)
    index = torch.zeros(len(places), dtype=torch.long).index_copy_(0, used, first + torch.arange(len(used)))
    added = [places[used]] if more is None else [places[used], more.vertices_rest_m]
    vertices = torch.cat([mesh.vertices_rest_m, *added])
    rim, edge = ring(mesh.faces.long()[hole]), ring(index[inner])
    assert rim is not None and edge is not None, "discs have one border, and closed pieces none"
    seam = strip(rim, edge, around_rad(vertices).double().numpy())
    faces = torch.cat([outer, seam, index[inner], *([] if more is None else [more.faces + first + len(used)])])
    kept = torch.unique(faces)
    again = torch.zeros(len(vertices), dtype=torch.long).index_copy_(0, kept, torch.arange(len(kept)))
    count = len(vertices) - first - len(used)
    head = torch.tensor([[body.bone_names.index(body.humanoid["head"]), 0, 0, 0]]).expand(count, -1)
    hidden = part_vertices(body, "eyes") | part_vertices(body, "mouth")
    joints, weights = vertex_skinning(body, used)
    grey, colors = torch.full((len(used), 3), 0.5), torch.zeros(0, 3) if more is None else more.colors
    deltas = body.action_deltas[:, used]
    deltas = deltas if more is None else torch.cat([deltas, more.deltas_m], dim=1)

    def joined(*parts: Tensor) -> Tensor:
        return torch.cat([part.to(parts[0].dtype) for part in parts])[kept]

    return Sewn(
        mesh=Mesh(
            vertices_rest_m=vertices[kept],
            faces=again[faces],
            colors=joined(mesh.colors, grey, colors),
            joints=joined(mesh.joints, joints, head),
            weights=joined(mesh.weights, weights, torch.eye(4)[:1].expand(count, -1)),
            morphs=tuple(
                _morph(morph, deltas[body.action_names.index(morph.name)], first, kept) for morph in mesh.morphs
            ),
        ),
        body_vertex=joined(sewn.body_vertex, used, torch.full((count,), -1)),
        inside=joined(sewn.inside, hidden[used], torch.ones(count)),
        inner_colors=joined(sewn.inner_colors, mouth_vertex_colors(body, places, 1.0)[used], colors),
        person=sewn.person,
    )


def body_texels(
    sewn: Sewn, body: BodyModel, vertices: Int[Tensor, "texels 3"], barycentric: Float[Tensor, "texels 3"]
) -> BodyTexels:
    """Which texels of a surface lie on which parts of its body.

    Args:
        sewn, body: The surface with the body's parts.
        vertices: Of its mesh, around each texel.
        barycentric: Where between them.
    """
    places, colors = (
        (values[vertices] * barycentric[..., None]).sum(1) for values in (sewn.mesh.vertices_rest_m, sewn.inner_colors)
    )
    on_ball, eyes = eye_colors(body, sewn.person, places, 1.0)
    own = sewn.body_vertex >= 0

    def texels_of(*parts: str) -> Tensor:
        on_part = torch.stack([part_vertices(body, part) for part in parts]).any(0)
        return (own & on_part[sewn.body_vertex.clamp_min(0)])[vertices].all(1)

    return BodyTexels(
        inside=sewn.inside[vertices].all(1),
        colors=torch.where(on_ball[:, None], eyes, colors),
        face=texels_of("face"),
        hands=texels_of("left_hand", "right_hand"),
    )


def _morph(morph: Morph, more: Tensor, first: int, kept: Tensor) -> Morph:
    dense = torch.cat([torch.zeros(first, 3).index_copy_(0, morph.indices, morph.deltas_m), more])[kept]
    moved = torch.nonzero(dense.norm(dim=1) > _MORPH_FLOOR_M)[:, 0]
    return morph.replace(indices=moved, deltas_m=dense[moved])
