"""The body's own face in the place of the lattice's.

A lattice of centimetres knows neither lids nor lips, and a closed sheet cannot open its mouth. The body has both, an inner
mouth and eyeballs, and its face was fitted to the video's landmarks. So the middle of the clothed surface's face is cut
out along an oval, the body's is laid where the surface was (by as smooth a shift as keeps to it) and sewn in: the whole
stays closed.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bodydouble.avatar.values import Mesh
from bodydouble.body.protocol import BodyModel
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.evaluate.triangle_tree import nearest_on_surface, triangle_tree
from bodydouble.fit.features import RestPerson
from bodydouble.reconstruct.harmonic import cotangent_laplacian, vertex_areas
from bodydouble.reconstruct.inside_head import lip_rims, mouth_opening, part_vertices
from bodydouble.reconstruct.onto import barycentric
from bodydouble.reconstruct.surface.sewing import disc, piece_of
from bodydouble.reconstruct.surface.sewn import Sewn, sew
from bodydouble.reconstruct.teeth import teeth

_WIDE, _ABOVE, _BELOW = 0.85, 0.42, 0.48
"""The oval: half its width in distances between the eyes; how far it reaches above the eyes and below the mouth, in
distances from eyes to mouth."""
_GAP = 0.12
"""The hole is larger than the face laid into it by this share, so that the seam has a width."""
_BEHIND_EYES_M = 0.03
"""The face's skin ends so far behind the eyes' centres."""
_SMOOTH_M, _MOST_M = 0.02, 0.015
"""Over such a length the shift onto the clothed surface is smoothed; what is farther off than that is hair or a mask."""
_ROUNDS = 3
"""The nearest place of a slanted surface lies across it; from there the next one is sought."""
_FEATURE_M = 0.022
"""So near to mouth and eyes the lattice says nothing about the skin."""
_LIP = 5
"""Vertices of a lip's rim, at least: teeth follow it."""
_AROUND = 40
"""What lies inside goes with so many of the skin's vertices around it."""


def sew_face(sewn: Sewn, body: BodyModel) -> Sewn | None:
    """Replace the middle of a clothed surface's face by the body's.

    Args:
        sewn: The surface, with the body's facial actions as morphs.
        body: Whose face it gets.
    Returns:
        The surface, closed again, and the body with its face where it now lies; none where the body has no inner mouth and
        eyeballs, or the surface no face to cut out.
    """
    mesh, vertices_rest = sewn.mesh, sewn.person.vertices_rest
    faces, hidden = body.faces.long(), part_vertices(body, "eyes") | part_vertices(body, "mouth")
    alone = _alone(faces, hidden)
    balls = _eyeballs(body, faces[alone])
    oval = _oval(body, vertices_rest, balls)
    if oval is None:
        return None
    skin = part_vertices(body, "face") & (oval.reach(vertices_rest) < 1.0)
    patch = disc(faces, (skin | hidden)[faces].all(1) & ~alone, grow=False)
    hole = disc(mesh.faces.long(), (oval.reach(mesh.vertices_rest_m) < 1.0 + _GAP)[mesh.faces.long()].any(1), grow=True)
    if patch is None or hole is None:
        return None
    features = torch.stack([oval.mouth_m, *(vertices_rest[ball].mean(0) for ball in balls)])
    visible = faces[patch & ~hidden[faces].any(1)]
    shift = _shift(mesh, vertices_rest, visible, features)
    _carry(shift, vertices_rest, torch.unique(visible), torch.nonzero(hidden)[:, 0])
    joints = sewn.person.joints_rest.clone()
    for ball in balls:
        shift[ball] = shift[ball].mean(0)
        eye = (joints - vertices_rest[ball].mean(0)).norm(dim=1).argmin()
        joints[eye] += shift[ball[0]]
    moved = RestPerson(vertices_rest=vertices_rest + shift, joints_rest=joints)
    return sew(
        sewn.replace(person=moved),
        body,
        faces[patch | alone],
        hole,
        oval.around_rad,
        more=teeth(body, moved.vertices_rest),
    )


