"""The body that is to be dressed, and what is put on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from bodydouble.synth.surface import Surface

NUM_COORDINATES = 7
"""Last columns of a surface's attributes: x, y, z for textures in metres, and four values that materials define."""


@dataclass(frozen=True, kw_only=True)
class Mannequin:
    """The body that is to be dressed, in the rest pose."""

    points: Float[ndarray, "verts 3"]
    normals: Float[ndarray, "verts 3"]
    faces: Int[ndarray, "faces 3"]
    weights: Float[ndarray, "verts bones"]
    joints: dict[str, ndarray]
    """Rest joints by humanoid bone name."""
    bone_place: dict[str, int]
    """Column of `weights` by humanoid bone name."""
    arm_share: Float[ndarray, " verts"]
    """How much a vertex belongs to an arm (from the upper arm down)."""
    arm_bones: Int[ndarray, " armbones"]
    """Columns of `weights` from the upper arms down."""
    skin: Int[ndarray, " skin"]
    """Vertices of the outer skin: neither eyes nor the inside of the mouth."""
    ears: Float[ndarray, " verts"]

    @property
    def crotch_m(self) -> float:
        """Height of the lowest point between the legs."""
        middle = np.abs(self.points[:, 0]) < 0.008
        return float(self.points[self.skin][middle[self.skin], 1].min())


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Something worn."""

    surface: Surface
    material: Int[ndarray, " faces"]
    """Row of the palette; numbers from `len(Material)` on count this piece's own rows."""
    covers: Float[ndarray, " verts"]
    """How deep below its edges each vertex of the body lies under this piece, metres; negative outside."""
    palette: Float[ndarray, "rows columns"] | None = None
    """Rows of its own."""
    on_ground: bool = False
    """Whether its lowest point stands on the floor."""
