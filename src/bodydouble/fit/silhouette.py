"""Girth from masks: the outline of the posed body against the outline of the seen person.

Only the shape moves. Landmarks keep their say through the precision they left on it, so that limbs do not change their
length. The body may not reach beyond the mask; where it stays inside, clothes explain most of the gap, so that side
pulls weakly and loose clothes do not fatten the body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel, Pose
from bodydouble.core.cameras import Camera, video_camera
from bodydouble.core.normals import vertex_normals
from bodydouble.fit.controls import Controls
from bodydouble.fit.state import State, track_rotvecs

MAX_FRAMES = 16
_RASTER_PX = 320
"""Longer side of the images on which outlines are compared."""
_MARGIN_PX = 1.6
_SIGMA_M = 0.02
_ROBUST_M = 0.05
_INSIDE_SHARE = 0.25
"""Weight of outline points inside the mask against those beyond it."""
_SAME_M = 0.10
"""Outline points closer than this err together."""
_MASK_LEVEL = 128
_STEP = 0.02
_ITERATIONS = 3
_MIN_POINTS = 30


@dataclass(frozen=True)
class _View:
    """One frame's mask as a field of signed distances."""

    slot: int
    """Which frame of the state."""
    camera: Camera
    distance_px: Float[np.ndarray, "height width"]
    """To the person's outline, positive outside."""


def refine_girth(
    body: BodyModel,
    controls: Controls,
    state: State,
    frames: Int[np.ndarray, " frames"],
    frame_indices: Int[np.ndarray, " frames"],
    mask: Callable[[int], np.ndarray | None],
    size_px: tuple[int, int],
    precision: Float[np.ndarray, "shape shape"],
    frame_weight: float,
) -> State:
    """Change the body's shape so that its outline agrees with the masks.

    Args:
        body: The body model; cheap if it can be restricted to some vertices.
        controls: Of that body.
        state: Poses and present shape, at which the landmarks are content.
        frames: Positions in the state of the frames to use.
        frame_indices: Their source frame numbers, for `mask`.
        mask: Soft 8-bit mask of a source frame, or None.
        size_px: Width and height of the image.
        precision: What landmarks and priors know of the shape (second derivative of half the cost).
        frame_weight: Sum of the frames' weights behind `precision`.
    """
    views = _views(state, frames, frame_indices, mask, size_px)
    if not views:
        return state
    slots = np.array([v.slot for v in views])
    pose = Pose(
        rotvecs=torch.as_tensor(track_rotvecs(state, controls, body)[slots], dtype=torch.float32),
        translation_world_m=torch.as_tensor(state.translation[slots], dtype=torch.float32),
    )
    trunk = _trunk_vertices(body)
    start = shape = state.shape
    for _ in range(_ITERATIONS):
        A, b = precision.copy(), precision @ (start - shape)
        rows = _outline_rows(body, shape, pose, views, trunk)
        for J, residual, weight in rows:
            scale = frame_weight / len(rows)
            A += scale * (J * weight[:, None]).T @ J
            b += scale * (J * weight[:, None]).T @ residual
        shape = np.clip(shape + np.clip(np.linalg.solve(A, b), -0.15, 0.15), 0.0, 1.0)
    return replace(state, shape=shape)


