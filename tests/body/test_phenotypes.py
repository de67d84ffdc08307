"""Interpolation over the phenotypes."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from bodydouble.body.phenotypes import LEVELS, PHENOTYPES, blend_weights, block_rows, corner_shapes, level_weights


@given(st.floats(-0.5, 1.5), st.integers(2, 5))
def test_level_weights_reproduce_the_value(value, levels):
    """Weights sum to 1 and interpolate the anchors' positions exactly, also beyond the ends."""
    weights = level_weights(torch.tensor(value, dtype=torch.float64), levels)
    anchors = torch.linspace(0, 1, levels, dtype=torch.float64)
    assert abs(float(weights.sum()) - 1) < 1e-9
    assert abs(float((weights * anchors).sum()) - value) < 1e-9
    assert int((weights != 0).sum()) <= 2


def test_corners_are_pure():
    """At a corner every family has weight on exactly one of its shapes (a baby has none for proportions)."""
    weights = blend_weights(corner_shapes())
    families = [block for block, _ in block_rows()]
    is_baby = corner_shapes()[:, PHENOTYPES.index("age")] == 0
    for family in set(families):
        columns = torch.tensor([f == family for f in families])
        total = weights[:, columns].sum(1)
        expected = (
            torch.where(is_baby, 0.0, 1.0).double() if family == "proportions" else torch.ones(len(total)).double()
        )
        torch.testing.assert_close(total, expected)
        assert ((weights[:, columns] == 0) | (weights[:, columns] == 1)).all()


def test_blend_weights_are_the_products_of_their_levels():
    shape = torch.tensor([0.3, 0.55, 0.2, 0.9, 0.4, 0.75], dtype=torch.float64)
    levels = {}
    for i, phenotype in enumerate(PHENOTYPES):
        levels.update(zip(LEVELS[phenotype], level_weights(shape[i], len(LEVELS[phenotype])).tolist(), strict=True))
    for (_, names), weight in zip(block_rows(), blend_weights(shape).tolist(), strict=True):
        product = 1.0
        for name in names:
            product *= levels[name]
        assert abs(product - weight) < 1e-12


@given(st.lists(st.floats(0.01, 0.99), min_size=6, max_size=6))
def test_gradients_are_finite(values):
    shape = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(blend_weights(shape).square().sum(), shape)
    assert gradient.isfinite().all()


def test_gradients_at_the_anchors_are_not_dead():
    shape = torch.full((6,), 0.5, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(blend_weights, shape)
    assert (jacobian.abs().amax(0) > 0).all()
