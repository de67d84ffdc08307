"""Anny against the package's own forward pass, and as a differentiable model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import ARKIT_ACTIONS, BodyModel, Pose
from bodydouble.core.errors import ShapeError

_GOLDEN = Path(__file__).parent / "golden_anny.npz"


@pytest.fixture(scope="module")
def body():
    return load_anny()


@pytest.fixture(scope="module")
def golden():
    with np.load(_GOLDEN) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


def _random_pose(frames: int, body: BodyModel, seed: int = 0, dtype: torch.dtype = torch.float32) -> Pose:
    generator = torch.Generator().manual_seed(seed)
    return Pose(
        rotvecs=0.3 * torch.randn(frames, len(body.bone_names), 3, generator=generator, dtype=dtype),
        translation_world_m=torch.randn(frames, 3, generator=generator, dtype=dtype),
    )


def test_same_skeleton_and_topology_as_the_package(body, golden):
    assert body.bone_names == tuple(golden["bone_names"])
    assert body.bone_parents == tuple(golden["bone_parents"])
    assert body.shape_names == tuple(golden["shape_names"])
    assert body.action_names == ARKIT_ACTIONS
    assert len(body.vertex_ids) == golden["num_vertices"] == 13718
    assert len(body.faces) == 27420
    checksum = int((body.faces * torch.tensor([1, 3, 7])).sum())
    assert [checksum, len(body.faces)] == golden["faces_checksum"].tolist()


def test_equals_the_package(body, golden):
    posed = (
        body.with_shape(_tensor(golden["shape"]))
        .with_expression(_tensor(golden["expression"]))
        .with_pose(Pose(rotvecs=_tensor(golden["rotvecs"]), translation_world_m=_tensor(golden["translation_world_m"])))
    )
    vertices = posed.vertices()[:, _tensor(golden["vertex_ids"]).long()]
    assert (vertices - _tensor(golden["vertices_world_m"])).norm(dim=-1).max() < 1e-4
    assert (posed.joints_world - _tensor(golden["joints_world_m"])).norm(dim=-1).max() < 1e-4


@pytest.mark.slow
def test_equals_the_package_run_now(body, tmp_path, monkeypatch):
    """The package's own construction: two minutes and a gigabyte the first time."""
    monkeypatch.setenv("ANNY_CACHE_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import make_golden_anny  # type: ignore[import-not-found]

    model = make_golden_anny.package_model()
    shape, rotvecs, translation, expression = make_golden_anny.random_cases(6, len(body.bone_names), seed=7)
    vertices, joints = make_golden_anny.package_forward(model, shape, rotvecs, translation, expression)
    as_float = [torch.from_numpy(a).float() for a in (shape, rotvecs, translation, expression)]
    posed = (
        body.with_shape(as_float[0])
        .with_expression(as_float[3])
        .with_pose(Pose(rotvecs=as_float[1], translation_world_m=as_float[2]))
    )
    assert (posed.vertices() - torch.from_numpy(vertices)).norm(dim=-1).max() < 1e-4
    assert (posed.joints_world - torch.from_numpy(joints)).norm(dim=-1).max() < 1e-4


def test_rest_frame(body):
    """+Y up, facing +Z, left hand on +X, metres."""
    shaped = body.with_shape(body.shape_default)
    joint = {name: shaped.joints_rest[i] for i, name in enumerate(body.bone_names)}
    assert joint["head"][1] > joint["root"][1] > joint["foot.L"][1]
    assert joint["wrist.L"][0] > 0.3 > -0.3 > joint["wrist.R"][0]
    assert joint["eye.L"][2] > joint["head"][2] + 0.05
    assert joint["toe1-1.L"][2] > joint["foot.L"][2] + 0.05


def test_default_is_an_adult_of_170_cm(body):
    assert float(body.height_m(body.shape_default)) == pytest.approx(1.70, abs=1e-4)
    vertices = body.with_shape(body.shape_default).vertices_rest
    assert float(vertices[:, 1].max() - vertices[:, 1].min()) == pytest.approx(1.70, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_height_is_the_extent_of_the_body(values):
    body = load_anny()
    shape = torch.tensor(values)
    y = body.with_shape(shape).vertices_rest[:, 1]
    assert float(body.height_m(shape)) == pytest.approx(float(y.max() - y.min()), abs=1e-3)


def test_height_grows_with_height(body):
    shape = body.shape_default.repeat(3, 1)
    shape[:, body.shape_names.index("height")] = torch.tensor([0.0, 0.5, 1.0])
    heights = body.height_m(shape)
    assert (heights.diff() > 0.3).all()


def test_batches_equal_single_bodies(body):
    shapes = torch.rand(3, 6, generator=torch.Generator().manual_seed(1))
    pose = _random_pose(3, body)
    expression = torch.rand(3, 52, generator=torch.Generator().manual_seed(2))
    together = body.with_shape(shapes).with_expression(expression).with_pose(pose).vertices()
    for i in range(3):
        single = (
            body.with_shape(shapes[i])
            .with_expression(expression[i])
            .with_pose(Pose(rotvecs=pose.rotvecs[i], translation_world_m=pose.translation_world_m[i]))
        )
        torch.testing.assert_close(single.vertices(), together[i], atol=2e-6, rtol=0)
        assert single.joints_world.shape == (len(body.bone_names), 3)


def test_one_shape_serves_a_batch_of_poses_and_expressions(body):
    part = body.restricted(torch.arange(0, 13718, 500))
    pose = _random_pose(4, body)
    expression = torch.rand(4, 52, generator=torch.Generator().manual_seed(3))
    shared = part.with_shape(part.shape_default)
    repeated = part.with_shape(part.shape_default.expand(4, -1))
    torch.testing.assert_close(
        shared.with_expression(expression).with_pose(pose).vertices(),
        repeated.with_expression(expression).with_pose(pose).vertices(),
        atol=2e-6,
        rtol=0,
    )


def test_expressions_are_the_action_deltas(body):
    rest = body.with_shape(body.shape_default)
    for name in ("jawOpen", "eyeBlinkLeft", "tongueOut"):
        i = ARKIT_ACTIONS.index(name)
        moved = rest.with_expression(torch.eye(52)[i]).vertices_rest - rest.vertices_rest
        torch.testing.assert_close(moved, body.action_deltas[i], atol=1e-6, rtol=0)
    jaw = body.action_deltas[ARKIT_ACTIONS.index("jawOpen")]
    assert float(jaw[:, 1].min()) < -0.02  # the chin goes down by centimetres
    blink = body.action_deltas[ARKIT_ACTIONS.index("eyeBlinkLeft")].norm(dim=-1)
    assert float(rest.vertices_rest[blink.argmax(), 0]) > 0  # the left eye is on +X


def test_joints_stay_with_expressions(body):
    rest = body.with_shape(body.shape_default)
    assert torch.equal(rest.with_expression(torch.ones(52)).joints_rest, rest.joints_rest)


def test_restricted_body_is_the_same_body(body):
    ids = torch.randperm(13718, generator=torch.Generator().manual_seed(4))[:700]
    part = body.restricted(ids)
    pose = _random_pose(2, body)
    shape = torch.rand(6, generator=torch.Generator().manual_seed(5))
    expression = torch.rand(52, generator=torch.Generator().manual_seed(6))
    whole = body.with_shape(shape).with_expression(expression).with_pose(pose)
    small = part.with_shape(shape).with_expression(expression).with_pose(pose)
    torch.testing.assert_close(small.vertices(), whole.vertices()[:, ids], atol=2e-6, rtol=0)
    torch.testing.assert_close(small.joints_world, whole.joints_world)
    torch.testing.assert_close(part.height_m(shape), body.height_m(shape))
    torch.testing.assert_close(part.action_deltas, body.action_deltas[:, ids])
    again = part.restricted(torch.tensor([3, 1]))
    assert again.vertex_ids.tolist() == ids[[3, 1]].tolist()


def test_restricted_faces_keep_their_corners(body):
    ids = (body.vertex_parts == body.part_names.index("left_hand")).nonzero()[:, 0]
    hand = body.restricted(ids)
    whole = body.with_shape(body.shape_default).vertices_rest
    corners = hand.with_shape(body.shape_default).vertices_rest[hand.faces]
    kept = torch.isin(body.faces, ids).all(1)
    assert len(hand.faces) == len(hand.uv_faces) == int(kept.sum()) > 2000
    torch.testing.assert_close(corners, whole[body.faces[kept]], atol=2e-6, rtol=0)


def test_gradients_flow_to_shape_pose_and_expression(body):
    part = body.restricted(torch.arange(0, 13718, 900)).to(dtype=torch.float64)
    generator = torch.Generator().manual_seed(7)
    shape = torch.tensor([0.3, 0.8, 0.6, 0.4, 0.45, 0.7], dtype=torch.float64, requires_grad=True)
    expression = torch.rand(2, 52, generator=generator, dtype=torch.float64, requires_grad=True)
    pose = _random_pose(2, body, dtype=torch.float64)
    directions = torch.randn(2, 16, 3, generator=generator, dtype=torch.float64)

    def loss(shape, rotvecs, translation, expression):
        posed = part.with_shape(shape).with_expression(expression)
        posed = posed.with_pose(Pose(rotvecs=rotvecs, translation_world_m=translation))
        return (posed.vertices() * directions).sum() + posed.joints_world.square().sum() + part.height_m(shape)

    inputs = [shape, pose.rotvecs.requires_grad_(), pose.translation_world_m.requires_grad_(), expression]
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True, atol=1e-5)
    gradients = torch.autograd.grad(loss(*inputs), inputs)
    assert all(bool(g.isfinite().all()) and float(g.abs().max()) > 0 for g in gradients)
    assert (gradients[0] != 0).all()


def test_rigid_motion_moves_the_body_rigidly(body):
    """Rotating the root about its joint and translating: distances between vertices stay."""
    part = body.restricted(torch.arange(0, 13718, 700))
    rest = part.with_shape(part.shape_default)
    rotvecs = torch.zeros(len(body.bone_names), 3)
    rotvecs[0] = torch.tensor([0.0, torch.pi / 2, 0.0])
    posed = rest.with_pose(Pose(rotvecs=rotvecs, translation_world_m=torch.tensor([1.0, 2.0, 3.0])))
    root = rest.joints_rest[0]
    local = rest.vertices_rest - root
    expected = torch.stack([local[:, 2], local[:, 1], -local[:, 0]], -1) + root + torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(posed.vertices(), expected, atol=1e-5, rtol=0)


def test_skin_and_texture_tables_are_sound(body):
    torch.testing.assert_close(body.skin_weights.sum(1), torch.ones(13718))
    assert body.skin_joints.min() >= 0 and body.skin_joints.max() < len(body.bone_names)
    assert body.uv.min() >= 0 and body.uv.max() <= 1
    assert body.uv_faces.shape == body.faces.shape and body.uv_faces.max() == len(body.uv) - 1
    assert all(parent < i for i, parent in enumerate(body.bone_parents))


def test_errors_name_what_was_expected(body, our_checks_alone):
    with pytest.raises(ShapeError, match=r"6 values \(gender, age, .*got shape \(5,\)"):
        body.with_shape(torch.zeros(5))
    rest = body.with_shape(body.shape_default)
    with pytest.raises(ShapeError, match=r"must have 52 actions.*BodyModel.action_names"):
        rest.with_expression(torch.zeros(51))
    with pytest.raises(ShapeError, match=r"rotvecs must be \(..., bones=104, 3\), got \(55, 3\)"):
        rest.with_pose(Pose(rotvecs=torch.zeros(55, 3), translation_world_m=torch.zeros(3)))
    with pytest.raises(ShapeError, match=r"vertex_ids must lie in \[0, 13718\), got \[0, 13718\]"):
        body.restricted(torch.tensor([0, 13718]))


def test_loading_imports_neither_the_package_nor_warp():
    code = (
        "import sys; from bodydouble.body.anny import load_anny; b = load_anny(); b.with_shape(b.shape_default);"
        "found = {'anny', 'warp', 'roma', 'numba', 'trimesh'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
