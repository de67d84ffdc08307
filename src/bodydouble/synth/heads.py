"""Pictures of performers' heads with known facial actions: what landmark networks are taught and judged by.

A head is drawn the way `film` draws whole performers, but alone, from the rest pose, one still at a time: some forty
milliseconds each. Bodies with six phenotypes have faces that are all alike, so each head is bent a little, smoothly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from bodydouble.body.anny import AnnyBody
from bodydouble.core.cameras import Camera, look_at_camera
from bodydouble.core.seeds import numpy_rng
from bodydouble.render.mesh import rasterize_mesh, visible_vertices
from bodydouble.synth.lights import Lights, draw_lights
from bodydouble.synth.looks import draw_look
from bodydouble.synth.performer import make_performer
from bodydouble.synth.scene import sphere_directions

_BUST_M = 0.22
"""How far below the eyes the bust goes on."""
_REACH_M = 0.34
_LAMP_PX, _SKY_PX, _SKY_DIRECTIONS = 256, 128, 14
_EXPOSURE = 1.12
_BENDS, _BEND_SIGMA_M, _BEND_M = 14, 0.035, 0.0032
"""Smooth dents and bumps that make one face of another: how many, how wide, how deep."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Where a head is seen from, in what light, how sharply."""

    yaw_rad: float = 0.0
    """How far the head is turned to its own left."""
    pitch_rad: float = 0.0
    """How far the head is bent downwards."""
    roll_rad: float = 0.0
    distance_m: float = 1.0
    head_share: float = 0.55
    """Height of the head in the picture, as a share of the picture's."""
    offset: tuple[float, float] = (0.0, 0.0)
    """How far the head is from the middle, as shares of the picture."""
    sharp_px: int = 0
    """Side of the picture that is enlarged to the full size, for small faces; 0 for none."""


