"""Scores against the truth, for a run that found nothing but the truth, filmed by a camera that moves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tracks import made_up_track, nothing_seen

from bodydouble.avatar.values import Avatar, Mesh, Provenance, Rig, Splats
from bodydouble.body.anny import AnnyBody, load_anny
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.capture.video import probe
from bodydouble.core.errors import ConfigError, InputError
from bodydouble.evaluate.geometry_protocol import VID2AVATAR_GEOMETRY
from bodydouble.evaluate.truth_results import TruthScores
from bodydouble.pipeline import truth as truth_module
from bodydouble.pipeline.truth import KnownRun, known_run, open_known_run, score_against_truth
from bodydouble.pipeline.truth_sections import score_truth, scores_of
from bodydouble.render.select import make_rasterizer
from bodydouble.synth.film import Sensor
from bodydouble.synth.stage import SynthConfig
from bodydouble.synth.synthesise import synthesise
from bodydouble.synth.truth import Truth, read_truth

FRAMES = 8
GEOMETRY = dataclasses.replace(VID2AVATAR_GEOMETRY, samples=1500, grid_m=0.06, most_frames=1)


@pytest.fixture(scope="module")
def body() -> AnnyBody:
    return load_anny()


@pytest.fixture(scope="module")
def performer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SynthConfig(
        seed=5, seconds=FRAMES / 8, fps=8.0, size=(160, 192), scene="room", camera="orbit", extra_views=1,
        sensor=Sensor(shutter=0.0),
    )  # fmt: skip
    return synthesise(tmp_path_factory.mktemp("truth") / "performer", config)


def perfect_track(truth: Truth) -> BodyTrack:
    rotvecs, translations = truth.pose_in_camera()
    index = truth.index
    return made_up_track(
        rotvecs,
        translations,
        truth.values.shape,
        times_s=truth.times_s,
        expression=truth.values.expression,
        focal_px=truth.values.focal_px[0, 0],
        width_px=index.width_px,
        height_px=index.height_px,
    )


def naked_avatar(body: AnnyBody, truth: Truth) -> Avatar:
    """The true body under the clothes, as a mesh and as blobs on its surface."""
    shaped = body.with_shape(truth.values.shape)
    vertices = shaped.vertices_rest
    weights, order = body.skin_weights.sort(dim=1, descending=True)
    weights, joints = weights[:, :4], body.skin_joints.gather(1, order)[:, :4]
    weights = weights / weights.sum(dim=1, keepdim=True)
    some = torch.arange(0, len(vertices), 3)
    return Avatar(
        rig=Rig(
            bone_names=body.bone_names,
            bone_parents=body.bone_parents,
            joints_rest_m=shaped.joints_rest,
            humanoid=body.humanoid,
        ),
        mesh=Mesh(
            vertices_rest_m=vertices,
            faces=body.faces,
            colors=torch.full((len(vertices), 3), 0.5),
            joints=joints,
            weights=weights,
        ),
        splats=Splats(
            means_rest_m=vertices[some],
            quats_wxyz=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(some), 1),
            scales_m=torch.full((len(some), 3), 0.02),
            opacities=torch.full((len(some),), 0.95),
            sh=torch.zeros(len(some), 1, 3),
            joints=joints[some],
            weights=weights[some],
            seen=torch.ones(len(some)),
        ),
        provenance=Provenance(generator="test"),
    )


@pytest.fixture(scope="module")
def known(performer: Path, body: AnnyBody, tmp_path_factory: pytest.TempPathFactory) -> KnownRun:
    truth = read_truth(performer)
    capture = Capture.create(tmp_path_factory.mktemp("capture") / "capture", probe(truth.video))
    for frame in range(FRAMES):
        capture.save_mask(frame, truth.mask(frame))
    track = perfect_track(truth)
    capture.save_observations(nothing_seen(track, torch.tensor([1.0, 1.0, 9.0, 9.0])))
    return known_run(truth, capture, body, naked_avatar(body, truth), track, track, capture.masks_folder)


@pytest.fixture(scope="module")
def scores(known: KnownRun) -> TruthScores:
    return scores_of(known, GEOMETRY, make_rasterizer("cpu"), lambda _: None)


def figures(scores: TruthScores, name: str) -> dict[str, float]:
    return dict(next(s.figures for s in scores.sections if s.name == name))


def test_masks_of_a_surface_are_scored_in_every_frame(scores: TruthScores) -> None:
    found = figures(scores, "masks of the surface")
    assert found["iou"] == found["worst_iou"] == found["boundary_f"] == 1.0


def test_the_camera_moves(known: KnownRun) -> None:
    T = known.truth.values.T_camera_world
    assert (T[-1, :3, :3] - T[0, :3, :3]).abs().max() > 0.3


def test_the_true_pose_has_no_error_whatever_the_camera_does(scores: TruthScores) -> None:
    for name in ("pose, fit", "pose, refined by training"):
        found = figures(scores, name)
        assert found["mpjpe_mm"] < 0.1 and found["pve_mm"] < 0.1 and found["pa_mpjpe_mm"] < 0.1
        assert found["acceleration_error_mm_s2"] < 50.0 and found["finger_error_mm"] < 0.1
    assert figures(scores, "pose, fit")["joint_error_px"] < 0.05
    assert figures(scores, "pose, fit")["height_error_cm"] == pytest.approx(0.0, abs=1e-4)
    assert figures(scores, "pose, fit")["focal_error_percent"] == pytest.approx(0.0, abs=1e-4)


def test_the_true_face_and_masks_agree(scores: TruthScores) -> None:
    face = figures(scores, "facial actions")
    assert face["mean_correlation"] == pytest.approx(1.0) and face["mean_absolute_error"] == 0.0
    assert all(r == pytest.approx(1.0) for name, r in face.items() if not name.startswith("mean"))
    assert figures(scores, "masks of the estimator") == {
        "iou": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "boundary_f": 1.0,
    }  # fmt: skip
    outline = figures(scores, "outline of the avatar")
    assert outline["precision"] > 0.7 and 0.5 < outline["iou"] < 1.0  # the body under the clothes, as blobs


def test_the_body_lies_within_a_hand_of_its_clothes_under_every_alignment(scores: TruthScores) -> None:
    plain = figures(scores, "surface, none")
    assert 0.0 < plain["p2s_cm"] < 3.0 and plain["chamfer_cm"] < 5.0
    assert plain["normal_consistency"] > 0.5 and plain["volume_iou"] > 0.4
    for kind in ("rigid", "similarity"):  # the pose is true already: nothing to align
        assert figures(scores, f"surface, {kind}")["p2s_cm"] == pytest.approx(plain["p2s_cm"], abs=0.02)


def test_other_views_show_the_person_where_the_truth_does(scores: TruthScores) -> None:
    views = figures(scores, "other views")
    assert views["mask_iou"] > 0.5 and views["psnr_box"] > 5.0


def test_a_body_that_is_too_large_and_far_is_forgiven_by_similarity_alone(known: KnownRun) -> None:
    joints = 1.1 * known.joints
    track = known.track.replace(translation_world_m=known.track.translation_world_m + torch.tensor([0.2, 0.0, -0.3]))
    wrong = dataclasses.replace(known, track=track, joints=joints, surface_masks=None)
    found = scores_of(wrong, dataclasses.replace(GEOMETRY, samples=500), make_rasterizer("cpu"), lambda _: None)
    pose = figures(found, "pose, fit")
    assert pose["mpjpe_mm"] > 200.0 and pose["mpjpe_root_mm"] > 10.0 and pose["pa_mpjpe_mm"] < 0.2
    assert figures(found, "surface, none")["p2s_cm"] > 10.0
    assert figures(found, "surface, rigid")["p2s_cm"] < 3.0


def test_the_headline_has_the_same_figures(
    known: KnownRun, scores: TruthScores, monkeypatch: pytest.MonkeyPatch, body: AnnyBody
) -> None:
    monkeypatch.setattr(truth_module, "open_known_run", lambda *args: known)
    headline = score_against_truth(Path(), Path(), body, "cpu", lambda _: None)
    assert list(headline) == [
        "pose_error_mm", "pose_error_aligned_mm", "pose_error_refined_mm", "finger_error_mm", "joint_error_px",
        "height_error_cm", "focal_error_percent", "mask_iou", "avatar_iou",
    ]  # fmt: skip
    assert headline["pose_error_mm"] == pytest.approx(figures(scores, "pose, fit")["mpjpe_root_mm"])
    assert headline["avatar_iou"] == pytest.approx(figures(scores, "outline of the avatar")["iou"])
    assert np.isfinite(list(headline.values())).all()


def test_the_truth_of_another_video_is_refused(
    performer: Path, body: AnnyBody, tmp_path: Path, known: KnownRun
) -> None:
    info = dataclasses.replace(known.capture.info, num_frames=3, times_s=(0.0, 0.1, 0.2))
    Capture.create(tmp_path / "run" / "capture", info)
    with pytest.raises(InputError, match=r"from a video of 3 frames of 160x192; .* is about 8 frames of 160x192"):
        open_known_run(performer, tmp_path / "run", body)


def test_protocols_for_pictures_are_refused(performer: Path, body: AnnyBody, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="eva compares pictures; with --truth the surfaces need vid2avatar-geometry"):
        score_truth(performer, tmp_path, body, "cpu", lambda _: None, protocol="eva")
