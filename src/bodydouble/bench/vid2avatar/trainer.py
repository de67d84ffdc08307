"""Training by the published recipe: one frame and 512 rays a step, everything differentiated by autograd.

What differs from the publication, all of it in the recipe's favour or without weight here: one evaluation of the signed
distance serves density and normal (published: two); the known surface that classifies rays is, after epoch 20, the
present field itself (published: a mesh extracted from it); the body is ours, and its distance is learnt at the start.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bodydouble.bench.vid2avatar import losses
from bodydouble.bench.vid2avatar.body import CanonicalBody, Skinned
from bodydouble.bench.vid2avatar.nets import BackgroundNet, ColorNet, Density, SurfaceNet
from bodydouble.bench.vid2avatar.sampling import (
    RADIUS,
    background_samples,
    error_bounded_samples,
    inverse_sphere_points,
    section_weights,
    sphere_exit,
)
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.seeds import numpy_rng, torch_rng

_CHUNK = 32_768
_BODY_UNTIL_EPOCH = 20
_HALVED_AT = (200, 500)
_BOX_SHARE = 0.9
_POINT_SPREAD_M = 0.01
_EYE_SHARE = 1.1
_LATER = 1.5
"""How much later each look is than the one before: a look at masks takes minutes."""


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """The published numbers, and sizes that tests make smaller."""

    num_rays: int = 512
    size_px: int = 960
    max_frames: int = 60
    rate_nets: float = 5e-4
    rate_poses: float = 5e-5
    begin_steps: int = 600
    """Steps that teach the net the naked body's distance, in place of the published checkpoint."""
    hidden: int = 256
    seed: int = 0


@dataclass(frozen=True)
class RecipeFrame:
    """One training frame."""

    row: int
    rgb: UInt8[np.ndarray, "height width 3"]
    box_px: tuple[float, float, float, float]
    """x0, y0, x1, y1 of the widened body."""


