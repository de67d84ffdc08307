"""Shoes for the bare body.

People in videos wear them, and soles that never move look like the ground they stand on: neither motion nor colour gives
them to the person. So the person begins in plain shoes, which pictures then change as they change the rest.
"""

from __future__ import annotations

import torch

from bodydouble.body.protocol import BodyModel, ShapedBody
from bodydouble.core.normals import vertex_normals

_LEATHER_M, _SOLE_M, _TOE_M = 0.006, 0.016, 0.008
"""What a shoe adds around the foot; below it, besides; and before the toes, besides."""


def in_shoes(body: BodyModel, shaped: ShapedBody) -> ShapedBody:
    """The same body with feet as thick as shoes make them.

    Args:
        body: Names the bones and the parts.
        shaped: In one shape; +Y is up at rest and +Z where it looks.
    """
    vertices, joints = shaped.vertices_rest.detach(), shaped.joints_rest.detach()
    normals = vertex_normals(vertices, body.faces)
    offsets = torch.zeros_like(vertices)
    for side in ("left", "right"):
        ankle = joints[body.bone_names.index(body.humanoid[f"{side}Foot"])]
        foot = body.vertex_parts == body.part_names.index(f"{side}_foot")
        low, front = vertices[foot, 1].amin(), vertices[foot, 2].amax()
        below = ((ankle[1] - vertices[foot, 1]) / (ankle[1] - low)).clamp(0.0, 1.0)[:, None]
        ahead = ((vertices[foot, 2] - ankle[2]) / (front - ankle[2])).clamp(0.0, 1.0)[:, None]
        shift = torch.tensor([0.0, -_SOLE_M, 0.0]) + ahead * torch.tensor([0.0, 0.0, _TOE_M])
        offsets[foot] = below * (_LEATHER_M * normals[foot] + shift.to(vertices))
    return shaped.with_offsets(offsets)
