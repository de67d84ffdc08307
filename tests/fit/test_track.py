"""The fit as a whole, against performances whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fit_truth import FOCAL_PX, SIZE_PX, Truth, observe, perform, track_joints

from bodydouble.body.anny import AnnyBody
from bodydouble.core.errors import ConfigError, InputError, NoSubjectError
from bodydouble.core.events import Done, Event, Progress, Warned
from bodydouble.fit.track import DEFAULT_FOCAL, FitConfig, fit_observations, likely_shape

GIVEN = FitConfig(focal_px=FOCAL_PX, silhouettes=False)


def _body_bones(body: AnnyBody) -> list[int]:
    small = ("toe", "finger", "metacarpal", "eye")
    return [i for i, name in enumerate(body.bone_names) if not any(s in name for s in small)]


def _errors(body: AnnyBody, truth: Truth, track, frames=slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Root-relative joint errors of body bones: in the image plane and in space, metres, one per frame and bone."""
    bones = _body_bones(body)
    found, true = track_joints(body, track)[frames], truth.joints_world()[frames]
    error = ((found - found[:, :1]) - (true - true[:, :1]))[:, bones]
    return np.linalg.norm(error[..., :2], axis=-1), np.linalg.norm(error, axis=-1)


@pytest.fixture(scope="module")
def truth(anny: AnnyBody) -> Truth:
    return perform(anny, frames=20)


@pytest.fixture(scope="module")
def exact(anny: AnnyBody, truth: Truth):
    events: list[Event] = []
    return fit_observations(observe(truth), anny, GIVEN, events.append), events


def test_exact_landmarks_give_the_pose_back(anny: AnnyBody, truth: Truth, exact) -> None:
    track, _ = exact
    flat, space = _errors(anny, truth, track)
    assert flat.mean() < 0.006
    assert space.mean() < 0.03
    absolute = np.linalg.norm(track_joints(anny, track)[:, 0] - truth.joints_world()[:, 0], axis=-1)
    assert absolute.mean() < 0.05
    assert track.frame_quality.min() == 1.0
    assert track.limb_error_px.nanmean() < 1.0


def test_fingers_follow_exact_hand_landmarks(anny: AnnyBody, truth: Truth, exact) -> None:
    track, _ = exact
    found, true = track_joints(anny, track), truth.joints_world()
    for side in ("L", "R"):
        wrist = anny.bone_names.index(f"wrist.{side}")
        tips = [anny.bone_names.index(f"finger{i}-3.{side}") for i in range(1, 6)]
        error = (found[:, tips] - found[:, [wrist]]) - (true[:, tips] - true[:, [wrist]])
        assert np.linalg.norm(error, axis=-1).mean() < 0.012


def test_an_upper_arm_that_looks_short_is_not_turned_to_or_fro(anny: AnnyBody, truth: Truth) -> None:
    """Networks put elbows a little too near; where the arm points, they see far better than its length can tell."""
    seen = observe(truth)
    names, xy_px = list(seen.landmark_names), seen.xy_px.clone()
    for side in ("left", "right"):
        elbow, shoulder = (xy_px[:, names.index(f"body/{side}_{n}")] for n in ("elbow", "shoulder"))
        elbow += 0.06 * (shoulder - elbow)
    track = fit_observations(seen.replace(xy_px=xy_px), anny, replace(GIVEN, self_calibrate=False), lambda event: None)
    found, true = track_joints(anny, track), truth.joints_world()
    for side in ("L", "R"):
        upper, lower = (anny.bone_names.index(f"{n}.{side}") for n in ("upperarm01", "lowerarm01"))
        arm, true_arm = found[:, lower] - found[:, upper], true[:, lower] - true[:, upper]
        error = arm[:, 2] / np.linalg.norm(arm, axis=-1) - true_arm[:, 2] / np.linalg.norm(true_arm, axis=-1)
        assert np.abs(error).mean() < 0.04


