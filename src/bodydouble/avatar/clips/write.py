"""Writing a motion: BVH, a .glb with a stick figure and a clip, SMPL-X's .npz."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from bodydouble.avatar.anatomy import frame_of
from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.bvh_write import write_bvh
from bodydouble.avatar.clips.rigs import as_rig_motion, end_points, guess_unit
from bodydouble.avatar.glb_write import avatar_to_glb
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.retarget import retarget
from bodydouble.avatar.smpl_motion import smplx_rig
from bodydouble.avatar.values import Avatar, Mesh, Provenance, Rig
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.errors import ConfigError
from bodydouble.core.files import write_bytes

WRITABLE = (".bvh", ".glb", ".npz")


def write_motion(
    path: Path, source: SourceMotion, *, target: Rig | None = None, floor_rest_m: float | None = None
) -> None:
    """Write a motion in the format that the file's ending names.

    Args:
        path: .bvh (centimetres), .glb (a stick figure with a clip), or .npz (SMPL-X); whole or absent.
        source: The motion.
        target: The rig to retarget to; the source's own skeleton if none. An .npz is always on SMPL-X's skeleton.
        floor_rest_m: Height of the soles of the target in its rest pose.
    Raises:
        ConfigError: For another ending.
        InputError: When the source's bones are not those of a human.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ConfigError(f"{path.name} must end in one of {', '.join(WRITABLE)}; rename it.")
    if suffix == ".npz":
        write_smplx(path, source)
        return
    if target is None:
        rig, motion = as_rig_motion(source, guess_unit(source)[1])
    else:
        rig = target
        motion = retarget(source, target, fps_hz=source.fps_hz, floor_rest_m=floor_rest_m)
    if suffix == ".bvh":
        write_bvh(path, motion, rig)
    else:
        write_bytes(path, stick_figure_glb(rig, motion))


def write_smplx(path: Path, source: SourceMotion) -> None:
    """Write a motion in the manner of AMASS's SMPL-X files, +Y up, retargeted to a skeleton of average proportions.

    `poses` (frames, 165), `trans`, `mocap_frame_rate`, the parts `root_orient`, `pose_body`, `pose_jaw`, `pose_eye`,
    `pose_hand`, `betas` of zero, `gender` neutral. Jaw and eyes rest; `trans` moves the pelvis from its place in
    `rest_joints`. Facial actions, if any, are added as `arkit` with `arkit_names`.

    Args:
        path: The .npz; whole or absent.
        source: The motion.
    """
    rig, columns = smplx_rig()
    motion = retarget(source, rig, fps_hz=source.fps_hz)
    frames = motion.num_frames
    poses = np.zeros((frames, 55, 3), np.float32)
    poses[:, columns] = motion.rotvecs.numpy()
    flat = poses.reshape(frames, 165)
    arrays = {
        "poses": flat,
        "trans": motion.translation_world_m.numpy().astype(np.float32),
        "mocap_frame_rate": np.float64(motion.fps_hz),
        "betas": np.zeros(16, np.float32),
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smplx"),
        "root_orient": flat[:, :3],
        "pose_body": flat[:, 3:66],
        "pose_jaw": flat[:, 66:69],
        "pose_eye": flat[:, 69:75],
        "pose_hand": flat[:, 75:],
        "rest_joints": rig.joints_rest_m.numpy().astype(np.float32),
        "up_axis": np.array("y"),
    }
    if bool((motion.expression != 0).any()):
        arrays["arkit"] = motion.expression.numpy().astype(np.float32)
        arrays["arkit_names"] = np.array(ARKIT_ACTIONS)
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    write_bytes(path, stream.getvalue())


def stick_figure_glb(rig: Rig, motion: Motion) -> bytes:
    """The bytes of a .glb with one octahedron for each bone, skinned to it, and the motion as a clip.

    Args:
        rig: Metres, +Y up.
        motion: On the rig.
    """
    joints, ends = rig.joints_rest_m.double(), end_points(rig).double()
    vertices, faces, owners = [], [], []
    for bone in range(len(joints)):
        line = ends[bone] - joints[bone]
        length = float(line.norm())
        if length < 1e-4:
            line, length = torch.tensor([0.0, 0.01, 0.0], dtype=torch.float64), 0.01
        helper = torch.nn.functional.one_hot(line.abs().argmin(), 3).double()
        across = frame_of(line, helper)[:, 1:].T * min(0.12 * length, 0.04)
        waist = joints[bone] + 0.2 * line
        ring = [waist + across[0], waist + across[1], waist - across[0], waist - across[1]]
        first = len(vertices)
        vertices += [joints[bone], *ring, joints[bone] + line]
        owners += [bone] * 6
        for k in range(4):
            a, b = first + 1 + k, first + 1 + (k + 1) % 4
            faces += [(first, b, a), (first + 5, a, b)]
    owner = torch.tensor(owners)
    count = len(owner)
    sides = torch.tensor([_color(rig.bone_names[b], rig) for b in owners])
    mesh = Mesh(
        vertices_rest_m=torch.stack(vertices).float(),
        faces=torch.tensor(faces),
        colors=sides,
        joints=torch.stack([owner, *[torch.zeros_like(owner)] * 3], 1),
        weights=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
    )
    provenance = Provenance(generator="bodydouble", method="stick figure", body=motion.name)
    return avatar_to_glb(Avatar(rig=rig, mesh=mesh, splats=None, provenance=provenance), [motion])


def _color(name: str, rig: Rig) -> tuple[float, float, float]:
    """Left blue, right red, the middle grey."""
    human = next((h for h, bone in rig.humanoid.items() if bone == name), "")
    if human.startswith("left"):
        return (0.25, 0.45, 0.85)
    return (0.85, 0.35, 0.25) if human.startswith("right") else (0.6, 0.6, 0.6)
