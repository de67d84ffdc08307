"""Motion files of other programs: read, written, described; damaged ones refused."""

from __future__ import annotations

import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from avatar_fakes import humanoid_rig, make_avatar
from foreign_readers import khronos_report, read_with_three
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodydouble.avatar.builtin import builtin_motion
from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.clips.facts import motion_facts, plot_motion
from bodydouble.avatar.clips.glb_clip import read_glb_motion
from bodydouble.avatar.clips.read import read_motion
from bodydouble.avatar.clips.rigs import UNITS_M, as_source, guess_unit
from bodydouble.avatar.clips.vmd import read_vmd
from bodydouble.avatar.clips.write import write_motion
from bodydouble.avatar.expressions import expression_tensor
from bodydouble.avatar.glb import save_avatar
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.performer import read_performer
from bodydouble.avatar.retarget import retarget
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.core.skinning import bone_transforms

AVATAR = make_avatar()
RIG = humanoid_rig()
BONE = {name: i for i, name in enumerate(RIG.bone_names)}


def joints_of(motion: Motion) -> torch.Tensor:
    R, t = bone_transforms(motion.rotvecs, RIG.joints_rest_m, motion.translation_world_m, RIG.bone_parents)
    return (R @ RIG.joints_rest_m[:, :, None])[..., 0] + t


def directions(source: SourceMotion) -> torch.Tensor:
    """Directions of the limbs over time, in the source's own world."""
    performer = read_performer(source)
    p, human = performer.joints_world, performer.humanoid
    lines = []
    for side in ("left", "right"):
        for a, b in (("UpperArm", "LowerArm"), ("LowerArm", "Hand"), ("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot")):
            lines.append(torch.nn.functional.normalize(p[:, human[side + b]] - p[:, human[side + a]], dim=-1))
    return torch.stack(lines, 1)


def test_our_own_clip_comes_back_with_its_face(tmp_path: Path) -> None:
    dance = builtin_motion("dance", RIG, floor_rest_m=0.0)
    smile = expression_tensor({"mouthSmileLeft": 0.5, "jawOpen": 0.25})
    dance = dance.replace(expression=smile.expand(dance.num_frames, -1).clone())
    whole = builtin_motion("squat", RIG)
    squat = whole.replace(
        rotvecs=whole.rotvecs[:30], translation_world_m=whole.translation_world_m[:30], expression=whole.expression[:30]
    )
    save_avatar(AVATAR, tmp_path / "a.glb", clips=[squat, dance])
    source = read_glb_motion(tmp_path / "a.glb", "dance")
    assert source.name == "dance" and source.fps_hz == pytest.approx(30.0)
    assert source.joint_names == RIG.bone_names and len(source.R_parent_joint) == dance.num_frames
    back = retarget(source, RIG, floor_rest_m=0.0, contacts=False)
    assert (joints_of(back) - joints_of(dance))[..., 1].abs().max() < 0.02
    assert (directions(source) - directions(as_source(dance, RIG))).abs().max() < 1e-4
    assert torch.allclose(source.expression, dance.expression, atol=1e-6)
    longest = read_glb_motion(tmp_path / "a.glb")
    assert longest.name == "dance"
    with pytest.raises(InputError, match="has no animation 'jump'; it has: squat, dance"):
        read_glb_motion(tmp_path / "a.glb", "jump")
    save_avatar(AVATAR, tmp_path / "b.glb")
    with pytest.raises(InputError, match="holds no animation"):
        read_glb_motion(tmp_path / "b.glb")


def test_a_foreign_clip_moves_as_three_moves_it(data_folder: Path) -> None:
    """Rest rotations, scaled parents and interpolation: positions of all joints against three.js."""
    path = data_folder / "motions" / "humanoid_clips.glb"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    source = read_glb_motion(path, str(read_with_three(path)["clips"][0]["name"]))
    frame = len(source.R_parent_joint) // 2
    found = read_with_three(path, frame / source.fps_hz)["meshes"][0]["bones"]
    p = read_performer(source, "y").joints_world[frame].numpy()
    names = [re.sub(r"[\[\].:/]", "", name.replace(" ", "_")) for name in source.joint_names]  # as three.js has them
    shared = [i for i, name in enumerate(names) if name in found]
    assert len(shared) > 20
    theirs = np.array([found[names[i]] for i in shared])
    assert np.abs(p[shared] - theirs).max() < 2e-3


