"""Pose-dependent correctives: features of a pose, what they do to splats and mesh, the file, and damaged files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from hypothesis import given, settings
from hypothesis import strategies as st

from bodydouble.avatar.correctives import (
    MAX_SHADE,
    corrected_mesh,
    corrected_splats,
    corrections,
    feature_bones,
    pose_coefficients,
    pose_features,
)
from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.glb import load_avatar, save_avatar
from bodydouble.avatar.picture import picture_of
from bodydouble.avatar.values import Avatar, CorrectiveBasis, Correctives
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import look_at_camera
from bodydouble.core.errors import InputError, ShapeError
from bodydouble.core.skinning import bone_transforms
from bodydouble.render.cpu import CpuRasterizer


def corrected_avatar(seed: int = 0, coeffs: int = 3, nodes: int = 7) -> Avatar:
    """The usual fake avatar with random correctives on splats and mesh."""
    import dataclasses

    avatar = make_avatar(seed=seed)
    assert avatar.splats is not None and avatar.mesh is not None
    rng = torch.Generator().manual_seed(seed + 50)
    turns, ups = feature_bones(avatar.rig)
    features = 3 * (len(turns) + len(ups))

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng)

    basis = CorrectiveBasis(
        turn_bones=turns,
        up_bones=ups,
        feature_map=normal(coeffs, features),
        feature_mean=0.1 * normal(features),
        lowest=-1.0 - normal(coeffs).abs(),
        highest=1.0 + normal(coeffs).abs(),
        reach=torch.tensor(2.0),
        spread=normal(coeffs).abs(),
        nodes_rest_m=normal(nodes, 3),
        offsets_m=0.01 * normal(coeffs, nodes, 3),
        shades=0.1 * normal(coeffs, nodes),
    )

    def hang(count: int) -> Correctives:
        chosen = torch.stack([torch.randperm(nodes, generator=rng)[:4] for _ in range(count)])
        weights = torch.rand(count, 4, generator=rng) + 0.1
        return Correctives(basis=basis, nodes=chosen, weights=weights / weights.sum(1, keepdim=True))

    splats = avatar.splats.replace(correctives=hang(len(avatar.splats.means_rest_m)))
    mesh = avatar.mesh.replace(correctives=hang(len(avatar.mesh.vertices_rest_m)))
    return dataclasses.replace(avatar, splats=splats, mesh=mesh)


def random_pose(avatar: Avatar, size: float, seed: int) -> Pose:
    rng = torch.Generator().manual_seed(seed)
    rotvecs = size * torch.randn(len(avatar.rig.bone_names), 3, generator=rng)
    return Pose(rotvecs=rotvecs, translation_world_m=torch.randn(3, generator=rng))


def rotations(avatar: Avatar, pose: Pose) -> torch.Tensor:
    rig = avatar.rig
    return bone_transforms(pose.rotvecs, rig.joints_rest_m, pose.translation_world_m, rig.bone_parents)[0]


def test_the_rest_pose_has_no_features() -> None:
    avatar = corrected_avatar()
    turns, ups = feature_bones(avatar.rig)
    features = pose_features(torch.eye(3).expand(len(avatar.rig.bone_names), 3, 3), avatar.rig.bone_parents, turns, ups)
    assert features.shape == (3 * (len(turns) + len(ups)),) and len(turns) == 15 and len(ups) == 8
    assert float(features.abs().max()) == 0.0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(0.05, 0.8))
def test_features_are_half_angles_and_the_direction_of_up(seed: int, size: float) -> None:
    avatar = corrected_avatar()
    rig, pose = avatar.rig, random_pose(corrected_avatar(), size, seed)
    turns, ups = feature_bones(rig)
    features = pose_features(rotations(avatar, pose), rig.bone_parents, turns, ups).reshape(-1, 3)
    angle = pose.rotvecs[turns].norm(dim=1, keepdim=True)
    expected = pose.rotvecs[turns] / angle * torch.sin(angle / 2)
    expected = torch.where(torch.cos(angle / 2) < 0, -expected, expected)
    torch.testing.assert_close(features[: len(turns)], expected, atol=2e-5, rtol=0.0)
    up = rotations(avatar, pose)[ups].transpose(1, 2) @ torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(features[len(turns) :], up - torch.tensor([0.0, 1.0, 0.0]), atol=2e-5, rtol=0.0)


def test_a_turn_about_the_vertical_changes_no_feature() -> None:
    avatar = corrected_avatar()
    pose = random_pose(avatar, 0.4, 1)
    turns, ups = feature_bones(avatar.rig)
    R = rotations(avatar, pose)
    yaw = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    before = pose_features(R, avatar.rig.bone_parents, turns, ups)
    torch.testing.assert_close(pose_features(yaw @ R, avatar.rig.bone_parents, turns, ups), before, atol=1e-5, rtol=0.0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(0.0, 3.0))
def test_no_pose_leaves_the_range_of_training(seed: int, size: float) -> None:
    avatar = corrected_avatar()
    assert avatar.splats is not None and avatar.splats.correctives is not None
    basis = avatar.splats.correctives.basis
    coefficients = pose_coefficients(basis, rotations(avatar, random_pose(avatar, size, seed)), avatar.rig.bone_parents)
    assert bool((coefficients >= basis.lowest).all()) and bool((coefficients <= basis.highest).all())
    assert float(coefficients.norm()) <= 2.0 + 1e-5


def test_offsets_and_shades_are_the_blend_of_the_nodes() -> None:
    avatar = corrected_avatar()
    splats = avatar.splats
    assert splats is not None and splats.correctives is not None and len(splats.correctives.basis.offsets_m) == 3
    c, hang = torch.tensor([0.5, -1.0, 0.25]), splats.correctives
    after = corrected_splats(splats, c)
    for i in (0, 5, len(splats.means_rest_m) - 1):
        offset, shade = torch.zeros(3), torch.zeros(())
        for k in range(3):
            for node, weight in zip(hang.nodes[i], hang.weights[i], strict=True):
                offset += c[k] * weight * hang.basis.offsets_m[k, node]
                shade += c[k] * weight * hang.basis.shades[k, node]
        torch.testing.assert_close(after.means_rest_m[i], splats.means_rest_m[i] + offset)
        color, bright = 0.5 + 0.28209479 * splats.sh[i, 0], 0.5 + 0.28209479 * after.sh[i, 0]
        torch.testing.assert_close(bright, color * (1.0 + shade))


def test_shades_have_a_limit() -> None:
    avatar = corrected_avatar()
    assert avatar.mesh is not None and avatar.mesh.correctives is not None
    _, shade = corrections(avatar.mesh.correctives, torch.tensor([500.0, 0.0, 0.0]))
    assert float(shade.abs().max()) == pytest.approx(MAX_SHADE)
    assert float(corrected_mesh(avatar.mesh, torch.tensor([500.0, 0.0, 0.0])).colors.amax()) <= 1.0


def test_driving_applies_them_and_zeros_leave_them_out() -> None:
    import dataclasses

    avatar = corrected_avatar()
    pose = random_pose(avatar, 0.5, 4)
    assert avatar.splats is not None and avatar.mesh is not None
    plain = dataclasses.replace(
        avatar, splats=avatar.splats.replace(correctives=None), mesh=avatar.mesh.replace(correctives=None)
    )
    bare, zero = pose_avatar(plain, pose), pose_avatar(avatar, pose, coefficients=torch.zeros(3))
    moved = pose_avatar(avatar, pose)
    assert bare.splats and zero.splats and moved.splats
    assert torch.equal(bare.splats.means_world, zero.splats.means_world)
    assert bare.vertices_world_m is not None and moved.vertices_world_m is not None
    splat_shift = (moved.splats.means_world - bare.splats.means_world).norm(dim=1)
    hung = avatar.splats.correctives
    assert hung is not None
    c = pose_coefficients(hung.basis, rotations(avatar, pose), avatar.rig.bone_parents)
    offset = corrections(hung, c)[0].norm(dim=1)
    assert float(splat_shift.mean()) == pytest.approx(float(offset.mean()), rel=0.3)  # skinning turns, hardly scales
    assert float((moved.vertices_world_m - bare.vertices_world_m).norm(dim=1).max()) > 1e-3
    assert moved.vertex_colors is not None and torch.equal(moved.vertex_colors, corrected_mesh(avatar.mesh, c).colors)
    assert not torch.equal(moved.vertex_colors, avatar.mesh.colors)


def test_a_picture_of_the_mesh_shows_the_shades() -> None:
    import dataclasses

    avatar = dataclasses.replace(corrected_avatar(), splats=None)
    pose = Pose(rotvecs=torch.zeros(len(avatar.rig.bone_names), 3), translation_world_m=torch.zeros(3))
    posed = pose_avatar(avatar, pose, coefficients=torch.tensor([0.5, -1.0, 0.25]))
    assert avatar.mesh is not None and posed.vertices_world_m is not None and posed.vertex_colors is not None
    lo, hi = posed.vertices_world_m.amin(0), posed.vertices_world_m.amax(0)
    middle = (lo + hi) / 2
    camera = look_at_camera(middle + torch.tensor([0.0, 0.0, 3.0]), middle, width_px=64, height_px=64, focal_px=80.0)
    shown = picture_of(avatar, posed, camera, CpuRasterizer(), torch.zeros(3)).rgb
    unshaded = picture_of(avatar, posed.replace(vertex_colors=avatar.mesh.colors), camera, CpuRasterizer()).rgb
    assert float((shown - unshaded).abs().max()) > 0.01


def test_gradients_reach_the_coefficients() -> None:
    avatar = corrected_avatar()
    assert avatar.splats is not None
    splats = avatar.splats.to(dtype=torch.float64)

    def loss(c: torch.Tensor) -> torch.Tensor:
        after = corrected_splats(splats, c)
        return (after.means_rest_m**2).sum() + (after.sh**2).sum()

    start = torch.tensor([0.2, -0.1, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (start,))


def test_wrong_numbers_of_coefficients_are_refused(our_checks_alone: None) -> None:
    avatar = corrected_avatar()
    assert avatar.splats is not None
    with pytest.raises(ShapeError, match="has 3 coefficients"):
        corrected_splats(avatar.splats, torch.zeros(4))


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_file_keeps_them_bit_for_bit(tmp_path: Path) -> None:
    avatar = corrected_avatar()
    save_avatar(avatar, tmp_path / "a.glb")
    back = load_avatar(tmp_path / "a.glb")
    for part, original in ((back.splats, avatar.splats), (back.mesh, avatar.mesh)):
        assert part is not None and original is not None
        found, wanted = part.correctives, original.correctives
        assert found is not None and wanted is not None
        assert torch.equal(found.nodes, wanted.nodes) and torch.equal(found.weights, wanted.weights)
        for name in vars(wanted.basis):
            assert torch.equal(getattr(found.basis, name), getattr(wanted.basis, name)), name


def test_a_file_without_them_loads_as_before(tmp_path: Path) -> None:
    save_avatar(make_avatar(), tmp_path / "a.glb")
    back = load_avatar(tmp_path / "a.glb")
    assert back.splats is not None and back.splats.correctives is None
    assert back.mesh is not None and back.mesh.correctives is None


def _edited(path: Path, edit) -> None:
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + length])
    edit(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    path.write_bytes(
        struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", 9, "version 9"),
        ("skin", 1, "version"),
        ("turnJoints", [10_000], "turnJoints"),
        ("turnJoints", [-1], "turnJoints"),
        ("upJoints", "hips", "upJoints"),
        ("upJoints", [], "must hold"),
        ("featureMap", 10_000, "featureMap"),
        ("offsets", 0, "must hold"),
        ("nodes", None, "nodes"),
        ("reach", -1.0, "reach"),
        ("reach", "far", "reach"),
        ("highest", {}, "highest"),
    ],
)
def test_hostile_extensions_are_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    path = tmp_path / "a.glb"
    save_avatar(corrected_avatar(), path)
    _edited(path, lambda d: d["extensions"]["BODYDOUBLE_pose_correctives"].__setitem__(key, value))
    with pytest.raises(InputError, match=message):
        load_avatar(path)


def test_nodes_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    avatar, path = corrected_avatar(), tmp_path / "a.glb"
    save_avatar(avatar, path)

    def shrink(document: dict) -> None:
        # As if the nodes' accessors held fewer: every index above is now wild.
        about = document["extensions"]["BODYDOUBLE_pose_correctives"]
        document["accessors"][about["nodes"]]["count"] = 2
        for name, each in (("offsets", 2 * 3), ("shades", 2 * 3)):
            document["accessors"][about[name]]["count"] = each

    _edited(path, shrink)
    with pytest.raises(InputError, match="refers to node"):
        load_avatar(path)


@pytest.mark.parametrize("field", ["lowest", "offsets_m", "turn_bones"])
def test_what_would_not_come_back_is_not_written(tmp_path: Path, field: str) -> None:
    import dataclasses

    avatar = corrected_avatar()
    assert avatar.splats is not None and avatar.splats.correctives is not None
    basis = avatar.splats.correctives.basis
    bad = {"lowest": basis.highest + 1.0, "offsets_m": basis.offsets_m * np.nan, "turn_bones": basis.turn_bones + 999}
    correctives = avatar.splats.correctives.replace(basis=basis.replace(**{field: bad[field]}))
    with pytest.raises(ShapeError, match="correctives"):
        save_avatar(
            dataclasses.replace(avatar, splats=avatar.splats.replace(correctives=correctives)), tmp_path / "a.glb"
        )
    assert not (tmp_path / "a.glb").exists()
