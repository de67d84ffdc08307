"""A fitted body in SMPL's terms: 72 pose values, 10 shape values, and where the model stands before a camera.

A body that was fitted with the user's own SMPL file is said exactly. Any other is carried over by what its joints turn,
onto a skeleton of SMPL's proportions with betas of zero; its place is then the one that projects the joints best, so that
a mean-sized person stands where it covers the person seen.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.body.smplx_names import smpl_humanoid
from bodydouble.capture.foreign.values import smpl_joint_names, smpl_joint_parents
from bodydouble.capture.values import BodyTrack
from bodydouble.core.geometry import matrix_to_rotvec, rotvec_to_matrix
from bodydouble.core.struct import TensorStruct, tensor_struct

_CAMERA_FIT = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
"""R_camera_fit: a fit's camera looks along -Z with +Y up, OpenCV's along +Z with +Y down."""
_BODY_JOINTS = 22
_PLACED_BY = (
    "hips", "neck", "leftUpperArm", "rightUpperArm", "leftLowerArm", "rightLowerArm", "leftHand", "rightHand",
    "leftLowerLeg", "rightLowerLeg", "leftFoot", "rightFoot",
)  # fmt: skip


@tensor_struct
class SmplTerms(TensorStruct):
    """Per frame, in the world of SMPL with zero translation: x_camera = R X + t with R = 1."""

    poses: Float[Tensor, "frames 24 3"]
    """Rotation vectors; the first, about the pelvis, in the axes of the camera (OpenCV's)."""
    betas: Float[Tensor, " betas"]
    t_camera_smpl_m: Float[Tensor, "frames 3"]
    exact: bool
    """Whether it was fitted with SMPL itself."""


def smpl_terms(track: BodyTrack, body: BodyModel) -> SmplTerms:
    """A track in SMPL's terms.

    Args:
        track: Of any body.
        body: Its model.
    """
    return _exact(track, body) if body.name == "smpl" else _carried_over(track, body)


def _exact(track: BodyTrack, body: BodyModel) -> SmplTerms:
    from bodydouble.body.smplx import SmplBody

    assert isinstance(body, SmplBody)
    pelvis = body.with_shape(track.shape).joints_rest[0].double()
    poses = track.rotvecs.double().clone()
    poses[:, 0] = matrix_to_rotvec(_CAMERA_FIT @ rotvec_to_matrix(poses[:, 0]))
    place = (_CAMERA_FIT @ (pelvis + track.translation_world_m.double())[..., None])[..., 0]
    betas = body.betas(track.shape).double()[:10]
    return SmplTerms(
        poses=poses,
        betas=torch.nn.functional.pad(betas, (0, 10 - len(betas))),
        t_camera_smpl_m=place - pelvis,
        exact=True,
    )


def _carried_over(track: BodyTrack, body: BodyModel) -> SmplTerms:
    from bodydouble.avatar.clips.rigs import as_source
    from bodydouble.avatar.motion import Motion
    from bodydouble.avatar.retarget import retarget_in_place
    from bodydouble.avatar.values import Rig

    shaped = body.with_shape(track.shape)
    ours = Rig(
        bone_names=body.bone_names,
        bone_parents=body.bone_parents,
        joints_rest_m=shaped.joints_rest,
        humanoid=body.humanoid,
    )
    motion = Motion(
        name=body.name,
        fps_hz=30.0,
        rotvecs=track.rotvecs,
        translation_world_m=track.translation_world_m,
        expression=track.expression,
    )
    theirs = _smpl_rig()
    turned, _ = retarget_in_place(as_source(motion, ours), theirs)
    poses = torch.zeros(len(turned), 24, 3, dtype=torch.float64)
    poses[:, :_BODY_JOINTS] = turned.double()
    poses[:, 0] = matrix_to_rotvec(_CAMERA_FIT @ rotvec_to_matrix(poses[:, 0]))
    posed = shaped.with_pose(track.pose())
    columns = [body.bone_names.index(body.humanoid[name]) for name in _PLACED_BY]
    target = (_CAMERA_FIT @ posed.joints_world[:, columns].double()[..., None])[..., 0]
    joints = smpl_joints_m(poses, theirs.joints_rest_m.double())
    model = joints[:, [theirs.bone_names.index(theirs.humanoid[name]) for name in _PLACED_BY]]
    return SmplTerms(
        poses=poses,
        betas=torch.zeros(10, dtype=torch.float64),
        t_camera_smpl_m=place_by_projection(model, target),
        exact=False,
    )


def smpl_joints_m(
    poses: Float[Tensor, "frames joints 3"], rest_m: Float[Tensor, "body 3"]
) -> Float[Tensor, "frames body 3"]:
    """Where joints are after a pose with zero translation: each turned about its parent, the pelvis about itself."""
    parents = smpl_joint_parents("smpl")
    R = rotvec_to_matrix(poses)
    turns, places = [R[:, 0]], [rest_m[0].expand(len(poses), 3)]
    for joint in range(1, len(rest_m)):
        parent = parents[joint]
        turns.append(turns[parent] @ R[:, joint])
        places.append(places[parent] + (turns[parent] @ (rest_m[joint] - rest_m[parent])[:, None])[..., 0])
    return torch.stack(places, 1)


def place_by_projection(
    model_m: Float[Tensor, "frames joints 3"], target_m: Float[Tensor, "frames joints 3"]
) -> Float[Tensor, "frames 3"]:
    """The translation after which points project, as nearly as possible, to where other points project.

    Linear least squares of (X + t)_xy = u (X + t)_z, u the targets' directions x / z, y / z (as in the direct linear
    transform), weighed by the targets' depths so that all points count alike.
    """
    u = target_m[..., :2] / target_m[..., 2:]
    count, joints = u.shape[:2]
    A = torch.zeros(count, joints, 2, 3, dtype=u.dtype)
    A[..., 0, 0] = A[..., 1, 1] = 1.0
    A[..., 2] = -u
    b = u * model_m[..., 2:] - model_m[..., :2]
    weight = 1.0 / target_m[..., 2:, None]
    return torch.linalg.lstsq(
        (A * weight).reshape(count, -1, 3), (b[..., None] * weight).reshape(count, -1, 1)
    ).solution[..., 0]


def _smpl_rig():
    from bodydouble.avatar.values import Rig
    from bodydouble.pipeline.foreign_body import PELVIS_REST_M, smpl_rest_offset_m

    names = smpl_joint_names("smpl")[:_BODY_JOINTS]
    parents = smpl_joint_parents("smpl")[:_BODY_JOINTS]
    places: list[Tensor] = []
    for name, parent in zip(names, parents, strict=True):
        offset = torch.tensor(smpl_rest_offset_m(name))
        places.append(torch.tensor(PELVIS_REST_M["smpl"]) if parent < 0 else places[parent] + offset)
    return Rig(bone_names=names, bone_parents=parents, joints_rest_m=torch.stack(places), humanoid=smpl_humanoid(names))