@pytest.mark.parametrize("suffix", [".bvh", ".glb", ".npz"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    dance = builtin_motion("dance", RIG, floor_rest_m=0.0)
    source = as_source(dance, RIG)
    write_motion(tmp_path / f"a{suffix}", source)
    back = read_motion(tmp_path / f"a{suffix}")
    assert len(back.R_parent_joint) == dance.num_frames and back.fps_hz == pytest.approx(30.0, rel=1e-5)
    cosine = (directions(back) * directions(source)).sum(-1)
    # SMPL-X's skeleton is retargeted to, with its feet held; the others keep the skeleton.
    assert float(cosine.min()) > (0.96 if suffix == ".npz" else 0.99999)


def test_a_written_npz_is_laid_out_as_smplx(tmp_path: Path) -> None:
    dance = builtin_motion("dance", RIG, floor_rest_m=0.0)
    face = dance.replace(expression=expression_tensor({"jawOpen": 0.5}).expand(dance.num_frames, -1).clone())
    write_motion(tmp_path / "a.npz", as_source(face, RIG))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["poses"].shape == (dance.num_frames, 165) and arrays["trans"].shape == (dance.num_frames, 3)
        assert np.allclose(arrays["poses"][:, 3:66], arrays["pose_body"]) and float(arrays["mocap_frame_rate"]) == 30.0
        assert not arrays["pose_jaw"].any() and arrays["pose_hand"].shape[1] == 90
        jaw = list(arrays["arkit_names"]).index("jawOpen")
        assert np.allclose(arrays["arkit"][:, jaw], 0.5)
    with pytest.raises(ConfigError, match=r"must end in one of \.bvh, \.glb, \.npz"):
        write_motion(tmp_path / "a.fbx", as_source(dance, RIG))


def test_a_stick_figure_is_a_sound_file_that_three_plays(tmp_path: Path) -> None:
    squat = builtin_motion("squat", RIG, floor_rest_m=0.0)
    write_motion(tmp_path / "a.glb", as_source(squat, RIG), target=RIG, floor_rest_m=0.0)
    assert [m for m in khronos_report(tmp_path / "a.glb") if m["severity"] <= 1] == []
    found = read_with_three(tmp_path / "a.glb", 1.0)["meshes"][0]["bones"]
    wanted = joints_of(squat)[30]
    for name in ("head", "leftHand", "hips"):
        assert np.abs(np.array(found[name])[1] - float(wanted[BONE[name], 1])) < 0.02


@pytest.mark.parametrize("unit", UNITS_M)
def test_units_are_guessed_from_the_legs(unit: str) -> None:
    source = as_source(builtin_motion("idle", RIG), RIG)
    scaled = source.replace(offsets=source.offsets / UNITS_M[unit], root_position=source.root_position / UNITS_M[unit])
    assert guess_unit(scaled) == (unit, UNITS_M[unit])


def test_facts_and_chart(tmp_path: Path) -> None:
    squat = builtin_motion("squat", RIG, floor_rest_m=0.0)
    facts = motion_facts(as_source(squat, RIG))
    assert facts.frames == squat.num_frames and facts.seconds == pytest.approx(squat.duration_s)
    assert facts.joints == facts.recognised == len(BONE) and facts.fingers == 12 and facts.unit == "metres"
    assert facts.contact_left == facts.contact_right == 1.0 and facts.contacts == 2 and facts.slide_cm_s < 0.5
    assert facts.path_m < 1.0
    plot_motion(as_source(squat, RIG), tmp_path / "a.png")
    from PIL import Image

    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1100, 640) and len(picture.getcolors(1 << 20)) > 20


def vmd(
    bones: list[tuple[str, int, tuple[float, ...], tuple[float, ...]]], faces: list[tuple[str, int, float]]
) -> bytes:
    head = b"Vocaloid Motion Data 0002".ljust(30, b"\0") + b"model".ljust(20, b"\0")
    body = struct.pack("<I", len(bones))
    for name, frame, place, quat in bones:
        body += name.encode("shift_jis").ljust(15, b"\0") + struct.pack("<I7f", frame, *place, *quat) + bytes(64)
    body += struct.pack("<I", len(faces))
    for name, frame, strength in faces:
        body += name.encode("shift_jis").ljust(15, b"\0") + struct.pack("<If", frame, strength)
    return head + body + struct.pack("<III", 0, 0, 0)


NONE, STILL = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)


def about(axis: int, degrees: float) -> tuple[float, ...]:
    half = np.radians(degrees) / 2
    quat = [0.0, 0.0, 0.0, float(np.cos(half))]
    quat[axis] = float(np.sin(half))
    return tuple(quat)


