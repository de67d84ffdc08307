"""Driving: skinning, morphs, turning splats and their view-dependent colour."""

from __future__ import annotations

import pytest
import torch
from avatar_fakes import make_avatar
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.avatar.drive import apply_morphs, pose_avatar, rotate_sh
from bodydouble.avatar.expressions import expression_tensor
from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import ARKIT_ACTIONS, Pose
from bodydouble.core.errors import ShapeError
from bodydouble.core.geometry import quat_wxyz_to_matrix, rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms, skin_points
from bodydouble.render.sh import sh_to_rgb


def random_pose(avatar: Avatar, size: float = 0.5, seed: int = 3) -> Pose:
    rng = torch.Generator().manual_seed(seed)
    return Pose(
        rotvecs=size * torch.randn(len(avatar.rig.bone_names), 3, generator=rng),
        translation_world_m=torch.randn(3, generator=rng),
    )


def test_the_rest_pose_changes_nothing() -> None:
    avatar = make_avatar(coeffs=4)
    posed = pose_avatar(avatar, Pose(rotvecs=torch.zeros(34, 3), translation_world_m=torch.zeros(3)))
    assert avatar.mesh is not None and avatar.splats is not None
    assert posed.vertices_world_m is not None and posed.splats is not None
    assert torch.allclose(posed.vertices_world_m, avatar.mesh.vertices_rest_m, atol=1e-6)
    assert torch.allclose(posed.splats.means_world, avatar.splats.means_rest_m, atol=1e-6)
    assert torch.allclose(posed.splats.quats_wxyz, avatar.splats.quats_wxyz, atol=1e-6)
    assert torch.allclose(posed.splats.sh, avatar.splats.sh, atol=1e-5)
    assert torch.allclose(posed.joints_world_m, avatar.rig.joints_rest_m, atol=1e-6)


def test_positions_equal_linear_blend_skinning() -> None:
    avatar, pose = make_avatar(), random_pose(make_avatar())
    posed = pose_avatar(avatar, pose)
    R, t = bone_transforms(pose.rotvecs, avatar.rig.joints_rest_m, pose.translation_world_m, avatar.rig.bone_parents)
    assert avatar.mesh is not None and avatar.splats is not None
    assert posed.vertices_world_m is not None and posed.splats is not None
    mesh, splats = avatar.mesh, avatar.splats
    assert torch.allclose(
        posed.vertices_world_m, skin_points(mesh.vertices_rest_m, R, t, mesh.joints, mesh.weights), atol=1e-6
    )
    assert torch.allclose(
        posed.splats.means_world, skin_points(splats.means_rest_m, R, t, splats.joints, splats.weights), atol=1e-6
    )
    assert torch.equal(posed.splats.scales_m, splats.scales_m) and torch.equal(posed.splats.opacities, splats.opacities)


def test_other_number_types_give_the_same_pose() -> None:
    """In float64 the plain torch path is taken instead of the compiled one."""
    avatar, pose = make_avatar(coeffs=4), random_pose(make_avatar())
    double = Avatar(
        rig=avatar.rig.to(dtype=torch.float64),
        mesh=avatar.mesh.to(dtype=torch.float64) if avatar.mesh else None,
        splats=avatar.splats.to(dtype=torch.float64) if avatar.splats else None,
        provenance=avatar.provenance,
    )
    a, b = pose_avatar(avatar, pose), pose_avatar(double, pose.to(dtype=torch.float64))
    assert a.vertices_world_m is not None and b.vertices_world_m is not None and a.splats and b.splats
    assert torch.allclose(a.vertices_world_m.double(), b.vertices_world_m, atol=1e-5)
    assert torch.allclose(a.splats.means_world.double(), b.splats.means_world, atol=1e-5)
    assert torch.allclose(a.splats.sh.double(), b.splats.sh, atol=1e-4)


def test_a_splat_on_one_bone_turns_with_it() -> None:
    avatar, pose = make_avatar(), random_pose(make_avatar(), 1.5)
    assert avatar.splats is not None
    splats = avatar.splats.replace(weights=torch.eye(4)[0].expand(len(avatar.splats.joints), 4))
    posed = pose_avatar(Avatar(rig=avatar.rig, mesh=None, splats=splats, provenance=avatar.provenance), pose)
    R, _ = bone_transforms(pose.rotvecs, avatar.rig.joints_rest_m, pose.translation_world_m, avatar.rig.bone_parents)
    assert posed.splats is not None and posed.vertices_world_m is None
    expected = R[splats.joints[:, 0]] @ quat_wxyz_to_matrix(splats.quats_wxyz)
    assert torch.allclose(quat_wxyz_to_matrix(posed.splats.quats_wxyz), expected, atol=1e-4)


