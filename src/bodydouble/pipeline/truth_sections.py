"""Everything that a synthetic performer's truth says about a run: pose, body, face, masks, surface, other views."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.picture import picture_of
from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.capture.folder import read_mask
from bodydouble.capture.values import BodyTrack
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.errors import ConfigError
from bodydouble.core.events import Progress
from bodydouble.core.geometry import transform_points
from bodydouble.evaluate.actions import action_correlations, action_errors
from bodydouble.evaluate.alignment import Alignment, body_alignment
from bodydouble.evaluate.geometry_protocol import VID2AVATAR_GEOMETRY, AlignmentKind, GeometryProtocol
from bodydouble.evaluate.heldout import refined_indices
from bodydouble.evaluate.interpolate import interpolated_track
from bodydouble.evaluate.joints import mpjpe_m, pa_mpjpe_m
from bodydouble.evaluate.masks import boundary_f, mask_agreement
from bodydouble.evaluate.picture_scores import FilmedFrame, LandmarkBoxes, Pair, score_pair
from bodydouble.evaluate.predictions import rgba_of_row, straight_rgba
from bodydouble.evaluate.protocols import BODYDOUBLE_V1, find_protocol
from bodydouble.evaluate.surfaces import Surface, compare_surfaces
from bodydouble.evaluate.truth_results import TruthScores, TruthSection
from bodydouble.pipeline.stages import Emit
from bodydouble.pipeline.truth import (
    KnownRun,
    body_figures,
    joint_error_px,
    open_known_run,
    pose_of,
    posed_vertices,
)
from bodydouble.render.protocol import Rasterizer

_VIEW_METRICS = ("psnr_box", "ssim_box", "flip_box", "ms_ssim_crop", "mask_iou", "mask_f1", "boundary_f")
_VIEW_PROTOCOL = replace(
    BODYDOUBLE_V1, name="bodydouble-v1, extra views", poses=("fit",), metrics=_VIEW_METRICS, notes=()
)
_TOLERANCE_HEIGHTS = BODYDOUBLE_V1.detail.boundary_tolerance_heights


def score_truth(
    performer: Path, run_folder: Path, body: BodyModel, device: str, emit: Emit, *, protocol: str = ""
) -> TruthScores:
    """Compare a run with everything that is true about its performer.

    Args:
        performer, run_folder, body: As for `truth.open_known_run`.
        device: Where the avatar is rendered.
        emit: Told about progress.
        protocol: Of the surfaces; by default vid2avatar-geometry.
    Raises:
        ConfigError: When the protocol does not compare surfaces.
    """
    from bodydouble.render.select import make_rasterizer

    geometry = find_protocol(protocol) if protocol else VID2AVATAR_GEOMETRY
    if not isinstance(geometry, GeometryProtocol):
        raise ConfigError(
            f"{protocol} compares pictures; with --truth the surfaces need {VID2AVATAR_GEOMETRY.name}. Leave --protocol "
            "out, or score the pictures without --truth."
        )
    return scores_of(open_known_run(performer, run_folder, body), geometry, make_rasterizer(device), emit)


def scores_of(known: KnownRun, geometry: GeometryProtocol, rasterizer: Rasterizer, emit: Emit) -> TruthScores:
    """All sections of a run whose truth is known."""
    sections = [*_pose_sections(known), _face_section(known), _estimator_masks(known), *_surface_masks(known)]
    sections.append(_avatar_masks(known, rasterizer, emit))
    sections += _surface_sections(known, geometry, emit)
    sections += _view_sections(known, rasterizer, emit)
    return TruthScores(sections=tuple(sections), protocol_text=geometry.describe())


def _pose_sections(known: KnownRun) -> list[TruthSection]:
    words = (
        "mpjpe as the joints lie in the camera's world; _root with the hips laid upon each other; pa after the best "
        "similarity of each frame; fingers with the wrists laid upon each other; pve: the body model's own vertices"
    )
    sections = []
    for name, joints, track, rows in (
        ("pose, fit", known.joints, known.track, known.rows),
        ("pose, refined by training", known.refined_joints, known.refined, known.trained),
    ):
        figures = pose_of(known, joints, rows)
        chosen = rows[:: max(1, len(rows) // 12)]
        figures |= _vertex_figures(known, track, chosen.tolist())
        if track is known.track:
            figures |= {"joint_error_px": joint_error_px(known), **body_figures(known)}
        sections.append(
            TruthSection(name=name, how=f"{len(rows)} frames. {words} ({len(chosen)} frames).", figures=figures)
        )
    return sections


def _vertex_figures(known: KnownRun, track: BodyTrack, rows: list[int]) -> dict[str, float]:
    found, true = posed_vertices(known.body, track, rows), _true_body(known, rows)
    hips = known.body.bone_names.index(known.body.humanoid["hips"])
    joints = known.joints if track is known.track else known.refined_joints
    root, true_root = joints[rows][:, [hips]], known.true_joints[rows][:, [hips]]
    return {
        "pve_mm": 1000.0 * mpjpe_m(found, true),
        "pve_root_mm": 1000.0 * mpjpe_m(found - root, true - true_root),
        "pa_pve_mm": 1000.0 * pa_mpjpe_m(found, true),
    }


def _true_body(known: KnownRun, rows: list[int]) -> np.ndarray:
    """Vertices of the true body under the clothes, in the world of the track."""
    values = known.truth.values
    shaped = known.body.with_shape(values.shape)
    found = []
    with torch.no_grad():
        for row in rows:
            frame = known.frame(row)
            pose = Pose(rotvecs=values.rotvecs[frame], translation_world_m=values.translation_world_m[frame])
            found.append(transform_points(known.T_track_world[row], shaped.with_pose(pose).vertices()).numpy())
    return np.stack(found)


def _face_section(known: KnownRun) -> TruthSection:
    rows = known.rows
    found = known.track.expression[rows].numpy()
    true = known.truth.values.expression[known.track.frame_indices[rows].long()].numpy()
    r, errors = action_correlations(found, true), action_errors(found, true)
    judged = ~np.isnan(r)
    names = known.truth.index.action_names
    return TruthSection(
        name="facial actions",
        how=f"{len(rows)} frames. Correlation over time of each action whose truth moves by 0.1 or more; error of all.",
        figures={
            "mean_correlation": float(r[judged].mean()) if judged.any() else float("nan"),
            "mean_absolute_error": float(errors.mean()),
            "mean_absolute_error_moving": float(errors[judged].mean()) if judged.any() else float("nan"),
            **{names[k]: float(r[k]) for k in np.flatnonzero(judged)},
        },
    )


def _estimator_masks(known: KnownRun) -> TruthSection:
    found = []
    for index in known.capture.observations().frame_indices.tolist():
        mask = known.capture.mask(index)
        if mask is not None:
            found.append(_mask_figures(mask > 127, known.truth.mask(index) > 127))
    return TruthSection(
        name="masks of the estimator",
        how=f"{len(found)} frames, mask > 0.5 against true coverage > 0.5; outlines within "
        f"{_TOLERANCE_HEIGHTS:.1%} of the person's height.",
        figures=_means(found),
    )


def _surface_masks(known: KnownRun) -> list[TruthSection]:
    """What a surface stage took for the person, frame by frame."""
    if known.surface_masks is None:
        return []
    found = []
    for row in known.rows.tolist():
        mask = read_mask(known.surface_masks, known.frame(row), (known.track.height_px, known.track.width_px))
        if mask is not None:
            found.append(_mask_figures(mask > 127, known.truth.mask(known.frame(row)) > 127))
    figures = _means(found) | ({"worst_iou": min(f["iou"] for f in found)} if found else {})
    return [
        TruthSection(
            name="masks of the surface",
            how=f"{len(found)} frames, held-out ones included; figures as above.",
            figures=figures,
        )
    ]


def _avatar_masks(known: KnownRun, rasterizer: Rasterizer, emit: Emit) -> TruthSection:
    track = known.track
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    row_of = {int(index): row for row, index in enumerate(track.frame_indices)}
    frames = [i for i in known.capture.heldout_indices() if bool(track.valid[row_of[i]])]
    found = []
    for done, index in enumerate(frames, start=1):
        rgba = rgba_of_row(known.avatar, track, row_of[index], camera, rasterizer)
        found.append(_mask_figures(rgba[..., 3] > 127, known.truth.mask(index) > 127))
        emit(Progress(stage="masks", done=done, total=len(frames), unit="frames"))
    return TruthSection(
        name="outline of the avatar",
        how=f"{len(frames)} held-out frames, pose from the fit alone, alpha > 0.5 against true coverage > 0.5.",
        figures=_means(found),
    )


def _mask_figures(mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    agreement = mask_agreement(mask, truth)
    rows = np.flatnonzero(truth.any(axis=1))
    height_px = float(rows[-1] + 1 - rows[0]) if rows.size else 0.0
    return {
        "iou": agreement.iou,
        "precision": agreement.precision,
        "recall": agreement.recall,
        "f1": agreement.f1,
        "boundary_f": boundary_f(mask, truth, max(1.0, _TOLERANCE_HEIGHTS * height_px)),
    }


def _surface_sections(known: KnownRun, protocol: GeometryProtocol, emit: Emit) -> list[TruthSection]:
    """The avatar's mesh against the dressed performer: in the pose of the fit, of a surface double in its own pose."""
    mesh, track, words = known.avatar.mesh, known.track, "the pose of the fit"
    if known.surface_masks is not None:
        trained = refined_indices(known.capture, known.track, known.refined)
        track = interpolated_track(known.track, known.refined, trained, known.truth.index.frames)
        words = "the fit's pose, corrected as training corrected the frames around,"
    row_of = {int(index): row for row, index in enumerate(track.frame_indices)}
    frames = [f for f in known.truth.index.frames if f in row_of and bool(track.valid[row_of[f]])]
    if mesh is None or not frames:
        why = "The avatar has no mesh." if mesh is None else "The truth holds no mesh of a frame that was seen."
        return [TruthSection(name="surface", how=why, figures={})]
    frames = _thinned(frames, protocol.most_frames)
    true_mesh = known.truth.mesh()
    faces, true_faces = mesh.faces.numpy().astype(np.int64), true_mesh.faces.numpy().astype(np.int64)
    found: dict[AlignmentKind, list[dict[str, float]]] = {kind: [] for kind in protocol.alignments}
    for done, frame in enumerate(frames, start=1):
        row = row_of[frame]
        vertices = _avatar_vertices(known, track, row)
        true = transform_points(known.T_track_world[row], known.truth.vertices_world_m(frame, true_mesh)).numpy()
        bodies = posed_vertices(known.body, track, [row])[0], _true_body(known, [row])[0], known.body.faces.numpy()
        for kind in protocol.alignments:
            aligned = (
                vertices if kind == "none" else body_alignment(*bodies, scaled=kind == "similarity").apply(vertices)
            )
            agreement = compare_surfaces(
                Surface(vertices_m=aligned, faces=faces),
                Surface(vertices_m=true, faces=true_faces),
                samples=protocol.samples,
                grid_m=protocol.grid_m,
            )
            found[kind].append(vars(agreement))
        emit(Progress(stage="surfaces", done=done, total=len(frames), unit="frames"))
    return [
        TruthSection(
            name=f"surface, {kind}",
            how=f"{len(frames)} frames; the avatar's mesh in {words} against the dressed performer.",
            figures=_means(figures),
        )
        for kind, figures in found.items()
    ]


