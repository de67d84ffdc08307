"""Surface metrics against closed forms on spheres and boxes, and against trimesh and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.errors import ConfigError, ShapeError
from bodydouble.evaluate.surfaces import Surface, compare_surfaces, face_normals, outer_faces, sample_surface
from bodydouble.evaluate.triangle_tree import nearest_on_surface, triangle_tree, winding_numbers


def sphere(radius: float = 0.3, subdivisions: int = 3) -> Surface:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Surface(vertices_m=np.asarray(mesh.vertices), faces=np.asarray(mesh.faces))


def box(size: tuple[float, float, float], shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Surface:
    mesh = trimesh.creation.box(extents=size)
    return Surface(vertices_m=np.asarray(mesh.vertices) + np.array(shift), faces=np.asarray(mesh.faces))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), faces=st.integers(1, 60))
def test_distances_equal_trimesh_on_any_soup_of_triangles(seed: int, faces: int) -> None:
    rng = np.random.default_rng(seed)
    vertices, index = rng.normal(size=(3 * faces, 3)), np.arange(3 * faces).reshape(-1, 3)
    points = 2.0 * rng.normal(size=(30, 3))
    distance, face = nearest_on_surface(triangle_tree(vertices, index), points)
    mesh = trimesh.Trimesh(vertices, index, process=False)
    _, expected, _ = trimesh.proximity.closest_point_naive(mesh, points)
    np.testing.assert_allclose(distance, expected, atol=1e-9)
    corners = vertices[index[face]]
    again = trimesh.triangles.closest_point(corners, points)
    np.testing.assert_allclose(np.linalg.norm(again - points, axis=1), distance, atol=1e-9)


def solid_angles_by_brute_force(surface: Surface, points: np.ndarray) -> np.ndarray:
    a, b, c = (surface.vertices_m[surface.faces[:, k]][None] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    volume = np.einsum("pfi,pfi->pf", a, np.cross(b, c))
    base = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return (2.0 * np.arctan2(volume, base)).sum(axis=1) / (4.0 * np.pi)


def test_winding_numbers_are_one_inside_and_zero_outside_even_with_a_hole() -> None:
    ball = sphere()
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.45, 0.45, size=(400, 3))
    radius = np.linalg.norm(points, axis=1)
    clear = np.abs(radius - 0.3) > 0.01
    winding = winding_numbers(triangle_tree(ball.vertices_m, ball.faces), points)
    np.testing.assert_allclose(winding[clear], (radius < 0.3)[clear], atol=0.03)
    open_ball = Surface(vertices_m=ball.vertices_m, faces=ball.faces[::2])  # every other triangle is missing
    found = winding_numbers(triangle_tree(open_ball.vertices_m, open_ball.faces), points)
    np.testing.assert_allclose(found, solid_angles_by_brute_force(open_ball, points), atol=0.03)


def test_two_spheres_have_the_closed_forms() -> None:
    small, large = sphere(0.30), sphere(0.33)
    found = compare_surfaces(small, large, samples=2000, grid_m=0.025)
    assert found.p2s_cm == pytest.approx(3.0, abs=0.06)
    assert found.completeness_cm == pytest.approx(3.0, abs=0.06)
    assert found.chamfer_cm == pytest.approx((found.p2s_cm + found.completeness_cm) / 2)
    assert found.normal_consistency == pytest.approx(1.0, abs=2e-3)
    assert found.volume_iou == pytest.approx((0.30 / 0.33) ** 3, abs=0.03)


def test_what_lies_inside_does_not_count() -> None:
    """A ball within a ball, and a tube that ends in it, cannot be seen from outside."""
    ball, tube = sphere(0.30), box((0.1, 0.1, 0.5), (0.0, 0.0, 0.25))
    parts = (ball, sphere(0.2), tube)
    starts = np.cumsum([0, *(len(part.vertices_m) for part in parts)])
    dressed = Surface(
        vertices_m=np.concatenate([part.vertices_m for part in parts]),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
    )
    shown = outer_faces(dressed, triangle_tree(dressed.vertices_m, dressed.faces))
    middles = dressed.vertices_m[shown.faces].mean(axis=1)
    assert len(shown.faces) < len(dressed.faces)
    assert np.linalg.norm(middles, axis=1).min() > 0.25
    whole = Surface(vertices_m=ball.vertices_m, faces=ball.faces)
    inner = Surface(
        vertices_m=dressed.vertices_m[: starts[2]], faces=dressed.faces[: len(ball.faces) + len(parts[1].faces)]
    )
    found = compare_surfaces(whole, inner, samples=500, grid_m=0.05)
    assert found.chamfer_cm == pytest.approx(0.0, abs=1e-6)
    assert found.normal_consistency == pytest.approx(1.0, abs=1e-6)
    assert found.volume_iou == 1.0


def test_shifted_boxes_have_the_closed_form_of_volume_and_direction() -> None:
    a, b = box((0.4, 0.4, 0.4)), box((0.4, 0.4, 0.4), (0.1, 0.0, 0.0))
    found = compare_surfaces(a, b, samples=2000, grid_m=0.02)
    assert found.volume_iou == pytest.approx(0.3 / 0.5, abs=1e-9)
    plane = box((0.4, 0.4, 0.0001))
    turned = Surface(vertices_m=plane.vertices_m, faces=plane.faces[:, ::-1])
    assert compare_surfaces(plane, turned, samples=500, grid_m=0.1).normal_consistency < -0.4


def test_directions_differ_where_something_is_missing() -> None:
    whole, part = sphere(), sphere()
    part = Surface(vertices_m=part.vertices_m, faces=part.faces[part.vertices_m[part.faces].mean(axis=1)[:, 1] > 0.0])
    found = compare_surfaces(part, whole, samples=2000, grid_m=0.1)
    assert found.p2s_cm < 1e-6 and found.completeness_cm > 5.0


def test_samples_are_even_by_area_and_repeat_by_seed() -> None:
    plates = Surface(
        vertices_m=np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [8, 0, 0], [5, 1, 0]], dtype=np.float64),
        faces=np.array([[0, 1, 2], [3, 4, 5]]),
    )
    points, face = sample_surface(plates, 4000, np.random.default_rng(1))
    assert (face == 1).mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(points[face == 0].mean(axis=0), [1 / 3, 1 / 3, 0], atol=0.03)
    again, _ = sample_surface(plates, 4000, np.random.default_rng(1))
    np.testing.assert_array_equal(points, again)
    np.testing.assert_allclose(face_normals(plates), [[0, 0, 1], [0, 0, 1]])


def test_unusable_surfaces_are_named() -> None:
    ball = sphere(subdivisions=1)
    with pytest.raises(ShapeError, match="A surface needs triangles, got 42 vertices and 0 faces"):
        triangle_tree(ball.vertices_m, ball.faces[:0])
    with pytest.raises(ShapeError, match="some are NaN or infinite"):
        triangle_tree(ball.vertices_m * np.nan, ball.faces)
    with pytest.raises(ShapeError, match=r"must name vertices 0 to 41, got 1 to 42"):
        triangle_tree(ball.vertices_m, ball.faces + 1)
    with pytest.raises(ConfigError, match="must be positive"):
        compare_surfaces(ball, ball, samples=0)
