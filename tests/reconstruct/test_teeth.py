"""Teeth: two closed rows behind the lips, of which one goes with the jaw."""

from __future__ import annotations

import pytest
import torch

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.fit.features import rest_body
from bodydouble.reconstruct.inside_head import lip_rims, mouth_opening
from bodydouble.reconstruct.surface.extract import ClosedMesh, mesh_facts
from bodydouble.reconstruct.teeth import Teeth, teeth


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


@pytest.fixture(scope="module")
def rows(anny: AnnyBody) -> Teeth:
    return teeth(anny, rest_body(anny, anny.shape_default).vertices_rest)


def test_two_closed_rows_lie_behind_the_lips(anny: AnnyBody, rows: Teeth) -> None:
    opening = mouth_opening(anny, rest_body(anny, anny.shape_default).vertices_rest)
    assert opening is not None
    half = len(rows.faces) // 2
    for faces in (rows.faces[:half], rows.faces[half:] - len(rows.vertices_rest_m) // 2):
        facts = mesh_facts(ClosedMesh(vertices_m=rows.vertices_rest_m[: len(rows.vertices_rest_m) // 2], faces=faces))
        assert facts.manifold and facts.pieces == 1 and facts.euler == 2
    for upper in (True, False):
        own = slice(None, half) if upper else slice(half, None)
        facts = mesh_facts(ClosedMesh(vertices_m=rows.vertices_rest_m, faces=rows.faces[own]))
        assert 3e-7 < facts.volume_m3 < 5e-6  # a few millilitres, and not inside out
    assert float(rows.vertices_rest_m[:, 2].max()) < opening.front_m - 0.003
    assert float(rows.vertices_rest_m[:, 0].abs().max()) < 0.5 * opening.width_m
    assert float((rows.vertices_rest_m[:, 1] - opening.middle_m[1]).abs().max()) < 0.015


def test_the_lower_row_goes_with_the_jaw_and_the_upper_one_stays(anny: AnnyBody, rows: Teeth) -> None:
    half = len(rows.vertices_rest_m) // 2
    jaw = rows.deltas_m[anny.action_names.index("jawOpen")]
    assert not bool(jaw[:half].any())
    _, lower = lip_rims(anny)
    lip = anny.action_deltas[anny.action_names.index("jawOpen"), lower]
    assert float(jaw[half:, 1].min()) == pytest.approx(float(lip[:, 1].min()), rel=0.15)
    still = [name for name in anny.action_names if not name.startswith("jaw")]
    assert not bool(rows.deltas_m[[anny.action_names.index(name) for name in still]].any())
    assert bool(torch.isfinite(rows.deltas_m).all())
