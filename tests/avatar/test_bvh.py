"""Reading BVH, recognising bones by name, and retargeting."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from avatar_fakes import bvh_text, humanoid_rig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bodydouble.avatar.bvh import SourceMotion, read_bvh
from bodydouble.avatar.humanoid import guess_humanoid
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.performer import read_performer
from bodydouble.avatar.retarget import retarget
from bodydouble.core.errors import InputError
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms

RIG = humanoid_rig()
BONE = {name: index for index, name in enumerate(RIG.bone_names)}
MOTIONS = [
    "wave_hello", "dab", "jumping", "zombie", "jesse_dance", "cmu_01_01", "walk1", "benchmark", "face-poseunits",
]  # fmt: skip
SMALL = """HIERARCHY
ROOT Hips
{
  OFFSET 0 90 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Chest {
    OFFSET 0.0 20.0 0.0
    CHANNELS 3 Yrotation Xrotation Zrotation
    End Site
    {
      OFFSET 0 30 0
    }
  }
}
MOTION
Frames: 2
Frame Time:\t.05
1 2 3 90 0 0 0 0 0
1 2 4 0 90 0 10 20 30
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "m.bvh"
    path.write_text(text)
    return path


def joints_of(motion: Motion) -> tuple[torch.Tensor, torch.Tensor]:
    """World rotations and positions of all bones."""
    R, t = bone_transforms(motion.rotvecs, RIG.joints_rest_m, motion.translation_world_m, RIG.bone_parents)
    return R, (R @ RIG.joints_rest_m[:, :, None])[..., 0] + t


def test_reads_offsets_channels_and_angles(tmp_path: Path) -> None:
    motion = read_bvh(write(tmp_path, SMALL))
    assert motion.name == "m" and motion.joint_names == ("Hips", "Chest") and motion.joint_parents == (-1, 0)
    assert motion.fps_hz == pytest.approx(20.0)
    assert motion.offsets[1].tolist() == [0, 20, 0] and motion.tips[1].tolist() == [0, 30, 0]
    assert motion.root_position.tolist() == [[1, 2, 3], [1, 2, 4]]
    quarter = rotvec_to_matrix(torch.tensor([[0.0, 0.0, math.pi / 2], [math.pi / 2, 0.0, 0.0]]))
    assert torch.allclose(motion.R_parent_joint[:, 0], quarter, atol=1e-6)
    y, x, z = (rotvec_to_matrix(torch.deg2rad(torch.tensor(v))) for v in ([0, 10.0, 0], [20.0, 0, 0], [0, 0, 30.0]))
    assert torch.allclose(motion.R_parent_joint[1, 1], y @ x @ z, atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("HIERARCHY", "HELLO", "does not start with HIERARCHY"),
        ("ROOT Hips", "JOINT Hips", "line 2: ROOT was expected, found 'JOINT'"),
        ("OFFSET 0.0 20.0 0.0", "OFFSET 0.0 20.0", "line 7: OFFSET needs 3 finite numbers, found '0.0 20.0'"),
        ("OFFSET 0.0 20.0 0.0", "OFFSET 0.0 nan 0.0", "line 7: OFFSET needs 3 finite numbers"),
        ("CHANNELS 3 Yrotation", "CHANNELS 4 Yrotation", "line 8: CHANNELS needs a count and as many"),
        ("CHANNELS 3 Yrotation", "CHANNELS 3 Wrotation", "line 8: unknown channel 'wrotation'"),
        ("End Site", "Tail Site", "line 9: OFFSET, CHANNELS, JOINT, End Site or '}' was expected, found 'Tail'"),
        ("MOTION", "MOVES", "line 15: MOTION was expected, found 'MOVES'"),
        ("Frames: 2", "Frames: two", "line 16: 'Frames: N' with at least one frame was expected"),
        ("Frames: 2", "Frames: 0", "line 16: 'Frames: N' with at least one frame"),
        ("Frames: 2", "Frames: 3", "line 19: 3 frames were announced, 2 are there; the file may be truncated"),
        ("Frames: 2", "Frames: 1", "line 19: more than the 1 frames that were announced"),
        ("Frames: 2", "Frames: 999999999", "999999999 frames were announced, 2 are there"),
        (".05", "0", "line 17: 'Frame Time: S' with seconds"),
        ("1 2 3 90 0 0 0 0 0", "1 2 3 90 0 0 0 0", "line 18: a frame needs 9 finite numbers, found 8 words"),
        ("1 2 3 90 0 0 0 0 0", "1 2 3 90 0 0 0 0 x", "line 18: a frame needs 9 finite numbers"),
        ("1 2 3 90 0 0 0 0 0", "1 2 3 90 0 0 0 0 inf", "line 18: a frame needs 9 finite numbers"),
        ("  }\n}\nMOTION", "", "was expected"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in SMALL
    with pytest.raises(InputError, match=rf"m\.bvh.*{expected}"):
        read_bvh(write(tmp_path, SMALL.replace(old, new, 1)))


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; expected a motion"):
        read_bvh(tmp_path / "none.bvh")
    with pytest.raises(InputError, match="cannot be read"):
        read_bvh(tmp_path)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(SMALL)), junk=st.text(max_size=6), at=st.integers(0, len(SMALL)))
