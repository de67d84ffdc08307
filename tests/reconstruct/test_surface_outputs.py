"""What surrounds a baked surface: seeds laid onto it, views of what was seen, frames without the person."""

from __future__ import annotations

import numpy as np
import torch

from bodydouble.avatar.values import Mesh
from bodydouble.reconstruct.onto import RestSurface, barycentric, laid_onto
from bodydouble.reconstruct.surface.bake import spread
from bodydouble.reconstruct.surface.extract import extract_mesh
from bodydouble.reconstruct.surface.outputs import person_removed, seen_pictures
from bodydouble.reconstruct.surface.plate import PlateWorld
from bodydouble.reconstruct.surface.world_pictures import CERTAIN, WorldPictures, filled_in, pixel_centres


def ball(radius: float, voxel: float = 0.05) -> tuple[torch.Tensor, torch.Tensor]:
    axis = torch.arange(-0.6, 0.601, voxel)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    mesh = extract_mesh(points.norm(dim=-1) - radius, torch.full((3,), -0.6), voxel)
    return mesh.vertices_m, mesh.faces


def test_seeds_are_laid_onto_clothes_and_stay_where_there_are_none() -> None:
    vertices, faces = ball(0.4)
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    surface = RestSurface(vertices_rest_m=vertices, faces=faces)
    clothed = laid_onto(0.37 * directions, surface)
    assert float((clothed.norm(dim=1) - 0.4).abs().max()) < 0.004
    assert float((torch.nn.functional.normalize(clothed, dim=1) * directions).sum(1).min()) > 0.98
    bare, far = 0.3985 * directions, 0.2 * directions
    assert torch.equal(laid_onto(bare, surface), bare) and torch.equal(laid_onto(far, surface), far)


def test_barycentric_weights_give_the_point_back_and_stay_within_the_triangle() -> None:
    triangles = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(1))
    inside = torch.distributions.Dirichlet(torch.ones(3)).sample((50,))
    points = (triangles * inside[..., None]).sum(1)
    assert torch.allclose(barycentric(points, triangles), inside, atol=1e-3)
    outside = barycentric(points + 3.0, triangles)
    assert bool((outside >= 0).all()) and torch.allclose(outside.sum(1), torch.ones(50), atol=1e-5)


def test_what_was_never_filmed_is_coloured_on_its_side_only() -> None:
    vertices, faces = ball(0.4)
    count = len(vertices)
    mesh = Mesh(
        vertices_rest_m=vertices,
        faces=faces,
        colors=torch.zeros(count, 3),
        joints=torch.zeros(count, 4, dtype=torch.long),
        weights=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
    )
    front, back = seen_pictures(mesh, (vertices[:, 2] > 0).float(), height_px=120)

    def pink(picture: np.ndarray) -> float:
        colored = (picture.max(2).astype(int) - picture.min(2)) > 25
        return float(colored.mean())

    assert pink(front) < 0.08 and pink(back) > 0.5
    assert tuple(front[0, 0]) == (255, 255, 255)


class _Ramp:
    """A world whose red is the column and whose green is the row, in pixels of 100."""

    def colors_at(self, frame_index: int, pixels_px: torch.Tensor) -> torch.Tensor:
        return torch.cat([pixels_px / 100.0, torch.zeros(len(pixels_px), 1)], dim=1)

    def seen(self, frame_index: int, pixels_px: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(pixels_px))

    def learn(self, frame_index: int, pixels_px: torch.Tensor, gradient: torch.Tensor, rate: float) -> None:
        raise AssertionError("nothing is learnt here")


def test_the_world_is_asked_at_pixel_centres() -> None:
    picture, _ = WorldPictures(_Ramp(), (30, 20))(0)
    assert picture.shape == (20, 30, 3)
    assert torch.allclose(picture[7, 11, :2], torch.tensor([0.115, 0.075]))


def test_a_plate_filled_in_once_is_that_of_every_frame() -> None:
    rng = torch.Generator().manual_seed(5)
    plate = 0.1 + 0.5 * torch.rand(24, 32, 3, generator=rng)
    gains = torch.tensor([[1.0, 1.0, 1.0], [0.8, 0.9, 1.1]])
    world = PlateWorld(plate, (torch.rand(24, 32, generator=rng) > 0.3).float(), [3, 9], gains, 0.5)
    shown, small = WorldPictures(world, (64, 48)), WorldPictures(world, (64, 48), (32, 24))
    window = slice(4, 30), slice(10, 64)
    for frame in (3, 9):
        picture, certain = shown(frame)
        pixels = pixel_centres(64, 48)
        known = (world.seen(frame, pixels) >= CERTAIN).reshape(48, 64).numpy()
        wanted = filled_in(world.colors_at(frame, pixels).reshape(48, 64, 3).clamp(0, 1).numpy(), known)
        torch.testing.assert_close(picture, torch.from_numpy(wanted), atol=2e-5, rtol=0)
        assert np.array_equal(certain, known)
        part, certain_part = shown(frame, window)
        assert torch.equal(part, picture[window])
        assert np.array_equal(certain_part, certain[window])
        means = picture.unflatten(0, (24, 2)).unflatten(2, (32, 2)).mean((1, 3))
        torch.testing.assert_close(small(frame)[0], means, atol=1e-5, rtol=0)


def test_frames_are_spread_evenly() -> None:
    assert spread([3, 4], 5) == [3, 4]
    assert spread(list(range(100)), 4) == [12, 37, 62, 87]


def test_unknown_places_are_filled_smoothly_and_known_ones_stay() -> None:
    rows, columns = np.mgrid[0:64, 0:80]
    picture = np.stack([columns / 80, rows / 64, np.full(rows.shape, 0.3)], axis=-1).astype(np.float32)
    known = np.ones((64, 80), bool)
    known[20:44, 30:56] = False
    spoiled = np.where(known[..., None], picture, np.float32(1.0))
    filled = filled_in(spoiled, known)
    assert np.array_equal(filled[known], picture[known])
    assert np.abs(filled - picture)[~known].max() < 0.15 and np.allclose(filled[~known][:, 2], 0.3, atol=0.01)
    assert filled_in(spoiled, np.zeros_like(known)) is spoiled


def test_the_person_gives_way_to_the_world_and_the_rest_of_the_frame_stays() -> None:
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    alpha = np.zeros((90, 120), np.float32)
    alpha[30:50, 0:14] = 1.0  # at the picture's border
    without = person_removed(lambda part: torch.full((90, 120, 3), 0.5)[part], frame, alpha)
    assert np.abs(without[32:48, 0:12].astype(int) - 127.5).max() <= 1.0
    assert np.array_equal(without[:, 40:], frame[:, 40:]) and np.array_equal(without[70:], frame[70:])
    between = np.abs(without.astype(int) - frame).max(2) > 0
    assert between[26:30, 0:10].any()  # softly around
    assert np.array_equal(person_removed(lambda part: torch.ones(90, 120, 3)[part], frame, 0.0 * alpha), frame)
