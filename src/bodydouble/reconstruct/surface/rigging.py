"""The extracted mesh hung on the body's skeleton: weights, facial actions, rest pose."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.avatar.values import Mesh, Morph
from bodydouble.body.protocol import BodyModel
from bodydouble.core.normals import vertex_normals
from bodydouble.core.skinning import skin_points
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.evaluate.triangle_tree import nearest_on_surface, triangle_tree
from bodydouble.reconstruct.harmonic import cotangent_laplacian, vertex_areas
from bodydouble.reconstruct.onto import barycentric as barycentric_of
from bodydouble.reconstruct.surface.extract import ClosedMesh
from bodydouble.reconstruct.surface.values import SkinVolume

_HIDDEN_PARTS = ("eyes", "mouth")
"""Lie behind the skin: no clothed surface belongs to them."""
_SMOOTH_M = 0.006
"""Over such a length weights are smoothed on skin; farther over what is loose."""
_LOOSE_M = 0.03
"""A surface so far above the skin follows its own neighbours more than the skin."""
_LEAST_HOLD = 0.02
_MORPH_NEAR_M, _MORPH_FAR_M = 0.008, 0.025
"""Facial actions move what lies this near to the skin fully, and nothing beyond."""
_MORPH_FLOOR_M = 1e-4


@tensor_struct
class OnBody(TensorStruct):
    """For points: the nearest places on the body's outer skin."""

    corners: Int[Tensor, "n 3"]
    """Vertices of the body's face there."""
    barycentric: Float[Tensor, "n 3"]
    distance_m: Float[Tensor, " n"]
    agreement: Float[Tensor, " n"]
    """Cosine between the point's own normal and the skin's."""


def on_body(mesh: ClosedMesh, body: BodyModel, body_vertices_m: Float[Tensor, "verts 3"]) -> OnBody:
    """Where on the skin each vertex of a mesh belongs.

    Args:
        mesh: Clothed surface, in the frame and pose of `body_vertices_m`.
        body: Names parts and faces.
        body_vertices_m: Its vertices.
    """
    faces = body.faces.long()[_outer_faces(body)]
    places = body_vertices_m.detach()
    tree = triangle_tree(places.double().numpy(), faces.numpy())
    distance, face = nearest_on_surface(tree, mesh.vertices_m.double().numpy())
    corners = faces[torch.from_numpy(face).long()]
    barycentric = barycentric_of(mesh.vertices_m, places[corners])
    normals = vertex_normals(places, faces)
    here = torch.nn.functional.normalize((normals[corners] * barycentric[..., None]).sum(1), dim=1)
    own = vertex_normals(mesh.vertices_m, mesh.faces)
    return OnBody(
        corners=corners,
        barycentric=barycentric,
        distance_m=torch.from_numpy(distance).float(),
        agreement=(here * own).sum(1),
    )