def test_the_track_is_complete_and_says_where_it_comes_from(anny: AnnyBody, truth: Truth, exact) -> None:
    track, events = exact
    observations = observe(truth)
    assert torch.equal(track.frame_indices, observations.frame_indices)
    assert track.rotvecs.shape == (20, len(anny.bone_names), 3)
    assert track.rotvecs.dtype == torch.float32
    assert (track.width_px, track.height_px) == SIZE_PX
    assert (track.focal_source, track.height_source, track.body) == ("given", "prior", "anny")
    assert float(track.focal_px) == pytest.approx(FOCAL_PX)
    assert float(anny.height_m(track.shape)) == pytest.approx(1.70, abs=0.01)
    progress = [e for e in events if isinstance(e, Progress)]
    assert progress[-1].done == progress[-1].total
    assert any(isinstance(e, Done) and e.stage == "fit" for e in events)
    assert any(isinstance(e, Warned) and e.code == "height_assumed" and "--height-cm" in e.advice for e in events)


def test_the_same_input_gives_the_same_bits(anny: AnnyBody, truth: Truth, exact) -> None:
    again = fit_observations(observe(truth), anny, GIVEN, lambda event: None)
    assert torch.equal(again.rotvecs, exact[0].rotvecs)
    assert torch.equal(again.shape, exact[0].shape)


def test_noise_is_smoothed(anny: AnnyBody, truth: Truth) -> None:
    track = fit_observations(observe(truth, noise_px=4.0), anny, GIVEN, lambda event: None)
    flat, space = _errors(anny, truth, track)
    # Four pixels are 1.3 cm at this distance.
    assert flat.mean() < 0.009
    assert space.mean() < 0.045


def test_gross_outliers_do_not_drag_the_body(anny: AnnyBody, truth: Truth) -> None:
    observations = observe(truth)
    xy = observations.xy_px.clone()
    column = observations.landmark_names.index("body/left_wrist")
    xy[8:11, column] += 250.0
    track = fit_observations(observations.replace(xy_px=xy), anny, GIVEN, lambda event: None)
    flat, _ = _errors(anny, truth, track)
    assert flat[8:11].max() < 0.06


def test_left_and_right_are_the_subject_s_own(anny: AnnyBody) -> None:
    """Seen from behind the left hand is on the left of the image; from the front on the right."""
    for turn, sign in ((0.0, 1.0), (np.pi, -1.0)):
        truth = perform(anny, frames=6, turn_rad=0.2)
        state = truth.state
        half_turn = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
        turned = Truth(
            truth.body, truth.controls, truth.landmarks, _with_root(state, half_turn @ state.R_root), truth.times_s
        )
        track = fit_observations(observe(turned, unseen=("face",)), anny, GIVEN, lambda event: None)
        joints = track_joints(anny, track)
        left, right = (joints[:, anny.bone_names.index(f"upperarm01.{s}")] for s in ("L", "R"))
        assert (sign * (left - right)[:, 0] > 0.1).all()
        flat, _ = _errors(anny, turned, track)
        assert flat.mean() < 0.01


def _with_root(state, R_root):
    return replace(state, R_root=R_root)


def test_absent_frames_are_bridged_and_marked(anny: AnnyBody, truth: Truth) -> None:
    gap = (0, 9, 10, 11, 12, 19)
    track = fit_observations(observe(truth, absent=gap), anny, GIVEN, lambda event: None)
    assert track.valid.tolist() == [f not in gap for f in range(20)]
    assert (track.frame_quality[list(gap)] == 0).all()
    assert track.limb_error_px[list(gap)].isnan().all()
    flat, _ = _errors(anny, truth, track)
    assert flat[9:13].mean() < 0.03
    assert torch.isfinite(track.rotvecs).all()