def _avatar_vertices(known: KnownRun, track: BodyTrack, row: int) -> np.ndarray:
    pose = track.pose(row)
    with torch.no_grad():
        vertices = pose_avatar(known.avatar, pose, track.expression[row]).vertices_world_m
    assert vertices is not None, "checked by _surface_sections"
    return vertices.numpy()


def _view_sections(known: KnownRun, rasterizer: Rasterizer, emit: Emit) -> list[TruthSection]:
    """The avatar from cameras that the run never had."""
    row_of = {int(index): row for row, index in enumerate(known.track.frame_indices)}
    views = [v for v in known.truth.views() if v.frame in row_of and bool(known.track.valid[row_of[v.frame]])]
    if not views:
        return []
    found = []
    for done, view in enumerate(views, start=1):
        row = row_of[view.frame]
        body, true_body = posed_vertices(known.body, known.track, [row])[0], _true_body(known, [row])[0]
        alignment = body_alignment(body, true_body, known.body.faces.numpy(), scaled=True)
        camera = _camera_of_fit(view.camera, known.T_track_world[row], alignment)
        pose = Pose(rotvecs=known.track.rotvecs[row], translation_world_m=known.track.translation_world_m[row])
        with torch.no_grad():
            posed = pose_avatar(known.avatar, pose, known.track.expression[row])
            image = picture_of(known.avatar, posed, camera, rasterizer)
        true = view.rgba()
        if (true[..., 3] > 127).any():
            pair = Pair(
                frame=FilmedFrame(index=view.frame, rgb=true[..., :3], mask=true[..., 3]),
                rgba=straight_rgba(image.rgb, image.alpha),
                parts=LandmarkBoxes(),
            )
            found.append(dict(zip(_VIEW_METRICS, score_pair(pair, _VIEW_PROTOCOL, None), strict=True)))
        emit(Progress(stage="views", done=done, total=len(views), unit="views"))
    return [
        TruthSection(
            name="other views",
            how=f"{len(found)} views that were never filmed. The avatar has the pose of the fit, laid upon the true body by "
            "one similarity for each frame; figures as in bodydouble-v1.",
            figures=_means(found),
        )
    ]


def _camera_of_fit(camera: Camera, T_track_world: torch.Tensor, alignment: Alignment) -> Camera:
    """A camera of the truth's world, for splats as they lie in the track's world before they are aligned.

    With p_true_track = s R p + t, a camera E that sees the truth's world sees p at R_E (s R p + t) + t_E; dividing by s
    leaves every pixel where it is.
    """
    T_camera_track = camera.T_camera_world.double() @ torch.linalg.inv(T_track_world.double())
    R = torch.from_numpy(alignment.R_truth_source)
    t = torch.from_numpy(alignment.t_truth_source_m)
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = T_camera_track[:3, :3] @ R
    T[:3, 3] = (T_camera_track[:3, :3] @ t + T_camera_track[:3, 3]) / alignment.scale
    return camera.replace(T_camera_world=T.float())


def _thinned(frames: list[int], most: int) -> list[int]:
    if len(frames) <= most:
        return frames
    return [frames[round((k + 0.5) * len(frames) / most - 0.5)] for k in range(most)]


def _means(found: list[dict[str, float]]) -> dict[str, float]:
    if not found:
        return {}
    return {name: float(np.nanmean([f[name] for f in found])) for name in found[0]}
