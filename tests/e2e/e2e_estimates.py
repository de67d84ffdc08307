"""A noisy tracker's result for a synthetic clip, and how far a track is from its truth."""

from __future__ import annotations

from pathlib import Path

import estimate_sets as sets
import numpy as np

from bodydouble.body.anny import load_anny
from bodydouble.body.protocol import Pose
from bodydouble.capture.estimates.sam3d import point_names
from bodydouble.capture.values import BodyTrack
from bodydouble.fit.controls import build_controls
from bodydouble.fit.kinematics import exp_so3, pose_nodes
from bodydouble.fit.landmarks import rest_geometry
from bodydouble.fit.marks import Carried, landmark_marks
from bodydouble.synth.truth import Truth


def write_noisy_sam3d(path: Path, truth: Truth) -> None:
    """Keypoints of a person 8 % larger and farther, each 2 cm off, seen in every frame but two."""
    body = load_anny()
    controls, names = build_controls(body), point_names()
    marks, known = landmark_marks(body, names)
    rotvecs, place = truth.pose_in_camera()
    shape = truth.values.shape.double().numpy()
    rest = rest_geometry(body, marks.model, controls, shape)
    local = rotvecs.double().numpy()
    flat = controls.axes[1:].reshape(-1, controls.axes.shape[-1])
    theta = local[:, controls.node_bones[1:]].reshape(len(local), -1) @ np.linalg.pinv(flat).T
    posed = pose_nodes(controls, rest.joints, exp_so3(local[:, controls.node_bones[0]]), place.double().numpy(), theta)
    points = np.repeat(posed.joints[:, :1], 70, 1)
    points[:, known] = Carried.of(marks, controls).place(posed, rest)[1]
    points = 1.08 * points * [1, -1, -1] + np.random.default_rng(0).normal(size=points.shape) * 0.02
    path.mkdir()
    camera = truth.camera(0)
    for i, frame in enumerate(points):
        if i not in (4, 11):
            person = sets.mhr_person(frame, focal=float(camera.focal_px[0]))
            np.save(path / f"frame_{i:05d}.npy", np.array([person], dtype=object), allow_pickle=True)


def error_mm(track: BodyTrack, truth: Truth) -> float:
    """Root-relative error of the main joints."""
    body = load_anny()
    rotvecs, place = truth.pose_in_camera()
    bones = [body.bone_names.index(body.humanoid[n]) for n in ("hips", *_main_bones())]
    ours = body.with_shape(track.shape).with_pose(track.pose())
    true = body.with_shape(truth.values.shape).with_pose(Pose(rotvecs=rotvecs, translation_world_m=place))
    a, b = ours.joints_world[:, bones], true.joints_world[:, bones]
    return 1000 * float(((a - a[:, :1]) - (b - b[:, :1])).norm(dim=-1).mean())


def _main_bones() -> list[str]:
    return [side + bone for side in ("left", "right") for bone in ("UpperArm", "LowerArm", "Hand", "LowerLeg", "Foot")]
