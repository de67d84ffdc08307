"""What the heads of suite `faces` do, and the figures that are made of it."""

from __future__ import annotations

import numpy as np
import pytest

from bodydouble.bench.faces import FaceScores, clip_expressions
from bodydouble.body.protocol import ARKIT_ACTIONS


def test_every_action_is_shown_alone_at_full_strength() -> None:
    rows = clip_expressions(1)
    assert rows.min() == 0 and rows.max() == 1
    assert (rows[:3] == 0).all()
    for k, name in enumerate(ARKIT_ACTIONS):
        full = rows[rows[:, k] == 1]
        assert len(full), name
        assert ((full > 0).sum(1) <= 2).any(), name
    assert not np.array_equal(clip_expressions(1), clip_expressions(2))


def test_figures_of_a_perfect_and_of_a_deaf_reader() -> None:
    truth = clip_expressions(3)
    heads = np.zeros(len(truth))
    perfect = FaceScores(found=truth, truth=truth, heads=heads)
    assert perfect.correlations() == pytest.approx(1.0)
    assert (perfect.errors() == 0).all() and (perfect.cross_talk() == 0).all()
    deaf = FaceScores(found=np.full_like(truth, 0.2), truth=truth, heads=heads)
    assert (deaf.correlations() == 0).all()
    assert deaf.cross_talk() == pytest.approx(0.2)
