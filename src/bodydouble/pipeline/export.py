"""Avatars in other programs' formats: which format needs what, and what becomes of the motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Float

from bodydouble.avatar.drive import PosedAvatar, pose_avatar
from bodydouble.avatar.export.vrm import VrmMeta
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.surfels import with_splats
from bodydouble.avatar.values import Avatar, Mesh
from bodydouble.body.protocol import Pose
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.core.files import write_bytes

ExportFormat = Literal["glb", "vrm", "ply", "spz", "obj", "mesh-ply", "usd", "usda", "usdz", "html"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
_SUFFIX = {"mesh-ply": ".mesh.ply"}

LOSSES: dict[str, str] = {
    "glb": "nothing",
    "vrm": "splats, pose-dependent correctives, motion; the mesh keeps skeleton, morph targets and colours, and rests in a T-pose",
    "ply": "skeleton, morph targets, mesh, confidence, motion: one pose of the splats",
    "spz": "skeleton, morph targets, mesh, confidence, motion: one pose of the splats, rounded to 8 bits",
    "obj": "skeleton, morph targets, splats, motion: one pose of the mesh",
    "mesh-ply": "skeleton, morph targets, splats, motion: one pose of the mesh, colours rounded to 8 bits",
    "usd": "splats, confidence, pose-dependent correctives",
    "usda": "splats, confidence, pose-dependent correctives",
    "usdz": "splats, confidence, pose-dependent correctives",
    "html": "nothing that shows; the page plays, but is no file to go on working with",
}
"""What a format cannot hold."""


@dataclass(frozen=True, kw_only=True)
class ExportChoices:
    """How an avatar is written."""

    motion: Motion | None = None
    """On the avatar's rig: stored as a clip where the format has clips, else the source of the pose."""
    motions: tuple[Motion, ...] = ()
    """html: the clips of the page, in its order; without any, `motion` alone."""
    frame: int | None = None
    """Frame of the motion whose pose is written, for formats without clips; the first if none is named."""
    expression: Float[torch.Tensor, " actions"] | None = None
    """Strengths of the 52 ARKit actions on top of the motion's, for formats without clips."""
    spz_version: int = 3
    meta: VrmMeta = field(default_factory=VrmMeta)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    path: Path
    format: str
    bytes: int
    lost: str


def format_named(name: str) -> ExportFormat:
    """The format of that name.

    Raises:
        ConfigError: When there is none.
    """
    if name not in FORMATS:
        raise ConfigError(f"There is no format {name!r}; expected one of {', '.join(FORMATS)}.")
    return name


def default_path(avatar_path: Path, to: ExportFormat) -> Path:
    """Beside the avatar, with the format's ending; never the avatar itself."""
    path = avatar_path.with_name(avatar_path.stem + _SUFFIX.get(to, f".{to}"))
    return path.with_name(f"{avatar_path.stem}-export.glb") if path == avatar_path else path


def export_avatar(avatar: Avatar, to: ExportFormat, path: Path, choices: ExportChoices) -> Exported:
    """Write an avatar in a format, whole or not at all.

    Args:
        avatar: With a mesh, splats, or both.
        to: One of `FORMATS`.
        path: The file, with the format's ending; an existing one is replaced.
        choices: Motion, frame, expression, permissions.
    Raises:
        ConfigError: For choices the format cannot honour.
        InputError: When the avatar lacks what the format shows.
        MissingDependencyError: When a package for the format is not installed.
    """
    motion = choices.motion
    if choices.frame is not None and motion is None:
        raise ConfigError("--frame names a frame of a motion, but no --motion was given.")
    if motion is not None and choices.frame is not None and not 0 <= choices.frame < motion.num_frames:
        raise ConfigError(f"--frame is {choices.frame}; the motion has frames 0 to {motion.num_frames - 1}.")
    if to in ("glb", "usd", "usda", "usdz", "vrm", "html") and (
        choices.frame is not None or choices.expression is not None
    ):
        raise ConfigError(f"--frame and --expression choose one pose, but a .{to} holds the rig; leave them out.")
    usual = default_path(Path("double"), to)
    if path.suffix.lower() != usual.suffix and not path.is_dir():
        raise ConfigError(
            f"{path.name} is no name for what --to {to} writes: readers go by the ending. Expected one such as {usual}."
        )
    if to in ("usd", "usda", "usdz"):
        from bodydouble.avatar.export.usd import write_usd

        write_usd(avatar, path, motion)
    else:
        content = _obj(avatar, choices, path) if to == "obj" else _WRITERS[to](avatar, choices)
        write_bytes(path, content)
    return Exported(path=path, format=to, bytes=path.stat().st_size, lost=LOSSES[to])


