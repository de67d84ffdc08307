"""The lining under the skin: behind it, as it is coloured, moving with it, and dense where it stretches."""

from __future__ import annotations

import pytest
import torch

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.fit.features import RestPerson, rest_body
from bodydouble.reconstruct.splats.lining import skin_lining
from bodydouble.reconstruct.splats.seed import SplatState, seed_splats
from bodydouble.render.sh import mean_rgb, rgb_to_sh


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


@pytest.fixture(scope="module")
def trained(anny: AnnyBody) -> tuple[RestPerson, SplatState, torch.Tensor]:
    """Splats that training moved 3 mm forward, red on the left and blue on the right."""
    rest = rest_body(anny, anny.shape_default)
    state = seed_splats(anny, rest.vertices_rest, 12000, 0)
    color = torch.where(state.means[:, :1] > 0, torch.tensor([[0.8, 0.2, 0.2]]), torch.tensor([[0.2, 0.2, 0.8]]))
    return rest, state.replace(means=state.means + torch.tensor([0.0, 0.0, 0.003]), sh=rgb_to_sh(color)), color


def test_it_lies_behind_the_trained_skin_in_its_colours(anny: AnnyBody, trained) -> None:
    rest, state, color = trained
    found = skin_lining(anny, rest, state, torch.ones(len(color)), color)
    assert found is not None
    lining, moved = found
    assert set(moved) == set(anny.action_names)
    near = torch.cdist(lining.means_rest_m, state.means).topk(5, largest=False).indices
    behind = (state.means[near].mean(1) - lining.means_rest_m)[:, 2]
    assert behind.mean() > 5e-4
    left = lining.means_rest_m[:, 0] > 0.012
    assert (mean_rgb(lining.sh)[left, 0] > 0.7).float().mean() > 0.98
    assert (lining.opacities > 0.9).all() and torch.allclose(lining.seen, torch.ones(len(lining.seen)))


def test_it_goes_with_lids_and_lips(anny: AnnyBody, trained) -> None:
    rest, state, color = trained
    found = skin_lining(anny, rest, state, torch.ones(len(color)), color)
    assert found is not None
    lining, moved = found
    eye = rest.joints_rest[anny.bone_names.index(anny.humanoid["leftEye"])]
    lid = (lining.means_rest_m - eye).norm(dim=1) < 0.025
    closing = moved["eyeBlinkLeft"]
    assert closing[lid, 1].min() < -0.004
    assert closing[~lid].norm(dim=1).max() < 0.004
    assert moved["jawOpen"][:, 1].min() < -0.01
    # Where a lid stretches as it closes there is more than at rest, so that no gap opens.
    index = (closing.norm(dim=1) > 0.004).sum()
    seeds = seed_splats(anny, rest.vertices_rest, 1100, 0)
    corners = anny.faces.long()[seeds.faces]
    thin = (anny.action_deltas[anny.action_names.index("eyeBlinkLeft")][corners].mean(1).norm(dim=1) > 0.004).sum()
    assert index > 5 * max(int(thin), 1)


def test_a_body_without_a_mouth_has_none(anny: AnnyBody, trained) -> None:
    rest, state, color = trained
    bare = anny.replace(vertex_parts=torch.zeros_like(anny.vertex_parts))
    assert skin_lining(bare, rest, state, torch.ones(len(color)), color) is None


def test_splats_that_hardly_show_do_not_color_it(anny: AnnyBody, trained) -> None:
    rest, state, _ = trained
    skin = torch.full((len(state.means), 3), 0.6)
    faint = torch.arange(len(skin)) % 3 == 0
    wild = torch.where(faint[:, None], torch.ones(3), skin)
    opacities = torch.where(faint, 0.02, 0.9)
    found = skin_lining(anny, rest, state.replace(logit_opacities=torch.logit(opacities)), torch.ones(len(skin)), wild)
    assert found is not None
    assert (mean_rgb(found[0].sh) - 0.6).abs().max() < 0.02
