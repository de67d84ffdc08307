"""Groups of parts on the body and in pictures; learnt skinning; colour that depends on the view; the log."""

from __future__ import annotations

import math

import pytest
import torch
from test_density import make_state

from bodydouble.avatar.drive import pose_splats
from bodydouble.body.anny import load_anny
from bodydouble.core.events import Densified, PartDensity
from bodydouble.core.geometry import quat_wxyz_to_matrix, rotvec_to_matrix
from bodydouble.reconstruct.splats.config import LossWeights
from bodydouble.reconstruct.splats.log import ConfidenceMap, TrainingLog, read_log, spread_places, write_log
from bodydouble.reconstruct.splats.objective import extent_along, find_neighbours, part_weights, splat_loss
from bodydouble.reconstruct.splats.parts import GROUPS, PartSurfaces, face_groups, vertex_groups
from bodydouble.reconstruct.splats.posing import as_splats, baked_weights, posed_cloud, skin_weights
from bodydouble.reconstruct.splats.reach import reach_of_groups
from bodydouble.reconstruct.splats.seed import LEARNT

BODY, FACE, HEAD = (GROUPS.index(name) for name in ("body", "face", "head"))
unit = torch.nn.functional.normalize


def _fields(state) -> dict[str, torch.Tensor]:
    return {name: getattr(state, name) for name in LEARNT}


def _neighbours(state, normals: torch.Tensor, groups: torch.Tensor | None = None, hair_m: float = 0.05):
    groups = torch.full((len(normals),), BODY) if groups is None else groups
    return find_neighbours(state, normals, groups, LossWeights(), reach_of_groups(hair_m, LossWeights()))


def _valid(n: int):
    state = make_state(n)
    return state.replace(weights=state.weights / state.weights.sum(1, keepdim=True), quats=state.quats + 0.1)


def test_groups_cover_the_body_and_faces_follow_their_corners() -> None:
    body = load_anny()
    of = vertex_groups(body)
    assert set(of.tolist()) == set(range(len(GROUPS)))
    hand = body.part_names.index("left_hand")
    assert set(of[body.vertex_parts == hand].tolist()) == {GROUPS.index("hands")}
    corners = of[body.faces.long()]
    agreed = corners[:, 0] == corners[:, 1]
    assert torch.equal(face_groups(body)[agreed], corners[agreed, 0])


def test_distance_is_to_the_own_part() -> None:
    body = load_anny()
    vertices = body.with_shape(body.shape_default).vertices_rest.detach()
    surfaces, hands = PartSurfaces(vertices, vertex_groups(body)), GROUPS.index("hands")
    of = vertex_groups(body)
    on_hand = vertices[of == hands][:5]
    groups = torch.full((5,), hands)
    assert float(surfaces.distance_m(on_hand, groups).max()) < 1e-6
    # A point of the hand is half an arm away from the head, however near to its own skin.
    assert float(surfaces.distance_m(on_hand, torch.full((5,), GROUPS.index("head"))).min()) > 0.3


def test_no_residual_leaves_the_weights_and_a_residual_moves_them() -> None:
    weights = torch.tensor([[0.7, 0.3, 0.0, 0.0]])
    torch.testing.assert_close(skin_weights(weights, torch.zeros(1, 4)), weights, atol=1e-6, rtol=0)
    moved = skin_weights(weights, torch.tensor([[0.0, 1.0, 5.0, 0.0]]))
    odds = float(moved[0, 1] / moved[0, 0])
    assert odds == pytest.approx(0.3 / 0.7 * math.e, rel=1e-4)
    assert float(moved[0, 2]) < 1e-4  # a bone that never moved the splat does not begin to
    assert float(moved.sum()) == pytest.approx(1.0, abs=1e-6)


