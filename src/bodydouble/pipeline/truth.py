"""Scores of a run against the known truth of a synthetic performer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.core.events import Progress
from bodydouble.evaluate.joints import mpjpe_m, pa_mpjpe_m
from bodydouble.evaluate.masks import mask_iou
from bodydouble.pipeline.layout import CAPTURE
from bodydouble.pipeline.stages import Emit
from bodydouble.synth.truth import Truth, read_truth

_FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")
_NOT_JOINTS = ("Eye", "jaw")


def score_against_truth(
    performer: Path, run_folder: Path, body: BodyModel, device: str, emit: Emit
) -> dict[str, float]:
    """Compare fit and avatar of a run with what is true about its performer.

    Args:
        performer: Folder that `synth.synthesise` wrote.
        run_folder: Of the run, reconstructed.
        body: The body that both share.
        device: Where the avatar is rendered.
        emit: Told about progress.
    Returns:
        Name (with its unit) -> value, in this order:
        `pose_error_mm`: mean distance of the main joints from the truth, both with the hips at the origin, fit alone;
        `pose_error_aligned_mm`: the same after the best similarity transform of each frame (PA-MPJPE);
        `pose_error_refined_mm`: as the first, training frames, with the poses that training refined;
        `finger_error_mm`: finger joints, both with the wrist at the origin;
        `joint_error_px`: mean distance of the projected main joints;
        `height_error_cm`, `focal_error_percent`: estimate minus truth;
        `mask_iou`: the estimator's masks against the true ones, all frames;
        `avatar_iou`: the avatar's outline in held-out frames, pose from the fit alone, against the true masks.
    """
    from bodydouble.pipeline.finish import trained_result

    truth = read_truth(performer)
    capture = Capture.open(run_folder / CAPTURE)
    track = capture.track()
    avatar, refined = trained_result(run_folder, capture)
    rows = torch.nonzero(track.valid)[:, 0]
    trained = torch.tensor([r for r in rows.tolist() if int(track.frame_indices[r]) in set(capture.train_indices())])
    true_joints = _true_joints(truth, body, track.frame_indices)
    fit_joints, refined_joints = _joints(track, body), _joints(refined, body)
    main, fingers = _main_joints(body), _finger_joints(body)
    hips = body.bone_names.index(body.humanoid["hips"])

    def error_mm(joints: np.ndarray, at: torch.Tensor) -> float:
        here, there = joints[at] - joints[at][:, [hips]], true_joints[at] - true_joints[at][:, [hips]]
        return 1000.0 * mpjpe_m(here[:, main], there[:, main])

    return {
        "pose_error_mm": error_mm(fit_joints, rows),
        "pose_error_aligned_mm": 1000.0 * pa_mpjpe_m(fit_joints[rows][:, main], true_joints[rows][:, main]),
        "pose_error_refined_mm": error_mm(refined_joints, trained),
        "finger_error_mm": _finger_error_mm(fit_joints[rows], true_joints[rows], fingers),
        "joint_error_px": _joint_error_px(track, truth, fit_joints, true_joints, main, rows),
        "height_error_cm": 100.0 * float(body.height_m(track.shape) - body.height_m(truth.values.shape)),
        "focal_error_percent": 100.0 * (float(track.focal_px) / float(truth.values.focal_px[0, 0]) - 1.0),
        "mask_iou": _estimator_iou(capture, truth),
        "avatar_iou": _avatar_iou(capture, avatar, track, truth, device, emit),
    }


def _main_joints(body: BodyModel) -> list[int]:
    """Humanoid joints without fingers, eyes and jaw."""
    names = [n for n in body.humanoid if not any(word in n for word in (*_FINGERS, *_NOT_JOINTS))]
    return [body.bone_names.index(body.humanoid[name]) for name in names]


def _finger_joints(body: BodyModel) -> list[tuple[int, list[int]]]:
    """For each hand its wrist and its finger joints."""
    found = []
    for side in ("left", "right"):
        names = [n for n in body.humanoid if n.startswith(side) and any(finger in n for finger in _FINGERS)]
        wrist = body.bone_names.index(body.humanoid[f"{side}Hand"])
        found.append((wrist, [body.bone_names.index(body.humanoid[name]) for name in names]))
    return found


def _joints(track: BodyTrack, body: BodyModel) -> Float[np.ndarray, "frames bones 3"]:
    shaped = body.with_shape(track.shape)
    with torch.no_grad():
        posed = shaped.with_pose(Pose(rotvecs=track.rotvecs, translation_world_m=track.translation_world_m))
        return posed.joints_world.numpy()


def _true_joints(truth: Truth, body: BodyModel, frame_indices: torch.Tensor) -> Float[np.ndarray, "frames bones 3"]:
    at, (rotvecs, translations) = frame_indices.long(), truth.pose_in_camera()
    with torch.no_grad():
        pose = Pose(rotvecs=rotvecs[at], translation_world_m=translations[at])
        return body.with_shape(truth.values.shape).with_pose(pose).joints_world.numpy()


def _finger_error_mm(joints: np.ndarray, true_joints: np.ndarray, fingers: list[tuple[int, list[int]]]) -> float:
    errors = []
    for wrist, bones in fingers:
        here = joints[:, bones] - joints[:, [wrist]]
        there = true_joints[:, bones] - true_joints[:, [wrist]]
        errors.append(1000.0 * mpjpe_m(here, there))
    return float(np.mean(errors))


def _joint_error_px(
    track: BodyTrack,
    truth: Truth,
    joints: np.ndarray,
    true_joints: np.ndarray,
    main: list[int],
    rows: torch.Tensor,
) -> float:
    here, _ = video_camera(track.width_px, track.height_px, track.focal_px).project(
        torch.from_numpy(joints[rows][:, main])
    )
    there, _ = video_camera(track.width_px, track.height_px, truth.values.focal_px[0, 0]).project(
        torch.from_numpy(true_joints[rows][:, main])
    )
    return float((here - there).norm(dim=-1).mean())


def _estimator_iou(capture: Capture, truth: Truth) -> float:
    found = []
    for index in capture.observations().frame_indices.tolist():
        mask = capture.mask(index)
        if mask is not None:
            found.append(mask_iou(mask > 127, truth.mask(index) > 127))
    return float(np.mean(found)) if found else 0.0


def _avatar_iou(capture: Capture, avatar: Avatar, track: BodyTrack, truth: Truth, device: str, emit: Emit) -> float:
    from bodydouble.evaluate.predictions import rgba_of_row
    from bodydouble.render.select import make_rasterizer

    rasterizer = make_rasterizer(device)
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    row_of = {int(index): row for row, index in enumerate(track.frame_indices)}
    frames = capture.heldout_indices()
    found = []
    for done, index in enumerate(frames, start=1):
        rgba = rgba_of_row(avatar, track, row_of[index], camera, rasterizer)
        found.append(mask_iou(rgba[..., 3] > 127, truth.mask(index) > 127))
        emit(Progress(stage="score", done=done, total=len(frames), unit="frames"))
    return float(np.mean(found)) if found else 0.0
