"""The README's picture, from a demo run: the performer, the double in the same pose, the double in poses of its own.

bodydouble demo -o demo && python scripts/make_hero.py demo docs/images/hero.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bodydouble.avatar.builtin import builtin_motion
from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.expressions import named_expression
from bodydouble.avatar.glb import load_avatar
from bodydouble.avatar.retarget import rest_floor
from bodydouble.capture.folder import Capture
from bodydouble.core.cameras import look_at_camera, video_camera
from bodydouble.render.select import make_rasterizer

HEIGHT_PX, WIDTH_PX = 640, 420
BACKGROUND = torch.tensor([0.93, 0.93, 0.91])
POSES = (("wave", 0.35, "smile"), ("dance", 0.4, "neutral"), ("squat", 0.5, "neutral"))


def panel(rgb: np.ndarray) -> np.ndarray:
    """A picture at the common height, cut to the common width about its middle; 8 bit."""
    image = Image.fromarray((np.clip(rgb, 0, 1) * 255).astype(np.uint8))
    image = image.resize((round(image.width * HEIGHT_PX / image.height), HEIGHT_PX), Image.Resampling.LANCZOS)
    left = (image.width - WIDTH_PX) // 2
    return np.asarray(image.crop((left, 0, left + WIDTH_PX, HEIGHT_PX)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    capture, avatar = Capture.open(arguments.run / "capture"), load_avatar(arguments.run / "avatar.glb")
    track, rasterizer = capture.track(), make_rasterizer("cpu")
    frame = next(iter(capture.frames([7])))
    row = int((track.frame_indices == frame.index).nonzero()[0, 0])
    pose = track.pose(row)
    splats = pose_avatar(avatar, pose, track.expression[row]).splats
    assert splats is not None
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    panels = [panel(frame.rgb / 255.0), panel(rasterizer(splats, camera, BACKGROUND).rgb.numpy())]
    for name, share, expression in POSES:
        motion = builtin_motion(name, avatar.rig, floor_rest_m=rest_floor(avatar))
        posed = pose_avatar(avatar, motion.pose(int(share * motion.num_frames)), named_expression(expression))
        assert posed.splats is not None
        target = posed.joints_world_m.mean(0) * torch.tensor([1.0, 0.0, 1.0]) + torch.tensor([0.0, 0.9, 0.0])
        eye = target + torch.tensor([0.8, 0.25, 3.6])
        view = look_at_camera(eye, target, width_px=WIDTH_PX, height_px=HEIGHT_PX, focal_px=1150.0)
        panels.append(panel(rasterizer(posed.splats, view, BACKGROUND).rgb.numpy()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(panels, axis=1)).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
