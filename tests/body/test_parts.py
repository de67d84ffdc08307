"""Names and labels of the body."""

from __future__ import annotations

import itertools

import pytest
import torch

from bodydouble.body.anny import load_anny
from bodydouble.body.parts import PART_NAMES, finger_flexion_axes
from bodydouble.body.protocol import Pose

_VRM_REQUIRED = (
    "hips", "spine", "chest", "upperChest", "neck", "head", "leftEye", "rightEye",
    "leftUpperLeg", "leftLowerLeg", "leftFoot", "leftToes", "rightUpperLeg", "rightLowerLeg", "rightFoot", "rightToes",
    "leftShoulder", "leftUpperArm", "leftLowerArm", "leftHand",
    "rightShoulder", "rightUpperArm", "rightLowerArm", "rightHand",
)  # fmt: skip


@pytest.fixture(scope="module")
def body():
    return load_anny()


def test_humanoid_map_is_complete_and_distinct(body):
    fingers = [
        f"{side}{finger}{segment}"
        for side in ("left", "right")
        for finger, segments in (
            ("Thumb", ("Metacarpal", "Proximal", "Distal")),
            *((f, ("Proximal", "Intermediate", "Distal")) for f in ("Index", "Middle", "Ring", "Little")),
        )
        for segment in segments
    ]
    assert set(body.humanoid) == {*_VRM_REQUIRED, *fingers}
    assert set(body.humanoid.values()) <= set(body.bone_names)
    assert len(set(body.humanoid.values())) == len(body.humanoid)


def test_humanoid_chain_order(body):
    """Each humanoid bone descends from the one VRM puts above it."""
    index = {vrm: body.bone_names.index(bone) for vrm, bone in body.humanoid.items()}

    def ancestors(bone: int) -> set[int]:
        found = set()
        while body.bone_parents[bone] >= 0:
            bone = body.bone_parents[bone]
            found.add(bone)
        return found

    chains = [
        ("hips", "spine", "chest", "upperChest", "neck", "head", "leftEye"),
        ("upperChest", "leftShoulder", "leftUpperArm", "leftLowerArm", "leftHand", "leftIndexProximal"),
        ("hips", "rightUpperLeg", "rightLowerLeg", "rightFoot", "rightToes"),
        ("rightHand", "rightThumbMetacarpal", "rightThumbProximal", "rightThumbDistal"),
    ]
    for chain in chains:
        for upper, lower in itertools.pairwise(chain):
            assert index[upper] in ancestors(index[lower]), (upper, lower)


def test_sides_mirror(body):
    joints = body.with_shape(body.shape_default).joints_rest
    for vrm, bone in body.humanoid.items():
        if vrm.startswith("left"):
            other = body.humanoid[vrm.replace("left", "right", 1)]
            left, right = joints[body.bone_names.index(bone)], joints[body.bone_names.index(other)]
            torch.testing.assert_close(left * torch.tensor([-1.0, 1.0, 1.0]), right, atol=5e-3, rtol=0)
            assert left[0] > 0


def test_parts_lie_where_they_should(body):
    rest = body.with_shape(body.shape_default)
    vertices, part = rest.vertices_rest, body.vertex_parts
    center = {name: vertices[part == i].mean(0) for i, name in enumerate(PART_NAMES)}
    count = {name: int((part == i).sum()) for i, name in enumerate(PART_NAMES)}
    assert all(n > 100 for n in count.values()), count
    assert center["left_hand"][0] > 0.4 and center["right_hand"][0] < -0.4
    assert center["left_foot"][1] < -0.7 and center["right_foot"][0] < 0 < center["left_foot"][0]
    assert center["face"][2] > center["head"][2] and center["face"][1] > 0.6
    eyes = rest.joints_rest[[body.bone_names.index("eye.L"), body.bone_names.index("eye.R")]].mean(0)
    assert float((center["eyes"] - eyes).norm()) < 0.02
    jaw = body.action_deltas[body.action_names.index("jawOpen")].norm(dim=-1)
    assert set(part[jaw > 0.01].unique().tolist()) <= {PART_NAMES.index("face"), PART_NAMES.index("mouth")}


def test_relaxed_hands_only_bend_fingers(body):
    bent = {body.bone_names[i] for i in (body.relaxed_rotvecs.norm(dim=-1) > 0).nonzero()[:, 0].tolist()}
    assert bent == {bone for bone in body.humanoid.values() if bone.startswith("finger")}
    assert float(body.relaxed_rotvecs.norm(dim=-1).max()) < 0.8


@pytest.mark.parametrize("side", ["left", "right"])
def test_flexion_brings_fingertips_to_the_palm(body, side):
    rest = body.with_shape(body.shape_default)
    axes = finger_flexion_axes(body.bone_names, body.humanoid, rest.joints_rest)
    index = {vrm: body.bone_names.index(bone) for vrm, bone in body.humanoid.items()}
    wrist = index[f"{side}Hand"]
    for finger in ("Index", "Middle", "Ring", "Little"):
        rotvecs = torch.zeros_like(axes)
        for segment in ("Proximal", "Intermediate", "Distal"):
            bone = index[f"{side}{finger}{segment}"]
            rotvecs[bone] = 0.9 * axes[bone]
        joints = rest.with_pose(Pose(rotvecs=rotvecs, translation_world_m=torch.zeros(3))).joints_world
        tip = index[f"{side}{finger}Distal"]
        straight = (rest.joints_rest[tip] - rest.joints_rest[wrist]).norm()
        assert float((joints[tip] - joints[wrist]).norm()) < 0.95 * float(straight), finger
        # bending the other way opens the hand instead
        back = rest.with_pose(Pose(rotvecs=-rotvecs / 3, translation_world_m=torch.zeros(3))).joints_world
        assert float((back[tip] - back[wrist]).norm()) > float((joints[tip] - joints[wrist]).norm())