def _views(
    state: State,
    frames: np.ndarray,
    frame_indices: np.ndarray,
    mask: Callable[[int], np.ndarray | None],
    size_px: tuple[int, int],
) -> list[_View]:
    from cv2 import INTER_AREA, resize

    chosen = np.unique(np.round(np.linspace(0, len(frames) - 1, min(MAX_FRAMES, len(frames)))).astype(np.int64))
    shrink = min(1.0, _RASTER_PX / max(size_px))
    small = (max(1, round(size_px[0] * shrink)), max(1, round(size_px[1] * shrink)))
    camera = video_camera(*size_px, state.focal_px).cropped(0.0, 0.0, (float(size_px[0]), float(size_px[1])), small)
    views = []
    for i in chosen:
        image = mask(int(frame_indices[i]))
        if image is None:
            continue
        inside = resize(np.ascontiguousarray(image), small, interpolation=INTER_AREA) >= _MASK_LEVEL
        if inside.any() and not inside.all():
            views.append(_View(int(frames[i]), camera, _signed_distance(inside)))
    return views


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Distance to the outline in pixels, positive outside; beyond the image the person is taken to go on."""
    from scipy.ndimage import distance_transform_edt

    out = np.asarray(distance_transform_edt(~inside))
    within = np.asarray(distance_transform_edt(np.pad(inside, 1, mode="edge")))[1:-1, 1:-1]
    return np.where(inside, 0.5 - within, out - 0.5)


def _trunk_vertices(body: BodyModel) -> Int[Tensor, " verts"]:
    """Vertices of trunk and limbs: hands, feet and head have clothes, hair and shoes that say nothing of girth."""
    return (body.vertex_parts == body.part_names.index("body")).nonzero()[:, 0]


def _outline_rows(
    body: BodyModel, shape: np.ndarray, pose: Pose, views: list[_View], trunk: Tensor
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For every view: derivatives by shape, residuals and weights of the outline's points, metres."""
    from bodydouble.render.mesh import rasterize_mesh

    count = len(shape)
    values = torch.as_tensor(shape, dtype=torch.float32)
    with torch.no_grad():
        whole = body.with_shape(values).with_pose(pose).vertices()
        restricted = getattr(body, "restricted", None)
        small = body if restricted is None else restricted(trunk)
        moved = []
        for k in range(count):
            step = torch.zeros(count)
            step[k] = _STEP
            ends = [small.with_shape(values + sign * step).with_pose(pose).vertices() for sign in (1.0, -1.0)]
            moved.append((ends[0] - ends[1]) / (2.0 * _STEP))
    slope = torch.stack(moved, -1) if restricted is not None else torch.stack(moved, -1)[:, trunk]
    rows = []
    for i, view in enumerate(views):
        drawn = rasterize_mesh(whole[i], body.faces, view.camera).mask.numpy()
        normals = vertex_normals(whole[i], body.faces)[trunk]
        row = _view_rows(view, drawn, whole[i, trunk], normals, slope[i])
        if row is not None:
            rows.append(row)
    return rows


def _view_rows(
    view: _View, drawn: np.ndarray, vertices: Tensor, normals: Tensor, slope: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Rows of the vertices on the drawn body's outline, or None where too few are seen."""
    camera = view.camera
    pixels, depth = camera.project(vertices)
    xy, z = pixels.double().numpy(), depth.double().numpy()
    # Outward in the image: the normal's part across the line of sight.
    outward = normals.double().numpy()[:, :2] * np.array([1.0, -1.0])
    size = np.linalg.norm(outward, axis=1)
    outward = outward / np.maximum(size, 1e-9)[:, None]
    rim = (size > 0.9) & (z > 0.1)
    rim &= _sample(drawn, xy - _MARGIN_PX * outward) & ~_sample(drawn, xy + _MARGIN_PX * outward)
    height, width = view.distance_px.shape
    rim &= (xy > 2).all(1) & (xy[:, 0] < width - 2) & (xy[:, 1] < height - 2)
    if rim.sum() < _MIN_POINTS:
        return None
    xy, z, outward, change = xy[rim], z[rim], outward[rim], slope.double().numpy()[rim]
    focal = float(camera.focal_px[0])
    metres = z / focal
    distance = _bilinear(view.distance_px, xy) * metres
    flow = change[:, :2] * np.array([1.0, -1.0])[:, None]
    ratio = (xy - np.array([width, height]) / 2.0) / focal
    flow = flow + ratio[:, :, None] * change[:, 2:3]
    J = (outward[:, :, None] * flow).sum(1)
    residual = -distance
    robust = (_ROBUST_M**2 / (_ROBUST_M**2 + residual**2)) ** 2
    side = np.where(distance > 0, 1.0, _INSIDE_SHARE)
    # As many independent points as lengths of `_SAME_M` fit on the outline of a body about 1.7 m tall.
    share = min(1.0, (8.0 / _SAME_M) / rim.sum())
    return J, residual, robust * side * share / _SIGMA_M**2


def _sample(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    column, row = np.floor(xy).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < image.shape[1]) & (row < image.shape[0])
    out = np.zeros(len(xy), dtype=image.dtype)
    out[inside] = image[row[inside], column[inside]]
    return out


def _bilinear(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    return map_coordinates(image, [xy[:, 1] - 0.5, xy[:, 0] - 0.5], order=1, mode="nearest")