@pytest.mark.parametrize("coeffs", [4, 9, 16])
def test_turned_harmonics_look_the_same_along_turned_directions(coeffs: int) -> None:
    rng = torch.Generator().manual_seed(0)
    sh = torch.randn(50, coeffs, 3, generator=rng) * 0.1
    R = rotvec_to_matrix(2.0 * torch.randn(50, 3, generator=rng))
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=rng), dim=-1)
    turned = (R @ directions[..., None])[..., 0]
    assert torch.allclose(sh_to_rgb(rotate_sh(sh, R), turned), sh_to_rgb(sh, directions), atol=2e-5)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_moving_the_root_moves_everything_rigidly(seed: int) -> None:
    avatar = make_avatar(coeffs=4)
    pose = random_pose(avatar, seed=seed)
    turn = rotvec_to_matrix(torch.randn(3, generator=torch.Generator().manual_seed(seed)))
    moved = Pose(
        rotvecs=torch.cat([_compose(turn, pose.rotvecs[:1]), pose.rotvecs[1:]]),
        translation_world_m=pose.translation_world_m + torch.tensor([1.0, 2.0, 3.0]),
    )
    a, b = pose_avatar(avatar, pose), pose_avatar(avatar, moved)
    root = avatar.rig.joints_rest_m[0]
    old, new = root + pose.translation_world_m, root + moved.translation_world_m
    assert a.splats is not None and b.splats is not None
    assert torch.allclose((a.splats.means_world - old) @ turn.T + new, b.splats.means_world, atol=1e-4)
    turned = turn @ quat_wxyz_to_matrix(a.splats.quats_wxyz)
    assert torch.allclose(turned, quat_wxyz_to_matrix(b.splats.quats_wxyz), atol=2e-3)


def _compose(turn: torch.Tensor, rotvec: torch.Tensor) -> torch.Tensor:
    from bodydouble.core.geometry import matrix_to_rotvec

    return matrix_to_rotvec(turn @ rotvec_to_matrix(rotvec))


def test_expressions_move_only_their_points_before_skinning() -> None:
    avatar = make_avatar()
    assert avatar.mesh is not None
    expression = expression_tensor({"jawOpen": 0.5, "tongueOut": 1.0})
    moved = apply_morphs(avatar.mesh.vertices_rest_m, avatar.mesh.morphs, expression)
    morph = next(m for m in avatar.mesh.morphs if m.name == "jawOpen")
    change = moved - avatar.mesh.vertices_rest_m
    assert torch.allclose(change[morph.indices], 0.5 * morph.deltas_m, atol=1e-6)
    untouched = torch.ones(len(change), dtype=torch.bool)
    untouched[morph.indices] = False
    assert change[untouched].abs().max() == 0
    pose = random_pose(avatar)
    whole = pose_avatar(avatar, pose, expression).vertices_world_m
    neutral = pose_avatar(avatar, pose, torch.zeros(len(ARKIT_ACTIONS))).vertices_world_m
    plain = pose_avatar(avatar, pose).vertices_world_m
    assert whole is not None and neutral is not None and plain is not None
    assert torch.equal(neutral, plain)
    assert (whole - plain).abs().max() > 1e-3
    assert torch.equal(whole[untouched], plain[untouched])


def test_gradients_reach_pose_and_expression() -> None:
    avatar, pose = make_avatar(), random_pose(make_avatar())
    rotvecs, strength = pose.rotvecs.requires_grad_(), torch.zeros(52, requires_grad=True)
    posed = pose_avatar(avatar, Pose(rotvecs=rotvecs, translation_world_m=pose.translation_world_m), strength)
    assert posed.splats is not None
    (posed.splats.means_world.sum() + posed.splats.quats_wxyz.pow(3).sum()).backward()
    assert rotvecs.grad is not None and bool(rotvecs.grad.isfinite().all()) and float(rotvecs.grad.abs().max()) > 0
    assert strength.grad is not None and float(strength.grad.abs().max()) > 0


def test_wrong_poses_are_refused_in_words(our_checks_alone: None) -> None:
    avatar = make_avatar()
    with pytest.raises(ShapeError, match=r"pose must have shape \(34, 3\) for this rig, got \(5, 3\); retarget"):
        pose_avatar(avatar, Pose(rotvecs=torch.zeros(5, 3), translation_world_m=torch.zeros(3)))
    with pytest.raises(ShapeError, match="expression must have 52 values, got"):
        pose_avatar(avatar, Pose(rotvecs=torch.zeros(34, 3), translation_world_m=torch.zeros(3)), torch.zeros(7))
