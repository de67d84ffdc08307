"""Move an avatar by a motion capture file of any humanoid rig.

python examples/02_dance_to_a_bvh.py clip-double/avatar.glb walk.bvh walk.mp4
"""

from __future__ import annotations

import sys
from pathlib import Path

from bodydouble.avatar.bvh import read_bvh
from bodydouble.avatar.glb import load_avatar, save_avatar
from bodydouble.avatar.retarget import rest_floor, retarget
from bodydouble.pipeline.playback import Playback, render_video
from bodydouble.render.select import make_rasterizer


def main(avatar_path: Path, bvh_path: Path, video_path: Path, width_px: int = 480, height_px: int = 640) -> None:
    """Retarget, render, and store the motion as an animation in a copy of the avatar."""
    avatar = load_avatar(avatar_path)
    motion = retarget(read_bvh(bvh_path), avatar.rig, fps_hz=24.0, floor_rest_m=rest_floor(avatar))
    playback = Playback(camera="follow", width_px=width_px, height_px=height_px, fps_hz=24.0)
    render_video(avatar, motion, video_path, playback, make_rasterizer("auto"), lambda event: None)
    save_avatar(avatar, video_path.with_suffix(".glb"), clips=[motion])  # plays in any glTF viewer


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
