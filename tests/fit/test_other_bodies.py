"""The fit with bodies that no landmark table was learnt for."""

from __future__ import annotations

import numpy as np
import pytest
from fit_truth import observe, perform, track_joints
from smpl_files import in_a_t, model_body, thinned

from bodydouble.body.anny import AnnyBody
from bodydouble.body.smplx import SmplBody
from bodydouble.fit.controls import build_controls
from bodydouble.fit.landmarks import LandmarkModel, build_landmarks
from bodydouble.fit.track import FitConfig, fit_observations

EXACT = FitConfig(self_calibrate=False, estimate_focal=False, silhouettes=False)


def places(landmarks: LandmarkModel, body) -> np.ndarray:
    shaped = body.with_shape(body.shape_default)
    joints, vertices = shaped.joints_rest.double().numpy(), shaped.vertices_rest.double().numpy()
    points = landmarks.joint_weights @ joints + landmarks.vertex_weights @ vertices[landmarks.vertex_ids]
    return points + landmarks.offsets * float(body.height_m(body.shape_default))


def test_landmarks_sit_where_anny_has_them(anny: AnnyBody) -> None:
    body = model_body("smplx")
    ours, theirs = build_landmarks(anny), build_landmarks(body)
    assert ours.names == theirs.names
    posed = in_a_t(anny, anny.shape_default)
    R, t = posed.R_world_rest.double().numpy()[ours.bones], posed.t_world_rest.double().numpy()[ours.bones]
    true = np.einsum("pij,pj->pi", R, places(ours, anny)) + t
    surface = body.with_shape(body.shape_default).vertices_rest.double().numpy()
    true += (surface - posed.vertices().double().numpy()[thinned("smplx")[0]]).mean(0)
    error = np.linalg.norm(places(theirs, body) - true, axis=1)
    face = np.array([name.startswith("face/") for name in ours.names])
    assert error[face].max() < 0.003
    assert error[~face].max() < 0.008


def test_a_body_without_fingers_has_fewer_landmarks_and_controls(anny: AnnyBody) -> None:
    body = model_body("smpl")
    landmarks, controls = build_landmarks(body), build_controls(body)
    assert not any(name.startswith(("left_hand", "right_hand")) for name in landmarks.names)
    assert {"body/left_thumb", "body/right_pinky", "body/nose", "face/1"} <= set(landmarks.names)
    assert len(controls.indices("left_hand", "right_hand")) == 0
    assert {d.name for d in controls.dofs} >= {"left_wrist_bend", "right_elbow_twist", "neck_twist"}
    at = dict(zip(landmarks.names, places(landmarks, body), strict=True))
    wrist, index = at["body/left_wrist"], at["body/left_index"]
    assert 0.05 < index[0] - wrist[0] < 0.15 and at["body/left_thumb"][2] > at["body/left_pinky"][2]


@pytest.mark.parametrize("kind", ["smplx", "smpl"])
def test_exact_landmarks_give_the_pose_back(kind: str) -> None:
    body: SmplBody = model_body(kind)
    truth = perform(body, frames=12)
    track = fit_observations(observe(truth), body, EXACT, lambda event: None)
    found, true = track_joints(body, track), truth.joints_world()
    main = [body.bone_names.index(body.humanoid[n]) for n in ("leftHand", "rightHand", "leftFoot", "rightFoot", "head")]
    error = np.linalg.norm((found - found[:, :1] - true + true[:, :1])[:, main], axis=-1)
    flat = np.linalg.norm((found - found[:, :1] - true + true[:, :1])[:, main, :2], axis=-1)
    assert flat.mean() < 0.010 and error.mean() < 0.04, (flat.mean(), error.mean())
    assert track.body == kind and track.expression.shape == (12, 52)
    assert float(body.height_m(track.shape)) == pytest.approx(1.70, abs=0.02)
    assert float(track.frame_quality.min()) > 0.9
