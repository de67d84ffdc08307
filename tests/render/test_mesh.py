"""The z-buffer against closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.cameras import look_at_camera, video_camera
from bodydouble.core.errors import ShapeError
from bodydouble.render.mesh import interpolate, rasterize_mesh, visible_vertices

pytestmark = pytest.mark.usefixtures("kernels")


def sphere(rings: int = 24, sectors: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """A unit sphere of quads cut in two, faces counter-clockwise from outside."""
    theta = torch.linspace(0.01, 3.1316, rings)
    phi = torch.arange(sectors) * (2 * torch.pi / sectors)
    vertices = torch.stack(
        [theta.sin()[:, None] * phi.sin(), theta.cos()[:, None].expand(-1, sectors), theta.sin()[:, None] * phi.cos()],
        -1,
    ).reshape(-1, 3)
    r, s = torch.meshgrid(torch.arange(rings - 1), torch.arange(sectors), indexing="ij")
    a, b = r * sectors + s, r * sectors + (s + 1) % sectors
    c, d = a + sectors, b + sectors
    return vertices, torch.cat([torch.stack([a, c, b], -1), torch.stack([b, c, d], -1)]).reshape(-1, 3)


def test_plane_has_the_depth_of_its_equation() -> None:
    normal, offset = torch.tensor([0.2, -0.3, 1.0]), -3.0
    corners = torch.tensor([[-20.0, -20.0], [20.0, -20.0], [20.0, 20.0], [-20.0, 20.0]])
    z = (offset - corners @ normal[:2]) / normal[2]
    vertices = torch.cat([corners, z[:, None]], 1)
    camera = video_camera(61, 43, 70.0)
    image = rasterize_mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), camera)
    y, x = torch.meshgrid(torch.arange(43.0) + 0.5, torch.arange(61.0) + 0.5, indexing="ij")
    ray = torch.stack([(x - 30.5) / 70.0, -(y - 21.5) / 70.0, -torch.ones_like(x)], -1)
    depth = offset / (ray @ normal)
    assert image.mask.all()
    assert torch.allclose(image.depth, depth, rtol=1e-5)


def test_positions_interpolate_to_the_pixel_they_are_seen_at() -> None:
    vertices, faces = sphere()
    camera = look_at_camera(torch.tensor([0.5, 0.8, 2.5]), torch.zeros(3), width_px=97, height_px=71, focal_px=80.0)
    image = rasterize_mesh(vertices, faces, camera)
    points = interpolate(image, faces, vertices)[image.mask]
    pixels, depth = camera.project(points)
    rows, columns = torch.nonzero(image.mask, as_tuple=True)
    assert (pixels - torch.stack([columns, rows], 1) - 0.5).abs().max() < 1e-3
    assert (depth - image.depth[image.mask]).abs().max() < 1e-5
    assert torch.allclose(image.barycentric.sum(-1)[image.mask], torch.ones(()), atol=1e-5)
    assert (image.barycentric >= -1e-6).all() and (image.barycentric[~image.mask] == 0).all()


def test_silhouette_of_a_sphere() -> None:
    vertices, faces = sphere(60, 120)
    image = rasterize_mesh(vertices, faces, video_camera(101, 101, 200.0).replace(
        T_camera_world=look_at_camera(torch.tensor([0.0, 0.0, 5.0]), torch.zeros(3), width_px=1, height_px=1,
                                      focal_px=1.0).T_camera_world))  # fmt: skip
    radius_px = 200.0 / (5.0**2 - 1.0) ** 0.5
    assert float(image.mask.sum()) == pytest.approx(torch.pi * radius_px**2, rel=0.01)
    assert float(image.depth.min()) == pytest.approx(4.0, abs=0.01)


def test_no_gaps_and_no_doubt_between_neighbours() -> None:
    # Edges pass exactly through pixel centres.
    grid = torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="xy"), -1).reshape(-1, 2)
    vertices = torch.cat([(grid - 4.0) * 0.5, torch.full((81, 1), -1.0)], 1)
    quads = torch.tensor(
        [[r * 9 + c, r * 9 + c + 1, r * 9 + c + 10, r * 9 + c + 9] for r in range(8) for c in range(8)]
    )
    faces = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    image = rasterize_mesh(vertices, faces, video_camera(16, 16, 4.0))
    assert image.mask.all()


def test_nearest_face_wins_and_equal_ones_by_index() -> None:
    triangle = torch.tensor([[-5.0, -5.0, 0.0], [5.0, -5.0, 0.0], [0.0, 9.0, 0.0]])
    vertices = torch.cat([triangle + torch.tensor([0.0, 0.0, z]) for z in (-3.0, -2.0, -2.0)])
    image = rasterize_mesh(vertices, torch.arange(9).reshape(3, 3), video_camera(8, 8, 8.0))
    assert (image.face_index == 1).all()


def test_triangles_through_the_camera_plane() -> None:
    # A floor that begins behind the camera and runs to the horizon.
    vertices = torch.tensor([[-9.0, -1.0, 9.0], [9.0, -1.0, 9.0], [9.0, -1.0, -99.0], [-9.0, -1.0, -99.0]])
    image = rasterize_mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), video_camera(40, 40, 20.0))
    y = torch.arange(40.0) + 0.5
    assert not image.mask[:20].any()
    column = image.depth[:, 20]
    below = y > 20.0 + 20.0 / 99.0
    assert torch.allclose(column[below], (20.0 / (y - 20.0))[below], rtol=1e-4)


def test_camera_inside_the_mesh_sees_it_all_around() -> None:
    vertices, faces = sphere()
    image = rasterize_mesh(vertices * 2, faces, video_camera(50, 30, 12.0))
    assert image.mask.all() and float(image.depth.max()) < 2.01


def test_everything_behind_the_camera() -> None:
    vertices, faces = sphere()
    image = rasterize_mesh(vertices + torch.tensor([0.0, 0.0, 3.0]), faces, video_camera(20, 20, 10.0))
    assert not image.mask.any() and torch.isinf(image.depth).all()


def test_no_faces_and_broken_vertices() -> None:
    camera = video_camera(11, 7, 10.0)
    nothing = rasterize_mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), camera)
    assert not nothing.mask.any()
    vertices = torch.tensor([[-1.0, -1.0, -2.0], [1.0, -1.0, -2.0], [0.0, 1.0, -2.0], [0.0, float("nan"), -1.0]])
    image = rasterize_mesh(vertices, torch.tensor([[0, 1, 3], [0, 1, 2]]), camera)
    assert set(image.face_index.unique().tolist()) == {-1, 1}


def test_faces_of_another_mesh_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"faces must name vertices 0..2, found 0..3"):
        rasterize_mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 3]]), video_camera(4, 4, 4.0))


def test_texture_coordinates_with_their_own_indices_and_gradient() -> None:
    vertices = torch.tensor([[-9.0, -9.0, -1.0], [9.0, -9.0, -1.0], [9.0, 9.0, -1.0], [-9.0, 9.0, -1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uv = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.5, 0.5]], requires_grad=True)
    image = rasterize_mesh(vertices, faces, video_camera(18, 18, 1.0))
    values = interpolate(image, torch.tensor([[4, 4, 4], [0, 2, 3]]), uv)
    assert torch.allclose(values[image.face_index == 0], torch.full((2,), 0.5))
    y, x = torch.nonzero(image.face_index == 1, as_tuple=True)
    assert torch.allclose(values[y, x], torch.stack([(x + 0.5) / 18, (y + 0.5) / 18], -1), atol=1e-5)
    values.sum().backward()
    assert uv.grad is not None and float(uv.grad.sum()) == pytest.approx(2.0 * 18 * 18, rel=1e-4)


def test_colours_over_a_background() -> None:
    vertices, faces = sphere()
    camera = look_at_camera(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), width_px=32, height_px=32, focal_px=20.0)
    image = rasterize_mesh(
        vertices, faces, camera, colors=vertices * 0 + 0.25, background=torch.tensor([1.0, 0.5, 0.0])
    )
    assert image.rgb is not None
    assert torch.allclose(image.rgb[image.mask], torch.full((3,), 0.25))
    assert torch.equal(image.rgb[0, 0], torch.tensor([1.0, 0.5, 0.0]))


def test_visible_vertices_face_the_camera() -> None:
    vertices, faces = sphere(40, 80)
    eye = torch.tensor([0.0, 0.0, 4.0])
    camera = look_at_camera(eye, torch.zeros(3), width_px=256, height_px=256, focal_px=300.0)
    seen = visible_vertices(rasterize_mesh(vertices, faces, camera), vertices, camera)
    facing = (vertices * (eye - vertices)).sum(1) / (eye - vertices).norm(dim=1)
    assert seen[facing > 0.2].all() and not seen[facing < -0.1].any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), workers=st.integers(1, 5))
def test_any_soup_of_triangles_equals_a_loop_over_pixels(seed: int, workers: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    vertices = (torch.rand(12, 3, generator=rng) - torch.tensor([0.5, 0.5, 0.9])) * 4.0
    faces = torch.randint(0, 12, (10, 3), generator=rng)
    camera = video_camera(19, 13, 9.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bodydouble.render.mesh.kernel_threads", lambda: workers)
        image = rasterize_mesh(vertices, faces, camera)
    y, x = torch.meshgrid(torch.arange(13.0) + 0.5, torch.arange(19.0) + 0.5, indexing="ij")
    ray = torch.stack([(x - 9.5) / 9.0, (y - 6.5) / 9.0, torch.ones_like(x)], -1).double()
    points = (vertices.double() @ camera.T_camera_world[:3, :3].double().T)[faces]
    best = torch.full((13, 19), torch.inf).double()
    for p in points:
        weights = torch.stack([ray @ torch.linalg.cross(p[(k + 1) % 3], p[(k + 2) % 3]) for k in range(3)], -1)
        det = p[0] @ torch.linalg.cross(p[1], p[2])
        if det == 0:
            continue
        weights = weights * det.sign()
        depth = det.abs() / weights.sum(-1)
        hit = (weights >= 0).all(-1) & (depth >= 0.01)
        best = torch.where(hit & (depth < best), depth, best)
    differing = (image.depth - best).abs() > 1e-4 * best.clamp_max(100)
    assert differing.float().mean() < 0.01  # centres exactly on an edge may go either way
