"""What nobody filmed: the Laplacian, filled fields, and guessed splats."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.body.anny import load_anny
from bodydouble.core.normals import vertex_normals
from bodydouble.reconstruct.harmonic import cotangent_laplacian, fill_fields, mirror_vertices, through_vertices
from bodydouble.reconstruct.splats.prior import fill_unseen, guess_unseen, ramp, region_seen
from bodydouble.reconstruct.splats.seed import seed_splats


@pytest.fixture(scope="module")
def body():
    return load_anny()


@pytest.fixture(scope="module")
def rest(body) -> torch.Tensor:
    return body.with_shape(body.shape_default).vertices_rest.detach().float()


def grid(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A flat square of n x n vertices, each cell of two right triangles."""
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    vertices = torch.stack([x.flatten() / n - 0.5 + 0.5 / n, y.flatten() / n, torch.zeros(n * n)], dim=1)
    a = (y[:-1, :-1] * n + x[:-1, :-1]).flatten()
    faces = torch.cat([torch.stack([a, a + 1, a + n], 1), torch.stack([a + 1, a + n + 1, a + n], 1)])
    return vertices, faces


def test_the_laplacian_is_that_of_the_five_point_star() -> None:
    vertices, faces = grid(6)
    laplacian = cotangent_laplacian(vertices, faces).toarray()
    assert abs(laplacian - laplacian.T).max() < 1e-12 and abs(laplacian.sum(1)).max() < 1e-9
    inner = 2 * 6 + 3
    assert laplacian[inner, inner] == pytest.approx(4.0, abs=0.01)
    assert [laplacian[inner, inner + d] for d in (-6, -1, 1, 6)] == pytest.approx([-1.0] * 4, abs=0.01)