class RecipeTrainer:
    """One training by the published recipe.

    Args:
        capture: Gives frames.
        track: The fitted body; poses are refined from there.
        body: Its model.
        config: Sizes and rates.
    """

    def __init__(self, capture: Capture, track: BodyTrack, body: BodyModel, config: RecipeConfig) -> None:
        self.config, self.track = config, track
        self.rng = torch_rng(config.seed, "vid2avatar")
        torch.manual_seed(int(torch.randint(1 << 30, (1,), generator=self.rng)))
        self.canonical = CanonicalBody(body, track.shape)
        self.frames = _frames(capture, track, self.canonical, config)
        pose_size = 3 * (track.rotvecs.shape[1] - 1)
        self.surface = SurfaceNet(pose_size, hidden=config.hidden)
        self.color = ColorNet(pose_size, config.hidden)
        self.background = BackgroundNet(len(self.frames), config.hidden)
        self.density = Density()
        self.rotvecs = track.rotvecs.float().clone().requires_grad_()
        self.translation = track.translation_world_m.float().clone().requires_grad_()
        self.shape = track.shape.float().clone().requires_grad_()
        nets = [p for m in (self.surface, self.color, self.background, self.density) for p in m.parameters()]
        self._adam = torch.optim.Adam([
            {"params": nets, "lr": config.rate_nets},
            {"params": [self.rotvecs, self.translation, self.shape], "lr": config.rate_poses},
        ], eps=1e-8)  # fmt: skip
        eyes = [self._center(frame.row).norm() for frame in self.frames]
        self.scale = RADIUS / (_EYE_SHARE * float(torch.stack(eyes).max()))
        """Observation units per metre: all cameras lie inside the sphere around the person."""
        self.steps = 0
        self._order: list[int] = []

    @property
    def epoch(self) -> int:
        return self.steps // max(1, len(self.frames))

    def begin(self) -> Iterator[float]:
        """Teach the net the naked body's distance; yields the mean error of each step, metres."""
        adam = torch.optim.Adam(self.surface.parameters(), lr=1e-3)
        vertices = self.canonical.vertices
        low, high = vertices.min(0).values - 0.2, vertices.max(0).values + 0.2
        pose = torch.zeros(self._pose(self.frames[0].row).shape)
        for _ in range(self.config.begin_steps):
            near = vertices[torch.randint(len(vertices), (1536,), generator=self.rng)]
            near = near + 0.05 * torch.randn(near.shape, generator=self.rng)
            anywhere = low + (high - low) * torch.rand(512, 3, generator=self.rng)
            points = torch.cat([near, anywhere])
            error = (self.surface(points, pose)[0] - self.canonical.signed_distance(points)).abs().mean()
            adam.zero_grad()
            error.backward()
            adam.step()
            yield float(error.detach())

    def step(self) -> dict[str, float]:
        """One step; returns the terms of the objective."""
        if not self._order:
            self._order = torch.randperm(len(self.frames), generator=self.rng).tolist()
        slot = self._order.pop()
        frame = self.frames[slot]
        pixels, target = self._draw(frame)
        rgb, opacity, gradient, distance = self._render(slot, pixels)
        off, through = losses.ray_classes(distance)
        eik, bce, sparse, inside = losses.weights_at(float(self.epoch))
        terms = {
            "rgb": losses.color_loss(rgb, target),
            "eikonal": eik * losses.eikonal_loss(gradient),
            "entropy": bce * losses.entropy_loss(opacity),
            "sparse": sparse * losses.sparse_loss(opacity, off),
            "inside": inside * losses.inside_loss(opacity, through),
        }
        self._adam.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        halved = 0.5 ** sum(self.epoch >= e for e in _HALVED_AT)
        for group, rate in zip(self._adam.param_groups, (self.config.rate_nets, self.config.rate_poses), strict=True):
            group["lr"] = rate * halved
        self._adam.step()
        self.steps += 1
        return {name: float(value.detach()) for name, value in terms.items()}

    @torch.no_grad()
    def alpha(self, row: int, pixels_px: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        """Opacity of the person at pixels of the video, in a row of the track."""
        skinned = self._skinned(row)
        found = []
        for part in pixels_px.split(1024):
            origins, directions = self._rays(row, part)
            z = self._samples(row, origins, directions, skinned)
            sdf = self._sdf_along(row, origins, directions, skinned, z)
            found.append(1.0 - section_weights(z, sdf, self.density.beta)[1])
        return torch.cat(found)

    # --- one step -------------------------------------------------------------------------------------------------

    def _draw(self, frame: RecipeFrame) -> tuple[Tensor, Tensor]:
        """Places in the video's pixels, nine of ten in the body's box, and their colours."""
        import cv2

        n = self.config.num_rays
        boxed = int(_BOX_SHARE * n)
        u = torch.rand(n, 2, generator=self.rng)
        size = torch.tensor([float(self.track.width_px), float(self.track.height_px)])
        low, high = torch.tensor(frame.box_px[:2]), torch.tensor(frame.box_px[2:])
        pixels = torch.cat([low + (high - low) * u[:boxed], size * u[boxed:]])
        ratio = frame.rgb.shape[1] / self.track.width_px
        at = (pixels * ratio - 0.5).numpy().astype(np.float32)
        sampled = cv2.remap(frame.rgb, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return pixels, torch.from_numpy(sampled[:, 0].astype(np.float32) / 255.0)

    def _render(self, slot: int, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Colour and opacity of rays, gradients for the eikonal term, distances of samples from the known surface."""
        row = self.frames[slot].row
        skinned = self._skinned(row)
        origins, directions = self._rays(row, pixels)
        z = self._samples(row, origins, directions, skinned)
        rays, count = z.shape
        points = self._metres(row, (origins[:, None] + z[..., None] * directions[:, None]).reshape(-1, 3))
        at = skinned.nearest(points)
        x = skinned.canonical(points, at)
        if not x.requires_grad:
            x = x.requires_grad_()
        pose = self._pose(row)
        sdf, features = self.surface(x, pose)
        (gradient,) = torch.autograd.grad(sdf.sum(), x, create_graph=True)
        normals = skinned.normals_world(gradient, at)
        colors = self.color(x, normals, pose, features).reshape(rays, count, 3)
        weights, left = section_weights(z, sdf.reshape(rays, count), self.density.beta)
        behind = self._behind(slot, origins, directions)
        rgb = losses.composite(weights, colors[:, :-1], left, behind)
        return rgb, 1.0 - left, self._eikonal_gradient(pose), self._known_distance(x.detach()).reshape(rays, count)

    def _eikonal_gradient(self, pose: Tensor) -> Tensor:
        chosen = torch.randint(len(self.canonical.vertices), (512,), generator=self.rng)
        points = self.canonical.vertices[chosen]
        points = (points + _POINT_SPREAD_M * torch.randn(points.shape, generator=self.rng)).requires_grad_()
        (gradient,) = torch.autograd.grad(self.surface(points, pose)[0].sum(), points, create_graph=True)
        return gradient

    @torch.no_grad()
    def _known_distance(self, x: Tensor) -> Tensor:
        if self.epoch <= _BODY_UNTIL_EPOCH:
            return self.canonical.signed_distance(x)
        rest = torch.zeros(3 * (self.track.rotvecs.shape[1] - 1))
        return torch.cat([self.surface(part, rest)[0] for part in x.split(_CHUNK)])

    def _behind(self, slot: int, origins: Tensor, directions: Tensor) -> Tensor:
        inverse_radii = background_samples(len(origins), self.rng)
        points = inverse_sphere_points(origins, directions, inverse_radii).reshape(-1, 4)
        along = directions[:, None].expand(-1, inverse_radii.shape[1], -1).reshape(-1, 3)
        density, colors = self.background(points, along, slot)
        shape = inverse_radii.shape
        return losses.background_color(density.reshape(shape), colors.reshape(*shape, 3), inverse_radii)

    # --- places ---------------------------------------------------------------------------------------------------

    def _skinned(self, row: int) -> Skinned:
        return self.canonical.skinned(self.rotvecs[row], self.translation[row], self.shape)

    def _pose(self, row: int) -> Tensor:
        """What the nets see of a pose; nothing at first and in every twentieth epoch of training."""
        seen = self.epoch >= _BODY_UNTIL_EPOCH and self.epoch % _BODY_UNTIL_EPOCH != 0
        return self.rotvecs[row, 1:].detach().reshape(-1) / torch.pi * float(seen)

    def _center(self, row: int) -> Tensor:
        """Middle of the posed body's box, which is where the sphere stands."""
        with torch.no_grad():
            vertices = self.canonical.skinned(
                self.track.rotvecs[row].float(), self.track.translation_world_m[row].float(), self.track.shape.float()
            ).vertices_world
        return (vertices.min(0).values + vertices.max(0).values) / 2.0

    def _rays(self, row: int, pixels_px: Tensor) -> tuple[Tensor, Tensor]:
        """Origins and unit directions in observation units about the person, of pixels of the video."""
        middle = torch.tensor([self.track.width_px / 2.0, self.track.height_px / 2.0])
        slope = (pixels_px - middle) / float(self.track.focal_px)
        directions = torch.cat([slope * torch.tensor([1.0, -1.0]), -torch.ones(len(slope), 1)], dim=1)
        directions = torch.nn.functional.normalize(directions, dim=1)
        return (-self._center(row) * self.scale).expand(len(slope), 3), directions

    def _metres(self, row: int, points: Tensor) -> Tensor:
        return points / self.scale + self._center(row)

    def _samples(self, row: int, origins: Tensor, directions: Tensor, skinned: Skinned) -> Tensor:
        far = sphere_exit(origins, directions)

        def sdf(z: Tensor) -> Tensor:
            return self._sdf_along(row, origins, directions, skinned, z)

        return error_bounded_samples(sdf, far, float(self.density.beta.detach()), self.rng)

    @torch.no_grad()
    def _sdf_along(self, row: int, origins: Tensor, directions: Tensor, skinned: Skinned, z: Tensor) -> Tensor:
        points = self._metres(row, (origins[:, None] + z[..., None] * directions[:, None]).reshape(-1, 3))
        pose, found = self._pose(row), []
        for part in points.split(_CHUNK):
            found.append(self.surface(skinned.canonical(part, skinned.nearest(part)), pose)[0])
        return torch.cat(found).reshape(z.shape)


def train_for(trainer: RecipeTrainer, seconds: float, first_s: float = 30.0) -> Iterator[tuple[float, int]]:
    """Train until the time is over, the start included.

    Args:
        trainer: Fresh.
        seconds: Training time in all.
        first_s: When to tell for the first time after the start; each of the next times is half as late again.
    Yields:
        Seconds of training so far (what happens between yields is not counted) and steps done.
    """
    spent, begun = 0.0, time.perf_counter()
    for _ in trainer.begin():
        if time.perf_counter() - begun > seconds:
            break
    spent += time.perf_counter() - begun
    yield spent, 0
    due = first_s
    while spent < seconds:
        begun = time.perf_counter()
        trainer.step()
        spent += time.perf_counter() - begun
        if spent >= due or spent >= seconds:
            due = max(due, spent) * _LATER
            yield spent, trainer.steps


def _frames(
    capture: Capture, track: BodyTrack, canonical: CanonicalBody, config: RecipeConfig
) -> Sequence[RecipeFrame]:
    import cv2

    row_of = {int(index): row for row, index in enumerate(track.frame_indices.tolist())}
    allowed = [i for i in capture.train_indices() if i in row_of]
    places = np.linspace(0, len(allowed) - 1, min(config.max_frames, len(allowed))).round().astype(int)
    chosen = [allowed[k] for k in np.unique(places)]
    shrink = min(1.0, config.size_px / max(track.width_px, track.height_px))
    size = (round(track.width_px * shrink), round(track.height_px * shrink))
    frames = []
    for frame in capture.frames(chosen):
        row = row_of[frame.index]
        rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
        frames.append(RecipeFrame(row, rgb, body_box(track, canonical, row)))
    numpy_rng(config.seed, "vid2avatar/frames").shuffle(frames)  # the net's frame codes have no order
    return frames


def body_box(
    track: BodyTrack, canonical: CanonicalBody, row: int, margin_px: float = 20.0
) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 around the posed body in the video, widened, inside the picture."""
    from bodydouble.core.cameras import video_camera

    with torch.no_grad():
        vertices = canonical.skinned(
            track.rotvecs[row].float(), track.translation_world_m[row].float(), track.shape.float()
        ).vertices_world
        at, _ = video_camera(track.width_px, track.height_px, track.focal_px).project(vertices)
    low, high = at.min(0).values - margin_px, at.max(0).values + margin_px
    width, height = float(track.width_px), float(track.height_px)
    x0, y0 = min(max(float(low[0]), 0.0), width - 2.0), min(max(float(low[1]), 0.0), height - 2.0)
    return x0, y0, max(min(float(high[0]), width), x0 + 2.0), max(min(float(high[1]), height), y0 + 2.0)