@tensor_struct
class _Oval(TensorStruct):
    center_m: Float[Tensor, " 2"]
    half_m: Float[Tensor, " 2"]
    back_m: float
    mouth_m: Float[Tensor, " 3"]

    def reach(self, places: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """1 on the oval, less inside; behind the face without end."""
        away = ((places[:, :2] - self.center_m) / self.half_m).norm(dim=1)
        return torch.where(places[:, 2] > self.back_m, away, torch.inf)

    def around_rad(self, places: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        away = (places[:, :2] - self.center_m) / self.half_m
        return torch.atan2(away[:, 1], away[:, 0])


def _oval(body: BodyModel, vertices_rest: Tensor, balls: list[Tensor]) -> _Oval | None:
    opening = mouth_opening(body, vertices_rest)
    if opening is None or len(balls) != 2 or min(len(lip) for lip in lip_rims(body)) < _LIP:
        return None
    eyes = torch.stack([vertices_rest[ball].mean(0) for ball in balls])
    middle, mouth_y = eyes.mean(0), float(opening.middle_m[1])
    tall = float(middle[1]) - mouth_y
    top, bottom = float(middle[1]) + _ABOVE * tall, mouth_y - _BELOW * tall
    return _Oval(
        center_m=torch.tensor([float(middle[0]), 0.5 * (top + bottom)]),
        half_m=torch.tensor([_WIDE * float((eyes[0] - eyes[1]).norm()), 0.5 * (top - bottom)]),
        back_m=float(middle[2]) - _BEHIND_EYES_M,
        mouth_m=opening.middle_m,
    )


def _alone(faces: Tensor, hidden: Tensor) -> Bool[Tensor, " faces"]:
    """Faces of pieces that lie wholly inside the head: eyeballs, a tongue."""
    piece = piece_of(faces, len(hidden))
    on_skin = torch.zeros(int(piece.max()) + 1, dtype=torch.bool)
    on_skin[piece[~hidden]] = True
    return ~on_skin[piece[faces[:, 0]]]


def _groups(faces: Tensor, count: int) -> list[Tensor]:
    """Vertices of each connected piece of some faces."""
    piece = piece_of(faces, count)
    return [torch.nonzero(piece == k)[:, 0] for k in torch.unique(piece[faces[:, 0]])]


def _eyeballs(body: BodyModel, alone: Tensor) -> list[Tensor]:
    eyes = part_vertices(body, "eyes")
    return _groups(alone[eyes[alone].all(1)], len(eyes))


def _shift(mesh: Mesh, vertices_rest: Tensor, patch: Tensor, features: Tensor) -> Tensor:
    """How the body's vertices move so that its face lies where the clothed surface does.

    One screened diffusion as in `rigging.transfer_weights`: cheeks, brows and chin keep to the surface, lips and lids go
    along.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    used = torch.unique(patch)
    places, triangles = vertices_rest[used], mesh.faces.long()
    tree = triangle_tree(mesh.vertices_rest_m.double().numpy(), triangles.numpy())
    clear = (places[:, None, :2] - features[None, :, :2]).norm(dim=2).amin(1) > _FEATURE_M
    index = torch.zeros(len(vertices_rest), dtype=torch.long).index_copy_(0, used, torch.arange(len(used)))
    area = vertex_areas(places.double(), index[patch])
    stiff = _SMOOTH_M**2 * cotangent_laplacian(places, index[patch])
    own = torch.zeros_like(places)
    for _ in range(_ROUNDS):
        distance_m, face = nearest_on_surface(tree, (places + own).double().numpy())
        corners = mesh.vertices_rest_m[triangles[torch.from_numpy(face).long()]]
        wanted = (corners * barycentric(places + own, corners)[..., None]).sum(1) - places
        mass = area * ((torch.from_numpy(distance_m) < _MOST_M) & clear) + 1e-6 * area
        smooth = splu((diags(mass.numpy()) + stiff).tocsc()).solve((mass[:, None] * wanted.double()).numpy())
        own = torch.from_numpy(smooth).float()
    return torch.zeros_like(vertices_rest).index_copy_(0, used, own)


def _carry(shift: Tensor, vertices_rest: Tensor, skin: Tensor, inner: Tensor) -> None:
    """What lies behind the skin goes with the skin in front of it."""
    from scipy.spatial import cKDTree

    _, nearest = cKDTree(vertices_rest[skin].numpy()).query(vertices_rest[inner].numpy(), k=min(_AROUND, len(skin)))
    shift[inner] = shift[skin[torch.from_numpy(nearest)]].mean(1)
