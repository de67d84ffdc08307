"""Which level of a trained field is the surface that pictures show.

The density is sunk into the surface as far as outlines of a typical limb ask (`posed.sunk_m`), so the level is near 0; what
remains, by how round the person is and how soft the density became, is measured: the mesh is taken where its outline is
the field's.
"""

from __future__ import annotations

import torch

from bodydouble.body.protocol import BodyModel
from bodydouble.core.cameras import video_camera
from bodydouble.core.normals import vertex_normals
from bodydouble.core.skinning import bone_transforms
from bodydouble.reconstruct.surface.extract import extract_mesh
from bodydouble.reconstruct.surface.field import canonical_vertices
from bodydouble.reconstruct.surface.render import SurfaceRenderer, render_frame
from bodydouble.reconstruct.surface.rigging import posed_mesh, rig_mesh
from bodydouble.reconstruct.surface.values import SurfaceResult
from bodydouble.render.mesh import rasterize_mesh

_LEVELS = tuple(0.25 * k for k in range(-6, 7))
"""Tried, in scales of the density."""
_HEIGHT_PX = 240
_FACES = 6000


def visible_level_m(result: SurfaceResult, body: BodyModel, frames: list[int]) -> float:
    """The signed distance, metres, positive outside of zero, at which the mesh's outline agrees best with the field's own.

    Args:
        result: Of a training.
        body: Whose skeleton moves it.
        frames: Source indices of a few frames to look at.
    """
    field, track = result.field, result.track
    closed = extract_mesh(
        field.sdf.values[..., 0], field.sdf.origin_canonical_m, float(field.sdf.voxel_m), faces=_FACES
    )
    shaped = body.with_shape(field.shape.float())
    mesh = rig_mesh(
        closed, body, canonical_vertices(body, shaped).float(), field.R_canonical_rest, field.t_canonical_rest
    )
    renderer = SurfaceRenderer(field, body)
    scale = min(1.0, _HEIGHT_PX / track.height_px)
    agreement = torch.zeros(len(_LEVELS))
    for frame in frames:
        row = track.frame_indices.tolist().index(frame)
        solid = render_frame(result, renderer, frame, scale).alpha > 0.5
        height, width = solid.shape
        camera = video_camera(track.width_px, track.height_px, track.focal_px).cropped(
            0.0, 0.0, (float(track.width_px), float(track.height_px)), (width, height)
        )
        R, t = bone_transforms(
            track.rotvecs[row].float(), shaped.joints_rest.float(), track.translation_world_m[row].float(),
            body.bone_parents,
        )  # fmt: skip
        vertices = posed_mesh(mesh, R, t)
        normals = vertex_normals(vertices, mesh.faces)
        for place, level in enumerate(_LEVELS):
            grown = vertices + level * float(field.beta_m) * normals
            covered = rasterize_mesh(grown, mesh.faces, camera).mask
            agreement[place] += float((covered & solid).sum()) / max(1.0, float((covered | solid).sum()))
    return _LEVELS[int(agreement.argmax())] * float(field.beta_m)
