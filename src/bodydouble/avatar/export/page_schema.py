"""What a web page holds of an avatar: the one schema that Python writes and the page reads.

`web/src/schema.ts` is made from these classes by `scripts/make_page_schema.py`; a test fails when the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 2

BlockType = Literal["float32", "float16", "int8", "int16", "uint8", "uint16", "uint32"]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A tensor in the page's binary data: little endian, row by row, starting at a multiple of 4 bytes."""

    type: BlockType
    shape: tuple[int, ...]
    offset: int
    """First byte in the unpacked data."""
    scale: float
    """Value = stored number times this."""


@dataclass(frozen=True, kw_only=True)
class PageMorph:
    """One facial action as sparse offsets."""

    action: int
    """Index in `PageData.actions`."""
    indices: Block
    """Elements it moves, (m)."""
    deltas_m: Block
    """Offsets at full strength, (m, 3)."""


@dataclass(frozen=True, kw_only=True)
class PageSkin:
    """How elements follow bones, and the pattern nodes of the correctives."""

    joints: Block
    """(n, 4); the joint with the largest weight comes first."""
    weights: Block
    """(n, 4)."""
    morphs: tuple[PageMorph, ...]
    nodes: Block | None
    """(n, 4), nodes of `PageCorrectives`."""
    node_weights: Block | None
    """(n, 4)."""


@dataclass(frozen=True, kw_only=True)
class PageSplats:
    """Gaussians in the rest pose."""

    count: int
    means_rest_m: Block
    """(n, 3)."""
    quats_xyzw: Block
    """(n, 4), unit length."""
    scales_m: Block
    """(n, 3), standard deviations."""
    opacities: Block
    """(n)."""
    colors: Block
    """(n, 3): 0.5 + C0 * harmonic of degree 0, sRGB, not clamped."""
    harmonics: Block | None
    """(n, 3, 8 or 15; 3): those of degree 1 and above, in the rest frame; none where splats look alike from everywhere."""
    skin: PageSkin


@dataclass(frozen=True, kw_only=True)
class PageTexture:
    """Colours laid over a mesh."""

    uv: Block
    """(v, 2); (0, 0) is the picture's top left corner."""
    picture: Block
    """Bytes of a JPEG, sRGB."""


@dataclass(frozen=True, kw_only=True)
class PageMesh:
    """Triangles in the rest pose."""

    vertices_rest_m: Block
    """(v, 3)."""
    colors: Block
    """(v, 3), sRGB."""
    faces: Block
    """(f, 3)."""
    texture: PageTexture | None
    """Shown in place of the colours."""
    skin: PageSkin


@dataclass(frozen=True, kw_only=True)
class PageCorrectives:
    """Pose-dependent correctives, as in docs/avatar-format.md."""

    turn_bones: tuple[int, ...]
    up_bones: tuple[int, ...]
    feature_map: Block
    """(coefficients, features)."""
    feature_mean: Block
    lowest: Block
    highest: Block
    reach: float
    offsets_m: Block
    """(coefficients, nodes, 3)."""
    shades: Block
    """(coefficients, nodes)."""


@dataclass(frozen=True, kw_only=True)
class PageMotion:
    """A clip on the avatar's rig."""

    name: str
    fps_hz: float
    frames: int
    rotvecs: Block
    """(frames, bones, 3), radians."""
    translation_m: Block
    """(frames, 3)."""
    expression: Block
    """(frames, actions)."""


@dataclass(frozen=True, kw_only=True)
class PagePreset:
    """A facial expression by name."""

    name: str
    strengths: tuple[tuple[int, float], ...]
    """(action, strength in [0, 1])."""


@dataclass(frozen=True, kw_only=True)
class PageGroup:
    """Facial actions that belong together."""

    name: str
    actions: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PageJoint:
    """A bone that a slider turns: its name as a human's bone and its index."""

    human: str
    bone: int


@dataclass(frozen=True, kw_only=True)
class PageNotice:
    """Whose double this is, and what may be done with it."""

    title: str
    authors: tuple[str, ...]
    copyright: str
    consent: str
    permissions: str
    made_with: str


@dataclass(frozen=True, kw_only=True)
class PageData:
    """Everything the page knows of one avatar."""

    schema_version: int
    unpacked_bytes: int
    notice: PageNotice
    bone_names: tuple[str, ...]
    bone_parents: tuple[int, ...]
    joints_rest_m: Block
    """(bones, 3)."""
    humans: tuple[PageJoint, ...]
    floor_m: float
    """Height of the soles in the rest pose."""
    actions: tuple[str, ...]
    presets: tuple[PagePreset, ...]
    groups: tuple[PageGroup, ...]
    splats: PageSplats | None
    mesh: PageMesh | None
    correctives: PageCorrectives | None
    motions: tuple[PageMotion, ...]