class Head:
    """The head of the performer that belongs to a seed.

    Args:
        body: The body model.
        seed: Of the look, the light and the bends.
        bent: Whether the face is made to differ from others of the same phenotypes.
    """

    def __init__(self, body: AnnyBody, seed: int, *, bent: bool = True) -> None:
        performer = make_performer(body, draw_look(seed))
        rest = performer.shaped.vertices_rest
        self._eyes_m = performer.eyes_rest_m.double().numpy()
        self.middle_m = performer.eyes_rest_m.mean(0) + torch.tensor([0.0, -0.02, -0.04])
        kept = torch.nonzero(rest[:, 1] > float(self.middle_m[1]) - _BUST_M)[:, 0]
        place = torch.full((len(rest),), -1)
        place[kept] = torch.arange(len(kept))
        corners = place[performer.faces]
        whole = (corners >= 0).all(1)
        self._faces, self._materials = corners[whole], performer.face_material[whole].numpy()
        self._coordinates = performer.coordinates[kept].double().numpy()
        self._palette = performer.palette.double().numpy()
        rig = performer.shaped.rig
        moved = place[rig.action_vertices]
        self._moved, self._deltas = moved[moved >= 0], rig.action_deltas_m[:, moved >= 0]
        self._rest = rest[kept]
        if bent:
            self._rest = self._rest + _bends(self._rest, self.middle_m, numpy_rng(seed, "synth/heads"))
        self._lights = draw_lights(seed)
        self._openness = self._sky()

    def vertices_rest_m(self, expression: Float[Tensor, " actions"]) -> Float[Tensor, "verts 3"]:
        """The bust with facial actions, rest frame."""
        offset = (expression @ self._deltas.flatten(1)).reshape(-1, 3)
        return self._rest.index_add(0, self._moved, offset)

    def picture(
        self, expression: Float[Tensor, " actions"], view: View, *, size_px: int, seed: int
    ) -> UInt8[ndarray, "height width 3"]:
        """One square still.

        Args:
            expression: Strength of the 52 actions.
            view: From where.
            size_px: Side of the picture.
            seed: Of the lamp's direction, the background, the camera's gain and its noise.
        """
        from bodydouble.synth import shading

        rng = numpy_rng(seed, "synth/heads/still")
        small_px = view.sharp_px or size_px
        camera = self._camera(view, small_px)
        linear = self._shaded(self.vertices_rest_m(expression), camera, self._lights_of(view, rng))
        cover = linear[..., 3:]
        shown = np.empty((*linear.shape[:2], 3))
        shading.develop(np.ascontiguousarray(linear[..., :3] / np.maximum(cover, 1e-6)), _EXPOSURE, shown)
        rgb = np.clip(shown, 0.0, 1.0) * cover + _background(rng, small_px) * (1.0 - cover)
        rgb = rgb ** rng.uniform(0.8, 1.25) * rng.uniform(0.8, 1.15, size=3) ** 0.5
        rgb = np.clip(rgb + rng.normal(size=rgb.shape) * rng.uniform(0.0, 0.02), 0.0, 1.0)
        picture = (rgb * 255.0).astype(np.uint8)
        if small_px == size_px:
            return picture
        from PIL import Image

        return np.asarray(Image.fromarray(picture).resize((size_px, size_px), Image.Resampling.BICUBIC))

    def _camera(self, view: View, size_px: int) -> Camera:
        """The head stays, the camera goes around it."""
        cy, sy, cp, sp = np.cos(view.yaw_rad), np.sin(view.yaw_rad), np.cos(view.pitch_rad), np.sin(view.pitch_rad)
        away = np.array([-sy * cp, sp, cy * cp])
        focal_px = view.head_share * size_px * view.distance_m / 0.24
        camera = look_at_camera(
            self.middle_m + view.distance_m * torch.from_numpy(away).float(),
            self.middle_m,
            width_px=size_px,
            height_px=size_px,
            focal_px=float(focal_px),
        )
        roll = torch.eye(4)
        c, s = float(np.cos(view.roll_rad)), float(np.sin(view.roll_rad))
        roll[:2, :2] = torch.tensor([[c, -s], [s, c]])
        camera = camera.replace(T_camera_world=roll @ camera.T_camera_world)
        shift = torch.tensor(view.offset) * size_px
        return camera.replace(center_px=camera.center_px + shift)

    def _lights_of(self, view: View, rng: np.random.Generator) -> Lights:
        """The head's own light, the lamp now from any side before it: as the head turns, so does the light on it."""
        azimuth, height = rng.uniform(-1.2, 1.2) - view.yaw_rad, rng.uniform(0.1, 1.0)
        to_lamp = np.array([np.sin(azimuth), height, np.cos(azimuth)])
        share = rng.uniform(0.6, 1.1)
        light = self._lights
        return Lights(
            to_lamp=to_lamp / np.linalg.norm(to_lamp), lamp=light.lamp * share, sky=light.sky * (2.0 - share),
            bounce=light.bounce,
        )  # fmt: skip

    def _seen_from(self, vertices: Tensor, direction: ndarray, size_px: int):
        away_m = 6.0
        camera = look_at_camera(
            self.middle_m + away_m * torch.from_numpy(direction).float(),
            self.middle_m,
            width_px=size_px,
            height_px=size_px,
            focal_px=size_px * away_m / (2 * _REACH_M),
        )
        return rasterize_mesh(vertices, self._faces, camera), camera

    def _normals(self, vertices: Tensor) -> ndarray:
        from bodydouble.synth.shading import posed_normals

        normals = np.empty(vertices.shape)
        posed_normals(vertices.double().numpy(), self._faces.numpy(), normals)
        return normals

    def _sky(self) -> Float[ndarray, " verts"]:
        """How open each vertex is to its surroundings, with a calm face."""
        normals = self._normals(self._rest)
        seen, most = np.zeros(len(self._rest)), np.full(len(self._rest), 1e-6)
        for direction in sphere_directions(_SKY_DIRECTIONS):
            image, camera = self._seen_from(self._rest, direction, _SKY_PX)
            cosine = np.maximum(normals @ direction, 0.0)
            seen += cosine * visible_vertices(image, self._rest, camera, tolerance_m=0.015).numpy()
            most += cosine
        return seen / most

    def _shaded(self, vertices: Tensor, camera: Camera, lights: Lights) -> Float[ndarray, "height width 4"]:
        from bodydouble.synth import person_shading

        size = (camera.width_px, camera.height_px)
        fine = camera.cropped(0.0, 0.0, (float(size[0]), float(size[1])), (2 * size[0], 2 * size[1]))
        image = rasterize_mesh(vertices, self._faces, fine)
        lamp_image, lamp_camera = self._seen_from(vertices, lights.to_lamp, _LAMP_PX)
        T = camera.T_camera_world.double().numpy()
        eye = -T[:3, :3].T @ T[:3, 3]
        lamp = lamp_camera.T_camera_world.double().numpy().copy()
        lamp[:3, 3] += lamp[:3, :3] @ eye
        points = vertices.double().numpy() - eye
        columns = [points, self._normals(vertices), self._openness[:, None], self._coordinates]
        out = np.zeros((size[1], size[0], 4))
        person_shading.shade_person(
            image.face_index.numpy(),
            image.barycentric.numpy(),
            self._faces.numpy(),
            self._materials,
            np.concatenate(columns, axis=1),
            self._palette,
            self._eyes_m,
            lights.rows(),
            np.concatenate([lamp.ravel(), [float(lamp_camera.focal_px[0]), float(lamp_camera.center_px[0])]]),
            lamp_image.depth.numpy(),
            out,
        )
        return out


def _bends(points: Tensor, middle: Tensor, rng: np.random.Generator) -> Tensor:
    """A smooth displacement of the head's surface, the same on the left and on the right but for a fifth."""
    p = (points - middle).double().numpy()
    total = np.zeros_like(p)
    for _ in range(_BENDS):
        at = rng.normal(size=3) * [0.04, 0.06, 0.03] + [0.0, -0.02, 0.05]
        push = rng.normal(size=3) * _BEND_M
        for side, share in ((1.0, 1.0), (-1.0, 0.8)):
            mirror = np.array([side, 1.0, 1.0])
            distance_sq = ((p - at * mirror) ** 2).sum(1)
            total += share * np.exp(-0.5 * distance_sq / _BEND_SIGMA_M**2)[:, None] * push * mirror
    return torch.from_numpy(total).float()


def _background(rng: np.random.Generator, size_px: int) -> ndarray:
    top, bottom = rng.uniform(0.05, 0.95, size=(2, 3))
    ramp = np.linspace(0.0, 1.0, size_px)[:, None, None]
    return top * (1 - ramp) + bottom * ramp + np.zeros((1, size_px, 1))
