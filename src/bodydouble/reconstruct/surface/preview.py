"""The surface as it is in the middle of a training, as a coarse double to look at."""

from __future__ import annotations

import math

import torch

from bodydouble.avatar.values import Avatar, Mesh, Provenance, Rig
from bodydouble.reconstruct.surface.extract import extract_mesh
from bodydouble.reconstruct.surface.rigging import nearest_skin, unposed_points
from bodydouble.reconstruct.surface.values import SurfaceField
from bodydouble.render.grid import sample_grid

_VOXEL_M = 0.02
"""No finer: some ten thousand triangles come within a tenth of a second and move in real time."""


def preview(field: SurfaceField, rig: Rig) -> Avatar:
    """A mesh in base colours, skinned as the training skins: without texture, facial actions or care for crumbs.

    Args:
        field: As it is now; what comes back shares no memory with it.
        rig: Of the body that the field names.
    Raises:
        NoSubjectError: When the field has no surface.
    """
    values, voxel_m = field.sdf.values, float(field.sdf.voxel_m)
    step = max(1, math.floor(_VOXEL_M / voxel_m + 1e-6))
    coarse = values[::step, ::step, ::step, 0].detach().contiguous()
    closed = extract_mesh(coarse, field.sdf.origin_canonical_m, step * voxel_m)
    places = closed.vertices_m.float()
    features = field.features
    with torch.no_grad():
        found, _ = sample_grid(
            features.values[..., :3].contiguous(), features.origin_canonical_m, float(features.voxel_m), places
        )
    joints, weights = nearest_skin(field.skin, places)
    vertices = unposed_points(places, field.R_canonical_rest, field.t_canonical_rest, joints, weights)
    mesh = Mesh(
        vertices_rest_m=vertices, faces=closed.faces, colors=torch.sigmoid(found), joints=joints, weights=weights
    )
    return Avatar(rig=rig, mesh=mesh, splats=None, provenance=Provenance(generator="bodydouble", method="preview"))
