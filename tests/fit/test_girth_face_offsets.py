"""Girth from masks, landmark offsets, refits between trusted frames, and quality figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from fit_truth import FOCAL_PX, SIZE_PX, Truth, joints_of, observe, perform

from bodydouble.body.anny import AnnyBody
from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.fit import landmarks
from bodydouble.fit.evidence import gather
from bodydouble.fit.landmarks import build_landmarks, load_learnt
from bodydouble.fit.quality import LIMBS, limb_of, measure
from bodydouble.fit.silhouette import refine_girth
from bodydouble.fit.track import FitConfig, fit_observations
from bodydouble.render.mesh import rasterize_mesh

GIVEN = FitConfig(focal_px=FOCAL_PX, silhouettes=False, expressions=False)


@pytest.fixture(scope="module")
def truth(anny: AnnyBody) -> Truth:
    return perform(anny, frames=16, seed=7)


@pytest.fixture(scope="module")
def fitted(anny: AnnyBody, truth: Truth) -> BodyTrack:
    return fit_observations(observe(truth), anny, GIVEN, lambda event: None)


def _masks(truth: Truth, shape: np.ndarray) -> dict[int, np.ndarray]:
    camera = video_camera(*SIZE_PX, FOCAL_PX)
    pose = Pose(
        rotvecs=torch.as_tensor(truth.rotvecs, dtype=torch.float32),
        translation_world_m=torch.as_tensor(truth.state.translation, dtype=torch.float32),
    )
    vertices = truth.body.with_shape(torch.as_tensor(shape, dtype=torch.float32)).with_pose(pose).vertices()
    return {i: rasterize_mesh(v, truth.body.faces, camera).mask.numpy().astype(np.uint8) * 255
            for i, v in enumerate(vertices)}  # fmt: skip


def _refined(truth: Truth, masks: dict[int, np.ndarray]) -> np.ndarray:
    frames = np.arange(0, 16, 4)
    precision = np.diag([16 / s**2 * 0.1 for s in (0.15, 0.02, 0.1, 0.1, 0.002, 0.02)])
    return refine_girth(
        truth.body, truth.controls, truth.state, frames, frames, masks.get, SIZE_PX, precision, float(len(frames))
    ).shape


def test_masks_of_a_heavier_body_make_the_fit_heavier(anny: AnnyBody, truth: Truth) -> None:
    weight = anny.shape_names.index("weight")
    same = _refined(truth, _masks(truth, truth.state.shape))
    assert np.abs(same - truth.state.shape).max() < 0.12
    heavy = truth.state.shape.copy()
    heavy[weight] = 0.85
    assert _refined(truth, _masks(truth, heavy))[weight] > same[weight] + 0.04


def test_loose_clothes_pull_less_than_tight_limits(anny: AnnyBody, truth: Truth) -> None:
    """Masks 3 cm wider than the body move its weight less than masks 3 cm narrower do."""
    from cv2 import dilate, erode

    weight = anny.shape_names.index("weight")
    kernel = np.ones((9, 9), np.uint8)  # 4 px are 1.3 cm at this distance
    masks = _masks(truth, truth.state.shape)
    neutral = _refined(truth, masks)[weight]
    wide = _refined(truth, {i: dilate(m, kernel) for i, m in masks.items()})[weight] - neutral
    narrow = neutral - _refined(truth, {i: erode(m, kernel) for i, m in masks.items()})[weight]
    assert narrow > wide > -0.02


def test_without_masks_the_shape_stays(truth: Truth) -> None:
    assert np.array_equal(_refined(truth, {}), truth.state.shape)


def test_quality_measures_distance_to_what_was_seen(anny: AnnyBody, truth: Truth) -> None:
    evidence = gather(observe(truth, unseen=("left_hand",)), truth.landmarks, FOCAL_PX)
    seen = np.zeros((16, len(truth.landmarks.names), 2))
    for group in evidence.groups:
        seen[:, group.points] = group.xy_px
    person = np.full(16, 500.0)
    limbs, quality = measure(evidence, truth.landmarks, seen + np.array([3.0, 4.0]), person)
    assert np.nanmedian(limbs) == pytest.approx(5.0)
    assert quality == pytest.approx(np.ones(16))
    _, quality = measure(evidence, truth.landmarks, seen + np.array([27.5, 0.0]), person)
    assert quality == pytest.approx(np.full(16, 0.5))
    _, quality = measure(evidence, truth.landmarks, seen + np.array([500.0, 0.0]), person)
    assert (quality == 0).all()
    # Body landmarks of the hand still speak for it; without those nothing does.
    blind = gather(observe(truth, unseen=(*tuple(f"body/left_{n}" for n in ("pinky", "index", "thumb")), "left_hand")),
                   truth.landmarks, FOCAL_PX)  # fmt: skip
    limbs, _ = measure(blind, truth.landmarks, seen, person)
    assert np.isnan(limbs[:, LIMBS.index("left_hand")]).all()
    assert not np.isnan(limbs[:, LIMBS.index("left_arm")]).any()


def test_every_landmark_belongs_to_a_limb(anny: AnnyBody) -> None:
    assert {limb_of(n) for n in build_landmarks(anny).names} == set(LIMBS)


def test_learnt_offsets_are_there_and_mirror(anny: AnnyBody) -> None:
    table = load_learnt("anny")
    assert len(table["face"]) > 50
    for name, offset in table["offsets"].items():
        if "left" in name:
            other = table["offsets"][name.replace("left", "right")]
            assert np.allclose(np.array(offset) * [-1, 1, 1], other, atol=1e-9), name
    # Known of the estimator: shoulders are marked 2.5 to 4 cm above the joint, ankles 2 to 3.6.
    assert 0.01 < table["offsets"]["body/left_shoulder"][1] * 1.7 < 0.04
    assert 0.01 < table["offsets"]["body/left_ankle"][1] * 1.7 < 0.04
    assert load_learnt("nobody") == {"offsets": {}, "face": {}}


def test_face_points_lie_where_their_names_say(anny: AnnyBody) -> None:
    marks = build_landmarks(anny)
    shape = anny.shape_default.double().numpy()
    vertices = anny.with_shape(anny.shape_default).vertices_rest.double().numpy()[marks.vertex_ids]
    place = {n: p for n, p in zip(marks.names, marks.vertex_weights @ vertices, strict=True) if n.startswith("face/")}
    assert place["face/1"][2] > place["face/33"][2] + 0.02  # the nose before the eye's corner
    assert place["face/263"][0] > 0.03 > -0.03 > place["face/33"][0]  # 263 is the subject's left eye
    assert place["face/10"][1] > place["face/1"][1] > place["face/13"][1] > place["face/152"][1]
    assert joints_of(anny, shape, np.zeros((1, 104, 3)), np.zeros((1, 3))).shape == (1, 104, 3)


def test_a_body_that_cannot_be_restricted_is_fitted_too(anny: AnnyBody, truth: Truth, our_checks_alone: None) -> None:
    from bodydouble.fit.landmarks import rest_geometry

    class Plain:
        """The same body behind the bare protocol."""

        def __getattr__(self, name: str) -> object:
            if name == "restricted":
                raise AttributeError(name)
            return getattr(anny, name)

    plain = rest_geometry(cast(BodyModel, Plain()), truth.landmarks, truth.controls, truth.state.shape)
    own = rest_geometry(anny, truth.landmarks, truth.controls, truth.state.shape)
    assert np.allclose(plain.points, own.points, atol=1e-6)
    assert replace(own).joints.shape == plain.joints.shape


def test_feet_are_expected_in_shoes() -> None:
    """The stored table was learnt from bare feet; soles lie below them, and toes of shoes before them."""
    stored = json.loads((Path(landmarks.__file__).parent / "landmark_offsets.json").read_text(encoding="utf-8"))["anny"]
    found = load_learnt("anny")["offsets"]
    for side in ("left", "right"):
        heel, ball = (
            np.subtract(found[f"body/{side}_{n}"], stored["offsets"][f"body/{side}_{n}"])
            for n in ("heel", "foot_index")
        )
        np.testing.assert_allclose(1.7 * heel, [0.0, -0.0204, 0.0], atol=1e-6)
        np.testing.assert_allclose(1.7 * ball, [0.0, -0.0153, 0.0102], atol=1e-6)
    assert found["body/left_knee"] == stored["offsets"]["body/left_knee"]
