"""What EVA's recipe starts from: a splat on every vertex, and where in each frame the body's box is."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bodydouble.avatar.values import Rig
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.fit.pose_problem import active_bones
from bodydouble.reconstruct.skin import vertex_skinning
from bodydouble.reconstruct.splats.frames import TrainingFrames
from bodydouble.reconstruct.splats.seed import SplatState


@tensor_struct
class Template(TensorStruct):
    """The body's vertices in the rest pose and what a splat near one of them takes from it."""

    vertices_rest: Float[Tensor, "verts 3"]
    joints: Int[Tensor, "verts 4"]
    weights: Float[Tensor, "verts 4"]
    faces: Int[Tensor, " verts"]
    """A face that has the vertex for a corner."""
    barycentric: Float[Tensor, "verts 3"]
    """The vertex on that face."""


def template_of(body: BodyModel, vertices_rest: Float[Tensor, "verts 3"]) -> Template:
    """The template of a fitted shape (vertices in the rest pose, metres)."""
    count = len(vertices_rest)
    every = torch.arange(count)
    joints, weights = vertex_skinning(body, every)
    faces, corners = body.faces.long(), torch.arange(3).expand(len(body.faces), 3)
    face_of = torch.zeros(count, dtype=torch.long)
    face_of[faces.flatten()] = torch.arange(len(faces))[:, None].expand(-1, 3).flatten()
    found = faces[face_of] == every[:, None]
    corner_of = torch.where(found, corners[face_of], 3).amin(1)
    return Template(
        vertices_rest=vertices_rest,
        joints=joints,
        weights=weights,
        faces=face_of,
        barycentric=torch.nn.functional.one_hot(corner_of.clamp_max(2), 3).float(),
    )


def vertex_splats(template: Template, opacity: float) -> SplatState:
    """A grey ball on every vertex, as large as the mean distance to its three nearest neighbours."""
    from scipy.spatial import cKDTree

    vertices = template.vertices_rest
    count = len(vertices)
    distance, _ = cKDTree(vertices.numpy()).query(vertices.numpy(), k=4)
    spacing = torch.from_numpy((distance[:, 1:] ** 2).mean(1)).float().clamp_min(1e-7).sqrt()
    return SplatState(
        means=vertices.clone(),
        log_scales=spacing.log()[:, None].expand(-1, 3).contiguous(),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4).contiguous(),
        logit_opacities=torch.full((count,), opacity).logit(),
        sh=torch.zeros(count, 1, 3),
        sh_rest=torch.zeros(count, 0, 3),
        skin_deltas=torch.zeros(count, 4),
        anchors=vertices.clone(),
        faces=template.faces,
        barycentric=template.barycentric,
        joints=template.joints,
        weights=template.weights,
    )


def pose_net_bones(rig: Rig) -> tuple[list[int], list[int], list[int]]:
    """Bones of body (without the root), face and hands that the pose nets correct."""
    body = [b for b in active_bones(rig, fingers=False) if rig.bone_parents[b] >= 0]
    fingers = sorted(set(active_bones(rig, fingers=True)) - set(active_bones(rig, fingers=False)))
    eyes = [rig.bone_names.index(rig.humanoid[name]) for name in ("leftEye", "rightEye") if name in rig.humanoid]
    return body, eyes, fingers


def body_boxes(
    body: BodyModel, track: BodyTrack, frames: TrainingFrames, margin_m: float
) -> UInt8[Tensor, "frames height width"]:
    """1 inside the projection of the box of the posed body, `margin_m` larger on every side."""
    import cv2

    shaped = body.with_shape(track.shape)
    regions = []
    for row, crop in zip(frames.rows.tolist(), frames.full, strict=True):
        pose = track.pose(row)
        vertices = shaped.with_pose(pose).vertices().detach()
        low, high = vertices.amin(0) - margin_m, vertices.amax(0) + margin_m
        corners = torch.cartesian_prod(*torch.stack([low, high], dim=1))
        at, _ = crop.camera.project(corners)
        hull = cv2.convexHull(at.clamp(-1e4, 1e4).round().int().numpy())
        region = np.zeros(crop.mask.shape, np.uint8)
        cv2.fillConvexPoly(region, hull, (1,))
        regions.append(torch.from_numpy(region))
    return torch.stack(regions)
