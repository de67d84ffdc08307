"""The protocol that compares surfaces: every switch, as a value and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AlignmentKind = Literal["none", "rigid", "similarity"]


@dataclass(frozen=True, kw_only=True)
class GeometryProtocol:
    """How posed surfaces are compared with the true ones."""

    name: str
    source: str
    alignments: tuple[AlignmentKind, ...]
    """From the posed vertices of the fitted body to those of the true one, frame by frame; applied to the surface."""
    samples: int
    """Points on each surface."""
    grid_m: float
    """Side of the cubes that volumes are compared on, metres."""
    most_frames: int
    """Test frames are thinned evenly to at most so many."""
    notes: tuple[str, ...]

    def describe(self) -> tuple[str, ...]:
        """The protocol in sentences, to be printed wherever its figures are."""
        words = {
            "none": "as it lies in the world of the camera (none)",
            "rigid": "after a rotation and a shift (rigid)",
            "similarity": "after a rotation, a shift and one scale (similarity)",
        }
        return (
            f"Protocol {self.name}, after {self.source}",
            "Each surface is compared " + ", and ".join(words[a] for a in self.alignments) + ". The motion is that of "
            "the fitted body's posed vertices onto the true body's, by least squares, each vertex counting by the skin around "
            "it, frame by frame: no point of the surfaces themselves is used, so clothes cannot pull at it.",
            (
                f"{self.samples} points are drawn evenly by area on what shows of each surface: faces that end inside of it, such as "
                "skin under hair, do not count. p2s_cm: mean distance of the surface's points "
                "from the true surface (exact, on its triangles); completeness_cm: the other way; chamfer_cm: their mean. "
                "normal_consistency: mean cosine between the normals of a point's triangle and of the nearest one, mean of "
                f"both ways, signed. volume_iou: at the centres of cubes of {self.grid_m:g} m, inside where the winding number "
                "exceeds 0.5."
            ),
            f"At most {self.most_frames} test frames, evenly spread; each figure is the mean over frames.",
            *self.notes,
        )


VID2AVATAR_GEOMETRY = GeometryProtocol(
    name="vid2avatar-geometry",
    source="Vid2Avatar (arXiv 2302.11566): volumetric IoU, Chamfer distance and normal consistency on SynWild.",
    alignments=("none", "rigid", "similarity"),
    samples=50_000,
    grid_m=0.02,
    most_frames=8,
    notes=(
        (
            "The authors say that surfaces are aligned through SMPL meshes, without cameras. Whether rigidly or with scale, by "
            "frame or by sequence, with how many points, and whether normals are compared by cosine or by distance is not "
            "published; hence both alignments. A user who aligned by ICP and scale got far worse figures."
        ),
    ),
)