def places(source: SourceMotion) -> tuple[torch.Tensor, dict[str, int]]:
    performer = read_performer(source, "y")
    return performer.joints_world, performer.humanoid


def test_a_vmd_turns_bones_the_right_way_and_bends_legs_by_their_goals(tmp_path: Path) -> None:
    path = tmp_path / "a.vmd"
    lifted = (0.0, 4.0, -2.0)  # the left ankle's goal: up, and forwards (the model looks along -Z)
    keys = [
        ("左腕", 0, NONE, STILL),
        ("左腕", 10, NONE, about(2, 36.9)),  # from 37 degrees below to level
        ("首", 0, NONE, STILL),
        ("首", 10, NONE, about(1, 30.0)),
        ("左足ＩＫ", 0, NONE, STILL),
        ("左足ＩＫ", 10, lifted, STILL),
        ("右足ＩＫ", 0, NONE, STILL),
        ("センター", 10, (0.0, 0.0, 0.0), STILL),
    ]
    path.write_bytes(vmd(keys, [("あ", 0, 0.0), ("あ", 10, 1.0), ("まばたき", 10, 0.5)]))
    source = read_vmd(path)
    assert source.fps_hz == 30.0 and len(source.R_parent_joint) == 11
    p, human = places(source)
    arm = p[:, human["leftHand"]] - p[:, human["leftUpperArm"]]
    assert float(arm[0, 0]) > 0 and float(arm[0, 1]) < -2.0 and abs(float(arm[10, 1])) < 0.05  # left is +X
    ankle = p[:, human["leftFoot"]]
    assert torch.allclose(ankle[10] - ankle[0], torch.tensor([0.0, 4.0, 2.0], dtype=torch.float64), atol=1e-2)
    assert (p[:, human["rightFoot"]] - p[0, human["rightFoot"]]).norm(dim=-1).max() < 0.05
    knee = p[10, human["leftLowerLeg"]] - (p[10, human["leftUpperLeg"]] + p[10, human["leftFoot"]]) / 2
    assert float(knee[2]) > 1.0  # forwards
    nose = read_performer(source, "y").R_world_joint[10, human["head"]] @ torch.tensor([0.0, 0.0, 1.0]).double()
    # Left-handed turns about +Y look to the model's own left... which is where ours look after turning Z around.
    assert float(nose[2]) == pytest.approx(np.cos(np.radians(30.0)), abs=1e-3) and abs(float(nose[0])) > 0.49
    assert float(source.expression[10, ARKIT_ACTIONS.index("jawOpen")]) == pytest.approx(0.6)
    assert float(source.expression[10, ARKIT_ACTIONS.index("eyeBlinkLeft")]) == pytest.approx(0.5)
    out = retarget(source, RIG, floor_rest_m=0.0)
    assert out.num_frames == 11 and bool(out.rotvecs.isfinite().all())


