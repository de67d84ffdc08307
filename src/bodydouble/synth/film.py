"""Filming a performer in a scene: poses, light, shadows, motion blur and the camera's picture, frame by frame.

A frame is exposed for a share of its time, in the middle of which its truth holds. Four samples of each pixel, at four
places of it, stand for the exposure; where something moves fast they are taken at four (or twice four) times, so that
what is blurred in the picture is blurred in the mask too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from bodydouble.core.cameras import Camera
from bodydouble.render.mesh import MeshImage, rasterize_mesh
from bodydouble.synth.actor import Actor
from bodydouble.synth.cameras import CameraPath
from bodydouble.synth.person_light import FLOOR_CELL_M, REACH_M, Lit, Openness, PersonLight, shadow_maps
from bodydouble.synth.scene import Layers, Scene

_SKY_EVERY = 8
"""Openness to the sky is computed for every so many frames and interpolated between."""
_LAMP_SOFTNESS = 0.055
"""How much wider a shadow's edge is for each metre behind the performer."""
_EXPOSURE = 1.12
_WORKERS = 2
_SUBPIXELS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Column and row of the four samples of a pixel."""
_STILL_PX, _FAST_PX = 0.8, 12.0
"""Motion during the exposure from which the samples are taken at different times, and at twice as many."""
_GHOSTS_PX = 4.5
"""Motion of far things during the exposure from which four samples would show as four."""
_SHADOW_STILL_M = 0.008
"""A performer that moves less during the exposure keeps one shadow map; otherwise every two samples share one."""
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One frame."""

    rgb: UInt8[ndarray, "height width 3"]
    mask: UInt8[ndarray, "height width"]
    """How much of each pixel the performer covers, 0 to 255."""


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """How the camera records light."""

    shutter: float = 0.5
    """Share of a frame's time during which light is taken in; 0 for no motion blur."""
    grain: float = 1.1
    """Standard deviation of the noise in middle tones, 8-bit steps; grows with the root of the light."""


