"""Where this person's brows, eyes, nose and mouth are: the body's face, moved onto them.

A body's shape has few numbers for a face, so after the fit its mouth may lie a centimetre beside the filmed one. Splats
take the right colours all the same, but what then opens, blinks and smiles is the wrong place. Here the seen face points
of all frames, carried back into the head's rest frame, say how far each feature lies beside the body's; a smooth
displacement takes the surface there, and with it lids, lips, eyeballs and what the mouth hides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bodydouble.body.protocol import BodyModel
from bodydouble.capture.values import BodyTrack, Observations
from bodydouble.core.cameras import video_camera
from bodydouble.core.kinematics import fast_bone_transforms
from bodydouble.core.struct import TensorStruct, tensor_struct
from bodydouble.fit.landmarks import LandmarkModel, build_landmarks

POINTS_FILE = "face_points.json"
_SEEN = 0.35
"""Confidence from which a face point counts."""
_FEW_FRAMES = 4.0
"""So many frames weigh as much as the body's own face."""
_ALONG_RAY = 0.05
"""How far a frame speaks of the depth of a point, against 1 for its place in the picture."""
_ODD_M = 0.006
"""Scale of the robust loss: frames that lie further beside the others hardly count."""
_SMOOTH_M, _STIFF = 0.022, 0.15
"""Width of the displacement's kernel, and how much of a point's own may be left out for the sake of smoothness."""
_LARGEST_M = 0.025
_ROUNDS = 4


@tensor_struct
class RestPerson(TensorStruct):
    """A shaped body at rest whose face has this person's features."""

    vertices_rest: Float[Tensor, "verts 3"]
    """Metres."""
    joints_rest: Float[Tensor, "bones 3"]
    """Metres; those of the eyes have moved with their balls."""


def rest_person(
    body: BodyModel, track: BodyTrack, observations: Observations, rows: Int[Tensor, " rows"]
) -> RestPerson:
    """The fitted body at rest with the features of the filmed face.

    Args:
        body: The body of the track.
        track: Shape, poses and expressions.
        observations: Of the same video; without face points the body's own face stays.
        rows: Of the track, whose frames may be looked at.
    """
    own = rest_body(body, track.shape)
    vertices, joints = own.vertices_rest, own.joints_rest
    points, offsets_m = feature_offsets(body, own, track, observations, rows)
    if not len(points):
        return own
    moved = spread(points, offsets_m, vertices.double().numpy())
    moved[~_of_head(body)] = 0.0
    joints = joints.clone()
    if "eyes" in body.part_names:
        moved = _whole_eyes(body, vertices.numpy(), joints.numpy(), moved)
        for eye in ("leftEye", "rightEye"):
            if eye in body.humanoid:
                bone = body.bone_names.index(body.humanoid[eye])
                ball = _eyeball(body, vertices.numpy(), joints[bone].numpy())
                if ball.any():
                    joints[bone] += torch.from_numpy(moved[ball].mean(0)).float()
    return RestPerson(vertices_rest=vertices + torch.from_numpy(moved).float(), joints_rest=joints)


def rest_body(body: BodyModel, shape: Float[Tensor, " shape"]) -> RestPerson:
    """The body of a shape at rest, with the face that belongs to it."""
    shaped = body.with_shape(shape)
    return RestPerson(
        vertices_rest=shaped.vertices_rest.detach().float(), joints_rest=shaped.joints_rest.detach().float()
    )


def feature_offsets(
    body: BodyModel,
    own: RestPerson,
    track: BodyTrack,
    observations: Observations,
    rows: Int[Tensor, " rows"],
    *,
    beside_table: Mapping[str, tuple[float, float, float]] | None = None,
) -> tuple[Float[np.ndarray, "points 3"], Float[np.ndarray, "points 3"]]:
    """Face points of the body at rest, and how far this person's lie beside them; none where no face was seen.

    Every frame tells of two directions, those across the line of sight; turned heads add the third. What is not seen
    keeps the body's.

    Args:
        body, own: The body, and the same at rest in this person's shape (`rest_body`).
        track, observations: Poses and expressions, and the points that were seen.
        rows: Of the track; those without observations are passed over.
        beside_table: Where the points lie, as `load_point_offsets` gives it, which is the default.
    Returns:
        Points and offsets in the rest frame, metres.
    """
    landmarks = build_landmarks(body)
    beside_table = load_point_offsets() if beside_table is None else beside_table
    place = {name: i for i, name in enumerate(observations.landmark_names)}
    of_face = [i for i, name in enumerate(landmarks.names) if name in place and name in beside_table]
    base = _points(landmarks, of_face, own.vertices_rest.double().numpy())
    height_m = float(body.height_m(track.shape))
    base += height_m * np.array([beside_table[landmarks.names[i]] for i in of_face]).reshape(-1, 3)
    index = {int(f): k for k, f in enumerate(observations.frame_indices)}
    seen_rows = [(int(r), index[int(track.frame_indices[r])]) for r in rows if int(track.frame_indices[r]) in index]
    if not of_face or not seen_rows:
        return base[:0], base[:0]
    columns = [place[landmarks.names[i]] for i in of_face]
    row, at = (torch.tensor(values) for values in zip(*seen_rows, strict=True))
    weight = observations.confidence[at][:, columns].double().numpy()
    weight = np.where(weight > _SEEN, weight, 0.0) * (weight > _SEEN).mean(1, keepdims=True)
    head = body.bone_names.index(body.humanoid["head"])
    R, t = fast_bone_transforms(
        track.rotvecs[row].float(), own.joints_rest,
        track.translation_world_m[row].float(), body.bone_parents,
    )  # fmt: skip
    camera = video_camera(track.width_px, track.height_px, track.focal_px)
    T = camera.T_camera_world.double().numpy()
    R_camera_rest = T[:3, :3] @ R[:, head].double().numpy()
    t_camera = t[:, head].double().numpy() @ T[:3, :3].T + T[:3, 3]
    deltas = np.stack([_points(landmarks, of_face, d) for d in body.action_deltas.double().numpy()])
    acted = base + np.einsum("fa,apk->fpk", track.expression[row].double().numpy(), deltas)
    expected = np.einsum("fij,fpj->fpi", R_camera_rest, acted) + t_camera[:, None]
    pixels = observations.xy_px[at][:, columns].double().numpy()
    ray = np.ones((*pixels.shape[:2], 3))
    ray[..., :2] = (pixels - camera.center_px.double().numpy()) / camera.focal_px.double().numpy()
    beside = np.einsum("fji,fpj->fpi", R_camera_rest, ray * expected[..., 2:] - expected)
    ray = np.einsum("fji,fpj->fpi", R_camera_rest, ray / np.linalg.norm(ray, axis=-1, keepdims=True))
    return base, _settled(beside, ray, weight)