def transfer_weights(
    mesh: ClosedMesh, place: OnBody, body: BodyModel
) -> tuple[Int[Tensor, "verts 4"], Float[Tensor, "verts 4"]]:
    """Skinning weights from the skin below, smoothed along the mesh: the farther from the skin, the farther.

    One screened diffusion, (hold * M + l^2 L) w = hold * M w_body, with the vertices' areas M, the cotangent Laplacian L and a
    hold that fades with the distance from the body and where skin and surface face different ways.

    Returns:
        The four largest weights of each vertex and their bones; rows sum to 1.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    bones = len(body.bone_names)
    dense = torch.zeros(len(mesh.vertices_m), bones, dtype=torch.float64)
    for corner in range(3):
        vertices = place.corners[:, corner]
        share = (body.skin_weights[vertices] * place.barycentric[:, corner, None]).double()
        dense.scatter_add_(1, body.skin_joints[vertices].long(), share)
    hold = torch.exp(-((place.distance_m / _LOOSE_M) ** 2)) * ((place.agreement + 0.3) / 1.1).clamp(0.0, 1.0)
    hold = hold.clamp_min(_LEAST_HOLD).double().numpy()
    mass = hold * vertex_areas(mesh.vertices_m, mesh.faces).double().numpy()
    used = torch.nonzero(dense.sum(0) > 0)[:, 0]
    system = diags(mass) + _SMOOTH_M**2 * cotangent_laplacian(mesh.vertices_m, mesh.faces)
    smooth = splu(system.tocsc()).solve(mass[:, None] * dense[:, used].numpy())
    dense[:, used] = torch.from_numpy(smooth.clip(0.0))
    weights, joints = dense.topk(4, dim=1)
    return joints, (weights / weights.sum(1, keepdim=True)).float()


def transfer_morphs(mesh: ClosedMesh, place: OnBody, body: BodyModel) -> tuple[Morph, ...]:
    """Facial actions: what the nearest skin does, fading out away from it, so that hair and collars stay."""
    near = ((_MORPH_FAR_M - place.distance_m) / (_MORPH_FAR_M - _MORPH_NEAR_M)).clamp(0.0, 1.0)
    near = near * near * (3.0 - 2.0 * near) * (place.agreement / 0.5).clamp(0.0, 1.0)
    some = torch.nonzero(near > 0)[:, 0]
    moved = (body.action_deltas[:, place.corners[some]] * place.barycentric[some][None, ..., None]).sum(2)
    moved = moved * near[some][None, :, None]
    morphs = []
    for name, deltas in zip(body.action_names, moved, strict=True):
        kept = torch.nonzero(deltas.norm(dim=1) > _MORPH_FLOOR_M)[:, 0]
        morphs.append(Morph(name=name, indices=some[kept], deltas_m=deltas[kept]))
    return tuple(morphs)


def rig_mesh(
    mesh: ClosedMesh,
    body: BodyModel,
    body_vertices_canonical_m: Float[Tensor, "verts 3"],
    R_canonical_rest: Float[Tensor, "bones 3 3"],
    t_canonical_rest: Float[Tensor, "bones 3"],
) -> Mesh:
    """Hang a clothed surface on the skeleton.

    Args:
        mesh: In the canonical pose.
        body: Whose skeleton it is.
        body_vertices_canonical_m: The bare body in the canonical pose.
        R_canonical_rest, t_canonical_rest: How each bone came there from the rest pose.
    Returns:
        The mesh in the rest pose, grey.
    """
    place = on_body(mesh, body, body_vertices_canonical_m)
    joints, weights = transfer_weights(mesh, place, body)
    vertices_rest = unposed_points(mesh.vertices_m, R_canonical_rest, t_canonical_rest, joints, weights)
    return Mesh(
        vertices_rest_m=vertices_rest,
        faces=mesh.faces,
        colors=torch.full((len(vertices_rest), 3), 0.5),
        joints=joints,
        weights=weights,
        morphs=transfer_morphs(mesh, place, body),
    )


def nearest_skin(
    skin: SkinVolume, points_canonical: Float[Tensor, "n 3"]
) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """Bones and weights of the nearest lattice point; beyond the band around the body, the first bone moves all."""
    shape = torch.tensor(skin.weights.shape[:3])
    at = ((points_canonical - skin.origin_canonical_m) / skin.voxel_m).round().long()
    i, j, k = torch.minimum(at.clamp_min(0), shape - 1).unbind(1)
    weights, order = skin.weights[i, j, k].topk(4, dim=1)
    joints = skin.joints[i, j, k].gather(1, order).int()
    total = weights.sum(1, keepdim=True)
    alone = torch.tensor([1.0, 0.0, 0.0, 0.0])
    return joints, torch.where(total > 0, weights / total.clamp_min(1e-9), alone)


def unposed_points(
    points_posed: Float[Tensor, "n 3"],
    R_posed_rest: Float[Tensor, "bones 3 3"],
    t_posed_rest: Float[Tensor, "bones 3"],
    joints: Int[Tensor, "n 4"],
    weights: Float[Tensor, "n 4"],
) -> Float[Tensor, "n 3"]:
    """The rest places that linear blend skinning takes to the given ones: `core.skinning.skin_points` undone."""
    w = weights.double()[..., None]
    R = (R_posed_rest.double()[joints] * w[..., None]).sum(1)
    t = (t_posed_rest.double()[joints] * w).sum(1)
    return torch.linalg.solve(R, (points_posed.double() - t)[..., None])[..., 0].float()


def posed_mesh(
    mesh: Mesh, R_world_rest: Float[Tensor, "bones 3 3"], t_world_rest: Float[Tensor, "bones 3"]
) -> Float[Tensor, "verts 3"]:
    """Vertices of a rigged mesh in a pose, metres."""
    return skin_points(mesh.vertices_rest_m, R_world_rest, t_world_rest, mesh.joints, mesh.weights)


def _outer_faces(body: BodyModel) -> Bool[Tensor, " faces"]:
    hidden = [body.part_names.index(name) for name in _HIDDEN_PARTS if name in body.part_names]
    inner = torch.isin(body.vertex_parts.long(), torch.tensor(hidden, dtype=torch.long))
    return ~inner[body.faces.long()].any(1)
