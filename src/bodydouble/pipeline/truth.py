"""Scores of a run against the known truth of a synthetic performer (docs/synth-format.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bodydouble.avatar.values import Avatar
from bodydouble.body.protocol import BodyModel
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import video_camera
from bodydouble.core.errors import InputError
from bodydouble.core.events import Progress
from bodydouble.core.geometry import transform_points
from bodydouble.evaluate.body_scores import main_joints, pose_figures
from bodydouble.evaluate.masks import mask_iou
from bodydouble.pipeline.layout import CAPTURE, MASKS, SURFACE_FOLDER
from bodydouble.pipeline.stages import Emit
from bodydouble.synth.truth import Truth, read_truth


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """A run and the truth about its performer, by the rows of the run's track."""

    truth: Truth
    capture: Capture
    body: BodyModel
    avatar: Avatar
    track: BodyTrack
    """From the fit alone."""
    refined: BodyTrack
    """As training left it."""
    surface_masks: Path | None
    """Folder of the masks that a surface stage made; None of other runs."""
    rows: Tensor
    """Rows of the track in which the person was seen."""
    trained: Tensor
    """Those of them that were open to training."""
    T_track_world: Float[Tensor, "frames 4 4"]
    """From the truth's world to that of the track, whose camera never moves."""
    joints: Float[np.ndarray, "frames bones 3"]
    refined_joints: Float[np.ndarray, "frames bones 3"]
    true_joints: Float[np.ndarray, "frames bones 3"]
    """All in the world of the track, metres."""

    def frame(self, row: int) -> int:
        """Source index of a row."""
        return int(self.track.frame_indices[row])


def open_known_run(performer: Path, run_folder: Path, body: BodyModel) -> KnownRun:
    """Open a run and the truth about its video.

    Args:
        performer: Folder that `bodydouble synth` wrote, or the `performer` folder of a demo.
        run_folder: Of a reconstructed run.
        body: The body that both share.
    Raises:
        InputError: When either is missing, or the video of the run is another one.
    """
    from bodydouble.pipeline.finish import trained_result

    truth = read_truth(performer)
    capture = Capture.open(run_folder / CAPTURE)
    info, index = capture.info, truth.index
    if (info.num_frames, info.width_px, info.height_px) != (index.num_frames, index.width_px, index.height_px):
        raise InputError(
            f"{run_folder} was made from a video of {info.num_frames} frames of {info.width_px}x{info.height_px}; "
            f"{performer} is about {index.num_frames} frames of {index.width_px}x{index.height_px}. Name the performer "
            "whose video the run was made from."
        )
    if tuple(index.bone_names) != tuple(body.bone_names):
        raise InputError(
            f"{performer} has another body ({index.body}) than the run ({body.name}); they do not compare."
        )
    avatar, refined = trained_result(run_folder, capture)
    masks = run_folder / SURFACE_FOLDER / MASKS
    return known_run(truth, capture, body, avatar, capture.track(), refined, masks if masks.is_dir() else None)


def known_run(
    truth: Truth,
    capture: Capture,
    body: BodyModel,
    avatar: Avatar,
    track: BodyTrack,
    refined: BodyTrack,
    surface_masks: Path | None = None,
) -> KnownRun:
    """Lay the truth beside a run, frame by frame, in the world of the run's camera."""
    rows = torch.nonzero(track.valid)[:, 0]
    open_to_training = set(capture.train_indices())
    trained = torch.tensor([r for r in rows.tolist() if int(track.frame_indices[r]) in open_to_training]).long()
    at = track.frame_indices.long()
    T_track_world = torch.linalg.inv(video_camera(1, 1, 1.0).T_camera_world) @ truth.values.T_camera_world[at]
    return KnownRun(
        truth=truth,
        capture=capture,
        body=body,
        avatar=avatar,
        track=track,
        refined=refined,
        surface_masks=surface_masks,
        rows=rows,
        trained=trained,
        T_track_world=T_track_world,
        joints=_joints(track, body),
        refined_joints=_joints(refined, body),
        true_joints=transform_points(T_track_world, truth.values.joints_world_m[at]).numpy(),
    )


