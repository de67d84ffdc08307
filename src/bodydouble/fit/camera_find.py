"""Whether the camera of a capture stands still, and if not, where it was in every frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.camera_motion import CameraMotion, still_camera
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack
from bodydouble.core.errors import MissingDependencyError
from bodydouble.core.events import Event, Progress, Warned
from bodydouble.fit.camera_cover import body_cover
from bodydouble.fit.camera_scale import feet_in_camera, scale_from_feet
from bodydouble.fit.camera_sfm import structure_from_tracks
from bodydouble.fit.camera_small import small_motion, turning_only, widest_turn
from bodydouble.fit.camera_structure import Structure
from bodydouble.fit.camera_tracks import BackgroundTracks, follow_background, motion_between

Emit = Callable[[Event], None]
_LOOKS = 24
"""Frames that decide whether the camera stands still."""
_STILL_SHARE = 1e-3
"""Of the longer side: a background that moves less between any two frames stands still."""
_FEWEST_PAIRS = 0.5
_MOST_FRAMES = 480
"""Longer captures are followed in every second, third, ... frame."""
_GOOD_SHARE, _POOR_SHARE = 8e-4, 3e-3
"""Median error, in longer sides, that ends the search, and that calls for a warning."""
_SMALL_TURN = math.radians(25.0)
"""Up to here a video is seen from about one place, and bundle adjustment begins with all cameras there."""
_TURNING_PX = 0.5
"""A way so short that the nearer half of the background hardly shifts is none."""
_FOCAL_DIFFERS = 0.03
_SCALE_UNSURE = 0.25


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """How the camera's motion is found."""

    assume: str = ""
    """`static` to believe that it stands still; empty to look."""
    most_points: int = 800
    """Background points followed at a time."""
    seed: int = 0


def find_camera_motion(
    capture: Capture, track: BodyTrack, body: BodyModel, emit: Emit, config: CameraConfig | None = None
) -> CameraMotion:
    """The camera of every frame of a track.

    The person is left out by the outline of the fitted body, so no masks are needed.

    Args:
        capture: Gives the frames.
        track: The fitted body: where the person is, and what a metre is.
        body: Its model.
        emit: Told about progress and about what the user should know.
        config: How.
    """
    config = config or CameraConfig()
    size = (track.width_px, track.height_px)
    if config.assume == "static":
        return still_camera(track.frame_indices, *size, track.focal_px, method="static", motion_px=0.0)
    looks = followed(capture, track, body, emit, _LOOKS, config.most_points, "camera: still?")
    medians, _ = motion_between(looks)
    if len(medians) < _FEWEST_PAIRS * (min(_LOOKS, len(track.frame_indices)) - 1):
        emit(
            Warned(
                code="camera_unknown",
                message="The background shows too little texture to tell whether the camera moves; it was taken for still.",
                advice="Film before a background with some detail if the camera is to move.",
            )
        )
        return still_camera(track.frame_indices, *size, track.focal_px, method="unknown", motion_px=float("nan"))
    motion_px = float(np.quantile(medians, 0.9))
    if motion_px < _STILL_SHARE * max(size):
        return still_camera(track.frame_indices, *size, track.focal_px, method="static", motion_px=motion_px)
    tracks = followed(capture, track, body, emit, _MOST_FRAMES, config.most_points, "camera: background")
    structure, method = find_structure(tracks, track, config.seed, emit)
    return metric_motion(structure, method, tracks, track, body, motion_px, emit)


def camera_facts(motion: CameraMotion) -> dict[str, object]:
    """What a capture or a report remembers about the camera (JSON values)."""
    path = motion.eyes_world().diff(dim=0).norm(dim=-1).sum()
    known = motion.scale_spread == motion.scale_spread
    return {
        "moves": motion.moves,
        "method": motion.method,
        "background_motion_px": None if motion.motion_px != motion.motion_px else round(motion.motion_px, 2),
        "frames_found": int(motion.seen.sum()),
        "frames": len(motion.frame_indices),
        "error_px": round(motion.error_px, 3),
        "focal_px": round(float(motion.focal_px), 1),
        "points": len(motion.points_world),
        "path_m": round(float(path), 3) if motion.metric else None,
        "scale_spread": round(motion.scale_spread, 4) if known else None,
    }


