"""Filming a performer in a room: poses, light, shadows and the camera's picture, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.render.mesh import MeshImage, rasterize_mesh, visible_vertices
from bodydouble.synth.actor import Actor
from bodydouble.synth.motion import Performance
from bodydouble.synth.performer import Performer
from bodydouble.synth.room import Lights, Room
from bodydouble.synth.surface import Smoother

_SKY_DIRECTIONS = 14
_SKY_EVERY = 8
"""Openness to the sky is computed for every so many frames and interpolated between."""
_SKY_MAP_PX = 176
_LAMP_MAP_PX = 640
_REACH_M = 1.35
"""Radius of a sphere around the performer's middle that holds all of it."""
_EXPOSURE = 1.12
_GRAIN = 1.1
_WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One frame."""

    rgb: UInt8[ndarray, "height width 3"]
    mask: UInt8[ndarray, "height width"]
    """How much of each pixel the performer covers, 0 to 255."""


class Film:
    """Renders any frame of a performance; frames are independent of each other.

    Args:
        floor_m: Height of the floor in the camera's world.
        person_m: Where the performer stands, along Z.
    """

    def __init__(
        self,
        performer: Performer,
        performance: Performance,
        lights: Lights,
        room: Room,
        camera: Camera,
        *,
        floor_m: float,
        person_m: float,
        fps_hz: float,
    ) -> None:
        self.performer, self.performance, self.camera = performer, performance, camera
        self._lights, self._room = lights, room
        self.translations_world_m = self._stand_on_floor(floor_m, person_m)
        self.actor = Actor(performer, performance, self.translations_world_m, fps_hz=fps_hz)
        self._middle = torch.tensor([0.0, floor_m + 0.95, person_m])
        self._faces = performer.faces.numpy()
        self._materials = performer.face_material.numpy()
        self._coordinates = performer.coordinates.double().numpy()
        self._palette = performer.palette.double().numpy()
        self._eyes = performer.eyes_rest_m.double().numpy()
        self._directions = _sphere(_SKY_DIRECTIONS)
        self._smoother = Smoother(self._faces, len(performer.coordinates))

    @property
    def num_frames(self) -> int:
        return len(self.performance.rotvecs)

    def _stand_on_floor(self, floor_m: float, person_m: float) -> Float[Tensor, "frames 3"]:
        """Translations that put the lowest point of the soles on the floor in every frame."""
        performer, performance = self.performer, self.performance
        soles = performer.ground_vertices
        rig = performer.shaped.rig
        shoes = performer.shaped.replace(
            vertices_rest=performer.shaped.vertices_rest[soles],
            rig=rig.replace(skin_joints=rig.skin_joints[soles], skin_weights=rig.skin_weights[soles]),
        )
        pose = Pose(rotvecs=performance.rotvecs, translation_world_m=torch.zeros(self.num_frames, 3))
        translations = performance.sway_m.clone()
        translations[:, 1] += floor_m - shoes.with_pose(pose).vertices()[..., 1].amin(1)
        translations[:, 2] += person_m - performer.shaped.joints_rest[0, 2]
        return translations

    def vertices_world(self, frame: int) -> Float[Tensor, "verts 3"]:
        """The dressed body in one frame, metres."""
        return self.actor.vertices_world(frame)

    def shots(self) -> Iterator[Shot]:
        """All frames in order, a few of them rendered ahead."""
        keys = sorted({*range(0, self.num_frames, _SKY_EVERY), self.num_frames - 1})
        with ThreadPoolExecutor(_WORKERS) as workers:
            skies: dict[int, Future] = {}
            shots: list[Future] = []
            for frame in range(self.num_frames):
                before = max(key for key in keys if key <= frame)
                after = min(key for key in keys if key >= frame)
                for key in (before, after):
                    if key not in skies:
                        skies[key] = workers.submit(self._openness, key)
                share = (frame - before) / max(after - before, 1)
                shots.append(workers.submit(self._shoot, frame, skies[before], skies[after], share))
                if len(shots) > 2 * _WORKERS:
                    yield shots.pop(0).result()
                for key in [key for key in skies if key < before - _SKY_EVERY]:
                    del skies[key]
            for shot in shots:
                yield shot.result()

    def _openness(self, frame: int) -> tuple[ndarray, ndarray]:
        """How much of its surroundings each vertex sees, and each point of the room's grids: 0 to 1."""
        from scipy.ndimage import gaussian_filter

        from bodydouble.synth.shading import posed_normals

        world = self.vertices_world(frame)
        normals = np.empty(world.shape)
        posed_normals(world.double().numpy(), self._faces, normals)
        seen, most = np.zeros(len(world)), np.full(len(world), 1e-6)
        grid = torch.from_numpy(self._room.grid_points).float().reshape(-1, 3)
        plane_normals = np.repeat(self._room.grid_normals, len(grid) // 2, axis=0)
        grid_seen, grid_most = np.zeros(len(grid)), np.full(len(grid), 1e-6)
        for direction in self._directions:
            image, camera = self._seen_from(world, direction, _SKY_MAP_PX, 14.0)
            cosine = np.maximum(normals @ direction, 0.0)
            visible = visible_vertices(image, world, camera, tolerance_m=0.02).numpy()
            seen, most = seen + cosine * visible, most + cosine
            cosine = np.maximum(plane_normals @ direction, 0.0)
            if cosine.any():
                grid_seen += cosine * _unshadowed(image, grid, camera)
                grid_most += cosine
        openness = self._smoother((seen / most)[:, None], 2)[:, 0]
        grid_open = (grid_seen / grid_most).reshape(self._room.grid_points.shape[:3])
        # A few directions stand for the whole sky: blur away their separate shadows.
        return openness, np.stack([gaussian_filter(grid_open[0], 1.5), gaussian_filter(grid_open[1], 7.0)])

    def _seen_from(self, world: Tensor, direction: ndarray, size_px: int, away_m: float) -> tuple[MeshImage, Camera]:
        """What a distant observer sees of the performer."""
        toward = torch.from_numpy(direction).float()
        camera = look_at_camera(
            self._middle + away_m * toward,
            self._middle,
            width_px=size_px,
            height_px=size_px,
            focal_px=size_px * away_m / (2 * _REACH_M),
        )
        return rasterize_mesh(world, self.performer.faces, camera), camera

    def _shoot(self, frame: int, before: Future, after: Future, share: float) -> Shot:
        from bodydouble.synth import person_shading, shading

        world = self.vertices_world(frame)
        points = world.double().numpy()
        normals = np.empty(points.shape)
        shading.posed_normals(points, self._faces, normals)
        (sky_a, grid_a), (sky_b, grid_b) = before.result(), after.result()
        sky, sky_grid = sky_a + (sky_b - sky_a) * share, grid_a + (grid_b - grid_a) * share
        lamp_image, lamp_camera = self._seen_from(world, self._lights.to_lamp, _LAMP_MAP_PX, 9.0)
        lamp = np.concatenate(
            [
                lamp_camera.T_camera_world.double().numpy().ravel(),
                [float(lamp_camera.focal_px[0]), float(lamp_camera.center_px[0])],
            ]
        )
        x0, y0, width, height = self._box(world)
        fine = rasterize_mesh(
            world,
            self.performer.faces,
            self.camera.cropped(float(x0), float(y0), (float(width), float(height)), (2 * width, 2 * height)),
        )
        person = np.zeros((height, width, 4))
        person_shading.shade_person(
            fine.face_index.numpy(),
            fine.barycentric.numpy(),
            self._faces,
            self._materials,
            np.concatenate([points, normals, sky[:, None], self._coordinates], axis=1),
            self._palette,
            self._eyes,
            self._lights.rows(),
            lamp,
            lamp_image.depth.numpy(),
            person,
        )
        rgb = self._compose(frame, person, x0, y0, self._lamp_grid(lamp_image, lamp_camera), sky_grid)
        mask = np.zeros(rgb.shape[:2], np.uint8)
        mask[y0 : y0 + height, x0 : x0 + width] = np.rint(person[..., 3] * 255)
        return Shot(rgb=rgb, mask=mask)

    def _compose(self, frame: int, person: ndarray, x0: int, y0: int, lamp_grid: ndarray, sky_grid: ndarray) -> ndarray:
        from bodydouble.synth import shading

        room = self._room
        lamp, sky = np.empty(room.plane.shape), np.empty(room.plane.shape)
        shading.background_light(room.plane, room.cell, lamp_grid, sky_grid, lamp, sky)
        rgb = np.empty((*room.plane.shape, 3), np.uint8)
        shading.compose(person, x0, y0, room.lamp_rgb, room.sky_rgb, lamp, sky, _EXPOSURE, _GRAIN, frame, rgb)
        return rgb

    def _lamp_grid(self, image: MeshImage, camera: Camera) -> ndarray:
        """Which points of the room the lamp reaches; softer further behind the performer."""
        from scipy.ndimage import gaussian_filter

        points = self._room.grid_points
        lit = _unshadowed(image, torch.from_numpy(points).float().reshape(-1, 3), camera).reshape(points.shape[:3])
        return np.stack([gaussian_filter(lit[0].astype(float), 0.7), gaussian_filter(lit[1].astype(float), 1.6)])

    def _box(self, world: Tensor) -> tuple[int, int, int, int]:
        """Corner and size of a rectangle of the picture that holds the performer, pixels."""
        pixels, _ = self.camera.project(world)
        low = pixels.amin(0).floor() - 2
        high = pixels.amax(0).ceil() + 2
        limit = torch.tensor([self.camera.width_px, self.camera.height_px])
        low, high = low.clamp(min=0), torch.minimum(high, limit)
        x0, y0 = (int(v) for v in torch.minimum(low, limit - 1))
        return x0, y0, max(int(high[0]) - x0, 1), max(int(high[1]) - y0, 1)


def _unshadowed(image: MeshImage, points: Tensor, camera: Camera) -> ndarray:
    """Points that an observer sees; those outside its picture are taken as seen."""
    pixels, depth = camera.project(points)
    column, row = pixels[:, 0].floor().long(), pixels[:, 1].floor().long()
    size = camera.width_px
    inside = (column >= 0) & (row >= 0) & (column < size) & (row < size)
    nearest = image.depth[row.clamp(0, size - 1), column.clamp(0, size - 1)]
    return (~inside | (depth <= nearest + 0.02)).numpy()


def _sphere(count: int) -> Float[ndarray, "count 3"]:
    """Directions spread evenly over the sphere (a Fibonacci spiral), none straight up."""
    index = np.arange(count) + 0.5
    y = 1 - 2 * index / count
    angle = np.pi * (1 + 5**0.5) * index
    r = np.sqrt(1 - y * y)
    return np.stack([r * np.cos(angle), y, r * np.sin(angle)], 1)