def test_weights_learn_through_the_skin_kernel() -> None:
    """The gradient of the residual against differences of the forward pass."""
    state = _valid(6)
    R = rotvec_to_matrix(0.4 * torch.randn(5, 3, generator=torch.Generator().manual_seed(1)))
    t = 0.1 * torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    fields = _fields(state)

    def value(deltas: torch.Tensor) -> torch.Tensor:
        cloud = posed_cloud(fields | {"skin_deltas": deltas}, state, R, t, fields["means"])
        return (cloud.means_world**2).sum() + (cloud.quats_wxyz * torch.arange(4.0)).sum()

    deltas = fields["skin_deltas"].clone().requires_grad_()
    value(deltas).backward()
    step = 1e-2
    for i, k in ((0, 0), (2, 1), (5, 3)):
        up, down = deltas.detach().clone(), deltas.detach().clone()
        up[i, k] += step
        down[i, k] -= step
        slope = float(value(up) - value(down)) / (2 * step)
        assert float(deltas.grad[i, k]) == pytest.approx(slope, rel=0.02, abs=2e-3)


def test_training_and_the_avatar_show_the_same() -> None:
    """What is trained, view-dependent colour and learnt skinning included, is what the baked splats do."""
    state = _valid(8)
    R = rotvec_to_matrix(0.7 * torch.randn(5, 3, generator=torch.Generator().manual_seed(3)))
    t = torch.randn(5, 3, generator=torch.Generator().manual_seed(4))
    trained = posed_cloud(_fields(state), state, R, t, state.means)
    driven = pose_splats(as_splats(state), R, t)
    for name in ("means_world", "quats_wxyz", "scales_m", "opacities", "sh"):
        torch.testing.assert_close(getattr(trained, name), getattr(driven, name), atol=1e-5, rtol=1e-4)
    assert trained.sh.shape == (8, 4, 3)
    assert not torch.allclose(baked_weights(state), state.weights)


def test_a_rough_residual_costs_more_than_a_smooth_one() -> None:
    state = make_state(30).replace(joints=torch.zeros(30, 4, dtype=torch.long))
    neighbours = _neighbours(state, unit(state.anchors))
    assert neighbours.others.shape == (30, 4)
    assert bool((neighbours.others != torch.arange(30)[:, None]).all())
    assert bool((neighbours.shared == 1).all())
    smooth = state.replace(skin_deltas=torch.full((30, 4), 0.5))
    sign = torch.where(torch.arange(30) % 2 == 0, 0.5, -0.5)[:, None].expand(30, 4).contiguous()
    rough = state.replace(skin_deltas=sign)

    def cost(s) -> float:
        return float(splat_loss(_fields(s), s, LossWeights(), max_scale_m=1.0, neighbours=neighbours))

    assert cost(rough) > cost(smooth) > cost(state.replace(skin_deltas=torch.zeros(30, 4)))


def test_neighbours_are_the_nearest_birthplaces_even_among_twins() -> None:
    line = torch.zeros(7, 3)
    line[:, 0] = torch.tensor([0.0, 0.0, 1.0, 2.1, 3.3, 4.6, 6.0])  # the first two are twins
    state = make_state(7).replace(anchors=line)
    found = _neighbours(state, unit(torch.ones(7, 3))).others
    expected = (line[:, None] - line).norm(dim=-1) + 100.0 * torch.eye(7)
    torch.testing.assert_close(
        (line[found] - line[:, None]).norm(dim=-1).sort(dim=1).values, expected.sort(dim=1).values[:, :4]
    )


def test_heights_that_jump_cost_and_those_that_rise_together_do_not() -> None:
    state = make_state(40)
    normals = unit(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)))
    clothed = torch.arange(40) % 3 > 0
    neighbours = _neighbours(state, normals, torch.where(clothed, BODY, FACE))
    only = LossWeights(anchor=0.0, scale=0.0, thin=0.0, skin=0.0, reach=0.0)

    def cost(heights_m: torch.Tensor) -> float:
        s = state.replace(means=state.anchors + heights_m[:, None] * normals)
        return float(splat_loss(_fields(s), s, only, max_scale_m=1.0, neighbours=neighbours))

    heights = torch.randn(40, generator=torch.Generator().manual_seed(1)) * 0.01
    assert cost(torch.full((40,), 0.03)) == pytest.approx(0.0, abs=1e-6)
    apart = (heights[:, None] - heights[neighbours.others]).abs()
    huber = 2.0 * torch.nn.functional.huber_loss(apart, torch.zeros_like(apart), delta=only.step_m, reduction="none")
    expected = torch.where(clothed[:, None], huber, apart**2).mean()
    assert cost(heights) == pytest.approx(only.smooth * float(expected), rel=1e-4)


