"""A performer in motion: where its surface is in every frame of a performance."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from bodydouble.body.linear import LinearPosedBody
from bodydouble.body.protocol import Pose
from bodydouble.synth.motion import Performance
from bodydouble.synth.performer import Performer


class Actor:
    """Gives the dressed body of any frame, loose garments included. Frames may be asked for in any order.

    Args:
        performer: Who acts.
        performance: Pose and expression of every frame.
        translations_world_m: Where the body's root is moved in each frame.
    """

    def __init__(
        self, performer: Performer, performance: Performance, translations_world_m: Float[Tensor, "frames 3"]
    ) -> None:
        self.performer, self.performance = performer, performance
        self.translations_world_m = translations_world_m

    @property
    def num_frames(self) -> int:
        return len(self.performance.rotvecs)

    def _posed(self, frame: int) -> LinearPosedBody:
        shaped = self.performer.shaped.with_expression(self.performance.expression[frame])
        pose = Pose(rotvecs=self.performance.rotvecs[frame], translation_world_m=self.translations_world_m[frame])
        return shaped.with_pose(pose)

    def vertices_world(self, frame: int) -> Float[Tensor, "verts 3"]:
        """The dressed body in one frame, metres; numbered as `Performer.faces` counts."""
        return self._posed(frame).vertices()

    def body_vertices_world(self, frame: int) -> Float[Tensor, "bodyverts 3"]:
        """The naked body model's own vertices in one frame, metres: the truth under the clothes."""
        return self._posed(frame).vertices()[: self.performer.num_body_vertices]
