"""A performer: a body of known shape with clothes, shoes and hair, as one skinned mesh."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from bodydouble.body.anny import AnnyBody
from bodydouble.body.anny_regions import skin_region
from bodydouble.body.linear import LinearRig, LinearShapedBody
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.synth.looks import Look, Material
from bodydouble.synth.materials import draw_palette
from bodydouble.synth.surface import vertex_normals
from bodydouble.synth.wardrobe import NUM_COORDINATES, Mannequin, Piece, dress

_COVERED_M = 0.02
"""Skin this deep under a garment is left out: it can only poke through."""
_ARM_BONES = ("UpperArm", "LowerArm", "Hand")


@tensor_struct
class Performer(TensorStruct):
    """The dressed body. Its first vertices are the body's own, so expressions and truth refer to both."""

    shaped: LinearShapedBody
    """All vertices at rest, body first."""
    body_shape: Float[Tensor, " shape"]
    faces: Int[Tensor, "faces 3"]
    face_material: Int[Tensor, " faces"]
    """Row of `palette`."""
    palette: Float[Tensor, "materials columns"]
    """Colours and settings, see `materials`."""
    vertex_parts: Int[Tensor, " verts"]
    """Index into `body.parts.PART_NAMES`; clothes and hair have the part of the skin next to them."""
    ground_vertices: Int[Tensor, " ground"]
    """Vertices of which the lowest stands on the floor."""
    num_body_vertices: int
    """The first so many vertices are the body's own."""
    coordinates: Float[Tensor, "verts 7"]
    """For textures: rest position and four values that materials define."""
    eyes_rest_m: Float[Tensor, "2 3"]
    """Centres of the left and the right eyeball."""


def make_performer(body: AnnyBody, look: Look) -> Performer:
    """Dress a body of the look's shape."""
    shape = torch.tensor(look.shape)
    shaped = body.with_shape(shape)
    mannequin = _mannequin(body, shaped)
    pieces = dress(mannequin, look)
    faces, material = _visible_skin(body, mannequin, pieces)
    hair = next(piece for piece in pieces if Material.HAIR in piece.material)
    coordinates = _skin_coordinates(body, mannequin, hair.covers)
    return _merge(body, shaped, shape, look, coordinates, faces, material, pieces)


def _mannequin(body: AnnyBody, shaped: LinearShapedBody) -> Mannequin:
    points = shaped.vertices_rest.double().numpy()
    faces = body.faces.numpy()
    weights = np.zeros((len(points), len(body.bone_names)))
    np.put_along_axis(weights, body.skin_joints.numpy(), body.skin_weights.double().numpy(), 1)
    place = {vrm: body.bone_names.index(bone) for vrm, bone in body.humanoid.items()}
    joints = {vrm: shaped.joints_rest[i].double().numpy() for vrm, i in place.items()}
    arms = {place[f"{side}{bone}"] for side in ("left", "right") for bone in _ARM_BONES}
    for bone, parent in enumerate(body.bone_parents):  # parents come first
        if parent in arms:
            arms.add(bone)
    hidden = [body.part_names.index(name) for name in ("eyes", "mouth")]
    return Mannequin(
        points=points,
        normals=vertex_normals(points, faces),
        faces=faces,
        weights=weights,
        joints=joints,
        bone_place=place,
        arm_share=weights[:, sorted(arms)].sum(1),
        skin=np.flatnonzero(~np.isin(body.vertex_parts.numpy(), hidden)),
        ears=skin_region(body, "ears").numpy(),
    )


def _skin_coordinates(body: AnnyBody, mannequin: Mannequin, hairline_m: ndarray) -> Float[ndarray, "verts 7"]:
    lips, lids, nails = (skin_region(body, name).numpy() for name in ("lips", "eyelids", "fingernails"))
    return np.concatenate([mannequin.points, np.stack([lips, lids, hairline_m, nails], 1)], axis=1)


