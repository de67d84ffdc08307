"""The expression of a tracked person: facial actions from observed face points, smoothed over time.

Nothing here knows the body's pose: the face's points tell the head's turn themselves, so a close-up without a body is
read the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from bodydouble.body.protocol import ARKIT_ACTIONS, BodyModel
from bodydouble.capture.values import Observations
from bodydouble.capture.video import Frame
from bodydouble.fit.face_model import NUM_POINTS, FaceReading, read_faces
from bodydouble.fit.face_pictures import HIGH, WIDE, face_crop, read_pictures

SMOOTH_S, BLINK_SMOOTH_S = 0.045, 0.02
"""Standard deviation of the Gaussian mean over time; lids are faster than everything else."""
_SIGHT_S = 0.12
"""The same for whether a face is seen at all: it comes and goes softly."""
_SMALL_PX, _LARGE_PX = 6.0, 18.0
"""Distance of the eyes' outer corners up to which nothing is believed, and from which everything is."""
_SEEN, _WELL_SEEN = 0.05, 0.35
"""The same of the points' median confidence."""


@dataclass(frozen=True, kw_only=True)
class FaceTrack:
    """What a face did in a run of frames."""

    actions: Float[np.ndarray, "frames actions"]
    """The 52 actions in the order of `ARKIT_ACTIONS`, in [0, 1]; they relax to 0 where no face is seen."""
    sigma: Float[np.ndarray, "frames actions"]
    """Standard deviation of their errors; 1 where nothing is known."""
    sight: Float[np.ndarray, " frames"]
    """In [0, 1], how far what was seen is believed."""
    R_camera_face: Float[np.ndarray, "frames 3 3"]
    """Turn of the head since it looks into the camera, camera axes; the identity where no face is seen."""


def fit_expression(
    observations: Observations, body: BodyModel, pictures: Callable[[list[int]], Iterator[Frame]] | None = None
) -> Float[np.ndarray, "frames actions"]:
    """Values of the body's facial actions in every frame, in [0, 1]; 0 where no face is seen.

    Args:
        observations: With or without face points.
        body: Whose actions are asked for, by name; those that nobody reads stay 0.
        pictures: Gives the video's frames by source index; by the points alone without.
    """
    track = track_face(observations, pictures)
    out = np.zeros((len(observations.times_s), len(body.action_names)))
    for column, name in enumerate(body.action_names):
        if name in ARKIT_ACTIONS:
            out[:, column] = track.actions[:, ARKIT_ACTIONS.index(name)]
    return out


def track_face(observations: Observations, pictures: Callable[[list[int]], Iterator[Frame]] | None = None) -> FaceTrack:
    """Read the face of the observed person.

    Args:
        observations: Of one person; frames in ascending order.
        pictures: Gives the video's pictures by source index.
    """
    frames = len(observations.times_s)
    place = {name: i for i, name in enumerate(observations.landmark_names)}
    columns = [place.get(f"face/{i}", -1) for i in range(NUM_POINTS)]
    if min(columns) < 0:
        return _nobody(frames)
    xy = observations.xy_px[:, columns].double().numpy()
    xyz = observations.xyz_camera_m[:, columns].double().numpy()
    confidence = observations.confidence[:, columns].double().numpy()
    whole = confidence.min(1) > 0
    believed = _ramp(np.median(confidence, axis=1), _SEEN, _WELL_SEEN) * whole * observations.present.numpy()
    points = _in_pixels(xy, xyz)
    return track_points(
        points,
        believed,
        observations.times_s.double().numpy(),
        (observations.width_px, observations.height_px),
        None if pictures is None else _crops(points, believed, observations, pictures),
    )


def _crops(
    points: np.ndarray,
    believed: np.ndarray,
    observations: Observations,
    pictures: Callable[[list[int]], Iterator[Frame]],
) -> Float[np.ndarray, "frames rows columns"] | None:
    """The faces cut out of the frames that have one; none where there are no such frames."""
    row_of = {int(observations.frame_indices[row]): int(row) for row in np.nonzero(believed > 0)[0]}
    if not row_of:
        return None
    crops = np.zeros((len(points), HIGH, WIDE), np.float16)  # of ten minutes of video some 400 MB
    for frame in pictures(sorted(row_of)):
        row = row_of[frame.index]
        crops[row] = face_crop(frame.rgb, points[row])
    return crops


def track_points(
    points_px: Float[np.ndarray, "frames points 3"],
    believed: Float[np.ndarray, " frames"],
    times_s: Float[np.ndarray, " frames"],
    size_px: tuple[int, int],
    crops: Float[np.ndarray, "frames rows columns"] | None = None,
) -> FaceTrack:
    """Read a face from its points.

    Args:
        points_px: x, y and relative depth of all 478 points, pixels.
        believed: In [0, 1], 0 where there is no face.
        times_s: Ascending.
        size_px: Width and height of the picture: what lies beyond is the network's guess.
        crops: `face_pictures.face_crop` of the pictures; by the points alone without.
    """
    inside = ((points_px[..., :2] >= 0) & (points_px[..., :2] <= np.array(size_px))).all(-1).mean(1)
    trust = believed * _ramp(inside, 0.6, 0.95)
    reading = read_faces(points_px, trust)
    if crops is not None:
        reading = replace(reading, actions=read_pictures(crops, trust, reading))
    sight = trust * _ramp(reading.size_px, _SMALL_PX, _LARGE_PX)
    return FaceTrack(
        actions=_smoothed(reading, sight, times_s),
        sigma=np.where(sight[:, None] > 0, reading.sigma, 1.0),
        sight=sight,
        R_camera_face=reading.R_camera_face,
    )


def _nobody(frames: int) -> FaceTrack:
    count = len(ARKIT_ACTIONS)
    return FaceTrack(
        actions=np.zeros((frames, count)),
        sigma=np.ones((frames, count)),
        sight=np.zeros(frames),
        R_camera_face=np.tile(np.eye(3), (frames, 1, 1)),
    )


def _in_pixels(xy_px: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """Depths brought to pixels: the scale of the 3D estimate is unknown, but the same along all its axes."""
    wide_px = np.linalg.norm(xy_px - xy_px.mean(1, keepdims=True), axis=(1, 2))
    wide = np.linalg.norm(xyz[..., :2] - xyz[..., :2].mean(1, keepdims=True), axis=(1, 2))
    depth = xyz[..., 2] * (wide_px / np.maximum(wide, 1e-12))[:, None]
    return np.concatenate([xy_px, depth[..., None]], axis=-1)


def _ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((x - low) / (high - low), 0.0, 1.0)


def _smoothed(reading: FaceReading, sight: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Gaussian means over time, faded by how far a face is seen at all.

    Errors grow with the strength of an action, so weights by them would favour calm neighbours: sight alone counts.
    """
    lids = np.array(["Blink" in name or "eyeWide" in name for name in ARKIT_ACTIONS])
    weight = sight[:, None]
    out = np.zeros_like(reading.actions)
    for f, t in enumerate(times_s):
        first, stop = np.searchsorted(times_s, [t - 4 * _SIGHT_S, t + 4 * _SIGHT_S + 1e-9])
        near, away = slice(first, stop), (times_s[first:stop] - t)[:, None]
        w = np.exp(-0.5 * (away / np.where(lids, BLINK_SMOOTH_S, SMOOTH_S)) ** 2) * weight[near]
        mean = (w * reading.actions[near]).sum(0) / np.maximum(w.sum(0), 1e-12)
        seen = np.exp(-0.5 * (away[:, 0] / _SIGHT_S) ** 2)
        out[f] = mean * (seen @ sight[near]) / seen.sum()
    return out
