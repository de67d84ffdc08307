"""Textured meshes in files and pictures: what is written comes back, readers understand it, damaged pictures cost no mesh."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar
from foreign_readers import node_modules

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.glb import load_avatar, save_avatar
from bodydouble.avatar.glb_write import avatar_to_glb
from bodydouble.avatar.picture import mesh_picture, picture_of
from bodydouble.avatar.surfels import surface_splats, with_splats
from bodydouble.avatar.values import Avatar, Texture
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import look_at_camera
from bodydouble.core.errors import ShapeError
from bodydouble.render.reference import ReferenceRasterizer
from bodydouble.render.texture import sample_texture

VALIDATOR = Path(__file__).with_name("validate_gltf.mjs")


def textured_avatar() -> Avatar:
    avatar = make_avatar()
    assert avatar.mesh is not None
    rng = torch.Generator().manual_seed(5)
    uv = torch.rand(len(avatar.mesh.vertices_rest_m), 2, generator=rng)
    image = torch.randint(0, 256, (16, 32, 3), generator=rng, dtype=torch.uint8)
    texture = Texture(uv=uv, image=image)
    mesh = avatar.mesh.replace(texture=texture, colors=sample_texture(image, uv))
    return dataclasses.replace(avatar, mesh=mesh, splats=None)


def rest_pose(avatar: Avatar) -> Pose:
    return Pose(rotvecs=torch.zeros(len(avatar.rig.bone_names), 3), translation_world_m=torch.zeros(3))


CAMERA = look_at_camera(
    torch.tensor([0.3, 1.1, 2.6]), torch.tensor([0.0, 0.9, 0.0]), width_px=90, height_px=120, focal_px=150.0
)


def test_sampling_hits_texel_centres_blends_between_and_stops_at_the_border() -> None:
    image = torch.tensor([[[0, 0, 0], [255, 0, 0]], [[0, 255, 0], [255, 255, 255]]], dtype=torch.uint8)
    at = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5], [0.0, 0.0], [1.0, 1.0]])
    found = sample_texture(image, at)
    wanted = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.25], [0, 0, 0], [1, 1, 1]]
    assert torch.allclose(found, torch.tensor(wanted))


@pytest.mark.parametrize("both", [False, True])
def test_a_texture_survives_the_file_bit_for_bit(tmp_path: Path, both: bool) -> None:
    avatar = textured_avatar()
    if both:
        avatar = with_splats(avatar, 200)
    save_avatar(avatar, tmp_path / "a.glb")
    back = load_avatar(tmp_path / "a.glb")
    assert avatar.mesh is not None and back.mesh is not None
    ours, theirs = avatar.mesh.texture, back.mesh.texture
    assert ours is not None and theirs is not None and (back.splats is not None) == both
    assert torch.equal(ours.image, theirs.image) and torch.equal(ours.uv, theirs.uv)
    assert torch.equal(avatar.mesh.colors, back.mesh.colors)
    pictures = [mesh_picture(m, m.vertices_rest_m, CAMERA).rgb for m in (avatar.mesh, back.mesh)]
    assert torch.equal(pictures[0], pictures[1]) and float(pictures[0].max()) > 0.3
    assert avatar_to_glb(back) == (tmp_path / "a.glb").read_bytes()


def test_the_validator_finds_nothing_in_a_textured_file(tmp_path: Path) -> None:
    modules = node_modules("gltf-validator")
    path = tmp_path / "a.glb"
    save_avatar(textured_avatar(), path)
    done = subprocess.run(
        ["node", str(VALIDATOR), str(modules), str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    report = json.loads(done.stdout)["issues"]
    assert (report["numErrors"], report["numWarnings"], report["numInfos"]) == (0, 0, 0), report["messages"]


def test_trimesh_reads_the_same_picture_and_coordinates(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    avatar = textured_avatar()
    save_avatar(avatar, tmp_path / "a.glb")
    loaded = trimesh.load(tmp_path / "a.glb")
    mesh = next(iter(loaded.geometry.values()))
    assert avatar.mesh is not None and avatar.mesh.texture is not None
    picture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    assert np.array_equal(picture, avatar.mesh.texture.image.numpy())
    uv = avatar.mesh.texture.uv.numpy()
    assert np.allclose(mesh.visual.uv[:, 0], uv[:, 0], atol=1e-6)
    assert np.allclose(1.0 - mesh.visual.uv[:, 1], uv[:, 1], atol=1e-6)  # trimesh counts v from the bottom


def test_a_damaged_picture_costs_the_texture_and_not_the_mesh(tmp_path: Path) -> None:
    data = bytearray(avatar_to_glb(textured_avatar()))
    at = data.index(b"\x89PNG")
    data[at : at + 8] = b"nonsense"
    (tmp_path / "a.glb").write_bytes(bytes(data))
    back = load_avatar(tmp_path / "a.glb")
    assert back.mesh is not None and back.mesh.texture is None and len(back.mesh.vertices_rest_m) > 0


def test_coordinates_beyond_the_picture_are_refused() -> None:
    avatar = textured_avatar()
    assert avatar.mesh is not None and avatar.mesh.texture is not None
    wrong = avatar.mesh.replace(texture=avatar.mesh.texture.replace(uv=avatar.mesh.texture.uv + 1.0))
    with pytest.raises(ShapeError, match=r"mesh\.texture\.uv must lie in \[0\.0, 1\.0\]"):
        avatar_to_glb(dataclasses.replace(avatar, mesh=wrong))


def test_splats_of_a_mesh_look_like_the_mesh_in_any_pose() -> None:
    avatar = make_avatar()
    assert avatar.mesh is not None
    mesh_only = dataclasses.replace(avatar, splats=None)
    dressed = with_splats(mesh_only, 5000)
    assert with_splats(dressed) is dressed and dressed.splats is not None
    rotvecs = 0.3 * torch.randn(len(avatar.rig.bone_names), 3, generator=torch.Generator().manual_seed(2))
    pose = Pose(rotvecs=rotvecs, translation_world_m=torch.zeros(3))
    raster = ReferenceRasterizer()
    with torch.no_grad():
        by_mesh = picture_of(mesh_only, pose_avatar(mesh_only, pose), CAMERA, raster)
        by_splats = picture_of(dressed, pose_avatar(dressed, pose), CAMERA, raster)
    solid = (by_mesh.alpha > 0.5) | (by_splats.alpha > 0.5)
    shared = (by_mesh.alpha > 0.5) & (by_splats.alpha > 0.5)
    assert float(shared.sum() / solid.sum()) > 0.6  # boxes of five pixels; splats reach half a pixel further
    assert float((by_mesh.rgb - by_splats.rgb)[shared].abs().mean()) < 0.12


def test_splats_of_a_mesh_lie_on_it_and_carry_its_actions() -> None:
    mesh = make_avatar().mesh
    assert mesh is not None
    splats = surface_splats(mesh, 3000)
    corners = mesh.vertices_rest_m[mesh.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    # Evenly by area: as many on each box's faces as its share asks for.
    per_box = area.reshape(-1, 12).sum(1)
    box = torch.cdist(splats.means_rest_m, mesh.vertices_rest_m.reshape(-1, 8, 3).mean(1)).argmin(1)
    counted = torch.bincount(box, minlength=len(per_box)).float() / 3000
    assert float((counted - per_box / per_box.sum()).abs().max()) < 0.02
    assert torch.allclose(splats.weights.sum(1), torch.ones(3000), atol=1e-5)
    strengths = {m.name: float(m.deltas_m.norm(dim=1).max()) for m in mesh.morphs if len(m.indices)}
    for morph in splats.morphs:
        if len(morph.indices):
            assert float(morph.deltas_m.norm(dim=1).max()) <= strengths[morph.name] * 1.0001
