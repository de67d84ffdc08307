"""A performer: a body of known shape with clothes, shoes and hair, as one skinned mesh."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from bodydouble.body.anny import AnnyBody
from bodydouble.body.anny_cache import restrict_faces
from bodydouble.body.anny_regions import skin_region
from bodydouble.body.linear import LinearRig, LinearShapedBody
from bodydouble.core.normals import vertex_normals_array
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.synth.looks import HairStyle, Look, Material, Silhouette
from bodydouble.synth.loose import Panel, loose_panel
from bodydouble.synth.mannequin import NUM_COORDINATES, Mannequin, Piece
from bodydouble.synth.materials import draw_palette
from bodydouble.synth.outfit import Slot, Wardrobe, Worn, dress_from, under_hat
from bodydouble.synth.wardrobe import hairdo, shirt, shoes, trousers

_COVERED_M = 0.02
"""Skin this deep under a garment is left out: it can only poke through."""
_ARM_BONES = ("UpperArm", "LowerArm", "Hand")


@tensor_struct
class LooseCloth(TensorStruct):
    """A panel of cloth: a grid of vertices, rows downwards from the waist, and what it must not enter."""

    first_vertex: int
    """Its vertices follow one another from here, row by row."""
    rows: int
    columns: int
    closed: bool
    pinned_rows: int
    clearance_m: float
    collider_vertices: Int[Tensor, " colliders"]
    collider_faces: Int[Tensor, "colliderfaces 3"]
    """Into `collider_vertices`."""


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
    loose: LooseCloth | None
    """The part of the clothes that swings."""
    num_body_vertices: int
    """The first so many vertices are the body's own."""
    coordinates: Float[Tensor, "verts 7"]
    """For textures: rest position and four values that materials define."""
    eyes_rest_m: Float[Tensor, "2 3"]
    """Centres of the left and the right eyeball."""


def make_performer(body: AnnyBody, look: Look, wardrobe: Wardrobe | None = None) -> Performer:
    """Dress a body of the look's shape.

    Args:
        body: The whole body model.
        look: See `looks.draw_look`.
        wardrobe: Where clothes, shoes, hat and hair come from; what it lacks, and all without one, is made here.
    """
    shape = torch.tensor(look.shape)
    shaped = body.with_shape(shape)
    mannequin = _mannequin(body, shaped)
    scalp, *hair = hairdo(mannequin, look)
    worn = dress_from(wardrobe, body, mannequin, look) if wardrobe else Worn()
    pieces = list(worn.pieces)
    if Slot.HAIR not in worn.slots:
        seen = hair if look.hair_style == HairStyle.SHAVED else [scalp, *hair]
        pieces += seen if worn.hat_m is None else [under_hat(piece, worn.hat_m, mannequin) for piece in seen]
    if Slot.SHOES not in worn.slots:
        pieces += shoes(mannequin, look)
    bare = Slot.CLOTHES not in worn.slots
    panel = loose_panel(mannequin, look) if bare else None
    pieces += [] if worn.chest else [shirt(mannequin, look, tucked=panel is not None)]
    # A coat is worn over trousers, a skirt instead of them.
    skirted = panel is not None and look.silhouette != Silhouette.COAT
    pieces += [] if worn.legs or skirted else [trousers(mannequin, look)]
    pieces += [panel.piece] if panel else []  # last, so that its vertices are
    faces, material = _visible_skin(body, mannequin, pieces)
    # Under a wardrobe's hair the scalp is painted.
    coordinates = _skin_coordinates(body, mannequin, scalp.covers)
    return _merge(body, shaped, shape, look, coordinates, faces, material, pieces, panel)


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
        normals=vertex_normals_array(points, faces),
        faces=faces,
        weights=weights,
        joints=joints,
        bone_place=place,
        arm_share=weights[:, sorted(arms)].sum(1),
        arm_bones=np.array(sorted(arms)),
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
    panel: Panel | None,
) -> Performer:
    eyes = shaped.joints_rest[[body.bone_names.index(body.humanoid[name]) for name in ("leftEye", "rightEye")]]
    seam_m = float(shaped.joints_rest[0, 2]) - 0.005
    palette = [draw_palette(look, eye_height_m=float(eyes[:, 1].mean()), side_seam_m=seam_m)]
    influences = body.skin_joints.shape[1]
    points, all_faces, materials = [shaped.vertices_rest], [torch.from_numpy(faces)], [torch.from_numpy(material)]
    joints, weights = [body.skin_joints], [body.skin_weights]
    texture = [torch.from_numpy(coordinates).float()]
    ground, count, rows = [], len(coordinates), len(Material)
    for piece in pieces:
        surface = piece.surface
        dense = torch.from_numpy(surface.attributes[:, :-NUM_COORDINATES]).float()
        top = dense.topk(influences, dim=1)
        points.append(torch.from_numpy(surface.points).float())
        all_faces.append(torch.from_numpy(surface.faces) + count)
        own = np.where(piece.material >= len(Material), piece.material + rows - len(Material), piece.material)
        materials.append(torch.from_numpy(own))
        if piece.palette is not None:
            palette.append(piece.palette)
            rows += len(piece.palette)
        joints.append(top.indices)
        weights.append(top.values / top.values.sum(1, keepdim=True))
        texture.append(torch.from_numpy(surface.attributes[:, -NUM_COORDINATES:]).float())
        if piece.on_ground:
            ground.append(torch.arange(count, count + len(surface.points)))
        count += len(surface.points)
    dressed = torch.cat(points)
    rig: LinearRig = shaped.rig.replace(skin_joints=torch.cat(joints), skin_weights=torch.cat(weights))
    return Performer(
        shaped=shaped.replace(rig=rig, vertices_rest=dressed),
        body_shape=shape,
        faces=torch.cat(all_faces),
        face_material=torch.cat(materials).long(),
        palette=torch.from_numpy(np.concatenate(palette)).float(),
        vertex_parts=_parts(body, dressed),
        ground_vertices=torch.cat(ground),
        loose=_loose_cloth(body, panel, len(dressed)) if panel else None,
        num_body_vertices=len(coordinates),
        coordinates=torch.cat(texture),
        eyes_rest_m=eyes,
    )


def _loose_cloth(body: AnnyBody, panel: Panel, num_vertices: int) -> LooseCloth:
    vertices = torch.from_numpy(panel.colliders)
    faces, _ = restrict_faces(body.faces, vertices, len(body.vertex_parts))
    return LooseCloth(
        first_vertex=num_vertices - panel.rows * panel.columns,
        rows=panel.rows,
        columns=panel.columns,
        closed=panel.closed,
        pinned_rows=panel.pinned_rows,
        clearance_m=panel.clearance_m,
        collider_vertices=vertices,
        collider_faces=faces,
    )


def _parts(body: AnnyBody, points_rest: Tensor) -> Int[Tensor, " verts"]:
    """The body's own parts, and for everything worn that of the nearest outer skin."""
    from scipy.spatial import cKDTree

    own = len(body.vertex_parts)
    inside = [body.part_names.index(name) for name in ("eyes", "mouth")]
    skin = (~torch.isin(body.vertex_parts, torch.tensor(inside))).nonzero()[:, 0]
    _, nearest = cKDTree(points_rest[:own][skin].numpy()).query(points_rest[own:].numpy())
    return torch.cat([body.vertex_parts, body.vertex_parts[skin[torch.from_numpy(nearest)]]])
