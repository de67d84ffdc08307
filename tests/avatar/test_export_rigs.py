"""Rigged exports: the T-pose, .vrm, .glb with a clip, USD, and meshes of one moment, each read by another program."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from foreign_readers import khronos_report, read_with_three

from bodydouble.avatar.builtin import builtin_motion
from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.export.rest_pose import t_pose, with_rest_pose
from bodydouble.avatar.export.surface import mesh_to_obj, mesh_to_ply
from bodydouble.avatar.export.usd import write_usd
from bodydouble.avatar.export.vrm import PRESETS, VrmMeta, avatar_to_vrm, standing_in_t_pose
from bodydouble.avatar.glb import load_avatar, save_avatar
from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import ARKIT_ACTIONS, Pose
from bodydouble.core.errors import ConfigError, InputError

AVATAR = make_avatar()
BONE = {name: i for i, name in enumerate(AVATAR.rig.bone_names)}


def rigid(avatar: Avatar) -> Avatar:
    """The avatar with each point on one bone, so that skinning is exact however often it is done."""
    only = torch.tensor([1.0, 0.0, 0.0, 0.0])
    return Avatar(
        rig=avatar.rig,
        mesh=avatar.mesh.replace(weights=only.expand_as(avatar.mesh.weights)),
        splats=avatar.splats.replace(weights=only.expand_as(avatar.splats.weights)),
        provenance=avatar.provenance,
    )


def test_the_t_pose_is_a_t() -> None:
    joints = standing_in_t_pose(AVATAR).rig.joints_rest_m
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for a, b in (("UpperArm", "LowerArm"), ("LowerArm", "Hand")):
            line = torch.nn.functional.normalize(joints[BONE[side + b]] - joints[BONE[side + a]], dim=0)
            assert torch.allclose(line, torch.tensor([sign, 0.0, 0.0]), atol=1e-5)
        for a, b in (("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot")):
            line = torch.nn.functional.normalize(joints[BONE[side + b]] - joints[BONE[side + a]], dim=0)
            assert torch.allclose(line, torch.tensor([0.0, -1.0, 0.0]), atol=1e-5)
        across = joints[BONE[f"{side}LittleProximal"]] - joints[BONE[f"{side}IndexProximal"]]
        assert float(across[2]) < -0.9 * float(across.norm())  # palms down: the little finger is behind
    assert float(standing_in_t_pose(AVATAR).mesh.vertices_rest_m[:, 1].min()) == pytest.approx(0.0, abs=1e-6)


def test_another_rest_pose_moves_as_before() -> None:
    """Resting in P and then posed by Q is P followed by Q, bone by bone; exactly so where skinning is rigid."""
    avatar = rigid(make_avatar(coeffs=4))
    pose = t_pose(avatar.rig)
    rested = with_rest_pose(avatar, pose)
    zero = Pose(rotvecs=torch.zeros_like(pose.rotvecs), translation_world_m=torch.zeros(3))
    expression = torch.rand(52, generator=torch.Generator().manual_seed(1))
    before, after = pose_avatar(avatar, pose, expression), pose_avatar(rested, zero, expression)
    assert torch.allclose(before.vertices_world_m, after.vertices_world_m, atol=1e-5)
    assert torch.allclose(before.joints_world_m, after.joints_world_m, atol=1e-5)
    assert torch.allclose(before.splats.means_world, after.splats.means_world, atol=1e-5)
    assert torch.allclose(before.splats.sh, after.splats.sh, atol=1e-4)
    elbow = zero.rotvecs.clone()
    elbow[BONE["leftLowerArm"]] = torch.tensor([0.0, -1.2, 0.0])
    hand = pose_avatar(rested, zero.replace(rotvecs=elbow)).joints_world_m[BONE["leftHand"]]
    joints = rested.rig.joints_rest_m
    forearm = joints[BONE["leftHand"]] - joints[BONE["leftLowerArm"]]
    c, s = np.cos(-1.2), np.sin(-1.2)
    wanted = torch.tensor([c * forearm[0] + s * forearm[2], forearm[1], -s * forearm[0] + c * forearm[2]])
    assert torch.allclose(hand - joints[BONE["leftLowerArm"]], wanted.float(), atol=1e-5)


def vrm_json(data: bytes) -> dict[str, Any]:
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length])


def test_a_vrm_says_who_may_do_what_and_no_more_than_it_was_told() -> None:
    document = vrm_json(avatar_to_vrm(AVATAR, VrmMeta(name="Ann", authors=("A. Author",), consent="Written, 2024.")))
    vrm = document["extensions"]["VRMC_vrm"]
    assert "VRMC_vrm" in document["extensionsUsed"] and vrm["specVersion"] == "1.0"
    meta = vrm["meta"]
    assert meta["name"] == "Ann" and meta["authors"] == ["A. Author"] and "Written, 2024." in meta["thirdPartyLicenses"]
    assert meta["avatarPermission"] == "onlyAuthor" and meta["commercialUsage"] == "personalNonProfit"
    assert meta["modification"] == "prohibited" and meta["licenseUrl"].startswith("https://vrm.dev/licenses/1.0")
    assert not any(value for key, value in meta.items() if key.startswith("allow"))
    with pytest.raises(ConfigError, match="must name its author"):
        avatar_to_vrm(AVATAR, VrmMeta())
    silent = vrm_json(avatar_to_vrm(AVATAR, VrmMeta(authors=("A",))))["extensions"]["VRMC_vrm"]["meta"]
    assert "No consent" in silent["thirdPartyLicenses"]


def test_vrm_expressions_name_the_right_morph_targets() -> None:
    document = vrm_json(avatar_to_vrm(AVATAR, VrmMeta(authors=("A",))))
    expressions = document["extensions"]["VRMC_vrm"]["expressions"]
    names = document["meshes"][0]["extras"]["targetNames"]
    node = next(i for i, n in enumerate(document["nodes"]) if "mesh" in n)
    assert set(expressions["custom"]) == set(ARKIT_ACTIONS) and set(expressions["preset"]) == set(PRESETS)
    for name, strengths in PRESETS.items():
        binds = expressions["preset"][name]["morphTargetBinds"]
        assert {names[b["index"]]: b["weight"] for b in binds} == strengths and all(b["node"] == node for b in binds)
    bones = document["extensions"]["VRMC_vrm"]["humanoid"]["humanBones"]
    assert all(document["nodes"][entry["node"]]["name"] == AVATAR.rig.humanoid[human] for human, entry in bones.items())


def test_a_vrm_needs_a_mesh_and_a_whole_human() -> None:
    with pytest.raises(InputError, match="has no mesh"):
        avatar_to_vrm(Avatar(rig=AVATAR.rig, mesh=None, splats=AVATAR.splats, provenance=AVATAR.provenance), VrmMeta())
    without = {k: v for k, v in AVATAR.rig.humanoid.items() if k != "leftHand"}
    rig = AVATAR.rig.replace(humanoid=without)
    with pytest.raises(InputError, match="no leftHand in its humanoid map"):
        avatar_to_vrm(Avatar(rig=rig, mesh=AVATAR.mesh, splats=None, provenance=AVATAR.provenance), VrmMeta())


def test_three_vrm_opens_a_vrm(tmp_path: Path) -> None:
    path = tmp_path / "a.vrm"
    path.write_bytes(avatar_to_vrm(AVATAR, VrmMeta(name="Ann", authors=("A", "B"))))
    found = read_with_three(path)
    assert found["meta"]["metaVersion"] == "1" and found["meta"]["authors"] == ["A", "B"]
    assert set(found["bones"]) == set(AVATAR.rig.humanoid)
    assert {"happy", "aa", "blink", "jawOpen", "mouthSmileLeft"} <= set(found["expressions"])
    assert found["lookAt"] == "VRMLookAtExpressionApplier"  # this rig has no eyes
    influences = dict(zip(found["meshes"][0]["targets"], found["meshes"][0]["influences"], strict=True))
    assert influences["mouthSmileLeft"] == pytest.approx(PRESETS["happy"]["mouthSmileLeft"])
    assert influences["jawOpen"] == pytest.approx(0.5)
    assert [m for m in khronos_report(path) if m["severity"] <= 1] == []
    back = load_avatar(path)  # and we read it ourselves, resting in its T-pose
    assert back.rig.humanoid == AVATAR.rig.humanoid and len(back.mesh.morphs) == 52


def test_three_plays_a_baked_clip_as_we_do(tmp_path: Path) -> None:
    motion = builtin_motion("dance", AVATAR.rig)
    save_avatar(AVATAR, tmp_path / "a.glb", clips=[motion])
    frame = 37
    found = read_with_three(tmp_path / "a.glb", frame / motion.fps_hz)
    assert found["clips"][0]["name"] == "dance"
    posed = pose_avatar(AVATAR, motion.pose(frame), motion.expression[frame])
    joints = np.array([found["meshes"][0]["bones"][name] for name in AVATAR.rig.bone_names])
    assert np.abs(joints - posed.joints_world_m.numpy()).max() < 1e-4
    influences = dict(zip(found["meshes"][0]["targets"], found["meshes"][0]["influences"], strict=True))
    wanted = dict(zip(ARKIT_ACTIONS, motion.expression[frame].tolist(), strict=True))
    assert all(abs(influences[name] - value) < 1e-5 for name, value in wanted.items())


@pytest.mark.parametrize("suffix", [".usd", ".usda", ".usdz"])
def test_usd_skins_the_mesh_as_we_do(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pxr", reason="usd-core is needed: pip install 'bodydouble[usd]'")
    from pxr import Gf, Usd, UsdGeom, UsdSkel

    motion = builtin_motion("dance", AVATAR.rig, fps_hz=24.0)
    path = tmp_path / f"a{suffix}"
    write_usd(AVATAR, path, motion)
    stage = Usd.Stage.Open(str(path))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert stage.GetTimeCodesPerSecond() == 24.0 and stage.GetEndTimeCode() == motion.num_frames - 1
    cache = UsdSkel.Cache()
    root = UsdSkel.Root(stage.GetDefaultPrim())
    cache.Populate(root, Usd.TraverseInstanceProxies())
    (binding,) = cache.ComputeSkelBindings(root, Usd.TraverseInstanceProxies())
    query = cache.GetSkelQuery(binding.GetSkeleton())
    skinning = binding.GetSkinningTargets()[0]
    frame = 30
    transforms = query.ComputeSkinningTransforms(frame)
    body = UsdGeom.Mesh(skinning.GetPrim())
    points = np.array(body.GetPointsAttr().Get(), np.float64)
    animation = query.GetAnimQuery()
    shapes = UsdSkel.BlendShapeQuery(UsdSkel.BindingAPI(body.GetPrim()))
    assert list(animation.GetBlendShapeOrder()) == [m.name for m in AVATAR.mesh.morphs if m.indices.numel()]
    weights = animation.ComputeBlendShapeWeights(frame)
    for index, weight in enumerate(weights):
        shape = shapes.GetBlendShape(index)
        points[np.array(shape.GetPointIndicesAttr().Get())] += weight * np.array(shape.GetOffsetsAttr().Get())
    from pxr import Vt

    moved = Vt.Vec3fArray.FromNumpy(points.astype(np.float32))
    assert skinning.ComputeSkinnedPoints(transforms, moved, frame)
    posed = pose_avatar(AVATAR, motion.pose(frame), motion.expression[frame])
    assert np.abs(np.array(moved) - posed.vertices_world_m.numpy()).max() < 1e-4
    assert isinstance(query.ComputeSkinningTransforms(frame)[0], Gf.Matrix4d)


def test_usd_refuses_what_it_is_not_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in one of \.usd"):
        write_usd(AVATAR, tmp_path / "a.fbx")
    bare = Avatar(rig=AVATAR.rig, mesh=None, splats=AVATAR.splats, provenance=AVATAR.provenance)
    with pytest.raises(InputError, match="has no mesh"):
        write_usd(bare, tmp_path / "a.usd")


def test_without_usd_core_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from bodydouble.core.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'bodydouble\[usd\]'"):
        write_usd(AVATAR, tmp_path / "a.usd")
    assert not (tmp_path / "a.usd").exists()


@pytest.mark.parametrize("kind", ["obj", "ply"])
def test_trimesh_reads_the_mesh_of_a_moment(tmp_path: Path, kind: str) -> None:
    import trimesh

    motion = builtin_motion("wave", AVATAR.rig)
    vertices = pose_avatar(AVATAR, motion.pose(30)).vertices_world_m
    write = mesh_to_obj if kind == "obj" else mesh_to_ply
    path = tmp_path / f"a.{kind}"
    path.write_bytes(write(vertices, AVATAR.mesh.faces, AVATAR.mesh.colors))
    found = trimesh.load(path, process=False)
    assert isinstance(found, trimesh.Trimesh)
    assert np.abs(found.vertices - vertices.numpy()).max() < 1e-5
    assert (found.faces == AVATAR.mesh.faces.numpy()).all()
    colors = np.asarray(found.visual.vertex_colors)[:, :3] / 255  # type: ignore[union-attr]
    assert np.abs(colors - AVATAR.mesh.colors.numpy()).max() < 0.01
