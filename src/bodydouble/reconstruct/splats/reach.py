"""How far from where they were born splats may go: faces are where the body has them, hair as far out as outlines show.

A camera in front sees nothing of a nose's length. What is free there drifts towards the camera, in tufts that explain a
frame's last errors and that are all one sees from the side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.crops import PersonCrop
from bodydouble.capture.values import BodyTrack
from bodydouble.reconstruct.splats.config import LossWeights
from bodydouble.reconstruct.splats.log import spread_places
from bodydouble.reconstruct.splats.parts import GROUPS, face_groups
from bodydouble.render.mesh import rasterize_mesh

_LOOKS = 10
_FAR_M = 1.0
"""No splat of clothes is stopped."""
_FARTHEST, _USUAL = 0.95, 0.8
"""Shares of a frame's pixels beside the head, and of the frames, that hair explains; the rest are errors of masks and fits."""


def reach_of_groups(hair_m: float, weights: LossWeights) -> Float[Tensor, " groups"]:
    """How far splats of each of `parts.GROUPS` may go, metres.

    Args:
        hair_m: As `hair_reach_m` found it.
        weights: Limits.
    """
    reach = torch.full((len(GROUPS),), _FAR_M)
    low, high = weights.hair_reach_m
    reach[GROUPS.index("head")] = min(max(hair_m, low), high)
    reach[GROUPS.index("face")] = weights.face_reach_m
    return reach


def hair_reach_m(body: BodyModel, track: BodyTrack, rows: Int[Tensor, " frames"], crops: Sequence[PersonCrop]) -> float:
    """How far masks reach beyond the bare head, metres; 0 where no head is seen.

    Args:
        body: The body of the track.
        track: Poses.
        rows: Row of each crop in the track.
        crops: Pictures of the person with masks.
    """
    from scipy.ndimage import distance_transform_edt

    head = torch.tensor(body.bone_names.index(body.humanoid["head"]))
    # The neck is of the same group, but what stands off from it are collars.
    bone = body.skin_joints.gather(1, body.skin_weights.argmax(1, keepdim=True))[:, 0]
    scalp = (face_groups(body) == GROUPS.index("head")) & (bone == head)[body.faces.long()[:, 0]]
    shaped = body.with_shape(track.shape)
    found = []
    for place in spread_places(len(crops), _LOOKS):
        crop = crops[place]
        vertices = shaped.with_pose(track.pose(int(rows[place]))).vertices().detach()
        seen = rasterize_mesh(vertices, body.faces, crop.camera)
        face, depth_m = seen.face_index.numpy(), seen.depth.numpy()
        if (face < 0).all():
            continue
        transformed = distance_transform_edt(face < 0, return_indices=True)
        assert transformed is not None
        away_px, (row, column) = transformed
        hair = (crop.mask > 127) & (face < 0) & scalp.numpy()[np.maximum(face[row, column], 0)]
        if hair.any():
            away_m = away_px[hair] * depth_m[row, column][hair] / float(crop.camera.focal_px[0])
            found.append(float(np.quantile(away_m, _FARTHEST)))
    return float(np.quantile(found, _USUAL)) if found else 0.0
