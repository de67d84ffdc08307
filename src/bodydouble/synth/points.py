"""Landmarks of which the true place is known: joints, finger tips, and points of the face.

Joints are named `joint/<humanoid bone>` after VRM 1.0, tips `tip/<side><finger>`. Points of the face are vertices of the
body, named `face/<i>` by their number in MediaPipe's face mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bodydouble.body.anny import AnnyBody
from bodydouble.body.humanoid import FINGERS
from bodydouble.core.cameras import Camera
from bodydouble.fit.landmarks import load_learnt
from bodydouble.render.mesh import MeshImage, visible_vertices

_INSIDE_M, _SURFACE_M = 0.13, 0.012
"""A landmark counts as seen if nothing hides it by more than this: joints lie inside, the others on the surface."""


@dataclass(frozen=True)
class Points:
    """Which joints and vertices of a body the landmarks are; joints first."""

    names: tuple[str, ...]
    bones: Int[Tensor, " joints"]
    vertices: Int[Tensor, " points"]

    def world(
        self, joints_world: Float[Tensor, "bones 3"], body_vertices_world: Float[Tensor, "verts 3"]
    ) -> Float[Tensor, "landmarks 3"]:
        """Where they are in one frame, metres."""
        return torch.cat([joints_world[self.bones], body_vertices_world[self.vertices]])

    def visible(
        self, image: MeshImage, points_world: Float[Tensor, "landmarks 3"], camera: Camera
    ) -> Bool[Tensor, " landmarks"]:
        """Which of them the camera sees, given its picture of the dressed body."""
        count = len(self.bones)
        return torch.cat(
            [
                visible_vertices(image, points_world[:count], camera, tolerance_m=_INSIDE_M),
                visible_vertices(image, points_world[count:], camera, tolerance_m=_SURFACE_M),
            ]
        )


def body_points(
    body: AnnyBody, vertices_rest_m: Float[Tensor, "verts 3"], joints_rest_m: Float[Tensor, "bones 3"]
) -> Points:
    """The landmarks of a body.

    Args:
        body: Whose names and skin weights count.
        vertices_rest_m, joints_rest_m: Of the performer's shape.
    """
    names = [f"joint/{vrm}" for vrm in body.humanoid]
    bones = [body.bone_names.index(bone) for bone in body.humanoid.values()]
    vertices = []
    for side in ("left", "right"):
        for finger in FINGERS:
            names.append(f"tip/{side}{finger}")
            vertices.append(_tip(body, vertices_rest_m, joints_rest_m, f"{side}{finger}"))
    face = load_learnt(body.name)["face"]
    for number in sorted(face, key=int):
        point = face[number]
        names.append(f"face/{number}")
        vertices.append(int(max(zip(point["weights"], point["vertices"], strict=True))[1]))
    return Points(tuple(names), torch.tensor(bones), torch.tensor(vertices))


def _tip(body: AnnyBody, vertices: Tensor, joints: Tensor, finger: str) -> int:
    """The vertex of the last segment that lies farthest along it."""
    last = body.bone_names.index(body.humanoid[f"{finger}Distal"])
    before = body.bone_names.index(body.humanoid[f"{finger}{'Proximal' if 'Thumb' in finger else 'Intermediate'}"])
    along = joints[last] - joints[before]
    own = (body.skin_joints[torch.arange(len(vertices)), body.skin_weights.argmax(1)] == last).nonzero()[:, 0]
    return int(own[((vertices[own] - joints[last]) @ along).argmax()])