def test_damaged_motion_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.vmd"
    good = vmd([("首", 0, NONE, STILL)], [])
    for data, message in (
        (b"VMD", "does not start with"),
        (good[:40], "truncated before its table of bones"),
        (good[:90], "1 keys of bones were announced"),
        (good[:50] + struct.pack("<I", 2**32 - 1) + good[54:], "4294967295 keys of bones were announced"),
        (vmd([], []), "moves no bone of a body"),
        (vmd([("首", 4_000_000_000, NONE, STILL)], []), "has 4000000001 frames"),
        (vmd([("首", 0, (float("nan"), 0.0, 0.0), STILL)], []), "not finite"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            read_vmd(path)
    with pytest.raises(InputError, match="does not exist"):
        read_motion(tmp_path / "none.vmd")
    with pytest.raises(InputError, match="In Blender, import it and export it"):
        read_motion(tmp_path / "a.fbx")
    with pytest.raises(InputError, match="is no motion that can be read"):
        read_motion(tmp_path / "a.txt")


@settings(deadline=None, max_examples=15)
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_any_changed_byte_gives_a_motion_or_an_input_error(
    place: float, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    clip = _clip(folder)
    keys = vmd([("首", 0, NONE, STILL), ("左腕", 5, NONE, about(2, 30.0)), ("左足ＩＫ", 5, (0.0, 1.0, 0.0), STILL)], [])
    for suffix, whole in ((".glb", clip), (".vmd", keys)):
        data = bytearray(whole)
        data[min(int(place * len(data)), len(data) - 1)] = value
        path = folder / f"fuzz{suffix}"
        path.write_bytes(bytes(data))
        try:
            source = read_motion(path)
        except InputError:
            continue
        assert bool(source.R_parent_joint.isfinite().all()) and bool(source.root_position.isfinite().all())


def _clip(folder: Path) -> bytes:
    path = folder / "fuzz_source.glb"
    if not path.exists():
        write_motion(path, as_source(builtin_motion("wave", RIG, fps_hz=10.0), RIG), target=RIG)
    return path.read_bytes()


def walked(frames: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Rotations of SMPL's 24 joints and a path, upright, that nothing but their own order tells apart."""
    rng = np.random.default_rng(3)
    poses = 0.15 * np.sin(np.linspace(0, 3, frames)[:, None] + rng.uniform(0, 6, 72)).astype(np.float32)
    return poses, np.cumsum(0.01 * rng.normal(size=(frames, 3)), 0).astype(np.float32)


def same_motion(found: SourceMotion, wanted: SourceMotion, *, atol: float = 1e-5) -> None:
    assert found.joint_names == wanted.joint_names and found.fps_hz == wanted.fps_hz == 30.0
    torch.testing.assert_close(found.R_parent_joint, wanted.R_parent_joint, atol=atol, rtol=0)
    torch.testing.assert_close(found.root_position, wanted.root_position, atol=atol, rtol=0)


def test_gvhmr_s_world_is_read_and_without_one_the_camera_s(tmp_path: Path) -> None:
    poses, trans = walked()
    np.savez(tmp_path / "amass.npz", poses=poses[:, :66], trans=trans)
    wanted = read_motion(tmp_path / "amass.npz")
    params = {
        "global_orient": torch.from_numpy(poses[:, :3]), "body_pose": torch.from_numpy(poses[:, 3:66]),
        "transl": torch.from_numpy(trans), "betas": torch.zeros(len(poses), 10),
    }  # fmt: skip
    upside_down = Rotation.from_euler("x", 180, degrees=True)  # a camera's axes: Y down, Z forward
    roots = (upside_down * Rotation.from_rotvec(poses[:, :3])).as_rotvec().astype(np.float32)
    camera = {**params, "global_orient": torch.from_numpy(roots), "transl": torch.from_numpy(trans * [1, -1, -1])}
    torch.save({"smpl_params_global": params, "smpl_params_incam": camera}, tmp_path / "both.pt")
    torch.save({"smpl_params_incam": camera}, tmp_path / "camera.pt")
    for name in ("both.pt", "camera.pt"):
        same_motion(read_motion(tmp_path / name), wanted)


def test_of_wham_s_people_the_longest_seen_is_read_and_gaps_are_blended(tmp_path: Path) -> None:
    poses, trans = walked()
    np.savez(tmp_path / "amass.npz", poses=poses, trans=trans)
    kept = np.array([i for i in range(40) if i not in (11, 12, 25)])
    person = {"pose_world": poses[kept], "trans_world": trans[kept], "frame_ids": kept + 100, "pose": 0 * poses[kept]}
    passer_by = {"pose_world": poses[:9], "trans_world": trans[:9], "frame_ids": np.arange(9)}
    (tmp_path / "people.pkl").write_bytes(pickle.dumps({0: passer_by, 4: person}))
    found, wanted = read_motion(tmp_path / "people.pkl"), read_motion(tmp_path / "amass.npz")
    same_motion(found, wanted, atol=0.02)  # in the gaps
    torch.testing.assert_close(found.R_parent_joint[kept], wanted.R_parent_joint[kept], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("a.pt", {"other": torch.zeros(3)}, "holds no smpl_params_global; expected hmr4d_results.pt"),
        ("a.pt", {"smpl_params_global": {"global_orient": torch.zeros(4, 3)}}, "has no body_pose"),
        ("a.pkl", {}, "holds nobody; expected wham_output.pkl"),
        ("a.pkl", {0: {"frame_ids": np.arange(3)}}, "has no pose"),
        (
            "a.pkl",
            {0: {"frame_ids": np.array([3, 2]), "pose": np.zeros((2, 72)), "trans": np.zeros((2, 3))}},
            "frame_ids must ascend",
        ),
        (
            "a.pkl",
            {0: {"frame_ids": np.arange(3), "pose": np.zeros((2, 72)), "trans": np.zeros((2, 3))}},
            "do not belong together",
        ),
        ("b.pkl", {0: print}, "asks for builtins.print, which is not a number"),
    ],
)
def test_other_files_of_these_endings_are_told(tmp_path: Path, name: str, values: dict, said: str) -> None:
    file = tmp_path / name
    torch.save(values, file) if name.endswith(".pt") else file.write_bytes(pickle.dumps(values))
    with pytest.raises(InputError, match=said):
        read_motion(file)