def test_damage_ends_in_an_input_error(tmp_path: Path, cut: int, junk: str, at: int) -> None:
    for text in (SMALL[:cut], SMALL[:at] + junk + SMALL[at:]):
        path = tmp_path / "m.bvh"
        path.write_bytes(text.encode("utf-8", errors="replace"))
        try:
            motion = read_bvh(path)
        except InputError as error:
            assert "m.bvh" in str(error)
        else:
            assert bool(motion.R_parent_joint.isfinite().all())


FAMILIES = {
    "mixamo": ("mixamorig:Hips", "mixamorig:Spine", "mixamorig:Neck", "mixamorig:Head", "mixamorig:LeftArm",
               "mixamorig:LeftForeArm", "mixamorig:RightUpLeg", "mixamorig:RightLeg", "mixamorig:LeftHandThumb1"),
    "makehuman": ("root", "spine05", "neck01", "head", "upperarm01.L", "lowerarm01.L", "upperleg01.R", "lowerleg01.R",
                  "finger1-1.L"),
    "smpl": ("Pelvis", "Spine1", "Neck", "Head", "L_Shoulder", "L_Elbow", "R_Hip", "R_Knee", "L_Thumb1"),
    "unreal": ("pelvis", "spine_01", "neck_01", "head", "upperarm_l", "lowerarm_l", "thigh_r", "calf_r", "thumb_01_l"),
    "rigify": ("DEF-hips", "DEF-spine.001", "DEF-neck", "DEF-head", "DEF-upper_arm.L", "DEF-forearm.L", "DEF-thigh.R",
               "DEF-shin.R", "DEF-thumb.01.L"),
    "vrm": ("hips", "spine", "neck", "head", "leftUpperArm", "leftLowerArm", "rightUpperLeg", "rightLowerLeg",
            "leftThumbMetacarpal"),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_bones_are_recognised_by_name(family: str) -> None:
    names = FAMILIES[family]
    found = guess_humanoid(names, (-1, 0, 1, 2, 1, 4, 0, 6, 5))
    expected = ("hips", "spine", "neck", "head", "leftUpperArm", "leftLowerArm", "rightUpperLeg", "rightLowerLeg",
                "leftThumbMetacarpal")  # fmt: skip
    assert found == dict(zip(expected, names, strict=True))


def test_a_body_with_collars_calls_its_shoulders_arms() -> None:
    found = guess_humanoid(("Pelvis", "L_Collar", "L_Shoulder", "L_Elbow", "L_Wrist"), (-1, 0, 1, 2, 3))
    assert (
        found["leftShoulder"] == "L_Collar" and found["leftUpperArm"] == "L_Shoulder" and found["leftHand"] == "L_Wrist"
    )
    assert guess_humanoid((), ()) == {} and guess_humanoid(("Box", "Lid"), (-1, 0)) == {}


def _random_motion(seed: int, frames: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    rotvecs = 0.5 * torch.randn(frames, len(RIG.bone_names), 3, generator=rng)
    rotvecs[:, 0] *= 0.2
    for side in ("left", "right"):
        rotvecs[:, BONE[f"{side}Toes"]] = 0  # toes may only move with their foot
        for name, bone in BONE.items():
            if name.startswith(side) and name.endswith("Distal"):
                rotvecs[:, bone] = 0
    root = torch.tensor([0.0, 0.95, 0.0]) + 0.1 * torch.randn(frames, 3, generator=rng)
    return rotvecs, root


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), unit=st.sampled_from([1.0, 100.0, 39.37]))
def test_a_motion_of_our_own_rig_comes_back(tmp_path: Path, seed: int, unit: float) -> None:
    """Zero pose and bones are the same, so every world rotation must be the same, up to the heading at the start."""
    rotvecs, root = _random_motion(seed)
    source = read_bvh(write(tmp_path, bvh_text(RIG, rotvecs, root, unit=unit)))
    out = retarget(source, RIG, fps_hz=30.0, contacts=False)
    R_expected, p_expected = joints_of(
        Motion(
            name="",
            fps_hz=30.0,
            rotvecs=rotvecs,
            translation_world_m=root - RIG.joints_rest_m[0],
            expression=torch.zeros(4, 52),
        )
    )
    R, p = joints_of(out)
    R_heading = R[0, 0] @ R_expected[0, 0].T
    assert float(R_heading[1, 1]) == pytest.approx(1.0, abs=1e-4)  # a turn about +Y
    assert float(R[0, 0, 0, 2]) == pytest.approx(0.0, abs=1e-3) and float(R[0, 0, 2, 2]) > 0  # facing +Z
    compared = [b for n, b in BONE.items() if not n.endswith(("Distal", "Toes"))]
    assert (R[:, compared] - R_heading @ R_expected[:, compared]).abs().max() < 2e-3
    path = p[:, 0] - p[0, 0]
    expected = (p_expected[:, 0] - p_expected[0, 0]) @ R_heading.T
    assert (path - expected)[:, [0, 2]].abs().max() < 1e-3


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_another_rest_pose_gives_the_same_directions(tmp_path: Path, seed: int) -> None:
    """The same moves written on a skeleton whose zero pose is a T-pose: directions of all limbs stay."""
    rotvecs, root = _random_motion(seed)
    R, _ = bone_transforms(rotvecs, RIG.joints_rest_m, root, RIG.bone_parents)
    joints = RIG.joints_rest_m.clone()
    straight = {"left": torch.tensor([1.0, 0, 0]), "right": torch.tensor([-1.0, 0, 0])}
    swing = torch.eye(3).repeat(len(joints), 1, 1)  # from the A-pose bone to the T-pose bone
    order = sorted(range(len(joints)), key=lambda b: b)
    for side, line in straight.items():
        for upper, lower in (("UpperArm", "LowerArm"), ("LowerArm", "Hand")):
            a, b = BONE[side + upper], BONE[side + lower]
            rest = torch.nn.functional.normalize(RIG.joints_rest_m[b] - RIG.joints_rest_m[a], dim=0)
            axis = torch.linalg.cross(rest, line)
            angle = torch.atan2(axis.norm(), rest @ line)
            swing[a] = rotvec_to_matrix(torch.nn.functional.normalize(axis, dim=0) * angle)
        below_hand = [b for b in order if RIG.bone_names[b].startswith(side) and _is_below(b, BONE[f"{side}Hand"])]
        for bone in below_hand:
            swing[bone] = swing[BONE[f"{side}LowerArm"]]
    for bone in order:
        parent = RIG.bone_parents[bone]
        if parent >= 0:
            joints[bone] = joints[parent] + swing[parent] @ (RIG.joints_rest_m[bone] - RIG.joints_rest_m[parent])
    local = []
    for bone in order:
        parent = RIG.bone_parents[bone]
        own = R[:, bone] @ swing[bone].T
        local.append(own if parent < 0 else (R[:, parent] @ swing[parent].T).transpose(1, 2) @ own)
    from bodydouble.core.geometry import matrix_to_rotvec

    text = bvh_text(RIG.replace(joints_rest_m=joints), matrix_to_rotvec(torch.stack(local, 1)), root)
    out = retarget(read_bvh(write(tmp_path, text)), RIG, contacts=False)
    _, p = joints_of(out)
    R_out, _ = joints_of(out)
    R_heading = R_out[0, 0] @ R[0, 0].T
    _, expected = joints_of(
        Motion(name="", fps_hz=30.0, rotvecs=rotvecs, translation_world_m=root, expression=torch.zeros(4, 52))
    )
    for side in straight:
        for a, b in (("UpperArm", "LowerArm"), ("LowerArm", "Hand"), ("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot")):
            line = p[:, BONE[side + b]] - p[:, BONE[side + a]]
            wanted = (expected[:, BONE[side + b]] - expected[:, BONE[side + a]]) @ R_heading.T
            assert torch.allclose(line, wanted, atol=2e-3), (side, a)


