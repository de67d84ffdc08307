"""From a trained surface to an avatar: closed mesh, rig, texture from the video."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble import __version__
from bodydouble.avatar.drive import apply_morphs
from bodydouble.avatar.values import Avatar, Mesh, Provenance, Rig
from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.folder import Capture, read_mask
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.core.events import Event, Progress, Warned
from bodydouble.core.skinning import bone_transforms
from bodydouble.fit.features import RestPerson, rest_person
from bodydouble.reconstruct.surface.bake_config import BakeConfig
from bodydouble.reconstruct.surface.extract import ClosedMesh, MeshFacts, extract_mesh, mesh_facts
from bodydouble.reconstruct.surface.face import sew_face
from bodydouble.reconstruct.surface.hands import sew_hand
from bodydouble.reconstruct.surface.rigging import posed_mesh, rig_mesh
from bodydouble.reconstruct.surface.sewn import Sewn, body_texels, unsewn
from bodydouble.reconstruct.surface.silhouettes import Outline, write_silhouettes
from bodydouble.reconstruct.surface.texture import TexturedFrame
from bodydouble.reconstruct.surface.textured import TextureFacts, paint, unwrapped_mesh
from bodydouble.reconstruct.surface.values import SurfaceResult, World
from bodydouble.render.texture import mesh_alpha

_OUTLINES = 3
"""Frames whose outlines decide which level of the field is the surface."""
_MOSTLY_SEEN = 0.75
"""A texture of which the video showed less is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class Baked:
    """An avatar with a textured mesh, and what is known about it."""

    avatar: Avatar
    mesh: Mesh
    mesh_facts: MeshFacts
    texture_facts: TextureFacts
    seen: Float[Tensor, " verts"]
    """In [0, 1]: how well the video showed each vertex."""
    level_m: float
    """Level of the field that the mesh is (`level.visible_level_m`)."""


def bake_surface(
    result: SurfaceResult,
    capture: Capture,
    body: BodyModel,
    config: BakeConfig,
    masks: Path,
    emit: Callable[[Event], None],
) -> Baked:
    """Make the avatar of a trained surface, and the masks of all frames, which say what may be painted with.

    Args:
        result: Of the training.
        capture: The video it was trained on.
        body: The body whose skeleton it has.
        config: Size of mesh and texture.
        masks: Folder for them (`silhouettes`).
        emit: Told about progress, and warned of what was never seen.
    Raises:
        NoSubjectError: When the field has no surface.
    """
    from bodydouble.reconstruct.surface.field import canonical_vertices
    from bodydouble.reconstruct.surface.level import visible_level_m

    field = result.field
    shaped = body.with_shape(field.shape.float())
    level_m = visible_level_m(result, body, spread(result.frame_indices.tolist(), _OUTLINES))
    closed = extract_mesh(
        field.sdf.values[..., 0] - level_m, field.sdf.origin_canonical_m, float(field.sdf.voxel_m), faces=config.faces
    )
    emit(Progress(stage="mesh", done=1, total=4, unit="steps"))
    rigged = rig_mesh(
        closed, body, canonical_vertices(body, shaped).float(), field.R_canonical_rest, field.t_canonical_rest
    )
    sewn = _with_body_parts(unsewn(rigged, _person(result, capture, body)), body, emit)
    whole = sewn.mesh
    emit(Progress(stage="mesh", done=2, total=4, unit="steps"))
    flat = unwrapped_mesh(whole, config.texture_px)
    emit(Progress(stage="mesh", done=3, total=4, unit="steps"))
    rig = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=sewn.person.joints_rest,
        humanoid=dict(body.humanoid),
    )
    outline = _outline_of(flat.mesh, rig, result.track)
    write_silhouettes(result.track, result.world, capture, body, outline, masks, emit)
    chosen = spread(result.frame_indices.tolist(), config.texture_frames)
    painted = paint(
        flat.mesh,
        textured_frames(flat.mesh, rig, result, capture, chosen, masks, emit),
        charts=flat.charts,
        find_body=lambda around, where: body_texels(sewn, body, flat.source[around], where),
    )
    facts = painted.facts
    if facts.seen < _MOSTLY_SEEN:
        emit(
            Warned(
                code="texture_guessed",
                message=f"The video showed {facts.seen:.0%} of the clothed surface; {facts.mirrored:.0%} was taken from the "
                f"other side of the body and {facts.invented:.0%} is a smooth guess.",
                advice="Film the person from all sides for a texture that is all theirs.",
            )
        )
    return Baked(
        avatar=Avatar(
            rig=rig,
            mesh=painted.mesh,
            splats=None,
            provenance=Provenance(
                generator=f"bodydouble {__version__}",
                source_sha256=capture.info.sha256,
                method="surface",
                body=body.name,
                created=datetime.date.today().isoformat(),
            ),
        ),
        mesh=painted.mesh,
        mesh_facts=mesh_facts(ClosedMesh(vertices_m=whole.vertices_rest_m, faces=whole.faces)),
        texture_facts=facts,
        seen=painted.seen,
        level_m=level_m,
    )