def test_faces_stay_and_hair_goes_as_far_as_it_was_seen_to() -> None:
    state = make_state(3)
    groups = torch.tensor([FACE, HEAD, BODY])
    only = LossWeights(anchor=0.0, scale=0.0, thin=0.0, skin=0.0, smooth=0.0)
    away = unit(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)))

    def cost(*far_m: float, hair_m: float = 0.05) -> float:
        s = state.replace(means=state.anchors + torch.tensor(far_m)[:, None] * away)
        neighbours = _neighbours(s, unit(torch.ones(3, 3)), groups, hair_m)
        return float(splat_loss(_fields(s), s, only, max_scale_m=1.0, neighbours=neighbours))

    assert cost(0.99 * only.face_reach_m, 0.049, 0.3) == 0.0
    assert cost(only.face_reach_m + 0.01, 0.0, 0.0) == pytest.approx(only.reach * 0.01**2 / 3, rel=1e-3)
    assert cost(0.0, 0.06, 0.0) == pytest.approx(only.reach * 0.01**2 / 3, rel=1e-2)
    low, high = only.hair_reach_m
    assert cost(0.0, 0.99 * low, 0.0, hair_m=0.0) == 0.0 < cost(0.0, high + 0.01, 0.0, hair_m=9.0)


def test_heads_are_thinner_than_clothes() -> None:
    thick = _neighbours(make_state(3), unit(torch.ones(3, 3)), torch.tensor([FACE, HEAD, BODY])).thickness_m.tolist()
    weights = LossWeights()
    assert thick == pytest.approx([weights.head_thickness_m, weights.head_thickness_m, weights.thickness_m])


def test_the_extent_along_a_direction_is_that_of_the_covariance() -> None:
    generator = torch.Generator().manual_seed(2)
    quats, scales = torch.randn(50, 4, generator=generator), 0.1 * torch.rand(50, 3, generator=generator) + 1e-3
    along = unit(torch.randn(50, 3, generator=generator))
    R = quat_wxyz_to_matrix(unit(quats))
    covariance = R @ torch.diag_embed(scales**2) @ R.transpose(1, 2)
    expected = torch.einsum("ni,nij,nj->n", along, covariance, along).sqrt()
    torch.testing.assert_close(extent_along(along, quats, scales.log()), expected)


def test_pixels_of_hands_and_face_weigh_what_they_should() -> None:
    assert part_weights(LossWeights(hands=1.0, face=1.0)) is None
    table = part_weights(LossWeights(hands=3.0, face=2.0))
    assert float(table[GROUPS.index("hands")]) == 3.0
    assert float(table[GROUPS.index("face")]) == 2.0
    assert float(table[GROUPS.index("body")]) == float(table[255]) == 1.0


def test_the_log_survives_its_file(tmp_path) -> None:
    part = PartDensity(part="hands", gradient=math.nan, threshold=2e-4, cloned=1, split=2, pruned=3, total=4)
    log = TrainingLog([Densified(step=3, cloned=1, split=2, pruned=3, total=4, parts=(part,))])
    noise = ConfidenceMap(
        frame_index=5, rendered=torch.zeros(8, 8, 3, dtype=torch.uint8), noise=torch.full((1, 1), 0.25)
    )
    write_log(tmp_path, log, (noise,))
    back, maps = read_log(tmp_path)
    assert back.events[0].step == 3
    assert math.isnan(back.events[0].parts[0].gradient)
    assert back.events[0].parts[0].threshold == 2e-4
    assert maps[0].frame_index == 5
    torch.testing.assert_close(maps[0].noise, noise.noise)
    empty, none = read_log(tmp_path / "elsewhere")
    assert empty.events == [] and none == ()


def test_places_are_spread_from_end_to_end() -> None:
    assert spread_places(10, 4) == [0, 3, 6, 9]
    assert spread_places(2, 5) == [0, 1]