def _posed(avatar: Avatar, choices: ExportChoices) -> PosedAvatar:
    """The avatar at the chosen frame, at rest without a motion."""
    motion, expression = choices.motion, choices.expression
    rest = torch.zeros(len(avatar.rig.bone_names), 3)
    pose = Pose(rotvecs=rest, translation_world_m=torch.zeros(3))
    if motion is not None:
        frame = choices.frame or 0
        pose = motion.pose(frame)
        actions = motion.expression[frame]
        expression = actions if expression is None else (actions + expression).clamp(0.0, 1.0)
    with torch.no_grad():
        return pose_avatar(avatar, pose, expression)


def _glb(avatar: Avatar, choices: ExportChoices) -> bytes:
    from bodydouble.avatar.glb_write import avatar_to_glb

    return avatar_to_glb(avatar, [] if choices.motion is None else [choices.motion])


def _vrm(avatar: Avatar, choices: ExportChoices) -> bytes:
    from bodydouble.avatar.export.vrm import avatar_to_vrm

    if choices.motion is not None:
        raise ConfigError(
            "A .vrm holds no motion: its viewers bring their own. Leave --motion out, or export --to glb."
        )
    return avatar_to_vrm(avatar, choices.meta)


def _ply(avatar: Avatar, choices: ExportChoices) -> bytes:
    from bodydouble.avatar.export.splat_ply import splats_to_ply

    splats = _posed(with_splats(avatar), choices).splats
    assert splats is not None
    return splats_to_ply(splats)


def _spz(avatar: Avatar, choices: ExportChoices) -> bytes:
    from bodydouble.avatar.export.spz import splats_to_spz

    splats = _posed(with_splats(avatar), choices).splats
    assert splats is not None
    return splats_to_spz(splats, version=choices.spz_version)


def _html(avatar: Avatar, choices: ExportChoices) -> bytes:
    from bodydouble.avatar.export.html import avatar_to_html

    motions = choices.motions or (() if choices.motion is None else (choices.motion,))
    return avatar_to_html(avatar, motions, choices.meta)


def _mesh_of(avatar: Avatar, choices: ExportChoices) -> tuple[Mesh, Float[torch.Tensor, "verts 3"]]:
    """The mesh with the colours of its pose, and where its vertices are then."""
    posed = _posed(avatar, choices)
    if avatar.mesh is None or posed.vertices_world_m is None or posed.vertex_colors is None:
        raise InputError("The avatar has no mesh: export its splats --to ply or spz instead.")
    return avatar.mesh.replace(colors=posed.vertex_colors), posed.vertices_world_m


def _obj(avatar: Avatar, choices: ExportChoices, path: Path) -> bytes:
    """The mesh as OBJ; its texture and the material that names it are written beside it."""
    from bodydouble.avatar.export.surface import mesh_to_obj, obj_material
    from bodydouble.avatar.glb_texture import encode_texture

    mesh, vertices = _mesh_of(avatar, choices)
    if mesh.texture is None:
        return mesh_to_obj(vertices, mesh.faces, mesh.colors)
    picture, material = path.with_suffix(".png"), path.with_suffix(".mtl")
    write_bytes(picture, encode_texture(mesh.texture.image))
    write_bytes(material, obj_material(picture.name))
    return mesh_to_obj(vertices, mesh.faces, mesh.colors, uv=mesh.texture.uv, material_file=material.name)


def _mesh_ply(avatar: Avatar, choices: ExportChoices) -> bytes:
    from bodydouble.avatar.export.surface import mesh_to_ply

    mesh, vertices = _mesh_of(avatar, choices)
    return mesh_to_ply(vertices, mesh.faces, mesh.colors)


_WRITERS: dict[str, Callable[[Avatar, ExportChoices], bytes]] = {
    "glb": _glb,
    "vrm": _vrm,
    "html": _html,
    "ply": _ply,
    "spz": _spz,
    "mesh-ply": _mesh_ply,
}
