"""What a trained surface leaves beside the avatar: masks, the empty scene, the video without the person, and sheets to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from bodydouble.avatar.values import Mesh, Rig
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture, read_mask
from bodydouble.capture.video import Frame
from bodydouble.capture.video_write import VideoWriter
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.events import Event, Progress
from bodydouble.core.files import atomic_path
from bodydouble.core.normals import vertex_normals
from bodydouble.perceive.telling import Window
from bodydouble.reconstruct.surface.bake import frame_vertices, spread
from bodydouble.reconstruct.surface.textured import welded
from bodydouble.reconstruct.surface.values import SurfaceResult
from bodydouble.reconstruct.surface.world_pictures import WorldPictures
from bodydouble.render.mesh import MeshImage, interpolate, rasterize_mesh
from bodydouble.render.texture import draw_mesh
from bodydouble.render.threads import stream_side_by_side

_GROWN_PX = 0.012
"""Around the mask, so many of the picture's longer sides are the world's, too: hair, hems and motion blur lie there."""
_GREY = torch.tensor([0.62, 0.63, 0.65])
_UNSEEN = torch.tensor([0.86, 0.29, 0.55])


@dataclass(frozen=True, kw_only=True)
class Decomposed:
    """One frame taken apart; pictures of one size."""

    frame_index: int
    time_s: float
    frame: UInt8[ndarray, "height width 3"]
    person: UInt8[ndarray, "height width 3"]
    world: UInt8[ndarray, "height width 3"]
    normals: UInt8[ndarray, "height width 3"]
    mesh: UInt8[ndarray, "height width 3"]


def write_world(result: SurfaceResult, path: Path) -> None:
    """The scene without the person as a PNG, in the exposure of the middle frame."""
    from PIL import Image

    track = result.track
    middle = int(result.frame_indices[len(result.frame_indices) // 2])
    picture, _ = WorldPictures(result.world, (track.width_px, track.height_px))(middle)
    with atomic_path(path) as partial:
        Image.fromarray(_bytes(picture)).save(partial, format="PNG")


def write_removed(
    result: SurfaceResult, capture: Capture, masks: Path, removed: Path, emit: Callable[[Event], None]
) -> None:
    """The video with the world in the person's place.

    Args:
        result, capture: The training and its video.
        masks: Folder with the person's mask of every frame of the track.
        removed: An .mp4 of the video's size.
        emit: Told about progress.
    """
    track = result.track
    indices = track.frame_indices.tolist()
    shown = WorldPictures(result.world, (track.width_px, track.height_px))

    def without_person(frame: Frame) -> UInt8[ndarray, "height width 3"]:
        mask = read_mask(masks, frame.index, (track.height_px, track.width_px))
        assert mask is not None, "every frame of the track has a mask"
        alpha = mask.astype(np.float32) / np.float32(255.0)
        return person_removed(lambda part: shown(frame.index, part)[0], frame.rgb, alpha)

    with VideoWriter(removed, capture.info.fps_hz, track.width_px, track.height_px) as video:
        for done, picture in enumerate(stream_side_by_side(without_person, capture.frames(indices)), start=1):
            video.write(picture)
            emit(Progress(stage="decompose", done=done, total=len(indices), unit="frames"))


def decompose(
    result: SurfaceResult,
    capture: Capture,
    body: BodyModel,
    mesh: Mesh,
    rig: Rig,
    *,
    count: int = 4,
    height_px: int = 420,
) -> list[Decomposed]:
    """A few frames taken apart: the frame, the person alone, the world alone, the surface's normals, the mesh.

    Args:
        result, capture, body: The training, its video and its body.
        mesh, rig: The baked mesh.
        count: How many frames, evenly chosen from those trained on.
        height_px: Of the pictures, at most.
    """
    from bodydouble.reconstruct.surface.render import SurfaceRenderer, render_frame

    track = result.track
    row_of = {int(index): row for row, index in enumerate(track.frame_indices)}
    scale = min(1.0, height_px / track.height_px)
    renderer = SurfaceRenderer(result.field, body)
    shown = WorldPictures(result.world, (track.width_px, track.height_px))
    places, faces, owner = welded(mesh)
    found = []
    for frame in capture.frames(spread(result.frame_indices.tolist(), count)):
        row = row_of[frame.index]
        image = render_frame(result, renderer, frame.index, scale)
        height, width = image.alpha.shape
        camera = video_camera(track.width_px, track.height_px, track.focal_px).cropped(
            0.0, 0.0, (float(track.width_px), float(track.height_px)), (width, height)
        )
        drawn = _clay(frame_vertices(mesh, rig, track, row), faces, owner, len(places), camera)
        world, _ = shown(frame.index)
        found.append(
            Decomposed(
                frame_index=frame.index,
                time_s=float(track.times_s[row]),
                frame=_resized(frame.rgb, width, height),
                person=_bytes(image.rgb + (1.0 - image.alpha[..., None]) * _GREY),
                world=_resized(_bytes(world), width, height),
                normals=_bytes(torch.where((image.alpha > 0.5)[..., None], 0.5 + 0.5 * image.normals_world, _GREY)),
                mesh=_bytes(drawn),
            )
        )
    return found


def seen_pictures(
    mesh: Mesh, seen: Float[Tensor, " verts"], *, height_px: int = 520
) -> tuple[UInt8[ndarray, "height width 3"], UInt8[ndarray, "height width 3"]]:
    """The mesh at rest from the front and from the back; what the video never showed is coloured.

    Args:
        mesh: In the rest pose.
        seen: In [0, 1], of each vertex.
    """
    low, high = mesh.vertices_rest_m.amin(0), mesh.vertices_rest_m.amax(0)
    middle, size = (low + high) / 2, high - low
    width_px = int(height_px * float(size[0] / size[1]) * 1.04) // 2 * 2
    distance = 6.0
    colors = _UNSEEN + seen[:, None] * (torch.tensor([0.80, 0.80, 0.79]) - _UNSEEN)
    normals = vertex_normals(mesh.vertices_rest_m, mesh.faces)
    pictures = []
    for side in (1.0, -1.0):
        # Looking along -Z or +Z, +Y up: rows of the rotation are the camera's axes.
        R = torch.tensor([[side, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -side]])
        T = torch.eye(4)
        T[:3, :3] = R
        T[:3, 3] = -R @ (middle + torch.tensor([0.0, 0.0, side * distance]))
        camera = Camera(
            width_px=width_px,
            height_px=height_px,
            focal_px=torch.full((2,), float(0.96 * height_px / size[1]) * distance),
            center_px=torch.tensor([width_px / 2.0, height_px / 2.0]),
            T_camera_world=T,
        )
        shade = 0.45 + 0.55 * (normals[:, 2] * side).clamp(0.0, 1.0)
        drawn = draw_mesh(
            mesh.vertices_rest_m, mesh.faces, camera, colors=colors * shade[:, None], background=torch.ones(3)
        )
        pictures.append(_bytes(drawn.rgb))
    return pictures[0], pictures[1]


def _clay(
    vertices: Float[Tensor, "verts 3"], faces: Tensor, owner: Tensor, count: int, camera: Camera
) -> Float[Tensor, "height width 3"]:
    """The mesh as plain clay, lit from the camera's upper left, with smooth normals across texture seams."""
    places = torch.zeros(count, 3)
    places[owner] = vertices
    double = camera.cropped(
        0.0, 0.0, (float(camera.width_px), float(camera.height_px)), (2 * camera.width_px, 2 * camera.height_px)
    )
    image: MeshImage = rasterize_mesh(places, faces, double)
    normals = torch.nn.functional.normalize(interpolate(image, faces, vertex_normals(places, faces)), dim=-1)
    light = torch.nn.functional.normalize(torch.tensor([-0.4, 0.5, 0.8]), dim=0)
    shade = 0.28 + 0.62 * (normals @ light).clamp(0.0, 1.0)
    clay = torch.where(image.mask[..., None], shade[..., None] * torch.tensor([0.98, 0.95, 0.92]), _GREY)
    return clay.reshape(camera.height_px, 2, camera.width_px, 2, 3).mean((1, 3))