class Film:
    """Renders any frame of a performance; frames are independent of each other.

    Args:
        actor: Who moves how.
        scene: Where.
        path: The camera of each frame.
        sensor: Exposure and noise.
    """

    def __init__(self, actor: Actor, scene: Scene, path: CameraPath, sensor: Sensor | None = None) -> None:
        self.actor, self.scene, self.path = actor, scene, path
        self.performer, self.sensor = actor.performer, sensor or Sensor()
        self._faces = self.performer.faces.numpy()
        self._materials = self.performer.face_material.numpy()
        self._coordinates = self.performer.coordinates.double().numpy()
        self._palette = self.performer.palette.double().numpy()
        self._eyes = self.performer.eyes_rest_m.double().numpy()
        self._light = PersonLight(self.performer, scene)
        joints = self.performer.shaped.joints_rest[0]
        self.roots_world = actor.translations_world_m + joints
        self._still: Layers | None = None if path.moves else self._layers(0)
        self._vertices: dict[int, Tensor] = {}

    @property
    def num_frames(self) -> int:
        return self.actor.num_frames

    def vertices_world(self, frame: int) -> Float[Tensor, "verts 3"]:
        """The dressed body in the middle of a frame's exposure, metres."""
        found = self._vertices.get(frame)
        if found is None:
            found = self.actor.vertices_world(frame)
            self._vertices[frame] = found
            for old in [k for k in list(self._vertices) if abs(k - frame) > 12]:
                self._vertices.pop(old, None)
        return found

    def vertices_at(self, frame: int, later: float) -> Float[Tensor, "verts 3"]:
        """The dressed body a part of a frame's time later: a parabola through the frame and its neighbours.

        Args:
            frame: Number of the frame.
            later: In frames, between -1 and 1.
        """
        here = self.vertices_world(frame)
        if later == 0 or self.num_frames < 2:
            return here
        before = self.vertices_world(frame - 1) if frame > 0 else None
        after = self.vertices_world(frame + 1) if frame + 1 < self.num_frames else None
        if before is None:
            assert after is not None
            before = 2 * here - after
        elif after is None:
            after = 2 * here - before
        return here + later * (after - before) / 2 + later**2 * (after - 2 * here + before) / 2

    def shots(self, also: Callable[[int], _T] = lambda frame: None) -> Iterator[tuple[Shot, _T]]:
        """All frames in order, a few of them rendered ahead.

        Args:
            also: Called with each frame's number by the same worker; its result is given along.
        """
        keys = sorted({*range(0, self.num_frames, _SKY_EVERY), self.num_frames - 1})
        with ThreadPoolExecutor(_WORKERS) as workers:
            skies: dict[int, Future[Openness]] = {}
            shots: list[Future[tuple[Shot, _T]]] = []

            def shoot(frame: int, before: Future[Openness], after: Future[Openness], share: float) -> tuple[Shot, _T]:
                return self._shoot(frame, before.result().towards(after.result(), share)), also(frame)

            try:
                for frame in range(self.num_frames):
                    before = max(key for key in keys if key <= frame)
                    after = min(key for key in keys if key >= frame)
                    for key in (before, after):
                        if key not in skies:
                            skies[key] = workers.submit(self._openness, key)
                    share = (frame - before) / max(after - before, 1)
                    shots.append(workers.submit(shoot, frame, skies[before], skies[after], share))
                    if len(shots) > 2 * _WORKERS:
                        yield shots.pop(0).result()
                    for key in [key for key in skies if key < before - _SKY_EVERY]:
                        del skies[key]
                for shot in shots:
                    yield shot.result()
            finally:
                workers.shutdown(wait=True, cancel_futures=True)

    def portrait(self, frame: int, camera: Camera) -> Float[ndarray, "height width 4"]:
        """The performer alone, sharp, from any camera: sRGB in [0, 1] (not multiplied by coverage) and coverage."""
        from bodydouble.synth import shading

        linear = np.zeros((camera.height_px, camera.width_px, 4))
        lit = self._lit(frame, 0.0)
        sky = self._openness_between(frame)
        self._add_person(lit, sky.vertices, camera, None, linear, (0, 0, camera.width_px, camera.height_px))
        cover = linear[..., 3:]
        shown = np.empty((*linear.shape[:2], 3))
        shading.develop(np.ascontiguousarray(linear[..., :3] / np.maximum(cover, 1e-6)), _EXPOSURE, shown)
        return np.concatenate([np.where(cover > 0, shown, 0.0), cover], axis=2)

    def plain_image(self, frame: int) -> MeshImage:
        """Face, weights and depth at the pixels' centres, in the middle of the exposure."""
        return rasterize_mesh(self.vertices_world(frame), self.performer.faces, self.path.camera(frame))

    # --- light ---

    def _middle(self, frame: int) -> Float[Tensor, "3"]:
        return self._light.middle(self.roots_world[frame])

    def _lit(self, frame: int, later: float, under: Lit | None = None) -> Lit:
        """The performer at a moment; `under` gives the shadow map of another moment close by."""
        return self._light.lit(self.vertices_at(frame, later), self._middle(frame), under)

    def _openness(self, frame: int) -> Openness:
        return self._light.openness(self.vertices_world(frame), self._middle(frame))

    def _moments(self, frame: int, times: int, still: Lit) -> Iterator[tuple[float, Lit]]:
        """When the samples of a frame are taken, and the performer then."""
        half = self.sensor.shutter / 2
        ends = self.vertices_at(frame, half) - self.vertices_at(frame, -half)
        shadow = still if float(torch.quantile(ends.norm(dim=-1), 0.995)) < _SHADOW_STILL_M else None
        latest = shadow
        for k in range(times):
            later = self.sensor.shutter * ((k + 0.5) / times - 0.5)
            if shadow is None and k % 2 == 0:
                latest = None
            latest = self._lit(frame, later, latest)
            yield later, latest

    def _openness_between(self, frame: int) -> Openness:
        before = frame - frame % _SKY_EVERY
        after = min(before + _SKY_EVERY, self.num_frames - 1)
        share = (frame - before) / max(after - before, 1)
        found = self._openness(before)
        return found if share == 0 else found.towards(self._openness(after), share)

    # --- pictures ---

    def _layers(self, frame: int) -> Layers:
        """The empty scene: four samples of each pixel, more where the camera turns so fast that they would be seen."""
        half = self.sensor.shutter / 2
        times = 4
        if self.path.moves and half:
            ends = [self.path.camera_at(frame, t) for t in (-half, half)]
            far = ends[0].T_camera_world.inverse() @ torch.tensor([0.0, 0.0, 50.0, 1.0])
            moved = float((ends[1].project(far[:3])[0] - ends[0].project(far[:3])[0]).norm())
            times = 4 if moved < _GHOSTS_PX else 8 if moved < 2.5 * _GHOSTS_PX else 16
        samples = []
        for k in range(times):
            column, row = _SUBPIXELS[k % 4]
            later = self.sensor.shutter * ((k + 0.5) / times - 0.5) if self.path.moves else 0.0
            samples.append((self.path.camera_at(frame, later), (0.5 * column - 0.25, 0.5 * row - 0.25)))
        return self.scene.layers(samples)

    def _times(self, frame: int) -> int:
        """At how many times the frame's samples are taken."""
        half = self.sensor.shutter / 2
        if half == 0 or self.num_frames < 2:
            return 1
        ends = [self.path.camera_at(frame, t).project(self.vertices_at(frame, t))[0] for t in (-half, half)]
        moved = float(torch.quantile((ends[1] - ends[0]).norm(dim=-1), 0.995))
        times = 1 if moved < _STILL_PX else 4 if moved < _FAST_PX else 8
        return max(times, 4) if self.path.moves else times

    def _shoot(self, frame: int, openness: Openness) -> Shot:
        times = self._times(frame)
        box = self._box(frame)
        x0, y0, width, height = box
        person = np.zeros((height, width, 4))
        lit = self._lit(frame, 0.0)
        if times == 1:
            self._add_person(lit, openness.vertices, self.path.camera(frame), None, person, box)
        else:
            for k, (later, moment) in enumerate(self._moments(frame, times, lit)):
                camera = self.path.camera_at(frame, later)
                self._add_person(moment, openness.vertices, camera, _SUBPIXELS[k % 4], person, box)
            person *= 4.0 / times
        layers = self._still or self._layers(frame)
        rgb = self._compose(frame, layers, person, box, lit, openness.floor)
        mask = np.zeros(rgb.shape[:2], np.uint8)
        mask[y0 : y0 + height, x0 : x0 + width] = np.rint(person[..., 3] * 255)
        return Shot(rgb=rgb, mask=mask)

    def _add_person(
        self,
        lit: Lit,
        sky: ndarray,
        camera: Camera,
        subpixel: tuple[int, int] | None,
        out: ndarray,
        box: tuple[int, int, int, int],
    ) -> None:
        """Add samples of the performer to a part of the picture, a quarter each.

        Args:
            lit: The performer.
            sky: Openness of its vertices.
            camera: From where.
            subpixel: Which sample of each pixel; all four if none.
            out: (height, width, 4) linear colour times coverage, and coverage.
            box: Place and size of `out` in the picture.
        """
        from bodydouble.synth import person_shading

        x0, y0, width, height = box
        world = torch.from_numpy(lit.points).float()
        if subpixel is None:
            view = camera.cropped(x0, y0, (width, height), (2 * width, 2 * height))
            image = rasterize_mesh(world, self.performer.faces, view)
            face_index, barycentric = image.face_index.numpy(), image.barycentric.numpy()
        else:
            column, row = subpixel
            view = camera.cropped(x0 + 0.5 * column - 0.25, y0 + 0.5 * row - 0.25, (width, height), (width, height))
            image = rasterize_mesh(world, self.performer.faces, view)
            face_index = np.full((2 * height, 2 * width), -1, np.int32)
            barycentric = np.zeros((2 * height, 2 * width, 3), np.float32)
            face_index[row::2, column::2] = image.face_index.numpy()
            barycentric[row::2, column::2] = image.barycentric.numpy()
        # The shading takes the camera for the world's origin: everything is moved there.
        T = camera.T_camera_world.double().numpy()
        eye = -T[:3, :3].T @ T[:3, 3]
        lamp = lit.lamp_camera.T_camera_world.double().numpy().copy()
        lamp[:3, 3] += lamp[:3, :3] @ eye
        focal, center = float(lit.lamp_camera.focal_px[0]), float(lit.lamp_camera.center_px[0])
        person_shading.shade_person(
            face_index,
            barycentric,
            self._faces,
            self._materials,
            np.concatenate([lit.points - eye, lit.normals, sky[:, None], self._coordinates], axis=1),
            self._palette,
            self._eyes,
            self.scene.lights.rows(),
            np.concatenate([lamp.ravel(), [focal, center]]),
            lit.lamp_image.depth.numpy(),
            out,
        )

    def _compose(
        self,
        frame: int,
        layers: Layers,
        person: ndarray,
        box: tuple[int, int, int, int],
        lit: Lit,
        floor_open: ndarray,
    ) -> UInt8[ndarray, "height width 3"]:
        from bodydouble.synth import scene_kernels, shading

        camera = self.path.camera(frame)
        T = np.linalg.inv(camera.T_camera_world.double().numpy())
        view = np.concatenate([T[:3].ravel(), camera.focal_px.double().numpy(), camera.center_px.double().numpy()])
        covers, behind = shadow_maps(lit.lamp_image)
        cell_m = 2 * REACH_M / len(behind)
        lamp_camera = lit.lamp_camera
        lamp = np.concatenate(
            [
                lamp_camera.T_camera_world.double().numpy()[:3].ravel(),
                [float(lamp_camera.focal_px[0]), float(lamp_camera.center_px[0])],
                [len(behind) / lamp_camera.width_px, cell_m, _LAMP_SOFTNESS],
            ]
        )
        grid = self._light.floor_grid(self._middle(frame))
        place = np.array([float(grid[0, 0]), float(grid[0, 2]), FLOOR_CELL_M, self.scene.floor_m])
        reach_lamp, reach_sky = np.empty(layers.depth.shape), np.empty(layers.depth.shape)
        scene_kernels.person_shade(layers.depth, view, lamp, covers, behind, floor_open, place, reach_lamp, reach_sky)
        rgb = np.empty((*layers.depth.shape, 3), np.uint8)
        shading.compose(
            person,
            box[0],
            box[1],
            layers.lamp_rgb,
            layers.sky_rgb,
            reach_lamp,
            reach_sky,
            _EXPOSURE,
            self.sensor.grain,
            frame,
            rgb,
        )
        return rgb

    def _box(self, frame: int) -> tuple[int, int, int, int]:
        """Corner and size of a rectangle of the picture that holds the performer during the exposure, pixels."""
        half = self.sensor.shutter / 2
        low, high = [], []
        for later in (-half, 0.0, half) if half else (0.0,):
            camera = self.path.camera_at(frame, later)
            pixels, depth = camera.project(self.vertices_at(frame, later))
            if bool((depth < 0.05).any()):  # somebody steps through the camera: draw everywhere
                return 0, 0, self.path.width_px, self.path.height_px
            low.append(pixels.amin(0).floor() - 2)
            high.append(pixels.amax(0).ceil() + 2)
        limit = torch.tensor([self.path.width_px, self.path.height_px])
        corner = torch.minimum(torch.stack(low).amin(0).clamp(min=0), limit - 1)
        end = torch.minimum(torch.stack(high).amax(0), limit)
        x0, y0 = (int(v) for v in corner)
        return x0, y0, max(int(end[0]) - x0, 1), max(int(end[1]) - y0, 1)
