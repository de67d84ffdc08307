"""Scenes in three dimensions: textured, lit surfaces, and what a camera sees of them.

Light is computed once for each vertex: how much of the lamp it sees past the other things, and how open it is to all
sides. The performer's own shadow comes on top, frame by frame (`film`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, UInt8
from numpy import ndarray

from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.render.mesh import rasterize_mesh, visible_vertices
from bodydouble.synth.lights import Lights

_MAX_SIDE_LOG2 = 11
_LAMP_RAYS, _LAMP_SPREAD = 8, 0.035
"""The lamp is that many points in a cone of this half angle, radians: static shadows are soft."""
_SKY_RAYS = 26
_NEAR_M = 0.03
_NEAREST_M = 1.5
"""Paint is fine enough for things this far from the camera."""


Vector = Sequence[float | int] | ndarray
"""A few numbers, in whatever form they come."""


@dataclass(frozen=True, eq=False)
class Paint:
    """A texture still to be painted."""

    color: Callable[[Float[ndarray, "n 2"]], Float[ndarray, "n 3"]]
    """sRGB colour of places, metres from the corner of the texture."""
    size_m: tuple[float, float]
    """Width and height of the texture, which repeats beyond."""
    finest_m: float = 0.0
    """No texel smaller than this is needed."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A piece of the scene."""

    points: Float[ndarray, "verts 3"]
    normals: Float[ndarray, "verts 3"]
    faces: Int[ndarray, "faces 3"]
    uv_m: Float[ndarray, "verts 2"]
    """Place in the paint."""
    paint: Paint
    casts: bool = True
    """Whether it throws shadows."""
    glow: float = 0.0
    """Light of its own; above 0 no other light falls on it."""
    dimmed: Float[ndarray, " verts"] | float = 1.0
    """A factor for ambient light: corners of rooms are darker."""
    tone: Float[ndarray, " verts"] | float = 1.0
    """A factor for all light: keeps repeated paint from looking repeated."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The empty scene as a camera sees it; linear light."""

    lamp_rgb: Float[ndarray, "height width 3"]
    """From the lamp, without the performer's shadow."""
    sky_rgb: Float[ndarray, "height width 3"]
    """From everywhere else."""
    depth: Float[ndarray, "height width"]
    """Metres along the camera's +Z; infinite where nothing is."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Surfaces, painted and lit."""

    lights: Lights
    floor_m: float
    points: Float64[ndarray, "verts 3"]
    faces: Int[ndarray, "faces 3"]
    face_uv: Float64[ndarray, "faces 3 2"]
    """In texels."""
    face_light: Float64[ndarray, "faces 3 4"]
    face_texture: Int[ndarray, " faces"]
    table: Int[ndarray, "textures columns"]
    texels: UInt8[ndarray, "texels 3"]
    kind: str

    def layers(self, samples: Sequence[tuple[Camera, tuple[float, float]]]) -> Layers:
        """The scene seen by the mean of several samples of each pixel.

        Args:
            samples: For each the camera and where in the pixel it looks, from the pixel's middle, pixels.
        Returns:
            The mean of the colours, and the depth of the last sample.
        """
        height, width = samples[0][0].height_px, samples[0][0].width_px
        lamp, sky = np.zeros((height, width, 3)), np.zeros((height, width, 3))
        depth = np.empty((height, width))
        for k, (camera, offset) in enumerate(samples):
            self._add(camera, offset, (k + 0.5) / len(samples), 1.0 / len(samples), lamp, sky, depth)
        return Layers(lamp_rgb=lamp, sky_rgb=sky, depth=depth)

    def _add(
        self,
        camera: Camera,
        offset: tuple[float, float],
        dither: float,
        weight: float,
        lamp: ndarray,
        sky: ndarray,
        depth: ndarray,
    ) -> None:
        from bodydouble.synth import scene_kernels

        face_index, shown, edges, det = self._faces_seen(camera, offset)
        scene_kernels.shade_scene(
            face_index,
            edges,
            det,
            self.face_uv[shown],
            self.face_light[shown],
            self.face_texture[shown],
            self.table,
            self.texels,
            self.lights.lamp,
            dither,
            weight,
            lamp,
            sky,
            depth,
        )

    def _faces_seen(self, camera: Camera, offset: tuple[float, float]) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Which face each pixel shows, as a place in the second result, which lists the faces that may be seen; their
        edge functions and determinants."""
        from bodydouble.render import mesh_kernels

        T = camera.T_camera_world.double().numpy()
        points = self.points @ T[:3, :3].T + T[:3, 3]
        fx, fy = (float(v) for v in camera.focal_px)
        cx, cy = (float(v) - d for v, d in zip(camera.center_px, offset, strict=True))
        beyond = _sides_beyond(points, camera, 1.02)[self.faces]
        faces = np.flatnonzero((beyond[:, 0] & beyond[:, 1] & beyond[:, 2]) == 0)
        edges, det = _edge_functions(points[self.faces[faces]], fx, fy, cx, cy)
        front = det < 0
        shown, edges, det = faces[front], edges[front], det[front]
        face_index = np.full((camera.height_px, camera.width_px), -1, np.int32)
        inverse_depth = np.zeros(face_index.shape)
        bands = np.array([0, camera.height_px])
        chosen = self.faces[shown]
        mesh_kernels.rasterize_band(0, 1, bands, points, chosen, fx, fy, cx, cy, _NEAR_M, face_index, inverse_depth)
        return face_index, shown, edges, det


def _edge_functions(corners: ndarray, fx: float, fy: float, cx: float, cy: float) -> tuple[ndarray, ndarray]:
    """As `render.mesh_kernels` defines them: weights of corners as linear functions of the place in the picture."""
    normals = np.stack([np.cross(corners[:, (k + 1) % 3], corners[:, (k + 2) % 3]) for k in range(3)], 1)
    edges = np.empty_like(normals)
    edges[..., 0], edges[..., 1] = normals[..., 0] / fx, normals[..., 1] / fy
    edges[..., 2] = normals[..., 2] - edges[..., 0] * cx - edges[..., 1] * cy
    return edges, (normals[:, 0] * corners[:, 0]).sum(-1)


def build_scene(
    surfaces: Sequence[Surface],
    lights: Lights,
    *,
    kind: str,
    floor_m: float,
    middle_world: Float[ndarray, "3"],
    reach_m: float,
    cameras: Sequence[Camera],
) -> Scene:
    """Light and paint surfaces; what none of the cameras sees is left out.

    Args:
        surfaces: Everything there is.
        lights: Of the scene.
        kind: Its name in words.
        floor_m: Height of the floor.
        middle_world, reach_m: A sphere in which shadows are computed; beyond it nothing is shadowed.
        cameras: From where the scene will be looked at; a few of them stand for a path.
    """
    shares = _lighting(surfaces, lights, middle_world, reach_m)
    kept = [i for i, s in enumerate(surfaces) if any(_in_view(s.points, camera) for camera in cameras)]
    paints: dict[int, tuple[int, Paint, float]] = {}
    for i in kept:
        paint, footprint = surfaces[i].paint, min(_footprint_m(surfaces[i].points, camera) for camera in cameras)
        number, _, finest = paints.get(id(paint), (len(paints), paint, np.inf))
        paints[id(paint)] = (number, paint, min(finest, footprint))
    table, texels, scales = _bake(list(paints.values()))
    count, faces, uv, light, texture = 0, [], [], [], []
    for i in kept:
        surface = surfaces[i]
        number = paints[id(surface.paint)][0]
        faces.append(surface.faces + count)
        uv.append((surface.uv_m * scales[number])[surface.faces])
        light.append(shares[i][surface.faces])
        texture.append(np.full(len(surface.faces), number))
        count += len(surface.points)
    return Scene(
        lights=lights,
        floor_m=floor_m,
        points=np.concatenate([surfaces[i].points for i in kept]),
        faces=np.ascontiguousarray(np.concatenate(faces), np.int32),
        face_uv=np.concatenate(uv),
        face_light=np.concatenate(light),
        face_texture=np.concatenate(texture),
        table=table,
        texels=texels,
        kind=kind,
    )


def _in_view(points: ndarray, camera: Camera) -> bool:
    """Whether a surface may be seen: not all of its points lie beyond the same side of the view."""
    T = camera.T_camera_world.double().numpy()
    return not np.bitwise_and.reduce(_sides_beyond(points @ T[:3, :3].T + T[:3, 3], camera, 1.1))


def _sides_beyond(points_camera: ndarray, camera: Camera, margin: float) -> Int[ndarray, " points"]:
    """For each point a bit for each of the five sides of the view (scaled by `margin`) beyond which it lies."""
    x, y, z = points_camera.T
    slope_x = (
        margin
        * max(float(camera.center_px[0]), camera.width_px - float(camera.center_px[0]))
        / float(camera.focal_px[0])
    )
    slope_y = (
        margin
        * max(float(camera.center_px[1]), camera.height_px - float(camera.center_px[1]))
        / float(camera.focal_px[1])
    )
    sides = (z < _NEAR_M, x > slope_x * z, -x > slope_x * z, y > slope_y * z, -y > slope_y * z)
    return np.stack([side.astype(np.int64) << k for k, side in enumerate(sides)]).sum(0)


def _footprint_m(points: ndarray, camera: Camera) -> float:
    """Size of a pixel on the nearest part of a surface that lies before the camera."""
    T = camera.T_camera_world.double().numpy()
    depth = points @ T[2, :3] + T[2, 3]
    return float(depth.clip(min=_NEAREST_M).min()) / float(camera.focal_px[0])


def _bake(paints: list[tuple[int, Paint, float]]) -> tuple[ndarray, ndarray, list[ndarray]]:
    """Paint all textures and their coarser levels. Returns table, texels and texels per metre of each."""
    table = np.zeros((len(paints), 2 + _MAX_SIDE_LOG2 + 1), np.int64)
    pieces: list[ndarray] = []
    scales, start = [], 0
    for number, paint, footprint in paints:
        texel_m = max(footprint, paint.finest_m, 1e-4)
        logs = [int(np.clip(np.round(np.log2(size / texel_m)), 0, _MAX_SIDE_LOG2)) for size in paint.size_m]
        width, height = 1 << logs[0], 1 << logs[1]
        u, v = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
        place = np.stack(np.meshgrid(u * paint.size_m[0], v * paint.size_m[1]), -1).reshape(-1, 2)
        level = (paint.color(place).clip(0, 1) ** 2.2).reshape(height, width, 3).astype(np.float32)
        table[number, :2] = logs
        for k in range(_MAX_SIDE_LOG2 + 1):
            table[number, 2 + k] = start
            if k <= max(logs):
                flat = np.rint(np.sqrt(level) * 255).astype(np.uint8).reshape(-1, 3)
                pieces.append(flat)
                start += len(flat)
                level = _halved(level)
        scales.append(np.array([width / paint.size_m[0], height / paint.size_m[1]]))
    return table, np.concatenate(pieces), scales


def _halved(level: ndarray) -> ndarray:
    if level.shape[0] > 1:
        level = (level[::2] + level[1::2]) / 2
    if level.shape[1] > 1:
        level = (level[:, ::2] + level[:, 1::2]) / 2
    return level


def _lighting(surfaces: Sequence[Surface], lights: Lights, middle: ndarray, reach_m: float) -> list[ndarray]:
    """For each surface (verts, 4): share of the lamp, ambient light."""
    points = torch.from_numpy(np.concatenate([s.points for s in surfaces])).float()
    normals = np.concatenate([s.normals for s in surfaces])
    starts = np.cumsum([0] + [len(s.points) for s in surfaces])
    faces = [torch.from_numpy(s.faces + starts[i]) for i, s in enumerate(surfaces) if s.casts]
    casters = torch.cat(faces) if faces else torch.zeros(0, 3, dtype=torch.long)
    # A little off the surface, so that it does not shadow itself.
    lifted = points + 0.012 * torch.from_numpy(normals).float()
    lamp = np.zeros(len(points))
    for direction in _cone(lights.to_lamp, _LAMP_SPREAD, _LAMP_RAYS):
        lamp += _sees(points, lifted, casters, direction, middle, reach_m, 1024) / _LAMP_RAYS
    lamp *= np.maximum(normals @ lights.to_lamp, 0.0)
    seen, most = np.zeros(len(points)), np.full(len(points), 1e-6)
    for direction in sphere_directions(_SKY_RAYS):
        cosine = np.maximum(normals @ direction, 0.0)
        seen += cosine * _sees(points, lifted, casters, direction, middle, reach_m, 256)
        most += cosine
    up = (0.5 + 0.5 * normals[:, 1:2]) if len(normals) else np.zeros((0, 1))
    ambient = (seen / most)[:, None] * (lights.sky * up + lights.bounce * (1 - up))
    shares = []
    for i, surface in enumerate(surfaces):
        here = slice(starts[i], starts[i + 1])
        if surface.glow > 0:
            shares.append(np.tile([0.0, surface.glow, surface.glow, surface.glow], (len(surface.points), 1)))
        else:
            dimmed = np.broadcast_to(surface.dimmed, len(surface.points))[:, None]
            tone = np.broadcast_to(surface.tone, len(surface.points))[:, None]
            shares.append(np.concatenate([lamp[here, None], ambient[here] * dimmed], axis=1) * tone)
    return shares


def _sees(
    points: torch.Tensor,
    lifted: torch.Tensor,
    casters: torch.Tensor,
    direction: ndarray,
    middle: ndarray,
    reach_m: float,
    size_px: int,
) -> Float[ndarray, " points"]:
    """1 for points from which nothing stands in the way in a direction, 0 for the others."""
    away_m = 12.0 * reach_m
    target = torch.from_numpy(middle).double()
    camera = look_at_camera(
        target + away_m * torch.from_numpy(direction).double(),
        target,
        width_px=size_px,
        height_px=size_px,
        focal_px=size_px * away_m / (2 * reach_m),
    )
    camera = camera.replace(T_camera_world=camera.T_camera_world.float())
    image = rasterize_mesh(points, casters, camera)
    seen = visible_vertices(image, lifted, camera, tolerance_m=2.5 * 2 * reach_m / size_px)
    pixels, _ = camera.project(lifted)
    beyond = ((pixels < 0) | (pixels >= size_px)).any(1)
    return (seen | beyond).double().numpy()


def _cone(axis: ndarray, half_angle_rad: float, count: int) -> Float[ndarray, "count 3"]:
    """Directions spread evenly over a cone."""
    side = np.cross(axis, [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    index = np.arange(count) + 0.5
    radius, angle = np.tan(half_angle_rad) * np.sqrt(index / count), np.pi * (1 + 5**0.5) * index
    spread = axis + radius[:, None] * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * other)
    return spread / np.linalg.norm(spread, axis=1, keepdims=True)


def sphere_directions(count: int) -> Float[ndarray, "count 3"]:
    """Directions spread evenly over the sphere (a Fibonacci spiral), none straight up."""
    index = np.arange(count) + 0.5
    y = 1 - 2 * index / count
    angle = np.pi * (1 + 5**0.5) * index
    r = np.sqrt(1 - y * y)
    return np.stack([r * np.cos(angle), y, r * np.sin(angle)], 1)
