"""Damaged, foreign and hostile files end in an InputError that says what is wrong, with bounded memory."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avatar_fakes import humanoid_rig, make_avatar
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bodydouble.avatar.glb import load_avatar, save_avatar
from bodydouble.avatar.glb_write import avatar_to_glb
from bodydouble.avatar.gltf_buffers import BufferBuilder, pack_glb
from bodydouble.core.errors import InputError

GOOD = avatar_to_glb(make_avatar(splats_per_bone=2))
FEW = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.glb"
    path.write_bytes(data)
    load_avatar(path)


def parts_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[20 + length + 8 :]


def edited(change: Callable[[dict[str, Any]], None]) -> bytes:
    document, binary = parts_of(GOOD)
    change(document)
    return pack_glb(document, binary)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is not a .glb file"),
        (b"hello, this is text", "is not a .glb file"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "is not a .glb file"),
        (GOOD[:4] + struct.pack("<I", 1) + GOOD[8:], "GLB version 1; version 2 is needed"),
        (GOOD[: len(GOOD) // 2], "is truncated"),
        (GOOD[:8] + struct.pack("<I", 12) + GOOD[12:], "does not begin with a JSON chunk"),
        (GOOD[:12] + struct.pack("<I", 1 << 31) + GOOD[16:], "a chunk reaches beyond the end"),
        (pack_glb({"asset": {"version": "1.0"}}, b""), "glTF version 2.0 was expected"),
        (pack_glb({}, b""), "must have an object 'asset'"),
        (pack_glb({"asset": {"version": "2.0"}}, b""), "neither a skinned mesh nor skinned splats"),
        (
            pack_glb({"asset": {"version": "2.0"}, "extensionsRequired": ["KHR_draco_mesh_compression"]}, b""),
            "requires extensions that are not supported.*draco",
        ),
    ],
)
def test_wrong_files_are_named_as_what_they_are(tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(InputError, match=rf"x\.glb.*{expected}"):
        load_bytes(data, tmp_path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_avatar(tmp_path / "none.glb")
    with pytest.raises(InputError, match="cannot be read"):
        load_avatar(tmp_path)


def _raw_json(text: bytes) -> bytes:
    text += b" " * (-len(text) % 4)
    return struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text), len(text), 0x4E4F534A) + text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"asset":' * 50_000, "nested too deeply"),
        (b'{"asset": NaN}', "NaN is not JSON"),
        (b'{"asset": ', "cannot be parsed"),
        (b"\xff\xfe", "cannot be parsed"),
        (b'{"n": ' + b"9" * 10_000 + b"}", "cannot be parsed"),
        (b"[]", "must be an object, found list"),
    ],
)
def test_broken_json(tmp_path: Path, text: bytes, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        load_bytes(_raw_json(text), tmp_path)


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *way, last = path.split("/")
        place: Any = document
        for key in way:
            place = place[int(key)] if isinstance(place, list) else place[key]
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("buffers/0/uri", "http://example.org/a.bin", "must be inside the file"),
        ("buffers/0/uri", "../../etc/passwd", "must be inside the file"),
        ("accessors/1/count", 1 << 30, "reaches beyond its buffer view"),
        ("accessors/1/count", -1, "must be a whole number"),
        ("accessors/1/componentType", 5124, "unknown component type"),
        ("accessors/1/type", "VEC9", "unknown type"),
        ("accessors/1/bufferView", 10_000, "must be a whole number"),
        ("bufferViews/1/byteLength", 1 << 40, "must be a whole number"),
        ("bufferViews/1/byteOffset", -4, "must be a whole number"),
        ("bufferViews/1/byteLength", 8, "reaches beyond its buffer view"),
        ("nodes/0/children", [0], "two parents"),
        ("nodes/5/children", [0], "ring|two parents"),
        ("nodes/0/translation", [1e300, 0, 0], "must be 3 finite numbers"),
        ("nodes/0/rotation", [0, 0, 0, 0], "not a unit quaternion"),
        ("nodes/0/translation", [5.0, 0.0, 0.0], "moved away from the rest pose"),
        ("skins/0/joints", [], "must have a list of joints"),
        ("skins/0/joints", [0] * 34, "lists a joint twice"),
        ("skins/0/joints", [0, 1, 2], "inverseBindMatrices|must hold 3"),
        ("extras/bodydouble/formatVersion", 99, "format version is 99.*update bodydouble"),
        ("meshes/1/primitives/0/extensions/KHR_gaussian_splatting/kernel", "square", "kernel or colour space"),
        ("meshes/0/primitives", 5, "must be an array of objects"),
        ("meshes", {}, "must be an array of objects"),
    ],
)
def test_lies_in_the_json(tmp_path: Path, path: str, value: object, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        load_bytes(edited(_set(path, value)), tmp_path)


def test_a_claimed_size_costs_no_memory(tmp_path: Path) -> None:
    """A file of a few hundred kilobytes that claims a billion elements everywhere."""

    def lie(document: dict[str, Any]) -> None:
        for accessor in document["accessors"]:
            accessor["count"] = 1_000_000_000
            if "sparse" in accessor:
                accessor["sparse"]["count"] = 1_000_000_000

    data = edited(lie)
    tracemalloc.start()
    with pytest.raises(InputError):
        load_bytes(data, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 * len(data) + 5_000_000


@FEW
@given(cut=st.integers(0, len(GOOD) - 1))
def test_truncation_anywhere(tmp_path: Path, cut: int) -> None:
    with pytest.raises(InputError):
        load_bytes(GOOD[:cut], tmp_path)


@FEW
@given(hits=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_corruption_anywhere(tmp_path: Path, hits: list[tuple[int, int]]) -> None:
    """Either the damage is noticed, or it hit values that may have any value; never anything else."""
    data = bytearray(GOOD)
    for place, value in hits:
        data[place] = value
    try:
        load_bytes(bytes(data), tmp_path)
    except InputError as error:
        assert "x.glb" in str(error)


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 200), st.integers(-(2**70), 2**70), st.floats(allow_nan=False),
    st.text(max_size=5), st.just([]), st.just({}), st.lists(st.integers(-1, 40), max_size=5),
    st.dictionaries(st.sampled_from(["node", "POSITION", "count", "extensions"]), st.integers(-1, 40), max_size=3),
)  # fmt: skip


@FEW
@given(data=st.data())
def test_any_value_anywhere_in_the_json(tmp_path: Path, data: st.DataObject) -> None:
    """Walk to a random place of the document and put something else there."""
    document, binary = parts_of(GOOD)
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        below = place[key]
        if not isinstance(below, (dict, list)) or not below or data.draw(st.integers(0, 4)) == 0:
            break
        place = below
    place[key] = data.draw(JUNK)
    try:
        blob = pack_glb(document, binary)
    except ValueError:
        return  # infinity cannot be written in JSON
    try:
        load_bytes(blob, tmp_path)
    except InputError as error:
        assert "x.glb" in str(error)


def foreign_glb(*, skinned: bool = True, turned: bool = True) -> bytes:
    """A file as a modelling program writes it: an armature in centimetres, bones with rest rotations, joints in any
    order, normalised byte weights, a base colour, no extension of ours."""
    buffer = BufferBuilder()
    half = np.sqrt(0.5)
    # Bone `tip` sits 100 units above `base`, whose rest rotation is a quarter turn about Z.
    nodes: list[dict[str, Any]] = [
        {"name": "Armature", "scale": [0.01, 0.01, 0.01], "children": [1, 3]},
        {"name": "base", "children": [2], **({"rotation": [0, 0, half, half]} if turned else {})},
        {"name": "tip", "translation": [100.0, 0.0, 0.0]},
        {"name": "body", "mesh": 0, **({"skin": 0} if skinned else {})},
    ]
    R = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) if turned else np.eye(3)
    base, tip = np.eye(4), np.eye(4)
    base[:3, :3] = tip[:3, :3] = R
    tip[:3, 3] = R @ [100.0, 0.0, 0.0]
    inverse = np.stack([np.linalg.inv(tip), np.linalg.inv(base)]).transpose(0, 2, 1).reshape(2, 16)
    points = np.array([[0, 0, 0], [0, 100, 0], [50, 100, 0]], np.float32)
    primitive = {
        "attributes": {
            "POSITION": buffer.add(points, bounds=True),
            "JOINTS_0": buffer.add(np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]], np.uint8)),
            "WEIGHTS_0": buffer.add(
                np.array([[255, 0, 0, 0], [255, 0, 0, 0], [255, 0, 0, 0]], np.uint8), normalized=True
            ),
        },
        "material": 0,
    }
    document = {
        "asset": {"version": "2.0", "generator": "some modeller"},
        "nodes": nodes,
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.25, 0.0, 1.0]}}],
        "skins": [{"joints": [2, 1], "inverseBindMatrices": buffer.add(inverse.astype(np.float32))}],
    }
    document.update(accessors=buffer.accessors, bufferViews=buffer.views)
    document["buffers"] = [{"byteLength": len(buffer.data())}]
    return pack_glb(document, buffer.data())


def test_foreign_skinned_files_load_as_meshes_in_their_rest_pose(tmp_path: Path) -> None:
    path = tmp_path / "x.glb"
    path.write_bytes(foreign_glb())
    avatar = load_avatar(path)
    assert avatar.splats is None and avatar.mesh is not None
    assert avatar.provenance.generator == "some modeller"
    assert avatar.rig.bone_names == ("base", "tip") and avatar.rig.bone_parents == (-1, 0)
    assert torch.allclose(avatar.rig.joints_rest_m, torch.tensor([[0.0, 0, 0], [0, 1, 0]]), atol=1e-6)
    expected = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0.5, 1, 0]])
    assert torch.allclose(avatar.mesh.vertices_rest_m, expected, atol=1e-6)
    assert avatar.mesh.joints[:, 0].tolist() == [0, 1, 1]
    assert torch.allclose(avatar.mesh.colors[0], torch.tensor([0.7354, 0.5371, 0.0]), atol=1e-3)
    save_avatar(avatar, tmp_path / "again.glb")
    again = load_avatar(tmp_path / "again.glb").mesh
    assert again is not None and torch.equal(again.vertices_rest_m, avatar.mesh.vertices_rest_m)


def test_files_without_a_skin_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a skinned mesh nor skinned splats.*rigged \.glb"):
        load_bytes(foreign_glb(skinned=False), tmp_path)


def test_the_humanoid_map_of_a_vrm_file_is_used(tmp_path: Path) -> None:
    document, binary = parts_of(foreign_glb())
    document["extensions"] = {"VRMC_vrm": {"humanoid": {"humanBones": {"hips": {"node": 1}, "head": {"node": 2}}}}}
    path = tmp_path / "x.glb"
    path.write_bytes(pack_glb(document, binary))
    assert load_avatar(path).rig.humanoid == {"hips": "base", "head": "tip"}


def test_our_file_without_our_extension_keeps_its_mesh(tmp_path: Path) -> None:
    """As after a visit to a modelling program that drops what it does not know."""

    def drop(document: dict[str, Any]) -> None:
        document.pop("extras")
        document["meshes"][1]["primitives"][0].pop("extensions")

    path = tmp_path / "x.glb"
    path.write_bytes(edited(drop))
    avatar = load_avatar(path)
    assert avatar.splats is None and avatar.mesh is not None
    assert avatar.rig.humanoid == humanoid_rig().humanoid  # from the names


def test_a_published_character_loads_and_can_be_driven(data_folder: Path) -> None:
    from bodydouble.avatar.builtin import builtin_motion
    from bodydouble.avatar.drive import pose_avatar

    path = data_folder / "motions" / "humanoid_clips.glb"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    avatar = load_avatar(path)
    assert avatar.mesh is not None and {"hips", "head", "leftHand", "rightIndexDistal"} <= set(avatar.rig.humanoid)
    posed = pose_avatar(avatar, builtin_motion("wave", avatar.rig).pose(44))
    joints = dict(zip(avatar.rig.bone_names, posed.joints_world_m, strict=True))
    hand, shoulder = joints[avatar.rig.humanoid["rightHand"]], joints[avatar.rig.humanoid["rightUpperArm"]]
    assert hand[1] > shoulder[1] and hand[0] < 0
    assert posed.vertices_world_m is not None and -0.05 < float(posed.vertices_world_m[:, 1].min()) < 0.05
