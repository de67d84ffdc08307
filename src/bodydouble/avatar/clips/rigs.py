"""Between somebody's skeleton (`SourceMotion`) and a rig of ours with a `Motion`, without retargeting."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.humanoid import guess_humanoid
from bodydouble.avatar.motion import Motion
from bodydouble.avatar.performer import read_performer
from bodydouble.avatar.values import Rig
from bodydouble.body.protocol import ARKIT_ACTIONS
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix

UNITS_M: dict[str, float] = {
    "metres": 1.0,
    "decimetres": 0.1,
    "MMD units": 0.08,
    "CMU units": 0.056444,
    "inches": 0.0254,
    "centimetres": 0.01,
    "millimetres": 0.001,
}
_USUAL_LEG_M = 0.80
"""Thigh and shank of an adult."""


def guess_unit(source: SourceMotion) -> tuple[str, float]:
    """The unit of length in which the legs are most nearly those of an adult, and its length in metres.

    Raises:
        InputError: When the source's bones are not those of a human.
    """
    human = read_performer(source).humanoid
    length = 0.0
    for side in ("left", "right"):
        for bone in ("LowerLeg", "Foot"):
            joint = human.get(side + bone)
            # Joints may lie between: follow them up to the bone above.
            above = human[f"{side}UpperLeg"] if bone == "LowerLeg" else human[f"{side}LowerLeg"]
            while joint is not None and joint != above and joint >= 0:
                length += float(source.offsets[joint].norm()) / 2
                joint = source.joint_parents[joint]
    if length <= 0:
        return "metres", 1.0
    name = min(UNITS_M, key=lambda unit: abs(math.log(UNITS_M[unit] * length / _USUAL_LEG_M)))
    return name, UNITS_M[name]


def as_rig_motion(source: SourceMotion, unit_m: float) -> tuple[Rig, Motion]:
    """A source's own skeleton as a rig of metres with +Y up, and its motion on it; nothing is retargeted.

    Args:
        source: A motion file's content.
        unit_m: Metres in one unit of its lengths.
    Raises:
        InputError: When the source's bones are not those of a human (needed to find out what is up).
    """
    performer = read_performer(source)
    R_first = performer.R_world_joint[0, 0]
    # The performer's world is the source's, turned: find by how much from the first joint.
    R_up = R_first @ source.R_parent_joint[0, 0].double().T
    offsets = source.offsets.double() @ R_up.T * unit_m
    joints: list[Tensor] = []
    for joint, parent in enumerate(source.joint_parents):
        joints.append(torch.zeros(3, dtype=torch.float64) if parent < 0 else joints[parent] + offsets[joint])
    places = torch.stack(joints)
    places[:, 1] -= places[:, 1].min()
    names = tuple(
        name if source.joint_names.index(name) == i else f"{name}#{i}" for i, name in enumerate(source.joint_names)
    )
    rig = Rig(
        bone_names=names,
        bone_parents=source.joint_parents,
        joints_rest_m=places.float(),
        humanoid=guess_humanoid(names, source.joint_parents),
    )
    local = R_up @ source.R_parent_joint.double() @ R_up.T
    root = source.root_position.double() @ R_up.T * unit_m
    frames = len(root)
    motion = Motion(
        name=source.name,
        fps_hz=source.fps_hz,
        rotvecs=matrix_to_rotvec(local).float(),
        translation_world_m=(root - places[0]).float(),
        expression=torch.zeros(frames, len(ARKIT_ACTIONS)) if source.expression is None else source.expression,
    )
    return rig, motion


def as_source(motion: Motion, rig: Rig) -> SourceMotion:
    """A motion on a rig of ours as a source that can be retargeted or written like any other; metres, +Y up."""
    human = {bone: name for name, bone in rig.humanoid.items()}
    joints = rig.joints_rest_m
    parents = list(rig.bone_parents)
    offsets = torch.stack([joints[b] - joints[p] if p >= 0 else joints[b] * 0 for b, p in enumerate(parents)])
    return SourceMotion(
        name=motion.name,
        fps_hz=motion.fps_hz,
        # Names of the humanoid map are understood whatever the rig calls its bones.
        joint_names=tuple(human.get(name, name) for name in rig.bone_names),
        joint_parents=rig.bone_parents,
        offsets=offsets,
        tips=torch.zeros_like(offsets),
        R_parent_joint=rotvec_to_matrix(motion.rotvecs),
        root_position=motion.translation_world_m + joints[parents.index(-1)],
        expression=motion.expression if bool((motion.expression != 0).any()) else None,
    )


def end_points(rig: Rig) -> Float[Tensor, "bones 3"]:
    """Where the bone of each joint ends in the rest pose: at the joints below, or a little beyond a joint without any."""
    joints = rig.joints_rest_m
    ends = []
    for bone, parent in enumerate(rig.bone_parents):
        below = [b for b, p in enumerate(rig.bone_parents) if p == bone]
        if below:
            ends.append(joints[below].mean(0))
        else:
            line = joints[bone] - joints[parent] if parent >= 0 else torch.tensor([0.0, 1.0, 0.0])
            ends.append(joints[bone] + 0.5 * line)
    return torch.stack(ends)
