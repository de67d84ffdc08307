"""Avatars as OpenUSD: a UsdSkel skeleton, the skinned mesh with blend shapes, and a motion. The only user of usd-core."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bodydouble.avatar.glb_texture import encode_texture
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.values import Avatar, Mesh, Rig, Texture
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.colors import srgb_to_linear
from bodydouble.core.errors import ConfigError, InputError, MissingDependencyError
from bodydouble.core.files import atomic_path, write_bytes
from bodydouble.core.geometry import rotvec_to_quat_wxyz

SUFFIXES = (".usd", ".usda", ".usdc", ".usdz")


def write_usd(avatar: Avatar, path: Path, motion: Motion | None = None) -> None:
    """Write an avatar's mesh as USD: +Y up, metres, one UsdSkel root with skeleton, mesh, blend shapes and animation.

    Args:
        avatar: With a mesh. Splats are left out: UsdSkel does not skin them.
        path: .usd or .usdc (binary), .usda (text) or .usdz (packed); whole or absent. A texture lies beside it as .png,
            or within the package.
        motion: On the avatar's rig; none writes the rest pose alone.
    Raises:
        MissingDependencyError: When usd-core is not installed.
        InputError: When the avatar has no mesh.
        ConfigError: When the file has another ending.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{path.name} must end in one of {', '.join(SUFFIXES)}; rename it with -o.")
    if avatar.mesh is None:
        raise InputError(
            "The avatar has no mesh, and USD's skeletons move no splats: export it --to ply or spz instead."
        )
    pxr = _usd()
    with tempfile.TemporaryDirectory(prefix="bodydouble-usd-") as folder, atomic_path(path) as partial:
        layer = Path(folder) / ("avatar.usdc" if suffix == ".usdz" else f"avatar{suffix}")
        picture = _write_picture(
            avatar.mesh, Path(folder) / "texture.png" if suffix == ".usdz" else path.with_suffix(".png")
        )
        stage = pxr.Usd.Stage.CreateNew(str(layer))
        _fill_stage(pxr, stage, avatar.rig, avatar.mesh, motion, picture)
        stage.GetRootLayer().Save()
        if suffix == ".usdz":
            packed = Path(folder) / "avatar.usdz"
            if not pxr.UsdUtils.CreateNewUsdzPackage(str(layer), str(packed)):
                raise InputError("USD could not pack the avatar as .usdz; export it as .usd instead.")
            layer = packed
        partial.write_bytes(layer.read_bytes())


def _usd() -> Any:
    try:
        import pxr
        from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, UsdSkel, UsdUtils, Vt  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Writing USD needs the package usd-core, which is not installed. Install it with: pip install 'bodydouble[usd]'"
        ) from error
    return pxr


def _write_picture(mesh: Mesh, path: Path) -> str:
    """Write the texture, if there is one; returns the path by which a layer in the same folder names it, or nothing."""
    if mesh.texture is None:
        return ""
    write_bytes(path, encode_texture(mesh.texture.image))
    return f"./{path.name}"


def _fill_stage(pxr: Any, stage: Any, rig: Rig, mesh: Mesh, motion: Motion | None, picture: str) -> None:
    UsdGeom, UsdSkel = pxr.UsdGeom, pxr.UsdSkel
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdSkel.Root.Define(stage, "/avatar")
    stage.SetDefaultPrim(root.GetPrim())
    joints = _joint_paths(rig)
    skeleton = UsdSkel.Skeleton.Define(stage, "/avatar/rig")
    places = rig.joints_rest_m.double().numpy()
    skeleton.CreateJointsAttr(joints)
    skeleton.CreateJointNamesAttr(list(rig.bone_names))
    skeleton.CreateBindTransformsAttr([_translation(pxr, p) for p in places])
    local = [p - (places[parent] if parent >= 0 else 0.0) for p, parent in zip(places, rig.bone_parents, strict=True)]
    skeleton.CreateRestTransformsAttr([_translation(pxr, p) for p in local])
    body = _write_mesh(pxr, stage, mesh)
    _write_material(pxr, stage, body, mesh, picture)
    UsdSkel.BindingAPI.Apply(body.GetPrim()).CreateSkeletonRel().SetTargets(["/avatar/rig"])
    targets = _write_blend_shapes(pxr, stage, body, mesh)
    if motion is not None:
        _write_animation(pxr, stage, rig, np.stack(local), joints, targets, motion)
        UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets(["/avatar/rig/motion"])
    extent = UsdGeom.PointBased.ComputeExtent(body.GetPointsAttr().Get())
    body.CreateExtentAttr(extent)
    root.CreateExtentAttr(extent)