def score_against_truth(
    performer: Path, run_folder: Path, body: BodyModel, device: str, emit: Emit
) -> dict[str, float]:
    """The headline of a run against what is true about its performer; `score_truth` says more.

    Args:
        performer, run_folder, body: As for `open_known_run`.
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
    known = open_known_run(performer, run_folder, body)
    fit = pose_of(known, known.joints, known.rows)
    return {
        "pose_error_mm": fit["mpjpe_root_mm"],
        "pose_error_aligned_mm": fit["pa_mpjpe_mm"],
        "pose_error_refined_mm": pose_of(known, known.refined_joints, known.trained)["mpjpe_root_mm"],
        "finger_error_mm": fit["finger_error_mm"],
        "joint_error_px": joint_error_px(known),
        **body_figures(known),
        "mask_iou": _estimator_iou(known),
        "avatar_iou": _avatar_iou(known, device, emit),
    }


def pose_of(known: KnownRun, joints: Float[np.ndarray, "frames bones 3"], rows: Tensor) -> dict[str, float]:
    """`pose_figures` of some rows."""
    frames = known.track.frame_indices[rows].tolist()
    at = rows.numpy()
    return pose_figures(known.body, joints[at], known.true_joints[at], frames, float(known.truth.index.fps_hz))


def body_figures(known: KnownRun) -> dict[str, float]:
    """Height and focal length, estimate minus truth."""
    track, values = known.track, known.truth.values
    height_m = known.body.height_m(track.shape) - known.body.height_m(values.shape)
    return {
        "height_error_cm": 100.0 * float(height_m),
        "focal_error_percent": 100.0 * (float(track.focal_px) / float(values.focal_px[0, 0]) - 1.0),
    }


def joint_error_px(known: KnownRun) -> float:
    """Mean distance of the projected main joints of the fit."""
    track, main = known.track, main_joints(known.body)
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    here, _ = camera.project(torch.from_numpy(known.joints[known.rows.numpy()][:, main]))
    values = known.truth.values
    errors = []
    for k, row in enumerate(known.rows.tolist()):
        frame = known.frame(row)
        there, _ = known.truth.camera(frame).project(values.joints_world_m[frame][main])
        errors.append(float((here[k] - there).norm(dim=-1).mean()))
    return float(np.mean(errors))


def posed_vertices(body: BodyModel, track: BodyTrack, rows: Sequence[int]) -> Float[np.ndarray, "rows verts 3"]:
    """Vertices of the fitted body without facial actions, metres, in the world of the track."""
    shaped = body.with_shape(track.shape)
    found = []
    with torch.no_grad():
        for row in rows:
            pose = track.pose(row)
            found.append(shaped.with_pose(pose).vertices().numpy())
    return np.stack(found)


def _joints(track: BodyTrack, body: BodyModel) -> Float[np.ndarray, "frames bones 3"]:
    with torch.no_grad():
        pose = track.pose()
        return body.with_shape(track.shape).with_pose(pose).joints_world.numpy()


def _estimator_iou(known: KnownRun) -> float:
    found = []
    for index in known.capture.observations().frame_indices.tolist():
        mask = known.capture.mask(index)
        if mask is not None:
            found.append(mask_iou(mask > 127, known.truth.mask(index) > 127))
    return float(np.mean(found)) if found else 0.0


def _avatar_iou(known: KnownRun, device: str, emit: Emit) -> float:
    from bodydouble.evaluate.predictions import rgba_of_row
    from bodydouble.render.select import make_rasterizer

    rasterizer, track = make_rasterizer(device), known.track
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    row_of = {int(index): row for row, index in enumerate(track.frame_indices)}
    frames = known.capture.heldout_indices()
    found = []
    for done, index in enumerate(frames, start=1):
        rgba = rgba_of_row(known.avatar, track, row_of[index], camera, rasterizer)
        found.append(mask_iou(rgba[..., 3] > 127, known.truth.mask(index) > 127))
        emit(Progress(stage="score", done=done, total=len(frames), unit="frames"))
    return float(np.mean(found)) if found else 0.0
