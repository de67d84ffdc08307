"""How a trained surface becomes a mesh."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BakeConfig:
    """Size of mesh and texture."""

    faces: int = 20_000
    """About so many triangles."""
    texture_px: int = 1024
    texture_frames: int = 72
    """At most so many frames are projected onto the mesh, evenly chosen."""