def _visible_skin(body: AnnyBody, mannequin: Mannequin, pieces: list[Piece]) -> tuple[ndarray, ndarray]:
    """The body's faces that no garment hides, and their materials."""
    covered = np.max([piece.covers for piece in pieces], axis=0) > _COVERED_M
    faces = mannequin.faces[~covered[mannequin.faces].all(1)]
    part = body.vertex_parts.numpy()[faces]
    # A face counts as eye or mouth only if all of it is: lids and lips stay skin.
    is_eye = (part == body.part_names.index("eyes")).all(1)
    is_mouth = (part == body.part_names.index("mouth")).all(1)
    moves_with_eye = np.isin(
        body.skin_joints[:, 0].numpy(), [mannequin.bone_place["leftEye"], mannequin.bone_place["rightEye"]]
    )[faces].all(1)
    material = np.where(is_mouth, Material.MOUTH, np.where(is_eye & moves_with_eye, Material.EYE, Material.SKIN))
    return faces, material


def _merge(
    body: AnnyBody,
    shaped: LinearShapedBody,
    shape: Tensor,
    look: Look,
    coordinates: ndarray,
    faces: ndarray,
    material: ndarray,
    pieces: list[Piece],
) -> Performer:
    influences = body.skin_joints.shape[1]
    points, all_faces, materials = [shaped.vertices_rest], [torch.from_numpy(faces)], [torch.from_numpy(material)]
    joints, weights = [body.skin_joints], [body.skin_weights]
    texture = [torch.from_numpy(coordinates).float()]
    count = len(coordinates)
    for piece in pieces:
        surface = piece.surface
        dense = torch.from_numpy(surface.attributes[:, :-NUM_COORDINATES]).float()
        top = dense.topk(influences, dim=1)
        points.append(torch.from_numpy(surface.points).float())
        all_faces.append(torch.from_numpy(surface.faces) + count)
        materials.append(torch.from_numpy(piece.material))
        joints.append(top.indices)
        weights.append(top.values / top.values.sum(1, keepdim=True))
        texture.append(torch.from_numpy(surface.attributes[:, -NUM_COORDINATES:]).float())
        count += len(surface.points)
    rig: LinearRig = shaped.rig.replace(skin_joints=torch.cat(joints), skin_weights=torch.cat(weights))
    eyes = shaped.joints_rest[[body.bone_names.index(body.humanoid[name]) for name in ("leftEye", "rightEye")]]
    palette = draw_palette(
        look, eye_height_m=float(eyes[:, 1].mean()), side_seam_m=float(shaped.joints_rest[0, 2]) - 0.005
    )
    dressed, face_material = torch.cat(points), torch.cat(materials).long()
    faces_together = torch.cat(all_faces)
    return Performer(
        shaped=shaped.replace(rig=rig, vertices_rest=dressed),
        body_shape=shape,
        faces=faces_together,
        face_material=face_material,
        palette=torch.from_numpy(palette).float(),
        vertex_parts=_parts(body, dressed),
        ground_vertices=faces_together[face_material == int(Material.SOLE)].unique(),
        num_body_vertices=len(coordinates),
        coordinates=torch.cat(texture),
        eyes_rest_m=eyes,
    )


def _parts(body: AnnyBody, points_rest: Tensor) -> Int[Tensor, " verts"]:
    """The body's own parts, and for everything worn that of the nearest outer skin."""
    from scipy.spatial import cKDTree

    own = len(body.vertex_parts)
    inside = [body.part_names.index(name) for name in ("eyes", "mouth")]
    skin = (~torch.isin(body.vertex_parts, torch.tensor(inside))).nonzero()[:, 0]
    _, nearest = cKDTree(points_rest[:own][skin].numpy()).query(points_rest[own:].numpy())
    return torch.cat([body.vertex_parts, body.vertex_parts[skin[torch.from_numpy(nearest)]]])
