"""A textured double in other programs' formats: each keeps the picture and looks it up at the same places."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import make_avatar

from bodydouble.avatar.export.usd import write_usd
from bodydouble.avatar.export.vrm import VrmMeta, avatar_to_vrm
from bodydouble.avatar.glb import load_avatar
from bodydouble.avatar.values import Avatar, Texture
from bodydouble.pipeline.export import ExportChoices, export_avatar


def textured() -> tuple[Avatar, Texture]:
    avatar = make_avatar()
    assert avatar.mesh is not None
    rng = torch.Generator().manual_seed(9)
    texture = Texture(
        uv=torch.rand(len(avatar.mesh.vertices_rest_m), 2, generator=rng),
        image=torch.randint(0, 256, (16, 16, 3), generator=rng, dtype=torch.uint8),
    )
    return dataclasses.replace(avatar, mesh=avatar.mesh.replace(texture=texture), splats=None), texture


def test_obj_names_a_material_and_its_picture(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    avatar, texture = textured()
    export_avatar(avatar, "obj", tmp_path / "her.obj", ExportChoices())
    assert {p.name for p in tmp_path.iterdir()} == {"her.obj", "her.mtl", "her.png"}
    mesh = trimesh.load(tmp_path / "her.obj", process=False, maintain_order=True)
    assert np.array_equal(np.asarray(mesh.visual.material.image.convert("RGB")), texture.image.numpy())
    # Each corner of each triangle has its own pair of place and coordinates.
    assert avatar.mesh is not None
    ours = np.concatenate([avatar.mesh.vertices_rest_m.numpy(), texture.uv.numpy()], axis=1)[avatar.mesh.faces.numpy()]
    uv = np.stack([mesh.visual.uv[:, 0], 1.0 - mesh.visual.uv[:, 1]], axis=1)
    theirs = np.concatenate([mesh.vertices, uv], axis=1)[mesh.faces]
    assert np.allclose(np.sort(ours.reshape(-1, 5), axis=0), np.sort(theirs.reshape(-1, 5), axis=0), atol=1e-5)


@pytest.mark.parametrize("suffix", [".usda", ".usdz"])
def test_usd_looks_the_colour_up_in_the_picture(tmp_path: Path, suffix: str) -> None:
    pxr = pytest.importorskip("pxr.Usd")
    from pxr import UsdGeom, UsdShade

    avatar, texture = textured()
    path = tmp_path / f"her{suffix}"
    write_usd(avatar, path)
    stage = pxr.Stage.Open(str(path))
    body = UsdGeom.PrimvarsAPI(stage.GetPrimAtPath("/avatar/body"))
    st = np.array(body.GetPrimvar("st").Get())
    assert np.allclose(np.stack([st[:, 0], 1.0 - st[:, 1]], axis=1), texture.uv.numpy(), atol=1e-6)
    shader = UsdShade.Shader(stage.GetPrimAtPath("/avatar/baked/color"))
    assert shader.GetIdAttr().Get() == "UsdUVTexture"
    asset = shader.GetInput("file").Get()
    if suffix == ".usdz":
        assert any(name.endswith(".png") for name in zipfile.ZipFile(path).namelist())
    else:
        assert asset.path == "./her.png" and (tmp_path / "her.png").is_file()
    assert asset.resolvedPath  # the layer finds it


def test_vrm_keeps_texture_and_morphs(tmp_path: Path) -> None:
    avatar, texture = textured()
    path = tmp_path / "her.vrm"
    path.write_bytes(avatar_to_vrm(avatar, VrmMeta(authors=("A",))))
    path.rename(tmp_path / "her.glb")
    back = load_avatar(tmp_path / "her.glb").mesh
    assert back is not None and back.texture is not None
    assert torch.equal(back.texture.image, texture.image) and torch.equal(back.texture.uv, texture.uv)
    assert len(back.morphs) == 52
