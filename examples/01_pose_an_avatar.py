"""Load an avatar, put it into a pose of your own, and save a picture.

python examples/01_pose_an_avatar.py clip-double/avatar.glb pose.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.expressions import named_expression
from bodydouble.avatar.glb import load_avatar
from bodydouble.body.protocol import Pose
from bodydouble.core.cameras import look_at_camera
from bodydouble.render.select import make_rasterizer


def main(avatar_path: Path, picture_path: Path) -> None:
    """Raise the avatar's left arm, let it smile, and look at it from the front."""
    avatar = load_avatar(avatar_path)
    assert avatar.splats is not None, "this file holds no splats"

    rotvecs = torch.zeros(len(avatar.rig.bone_names), 3)  # the rest pose: one rotation vector for each bone
    left_arm = avatar.rig.bone_names.index(avatar.rig.humanoid["leftUpperArm"])
    rotvecs[left_arm] = torch.tensor([0.0, 0.0, 1.2])  # radians about +Z, which points out of the chest
    pose = Pose(rotvecs=rotvecs, translation_world_m=torch.zeros(3))
    posed = pose_avatar(avatar, pose, named_expression("smile"))
    assert posed.splats is not None

    middle = posed.joints_world_m.mean(0)
    camera = look_at_camera(middle + torch.tensor([0.0, 0.2, 3.5]), middle, width_px=480, height_px=640, focal_px=900.0)
    with torch.no_grad():
        image = make_rasterizer("auto")(posed.splats, camera, torch.ones(3))
    Image.fromarray((image.rgb.clamp(0, 1) * 255).byte().numpy()).save(picture_path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