def _joint_paths(rig: Rig) -> list[str]:
    """A joint's place in the tree as UsdSkel names it; characters that USD's names don't have become underscores."""
    paths: list[str] = []
    for name, parent in zip(rig.bone_names, rig.bone_parents, strict=True):
        clean = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
        clean = clean if clean[:1].isalpha() or clean[:1] == "_" else f"_{clean}"
        whole = f"{paths[parent]}/{clean}" if parent >= 0 else clean
        paths.append(whole if whole not in paths else f"{whole}_{len(paths)}")
    return paths


def _translation(pxr: Any, place: np.ndarray) -> Any:
    return pxr.Gf.Matrix4d(1.0).SetTranslate(pxr.Gf.Vec3d(*map(float, place)))


def _write_mesh(pxr: Any, stage: Any, mesh: Mesh) -> Any:
    UsdGeom, UsdSkel, Vt = pxr.UsdGeom, pxr.UsdSkel, pxr.Vt
    body = UsdGeom.Mesh.Define(stage, "/avatar/body")
    faces = mesh.faces.numpy().astype(np.int32)
    body.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertices_rest_m.numpy().astype(np.float32)))
    body.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    body.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(faces.reshape(-1))))
    body.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    body.CreateDoubleSidedAttr(True)
    linear = srgb_to_linear(mesh.colors.numpy().astype(np.float64)).astype(np.float32)
    color = body.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex)
    color.Set(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(linear)))
    binding = UsdSkel.BindingAPI.Apply(body.GetPrim())
    count = len(linear)
    joints = np.ascontiguousarray(mesh.joints.numpy().astype(np.int32).reshape(-1))
    weights = np.ascontiguousarray(mesh.weights.numpy().astype(np.float32).reshape(-1))
    assert len(joints) == 4 * count
    binding.CreateJointIndicesPrimvar(False, 4).Set(Vt.IntArray.FromNumpy(joints))
    binding.CreateJointWeightsPrimvar(False, 4).Set(Vt.FloatArray.FromNumpy(weights))
    binding.CreateGeomBindTransformAttr(pxr.Gf.Matrix4d(1.0))
    return body


def _write_material(pxr: Any, stage: Any, body: Any, mesh: Mesh, picture: str) -> None:
    """The colours hold the light of the video already: they are emitted, and nothing is lit again."""
    Sdf, UsdShade = pxr.Sdf, pxr.UsdShade
    material = UsdShade.Material.Define(stage, "/avatar/baked")
    reader = UsdShade.Shader.Define(stage, "/avatar/baked/color")
    if mesh.texture is None:
        reader.CreateIdAttr("UsdPrimvarReader_float3")
        reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("displayColor")
        output = reader.CreateOutput("result", Sdf.ValueTypeNames.Float3)
    else:
        output = _textured(pxr, stage, body, reader, mesh.texture, picture)
    surface = UsdShade.Shader.Define(stage, "/avatar/baked/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set((0.0, 0.0, 0.0))
    surface.CreateInput("emissiveColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(output)
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(1.0)
    surface.CreateInput("specularColor", Sdf.ValueTypeNames.Color3f).Set((0.0, 0.0, 0.0))
    surface.CreateInput("useSpecularWorkflow", Sdf.ValueTypeNames.Int).Set(1)
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(body.GetPrim()).Bind(material)


def _textured(pxr: Any, stage: Any, body: Any, reader: Any, texture: Texture, picture: str) -> Any:
    """Make `reader` look the colour up in a picture; returns its output."""
    Sdf, UsdGeom = pxr.Sdf, pxr.UsdGeom
    uv = texture.uv.numpy().astype(np.float32)
    uv = np.ascontiguousarray(np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1))  # USD counts from the bottom left corner
    st = UsdGeom.PrimvarsAPI(body).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex)
    st.Set(pxr.Vt.Vec2fArray.FromNumpy(uv))
    places = pxr.UsdShade.Shader.Define(stage, "/avatar/baked/st")
    places.CreateIdAttr("UsdPrimvarReader_float2")
    places.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    reader.CreateIdAttr("UsdUVTexture")
    reader.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(picture)
    reader.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
    for axis in ("wrapS", "wrapT"):
        reader.CreateInput(axis, Sdf.ValueTypeNames.Token).Set("clamp")
    found = places.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    reader.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(found)
    return reader.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)


