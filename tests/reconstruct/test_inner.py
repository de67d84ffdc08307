"""Mouth and eyes behind a closed face: hidden at rest, filling what opens, in colours of their own."""

from __future__ import annotations

import pytest
import torch

from bodydouble.avatar.values import Morph, Splats
from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.fit.features import rest_body
from bodydouble.reconstruct.inside_head import (
    Opening,
    eye_colors,
    face_brightness,
    mouth_opening,
    mouth_vertex_colors,
)
from bodydouble.reconstruct.splats.inner import inner_mouth, joined
from bodydouble.render.sh import mean_rgb


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


def _opening(anny: AnnyBody) -> Opening:
    found = mouth_opening(anny, anny.with_shape(anny.shape_default).vertices_rest)
    assert found is not None
    return found


def test_the_opening_lies_between_the_lips(anny: AnnyBody) -> None:
    opening = _opening(anny)
    eyes = anny.with_shape(anny.shape_default).joints_rest[anny.bone_names.index("eye.L")]
    assert abs(float(opening.middle_m[0])) < 1e-3
    assert 0.05 < float(eyes[1] - opening.middle_m[1]) < 0.09
    assert 0.04 < opening.width_m < 0.07


def test_a_body_without_a_cavity_gets_none(anny: AnnyBody) -> None:
    bare = anny.replace(vertex_parts=torch.zeros_like(anny.vertex_parts))
    shaped = bare.with_shape(bare.shape_default)
    assert mouth_opening(bare, shaped.vertices_rest) is None
    assert inner_mouth(bare, rest_body(bare, bare.shape_default), 1.0) is None
    assert not mouth_vertex_colors(bare, shaped.vertices_rest, 1.0).any()


def test_at_rest_it_is_a_line_and_it_fills_the_open_mouth(anny: AnnyBody) -> None:
    shaped = anny.with_shape(anny.shape_default)
    found = inner_mouth(anny, rest_body(anny, anny.shape_default), 1.0, 3)
    assert found is not None
    splats, moved = found
    opening = _opening(anny)
    assert splats.sh.shape[1:] == (4, 3)
    assert (splats.means_rest_m[:, 2] < opening.front_m - 0.01).all()  # all of it behind the lips
    assert torch.allclose(splats.quats_wxyz.norm(dim=1), torch.ones(len(splats.seen)), atol=1e-5)
    curtain = moved["tongueOut"].norm(dim=1) < 1e-4
    rest = splats.means_rest_m[curtain]
    middle = (rest[:, 0] - opening.middle_m[0]).abs() < 0.006
    assert float(rest[middle, 1].max() - rest[middle, 1].min()) < 0.003
    assert float(rest[:, 0].abs().max()) < 0.3 * opening.width_m
    opened = (rest + moved["jawOpen"][curtain])[middle, 1].sort().values
    assert float(opened[-1] - opened[0]) > 0.025
    assert float(opened.diff().max()) < 0.004  # no holes
    edges = shaped.with_expression(_only(anny, "jawOpen")).vertices_rest
    lips = mouth_opening(anny, edges)
    assert lips is not None
    assert abs(float(opened.mean() - lips.middle_m[1])) < 0.008


def _only(anny: AnnyBody, action: str) -> torch.Tensor:
    return torch.tensor([float(name == action) for name in anny.action_names])


def test_inside_is_dark_teeth_are_light_and_the_tongue_comes_out(anny: AnnyBody) -> None:
    found = inner_mouth(anny, rest_body(anny, anny.shape_default), 1.0)
    assert found is not None
    splats, moved = found
    color = mean_rgb(splats.sh)
    assert (color >= 0).all() and (color <= 1).all()
    assert (color.mean(1) > 0.4).sum() > 20
    assert (color.mean(1) < 0.15).sum() > 100
    out = splats.means_rest_m + moved["tongueOut"]
    assert float(out[:, 2].max()) > _opening(anny).front_m
    dim = inner_mouth(anny, rest_body(anny, anny.shape_default), 0.6)
    assert dim is not None
    assert mean_rgb(dim[0].sh).mean() < color.mean()


def test_joining_keeps_what_was_there(anny: AnnyBody) -> None:
    found = inner_mouth(anny, rest_body(anny, anny.shape_default), 1.0)
    assert found is not None
    n = 7
    own = Splats(
        means_rest_m=torch.rand(n, 3), quats_wxyz=torch.rand(n, 4), scales_m=torch.rand(n, 3), opacities=torch.rand(n),
        sh=torch.rand(n, 1, 3), joints=torch.zeros(n, 4, dtype=torch.long), weights=torch.ones(n, 4) / 4,
        seen=torch.rand(n),
        morphs=tuple(Morph(name=a, indices=torch.tensor([1]), deltas_m=torch.ones(1, 3)) for a in anny.action_names),
    )  # fmt: skip
    both = joined(own, found, 1e-4)
    assert len(both.means_rest_m) == n + len(found[0].means_rest_m)
    assert torch.equal(both.means_rest_m[:n], own.means_rest_m)
    jaw = both.morphs[anny.action_names.index("jawOpen")]
    assert int(jaw.indices[0]) == 1 and (jaw.indices[1:] >= n).all()
    assert torch.allclose(jaw.deltas_m[1:], found[1]["jawOpen"][jaw.indices[1:] - n])
    blink = both.morphs[anny.action_names.index("browInnerUp")]
    assert len(blink.indices) < 40  # hardly anything of the mouth goes with the brows


def test_eyeballs_have_pupil_iris_and_white(anny: AnnyBody) -> None:
    shaped = anny.with_shape(anny.shape_default)
    eye = shaped.joints_rest[anny.bone_names.index("eye.R")]
    places = eye + torch.tensor([[0, 0, 0.012], [0.004, 0, 0.012], [0.009, 0, 0.009], [0, 0, -0.012], [0, 0.05, 0.01]])
    on_ball, color = eye_colors(anny, rest_body(anny, anny.shape_default), places, 1.0)
    assert on_ball.tolist() == [True, True, True, True, False]
    assert color[0].max() < 0.05 < color[1].max() < 0.3 < color[2].min()
    assert torch.equal(color[2], color[3])


def test_brightness_follows_the_face() -> None:
    face = torch.ones(50, dtype=torch.bool)
    assert face_brightness(torch.full((50, 3), 0.62), face) == pytest.approx(1.0)
    assert face_brightness(torch.full((50, 3), 0.1), face) == pytest.approx(0.55)
    assert face_brightness(torch.ones(50, 3), face) == pytest.approx(1.15)
    assert face_brightness(torch.ones(50, 3), ~face) == 1.0


def test_the_mesh_is_dark_inside(anny: AnnyBody) -> None:
    colors = mouth_vertex_colors(anny, anny.with_shape(anny.shape_default).vertices_rest, 1.0)
    inside = anny.vertex_parts == anny.part_names.index("mouth")
    assert colors[inside].max() < 0.6
    assert colors[inside].mean() < 0.25
