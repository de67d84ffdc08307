"""Cutting, refining, smoothing and hemming of surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.core.normals import vertex_normals_array
from bodydouble.synth.noise import noise_at
from bodydouble.synth.surface import Smoother, Surface, boundary_edges, cut, refine, with_hems


def _sheet(count: int = 7) -> Surface:
    """A flat unit square in XY, facing +Z; attributes are the coordinates again."""
    x, y = np.meshgrid(np.linspace(0, 1, count), np.linspace(0, 1, count))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(count * count)], 1)
    i, j = np.meshgrid(np.arange(count - 1), np.arange(count - 1))
    a = (j * count + i).ravel()
    faces = np.concatenate([np.stack([a, a + 1, a + count + 1], 1), np.stack([a, a + count + 1, a + count], 1)])
    return Surface(points=points, faces=faces, attributes=points.copy())


def _area(surface: Surface) -> float:
    corner = surface.points[surface.faces]
    return float(np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1).sum() / 2)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.02, 0.98), st.floats(0, 6.28))
def test_cut_is_exact_for_a_straight_edge(share, angle):
    """Both halves of a sheet cut along a line make up the sheet, and the edge lies on the line."""
    sheet = _sheet()
    normal = np.array([np.cos(angle), np.sin(angle), 0.0])
    reach = sheet.points @ normal
    level = reach.min() + share * np.ptp(reach)
    field = reach - level + 1e-9
    above, below = cut(sheet, field), cut(sheet, -field)
    assert _area(above) + _area(below) == pytest.approx(1.0, abs=1e-6)
    assert (above.points @ normal >= level - 1e-6).all()
    np.testing.assert_allclose(above.attributes, above.points, atol=1e-9)
    corner = above.points[above.faces]
    assert (
        np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])[:, 2] >= -1e-12
    ).all()  # none turned over


def test_cut_keeps_and_drops_everything():
    sheet = _sheet()
    assert len(cut(sheet, np.ones(len(sheet.points))).faces) == len(sheet.faces)
    assert len(cut(sheet, -np.ones(len(sheet.points))).faces) == 0


def test_refine_keeps_the_surface():
    fine = refine(_sheet())
    assert len(fine.faces) == 4 * 72 and _area(fine) == pytest.approx(1.0)
    np.testing.assert_allclose(fine.attributes, fine.points)
    assert len(np.unique(fine.points.round(9), axis=0)) == len(fine.points)


def test_boundary_is_the_rim():
    sheet = _sheet()
    rim = sheet.points[np.unique(boundary_edges(sheet.faces))]
    assert len(rim) == 24
    assert (np.isin(rim[:, 0], [0, 1]) | np.isin(rim[:, 1], [0, 1])).all()


def test_smoothing_flattens_inside_and_keeps_the_rim_in_place():
    sheet = _sheet(11)
    bumpy = sheet.points.copy()
    inner = (np.abs(bumpy[:, :2] - 0.5) < 0.45).all(1)
    bumpy[inner, 2] += 0.1 * noise_at(bumpy[inner] * 37)
    smooth = Smoother(sheet.faces, len(bumpy))(bumpy, 20)
    assert np.abs(smooth[:, 2]).max() < 0.3 * np.abs(bumpy[:, 2]).max()
    assert np.abs(smooth[~inner, 2]).max() == 0.0  # the rim only averages along itself


def test_hems_close_edges_with_thickness():
    sheet = _sheet()
    normals = vertex_normals_array(sheet.points, sheet.faces)
    hemmed = with_hems(sheet, normals, 0.02)
    assert len(hemmed.faces) == len(sheet.faces) + 2 * 24
    assert hemmed.points[:, 2].min() == pytest.approx(-0.02)
    fold = vertex_normals_array(hemmed.points, hemmed.faces)[len(sheet.points) : len(sheet.points) + 24]
    outwards = hemmed.points[len(sheet.points) : len(sheet.points) + 24] - [0.5, 0.5, 0]
    assert ((fold * outwards).sum(1) > 0).all()  # the fold faces away from the sheet


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_noise_is_bounded_smooth_and_repeatable(point):
    p = np.array([point])
    here = noise_at(p)[0]
    assert -1 <= here <= 1
    assert noise_at(p)[0] == here
    assert abs(noise_at(p + 1e-4)[0] - here) < 2e-3
