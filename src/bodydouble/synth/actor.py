"""A performer in motion: where its surface is in every frame of a performance."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.linear import LinearPosedBody, LinearShapedBody
from bodydouble.body.protocol import Pose
from bodydouble.core.normals import vertex_normals_array
from bodydouble.synth.cloth import Drape, natural_frequencies_hz, swing
from bodydouble.synth.motion import Performance
from bodydouble.synth.performer import LooseCloth, Performer

_FRAMES_AT_ONCE = 64


class Actor:
    """Gives the dressed body of any frame. Loose garments are simulated once, here; then frames come in any order.

    Args:
        performer: Who acts.
        performance: Pose and expression of every frame.
        translations_world_m: Where the body's root is moved in each frame.
        fps_hz: Rate of the frames: how fast things swing.
    """

    def __init__(
        self,
        performer: Performer,
        performance: Performance,
        translations_world_m: Float[Tensor, "frames 3"],
        *,
        fps_hz: float,
    ) -> None:
        self.performer, self.performance = performer, performance
        self.translations_world_m, self.fps_hz = translations_world_m, fps_hz
        self._loose = None if performer.loose is None else self._simulate(performer.loose)

    @property
    def num_frames(self) -> int:
        return len(self.performance.rotvecs)

    def vertices_world(self, frame: int) -> Float[Tensor, "verts 3"]:
        """The dressed body in one frame, metres; numbered as `Performer.faces` counts."""
        vertices = self._posed(frame).vertices()
        if self._loose is not None and self.performer.loose is not None:
            first = self.performer.loose.first_vertex
            vertices[first : first + self._loose.shape[1]] = self._loose[frame]
        return vertices

    def body_vertices_world(self, frame: int) -> Float[Tensor, "bodyverts 3"]:
        """The naked body model's own vertices in one frame, metres: the truth under the clothes."""
        return self._posed(frame).vertices()[: self.performer.num_body_vertices]

    def _posed(self, frame: int) -> LinearPosedBody:
        shaped = self.performer.shaped.with_expression(self.performance.expression[frame])
        pose = Pose(rotvecs=self.performance.rotvecs[frame], translation_world_m=self.translations_world_m[frame])
        return shaped.with_pose(pose)

    def _skinned(self, vertices: Int[Tensor, " some"]) -> Float[Tensor, "frames some 3"]:
        """Some vertices in all frames, by skinning alone."""
        shaped = restricted(self.performer.shaped, vertices)
        parts = []
        for start in range(0, self.num_frames, _FRAMES_AT_ONCE):
            chosen = slice(start, start + _FRAMES_AT_ONCE)
            pose = Pose(rotvecs=self.performance.rotvecs[chosen], translation_world_m=self.translations_world_m[chosen])
            parts.append(shaped.with_pose(pose).vertices())
        return torch.cat(parts)

    def _simulate(self, loose: LooseCloth) -> Float[Tensor, "frames cloth 3"]:
        cloth = torch.arange(loose.first_vertex, loose.first_vertex + loose.rows * loose.columns)
        rest = self.performer.shaped.vertices_rest[cloth].double().numpy()
        targets = self._skinned(cloth).double().numpy()
        collider, faces = self._skinned(loose.collider_vertices).double().numpy(), loose.collider_faces.numpy()
        pinned_m = rest.reshape(loose.rows, -1, 3)[loose.pinned_rows - 1, :, 1].mean()
        deviation = swing(targets, natural_frequencies_hz(pinned_m - rest[:, 1]), self.fps_hz)
        drape = Drape(
            rest.reshape(loose.rows, loose.columns, 3),
            pinned_rows=loose.pinned_rows,
            closed=loose.closed,
            clearance_m=loose.clearance_m,
        )
        frames = [
            drape(target, away, body, vertex_normals_array(body, faces))
            for target, away, body in zip(targets, deviation, collider, strict=True)
        ]
        return torch.from_numpy(np.stack(frames)).float()


def restricted(shaped: LinearShapedBody, vertices: Int[Tensor, " some"]) -> LinearShapedBody:
    """Some vertices of a body only, without expressions: posing costs that much less."""
    rig = shaped.rig
    return shaped.replace(
        vertices_rest=shaped.vertices_rest[vertices],
        rig=rig.replace(
            skin_joints=rig.skin_joints[vertices],
            skin_weights=rig.skin_weights[vertices],
            action_vertices=torch.zeros(0, dtype=torch.int64),
            action_deltas_m=rig.action_deltas_m[:, :0],
        ),
    )
