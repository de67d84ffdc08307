"""The face strip of a report: what the camera saw of the face, above the double with the expression that was read."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from bodydouble.avatar.drive import pose_avatar
from bodydouble.avatar.picture import picture_of
from bodydouble.avatar.values import Avatar
from bodydouble.capture.folder import Capture
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.core.cameras import video_camera
from bodydouble.pipeline.report_data import Picture
from bodydouble.pipeline.report_pictures import jpeg_picture
from bodydouble.render.protocol import Rasterizer

FACE_FRAMES = 8
_SIDE_PX = 200
_ROOM = 1.7
"""Side of the square around the face, in heights of its points."""
_SEEN = 0.35
_GROUND = (0.094, 0.102, 0.114)


def face_strip(capture: Capture, track: BodyTrack, avatar: Avatar, rasterizer: Rasterizer) -> tuple[Picture, ...]:
    """Frames whose expressions differ most, each above the double in the same pose; none where no face was seen well.

    Args:
        capture: With frames and observations of the track's frames.
        track: Poses and expressions; any subset of the observed frames.
        avatar: With splats or a mesh.
    """
    boxes = _face_boxes(capture.observations(), track)
    rows = _varied(track, boxes)
    if not len(rows):
        return ()
    row_of = {int(track.frame_indices[row]): int(row) for row in rows}
    pictures = []
    for frame in capture.frames(sorted(row_of)):
        row = row_of[frame.index]
        pair = np.concatenate([_cut(frame.rgb, boxes[row]), _double(track, row, avatar, boxes[row], rasterizer)])
        pictures.append(jpeg_picture(pair, f"frame {frame.index}, {frame.time_s:.2f} s"))
    return tuple(pictures)


def _face_boxes(observations: Observations, track: BodyTrack) -> Float[np.ndarray, "frames 3"]:
    """Middle and side of the square around the face in each of the track's frames; a side of 0 where none was seen."""
    columns = [k for k, name in enumerate(observations.landmark_names) if name.startswith("face/")]
    out = np.zeros((len(track.frame_indices), 3))
    if not columns:
        return out
    place = {int(i): k for k, i in enumerate(observations.frame_indices)}
    for row, index in enumerate(track.frame_indices.tolist()):
        k = place.get(index)
        if k is None or float(observations.confidence[k, columns].median()) < _SEEN:
            continue
        points = observations.xy_px[k, columns].numpy()
        low, high = points.min(0), points.max(0)
        out[row] = *(0.5 * (low + high)), _ROOM * float((high - low).max())
    return out


def _varied(track: BodyTrack, boxes: Float[np.ndarray, "frames 3"]) -> Int[np.ndarray, " picks"]:
    """Farthest point sampling among the expressions of frames with a face, in the order of time."""
    seen = np.flatnonzero(boxes[:, 2] > 0)
    if not len(seen):
        return seen
    values = track.expression[torch.from_numpy(seen)].numpy()
    picks = [int(values.sum(1).argmin())]
    away = np.full(len(seen), np.inf)
    while len(picks) < min(FACE_FRAMES, len(seen)):
        away = np.minimum(away, np.linalg.norm(values - values[picks[-1]], axis=1))
        away[picks] = -1.0
        picks.append(int(away.argmax()))
    return seen[np.sort(picks)]


def _cut(rgb: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "3"]) -> UInt8[np.ndarray, "height width 3"]:
    from PIL import Image

    x, y, side = box
    corners = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    found = Image.fromarray(rgb).transform(
        (_SIDE_PX, _SIDE_PX), Image.Transform.EXTENT, corners, resample=Image.Resampling.BICUBIC
    )
    return np.asarray(found)


def _double(
    track: BodyTrack, row: int, avatar: Avatar, box: Float[np.ndarray, "3"], rasterizer: Rasterizer
) -> UInt8[np.ndarray, "height width 3"]:
    x, y, side = (float(v) for v in box)
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    view = camera.cropped(x - side / 2, y - side / 2, (side, side), (_SIDE_PX, _SIDE_PX))
    pose = track.pose(row)
    with torch.no_grad():
        posed = pose_avatar(avatar, pose, track.expression[row].float())
        rgb = picture_of(avatar, posed, view, rasterizer, torch.tensor(_GROUND)).rgb
    return (rgb.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
