"""Scores of items: against closed forms, and against a body whose pose is known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tracks import made_up_track

from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations, VideoInfo
from bodydouble.core.cameras import video_camera
from bodydouble.core.errors import ConfigError
from bodydouble.corpus.agreement import agreement, mirrored_points, person_crop, spread_of_looks
from bodydouble.corpus.consistency import PCK_LANDMARKS, body_landmarks_px, outline_figures, pck, silhouette
from bodydouble.corpus.evidence import (
    motion_per_s,
    observation_scores,
    pose_range_rad,
    stature_px,
    view_directions,
    view_range_rad,
)
from bodydouble.corpus.measure import SCORES, measure_body
from bodydouble.corpus.skin_tone import GROUPS, group_of, skin_scores, typology_angle_deg

WIDTH, HEIGHT, FOCAL = 192, 288, 320.0


@pytest.fixture(scope="module")
def anny() -> AnnyBody:
    return load_anny()


def turning(anny: AnnyBody, angles: list[float], lift: float = 0.0) -> BodyTrack:
    """A body that stands 3.5 m away, turned about the vertical by these angles, its left arm bent by `lift` in the last frame."""
    frames = len(angles)
    rotvecs = torch.zeros(frames, len(anny.bone_names), 3)
    rotvecs[:, 0, 1] = torch.tensor(angles)
    rotvecs[-1, anny.bone_names.index(anny.humanoid["leftUpperArm"]), 2] = lift
    root = anny.with_shape(anny.shape_default).joints_rest[0]
    return made_up_track(
        rotvecs,
        torch.tensor([0.0, 0.0, -3.5]) - root,
        anny.shape_default,
        times_s=torch.arange(frames) / 10.0,
        focal_px=torch.tensor(FOCAL),
        width_px=WIDTH,
        height_px=HEIGHT,
    )


def observed(xy_px: np.ndarray, confidence: np.ndarray, boxes: np.ndarray, fps_hz: float = 10.0) -> Observations:
    frames = len(xy_px)
    return Observations(
        frame_indices=torch.arange(frames),
        times_s=torch.arange(frames) / fps_hz,
        width_px=WIDTH,
        height_px=HEIGHT,
        landmark_names=PCK_LANDMARKS,
        xy_px=torch.from_numpy(xy_px).float(),
        xyz_camera_m=torch.zeros(frames, len(PCK_LANDMARKS), 3),
        confidence=torch.from_numpy(confidence).float(),
        present=torch.from_numpy(boxes[:, 2] > boxes[:, 0]),
        box_px=torch.from_numpy(boxes).float(),
    )


# --- keypoints and outlines ---


def test_pck_counts_seen_landmarks_within_the_radius() -> None:
    seen = np.zeros((3, 4, 2))
    predicted = seen + np.array([[[0.0, 0.0], [5.0, 0.0], [5.1, 0.0], [50.0, 0.0]]])
    confidence = np.array([[1.0, 1.0, 1.0, 0.0], [0.0] * 4, [0.5, 0.49, 0.0, 1.0]])
    got = pck(predicted, seen, confidence, np.array([100.0, 100.0, 0.0]), 0.05)
    assert got[0] == pytest.approx(2 / 3) and np.isnan(got[1]) and np.isnan(got[2])
    with pytest.raises(ConfigError, match="radius"):
        pck(predicted, seen, confidence, np.full(3, 100.0), 0.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pck_grows_with_the_radius_and_not_with_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen, predicted = rng.normal(size=(2, 5, 6, 2)) * 30
    confidence, size = rng.random((5, 6)), rng.uniform(50, 100, 5)
    small, large = (pck(predicted, seen, confidence, size, r) for r in (0.1, 0.4))
    assert np.all((small <= large) | np.isnan(small))
    np.testing.assert_array_equal(
        pck(2 * predicted, 2 * seen, confidence, 2 * size, 0.25), pck(predicted, seen, confidence, size, 0.25)
    )


def test_outline_figures_of_two_squares() -> None:
    body, mask = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    body[10:20, 10:20], mask[10:30, 15:25] = True, True
    figures = outline_figures(body, mask)
    assert figures.soiou == pytest.approx(0.5) and figures.iou == pytest.approx(50 / 250)
    assert figures.ssiou == pytest.approx(5.0)
    nothing = outline_figures(np.zeros_like(body), mask)
    assert nothing.soiou == 1.0 and nothing.iou == 0.0 and math.isinf(nothing.ssiou)


def test_landmarks_ride_on_the_posed_body(anny: AnnyBody) -> None:
    """Against the joints themselves, projected one by one: landmarks are a few centimetres off, and turn with them."""
    track = turning(anny, [0.0, 0.7, math.pi], lift=1.0)
    pixels = body_landmarks_px(track, anny)
    posed = anny.with_shape(track.shape).with_pose(track.pose())
    for side in ("left", "right"):
        for name, bone in (("elbow", "LowerArm"), ("wrist", "Hand"), ("knee", "LowerLeg"), ("ankle", "Foot")):
            joint = posed.joints_world[:, anny.bone_names.index(anny.humanoid[side + bone])]
            straight = FOCAL * joint[:, :2] / -joint[:, 2:] * torch.tensor([1.0, -1.0]) + torch.tensor(
                [WIDTH / 2, HEIGHT / 2]
            )
            gap = np.linalg.norm(pixels[:, PCK_LANDMARKS.index(f"body/{side}_{name}")] - straight.numpy(), axis=-1)
            assert gap.max() < FOCAL / 3.3 * 0.06
    left, right = (pixels[:, PCK_LANDMARKS.index(f"body/{side}_shoulder"), 0] for side in ("left", "right"))
    assert left[0] > right[0] and left[2] < right[2]  # seen from the front, then from behind


def test_a_body_scored_against_itself_is_perfect_and_a_moved_one_is_not(anny: AnnyBody, tmp_path: Path) -> None:
    track = turning(anny, [0.0, 0.5, 1.0], lift=0.6)
    camera = video_camera(WIDTH, HEIGHT, FOCAL)
    info = VideoInfo(path="none.mp4", width_px=WIDTH, height_px=HEIGHT, num_frames=3, fps_hz=10.0, times_s=(0.0, 0.1, 0.2),
                     rotation_deg=0, codec="h264")  # fmt: skip
    capture = Capture.create(tmp_path / "capture", info)
    boxes = np.zeros((3, 4))
    for i in range(3):
        pose = track.pose(i)
        mask = silhouette(anny.with_shape(track.shape).with_pose(pose).vertices(), anny, camera)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes[i] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        capture.save_mask(i, (mask * 255).astype(np.uint8))
    capture.save_observations(observed(body_landmarks_px(track, anny), np.ones((3, 12)), boxes))
    scores = measure_body(capture, anny, track)
    assert scores["pck_02"] == 1.0 and scores["outline_frames"] == 3
    assert scores["soiou"] < 0.02 and scores["silhouette_iou"] > 0.95  # the pictures compared are a little smaller
    beside = measure_body(
        capture, anny, track.replace(translation_world_m=track.translation_world_m + torch.tensor([0.2, 0, 0]))
    )
    assert beside["pck_05"] == 0.0 and beside["soiou"] > 0.3
    assert set(scores) <= set(SCORES)


# --- what a clip shows ---


def test_view_and_pose_ranges_are_the_angles_that_were_posed(anny: AnnyBody) -> None:
    track = turning(anny, [0.0, 0.4, 2.0], lift=0.8)
    assert view_range_rad(track, anny) == pytest.approx(2.0, abs=0.02)
    assert pose_range_rad(track, anny) == pytest.approx(0.8 / 8, abs=1e-4)
    front = view_directions(track, anny)[0]
    assert float(front[2]) > 0.99  # the camera is in front of somebody who is not turned
    assert view_range_rad(turning(anny, [0.3, 0.3]), anny) == pytest.approx(0.0, abs=1e-3)


def test_stature_is_what_the_picture_shows_of_somebody_upright_and_not_of_the_pose(anny: AnnyBody) -> None:
    track = turning(anny, [0.0, 0.4, 2.0], lift=0.8)
    vertices = anny.with_shape(track.shape).with_pose(track.pose(slice(1))).vertices()[0]
    pixels, _ = video_camera(WIDTH, HEIGHT, FOCAL).project(vertices)
    tall = float(pixels[:, 1].max() - pixels[:, 1].min())
    assert stature_px(track, anny) == pytest.approx(tall, rel=0.04)
    far = dataclasses.replace(track, translation_world_m=track.translation_world_m + torch.tensor([0.0, 0.0, -3.5]))
    assert stature_px(far, anny) == pytest.approx(stature_px(track, anny) / 2.0, rel=0.02)


@pytest.mark.parametrize("speed", [0.0, 0.5, 2.0])
def test_motion_is_speed_in_sizes_a_second(speed: float) -> None:
    times = np.arange(60) / 30.0
    xy = np.zeros((60, 12, 2))
    xy[..., 0] = 100.0 * speed * times[:, None]
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 1.0, xy.shape)
    assert motion_per_s(xy, np.ones((60, 12)), np.full(60, 100.0), times) == pytest.approx(speed, abs=1e-9)
    assert motion_per_s(xy + noise, np.ones((60, 12)), np.full(60, 100.0), times) == pytest.approx(speed, abs=0.05)
    assert np.isnan(motion_per_s(xy, np.zeros((60, 12)), np.full(60, 100.0), times))
    few = motion_per_s(xy[:3], np.ones((3, 12)), np.full(3, 100.0), times[:3])
    assert np.isnan(few)  # within one window nothing can be said of motion


def test_observation_scores_of_a_clip_with_gaps() -> None:
    confidence = np.tile(np.r_[np.ones(9), np.zeros(3)], (10, 1))
    boxes = np.tile([50.0, 20.0, 150.0, 220.0], (10, 1))
    boxes[0] = [0.0, 20.0, 100.0, 220.0]
    boxes[8:] = 0.0
    scores = observation_scores(observed(np.zeros((10, 12, 2)), confidence, boxes))
    assert scores["presence"] == pytest.approx(0.8) and scores["visible"] == pytest.approx(0.75)
    assert scores["person_px"] == 200.0 and scores["uncut"] == pytest.approx(7 / 8)
    assert scores["confidence"] == pytest.approx(0.75) and scores["seconds"] == pytest.approx(0.9)
    nobody = observation_scores(observed(np.zeros((4, 12, 2)), np.zeros((4, 12)), np.zeros((4, 4))))
    assert nobody["presence"] == 0.0 and "person_px" not in nobody


# --- agreement and skin ---


def test_an_estimator_that_is_exact_agrees_with_itself_in_all_looks() -> None:
    """An estimator that knows where the points are in the crop that it is shown, mirrored or not."""
    rng = np.random.default_rng(1)
    points = rng.uniform([70, 60], [130, 240], (12, 2)).round() + 0.5
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:, :96] = 200  # so that a mirrored crop is told from one that is not
    box = [60.0, 50.0, 140.0, 250.0]

    def look(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mirrored = picture[0, 0, 0] == 0
        for margin in (0.25, 0.1):
            crop, x0, y0, scale = person_crop(rgb, box, margin)
            if crop.shape == picture.shape and np.array_equal(crop[:, ::-1] if mirrored else crop, picture):
                break
        else:
            raise AssertionError("an unknown picture")
        found = (points - [x0, y0]) * scale
        if mirrored:  # it calls left what is right
            found[:, 0] = picture.shape[1] - found[:, 0]
            found = found.reshape(6, 2, 2)[:, ::-1].reshape(12, 2)
        return found, np.ones(12)

    boxes = np.array([box])
    seen = observed(points[None], np.ones((1, 12)), boxes)
    exact = agreement(seen, [(0, rgb)], look)
    assert exact.spread < 1e-6 and exact.found == 1.0
    moved = observed(points[None] + [8.0, 0.0], np.ones((1, 12)), boxes)
    # One of four looks is off by 8 of 200 pixels: a standard deviation of 8 sqrt(3) / 4.
    assert agreement(moved, [(0, rgb)], look).spread == pytest.approx(8 * math.sqrt(3) / 4 / 200, rel=1e-4)
    assert agreement(seen, [(0, rgb)], lambda picture: None).found == 0.0
    somebody_else = observed(points[None] + [90.0, 0.0], np.ones((1, 12)), boxes)
    other = agreement(somebody_else, [(0, rgb)], look)
    assert other.found == 0.0 and math.isnan(other.spread)


def test_mirroring_twice_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    xy, confidence = rng.random((12, 2)) * 100, rng.random(12)
    once = mirrored_points(xy, confidence, 192)
    back = mirrored_points(*once, 192)
    np.testing.assert_allclose(back[0], xy)
    np.testing.assert_array_equal(back[1], confidence)
    assert once[0][PCK_LANDMARKS.index("body/left_knee"), 1] == xy[PCK_LANDMARKS.index("body/right_knee"), 1]


def test_a_landmark_seen_once_says_nothing_about_agreement() -> None:
    xy = np.array([[[0.0, 0.0], [0.0, 0.0]], [[6.0, 8.0], [90.0, 0.0]]])
    assert spread_of_looks(xy, np.array([[1.0, 1.0], [1.0, 0.0]]), 100.0) == pytest.approx(0.05)
    assert math.isnan(spread_of_looks(xy, np.array([[1.0, 0.0], [0.0, 1.0]]), 100.0))


def test_typology_angles_of_known_colours() -> None:
    light, dark = np.array([[241, 214, 196]], np.uint8), np.array([[70, 46, 36]], np.uint8)
    assert typology_angle_deg(light)[0] > 55 and group_of(float(typology_angle_deg(light)[0])) == "very light"
    assert typology_angle_deg(dark)[0] < -30 and group_of(float(typology_angle_deg(dark)[0])) == "dark"
    assert [group_of(angle + 0.1) for _, angle in GROUPS[:-1]] == [name for name, _ in GROUPS[:-1]]


def test_skin_is_read_where_the_cheeks_are() -> None:
    from bodydouble.corpus.skin_tone import CHEEKS

    names = tuple(f"face/{i}" for i in CHEEKS)
    seen = dataclasses.replace(
        observed(np.zeros((1, 12, 2)), np.ones((1, 12)), np.array([[0.0, 0.0, 50.0, 90.0]])),
        landmark_names=names,
        xy_px=torch.full((1, len(names), 2), 20.0),
        xyz_camera_m=torch.zeros(1, len(names), 3),
        confidence=torch.ones(1, len(names)),
    )  # fmt: skip
    picture = np.zeros((60, 60, 3), np.uint8)
    picture[20, 20] = (241, 214, 196)
    scores = skin_scores(seen, [(0, picture)])
    assert scores["skin_ita_deg"] > 55 and scores["skin_ita_sd_deg"] == pytest.approx(0.0, abs=1e-6)
    hidden = seen.replace(confidence=torch.zeros(1, len(names)))
    assert skin_scores(hidden, [(0, picture)]) == {}
