"""The shell over what nobody filmed: where it lies, what it shows, and that what was filmed stays as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bodydouble.avatar.values import Splats
from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.core.cameras import look_at_camera
from bodydouble.fit.features import RestPerson, rest_body
from bodydouble.reconstruct.splats.bake import bake
from bodydouble.reconstruct.splats.prior import Guess, guess_unseen
from bodydouble.reconstruct.splats.seed import SplatState, birth_normals, seed_splats
from bodydouble.reconstruct.splats.shell import fitting_shell, share_under_shell, unseen_shell
from bodydouble.reconstruct.splats.sight import Shares
from bodydouble.render.protocol import SplatCloud
from bodydouble.render.select import make_rasterizer
from bodydouble.render.sh import mean_rgb, rgb_to_sh

CHEST_M = 0.3
GREEN = torch.tensor([0.2, 0.7, 0.3])


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


@pytest.fixture(scope="module")
def person(anny: AnnyBody) -> tuple[RestPerson, SplatState, torch.Tensor, Guess]:
    """Filmed from the front, in green; training has left the back any colours."""
    rest = rest_body(anny, anny.shape_default)
    state = seed_splats(anny, rest.vertices_rest, 14000, 0)
    seen = (birth_normals(state, rest.vertices_rest, anny.faces)[:, 2] > 0.0).float()
    noise = torch.rand(len(seen), 3, generator=torch.Generator().manual_seed(0))
    color = torch.where(seen[:, None] > 0, GREEN, noise)
    state = state.replace(sh=rgb_to_sh(color), logit_opacities=torch.full((len(seen),), 3.0))
    return rest, state, seen, guess_unseen(state, seen, anny, rest.vertices_rest)


def view(cloud: SplatCloud, behind: bool) -> torch.Tensor:
    """The trunk, from 3 m; the rest pose has its hips at the origin."""
    target = torch.tensor([0.0, CHEST_M, 0.0])
    eye = target + torch.tensor([0.0, 0.0, -3.0 if behind else 3.0])
    camera = look_at_camera(eye, target, width_px=48, height_px=48, focal_px=48 * 3.0 / 0.25)
    with torch.no_grad():
        return make_rasterizer("cpu")(cloud, camera).rgb


def test_the_back_is_clean_and_the_front_untouched(anny: AnnyBody, person) -> None:
    rest, state, seen, _ = person
    avatar = bake(state, Shares(shown=seen, seen=seen, supported=torch.ones_like(seen)), anny, rest, "")
    splats = avatar.splats
    assert splats is not None
    cloud = SplatCloud(
        means_world=splats.means_rest_m, quats_wxyz=splats.quats_wxyz, scales_m=splats.scales_m,
        opacities=splats.opacities, sh=splats.sh,
    )  # fmt: skip
    trained = SplatCloud(
        means_world=state.means, quats_wxyz=state.quats, scales_m=state.log_scales.exp(),
        opacities=torch.sigmoid(state.logit_opacities), sh=state.sh,
    )  # fmt: skip
    assert float((view(trained, behind=True) - GREEN).abs().mean()) > 0.08
    assert float((view(cloud, behind=True) - GREEN).abs().max()) < 0.06
    assert float((view(cloud, behind=False) - view(trained, behind=False)).abs().mean()) < 0.01
    assert len(splats.means_rest_m) < 2 * len(state.means)


def test_it_lies_above_the_unseen_side_and_is_marked_unseen(anny: AnnyBody, person) -> None:
    rest, _, _, guess = person
    found = unseen_shell(guess, anny, rest.vertices_rest, 4)
    assert found is not None
    shell, moved = found.splats, found.moved_m
    assert shell.sh.shape[1:] == (4, 3) and not shell.sh[:, 1:].any() and not shell.seen.any()
    assert set(moved) == set(anny.action_names)
    trunk = (shell.means_rest_m[:, 0].abs() < 0.1) & ((shell.means_rest_m[:, 1] - CHEST_M).abs() < 0.2)
    assert int(trunk.sum()) > 200
    near = torch.cdist(shell.means_rest_m[trunk], rest.vertices_rest).amin(1)
    assert 0.006 < float(near.median()) < 0.03
    solid = trunk & (shell.opacities > 0.9)
    assert float(shell.means_rest_m[solid, 2].max()) < 0.05
    assert float((mean_rgb(shell.sh)[solid] - GREEN).abs().max()) < 0.05


def test_hands_and_faces_have_none(anny: AnnyBody, person) -> None:
    _, state, _, guess = person
    under = share_under_shell(guess, anny, state.faces, state.barycentric)
    parts = anny.vertex_parts[anny.faces.long()[state.faces][:, 0]]
    for name in ("left_hand", "right_hand", "face", "eyes"):
        assert float(under[parts == anny.part_names.index(name)].mean()) < 0.02
    assert float(under[parts == anny.part_names.index("body")].mean()) > 0.2


def test_a_head_is_covered_where_nobody_saw_it_and_not_at_its_rim(anny: AnnyBody, person) -> None:
    _, state, _, guess = person
    part = anny.vertex_parts[anny.faces.long()[state.faces][:, 0]]
    for name, of_half_doubt in (("head", 0.0), ("body", 0.5)):
        chosen = part == anny.part_names.index(name)
        for doubt, expected in ((0.0, 0.0), (0.5, of_half_doubt), (1.0, 1.0)):
            unsure = replace(guess, doubt=torch.full_like(guess.doubt, doubt))
            under = share_under_shell(unsure, anny, state.faces, state.barycentric)[chosen]
            assert float(under.median()) == pytest.approx(expected, abs=1e-6), (name, doubt)


def test_who_was_seen_from_everywhere_has_none(anny: AnnyBody, person) -> None:
    rest, state, seen, _ = person
    guess = guess_unseen(state, torch.ones_like(seen), anny, rest.vertices_rest)
    assert unseen_shell(guess, anny, rest.vertices_rest, 1) is None


def test_what_would_stick_out_beside_the_person_is_withdrawn(anny: AnnyBody, person) -> None:
    """Frames that show the right flank's shell beside the person have seen that flank."""
    rest, state, _, guess = person
    vertices = rest.vertices_rest

    def beside(laid: Splats) -> torch.Tensor:
        return (laid.means_rest_m[:, 0] < -0.08).float()

    before = unseen_shell(guess, anny, vertices, 1)
    less, shell = fitting_shell(guess, anny, vertices, 1, beside)
    assert before is not None and shell is not None
    assert float(beside(before.splats).sum()) > 500 and not beside(shell.splats).any()
    assert len(shell.barycentric) == len(shell.corners) == len(shell.splats.means_rest_m)
    assert all(len(moved) == len(shell.corners) for moved in shell.moved_m.values())
    shelled = torch.tensor([name in ("body", "head") for name in anny.part_names])[anny.vertex_parts.long()]
    flank, other = shelled & (vertices[:, 0] < -0.12), shelled & (vertices[:, 0] > 0.0)
    assert float(guess.doubt[flank].mean()) > 0.1 and float(less.doubt[flank].mean()) < 0.01
    assert float(less.doubt_shape[flank].mean()) < 0.01
    assert torch.equal(less.doubt[other], guess.doubt[other])
    under = share_under_shell(less, anny, state.faces, state.barycentric)
    assert float(under[state.means[:, 0] < -0.15].max()) < 0.01  # nothing is sunk there


def test_without_frames_to_look_at_the_guess_is_believed(anny: AnnyBody, person) -> None:
    rest, _, _, guess = person
    same, shell = fitting_shell(guess, anny, rest.vertices_rest, 1, None)
    assert same is guess and shell is not None
    untouched, whole = fitting_shell(guess, anny, rest.vertices_rest, 1, lambda laid: torch.zeros(len(laid.opacities)))
    assert torch.equal(untouched.doubt, guess.doubt)
    assert whole is not None and len(whole.corners) == len(shell.corners)
