"""BVH that we write: the same pose when it is read, fingers included, and recognised as a person's skeleton."""

from __future__ import annotations

from pathlib import Path

import torch

from bodydouble.avatar.bvh import read_bvh
from bodydouble.avatar.bvh_write import write_bvh
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.performer import read_performer
from bodydouble.avatar.values import Rig
from bodydouble.body.anny import load_anny
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.skinning import bone_transforms


def test_a_motion_with_fingers_comes_back(tmp_path: Path) -> None:
    body = load_anny()
    joints = body.with_shape(body.shape_default).joints_rest
    rig = Rig(
        bone_names=body.bone_names, bone_parents=body.bone_parents, joints_rest_m=joints, humanoid=dict(body.humanoid)
    )
    generator = torch.Generator().manual_seed(1)
    motion = Motion(
        name="m",
        fps_hz=25.0,
        rotvecs=torch.randn(4, len(rig.bone_names), 3, generator=generator) * 0.5,
        translation_world_m=torch.randn(4, 3, generator=generator),
        expression=torch.zeros(4, 52),
    )
    write_bvh(tmp_path / "m.bvh", motion, rig)
    source = read_bvh(tmp_path / "m.bvh")
    assert abs(source.fps_hz - 25.0) < 1e-4
    assert len(source.joint_names) == len(rig.bone_names)
    human = {bone: name for name, bone in rig.humanoid.items()}
    place = [source.joint_names.index(human.get(bone, bone)) for bone in rig.bone_names]
    assert torch.allclose(source.R_parent_joint[:, place], rotvec_to_matrix(motion.rotvecs), atol=2e-5)
    performer = read_performer(source, "y")
    assert set(performer.humanoid) >= {n for n in rig.humanoid if "Eye" not in n}
    R, t = bone_transforms(motion.rotvecs, joints, motion.translation_world_m, rig.bone_parents)
    world = (R @ joints[:, :, None])[..., 0] + t
    assert (performer.joints_world[:, place] / 100.0 - world).abs().max() < 1e-4


def test_a_long_chain_of_joints_is_written(tmp_path: Path) -> None:
    count = 3000
    rig = Rig(
        bone_names=tuple(f"j{i}" for i in range(count)),
        bone_parents=tuple(range(-1, count - 1)),
        joints_rest_m=torch.arange(count)[:, None] * torch.tensor([0.0, 0.01, 0.0]),
        humanoid={},
    )
    still = torch.zeros(1, count, 3)
    motion = Motion(
        name="m", fps_hz=30.0, rotvecs=still, translation_world_m=still[:, 0], expression=torch.zeros(1, 52)
    )
    write_bvh(tmp_path / "m.bvh", motion, rig)
    assert read_bvh(tmp_path / "m.bvh").joint_parents == rig.bone_parents