def person_removed(
    world: Callable[[Window], Float[Tensor, "rows columns 3"]],
    rgb: UInt8[ndarray, "height width 3"],
    alpha: Float[ndarray, "height width"],
) -> UInt8[ndarray, "height width 3"]:
    """A frame with the world where the person is, and softly around.

    Args:
        world: What a part of the frame would show without the person, sRGB in [0, 1].
        rgb: The frame.
        alpha: How much of each pixel the person covers.
    """
    import cv2

    radius = max(2, round(_GROWN_PX * max(alpha.shape)))
    rows, columns = (np.flatnonzero(alpha.any(axis)) for axis in (1, 0))
    if not len(rows):
        return rgb
    # Beyond so many pixels neither the grown mask nor its blur reaches.
    reach = 3 * radius + 2
    near = [
        slice(max(0, int(k[0]) - reach), min(side, int(k[-1]) + 1 + reach))
        for k, side in zip((rows, columns), alpha.shape, strict=True)
    ]
    part = near[0], near[1]
    grown = cv2.dilate(alpha[part], np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
    share = cv2.GaussianBlur(grown, (0, 0), radius / 2.0).clip(0.0, 1.0)[..., None]
    without = rgb.copy()
    without[part] = rgb[part] * (1.0 - share) + 255.0 * world(part).numpy() * share + 0.5
    return without


def _resized(picture: UInt8[ndarray, "h w 3"], width_px: int, height_px: int) -> UInt8[ndarray, "height width 3"]:
    import cv2

    return cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_AREA)


def _bytes(picture: Float[Tensor, "height width 3"]) -> UInt8[ndarray, "height width 3"]:
    return (picture.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8).numpy()