def _settled(
    beside: Float[np.ndarray, "frames points 3"],
    ray: Float[np.ndarray, "frames points 3"],
    weight: Float[np.ndarray, "frames points"],
) -> Float[np.ndarray, "points 3"]:
    """One offset for each point that explains all frames across their lines of sight, robustly, drawn to none."""
    across = np.eye(3) - (1.0 - _ALONG_RAY) * ray[..., :, None] * ray[..., None, :]
    robust = np.ones(weight.shape)
    found = np.zeros(beside.shape[1:])
    for _ in range(_ROUNDS):
        w = weight * robust
        A = np.einsum("fp,fpij->pij", w, across) + _FEW_FRAMES * np.eye(3)
        b = np.einsum("fp,fpij,fpj->pi", w, across, beside)
        found = np.linalg.solve(A, b[..., None])[..., 0]
        left = np.einsum("fpij,fpj->fpi", across, beside - found)
        robust = 1.0 / (1.0 + (left**2).sum(-1) / _ODD_M**2)
    size = np.linalg.norm(found, axis=1, keepdims=True)
    return found * np.minimum(1.0, _LARGEST_M / np.maximum(size, 1e-9))


def spread(
    points: Float[np.ndarray, "points 3"], offsets: Float[np.ndarray, "points 3"], places: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """A smooth displacement that takes points (nearly) by their offsets and fades away from them.

    Kernel ridge regression with a Gaussian of width `_SMOOTH_M` (Rasmussen and Williams, Gaussian Processes for Machine
    Learning, 2006, eq. 2.25).
    """

    def kernel(a: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * ((a[:, None] - points[None]) ** 2).sum(-1) / _SMOOTH_M**2)

    weights = np.linalg.solve(kernel(points) + _STIFF * np.eye(len(points)), offsets)
    near = np.nonzero((np.abs(places - points.mean(0)) < 0.2).all(1))[0]
    out = np.zeros(places.shape)
    out[near] = kernel(places[near]) @ weights
    return out


@lru_cache(maxsize=1)
def load_point_offsets() -> dict[str, tuple[float, float, float]]:
    """How far each face point lies beside the place on the body's surface that the landmark table gives it.

    In body heights, rest frame; learnt from performers whose truth is known (`scripts/learn_point_offsets.py`). Points that
    the table has at a wrong place are left out.
    """
    text = resources.files("bodydouble.fit").joinpath(POINTS_FILE).read_text(encoding="utf-8")
    return {f"face/{i}": tuple(offset) for i, offset in json.loads(text)["offsets"].items()}


def _points(landmarks: LandmarkModel, rows: list[int], vertices: np.ndarray) -> np.ndarray:
    return landmarks.vertex_weights[rows] @ vertices[landmarks.vertex_ids]


def _of_head(body: BodyModel) -> np.ndarray:
    parts = [body.part_names.index(p) for p in ("face", "head", "mouth", "eyes") if p in body.part_names]
    return np.isin(body.vertex_parts.numpy(), parts)


def _eyeball(body: BodyModel, vertices: np.ndarray, centre: np.ndarray) -> np.ndarray:
    eyes = body.vertex_parts.numpy() == body.part_names.index("eyes")
    return eyes & (np.linalg.norm(vertices - centre, axis=1) < 0.03)


def _whole_eyes(body: BodyModel, vertices: np.ndarray, joints: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Eyeballs move as a whole: they must stay round to turn under their lids."""
    out = moved.copy()
    for eye in ("leftEye", "rightEye"):
        if eye in body.humanoid:
            own = _eyeball(body, vertices, joints[body.bone_names.index(body.humanoid[eye])])
            if own.any():
                out[own] = moved[own].mean(0)
    return out