def _is_below(bone: int, ancestor: int) -> bool:
    while bone >= 0 and bone != ancestor:
        bone = RIG.bone_parents[bone]
    return bone == ancestor


def _directions(p: torch.Tensor, a: int, b: int) -> torch.Tensor:
    return torch.nn.functional.normalize((p[:, b] - p[:, a]).double(), dim=-1)


@pytest.mark.parametrize("name", MOTIONS)
def test_every_kind_of_rig_keeps_its_pose(data_folder: Path, name: str) -> None:
    """Against the source's own joint positions: limbs point the same way, left is left, knees and elbows bend the same
    way, the head is up, and the feet stay on the floor."""
    path = data_folder / "motions" / f"{name}.bvh"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    source = read_bvh(path)
    step = max(1, len(source.R_parent_joint) // 60)
    source = source.replace(
        R_parent_joint=source.R_parent_joint[::step],
        root_position=source.root_position[::step],
        fps_hz=source.fps_hz / step,
    )
    out = retarget(source, RIG, fps_hz=source.fps_hz, floor_rest_m=0.0, contacts=False)
    assert out.num_frames == len(source.R_parent_joint) and bool(out.rotvecs.isfinite().all())
    performer = read_performer(source)
    human, q = performer.humanoid, performer.joints_world
    _, p = joints_of(out)
    heading = _heading_between(q, human, p)
    for side in ("left", "right"):
        for a, b in (("UpperArm", "LowerArm"), ("LowerArm", "Hand"), ("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot")):
            ours = _directions(p, BONE[side + a], BONE[side + b])
            theirs = _directions(q, human[side + a], human[side + b]) @ heading.T
            assert (ours * theirs).sum(-1).min() > 0.99, (side, a)
        knee = _bend(p, BONE[f"{side}UpperLeg"], BONE[f"{side}LowerLeg"], BONE[f"{side}Foot"])
        hips_R, _ = joints_of(out)
        thigh_left = hips_R[:, BONE[f"{side}UpperLeg"], :, 0].double()  # the thigh's own axis to the left
        bent = knee.norm(dim=-1) > 0.35
        if bool(bent.any()):
            assert ((knee * thigh_left).sum(-1)[bent] > 0).double().mean() > 0.95  # never backwards
    across = p[:, BONE["leftUpperLeg"]] - p[:, BONE["rightUpperLeg"]]
    assert float(across[0, 0]) > 0.1  # left is +X at the start, where we face +Z
    assert (p[:, BONE["head"], 1] > p[:, BONE["hips"], 1]).double().mean() > 0.9
    lowest = p[:, [BONE[f"{s}{f}"] for s in ("left", "right") for f in ("Foot", "Toes")], 1].amin(1)
    if name != "benchmark":  # sits in a split
        assert -0.06 < float(lowest.min()) < 0.12
    assert float(p[0, BONE["hips"], [0, 2]].norm()) < 0.02


def _heading_between(q: torch.Tensor, human: dict[str, int], p: torch.Tensor) -> torch.Tensor:
    """The turn about +Y from the source's hips to ours in the first frame."""
    a = q[0, human["leftUpperLeg"]] - q[0, human["rightUpperLeg"]]
    b = (p[0, BONE["leftUpperLeg"]] - p[0, BONE["rightUpperLeg"]]).double()
    angle = torch.atan2(a[2], a[0]) - torch.atan2(b[2], b[0])
    return rotvec_to_matrix(torch.stack([angle * 0, angle, angle * 0]))


def _bend(p: torch.Tensor, upper: int, middle: int, end: int) -> torch.Tensor:
    return torch.linalg.cross(_directions(p, upper, middle), _directions(p, middle, end))


def test_hips_that_move_below_a_joint_on_the_floor_become_the_root(tmp_path: Path) -> None:
    rotvecs, root = _random_motion(3)
    text = bvh_text(RIG, rotvecs, root)
    plain = read_bvh(write(tmp_path, text))
    head, frames = text.split("MOTION\n")
    inner = head.replace("HIERARCHY\nROOT hips", "JOINT hips")
    outer = "HIERARCHY\nROOT Reference\n{\nOFFSET 0 0 0\n"
    outer += "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n" + inner + "}\nMOTION\n"
    count, step, *rows = frames.strip().split("\n")
    # The reference stands 1 m aside, turned by a quarter about +Y: x goes to -z, z to x.
    rows = [f"100 0 0 0 0 90 {row}" for row in rows]
    moved = read_bvh(write(tmp_path, outer + "\n".join([count, step, *rows]) + "\n"))
    assert moved.joint_names == plain.joint_names and moved.joint_parents == plain.joint_parents
    x, y, z = plain.root_position.unbind(-1)
    assert torch.allclose(moved.root_position, torch.stack([100 + z, y, -x], -1), atol=1e-3)
    assert torch.allclose(moved.R_parent_joint[:, 1:], plain.R_parent_joint[:, 1:], atol=1e-6)
    quarter = rotvec_to_matrix(torch.tensor([0.0, math.pi / 2, 0.0]))
    assert torch.allclose(moved.R_parent_joint[:, 0], quarter @ plain.R_parent_joint[:, 0], atol=1e-5)


def test_jumps_stay_jumps_and_floors_stay_floors(tmp_path: Path) -> None:
    frames = 30
    rotvecs = torch.zeros(frames, len(RIG.bone_names), 3)
    root = torch.tensor([0.0, 0.95, 0.0]).repeat(frames, 1)
    root[10:20, 1] += 0.3 * torch.sin(torch.linspace(0, math.pi, 10))
    root[:, 2] += torch.linspace(0, 1, frames)
    out = retarget(read_bvh(write(tmp_path, bvh_text(RIG, rotvecs, root))), RIG, floor_rest_m=0.0)
    height = joints_of(out)[1][:, BONE["leftFoot"], 1] - RIG.joints_rest_m[BONE["leftFoot"], 1]
    assert height[:8].abs().max() < 0.02 and height[22:].abs().max() < 0.02
    assert 0.2 < float(height.max()) < 0.32
    assert float((joints_of(out)[1][-1, 0] - joints_of(out)[1][0, 0])[2]) == pytest.approx(1.0, abs=0.01)


def test_an_upside_down_axis_can_be_told(tmp_path: Path) -> None:
    """A z-up file of a person who lies all the time cannot be told apart; `up_axis` decides."""
    source = read_bvh(write(tmp_path, bvh_text(RIG, torch.zeros(2, 34, 3), torch.zeros(2, 3))))
    standing, lying = retarget(source, RIG), retarget(source, RIG, up_axis="z")
    up_y = joints_of(standing)[1][0, BONE["head"]] - joints_of(standing)[1][0, 0]
    up_z = joints_of(lying)[1][0, BONE["head"]] - joints_of(lying)[1][0, 0]
    assert float(up_y[1]) > 0.5 and abs(float(up_z[1])) < 0.1


def test_skeletons_that_are_no_people_are_refused() -> None:
    crane = SourceMotion(
        name="crane",
        fps_hz=30.0,
        joint_names=("Base", "Boom"),
        joint_parents=(-1, 0),
        offsets=torch.zeros(2, 3),
        tips=torch.zeros(2, 3),
        R_parent_joint=torch.eye(3).expand(1, 2, 3, 3),
        root_position=torch.zeros(1, 3),
    )
    with pytest.raises(
        InputError, match=r"motion 'crane' has no recognisable hips, leftUpperLeg.*\(Base, Boom\).*Mixamo"
    ):
        retarget(crane, RIG)
    with pytest.raises(InputError, match=r"rig has no .* in its humanoid map"):
        retarget(crane, RIG.replace(humanoid={}))