def test_unseen_legs_stay_neutral_and_are_reported(anny: AnnyBody, truth: Truth) -> None:
    below = tuple(f"body/{s}_{n}" for s in ("left", "right") for n in ("knee", "ankle", "heel", "foot_index"))
    events: list[Event] = []
    track = fit_observations(observe(truth, unseen=below), anny, GIVEN, events.append)
    (warning,) = [e for e in events if isinstance(e, Warned) and e.code == "limbs_unseen"]
    assert "Never seen in the video: left leg, right leg;" in warning.message
    legs = [track.limb_names.index(f"{s}_leg") for s in ("left", "right")]
    assert track.limb_error_px[:, legs].isnan().all()
    assert not track.limb_error_px[:, track.limb_names.index("left_arm")].isnan().any()
    knee = track.rotvecs[:, anny.bone_names.index("lowerleg01.L")]
    assert knee.norm(dim=-1).max() < 0.25
    arms = [i for i, n in enumerate(anny.bone_names) if n.startswith(("upperarm01", "lowerarm01", "wrist"))]
    found, true = track_joints(anny, track), truth.joints_world()
    assert np.linalg.norm((found - true)[:, arms, :2], axis=-1).mean() < 0.02


def test_unseen_hands_relax(anny: AnnyBody, truth: Truth) -> None:
    observations = observe(truth, unseen=("left_hand", "right_hand"))
    track = fit_observations(observations, anny, GIVEN, lambda event: None)
    fingers = [i for i, n in enumerate(anny.bone_names) if n.startswith("finger") and not n.startswith("finger1")]
    away = track.rotvecs[:, fingers] - anny.relaxed_rotvecs[fingers]
    assert away.norm(dim=-1).max() < 0.1


def test_a_hand_seen_part_of_the_time_blends_into_the_relaxed_one(anny: AnnyBody) -> None:
    truth = perform(anny, frames=45, seed=2)
    observations = observe(truth)
    left = [i for i, n in enumerate(observations.landmark_names) if n.startswith("left_hand/")]
    confidence = observations.confidence.clone()
    confidence[20:, left] = 0.0
    track = fit_observations(observations.replace(confidence=confidence), anny, GIVEN, lambda event: None)
    bone = anny.bone_names.index("finger2-2.L")
    angle = track.rotvecs[:, bone]
    assert (angle[36:] - anny.relaxed_rotvecs[bone]).norm(dim=-1).max() < 0.15
    assert torch.diff(angle, dim=0).norm(dim=-1).max() < 0.15  # no snap


def test_smoothing_means_the_same_at_any_frame_rate(anny: AnnyBody) -> None:
    """One second of the same motion and the same noise per second, seen at 15 and at 60 frames a second."""
    spread = []
    for fps, noise in ((15.0, 2.0), (60.0, 4.0)):
        truth = perform(anny, frames=int(fps), fps_hz=fps, seed=5, amplitude=0.3)
        track = fit_observations(observe(truth, noise_px=noise), anny, GIVEN, lambda event: None)
        flat, _ = _errors(anny, truth, track)
        spread.append(flat.mean())
    assert max(spread) < 1.6 * min(spread)


def test_focal_length_is_given_stated_or_estimated(anny: AnnyBody, truth: Truth) -> None:
    quick = FitConfig(silhouettes=False, expressions=False)
    observations = observe(truth)
    stated = fit_observations(observations, anny, quick, lambda event: None, focal_metadata_px=900.0)
    assert (stated.focal_source, float(stated.focal_px)) == ("metadata", 900.0)
    given = fit_observations(
        observations, anny, FitConfig(focal_px=1200.0, silhouettes=False), lambda event: None, focal_metadata_px=900.0
    )
    assert (given.focal_source, float(given.focal_px)) == ("given", 1200.0)
    plain = FitConfig(silhouettes=False, expressions=False, estimate_focal=False)
    default = fit_observations(observations, anny, plain, lambda event: None)
    assert (default.focal_source, float(default.focal_px)) == ("estimated", pytest.approx(DEFAULT_FOCAL * 960))