def _with_body_parts(sewn: Sewn, body: BodyModel, emit: Callable[[Event], None]) -> Sewn:
    """The clothed surface with the body's face and hands."""
    with_face = sew_face(sewn, body)
    if with_face is None:
        emit(
            Warned(
                code="still_face",
                message="No face of the body could be sewn into the clothed surface: lips and lids will not part.",
                advice="Film the face uncovered, and use a body with an inner mouth (--body anny).",
            )
        )
    sewn = with_face or sewn
    for side in ("left", "right"):
        sewn = sew_hand(sewn, body, side) or sewn
    return sewn


def _person(result: SurfaceResult, capture: Capture, body: BodyModel) -> RestPerson:
    """The fitted body with the filmed face's features, by the frames that may be looked at."""
    track = result.track
    rows = torch.nonzero(torch.isin(track.frame_indices, torch.from_numpy(result.frame_indices)))[:, 0]
    return rest_person(body, track, capture.observations(), rows)


def spread(frames: list[int], most: int) -> list[int]:
    """At most so many of the frames, evenly."""
    if len(frames) <= most:
        return frames
    return [frames[int((k + 0.5) * len(frames) / most)] for k in range(most)]


def textured_frames(
    mesh: Mesh,
    rig: Rig,
    result: SurfaceResult,
    capture: Capture,
    frames: list[int],
    masks: Path,
    emit: Callable[[Event], None],
) -> Iterator[TexturedFrame]:
    """Frames of the video with a mesh posed into them.

    Args:
        mesh, rig: What is posed.
        result: Has the poses, and the exposure of each frame.
        capture: Has the pictures.
        frames: Source indices, ascending.
        masks: Folder with the person's masks: where the mesh bridges a gap between legs, what shows there is the world's.
        emit: Told about progress.
    """
    track = result.track
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    row_of = {int(index): row for row, index in enumerate(track.frame_indices)}
    for done, frame in enumerate(capture.frames(frames), start=1):
        vertices = frame_vertices(mesh, rig, track, row_of[frame.index])
        mask = read_mask(masks, frame.index, (track.height_px, track.width_px))
        yield TexturedFrame(
            rgb=torch.from_numpy(np.ascontiguousarray(frame.rgb)),
            camera=camera,
            vertices_world=vertices,
            gain=frame_gain(result.world, frame.index),
            mask=None if mask is None else torch.from_numpy(mask).float() / 255.0,
        )
        emit(Progress(stage="texture", done=done, total=len(frames), unit="frames"))


def _outline_of(mesh: Mesh, rig: Rig, track: BodyTrack) -> Outline:
    """How much of a camera's pixels the mesh covers in a row of the track."""
    return lambda row, camera: mesh_alpha(frame_vertices(mesh, rig, track, row), mesh.faces, camera).numpy()


def frame_vertices(mesh: Mesh, rig: Rig, track: BodyTrack, row: int) -> Float[Tensor, "verts 3"]:
    """The mesh as it is in one row of a track, with its expression, in the world of the fit; metres."""
    pose = Pose(rotvecs=track.rotvecs[row].float(), translation_world_m=track.translation_world_m[row].float())
    R, t = bone_transforms(pose.rotvecs, rig.joints_rest_m, pose.translation_world_m, rig.bone_parents)
    vertices_rest_m = apply_morphs(mesh.vertices_rest_m, mesh.morphs, track.expression[row].float())
    return posed_mesh(mesh.replace(vertices_rest_m=vertices_rest_m), R, t)


def frame_gain(world: World, frame_index: int) -> Float[Tensor, " 3"]:
    """Exposure of a frame, where the world knows one."""
    gain = getattr(world, "gain", None)
    return torch.ones(3) if gain is None else gain(frame_index).detach().float().clamp_min(0.1)
