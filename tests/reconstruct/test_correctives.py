"""Nodes on the surface, learning of correctives and of exposure: planted truths are found, and a kill changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bodydouble.avatar.correctives import brightened, corrections, pose_coefficients
from bodydouble.avatar.values import Rig
from bodydouble.body.anny import load_anny
from bodydouble.capture.crops import PersonCrop
from bodydouble.core.cameras import video_camera
from bodydouble.core.skinning import bone_transforms
from bodydouble.reconstruct.splats.correctives import CorrectiveConfig, CorrectiveTraining
from bodydouble.reconstruct.splats.exposure import ExposureConfig, ExposureTraining, exposure_drift
from bodydouble.reconstruct.splats.nodes import nodes_of_points, place_nodes
from bodydouble.reconstruct.splats.seed import SplatState, seed_splats

FRAMES = 16
CONFIG = CorrectiveConfig(  # as slow as nothing that decays must be
    num_nodes=60, pose_terms=3, frame_terms=1, size_weight=0.0, smooth_weight=0.0, offset_rate_m=3e-4, shade_rate=3e-3
)


@pytest.fixture(scope="module")
def body():
    return load_anny()


@pytest.fixture(scope="module")
def rest(body) -> torch.Tensor:
    return body.with_shape(body.shape_default).vertices_rest.detach().float()


@pytest.fixture(scope="module")
def rig(body) -> Rig:
    joints = body.with_shape(body.shape_default).joints_rest.detach().float()
    return Rig(
        bone_names=body.bone_names, bone_parents=body.bone_parents, joints_rest_m=joints, humanoid=dict(body.humanoid)
    )


@pytest.fixture(scope="module")
def splats(body, rest) -> SplatState:
    return seed_splats(body, rest, 800, 0)


def poses(rig: Rig) -> torch.Tensor:
    """Arms that rise and sink with noise: one leading pose component."""
    rotvecs = 0.03 * torch.randn(FRAMES, len(rig.bone_names), 3, generator=torch.Generator().manual_seed(2))
    phase = torch.linspace(0.0, 6.0, FRAMES)
    for human, sign in (("leftUpperArm", 1.0), ("rightUpperArm", -1.0)):
        rotvecs[:, rig.bone_names.index(rig.humanoid[human]), 2] += sign * torch.sin(phase)
    return rotvecs


def rotations(rig: Rig, rotvecs: torch.Tensor) -> torch.Tensor:
    return bone_transforms(rotvecs, rig.joints_rest_m, torch.zeros(len(rotvecs), 3), rig.bone_parents)[0]


def test_nodes_lie_on_the_skin_and_their_weights_are_a_partition(body, rest) -> None:
    nodes = place_nodes(body, rest, 60)
    assert len(set(nodes.vertices.tolist())) == 60
    inner = [i for i, name in enumerate(body.part_names) if name in ("mouth", "eyes")]
    assert not torch.isin(body.vertex_parts[nodes.vertices].long(), torch.tensor(inner)).any()
    torch.testing.assert_close(nodes.vertex_weights.sum(1), torch.ones(len(rest)))
    # A node's own vertex hangs on it most of all.
    own = nodes.vertex_nodes[nodes.vertices, 0]
    assert torch.equal(own, torch.arange(60)) and float(nodes.vertex_weights[nodes.vertices, 0].min()) > 0.5


def test_weights_change_smoothly_along_the_surface(body, rest) -> None:
    nodes = place_nodes(body, rest, 60)
    dense = torch.zeros(len(rest), 60).scatter_add_(1, nodes.vertex_nodes, nodes.vertex_weights)
    edges = body.faces.long()[:, :2]
    skin = (body.vertex_parts[edges] == body.part_names.index("body")).all(1)
    jump = (dense[edges[skin, 0]] - dense[edges[skin, 1]]).abs().amax(1)
    length = (rest[edges[skin, 0]] - rest[edges[skin, 1]]).norm(dim=1)
    assert float((jump / length).quantile(0.99)) < 25.0  # per metre: nodes are about 0.2 m apart here


def test_one_thigh_does_not_hang_on_the_other(body, rest, rig) -> None:
    nodes = place_nodes(body, rest, 300)
    height = rig.joints_rest_m[rig.bone_names.index(rig.humanoid["leftLowerLeg"]), 1] + 0.05
    legs = (rest[:, 1] - height).abs() < 0.1
    legs &= rest[:, 0].abs() < 0.25
    assert int(legs.sum()) > 40
    side = torch.sign(rest[legs, 0])[:, None] * torch.sign(rest[nodes.vertices, 0][nodes.vertex_nodes[legs]])
    assert float((nodes.vertex_weights[legs] * (side < 0)).sum(1).max()) < 1e-6


def test_a_point_at_a_corner_hangs_as_the_vertex_does(body, rest) -> None:
    nodes = place_nodes(body, rest, 60)
    corners = body.faces.long()[::997]
    barycentric = torch.tensor([[1.0, 0.0, 0.0]]).expand(len(corners), 3)
    found, weights = nodes_of_points(nodes, corners, barycentric)
    a = torch.zeros(len(corners), 60).scatter_add_(1, found, weights)
    own = corners[:, 0]
    b = torch.zeros(len(corners), 60).scatter_add_(1, nodes.vertex_nodes[own], nodes.vertex_weights[own])
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0.0)


def planted(rig: Rig, splats: SplatState) -> torch.Tensor:
    """Cloth at the belly that follows the left arm, and something of its own in frame 3."""
    rotvecs = poses(rig)
    lift = rotvecs[:, rig.bone_names.index(rig.humanoid["leftUpperArm"]), 2]
    place = torch.exp(
        -((splats.means - torch.tensor([0.0, float(splats.means[:, 1].mean()) + 0.1, 0.1])) ** 2).sum(1) / 0.02
    )
    return lift[:, None, None] * place[:, None] * torch.tensor([0.0, 0.02, 0.01])


def learn(training: CorrectiveTraining, rig: Rig, splats: SplatState, steps: range) -> None:
    rotvecs, target = poses(rig), planted(rig, splats)
    R = rotations(rig, rotvecs)
    for step in steps:
        place = step % FRAMES
        leaves = training.leaves(place)
        means, bright = training.apply(splats.means, R[place], place, leaves)
        assert bright is not None and leaves is not None
        error = ((means - splats.means - target[place]) ** 2).sum(1).mean() * 100 + ((bright - 1.0) ** 2).mean()
        (error + training.penalty(leaves)).backward()
        training.step([leaves], 1.0)


def started(body, rest, rig, splats) -> CorrectiveTraining:
    training = CorrectiveTraining(body, rest, rig, CONFIG, 0)
    training.begin(poses(rig))
    training.bind(splats.faces, splats.barycentric)
    return training


def test_nothing_happens_before_the_beginning(body, rest, rig, splats) -> None:
    training = CorrectiveTraining(body, rest, rig, CONFIG, 0)
    training.bind(splats.faces, splats.barycentric)
    means, bright = training.apply(splats.means, rotations(rig, poses(rig))[0], 0)
    assert (
        means is splats.means and bright is None and training.leaves(0) is None and float(training.penalty(None)) == 0.0
    )
    assert training.tensors() == {} and training.baked(splats.faces, splats.barycentric, poses(rig)) is None


def test_a_planted_dependence_on_the_pose_is_learnt_and_baked(body, rest, rig, splats) -> None:
    training = started(body, rest, rig, splats)
    learn(training, rig, splats, range(400))
    baked = training.baked(splats.faces, splats.barycentric, poses(rig))
    assert baked is not None
    of_splats, of_mesh = baked
    R, target = rotations(rig, poses(rig)), planted(rig, splats)
    before, after = 0.0, 0.0
    for place in range(FRAMES):
        c = pose_coefficients(of_splats.basis, R[place], rig.bone_parents)
        before += float((target[place] ** 2).sum())
        after += float(((corrections(of_splats, c)[0] - target[place]) ** 2).sum())
    assert after < 0.25 * before
    assert of_mesh.nodes.shape == (len(rest), 4) and of_mesh.basis is of_splats.basis
    hands = torch.isin(body.vertex_parts.long(), torch.tensor([body.part_names.index("left_hand")]))
    c = torch.ones(len(of_mesh.basis.offsets_m))
    moved = corrections(of_mesh, c)[0][hands].norm(dim=1)
    assert float(moved.median()) < 1e-4  # fingers are the pose's


def test_training_continues_from_its_tensors_to_the_same_end(body, rest, rig, splats) -> None:
    whole = started(body, rest, rig, splats)
    learn(whole, rig, splats, range(40))
    first = started(body, rest, rig, splats)
    learn(first, rig, splats, range(17))
    saved = {name: value.clone() for name, value in first.tensors().items()}
    second = CorrectiveTraining(body, rest, rig, CONFIG, 0)
    second.restore(saved)
    second.bind(splats.faces, splats.barycentric)
    learn(second, rig, splats, range(17, 40))
    for name, value in whole.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name


def test_a_still_person_gets_no_pose_terms(body, rest, rig, splats) -> None:
    training = CorrectiveTraining(body, rest, rig, CONFIG, 0)
    training.begin(torch.zeros(FRAMES, len(rig.bone_names), 3))
    assert len(training.tensors()["correctives.feature_map"]) == CONFIG.frame_terms


# --- exposure -------------------------------------------------------------------------------------------------------


def crops(person: np.ndarray, surroundings: np.ndarray) -> list[PersonCrop]:
    """Grey crops, one per entry: a person in the middle of surroundings, of the given brightness."""
    camera = video_camera(32, 32, 40.0)
    made = []
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 12:20] = 255
    for i, (inside, outside) in enumerate(zip(person, surroundings, strict=True)):
        rgb = np.where(mask[..., None] > 0, inside, outside).astype(np.uint8).repeat(3, axis=2)
        made.append(PersonCrop(frame_index=i, rgb=rgb, mask=mask, camera=camera, x0_px=0, y0_px=0, side_px=32))
    return made


def test_only_what_person_and_surroundings_share_is_drift() -> None:
    times = np.arange(60) / 10.0
    gain = 1.0 + 0.3 * np.sin(times)
    still = np.full(60, 100.0)
    assert exposure_drift(crops(100 * gain, 120 * gain), times) > 0.1
    assert exposure_drift(crops(100 * gain, still), times) < 0.01
    assert exposure_drift(crops(still, 120 * gain), times) < 0.01
    assert exposure_drift(crops(100 * gain, 120 / gain), times) < 0.02
    assert exposure_drift(crops(still, still), times) < 1e-9


def test_planted_gains_are_found_and_average_to_one() -> None:
    generator = torch.Generator().manual_seed(3)
    clean = 0.1 + 0.5 * torch.rand(16, 16, 3, generator=generator)
    truth = torch.exp(0.2 * torch.randn(10, 3, generator=generator))
    truth /= truth.log().mean(0).exp()
    training = ExposureTraining(ExposureConfig(shrink=0.0))
    assert training.apply(0) is None and training.gains is None and training.tensors() == {}
    training.begin(10)
    person = torch.zeros(16, 16, dtype=torch.bool)
    person[2:14, 3:12] = True
    for step in range(120):
        place = step % 10
        gain = training.apply(place)
        assert gain is not None
        shifted = clean.roll((1, -1), (0, 1)) * truth[place]  # a pixel beside where it should be
        training.observe(place, clean * gain, torch.where(person[..., None], shifted, 1.0), person)
    assert training.gains is not None
    torch.testing.assert_close(training.gains, truth, atol=0.06, rtol=0.0)
    torch.testing.assert_close(training.gains.log().mean(0), torch.zeros(3), atol=1e-5, rtol=0.0)
    again = ExposureTraining(ExposureConfig())
    again.restore(training.tensors())
    assert again.gains is not None and torch.equal(again.gains, training.gains)


def test_a_frame_without_the_person_teaches_no_gain() -> None:
    training = ExposureTraining(ExposureConfig())
    training.begin(4)
    nobody = torch.zeros(16, 16, dtype=torch.bool)
    training.observe(1, torch.full((16, 16, 3), 0.1), torch.full((16, 16, 3), 0.9), nobody)
    assert training.gains is not None and torch.equal(training.gains, torch.ones(4, 3))


def test_a_gain_multiplies_the_colour() -> None:
    sh = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    gains = torch.tensor([0.5, 1.0, 1.5])
    color = 0.5 + 0.28209479 * sh[:, 0]
    torch.testing.assert_close(0.5 + 0.28209479 * brightened(sh, gains.expand(5, 3))[:, 0], color * gains)
    torch.testing.assert_close(brightened(sh, gains.expand(5, 3))[:, 1:], sh[:, 1:] * gains)
