"""The same things in few lines: load, pose, look, play, export.

python examples/05_in_a_few_lines.py clip-double pictures
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import bodydouble as bd


def main(avatar_path: Path, out: Path, width_px: int = 360, height_px: int = 480) -> None:
    """A smile from the front, the face alone, a strip of a dance, and a file for a splat viewer."""
    out.mkdir(parents=True, exist_ok=True)
    avatar = bd.load(avatar_path)
    print(avatar)
    waving = {"leftUpperArm": (0.0, 0.0, 1.2), "leftLowerArm": (0.0, 0.0, 0.9)}  # rotation vectors, radians
    posed = avatar.pose(waving, expression="smile")
    posed.render(width_px, height_px).save(out / "wave.png")
    posed.render(width_px, width_px, focus="face", azimuth_rad=math.radians(20), background="transparent").save(
        out / "face.png"
    )
    dance = avatar.play("dance")
    print(dance)
    dance.strip(5, width_px // 3, height_px // 3).save(out / "dance.png")
    dance.at(1.5).render(width_px, height_px, azimuth_rad=math.pi / 2).save(out / "side.png")
    avatar.export(out / "dancing.glb", motion="dance")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
