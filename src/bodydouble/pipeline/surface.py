"""The surface stage of a run: train, bake, and leave masks, the empty scene and what the report shows of them.

DIR/checkpoints/surface/    the trained field, the baked avatar, poses, and story.json with its pictures
DIR/surface/                masks/000123.png, background.png, person-removed.mp4
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8

from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import read_json, remove_tree, write_bytes, write_json
from bodydouble.pipeline.layout import AVATAR, CAPTURE, MASKS, SURFACE_CHECKPOINT, SURFACE_FOLDER
from bodydouble.pipeline.report_data import Picture, SurfaceStory
from bodydouble.pipeline.stages import Emit, Run

if TYPE_CHECKING:
    from bodydouble.pipeline.presets import CreateConfig
    from bodydouble.reconstruct.surface.bake import Baked
    from bodydouble.reconstruct.surface.outputs import Decomposed
    from bodydouble.reconstruct.surface.values import SurfaceResult

BACKGROUND_SPLATS = "background.ply"
"""Of a camera that moves alone: the scene as splats, in the world of its first frame."""
BACKGROUND, REMOVED = "background.png", "person-removed.mp4"
_STORY = "story.json"
_TILES = ("frame", "person", "world", "normals", "mesh")


def reconstruct_surface(run: Run, capture: Capture, body: BodyModel, config: CreateConfig, emit: Emit) -> None:
    """Train the surface of a capture and write everything that is known from it.

    Args:
        run: With perceive and fit done.
        capture, body: What the surface is made from.
        config: The run's settings.
        emit: Called with every event.
    """
    from bodydouble.reconstruct.splats.result import save_poses
    from bodydouble.reconstruct.surface.bake import bake_surface
    from bodydouble.reconstruct.surface.store import load_surface
    from bodydouble.reconstruct.surface.trainer import train_surface
    from bodydouble.reconstruct.surface.world_find import world_of
    from bodydouble.render.warm_up import warm_up

    checkpoint, outputs = run.folder / SURFACE_CHECKPOINT, run.folder / SURFACE_FOLDER
    checkpoint.mkdir(parents=True, exist_ok=True)
    warm_up(emit)
    track = capture.track()
    _, world = world_of(capture, track, body, emit, keep=checkpoint, config=config.world, device=config.device)
    for event in train_surface(capture, body, config.surface, checkpoint, world):
        emit(event)
    result = load_surface(checkpoint, world)
    rows = torch.nonzero(torch.isin(result.track.frame_indices, torch.from_numpy(result.frame_indices)))[:, 0]
    save_poses(checkpoint, rows, result.track.rotvecs[rows], result.track.translation_world_m[rows])
    baked = bake_surface(result, capture, body, config.bake, outputs / MASKS, emit)
    _save_double(baked, capture, body, run, checkpoint / AVATAR)
    _write_outputs(result, capture, outputs, emit)
    _write_story(result, baked, capture, body, checkpoint, emit)


def surface_avatar(run_folder: Path) -> Avatar:
    """The textured mesh on its rig, as the surface stage left it."""
    from bodydouble.avatar.glb import load_avatar

    return load_avatar(run_folder / SURFACE_CHECKPOINT / AVATAR)


def capture_with_surface(run_folder: Path, capture: Capture) -> Capture:
    """A capture of the same video with the surface's masks and poses, for a method that builds on them.

    It lies among the checkpoints and is made anew each time.
    """
    from bodydouble.reconstruct.splats.result import refined_track

    folder = run_folder / SURFACE_CHECKPOINT / CAPTURE
    remove_tree(folder)
    made = Capture.create(folder, capture.info)
    if capture.span is not None:
        made.set_span(*capture.span)
    masks = run_folder / SURFACE_FOLDER / MASKS
    for path in sorted(masks.glob("*.png")):
        write_bytes(made.masks_folder / path.name, path.read_bytes())
    made.save_track(refined_track(run_folder / SURFACE_CHECKPOINT, capture))
    made.save_observations(capture.observations())
    return made


def surface_story(run_folder: Path) -> SurfaceStory | None:
    """What the report shows of the surface; None where a run has none."""
    folder = run_folder / SURFACE_CHECKPOINT
    if not (folder / _STORY).is_file():
        return None
    story = read_json(folder / _STORY)

    def pictures(entries: list[dict[str, object]]) -> Iterator[Picture]:
        for entry in entries:
            yield Picture(
                data=(folder / str(entry["file"])).read_bytes(),
                media_type="image/jpeg",
                caption=str(entry["caption"]),
                width_px=int(str(entry["width_px"])),
                height_px=int(str(entry["height_px"])),
            )

    return SurfaceStory(
        sheets=tuple(pictures(story["sheets"])),
        seen=tuple(pictures(story["seen"])),
        figures={name: float(value) for name, value in story["figures"].items()},
        watertight=bool(story["watertight"]),
    )


def _save_double(baked: Baked, capture: Capture, body: BodyModel, run: Run, path: Path) -> None:
    from bodydouble.avatar.glb import save_avatar

    provenance = dataclasses.replace(
        baked.avatar.provenance, source_sha256=capture.info.sha256, body=body.name, created=run.created
    )
    save_avatar(dataclasses.replace(baked.avatar, provenance=provenance), path)


def _write_outputs(result: SurfaceResult, capture: Capture, folder: Path, emit: Emit) -> None:
    from bodydouble.avatar.export.splat_ply import splats_to_ply
    from bodydouble.reconstruct.surface.outputs import write_removed, write_world
    from bodydouble.reconstruct.surface.world_splats import MovingWorld

    folder.mkdir(parents=True, exist_ok=True)
    write_world(result, folder / BACKGROUND)
    if isinstance(result.world, MovingWorld):
        write_bytes(folder / BACKGROUND_SPLATS, splats_to_ply(result.world.cloud()))
    write_removed(result, capture, folder / MASKS, folder / REMOVED, emit)


def _write_story(
    result: SurfaceResult, baked: Baked, capture: Capture, body: BodyModel, folder: Path, emit: Emit
) -> None:
    from bodydouble.reconstruct.surface.outputs import decompose, seen_pictures
    from bodydouble.reconstruct.surface.world_pictures import unseen_world

    sheets = decompose(result, capture, body, baked.mesh, baked.avatar.rig)
    emit(_progress(1))
    front, back = seen_pictures(baked.mesh, baked.seen)
    track, middle = result.track, int(result.frame_indices[len(result.frame_indices) // 2])
    facts, texture = baked.mesh_facts, baked.texture_facts
    write_json(
        folder / _STORY,
        {
            "sheets": [
                _saved(folder, f"sheet-{sheet.frame_index:06d}.jpg", _sheet(sheet), f"frame {sheet.frame_index}, {sheet.time_s:.2f} s")
                for sheet in sheets
            ],
            "seen": [
                _saved(folder, "seen-front.jpg", front, "front"),
                _saved(folder, "seen-back.jpg", back, "back"),
            ],
            "watertight": facts.manifold,
            "figures": {
                "triangles": float(len(baked.mesh.faces)),
                "volume_l": 1e3 * facts.volume_m3,
                "handles": float(facts.pieces) - facts.euler / 2.0,
                "texture_px": float(texture.size_px),
                "charts": float(texture.charts),
                "seen_share": texture.seen,
                "mirrored_share": texture.mirrored,
                "invented_share": texture.invented,
                "world_unseen_share": unseen_world(result.world, middle, track.width_px, track.height_px),
                "voxel_mm": 1e3 * float(result.field.sdf.voxel_m),
                "level_mm": 1e3 * baked.level_m,
                "beta_mm": 1e3 * float(result.field.beta_m),
            },
        },
    )  # fmt: skip
    emit(_progress(2))


def _progress(done: int) -> Event:
    return Progress(stage="sheets", done=done, total=2, unit="steps")


def _sheet(found: Decomposed) -> UInt8[np.ndarray, "height width 3"]:
    """Five pictures side by side, cut to where the person is."""
    inside = (np.abs(found.normals.astype(int) - found.normals[0, 0].astype(int)).sum(2) > 24).any(0)
    columns = np.flatnonzero(inside)
    width = found.frame.shape[1]
    room = round(0.06 * width)
    low, high = (0, width) if not len(columns) else (max(0, columns[0] - room), min(width, columns[-1] + 1 + room))
    gap = np.full((found.frame.shape[0], 4, 3), 255, np.uint8)
    parts: list[np.ndarray] = []
    for name in _TILES:
        parts += [gap, getattr(found, name)[:, low:high]]
    return np.concatenate(parts[1:], axis=1)


def _saved(folder: Path, name: str, picture: UInt8[np.ndarray, "height width 3"], caption: str) -> dict[str, object]:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=86, optimize=True)
    write_bytes(folder / name, buffer.getvalue())
    return {"file": name, "caption": caption, "width_px": picture.shape[1], "height_px": picture.shape[0]}
