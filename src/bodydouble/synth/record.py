"""Writing a film and its truth into a folder, which appears only when it is whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt16
from numpy import ndarray
from torch import Tensor

from bodydouble import __version__
from bodydouble.body.protocol import Pose
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import atomic_path
from bodydouble.render.mesh import MeshImage, interpolate
from bodydouble.synth import truth as files
from bodydouble.synth.film import Film
from bodydouble.synth.looks import Material
from bodydouble.synth.points import Points, body_points
from bodydouble.synth.stage import Stage, num_frames
from bodydouble.synth.truth import TruthIndex, TruthMesh, TruthValues, TruthViews

_VIEW_FRAMES = 6
_DEPTH_STEP_M, _DEPTH_STEPS = 2e-4, 65_000


def record(out_dir: Path, stage: Stage, emit: Callable[[Event], None]) -> None:
    """Film a stage and write everything that docs/synth-format.md lists.

    Raises:
        OutputError: When the folder cannot be written.
    """
    config, film = stage.config, stage.film
    total = num_frames(config)
    chosen = [f for f in range(total) if f % config.truth_every == config.truth_every - 1] or [total - 1]
    views = sorted({chosen[int(i)] for i in np.linspace(0, len(chosen) - 1, _VIEW_FRAMES).round()})
    views = views if config.extra_views else []
    shaped = film.performer.shaped
    points = body_points(stage.body, shaped.vertices_rest[: film.performer.num_body_vertices], shaped.joints_rest)
    with atomic_path(out_dir) as folder:
        for name in (files.MASKS_NAME, files.DEPTH_NAME, files.NORMALS_NAME, files.PARTS_NAME):
            (folder / name).mkdir(parents=True)
        index = _index(stage, points, chosen, views)
        landmarks, visible = _film(folder, stage, points, index, emit)
        if views:
            (folder / files.VIEWS_FOLDER).mkdir()
            files.write_struct(folder / files.VIEWS_NAME, _views(folder, film, index, emit))
        files.write_struct(folder / files.MESH_NAME, _mesh(film, chosen))
        files.write_struct(folder / files.VALUES_NAME, _values(stage, landmarks, visible))
        files.write_index(folder, index)


def _film(
    folder: Path, stage: Stage, points: Points, index: TruthIndex, emit: Callable[[Event], None]
) -> tuple[Tensor, Tensor]:
    """The video, the masks and the chosen frames' pictures. Returns landmarks in the world and whether they are seen."""
    film, performance = stage.film, stage.choreography.performance

    def also(frame: int) -> tuple[Tensor, Tensor]:
        camera, image = film.path.camera(frame), film.plain_image(frame)
        pose = Pose(rotvecs=performance.rotvecs[frame], translation_world_m=film.actor.translations_world_m[frame])
        joints = film.performer.shaped.with_pose(pose).joints_world
        world = points.world(joints, film.vertices_world(frame)[: film.performer.num_body_vertices])
        if frame in index.frames:
            _write_pictures(folder, film, frame, image, index.depth_step_m)
        return world, points.visible(image, world, camera)

    size = {"width_px": index.width_px, "height_px": index.height_px}
    landmarks, visible = [], []
    with VideoWriter(folder / files.VIDEO_NAME, index.fps_hz, **size, bitrate_bps=index.bitrate_bps) as video:
        for frame, (shot, (world, seen)) in enumerate(film.shots(also)):
            video.write(shot.rgb)
            files.write_image(folder / files.MASKS_NAME / files.frame_name(frame), shot.mask)
            landmarks.append(world)
            visible.append(seen)
            emit(Progress(stage="synthesise", done=frame + 1, total=index.num_frames, unit="frames"))
    return torch.stack(landmarks), torch.stack(visible)


def _write_pictures(folder: Path, film: Film, frame: int, image: MeshImage, step_m: float) -> None:
    """Depth, normals and parts of one frame."""
    name = files.frame_name(frame)
    files.write_image(folder / files.DEPTH_NAME / name, depth_steps(image, step_m))
    files.write_image(folder / files.NORMALS_NAME / name, _normals(film, frame, image))
    files.write_image(folder / files.PARTS_NAME / name, part_labels(film, image))


def depth_steps(image: MeshImage, step_m: float) -> UInt16[ndarray, "height width"]:
    """Depth in steps; 0 where the performer is not."""
    depth = image.depth.double().numpy()
    return np.where(np.isfinite(depth), np.rint(np.minimum(depth, 1e3) / step_m).clip(1, 65535), 0).astype(np.uint16)


def part_labels(film: Film, image: MeshImage) -> ndarray:
    """Part of the nearest corner of the face that each pixel shows, plus 1; 0 where the performer is not."""
    faces = film.performer.faces.numpy()
    parts = film.performer.vertex_parts.numpy()
    face, weights = image.face_index.numpy(), image.barycentric.numpy()
    corner = np.take_along_axis(faces[face], weights.argmax(-1)[..., None], -1)[..., 0]
    return np.where(face >= 0, parts[corner] + 1, 0).astype(np.uint8)


def _normals(film: Film, frame: int, image: MeshImage) -> UInt16[ndarray, "height width 3"]:
    from bodydouble.synth.shading import posed_normals

    world = film.vertices_world(frame).double().numpy()
    normals = np.empty(world.shape)
    posed_normals(world, film.performer.faces.numpy(), normals)
    seen = interpolate(image, film.performer.faces, torch.from_numpy(normals))
    unit = torch.nn.functional.normalize(seen, dim=-1).numpy()
    return np.where(image.mask.numpy()[..., None], np.rint(unit * 32767.0) + 32768.0, 0.0).astype(np.uint16)


