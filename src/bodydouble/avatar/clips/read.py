"""Any motion file as a `SourceMotion`, by its ending."""

from __future__ import annotations

from pathlib import Path

from bodydouble.avatar.bvh import SourceMotion, read_bvh
from bodydouble.avatar.clips.glb_clip import read_glb_motion
from bodydouble.avatar.clips.trackers import read_gvhmr_motion, read_wham_motion
from bodydouble.avatar.clips.vmd import read_vmd
from bodydouble.avatar.smpl_motion import read_smpl_motion
from bodydouble.core.errors import InputError

READABLE = (".bvh", ".npz", ".glb", ".vrm", ".vmd", ".pt", ".pkl")


def read_motion(path: Path, *, clip: str = "") -> SourceMotion:
    """Read a motion of a body, on whatever skeleton it was made.

    Args:
        path: BVH; .npz of SMPL, SMPL-H or SMPL-X (AMASS); .glb with an animation (Mixamo and others); VMD (MikuMikuDance);
            .pt of GVHMR; .pkl of WHAM.
        clip: Which animation of a .glb; the longest if none is named.
    Raises:
        InputError: When the file is missing, damaged, or of a kind that cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".glb", ".vrm"):
        return read_glb_motion(path, clip)
    if suffix == ".bvh":
        return read_bvh(path)
    if suffix == ".npz":
        return read_smpl_motion(path)
    if suffix == ".vmd":
        return read_vmd(path)
    if suffix == ".pt":
        return read_gvhmr_motion(path)
    if suffix == ".pkl":
        return read_wham_motion(path)
    if suffix in (".fbx", ".c3d", ".gltf"):
        raise InputError(
            f"{path} is a {suffix} file, which cannot be read. In Blender, import it and export it as .glb or .bvh."
        )
    raise InputError(f"{path} is no motion that can be read; expected a file that ends in {', '.join(READABLE)}.")
