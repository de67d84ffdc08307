"""A stand-in for bodies of the SMPL family: our own body in their pose, at their place.

SMPL's files belong to their users and are not needed here. Its joint tree, names and zero pose are public facts; a pose is
carried over by what each joint turns, the place by the joints' positions. The stand-in has the build of nobody in
particular and the height that fits.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.avatar.bvh import SourceMotion
from bodydouble.avatar.retarget import retarget_in_place
from bodydouble.avatar.values import Rig
from bodydouble.body.height import shape_of_height
from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.foreign.values import ForeignBody, smpl_joint_names, smpl_joint_parents
from bodydouble.core.geometry import rotvec_to_matrix
from bodydouble.core.struct import TensorStruct, tensor_struct

_REST_HEIGHT_M = 1.78
"""Of the skeleton below."""
PELVIS_REST_M = {"smpl": (0.0, -0.23, 0.03), "smplx": (0.0, -0.36, 0.01)}
"""The pelvis in the model's own frame, about which smplx turns a body; a few centimetres vary with sex and shape."""
_OFFSETS_M: dict[str, tuple[float, float, float]] = {
    "hip": (0.115, -0.08, -0.01), "knee": (-0.015, -0.39, 0.0), "ankle": (-0.015, -0.42, -0.04), "foot": (0.04, -0.06, 0.12),
    "spine1": (0.0, 0.12, -0.04), "spine2": (0.0, 0.14, 0.02), "spine3": (0.0, 0.05, 0.0), "neck": (0.0, 0.21, -0.03),
    "head": (0.0, 0.09, 0.05), "collar": (0.08, 0.12, -0.02), "shoulder": (0.12, 0.04, -0.01), "elbow": (0.26, -0.01, -0.02),
    "wrist": (0.25, 0.01, 0.0),
}  # fmt: skip
"""An adult's zero pose in the manner of SMPL, rounded: T-pose, legs a little apart. x is the left side's. The hips are
those of our own body, farther out, so that its feet come to stand where theirs do."""
_BODY_JOINTS = 22
"""Joints that all models share; fingers and face are left to our own body."""
_PLACED_BY = {
    "neck": "neck",
    **{
        f"{side}_{theirs}": f"{side}{ours}"
        for side in ("left", "right")
        for theirs, ours in (("shoulder", "UpperArm"), ("knee", "LowerLeg"), ("ankle", "Foot"), ("wrist", "Hand"))
    },
}


@tensor_struct
class StandIn(TensorStruct):
    """Our body in the poses of a foreign one."""

    shape: Float[Tensor, " shape"]
    rotvecs: Float[Tensor, "frames bones 3"]
    """The root's is in the source's world."""
    joints_source: Float[Tensor, "frames joints 3"]
    """Where the source's joints are, for a height of 1.78 m, about the model's own origin."""


def stand_in(body: BodyModel, foreign: ForeignBody, frames: Int[Tensor, " chosen"]) -> StandIn:
    """Our body, of the default shape, in the poses of some frames. Heights and places: `placed`."""
    count = len(frames)
    names = smpl_joint_names(foreign.model)[:_BODY_JOINTS]
    offsets = torch.tensor([smpl_rest_offset_m(name) for name in names], dtype=torch.float64)
    R = rotvec_to_matrix(foreign.rotvecs[frames, :_BODY_JOINTS])
    pelvis = torch.tensor(PELVIS_REST_M[foreign.model], dtype=torch.float64)
    root = pelvis.expand(count, 3) if foreign.pivot == "pelvis" else R[:, 0] @ pelvis
    source = SourceMotion(
        name=foreign.model,
        fps_hz=30.0,
        joint_names=names,
        joint_parents=smpl_joint_parents(foreign.model)[:_BODY_JOINTS],
        offsets=offsets,
        tips=torch.zeros_like(offsets),
        R_parent_joint=R,
        root_position=root,
    )
    shape = body.shape_default.clone()
    rig = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=body.with_shape(shape).joints_rest,
        humanoid=body.humanoid,
    )
    rotvecs, joints = retarget_in_place(source, rig, relaxed_rotvecs=body.relaxed_rotvecs)
    return StandIn(shape=shape, rotvecs=rotvecs.float(), joints_source=joints.float())


def placed(
    body: BodyModel, standing: StandIn, height_m: float
) -> tuple[Float[Tensor, " shape"], Float[Tensor, "frames 3"]]:
    """Shape and root translation of the stand-in at a height, in the frame of the foreign model's output, metres."""
    shape = shape_of_height(body, height_m)
    posed = body.with_shape(shape).with_pose(
        Pose(rotvecs=standing.rotvecs, translation_world_m=torch.zeros(len(standing.rotvecs), 3))
    )
    names = smpl_joint_names("smpl")
    theirs = standing.joints_source[:, [names.index(name) for name in _PLACED_BY]] * (height_m / _REST_HEIGHT_M)
    ours = posed.joints_world[:, [body.bone_names.index(body.humanoid[name]) for name in _PLACED_BY.values()]]
    return shape, (theirs - ours).mean(1)


def smpl_rest_offset_m(name: str) -> tuple[float, float, float]:
    """From its parent to a joint in the zero pose, metres; 0 for the pelvis."""
    side, _, part = name.partition("_")
    if name == "pelvis":
        return 0.0, 0.0, 0.0
    x, y, z = _OFFSETS_M[part or name]
    return (-x if side == "right" else x), y, z