def test_a_focal_length_that_shows_is_found(anny: AnnyBody) -> None:
    """Close up and turning, perspective tells; the estimate moves from the default towards the truth."""
    default = DEFAULT_FOCAL * 960
    truth = perform(anny, frames=16, focal_px=0.8 * default, distance_m=2.4, seed=4)
    track = fit_observations(observe(truth), anny, FitConfig(silhouettes=False, expressions=False), lambda event: None)
    assert abs(float(track.focal_px) - 0.8 * default) < 0.6 * abs(0.2 * default)


def test_a_wrong_focal_length_hardly_changes_the_pose(anny: AnnyBody, truth: Truth) -> None:
    config = FitConfig(focal_px=1.25 * FOCAL_PX, silhouettes=False, expressions=False)
    flat, _ = _errors(anny, truth, fit_observations(observe(truth), anny, config, lambda event: None))
    assert flat.mean() < 0.02


def test_a_given_height_scales_the_body_and_its_distance(anny: AnnyBody, truth: Truth, exact) -> None:
    events: list[Event] = []
    config = FitConfig(focal_px=FOCAL_PX, height_cm=185.0, silhouettes=False, expressions=False)
    track = fit_observations(observe(truth), anny, config, events.append)
    assert track.height_source == "given"
    assert float(anny.height_m(track.shape)) == pytest.approx(1.85, abs=0.015)
    ratio = float(track.translation_world_m[:, 2].mean() / exact[0].translation_world_m[:, 2].mean())
    assert ratio == pytest.approx(1.85 / 1.70, abs=0.03)
    assert not any(isinstance(e, Warned) and e.code == "height_assumed" for e in events)


@pytest.mark.parametrize("height_m", [1.45, 1.70, 1.95])
def test_shapes_of_any_height_keep_near_the_mean(anny: AnnyBody, height_m: float) -> None:
    shape = likely_shape(anny, height_m)
    assert float(anny.height_m(torch.as_tensor(shape, dtype=torch.float32))) == pytest.approx(height_m, abs=2e-3)
    other = [i for i, n in enumerate(anny.shape_names) if n != "height"]
    assert np.abs(shape - anny.shape_default.numpy())[other].max() < 0.1


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_clips_are_fitted(anny: AnnyBody, frames: int) -> None:
    truth = perform(anny, frames=frames)
    track = fit_observations(observe(truth), anny, FitConfig(silhouettes=False), lambda event: None)
    assert track.rotvecs.shape[0] == frames
    flat, _ = _errors(anny, truth, track)
    assert flat.mean() < 0.02


def test_nobody_seen_is_said(anny: AnnyBody, truth: Truth) -> None:
    observations = observe(truth, absent=tuple(range(20)))
    with pytest.raises(NoSubjectError, match="no frame with a person"):
        fit_observations(observations, anny, GIVEN, lambda event: None)
    torso = tuple(f"body/{s}_{n}" for s in ("left", "right") for n in ("shoulder", "hip"))
    with pytest.raises(NoSubjectError, match="shoulders or hips must be seen"):
        fit_observations(observe(truth, unseen=torso), anny, GIVEN, lambda event: None)


def test_missing_landmark_names_are_said(anny: AnnyBody, truth: Truth) -> None:
    observations = observe(truth)
    names = tuple(n.replace("body/nose", "body/beak") for n in observations.landmark_names)
    with pytest.raises(InputError, match="lack 1 landmarks that fitting needs, such as body/nose"):
        fit_observations(observations.replace(landmark_names=names), anny, GIVEN, lambda event: None)


@pytest.mark.parametrize(
    ("options", "text"),
    [({"focal_px": -3.0}, "positive number of pixels, got -3.0"), ({"height_cm": 1.8}, "Is it in centimetres")],
)
def test_senseless_options_are_refused(options: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        FitConfig(**options)