def test_between_two_edges_a_field_is_a_straight_line() -> None:
    vertices, faces = grid(9)
    weight = torch.zeros(81)
    weight[:9], weight[72:] = 1.0, 1.0
    data = torch.zeros(81, 1)
    data[72:] = 1.0
    filled = fill_fields(data, weight, vertices, faces)
    expected = vertices[:, 1:2] / vertices[:, 1].max()
    assert float((filled - expected).abs().max()) < 0.12  # data pull with a finite weight
    assert float((filled[36:45] - 0.5).abs().max()) < 0.01


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_what_is_filled_in_lies_between_the_data(body, rest, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    data = torch.rand(len(rest), 2, generator=generator)
    weight = (torch.rand(len(rest), generator=generator) * (rest[:, 2] > 0.05)).clamp(max=1.0)
    filled = fill_fields(data, weight, rest, body.faces)
    known = data[weight > 0]
    assert bool((filled >= known.amin(0) - 1e-4).all()) and bool((filled <= known.amax(0) + 1e-4).all())


def test_mirroring_is_its_own_inverse(rest) -> None:
    mirror = mirror_vertices(rest)
    assert torch.equal(mirror[mirror], torch.arange(len(rest)))
    torch.testing.assert_close(rest[mirror], rest * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-4, rtol=0.0)


def test_a_seen_left_arm_tells_the_right_one(body, rest) -> None:
    stripes = torch.sin(40.0 * rest[:, :1].abs())
    weight = (rest[:, 0] > 0.0).float()
    filled = fill_fields(stripes * weight[:, None], weight, rest, body.faces)
    skin = torch.tensor([name not in ("mouth", "eyes") for name in body.part_names])[body.vertex_parts.long()]
    right = skin & (rest[:, 0] < -0.2)
    assert float((filled - stripes)[right].abs().mean()) < 0.15 * float(stripes[right].abs().mean())
    blind = fill_fields(stripes * weight[:, None], torch.zeros(len(rest)), rest, body.faces)
    assert float((blind - stripes)[right].abs().mean()) > 0.5 * float(stripes[right].abs().mean())


@settings(max_examples=20, deadline=None)
@given(a=st.floats(0.0, 1.0, width=32), b=st.floats(0.0, 1.0, width=32))
def test_a_ramp_rises_from_0_to_1(a: float, b: float) -> None:
    low, high = ramp(torch.tensor(sorted((a, b))), 0.2, 0.6).tolist()
    assert 0.0 <= low <= high <= 1.0
    assert ramp(torch.tensor([0.2, 0.4, 0.6]), 0.2, 0.6).tolist() == pytest.approx([0.0, 0.5, 1.0], abs=1e-5)


def test_a_hidden_splat_among_seen_ones_is_no_guess(body, rest) -> None:
    state = seed_splats(body, rest, 4000, 0)
    front = state.means[:, 2] > rest[:, 2].median()
    seen = torch.where(front, 0.4, 0.0)
    hidden = torch.zeros_like(front)
    hidden[torch.nonzero(front)[::7, 0]] = True
    seen[hidden] = 0.0  # under others
    corners = body.faces.long()[state.faces]
    around = (region_seen(seen, corners, state.barycentric, body)[corners] * state.barycentric).sum(1)
    inside = state.means[:, 2] > rest[:, 2].median() + 0.04
    assert float(around[hidden & inside].median()) > 0.2
    behind = state.means[:, 2] < rest[:, 2].median() - 0.04
    assert float(around[behind].median()) < 0.002


def test_seen_splats_stay_and_unseen_ones_are_dressed(body, rest) -> None:
    state = seed_splats(body, rest, 4000, 0)
    front = state.means[:, 2] > rest[:, 2].median()
    normal_z = torch.where(front, 1.0, -1.0)
    clothes = torch.tensor([0.8, -0.5, 0.3])
    means = state.means.clone()
    means[front, 2] += 0.03  # clothes that stand off by 3 cm, seen from the front only
    sh = torch.where(front[:, None, None], clothes, torch.randn(4000, 1, 3, generator=torch.Generator().manual_seed(0)))
    scales = state.log_scales + torch.where(front, 0.0, math.log(6.0))[:, None]
    state = state.replace(means=means, sh=sh, log_scales=scales)
    filled = fill_unseen(state, front.float(), guess_unseen(state, front.float(), body, rest), body, rest)
    well = state.means[:, 2] > rest[:, 2].median() + 0.04
    assert torch.equal(filled.means[well], means[well]) and torch.equal(filled.sh[well], sh[well])
    behind = state.means[:, 2] < rest[:, 2].median() - 0.04
    assert float((filled.sh[behind] - clothes).abs().quantile(0.95)) < 0.02
    moved = (filled.means - means)[~front]
    assert float(moved.norm(dim=1).max()) <= 0.08 + 1e-6
    back = ~front & (state.means[:, 2] < -0.05)
    assert float((moved[:, 2] * normal_z[~front])[back[~front]].median()) > 0.005  # outwards
    assert float(filled.log_scales[behind].amax(1).median()) < float(scales[behind].amax(1).median()) - 0.5


def test_what_is_in_front_is_lent_to_the_back(body, rest) -> None:
    normals = vertex_normals(rest, body.faces.long())
    other, squarely = through_vertices(rest, normals)
    square = squarely > 0.5
    assert float(square.float().mean()) > 0.3
    assert bool((normals[square, 2] * normals[other[square], 2] < 0).all())
    assert float((rest[square, :2] - rest[other[square], :2]).norm(dim=1).max()) < 0.03
    stripes = torch.sin(60.0 * rest[:, 1:2])
    weight = (normals[:, 2] > 0.2).float()
    plain = fill_fields(stripes * weight[:, None], weight, rest, body.faces)
    lent = fill_fields(stripes * weight[:, None], weight, rest, body.faces, through=(other, squarely))
    trunk = (body.vertex_parts == body.part_names.index("body")) & (squarely > 0.7) & (normals[:, 2] < 0)
    assert float((lent - stripes)[trunk].abs().mean()) < 0.4 * float((plain - stripes)[trunk].abs().mean())


SKIN, HAIR = torch.tensor([1.0, 0.5, 0.2]), torch.tensor([-1.2, -1.3, -1.4])


def seeds_and_heads(body, rest):
    """Splats, and which of them lie on the head."""
    state = seed_splats(body, rest, 12000, 0)
    return state, body.vertex_parts[body.faces.long()[state.faces][:, 0]] == body.part_names.index("head")


def nearer_hair(colors: torch.Tensor) -> float:
    """Share of colours that are more like the hair than like the skin."""
    return float(((colors - HAIR).norm(dim=1) < (colors - SKIN).norm(dim=1)).float().mean())


def test_an_unseen_scalp_takes_the_colour_of_seen_hair(body, rest) -> None:
    state, head = seeds_and_heads(body, rest)
    top = float(state.means[head, 1].max())
    crown = head & (state.means[:, 1] > top - 0.05)
    sh = torch.where(crown[:, None], HAIR, SKIN)[:, None]
    front = state.means[:, 2] > state.means[head, 2].median()
    state = state.replace(sh=sh)
    filled = fill_unseen(state, front.float(), guess_unseen(state, front.float(), body, rest), body, rest)
    back = head & (state.means[:, 2] < state.means[head, 2].median() - 0.04) & (state.means[:, 1] > top - 0.12)
    assert nearer_hair(filled.sh[back, 0]) > 0.9


def test_a_high_forehead_is_not_taken_for_hair(body, rest) -> None:
    state, head = seeds_and_heads(body, rest)
    middle = float(state.means[head, 2].median())
    front = state.means[:, 2] > middle + 0.02
    side = head & (state.means[:, 2] < middle + 0.05)  # most of what is seen of the scalp is bare
    state = state.replace(sh=torch.where(side[:, None], HAIR, SKIN)[:, None])
    guess = guess_unseen(state, front.float(), body, rest)
    top = float(rest[body.vertex_parts == body.part_names.index("head"), 1].max())
    back = (
        (body.vertex_parts == body.part_names.index("head")) & (rest[:, 2] < middle - 0.04) & (rest[:, 1] > top - 0.1)
    )
    assert nearer_hair(guess.sh[back]) > 0.9
    bald = guess_unseen(state.replace(sh=SKIN.expand(len(front), 1, 3).clone()), front.float(), body, rest)
    assert float((bald.sh[back] - SKIN).norm(dim=1).max()) < 0.05