def _write_blend_shapes(pxr: Any, stage: Any, body: Any, mesh: Mesh) -> list[str]:
    """One sparse blend shape for each facial action that moves something; returns their names."""
    names, paths = [], []
    for morph in mesh.morphs:
        if not morph.indices.numel():
            continue
        path = f"/avatar/body/{morph.name}"
        if not pxr.Sdf.Path.IsValidPathString(path):
            continue
        shape = pxr.UsdSkel.BlendShape.Define(stage, path)
        offsets = np.ascontiguousarray(morph.deltas_m.numpy().astype(np.float32))
        shape.CreateOffsetsAttr(pxr.Vt.Vec3fArray.FromNumpy(offsets))
        shape.CreatePointIndicesAttr(pxr.Vt.IntArray.FromNumpy(morph.indices.numpy().astype(np.int32)))
        names.append(morph.name)
        paths.append(path)
    if names:
        binding = pxr.UsdSkel.BindingAPI.Apply(body.GetPrim())
        binding.CreateBlendShapesAttr(names)
        binding.CreateBlendShapeTargetsRel().SetTargets(paths)
    return names


def _write_animation(
    pxr: Any, stage: Any, rig: Rig, local: np.ndarray, joints: list[str], targets: list[str], motion: Motion
) -> None:
    Vt = pxr.Vt
    stage.SetTimeCodesPerSecond(motion.fps_hz)
    stage.SetFramesPerSecond(motion.fps_hz)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(motion.num_frames - 1)
    animation = pxr.UsdSkel.Animation.Define(stage, "/avatar/rig/motion")
    animation.CreateJointsAttr(joints)
    rotations, translations = animation.CreateRotationsAttr(), animation.CreateTranslationsAttr()
    bones = len(joints)
    animation.CreateScalesAttr(Vt.Vec3hArray(bones, pxr.Gf.Vec3h(1, 1, 1)))
    quats = rotvec_to_quat_wxyz(motion.rotvecs.double()).numpy()
    root = rig.bone_parents.index(-1)
    used = [ARKIT_ACTIONS.index(name) for name in targets if name in ARKIT_ACTIONS]
    speaks = bool(used) and bool((motion.expression[:, used] != 0).any())
    if speaks:
        animation.CreateBlendShapesAttr([ARKIT_ACTIONS[a] for a in used])
    for frame in range(motion.num_frames):
        here = local.copy()
        here[root] += motion.translation_world_m[frame].double().numpy()
        rotations.Set(Vt.QuatfArray([pxr.Gf.Quatf(*map(float, q)) for q in quats[frame]]), frame)
        translations.Set(Vt.Vec3fArray.FromNumpy(here.astype(np.float32)), frame)
        if speaks:
            weights = motion.expression[frame][torch.tensor(used)].numpy().astype(np.float32)
            animation.GetBlendShapeWeightsAttr().Set(Vt.FloatArray.FromNumpy(weights), frame)
