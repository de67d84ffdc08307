"""Vertex normals: closed forms, and the two implementations against each other."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.core.normals import vertex_normals, vertex_normals_array

OCTAHEDRON = torch.tensor([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]], dtype=torch.float64)
FACES = torch.tensor([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
DISTINCT = np.array(list(itertools.combinations(range(12), 3)))
"""No two of these faces can cancel each other."""


def test_normals_of_an_octahedron_point_away_from_its_middle():
    torch.testing.assert_close(vertex_normals(OCTAHEDRON, FACES), OCTAHEDRON)
    torch.testing.assert_close(vertex_normals(OCTAHEDRON, FACES.flip(1)), -OCTAHEDRON)


def test_larger_faces_weigh_more():
    """Two faces meet at a right angle, one twice as large as the other."""
    vertices = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2.0]], dtype=torch.float64)
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    torch.testing.assert_close(normals[0], torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64) / 5**0.5)


def test_a_vertex_without_faces_has_no_normal():
    vertices = torch.cat([OCTAHEDRON, torch.ones(1, 3, dtype=torch.float64)])
    assert vertex_normals(vertices, FACES)[-1].tolist() == [0.0, 0.0, 0.0]
    assert vertex_normals_array(vertices.numpy(), FACES.numpy())[-1].tolist() == [0.0, 0.0, 0.0]


@given(seed=st.integers(0, 10_000))
def test_both_implementations_agree(seed: int):
    rng = np.random.default_rng(seed)
    vertices, faces = rng.normal(size=(12, 3)), rng.choice(DISTINCT, 20, replace=False)
    ours = vertex_normals(torch.from_numpy(vertices), torch.from_numpy(faces)).numpy()
    np.testing.assert_allclose(vertex_normals_array(vertices, faces), ours, atol=1e-12)


def test_gradients_reach_the_vertices():
    vertices = OCTAHEDRON.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, FACES), (vertices,))