def followed(
    capture: Capture, track: BodyTrack, body: BodyModel, emit: Emit, most_frames: int, most_points: int, stage: str
) -> BackgroundTracks:
    """Background tracks of at most so many frames, evenly spread."""
    indices = track.frame_indices.tolist()
    rows = _spread(len(indices), most_frames)
    row_of = {indices[row]: row for row in rows}

    def pictures():
        for done, frame in enumerate(capture.frames(sorted(row_of)), 1):
            yield row_of[frame.index], frame.rgb
            emit(Progress(stage=stage, done=done, total=len(rows), unit="frames"))

    return follow_background(pictures(), body_cover(track, body), num_frames=len(indices), most_points=most_points)


def _spread(count: int, most: int) -> list[int]:
    step = max(1, -(-count // most)) if most >= 100 else max(1.0, (count - 1) / max(most - 1, 1))
    return sorted({*np.arange(0, count, step).round().astype(int).tolist(), count - 1})


def find_structure(tracks: BackgroundTracks, track: BodyTrack, seed: int, emit: Emit) -> tuple[Structure, str]:
    """The best structure that the tracks give, and how it was found."""
    side = max(track.width_px, track.height_px)
    focal_px, free = float(track.focal_px), track.focal_source == "estimated"
    found: list[tuple[Structure, str]] = []
    if widest_turn(tracks, focal_px) < _SMALL_TURN:
        small = small_motion(tracks, focal_px, refine_focal=free)
        if small is not None:
            found.append((small, "structure"))
    if not found or found[0][0].error_px > _GOOD_SHARE * side:
        try:
            large = structure_from_tracks(tracks, focal_px, refine_focal=free, seed=seed)
        except MissingDependencyError as error:
            emit(Warned(code="camera_needs_sfm", message=str(error), advice="pip install 'bodydouble[sfm]'"))
        else:
            found += [] if large is None else [(large, "structure")]
    if not found or max(s.found.mean() for s, _ in found) < 0.5 or not _shifts(found[0][0]):
        turning = turning_only(tracks, focal_px)
        found += [] if turning is None else [(turning, "turning")]
    if not found:
        emit(_lost_warning())
        nothing = np.tile(np.eye(4), (tracks.num_frames, 1, 1)), np.zeros(tracks.num_frames, bool)
        nothing[1][0] = True
        empty = np.zeros((0, 3))
        return Structure(
            T_camera_world=nothing[0], found=nothing[1], focal_px=focal_px, points_world=empty,
            point_ids=np.zeros(0, np.int64), error_px=float("nan"),
        ), "unknown"  # fmt: skip
    # A frame more is worth more than a tenth of a pixel.
    best, method = min(found, key=lambda f: f[0].error_px + 20.0 * (1.0 - float(f[0].found.mean())))
    if best.error_px > _POOR_SHARE * side:
        emit(_poor_warning(best.error_px))
    return best, method


def _shifts(structure: Structure) -> bool:
    """Whether the camera's way is long enough to be seen on the nearer half of the background."""
    if not len(structure.points_world):
        return False
    T = structure.T_camera_world[structure.found]
    eyes = -np.einsum("fji,fj->fi", T[:, :3, :3], T[:, :3, 3])
    reach = float(np.linalg.norm(eyes - eyes.mean(0), axis=1).max())
    near = float(np.quantile(np.linalg.norm(structure.points_world - eyes.mean(0), axis=1), 0.25))
    return structure.focal_px * reach / max(near, 1e-12) > _TURNING_PX


def metric_motion(
    structure: Structure,
    method: str,
    tracks: BackgroundTracks,
    track: BodyTrack,
    body: BodyModel,
    motion_px: float,
    emit: Emit,
) -> CameraMotion:
    """A structure in metres, in the world of the fit in the first frame."""
    T = _filled(structure.T_camera_world, structure.found, track.times_s.double().numpy())
    scale = None
    if method == "structure":
        feet = feet_in_camera(track, body, structure.focal_px)
        usable = structure.found & track.valid.numpy()
        scale = scale_from_feet(feet, structure.T_camera_world, usable, track.times_s.double().numpy())
        if scale is None or scale.spread > _SCALE_UNSURE:
            emit(_scale_warning())
    unit = 1.0 if scale is None else scale.metres
    still = np.diag([1.0, -1.0, -1.0, 1.0])
    T_first = T[0].copy()
    T[:, :3, 3] *= unit
    T_first[:3, 3] *= unit
    T_camera_world = T @ np.linalg.inv(T_first) @ still
    points = structure.points_world * unit
    T_world_old = np.linalg.inv(still) @ T_first
    points = points @ T_world_old[:3, :3].T + T_world_old[:3, 3]
    _tell_focal(structure.focal_px, track, emit)
    return CameraMotion(
        frame_indices=track.frame_indices,
        width_px=track.width_px,
        height_px=track.height_px,
        focal_px=torch.tensor(structure.focal_px, dtype=torch.float64),
        T_camera_world=torch.from_numpy(T_camera_world),
        moves=True,
        method=method,
        metric=scale is not None,
        scale_spread=float("nan") if scale is None else scale.spread,
        error_px=structure.error_px,
        motion_px=motion_px,
        points_world=torch.from_numpy(points).float(),
        points_rgb=torch.from_numpy(tracks.rgb[structure.point_ids].reshape(-1, 3)).float(),
        seen=torch.from_numpy(structure.found),
    )


def _filled(
    T: Float[ndarray, "frames 4 4"], found: Bool[ndarray, " frames"], times_s: Float[ndarray, " frames"]
) -> Float[ndarray, "frames 4 4"]:
    """Frames that were not found between their neighbours: turns by slerp, places evenly; beyond the ends the last one."""
    from scipy.spatial.transform import Rotation, Slerp

    rows = np.flatnonzero(found)
    if len(rows) == len(found) or len(rows) == 0:
        return T.copy()
    out = np.tile(np.eye(4), (len(T), 1, 1))
    eyes = -np.einsum("fji,fj->fi", T[rows, :3, :3], T[rows, :3, 3])
    when = np.clip(times_s, times_s[rows[0]], times_s[rows[-1]])
    turns = Rotation.from_matrix(T[rows, :3, :3])
    R = Slerp(times_s[rows], turns)(when).as_matrix() if len(rows) > 1 else np.tile(turns.as_matrix(), (len(T), 1, 1))
    places = np.stack([np.interp(when, times_s[rows], eyes[:, k]) for k in range(3)], axis=1)
    out[:, :3, :3], out[:, :3, 3] = R, -np.einsum("fij,fj->fi", R, places)
    out[rows] = T[rows]
    return out


def _tell_focal(focal_px: float, track: BodyTrack, emit: Emit) -> None:
    known = float(track.focal_px)
    if abs(focal_px / known - 1.0) > _FOCAL_DIFFERS:
        emit(
            Warned(
                code="focal_from_background",
                message=f"The moving background shows a focal length of {focal_px:.0f} px; the body was fitted with {known:.0f}.",
                advice=f"Run again with --focal-px {focal_px:.0f} for better poses.",
            )
        )


def _lost_warning() -> Warned:
    return Warned(
        code="camera_lost",
        message="The camera moves, but its way could not be found; the background is wrong and the person's way unknown.",
        advice="Film more slowly, before a background with some detail, or from a tripod.",
    )


def _poor_warning(error_px: float) -> Warned:
    return Warned(
        code="camera_poor",
        message=f"The camera moves, and its way was found poorly: background points lie {error_px:.1f} px off.",
        advice="Film more slowly or from a tripod; install the extra [sfm] if it is missing.",
    )


def _scale_warning() -> Warned:
    return Warned(
        code="camera_scale_unsure",
        message="How far the moving camera went in metres is unsure; pictures are not affected, the person's way is.",
        advice="Let the feet be seen and the camera move more.",
    )