def _views(folder: Path, film: Film, index: TruthIndex, emit: Callable[[Event], None]) -> TruthViews:
    """Render the extra views, evenly around the performer."""
    cameras: list[Camera] = []
    frames, numbers = [], []
    total = len(index.view_frames) * index.num_views
    for frame in index.view_frames:
        for number in range(index.num_views):
            camera = view_camera(film, frame, number, index.num_views)
            picture = np.rint(film.portrait(frame, camera) * 255).astype(np.uint8)
            files.write_image(folder / files.VIEWS_FOLDER / files.view_name(frame, number), picture)
            cameras.append(camera)
            frames.append(frame)
            numbers.append(number)
            emit(Progress(stage="extra views", done=len(cameras), total=total, unit="views"))
    return TruthViews(
        frame_indices=torch.tensor(frames),
        numbers=torch.tensor(numbers),
        focal_px=torch.stack([c.focal_px for c in cameras]),
        center_px=torch.stack([c.center_px for c in cameras]),
        T_camera_world=torch.stack([c.T_camera_world for c in cameras]),
    )


def view_camera(film: Film, frame: int, number: int, count: int) -> Camera:
    """An extra camera: as far away as the frame's own, from another side and height."""
    own = film.path.camera(frame)
    eye = film.path.eyes_world()[frame].double()
    target = film.roots_world[frame].double().clone()
    target[1] = film.scene.floor_m + 0.95
    away = (eye - target)[[0, 2]]
    azimuth = math.atan2(float(away[0]), float(away[1])) + 2 * math.pi * (number + 1) / (count + 1)
    elevation = math.radians((6.0, 22.0, -4.0)[number % 3])
    distance = max(float(away.norm()), 2.0)
    flat = distance * math.cos(elevation)
    offset = torch.tensor(
        [flat * math.sin(azimuth), distance * math.sin(elevation), flat * math.cos(azimuth)], dtype=torch.float64
    )
    camera = look_at_camera(
        target + offset, target, width_px=own.width_px, height_px=own.height_px, focal_px=float(own.focal_px[0])
    )
    return camera.replace(T_camera_world=camera.T_camera_world.float())


def _mesh(film: Film, chosen: list[int]) -> TruthMesh:
    performer = film.performer
    centers, steps = [], []
    for frame in chosen:
        world = film.vertices_world(frame)
        center = (world.amin(0) + world.amax(0)) / 2
        centers.append(center)
        steps.append(quantised(world, center))
    return TruthMesh(
        faces=performer.faces.int(),
        face_material=performer.face_material.to(torch.uint8),
        vertex_parts=performer.vertex_parts.to(torch.uint8),
        vertices_rest_m=performer.shaped.vertices_rest,
        frame_indices=torch.tensor(chosen, dtype=torch.int32),
        centers_world_m=torch.stack(centers),
        steps=torch.stack(steps),
    )


def quantised(points: Float[Tensor, "n 3"], center: Float[Tensor, "3"]) -> Tensor:
    """Points as 16-bit multiples of the mesh's step."""
    return ((points - center) / files.MESH_STEP_M).round().clamp(-32767, 32767).to(torch.int16)


def _values(stage: Stage, landmarks: Tensor, visible: Tensor) -> TruthValues:
    film, performance = stage.film, stage.choreography.performance
    path, translations = film.path, film.actor.translations_world_m
    pose = Pose(rotvecs=performance.rotvecs, translation_world_m=translations)
    pixels = [path.camera(f).project(landmarks[f])[0] for f in range(len(landmarks))]
    return TruthValues(
        shape=film.performer.body_shape,
        rotvecs=performance.rotvecs,
        translation_world_m=translations,
        expression=performance.expression,
        joints_world_m=film.performer.shaped.with_pose(pose).joints_world,
        landmarks_world_m=landmarks,
        landmarks_px=torch.stack(pixels),
        landmarks_visible=visible,
        focal_px=path.focal_px,
        center_px=path.center_px,
        T_camera_world=path.T_camera_world,
    )


def _index(stage: Stage, points: Points, chosen: list[int], views: list[int]) -> TruthIndex:
    config, film = stage.config, stage.film
    furthest = 2.0 + float((film.path.eyes_world() - film.roots_world).norm(dim=-1).max())
    return TruthIndex(
        seed=config.seed,
        motion=Path(config.motion).name,
        camera=config.camera,
        scene=film.scene.kind,
        body=stage.body.name,
        width_px=config.size[0],
        height_px=config.size[1],
        fps_hz=float(config.fps),
        num_frames=num_frames(config),
        bitrate_bps=stage.bitrate_bps,
        shutter=config.sensor.shutter,
        grain=config.sensor.grain,
        floor_m=film.scene.floor_m,
        frames=tuple(chosen),
        view_frames=tuple(views),
        num_views=config.extra_views if views else 0,
        depth_step_m=max(_DEPTH_STEP_M, math.ceil(furthest / _DEPTH_STEPS / 1e-4) * 1e-4),
        num_body_vertices=film.performer.num_body_vertices,
        shape_names=stage.body.shape_names,
        bone_names=stage.body.bone_names,
        action_names=stage.body.action_names,
        landmark_names=points.names,
        landmark_vertices=tuple(points.vertices.tolist()),
        part_names=stage.body.part_names,
        material_names=_material_names(film),
        generator=f"bodydouble {__version__}",
    )


def _material_names(film: Film) -> tuple[str, ...]:
    """Built-in materials, then the pieces of a wardrobe in their order."""
    names = [m.name.lower() for m in Material]
    count = int(film.performer.face_material.max()) + 1
    return (*names, *(f"wardrobe_{k}" for k in range(len(names), count)))
